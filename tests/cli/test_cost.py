"""`lethe cost`: what stages left in .scratch/cost, added up by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lethe.cli import commands, cost
from lethe.cli.cost import Cost
from lethe.core.errors import StageError

NUMBERS: dict[str, float | None] = {
    "cpu_seconds": 190.5,
    "gpu_seconds": 60.0,
    "wall_seconds": 100.0,
    "peak_memory_mib": 800.0,
    "peak_gpu_memory_mib": 2048.0,
    "tokens": 250_000,
    "tokens_per_second": 2500.0,
}


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pipeline of three stages, of which two have run here, one of them on a GPU."""
    (tmp_path / "dvc.yaml").write_text("stages:\n  corpus: {}\n  baseline: {}\n  prompt: {}\n")
    folder = tmp_path / ".scratch/cost"
    folder.mkdir(parents=True)
    baseline = {name: value for name, value in NUMBERS.items() if name != "tokens_per_second"}
    (folder / "baseline.json").write_text(json.dumps(baseline))
    prompt = {"cpu_seconds": 1.25, "wall_seconds": 1.5, "peak_memory_mib": 90.5}
    (folder / "prompt.json").write_text(json.dumps(prompt))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    return tmp_path


def test_costs_by_hand(ran: Path) -> None:
    found = cost.costs(Path("dvc.yaml"), cost.FOLDER)
    assert [(one.stage, one.ran) for one in found] == [("corpus", False), ("baseline", True), ("prompt", True)]
    assert found[1].numbers == NUMBERS  # 250,000 tokens in 100 s are 2,500 a second
    assert cost.total(found) == {
        "cpu_seconds": 191.75,  # 190.5 + 1.25
        "gpu_seconds": 60.0,
        "wall_seconds": 101.5,
        "peak_memory_mib": 800.0,  # the largest, not the sum
        "peak_gpu_memory_mib": 2048.0,
        "tokens": 250_000,
        "tokens_per_second": None,  # of one stage, not of all
    }


def test_the_table_and_the_page(ran: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands.cost(json=False)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line and set(line) - set("─ ")] == [
        "stage CPU seconds GPU seconds seconds peak memory, MiB peak GPU memory, MiB tokens read tokens per second",
        "corpus not run here",
        "baseline 190 60 100 800 2,048 250,000 2,500",
        "prompt 1.2 1.5 90",
        "total 192 60 102 800 2,048 250,000",
        "As a page: .scratch/cost/index.html",
    ]
    page = (ran / ".scratch/cost/index.html").read_text()
    assert "not run here" in page
    assert '<i style="width:1.5%">' in page  # 1.5 s of the longest, 100 s


def test_without_a_gpu_there_is_no_column_for_it(ran: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (ran / ".scratch/cost/baseline.json").unlink()
    commands.cost(json=False)
    shown = capsys.readouterr().out
    assert "GPU" not in shown
    assert "tokens" not in shown


def test_json(ran: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands.cost(json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["stages"]["baseline"] == NUMBERS
    assert found["not_run_here"] == ["corpus"]
    assert found["total"]["cpu_seconds"] == 191.75


def test_nothing_has_run(ran: Path) -> None:
    for path in (ran / ".scratch/cost").iterdir():
        path.unlink()
    with pytest.raises(StageError) as error:
        commands.cost(json=False)
    assert str(error.value) == (
        ".scratch/cost: expected the cost of at least one stage run on this machine, got none; run `dvc repro`"
    )


@pytest.mark.parametrize("content", ["[1]", "{"])
def test_a_broken_record(ran: Path, content: str) -> None:
    (ran / ".scratch/cost/prompt.json").write_text(content)
    with pytest.raises(StageError) as error:
        cost.costs(Path("dvc.yaml"), cost.FOLDER)
    assert str(error.value) == (
        ".scratch/cost/prompt.json: expected the cost of a stage as a JSON object, got something else; delete it"
    )


def test_shown() -> None:
    assert [cost.shown(value) for value in (None, 0.04, 9.94, 10.6, 1234.5)] == ["", "0.0", "9.9", "11", "1,234"]
    assert Cost("x", {}, ran=True).stage == "x"
