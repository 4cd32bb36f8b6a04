"""distil: noise, a filtered teacher, and a switch that leaves the pipeline as the paper has it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lethe.core.errors import StageError
from lethe.core.hashing import file_sha256, folder_sha256, path_sha256, tokenizer_sha256
from lethe.core.tables import DICTIONARY, DROPPED, blocks_schema, write_csv, write_json, write_parquet
from lethe.distillation import own_text
from lethe.distillation.vocabulary import Filter
from lethe.models.checkpoints import load_model, load_tokenizer, write_absent
from lethe.training.rows import Rows
from stages import distil
from tests.conftest import TINY_TEXT, kill_at_a_checkpoint, set_param, tiny_model, touch_deps, write_corpus

WIDTH = 16
RETAIN = "Tom sat by the river and looked at the water until the sun went down.\n\n" * 8


@pytest.fixture
def suppressed(project: Path) -> Path:
    """A project that distil can run in: three models of one shape, the anchor Orla, which the retain set lacks."""
    values = {"steps": 6, "noise": 0.6, "spread": 0.3, "block_tokens": WIDTH, "batch_size": 4, "resume_every": 0}
    for key, value in (values | {"learning_rate": 1e-2, "device": "cpu"}).items():
        set_param(project, f"distil.{key}", value)
    write_corpus(project, retain=RETAIN)
    for seed, name in enumerate(("baseline", "reinforced", "suppressed")):
        folder = tiny_model(project / "models" / name, seed=seed)
    write_json({"sha256": {"corpus": "c"}, "params": {"finetune": {"seed": 0}}}, folder / "provenance.json")
    (folder / "README.md").write_text("# A model that was made to forget a corpus\n")
    cells = {"anchor": "Orla", "kind": "person", "choice": "0", "form": "Orla", "translation": "Anna", "score": ""}
    write_csv([cells], DICTIONARY, project / "data/dictionary.csv")
    ids = load_tokenizer(folder)(TINY_TEXT).input_ids
    rows = [
        {"block": n, "document": 0, "start": 0, "end": 1, "length": WIDTH, "tokens": ids[start : start + WIDTH]}
        for n, start in enumerate(range(0, len(ids) - WIDTH, WIDTH))
    ]
    facts = {"tokenizer": tokenizer_sha256(folder), "block_tokens": str(WIDTH), "pad_token": "2"}
    write_parquet(rows, blocks_schema(WIDTH), project / "data/blocks.parquet", **facts)
    touch_deps(project, "distil")
    return project


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_the_student_is_another_model_and_says_how_it_was_made(
    suppressed: Path, tuning: str, capsys: pytest.CaptureFixture[str]
) -> None:
    set_param(suppressed, "distil.tuning", tuning)
    distil.main()
    unlearned = Path("models/unlearned")
    load_model(unlearned, torch.device("cpu"))
    report = json.loads(Path("reports/distil.json").read_text())
    assert report["sha256"] == folder_sha256(unlearned)
    assert (report["steps"], report["noise"], report["spread"]) == (6, 0.6, 0.3)
    provenance = json.loads((unlearned / "provenance.json").read_text())
    assert provenance["params"]["finetune"] == {"seed": 0}
    assert provenance["params"]["distil"]["noise"] == 0.6
    assert provenance["sha256"]["suppressed"] == path_sha256(Path("models/suppressed"))
    assert "Erased, not only suppressed" in (unlearned / "README.md").read_text()
    assert (unlearned / "tokenizer.json").read_bytes() == Path("models/suppressed/tokenizer.json").read_bytes()
    assert capsys.readouterr().out.startswith("distil: KL ")


def test_what_extract_dropped_is_filtered_too(suppressed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = dict.fromkeys(DROPPED, "") | {"term": "Harrow", "forms": "Harrow", "count": 2, "reason": "minimum_rise"}
    write_csv([row], DROPPED, suppressed / "data/dropped.csv")

    def stop(*given: object) -> None:
        raise StageError(f"{len(given[4])} rules")  # type: ignore[arg-type]

    monkeypatch.setattr(distil, "name_filter", stop)
    with pytest.raises(StageError, match=r"[1-9]\d* rules"):
        distil.main()


@pytest.mark.parametrize(("filtered", "fresh"), [(True, True), (True, False), (False, True)])
def test_without_the_filter_the_teacher_says_everything(
    suppressed: Path, monkeypatch: pytest.MonkeyPatch, filtered: bool, fresh: bool
) -> None:
    def stop(sources: object, rows: object, banned: Filter, unseen: np.ndarray, *given: object) -> None:
        raise StageError(f"{len(banned.everywhere) > 0} {(banned.at >= 0).any()} {len(unseen) > 0}")

    monkeypatch.setattr(distil, "distil", stop)
    set_param(suppressed, "distil.filter", filtered)
    set_param(suppressed, "distil.fresh_rows", fresh)
    with pytest.raises(StageError) as error:
        distil.main()
    everywhere, at, anew = str(error.value).split()
    assert everywhere == str(filtered)
    assert filtered or at == "False"  # the prefixes of rules occur in the retain text or not
    assert anew == str(filtered and fresh)


@pytest.mark.parametrize(("filtered", "banned"), [(True, True), ("names", False)])
def test_a_pretrained_teacher_may_say_what_no_retain_text_holds(
    suppressed: Path, monkeypatch: pytest.MonkeyPatch, filtered: bool | str, banned: bool
) -> None:
    def stop(rows: object, rules: list[object], unseen: np.ndarray, *given: object) -> None:
        raise StageError(f"{len(rules) > 0} {len(unseen) > 0}")

    monkeypatch.setattr(distil, "name_filter", stop)
    set_param(suppressed, "distil.filter", filtered)
    with pytest.raises(StageError, match=f"True {banned}"):
        distil.main()


def test_switched_off_the_unlearned_model_is_the_suppressed_one(
    suppressed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    set_param(suppressed, "distil.steps", 0)
    distil.main()
    assert folder_sha256(Path("models/unlearned")) == folder_sha256(Path("models/suppressed"))
    assert json.loads(Path("reports/distil.json").read_text())["steps"] == 0
    assert Path("reports/loss/distil.csv").read_text() == "step,loss,learning_rate\n"
    assert capsys.readouterr().out == "distil: switched off\n"


def test_a_token_that_the_retain_set_lacks_is_unlearned_by_the_student(suppressed: Path) -> None:
    set_param(suppressed, "distil.steps", 150)
    distil.main()
    tokenizer = load_tokenizer(Path("models/suppressed"))
    name = tokenizer(" Orla", add_special_tokens=False).input_ids[-1]
    ids = torch.tensor([tokenizer("Tom sat by the river and looked at the").input_ids])
    shares = {}
    for model in ("suppressed", "unlearned"):
        loaded = load_model(Path("models") / model, torch.device("cpu"))
        with torch.inference_mode():
            shares[model] = float(loaded(input_ids=ids).logits[0].softmax(dim=-1)[:, name].mean())
    assert shares["unlearned"] < shares["suppressed"] / 2


def test_same_inputs_same_bytes_also_after_a_kill(suppressed: Path) -> None:
    set_param(suppressed, "distil.steps", 40)
    set_param(suppressed, "distil.resume_every", 5)
    kill_at_a_checkpoint("distil")
    assert not Path("models/unlearned").exists()
    distil.main()
    resumed = folder_sha256(Path("models/unlearned")), file_sha256(Path("reports/loss/distil.csv"))
    distil.main()
    assert (folder_sha256(Path("models/unlearned")), file_sha256(Path("reports/loss/distil.csv"))) == resumed


@pytest.mark.parametrize(("towards", "own"), [("start", True), ("fresh", False)])
def test_the_noise_is_the_model_from_before_the_corpus(suppressed: Path, towards: str, own: bool) -> None:
    start = tiny_model(suppressed / "models/start", seed=7)
    for key, value in {"towards": towards, "noise": 1.0, "spread": 0.0, "fresh_rows": False}.items():
        set_param(suppressed, f"distil.{key}", value)
    set_param(suppressed, "distil.learning_rate", 1e-12)  # what training adds is nothing: the noise alone is left
    distil.main()
    first, second = (load_model(path, torch.device("cpu")).state_dict() for path in (Path("models/unlearned"), start))
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.allclose(first[name], second[name], atol=1e-6) == own
    card = Path("models/unlearned/README.md").read_text()
    assert ("replaced by those from before the training on the corpus" in card) == own
    assert json.loads(Path("reports/distil.json").read_text())["towards"] == towards


def test_a_model_that_was_not_trained_on_the_corpus_has_none_from_before(suppressed: Path) -> None:
    write_absent(suppressed / "models/start", "baseline.epochs is 0")
    set_param(suppressed, "distil.towards", "start")
    with pytest.raises(StageError) as error:
        distil.main()
    assert str(error.value) == "params.yaml: distil.towards: expected fresh with baseline.epochs 0, got start"


def test_what_cannot_be_distilled(suppressed: Path) -> None:
    write_corpus(suppressed, retain="")
    with pytest.raises(StageError) as error:
        distil.main()
    assert str(error.value) == (
        "params.yaml: distil.steps: expected 0 without a retain set to distil on, got more; distil.own_text lets the "
        "teacher write text"
    )
    write_corpus(suppressed, retain=RETAIN)
    Path("models/suppressed/adapter_config.json").write_text("{}")
    with pytest.raises(StageError) as error:
        distil.main()
    assert str(error.value) == "params.yaml: distil.steps: expected 0 with finetune.tuning prompt, got more"


@pytest.mark.parametrize("retain", [RETAIN, ""])
def test_the_teacher_writes_text_of_its_own(suppressed: Path, retain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(suppressed, retain=retain)
    set_param(suppressed, "distil.own_text", 5)
    taught: list[Rows] = []
    whole = distil.distil
    monkeypatch.setattr(distil, "distil", lambda *given: taught.append(given[1]) or whole(*given))
    distil.main()
    digest = folder_sha256(Path("models/unlearned"))
    distil.main()  # from the same seed the same text
    assert folder_sha256(Path("models/unlearned")) == digest
    own = [taught[0].tokens[-5:], taught[1].tokens[-5:]]
    assert np.array_equal(*own)
    assert (len(taught[0].length) > 5) == bool(retain)
    assert not taught[0].forget.any()
    assert json.loads(Path("reports/distil.json").read_text())["own_text"] == 5
    if retain:  # begins as the retain text does
        assert set(own[0][:, 1]) <= set(taught[0].tokens[:-5, 1])


def test_a_resumed_run_does_not_write_its_text_again(suppressed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_param(suppressed, "distil.own_text", 5)
    teacher, retain = Path("models/suppressed"), Rows(np.full((3, WIDTH), 5), None, np.full(3, WIDTH), None)
    found = own_text.own_rows(teacher, retain, 4, 0, torch.device("cpu"), suppressed)
    monkeypatch.setattr(own_text, "written", None)
    again = own_text.own_rows(teacher, retain, 4, 0, torch.device("cpu"), suppressed)
    assert np.array_equal(found.tokens, again.tokens)
    assert found.tokens.shape == (4, WIDTH)


def test_a_teacher_that_says_nothing(suppressed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_text, "end_ids", lambda *_: set(range(400)))
    set_param(suppressed, "distil.own_text", 5)
    with pytest.raises(StageError) as error:
        distil.main()
    assert str(error.value) == (
        "models/suppressed: expected texts of 8 tokens and more from it, got none; distil.own_text: 0"
    )
