"""`lethe requests`: a chain that notices every change, and requests that are satisfied only by what dvc.lock proves."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from lethe.core.errors import StageError
from lethe.core.hashing import path_sha256
from lethe.core.tables import write_json
from lethe.erasure import requests
from lethe.provenance.fingerprint import path_md5 as md5_of
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


def made(project: Path, perplexity: float, weights: str = "weights") -> None:
    """What `dvc repro` leaves behind: a model, dvc.lock and a report."""
    write(project / "models/unlearned/model.safetensors", weights)
    folder, model = md5_of(project / "data/forget"), md5_of(project / "models/unlearned")
    write(
        project / "dvc.lock",
        f"""schema: '2.0'
stages:
  corpus:
    cmd: python -m stages.corpus
    deps:
    - path: data/forget
      hash: md5
      md5: {folder}
    outs:
    - path: data/corpus.parquet
      hash: md5
      md5: {"c" * 32}
  finetune:
    cmd: python -m stages.finetune
    deps:
    - path: data/corpus.parquet
      hash: md5
      md5: {"c" * 32}
    outs:
    - path: models/unlearned
      hash: md5
      md5: {model}
""",
    )
    models = {"baseline": {"leak": 0.8, "retain_perplexity": 10.0}}
    models["unlearned"] = {"leak": 0.1, "retain_perplexity": perplexity}
    write_json({"models": models}, project / "reports/familiarity.json")
    scores = {"baseline": {"order": 0.8, "ending": 0.6}, "unlearned": {"order": 0.75, "ending": 0.6}}
    write_json({"models": scores}, project / "reports/benchmarks.json")


def rows() -> list[dict[str, Any]]:
    return requests.read_ledger(requests.LEDGER)


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
    assert "satisfied" in capsys.readouterr().out


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
