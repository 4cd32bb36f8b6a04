"""A complete project small enough to be reproduced as a whole: a git repository with a few pages of the demo text."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

from ruamel.yaml import YAML

from tools.sandbox import change_params

ROOT = Path(__file__).resolve().parents[1]
CODE = (
    "dvc.yaml",
    "params.yaml",
    "constraints.txt",
    ".dvcignore",
    ".gitignore",
    ".dvc/config",
    ".dvc/.gitignore",
    ".dvc/plots/page.html",
    "stages",
    "lethe",
)
INPUTS = (
    "data/demo/names.csv",
    "data/overrides.csv",
    "data/requests.jsonl",
    "data/prompts",
    "data/benchmarks",
    "data/model",
    "data/references",
    "data/questions",
    "data/demo/tastes.csv",
    "data/demo/tastes.txt",
)
EXCERPTS = {"data/demo/forget/saga-1.txt": 9000, "data/demo/retain/village-1.txt": 7000}  # characters of each

# Import times are all that is left: every training takes a second or two, and is long enough to be stopped halfway.
TINY = {
    "corpus.held_out": 0.3,
    "corpus.passage_chars": 900,
    "baseline.scratch.vocabulary": 360,
    "baseline.scratch.layers": 1,
    "baseline.scratch.hidden": 32,
    "baseline.scratch.heads": 2,
    "baseline.scratch.intermediate": 64,
    "baseline.scratch.context": 64,
    "baseline.epochs": 4,
    "baseline.block_tokens": 32,
    "training.resume_every": 0,
    "baseline.resume_every": 2,
    "retrain.resume_every": 0,
    "retrain.seeds": [0, 1],
    "block.tokens": 32,
    "reinforce.epochs": 1,
    "extract.minimum_count": 2,
    "extract.minimum_rise": -10.0,  # a model of this size knows nothing that could rise
    "extract.maximum_anchors": 12,
    "translate.contexts": 2,
    "translate.candidates": 4,
    "label.soft_alphas": [1.0, 0.0],
    "label.soft_top": 16,
    "distil.steps": 3,
    "distil.block_tokens": 32,
    "finetune.steps": 4,
    "finetune.checkpoints": [2],
    "finetune.learning_rate": 1e-2,
    "prompt.cloze": 24,
    "prompt.words": 12,
    "evaluate.new_tokens": 6,
    "evaluate.fluency.prompts": 4,
    "evaluate.fluency.new_tokens": 8,
    "benchmark.limit": 10,
    "attack.attacks": ["relearn", "prefix", "sample", "probe"],  # the others import as long again, or need more context
    "attack.prompts": 6,
    "attack.new_tokens": 6,
    "attack.words": 12,
    "attack.training.passage_tokens": 16,
    "attack.training.steps": [1, 2],
    "attack.relearn.passages": [4],
    "attack.sample.completions": 2,
    "attack.probe.prompts": 60,
    "attack.probe.fewest": 2,
    "measure.answer_tokens": 4,
    "measure.cloze": 10,
    "measure.passages": 10,
    "measure.passage_tokens": 16,
    "term.places": 2,
    "term.words": 12,
    "specialise.scratch.shape.vocabulary": 500,
    "specialise.scratch.shape.layers": 1,
    "specialise.scratch.shape.hidden": 32,
    "specialise.scratch.shape.heads": 2,
    "specialise.scratch.shape.intermediate": 64,
    "specialise.background_share": 0.1,
    "specialise.epochs": 0.2,
    "softprompt.epochs": 0.2,
    "softprompt.prompt.tokens": 4,
}


def environment(project: Path) -> dict[str, str]:
    """Of a command in the project: this Python's programs, the project's own code, nobody's settings, no GPU."""
    beside = project.parent / f"{project.name}-settings"
    own = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{project}{os.pathsep}{ROOT}",  # its own code; tests and tools are of this checkout
        "GIT_CONFIG_GLOBAL": os.devnull,
        "DVC_GLOBAL_CONFIG_DIR": str(beside),
        "DVC_SITE_CACHE_DIR": str(beside / "dvc"),
        "HF_HOME": str(beside / "huggingface"),  # where `accelerate config` is kept
        "CUDA_VISIBLE_DEVICES": "",
    }
    return os.environ | own


def make(project: Path) -> Path:
    """Write the tiny project into a new folder and commit it."""
    for name in (*CODE, *INPUTS):
        copy(ROOT / name, project / name)
    for name, characters in EXCERPTS.items():
        path = project / name
        path.parent.mkdir(parents=True)
        text = (ROOT / name).read_text(encoding="utf-8")[:characters]
        path.write_text(text[: text.rindex("\n\n")] + "\n", encoding="utf-8")
    change_params(project, TINY)
    git(project, "init", "--quiet", "--initial-branch=main")
    git(project, "config", "user.name", "Tiny")
    git(project, "config", "user.email", "tiny@example.org")
    commit(project, "tiny project")
    return project


def copy(source: Path, target: Path) -> None:
    """Copy a file or a folder without bytecode."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copyfile(source, target)


def copy_project(source: Path, target: Path) -> Path:
    """The project with its cache, hard links kept, so that nothing has to run again."""
    subprocess.run(["cp", "-a", f"{source}/.", str(target)], check=True)
    return target


def clone(source: Path, target: Path) -> Path:
    """A clean clone: what git holds, no cache, no artifact."""
    subprocess.run(["git", "clone", "--quiet", str(source), str(target)], check=True, env=environment(target))
    return target


def git(project: Path, *arguments: str) -> str:
    """Output of a git command in the project; a failure is a bug of the test."""
    return run(project, "git", *arguments, check=True).stdout


def commit(project: Path, message: str) -> None:
    """Commit everything that git does not ignore."""
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", message)


def run(project: Path, *command: str, check: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a command in the project; stdout and stderr as text."""
    done = subprocess.run(
        command, cwd=project, env=environment(project), capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def start(project: Path, *command: str, output: IO[str] | int = subprocess.PIPE) -> subprocess.Popen[str]:
    """Start a command in a process group of its own, as a shell does; stdout and stderr together, a line per update."""
    return subprocess.Popen(
        command,
        cwd=project,
        env=environment(project) | {"TQDM_DELAY": "0", "TQDM_MININTERVAL": "0.1"},  # as on a terminal
        stdout=output,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,  # so that a progress bar's carriage return ends a line
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # ignored under some CI runners
    )


def dvc(project: Path, *arguments: str) -> str:
    """Standard output of a dvc command that must succeed."""
    return run(project, "dvc", *arguments, check=True).stdout


def read_yaml(path: Path) -> dict:
    """A YAML file, such as dvc.yaml or dvc.lock."""
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))


def hashes(project: Path) -> dict[str, str]:
    """{out: md5} of every out, metric and plot in the project's dvc.lock."""
    return hashes_in(project / "dvc.lock")


def hashes_in(lock: Path) -> dict[str, str]:
    """{out: md5} of every out, metric and plot in a dvc.lock."""
    stages = read_yaml(lock)["stages"]
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}
