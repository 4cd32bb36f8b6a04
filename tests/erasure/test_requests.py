"""`lethe requests`: a chain that notices every change, and requests that are satisfied only by what dvc.lock proves."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import typer
from dvc.utils.serialize import dumps_yaml

from lethe.core.errors import StageError
from lethe.core.hashing import path_sha256
from lethe.core.tables import write_json
from lethe.erasure import requests
from lethe.gate.criteria import GateParams, criteria, metric
from lethe.provenance.fingerprint import path_md5 as md5_of
from lethe.report.request_ledger import read_ledger
from tests import recorded
from tests.conftest import set_param

TEXTS = {"first": "Orla went to Harrow Hill.\n", "second": "Tom sat by the river.\n", "third": "The mill was shut.\n"}


@pytest.fixture
def asked(project: Path) -> Path:
    """A project with the text of three requests."""
    set_param(project, "corpus.forget", "data/forget")
    for name, text in TEXTS.items():
        write(project / f"data/forget/{name}/letter.txt", text)
    return project


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def add(name: str, supersedes: str | None = None) -> None:
    requests.add(name, Path("data/forget") / name, supersedes, "2026-03-01")


def made(project: Path, perplexity: float, weights: str = "weights", **more: Any) -> None:
    """What `dvc repro` leaves behind: a model, its reports with a verdict, and dvc.lock. more: of familiarity.json."""
    write(project / "models/unlearned/model.safetensors", weights)
    before, after = {"leak": 0.8, "retain_perplexity": 10.0}, {"leak": 0.1, "retain_perplexity": perplexity}
    numbers = {"baseline": before, "unlearned": after}
    ratio = {"completion_familiarity": 0.5, "probability_familiarity": 0.2, "retain_perplexity_factor": 1.1}
    scores = {"baseline": {"order": 0.8, "ending": 0.6}, "unlearned": {"order": 0.75, "ending": 0.6}}
    reports: dict[str, Any] = {
        "familiarity": {"models": numbers, "ratio": ratio, "reasons": {}, "absent": {}} | more,
        "benchmarks": {"models": scores, "items": {"order": 10, "ending": 10}, "absent": {}},
        "measures": {"models": {}, "absent": {}},
        "attacks": {"attacks": [], "absent": {}},
    }
    for name, content in reports.items():
        write_json(content, project / f"reports/{name}.json")
    limits = recorded.gate_limits()
    write_json(metric(criteria(GateParams(**limits), *reports.values())), project / "reports/gate.json")  # type: ignore
    paths = [f"reports/{name}.json" for name in reports]
    corpus = ["data/corpus.parquet"]
    stages = {
        "corpus": (["data/forget"], corpus),
        "finetune": (corpus, ["models/unlearned"]),
        "evaluate": (["models/unlearned"], paths),
        "report": (paths, ["reports/gate.json"]),
    }
    lock: dict[str, Any] = {
        name: {
            "cmd": f"python -m stages.{name}",
            "deps": [item(path) for path in deps],
            "outs": [item(path) for path in outs],
        }
        for name, (deps, outs) in stages.items()
    }
    lock["report"]["params"] = {"params.yaml": {"report": {"gate": limits}}}
    write(project / "dvc.lock", dumps_yaml({"schema": "2.0", "stages": lock}))


def item(path: str) -> dict[str, str]:
    """An entry of dvc.lock; the corpus is not made here."""
    return {"path": path, "hash": "md5", "md5": "c" * 32 if path == "data/corpus.parquet" else md5_of(Path(path))}


def rows() -> list[dict[str, Any]]:
    return read_ledger(requests.LEDGER)


def states() -> dict[str, requests.State]:
    return requests.fold(rows())


def test_md5_is_what_dvc_has(tmp_path: Path) -> None:
    write(tmp_path / "a/b.txt", "b")
    write(tmp_path / "a/a/c.txt", "c")
    # DVC's list of a folder, as it stands in the cache: sorted by path, md5 before relpath
    b, c = (hashlib.md5(text).hexdigest() for text in (b"b", b"c"))
    listed = f'[{{"md5": "{c}", "relpath": "a/c.txt"}}, {{"md5": "{b}", "relpath": "b.txt"}}]'
    assert md5_of(tmp_path / "a") == hashlib.md5(listed.encode()).hexdigest() + ".dir"
    assert md5_of(tmp_path / "a/b.txt") == b


def test_a_request_is_recorded_without_its_text(asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add("first")
    (row,) = rows()
    assert capsys.readouterr().out == f"requests: first added as line 1, 1 files; head {row['sha256']}\n"
    assert row["corpus"] == path_sha256(asked / "data/forget/first")
    assert row["files"] == {
        "letter.txt": {
            "sha256": hashlib.sha256(TEXTS["first"].encode()).hexdigest(),
            "md5": hashlib.md5(TEXTS["first"].encode()).hexdigest(),
            "bytes": 26,
        }
    }
    assert "Orla" not in requests.LEDGER.read_text()


def test_the_chain_can_be_computed_by_hand(asked: Path) -> None:
    add("first")
    add("second")
    lines = [json.loads(line) for line in requests.LEDGER.read_text().splitlines()]
    assert [line["previous"] for line in lines] == ["0" * 64, lines[0]["sha256"]]
    for line in lines:
        own = line.pop("sha256")
        text = json.dumps(line, sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256(text.encode()).hexdigest() == own


def forged(lines: list[str]) -> list[str]:
    return [lines[0].replace("2026-03-01", "2026-02-01"), *lines[1:]]


@pytest.mark.parametrize(
    ("change", "line", "what"),
    [
        (forged, 1, "sha256"),
        (lambda lines: lines[1:], 1, "number"),
        (lambda lines: [lines[0], *lines[2:]], 2, "number"),
        (lambda lines: [lines[1], lines[0], lines[2]], 1, "number"),
        (lambda lines: [*lines, lines[2]], 4, "number"),
    ],
)
def test_a_changed_line_is_named(asked: Path, change: Callable[[list[str]], list[str]], line: int, what: str) -> None:
    for name in TEXTS:
        add(name)
    lines = requests.LEDGER.read_text().splitlines()
    requests.LEDGER.write_text("\n".join(change(lines)) + "\n")
    with pytest.raises(StageError, match=rf"^data/requests.jsonl:{line}: expected {what} .*, got .*changed, removed"):
        rows()


def test_any_flipped_character_is_noticed(asked: Path) -> None:
    add("first")
    text = requests.LEDGER.read_text()
    for place in range(len(text) - 1):
        flipped = chr(ord(text[place]) ^ 1)
        requests.LEDGER.write_text(text[:place] + flipped + text[place + 1 :])
        try:
            rows()
        except StageError:
            continue
        pytest.fail(f"character {place} of the ledger can be {flipped!r} instead of {text[place]!r}")


def test_requests_in_sequence_become_one_corpus_and_their_cost_adds_up(
    asked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add("first")
    made(asked, 10.5, "model of one")
    requests.satisfy(["first"], Path("models/unlearned"), "2026-03-02")
    add("second")
    add("third")
    made(asked, 12.0, "model of three")
    requests.satisfy(["second", "third"], Path("models/unlearned"), "2026-04-02")
    one, three = (hashlib.md5(text).hexdigest() for text in (b"model of one", b"model of three"))
    folders = [requests.fold(rows())[name].model["md5"] for name in TEXTS]  # type: ignore[index]
    assert folders[0] != folders[1] == folders[2]
    assert one != three

    capsys.readouterr()
    requests.list_(json=True)
    shown = json.loads(capsys.readouterr().out)
    assert [line["requests"] for line in shown["cost"]] == [["first"], ["second", "third"]]
    # 10.5 / 10 and 12 / 10: both beside the baseline that the first model began with
    assert [line["retain_damage"] for line in shown["cost"]] == [1.05, 1.2]
    assert [line["benchmark"] for line in shown["cost"]] == [0.675, 0.675]  # (0.75 + 0.6) / 2

    with pytest.raises(typer.Exit) as exit_:
        requests.check(json=True)
    assert exit_.value.exit_code == 3
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert problem.startswith("first: expected the newest model ")
    requests.satisfy(["first"], Path("models/unlearned"), "2026-04-03")
    with pytest.raises(typer.Exit) as exit_:
        requests.check(json=False)
    assert exit_.value.exit_code == 0
    requests.list_(json=False)
    shown = capsys.readouterr().out
    assert "satisfied" in shown
    assert "fail" in shown  # what the gate says of the model that satisfied it


def test_what_was_written_is_shown_as_json(asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    requests.add("first", Path("data/forget/first"), None, "2026-03-01", json=True)
    assert json.loads(capsys.readouterr().out) == rows()[0]
    made(asked, 10.5)
    requests.satisfy(["first"], Path("models/unlearned"), "2026-03-02", json=True)
    shown = json.loads(capsys.readouterr().out)
    assert shown == {"head": rows()[1]["sha256"], "added": [rows()[1]]}
    before = {"leak": 0.8, "completion_familiarity": None, "retain_perplexity": 10.0, "benchmark": 0.7}
    assert rows()[1]["measures"]["baseline"] == before  # (0.8 + 0.6) / 2


def test_a_request_can_supersede_another(asked: Path) -> None:
    add("first")
    add("second", supersedes="first")
    assert (states()["first"].status, states()["first"].superseded_by) == ("superseded", "second")
    assert states()["second"].status == "open"
    made(asked, 11.0)
    with pytest.raises(
        StageError, match="requests: expected an open or satisfied request, got first, which is superseded"
    ):
        requests.satisfy(["first"], Path("models/unlearned"), None)
    with pytest.raises(StageError, match="first is already superseded by second; supersede second"):
        add("third", supersedes="first")


def test_check_sees_what_git_saw(asked: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    add("first")
    add("second")
    for command in (["init", "-q"], ["add", "data/requests.jsonl"], ["commit", "-qm", "two requests"]):
        who = ["-c", "user.name=Tiny", "-c", "user.email=tiny@example.org"]
        subprocess.run(["git", *who, *command], check=True)
    lines = requests.LEDGER.read_text().splitlines()
    requests.LEDGER.write_text(lines[0] + "\n")  # a whole chain, only shorter
    with pytest.raises(typer.Exit) as exit_:
        requests.check(json=False)
    assert exit_.value.exit_code == 3
    assert "has other lines; lines may only be added to a ledger" in capsys.readouterr().out
    requests.LEDGER.write_text("\n".join(lines) + "\n")
    add("third")
    assert requests.rewritten(requests.LEDGER, rows()) == []


def test_changed_text_is_named(asked: Path) -> None:
    add("first")
    write(asked / "data/forget/first/letter.txt", "Orla stayed.\n")
    write(asked / "data/forget/first/more.txt", "And Tom.\n")
    assert requests.changed_texts(states()) == [
        "first: data/forget/first/letter.txt was changed since the request was recorded",
        "first: data/forget/first/more.txt is new since the request was recorded",
    ]


def test_text_of_no_request_is_named(asked: Path) -> None:
    assert requests.strays({}) == []  # nobody keeps a ledger
    add("first")
    add("second", supersedes="first")
    assert requests.strays(states()) == [
        f"data/forget/{name}/letter.txt: belongs to no open or satisfied request, but lies in data/forget, which "
        "corpus.forget names"
        for name in ("first", "third")
    ]


def unmade(project: Path) -> None:
    write(project / "models/unlearned/model.safetensors", "other weights")


def edited(project: Path) -> None:
    write(project / "data/forget/second/letter.txt", "Nobody sat by the river.\n")


def rewired(project: Path) -> None:
    lock = project / "dvc.lock"
    lock.write_text(lock.read_text().replace("path: data/forget", "path: data/other"))


def unlocked(project: Path) -> None:
    (project / "dvc.lock").unlink()


def emptied(project: Path) -> None:
    write(project / "data/forget/first/letter.txt", "")


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (unmade, "models/unlearned: expected the model that dvc.lock records, got another; `dvc repro`"),
        (unlocked, "models/unlearned: expected the model that dvc.lock records, got another; `dvc repro`"),
        (edited, "data/forget: changed since the model was made from it; `dvc repro`, then satisfy again"),
        (
            rewired,
            "models/unlearned: expected a model made from data/forget/first, got one made without it "
            "(dvc.lock); `dvc repro`",
        ),
        (emptied, "requests: first: data/forget/first/letter.txt was changed since the request was recorded"),
    ],
)
def test_only_a_proven_model_satisfies(asked: Path, spoil: Callable[[Path], None], line: str) -> None:
    add("first")
    made(asked, 11.0)
    spoil(asked)
    with pytest.raises(StageError) as error:
        requests.satisfy(["first"], Path("models/unlearned"), None)
    assert str(error.value) == line
    assert states()["first"].status == "open"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("a b", "data/forget/second"), "requests: expected an id of letters, digits and . _ - only, got 'a b'"),
        (("first", "data/forget/second"), "requests: expected a new id, got first, which was added on 2026-03-01"),
        (
            ("new", "data/retain"),
            "data/retain: expected a folder inside data/forget, which corpus.forget names; put the text there",
        ),
        (
            ("new", "data/forget/first"),
            "data/forget/first: expected a folder for this request alone, got that of request first",
        ),
        (("new", "data/forget/second", "old"), "requests: expected a recorded id (first), got old"),
        (("new", "data/forget/second", None, "May 1"), "requests: --date: expected YYYY-MM-DD, got May 1"),
        (("new", "data/forget/empty"), "data/forget/empty: expected the text of request new, got an empty folder"),
    ],
)
def test_bad_requests(asked: Path, arguments: tuple[str | None, ...], line: str) -> None:
    (asked / "data/forget/empty").mkdir()
    add("first")
    request, folder, supersedes, date = (*arguments, None, None)[:4]
    with pytest.raises(StageError) as error:
        requests.add(str(request), Path(str(folder)), supersedes, date)
    assert str(error.value) == line
    assert len(rows()) == 1


def test_a_broken_line_is_told_with_its_number_and_stops_nothing(
    asked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add("first")
    add("second")
    text = requests.LEDGER.read_text()
    for broken in ("{", "[1]", '{"number": 2}', "\udcff", "<<<<<<< HEAD", text.splitlines()[1].replace("2026", "2027")):
        requests.LEDGER.write_bytes((text.splitlines()[0] + f"\n{broken}\n").encode(errors="surrogateescape"))
        capsys.readouterr()
        requests.add("third", Path("data/forget/third"), None, "2026-03-01")
        said = capsys.readouterr()
        assert said.err.startswith("warning: data/requests.jsonl:2: "), broken
        assert "requests: third added as line 3, 1 files" in said.out
        assert list(requests.fold(requests.opened(requests.LEDGER).rows)) == ["first", "third"]
        (problem,) = requests.opened(requests.LEDGER).problems
        assert problem.startswith("data/requests.jsonl:2: ")
        with pytest.raises(typer.Exit) as exit_:
            requests.check(json=False)
        assert exit_.value.exit_code == 3
        assert "2 lines, a chain with 1 breaks to head " in capsys.readouterr().out


def test_a_repeated_or_twofold_line_does_not_count(asked: Path) -> None:
    add("first")
    made(asked, 11.0)
    requests.satisfy(["first"], Path("models/unlearned"), "2026-03-02")
    text = requests.LEDGER.read_text()
    requests.LEDGER.write_text(text + text.splitlines()[0] + "\n")  # it would open the request again
    rows, (problem,), _ = requests.opened(requests.LEDGER)
    assert requests.fold(rows)["first"].status == "satisfied"
    assert problem.startswith("data/requests.jsonl:3: expected number 3, got 1")
    requests.LEDGER.write_text(text.replace('{"number": 1,', '{"number": 1, "number": 1,'))
    assert requests.opened(requests.LEDGER).problems[0] == (
        "data/requests.jsonl:1: expected every name once in an object, got 'number' again"
    )


def test_a_lost_line_feed_breaks_no_chain(asked: Path) -> None:
    add("first")
    requests.LEDGER.write_text(requests.LEDGER.read_text().rstrip("\n"))
    add("second")
    assert [row["number"] for row in rows()] == [1, 2]


def test_requests_added_at_once_are_one_chain(asked: Path) -> None:
    for number in range(8):
        write(asked / f"data/forget/r{number}/letter.txt", f"Letter {number}.\n")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: add(f"r{number}"), range(8)))
    assert [row["number"] for row in rows()] == list(range(1, 9))
    assert len(states()) == 8


def test_the_same_request_added_at_once_is_added_once(asked: Path) -> None:
    def added(_: int) -> str:
        try:
            add("first")
        except StageError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(4) as pool:
        said = sorted(pool.map(added, range(4)))
    assert said == ["", *["requests: expected a new id, got first, which was added on 2026-03-01"] * 3]


def test_a_cut_tail_without_a_commit_is_not_called_whole(asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add("first")
    add("second")
    requests.LEDGER.write_text(requests.LEDGER.read_text().splitlines()[0] + "\n")
    capsys.readouterr()
    with pytest.raises(typer.Exit):
        requests.check(json=False)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.endswith("; no commit holds data/requests.jsonl, so that lines cut off its end would not be noticed")


def test_the_verdict_is_recorded_whatever_it_is(asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add("first")
    made(asked, 11.0)
    requests.satisfy(["first"], Path("models/unlearned"), "2026-03-02")
    assert ", release gate FAIL; head " in capsys.readouterr().out
    assert rows()[-1]["verdict"] == {
        "status": "fail", "missed": ["completion_familiarity"], "unmeasured": [], "baseline_knew": True
    }  # fmt: skip
    ratio = {"completion_familiarity": None, "probability_familiarity": None, "retain_perplexity_factor": None}
    why = "the baseline is no more familiar than the retrained model"
    made(asked, 11.0, ratio=ratio, reasons={"completion_familiarity": why})
    requests.satisfy(["first"], Path("models/unlearned"), "2026-03-03")
    said = capsys.readouterr().out
    assert "warning: the baseline hardly knew the text" in said
    assert "release gate CANNOT TELL" in said
    assert states()["first"].verdict["baseline_knew"] is False  # type: ignore[index]
    requests.list_(json=True)
    assert json.loads(capsys.readouterr().out)["requests"][0]["verdict"]["status"] == "cannot tell"


def test_a_satisfied_line_of_before_has_no_verdict(asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add("first")
    event = {"model": {"path": "models/unlearned", "md5": "a" * 32}, "measures": {}}
    requests.append(requests.LEDGER, rows(), "satisfied", "first", "2026-03-02", event)
    requests.list_(json=False)
    assert "not recorded" in " ".join(capsys.readouterr().out.split())


def leak_of_nothing(project: Path) -> None:
    path = project / "reports/familiarity.json"
    path.write_text(path.read_text().replace('"leak": 0.1', '"leak": -777'))


def and_its_hash(project: Path) -> None:
    recorded.forge(project, "reports/familiarity.json", '"leak": 0.1', '"leak": -777')


def better_verdict(project: Path) -> None:
    recorded.forge(project, "reports/gate.json", '"completion_familiarity": 0.5', '"completion_familiarity": 0.05')


def no_verdict(project: Path) -> None:
    lock = project / "dvc.lock"
    lock.write_text(lock.read_text()[: lock.read_text().index("  report:\n")])


def no_criteria(project: Path) -> None:
    limits = dict.fromkeys(GateParams.model_fields)
    lock = project / "dvc.lock"
    lock.write_text(lock.read_text().replace("completion_familiarity: 0.1", "completion_familiarity:"))
    assert limits


def of_another_model(project: Path) -> None:
    lock = project / "dvc.lock"
    md5 = md5_of(project / "models/unlearned")
    first, *rest = lock.read_text().split(md5)
    assert len(rest) == 2  # made by finetune, read by evaluate
    lock.write_text(first + md5 + rest[0] + "d" * 32 + ".dir" + rest[1])


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (leak_of_nothing, "reports/familiarity.json: expected the report that dvc.lock records, got another or none"),
        (and_its_hash, "reports: unlearned: leak: expected a measured number, got -777; `dvc repro`"),
        (better_verdict, "reports/gate.json: expected the verdict that follows from its reports, got another"),
        (no_verdict, "reports/gate.json: expected the report that dvc.lock records, got another or none"),
        (no_criteria, "reports/gate.json: expected the verdict that follows from its reports, got another"),
        (of_another_model, "reports/familiarity.json: expected a report made from models/unlearned "),
    ],
)
def test_only_reports_of_this_model_with_their_verdict_satisfy(
    asked: Path, spoil: Callable[[Path], None], line: str
) -> None:
    add("first")
    made(asked, 11.0)
    spoil(asked)
    with pytest.raises(StageError) as error:
        requests.satisfy(["first"], Path("models/unlearned"), None)
    assert str(error.value).startswith(line)
    assert states()["first"].status == "open"


def test_a_lock_that_no_commit_holds_satisfies_nothing(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    add("first")
    made(asked, 11.0)
    recorded.git(asked, "init", "--quiet")
    recorded.commit(asked, "a run")
    made(asked, 12.0, "other weights")
    with pytest.raises(StageError, match=r"^dvc.lock: expected it in a commit, got another or none there"):
        requests.satisfy(["first"], Path("models/unlearned"), None)
