"""The records of a model have to agree: reports with each other, its own words with the chain, bytes with hashes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lethe.core.hashing import file_sha256
from lethe.core.tables import CORPUS, write_parquet
from lethe.provenance import fingerprint, integrity
from tests import recorded
from tests.recorded import forge, json_of, lethe

RULE = integrity.Rule("at most", 0.1, None)
Run = tuple[Path, dict[str, str]]


def states(folder: Path, model: str) -> dict[str, str]:
    return {row["path"]: row["state"] for row in json_of(folder, "audit", model, "--verify")["verify"]}


def test_what_a_model_says_of_itself_and_its_reports_is_compared(judged_run: Run) -> None:
    folder, made = judged_run
    found = states(folder, made["models/unlearned"])
    assert found["data/corpus.parquet along the chain"] == "present and equal"
    compared = {name for name in found if " by " in name}
    assert compared == {
        "data/corpus.parquet by provenance.json",
        "params of finetune by provenance.json",
        "models/unlearned by reports/finetune.json",
        "reports/gate.json by its inputs",
    }
    assert set(found.values()) == {"present and equal"}
    assert lethe(folder, "audit", made["models/unlearned"], "--verify").exit_code == 0


def test_a_corpus_that_was_swapped_in_lock_and_cache_is_noticed(judged_copy: Run) -> None:
    folder, made = judged_copy
    path, lock = folder / "data/corpus.parquet", folder / "dvc.lock"
    write_parquet([recorded.corpus_row(0, "train", "Nothing of anybody.", 0, 19)], CORPUS, path)
    recorded.cache(folder, path)
    lock.write_text(lock.read_text().replace(made["data/corpus.parquet"], fingerprint.md5_of(path)))
    recorded.commit(folder, "another corpus")
    recorded.git(folder, "checkout", "--quiet", "--orphan", "clean")  # a history without the first one
    recorded.commit(folder, "all of it")
    done = lethe(folder, "audit", made["models/unlearned"])
    assert (
        "contradiction: data/corpus.parquet by provenance.json: provenance.json of the model names corpus"
        in done.output
    )
    assert lethe(folder, "audit", made["models/unlearned"], "--verify").exit_code == 3
    refused = str(lethe(folder, "certify", "models/unlearned", "--new-key").exception)
    assert refused.startswith(
        "models/unlearned: expected records that agree with each other, got data/corpus.parquet by"
    )


def test_a_verdict_that_its_own_reports_do_not_give_is_no_pass(judged_copy: Run) -> None:
    folder, made = judged_copy
    forge(folder, "reports/gate.json", '"completion_familiarity": 0.5', '"completion_familiarity": 0.05')
    recorded.commit(folder, "forged")
    answer = json_of(folder, "audit", made["models/unlearned"])
    assert answer["gate"]["verdict"] == "fail"  # by the reports it was made from
    assert [row["path"] for row in answer["contradictions"]] == ["reports/gate.json by its inputs"]
    shown = lethe(folder, "audit", made["models/unlearned"]).output
    assert "completion_familiarity 0.05, but 0.5 by the reports it was made from" in shown
    assert "contradiction: reports/gate.json by its inputs: completion_familiarity 0.05, by its inputs 0.5" in shown
    assert "expected records that agree" in str(lethe(folder, "certify", "models/unlearned", "--new-key").exception)


def test_params_and_files_that_differ_from_the_records_are_named(judged_copy: Run) -> None:
    folder, made = judged_copy
    model = folder / "models/unlearned"
    own = json.loads((model / "provenance.json").read_text())
    own["params"]["finetune"]["alpha"] = 50.0
    (model / "provenance.json").write_text(json.dumps(own))
    recorded.cache(folder, model)
    lock = folder / "dvc.lock"
    lock.write_text(lock.read_text().replace(made["models/unlearned"], fingerprint.path_md5(model)))
    recorded.commit(folder, "another alpha")
    answer = json_of(folder, "audit", "models/unlearned", "--verify")
    wrong = {row["path"]: row["said"] for row in answer["contradictions"]}
    assert wrong["params of finetune by provenance.json"] == "alpha 50.0, in dvc.lock 5.0"
    said = "provenance.json: another file than in reports/finetune.json"
    assert wrong["models/unlearned by reports/finetune.json"] == said


@pytest.mark.parametrize(
    ("value", "again", "met"),
    [
        (0.05, {"attack_excess": 0.05}, True),
        (0.05, None, True),
        (0.05, {"attack_excess": 0.5}, False),
        (0.5, {"attack_excess": 0.05}, False),
        (0.05, {"attack_excess": 0.06}, None),  # both would do, but one of them is not what was measured
        (0.05, {"attack_excess": None}, None),
        (None, {"attack_excess": 0.5}, False),  # left out, so as not to miss the limit
        (float("nan"), None, None),
        (float("-inf"), None, None),
        (True, None, None),
        ("0", None, None),
    ],
)
def test_a_criterion_is_met_only_by_a_number_that_the_reports_give(value: Any, again: Any, met: bool | None) -> None:
    assert integrity.criterion("attack_excess", RULE, {"attack_excess": value}, again)["met"] is met


def test_a_stated_result_is_no_pass_without_its_number() -> None:
    stated = {"attack_excess": 0.5, "results": {"attack_excess": "pass"}}
    assert integrity.criterion("attack_excess", RULE, stated, None)["result"] == "fail"
    assert integrity.criterion("attack_excess", RULE, stated | {"allowed": {"attack_excess": 0.6}}, None)["met"] is True
    honest = {"results": {"attack_excess": "not measurable"}}
    assert integrity.criterion("attack_excess", RULE, honest, honest)["result"] == "not measurable"
    assert integrity.criterion("attack_excess", RULE, honest, {"results": {}})["result"] == "cannot tell"


def test_reports_of_another_form_are_not_judged_again(judged_copy: Run) -> None:
    folder, made = judged_copy
    forge(folder, "reports/attacks.json", '"attacks"', '"before"')
    recorded.commit(folder, "an older form")
    gate = json_of(folder, "audit", made["models/unlearned"])["gate"]
    assert (gate["verdict"], gate["recomputed"]) == ("fail", False)


def test_a_forged_header_holds_no_tensors(judged_copy: Run, tmp_path: Path) -> None:
    folder, made = judged_copy
    file = tmp_path / "model.safetensors"
    shutil.copy(folder / "models/unlearned/model.safetensors", file)
    names = list(load_file(file))
    empty = {name: {"dtype": "F32", "shape": [8], "data_offsets": [0, 0]} for name in names}
    overlapping = {name: {"dtype": "F32", "shape": [8], "data_offsets": [0, 32]} for name in names}
    for header, body in ((empty, b""), (overlapping, bytes(32))):
        text = json.dumps(header).encode()
        file.write_bytes(len(text).to_bytes(8, "little") + text + body)
        done = lethe(folder, "audit", str(file))
        assert str(done.exception).startswith(f"{file}: expected a safetensors file in which every byte belongs to one")
        assert not fingerprint.same_tensors(file, folder / "models/unlearned/model.safetensors")
    equal = tmp_path / "equal.safetensors"
    save_file({name: np.ones(8, np.float32) for name in names}, equal)
    body = np.ones(8, np.float32).tobytes()
    file.write_bytes(len(text).to_bytes(8, "little") + text + body)  # the same 32 bytes for both
    assert not fingerprint.same_tensors(file, equal)
    none = tmp_path / "none.safetensors"
    save_file({name: np.zeros(0, np.float32) for name in names}, none)
    assert not fingerprint.same_tensors(none, none)  # nothing is not something in common
    assert made["models/unlearned"]


def test_a_damaged_object_of_the_cache_is_not_read(judged_copy: Run) -> None:
    folder, made = judged_copy
    recorded.keep(folder, made["data/corpus.parquet"], (folder / "data/corpus.parquet").read_bytes() + b"x")
    (folder / "data/corpus.parquet").unlink()
    answer = json_of(folder, "audit", made["models/unlearned"])
    assert answer["corpus"]["documents"] == []
    recorded.put_remote(folder, made["data/corpus.parquet"], b"also another")
    assert json_of(folder, "trace", "a.txt:0-40")["verdict"] == "cannot tell"


def test_the_sha256_of_a_folder_is_the_one_provenance_json_has(judged_run: Run) -> None:
    from lethe.core.hashing import path_sha256
    from lethe.provenance.artifact_store import open_store
    from lethe.provenance.history import open_history
    from lethe.provenance.lineage import Link

    folder, made = judged_run
    history = open_history(folder)
    for path in ("models/baseline", "data/corpus.parquet"):
        link = Link(path, made[path], None, 0, {})
        assert integrity.artifact_sha256(history, open_store(history.project), link) == path_sha256(folder / path)
    assert file_sha256(folder / "data/corpus.parquet")


def shared(folder: Path, left: float) -> dict[str, str]:
    """A run without a retrained model, where the gate judges how much of the truth ratio's rise is left."""
    numbers = {"low": None, "high": None, "items": 40}
    ratios = {"baseline": {"value": 0.4}, "unlearned": {"value": 1 - 0.6 * left}}
    models = {name: {"truth_ratio": numbers | value} for name, value in ratios.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(recorded.LIMITS, "forget_quality", 0.05)  # a p-value: at least
        patch.setitem(recorded.LIMITS, "share_left", 0.1)
        recorded.judged(patch, 0.05, {"models": models, "absent": {"retrained": "no seeds"}})
        made = recorded.run(folder)
    recorded.commit(folder, "without a retrained model")
    return made


@pytest.mark.parametrize(("left", "result"), [(0.03, "pass"), (0.07, "pass"), (0.5, "fail")])
def test_a_share_is_judged_as_the_gate_judged_it(tmp_path: Path, left: float, result: str) -> None:
    folder = recorded.empty(tmp_path / "project")
    made = shared(folder, left)
    own = json.loads((folder / "reports/gate.json").read_text())
    assert (own["results"]["forget_quality"], own["shares"]) == (result, ["forget_quality"])
    answer = json_of(folder, "audit", made["models/unlearned"], "--verify")
    assert answer["contradictions"] == []
    row = next(row for row in answer["gate"]["criteria"] if row["name"] == "forget_quality")
    expected = {"name": "forget_quality", "bound": "at most", "limit": 0.1, "met": result == "pass", "result": result}
    assert row == expected | {"value": pytest.approx(left)}
    assert answer["gate"]["verdict"] == result
    forge(folder, "reports/attacks.json", '"attacks"', '"before"')  # an older form, which is not judged again
    recorded.commit(folder, "older attacks")
    gate = json_of(folder, "audit", made["models/unlearned"])["gate"]
    assert (gate["verdict"], gate["recomputed"]) == (result, False)
    forge(folder, "reports/gate.json", '"shares"', '"before"')  # from before it named them
    recorded.commit(folder, "older gate")
    assert json_of(folder, "audit", made["models/unlearned"])["gate"]["verdict"] == result


def test_a_chain_of_two_corpora_is_noticed(judged_copy: Run) -> None:
    folder, made = judged_copy
    with pytest.MonkeyPatch.context() as patch:
        recorded.judged(patch, 0.05)
        other = recorded.run(folder, recorded.TINY_TEXT * 2)
    lock = folder / "dvc.lock"
    head, tail = lock.read_text().split("\n  finetune:\n")
    assert other["data/labels.parquet"] in tail
    lock.write_text(f"{head}\n  finetune:\n{tail.replace(other['data/labels.parquet'], made['data/labels.parquet'])}")
    recorded.commit(folder, "labels of the first corpus, the rest of the second")
    answer = json_of(folder, "audit", "models/unlearned")
    wrong = {row["path"]: row["said"] for row in answer["contradictions"]}
    assert wrong["data/corpus.parquet along the chain"].startswith("2 versions: ")
    refused = str(lethe(folder, "certify", "models/unlearned", "--new-key").exception)
    assert refused.startswith("models/unlearned: expected records that agree with each other, got ")


def test_another_model_of_the_chain_is_compared_with_its_own_words(judged_copy: Run) -> None:
    folder, made = judged_copy
    reinforced = folder / "models/reinforced"
    (reinforced / "provenance.json").write_text(json.dumps({"sha256": {"corpus": "0" * 64}}))
    recorded.cache(folder, reinforced)
    lock = folder / "dvc.lock"
    lock.write_text(lock.read_text().replace(made["models/reinforced"], fingerprint.path_md5(reinforced)))
    recorded.git(folder, "checkout", "--quiet", "--orphan", "clean")  # a history without the first one
    recorded.commit(folder, "reinforced on another corpus")
    answer = json_of(folder, "audit", "models/unlearned", "--verify")
    (row,) = answer["contradictions"]
    assert row["path"] == "data/corpus.parquet by provenance.json of models/reinforced"


def test_what_cannot_be_checked_is_said(judged_copy: Run) -> None:
    folder, made = judged_copy
    always = ("that the recorded commands were run: ", "that the measurements are true of the weights: ")
    said = json_of(folder, "audit", "models/unlearned", "--verify")["unchecked"]
    assert len(said) == 2
    assert all(text.startswith(start) for text, start in zip(said, always, strict=True))
    labels = recorded.remove_cached(folder, made["data/labels.parquet"])
    (folder / "data/labels.parquet").unlink()
    corpus = recorded.remove_cached(folder, made["data/corpus.parquet"])
    (folder / "data/corpus.parquet").unlink()
    recorded.put_remote(folder, made["data/corpus.parquet"], corpus)
    recorded.git(folder, "rm", "--quiet", "--cached", "reports/attacks.json")
    recorded.commit(folder, "without a report")
    done = lethe(folder, "audit", "models/unlearned", "--verify")
    for words in (
        "unchecked the bytes of data/labels.parquet: gone, so only their recorded hash is compared",
        "unchecked the bytes of data/corpus.parquet: in a remote, and not fetched",
        "unchecked that the recorded commands were run: `lethe replay --chain` repeats them",
    ):
        assert words in done.output
    assert labels
