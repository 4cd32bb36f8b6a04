"""The pipeline as a person runs it, through `dvc`: what is skipped, what runs again, what survives a stop."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lethe.text.passages import KINDS
from tests import tiny
from tools.sandbox import change_params
from tools.structure import ROOT, code_deps

pytestmark = pytest.mark.slow

STAGES = list(tiny.read_yaml(ROOT / "dvc.yaml")["stages"])
REFUSED = "error: baseline: another process is running this stage; wait for it or stop it"
FULL = "no space left on the disk; free some and run `dvc repro` again"


def ran(output: str) -> list[str]:
    """The stages that dvc ran, in order."""
    return re.findall(r"^Running stage '(\w+)'", output, re.MULTILINE)


def importers(dep: str) -> set[str]:
    """The stages whose code the package, or the module outside one, is part of, read from the sources."""
    return {stage for stage in STAGES if dep in code_deps(stage)}


def trainers(project: Path) -> list[int]:
    """Processes of the baseline stage: where nobody configured several, it runs in its launcher's own."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
            inside = (folder / "cwd").resolve() == project
        except OSError:  # gone, or not ours to see
            continue
        if inside and command[1:4] == [b"-m", b"lethe.launch", b"stages.baseline"]:
            found.append(int(folder.name))
    return found


def checkpoints(project: Path) -> list[int]:
    """Steps of the checkpoints that a stopped baseline goes on from."""
    found = project.glob(".scratch/baseline/*/trainer/checkpoint-*/trainer_state.json")
    return sorted(int(path.parent.name.split("-")[1]) for path in found)


def wait_for(condition: Callable[[], object], running: subprocess.Popen | None = None) -> None:
    """Wait until the condition holds; fails after five minutes, or when the process ends before that."""
    deadline = time.monotonic() + 300
    while not condition():
        ended = running is not None and running.poll() is not None
        assert not ended, f"ended too soon: {running.communicate()[0]}"  # type: ignore[union-attr]
        assert time.monotonic() < deadline, "expected the condition before the deadline, got a timeout"
        time.sleep(0.01)


def steps_shown(output: str) -> list[int]:
    """The step counts of the baseline's progress bar, 0 left out."""
    return [int(step) for step in re.findall(r"^baseline: .*\| (\d+)/\d+ \[", output, re.MULTILINE) if int(step)]


def only_line(output: str, wanted: str) -> None:
    """Assert that the output says `wanted` in a line of its own, once, and that nothing in it is a traceback."""
    assert output.splitlines().count(wanted) == 1, output
    assert "Traceback" not in output


def test_git_holds_what_a_person_can_read_and_nothing_else(reproduced: Path) -> None:
    added = set(tiny.git(reproduced, "diff", "--name-only", "--diff-filter=A", "HEAD~1", "HEAD").split())
    uncached = {out for out in tiny.hashes(reproduced) if re.fullmatch(r"reports/.*\.(json|csv)", out)}
    assert added == uncached | {"dvc.lock"}


def test_everything_is_made_and_readable(reproduced: Path) -> None:
    lock = tiny.read_yaml(reproduced / "dvc.lock")["stages"]
    assert list(lock) == STAGES
    assert all((reproduced / out).exists() for out in tiny.hashes(reproduced))
    reports = {path.stem: json.loads(path.read_text()) for path in (reproduced / "reports").glob("*.json")}
    assert reports["familiarity"]["prompts"] > 0
    assert list(reports["familiarity"]["models"]) == [
        *("baseline", "retrained", "retrained-2", "step-00002", "suppressed", "unlearned")
    ]
    assert reports["benchmarks"]["items"] == {"local_ending": 10, "local_order": 10}
    assert reports["labels"]["anchors_matched"] > 0
    assert reports["finetune"]["weights_changed"] > 0


def test_second_run_skips_everything(reproduced: Path) -> None:
    output = tiny.dvc(reproduced, "repro")
    skipped = re.findall(r"^Stage '(\w+)' didn't change, skipping", output, re.MULTILINE)
    assert skipped == STAGES


def test_two_clean_clones_give_the_same_bytes(twins: tuple[Path, Path]) -> None:
    first, second = twins
    assert tiny.hashes(first) == tiny.hashes(second)
    assert len(tiny.hashes(first)) == len(set(tiny.hashes(first))) >= 20


def test_changed_parameter_of_evaluate_reruns_what_depends_on_it_alone(copy: Path) -> None:
    before = tiny.hashes(copy)
    change_params(copy, {"evaluate.new_tokens": 5})
    assert ran(tiny.dvc(copy, "repro")) == ["evaluate", "report"]
    after = tiny.hashes(copy)
    changed = {out for out in after if after[out] != before[out]}
    assert "data/completions.jsonl" in changed
    assert not [out for out in changed if out.startswith("models/")]


@pytest.mark.parametrize("module", ["lethe/text/matching.py", "lethe/training/loop.py", "lethe/evaluation/lm_eval.py"])
def test_changed_comment_touches_the_stages_that_import_the_package(copy: Path, module: str) -> None:
    with (copy / module).open("a", encoding="utf-8") as stream:
        stream.write("# a comment\n")
    changed = {}
    for stage, reasons in json.loads(tiny.dvc(copy, "status", "--json")).items():
        deps = [reason.get("changed deps", {}) for reason in reasons]
        changed[stage] = {path for paths in deps for path in paths}
    package = str(Path(module).parent)
    assert changed == {stage: {package} for stage in importers(package)}


def test_changed_comment_reruns_the_stage_and_gives_the_same_bytes(copy: Path) -> None:
    before = tiny.hashes(copy)
    with (copy / "lethe/report/step_table.py").open("a", encoding="utf-8") as stream:
        stream.write("# a comment\n")
    assert ran(tiny.dvc(copy, "repro")) == sorted(importers("lethe/report")) == ["report"]
    assert tiny.hashes(copy) == before


def corpus_of_experiment(project: Path) -> str:
    """Run the corpus stage as an experiment in a folder of its own. Returns the md5 of the corpus it made."""
    output = tiny.dvc(project, "exp", "run", "--temp", "corpus")
    name = re.search(r"^Ran experiment\(s\): (\S+)$", output, re.MULTILINE)
    assert name, output
    reference = tiny.git(project, "for-each-ref", "--format=%(refname)", f"refs/exps/**/{name[1]}").strip()
    lock = tiny.git(project, "show", f"{reference}:dvc.lock")
    (project / "lock-of-experiment").write_text(lock, encoding="utf-8")
    return tiny.hashes_in(project / "lock-of-experiment")["data/corpus.parquet"]


NEW_TEXT = "A lamp burned in the window of the mill until the morning, and nobody knew who had lit it.\n"


def test_new_file_in_a_folder_of_dvc_reaches_an_experiment(copy: Path) -> None:
    before = tiny.hashes(copy)["data/corpus.parquet"]
    (copy / "data/demo/forget").rename(copy / "data/forget")
    change_params(copy, {"corpus.forget": "data/forget"})
    tiny.dvc(copy, "add", "data/forget")
    tiny.dvc(copy, "repro", "corpus")
    tiny.commit(copy, "text of my own")
    assert tiny.hashes(copy)["data/corpus.parquet"] == before  # the same text under another name
    (copy / "data/forget/new.txt").write_text(NEW_TEXT, encoding="utf-8")
    assert corpus_of_experiment(copy) != before


def test_new_file_in_a_folder_of_git_is_not_seen_by_an_experiment(copy: Path) -> None:
    # why a person's own text is to be `dvc add`ed: an untracked file is left behind without a word
    before = tiny.hashes(copy)["data/corpus.parquet"]
    (copy / "data/demo/forget/new.txt").write_text(NEW_TEXT, encoding="utf-8")
    assert corpus_of_experiment(copy) == before


def test_an_experiment_can_be_compared(copy: Path) -> None:
    output = tiny.dvc(copy, "exp", "run", "--set-param", "finetune.alpha=0.0")
    later = {"finetune", "distil", "evaluate", "benchmark", "measure", "term", "attack", "report"}
    assert set(ran(output)) == later
    assert ran(output)[0] == "finetune"

    params = tiny.dvc(copy, "params", "diff", "--md")
    assert cells(params, "finetune.alpha")[1:] == ["finetune.alpha", "1.0", "0.0"]

    metrics = tiny.dvc(copy, "metrics", "diff", "--md", "--precision", "6")
    before, after, change = map(float, cells(metrics, "retain_perplexity")[2:])
    assert change == pytest.approx(after - before, abs=1e-5) != 0
    assert {line.split("|")[1].strip() for line in metrics.splitlines()[2:] if line} >= {"reports/gate.json"}

    tiny.dvc(copy, "plots", "diff")
    page = (copy / "dvc_plots/index.html").read_text(encoding="utf-8")
    assert not re.search(r"\s(src|href)=", page)  # it asks nothing of a network
    plots = json.loads(tiny.dvc(copy, "plots", "diff", "--json"))["data"]
    for name, settings in (item for plot in tiny.read_yaml(copy / "dvc.yaml")["plots"] for item in plot.items()):
        assert settings["title"] in page
        assert plots[name][0]["revisions"] == ["workspace", "HEAD"]
    points = plots["retain perplexity"][0]["content"]["data"]["values"]
    drawn = {point["rev"]: float(point["retain_perplexity"]) for point in points if point["model"] == "unlearned"}
    (baseline,) = {float(point["retain_perplexity"]) for point in points if point["model"] == "baseline"}
    factors = {revision: value / baseline for revision, value in drawn.items()}
    assert factors == pytest.approx({"HEAD": before, "workspace": after}, abs=1e-4)

    drop = ".*(/|yaml).*"  # files: what is left are parameters and results
    table = tiny.dvc(copy, "exp", "show", "--md", "--only-changed", "--hide-workspace", "--drop", drop)
    header, _, *rows = [line.split("|") for line in table.splitlines() if line]
    column = [cell.strip() for cell in header].index("finetune.alpha")
    assert [float(row[column]) for row in rows] == [1, 0]  # the commit and, below it, the experiment
    assert "retain_perplexity" in table

    assert "??" not in tiny.git(copy, "status", "--porcelain")  # all that these commands write is ignored


def test_objectives_and_tunings_queue_as_experiments(copy: Path) -> None:
    wanted = {"npo": ["finetune.objective=npo"], "prompt": ["+finetune.tuning=prompt", "finetune.prompt.tokens=4"]}
    for name, changes in wanted.items():
        settings = [part for change in changes for part in ("--set-param", change)]
        tiny.dvc(copy, "exp", "run", "--queue", "--name", name, *settings, "finetune")
    tiny.dvc(copy, "exp", "run", "--run-all", "--jobs", "1")
    for name, values in {"npo": ("npo", "full"), "prompt": ("generic_labels", "prompt")}.items():
        reference = tiny.git(copy, "for-each-ref", "--format=%(refname)", f"refs/exps/**/{name}").strip()
        report = json.loads(tiny.git(copy, "show", f"{reference}:reports/finetune.json"))
        assert (report["objective"], report["tuning"]) == values


def cells(table: str, wanted: str) -> list[str]:
    """The cells of the one line of a Markdown table that has `wanted` in a cell."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    (row,) = [row for row in rows if wanted in row]
    return row


def test_a_training_stopped_twice_gives_the_bytes_of_an_undisturbed_one(unrun: Path, reproduced: Path) -> None:
    interrupted = tiny.start(unrun, "dvc", "repro", "baseline")
    wait_for(lambda: checkpoints(unrun) and checkpoints(unrun)[-1] >= 8, interrupted)
    os.killpg(interrupted.pid, signal.SIGINT)  # Ctrl-C: dvc, the launcher and the trainer all get it
    output = interrupted.communicate()[0]
    assert interrupted.returncode != 0
    only_line(output, "baseline: interrupted; `dvc repro` resumes from here")  # the launcher says nothing
    assert done(unrun) == {"data/corpus.parquet"}

    killed = tiny.start(unrun, "dvc", "repro", "baseline")
    first = checkpoints(unrun)[-1]
    wait_for(lambda: checkpoints(unrun) and checkpoints(unrun)[-1] >= first + 12, killed)
    (trainer,) = trainers(unrun)
    os.kill(trainer, signal.SIGKILL)
    output = killed.communicate()[0]
    assert killed.returncode != 0
    assert "Traceback" not in output
    assert min(steps_shown(output)) > first  # it went on from the checkpoint
    assert done(unrun) == {"data/corpus.parquet"}

    second = checkpoints(unrun)[-1]
    finished = tiny.start(unrun, "dvc", "repro", "baseline")
    output = finished.communicate()[0]
    assert finished.returncode == 0, output
    assert min(steps_shown(output)) > second
    assert_same_baseline(unrun, reproduced)


def test_only_one_process_runs_a_stage(unrun: Path, reproduced: Path) -> None:
    first = tiny.start(unrun, "dvc", "repro", "baseline")
    wait_for(lambda: checkpoints(unrun), first)
    (trainer,) = trainers(unrun)
    os.kill(trainer, signal.SIGSTOP)  # so that it is there for as long as it takes
    try:
        second = tiny.run(unrun, "dvc", "repro", "baseline")
        assert second.returncode != 0
        assert "is busy, it is being blocked by" in second.stderr  # dvc's own words
        assert ran(second.stdout) == []

        alone = tiny.run(unrun, "python", "-m", "stages.baseline")
        assert (alone.returncode, alone.stderr.splitlines()) == (1, [REFUSED])

        os.kill(first.pid, signal.SIGKILL)  # the trainer outlives its dvc
        first.wait()
        beside = tiny.run(unrun, "dvc", "repro", "baseline")
        assert beside.returncode != 0
        only_line(beside.stderr, REFUSED)
        assert done(unrun) == {"data/corpus.parquet"}
    finally:
        os.kill(trainer, signal.SIGCONT)
    wait_for(lambda: not trainers(unrun))
    tiny.dvc(unrun, "repro", "baseline")
    assert_same_baseline(unrun, reproduced)


def done(project: Path) -> set[str]:
    """The outs that count as done: in dvc.lock, or where they belong."""
    outs = set(tiny.hashes(project)) if (project / "dvc.lock").exists() else set()
    return outs | {f"models/{path.name}" for path in (project / "models").glob("*") if path.is_dir()}


def assert_same_baseline(project: Path, reproduced: Path) -> None:
    wanted = tiny.hashes(reproduced)
    found = tiny.hashes(project)
    assert set(found) == {"data/corpus.parquet", "models/start", "models/baseline", "reports/loss/baseline.csv"}
    assert found == {out: wanted[out] for out in found}
    assert not list((project / ".scratch/baseline").glob("*/"))  # nothing half-done is left


def binary(folder: Path) -> None:
    (folder / "picture.txt").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\xff")


def empty(folder: Path) -> None:
    (folder / "saga-1.txt").unlink()


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (empty, f"error: data/demo/forget: expected UTF-8 text in {KINDS} files, got none"),
        (binary, "error: data/demo/forget/picture.txt: not UTF-8; expected a UTF-8 text file"),
    ],
)
def test_text_that_cannot_be_used(unrun: Path, spoil: Callable[[Path], None], line: str) -> None:
    spoil(unrun / "data/demo/forget")
    repro = tiny.run(unrun, "dvc", "repro")
    assert repro.returncode != 0
    only_line(repro.stderr, line)
    assert ran(repro.stdout) == ["corpus"]
    assert done(unrun) == set()
    assert not (unrun / "data/corpus.parquet").exists()


def test_every_problem_in_params_is_told_before_the_first_stage(unrun: Path) -> None:
    params = unrun / "params.yaml"
    text = params.read_text(encoding="utf-8")
    text = text.replace("  near_duplicate:", "  near_duplicates:").replace("  new_tokens: 6", "  new_tokens: six", 1)
    params.write_text(text, encoding="utf-8")
    check = tiny.run(unrun, "lethe", "check")
    assert check.returncode == 1
    assert check.stderr.splitlines() == [
        "error: params.yaml: 3 problems",
        "  corpus.near_duplicate: parameter is missing",
        "  corpus.near_duplicates: unknown parameter; did you mean near_duplicate?",
        "  evaluate.new_tokens: expected an integer, got 'six'",
    ]


def test_problem_of_a_training_is_one_line_in_spite_of_the_launcher(unrun: Path) -> None:
    change_params(unrun, {"baseline.source": "folder"})
    repro = tiny.run(unrun, "dvc", "repro", "baseline")
    assert repro.returncode != 0
    only_line(repro.stderr, "error: data/model: expected a model folder with its config.json, got none")
    assert done(unrun) == {"data/corpus.parquet"}


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own in memory; skips where it may not be mounted."""
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mount.returncode:
        pytest.skip("no right to mount a small disk; run as root, in a container with CAP_SYS_ADMIN")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path, spare: int) -> None:
    """Leave no more than `spare` bytes free, a multiple of 4096."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as stream:
        try:
            while stream.write(b"x" * 4096):
                pass
        except OSError:
            stream.truncate(stream.tell() - spare)


def test_a_full_disk_is_one_line_and_nothing_counts_as_done(unrun: Path, reproduced: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "8m") as disk:
        project = tiny.copy_project(unrun, disk)
        fill(disk, spare=3 * 4096)  # enough for dvc's own notes
        repro = tiny.run(project, "dvc", "repro", "baseline")
        assert repro.returncode != 0
        only_line(repro.stderr, f"error: corpus: {FULL}")
        assert done(project) == set()
        (disk / "filler").unlink()

        training = tiny.start(project, "dvc", "repro", "baseline")
        wait_for(lambda: checkpoints(project), training)
        (trainer,) = trainers(project)
        os.kill(trainer, signal.SIGSTOP)
        fill(disk, spare=3 * 4096)  # enough for the next checkpoint's config, not for its weights
        os.kill(trainer, signal.SIGCONT)
        output = training.communicate()[0]
        assert training.returncode != 0
        only_line(output, f"error: baseline: {FULL}")
        assert done(project) == {"data/corpus.parquet"}
        (disk / "filler").unlink()

        tiny.dvc(project, "repro", "baseline")
        assert_same_baseline(project, reproduced)
