"""Rebuild what a stage made, from the recorded inputs in a clean temporary clone, and compare it with the record."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from lethe.console import Json, console, end, print_json
from lethe.core.errors import StageError
from lethe.custody.plain_git import plain
from lethe.provenance.artifact_store import cache_of
from lethe.provenance.audit import Ref

if TYPE_CHECKING:
    from lethe.provenance.history import History, Lock

# On a GPU the order of additions is not fixed. The weights of two runs of one training then differ, by far less than
# the training moved them; a run on other data or with other parameters differs by as much as it moved them.
TOLERANCE = 1e-3  # of the tensors: norm of the difference over norm of the recorded tensor, over all of a model
NUMBERS = 0.02  # of each number in a report: relative, or absolute below one
PROVENANCE = "provenance.json"  # of a model that finetune made


class Recorded(NamedTuple):
    """A stage as one dvc.lock has it, and the commit that brought it."""

    stage: str
    lock: Lock
    commit: str
    cmd: list[str]  # as its dvc.yaml has it
    deps: dict[str, str]
    outs: dict[str, str]


def command(
    model: Annotated[str, typer.Argument(help="A model folder or file that the pipeline made, or the md5 of one.")],
    stage: Annotated[
        str | None,
        typer.Option(help="Rebuild this stage of the same dvc.lock; default: the one that made the model."),
    ] = None,
    keep: Annotated[bool, typer.Option(help="Keep the clone and print its path.")] = False,
    whole: Annotated[
        bool, typer.Option("--chain", help="Rebuild every stage of the chain, from the corpus to the model.")
    ] = False,
    ref: Ref = "HEAD",
    json: Json = False,
) -> None:
    """Run a stage again, in a clean clone of the commit that recorded it, and compare every byte it makes.

    The commit is one that HEAD, or the --ref, was made from, and the command is that of its dvc.yaml: a command that
    only dvc.lock has is not run.

    On the CPU the bytes must be equal. On a GPU the weights may differ by 0.1 % of their norm and each number of a
    report by 2 %; more counts as another model. Exit code 3 if anything differs. With --chain each stage gets the
    inputs that were recorded, a stage that cannot be run again is named with the reason, and the exit code is then 1 if
    nothing differs. Nothing of this project is changed.
    """
    from lethe.provenance.history import open_history

    history = open_history(Path(), ref)
    if whole:
        return finish_chain([attempted(history, lock, name) for lock, name in chain_of(history, model)], json)
    recorded = found(history, model, stage)
    folder = Path(tempfile.mkdtemp(prefix="lethe-replay-"))
    try:
        clone = prepared(history, recorded, folder / "clone")
        run(recorded, clone)
        answer = judged(history, recorded, clone)
    finally:
        if not keep:
            shutil.rmtree(folder)
    if keep:
        answer["clone"] = str(clone)
    if json:
        print_json(answer)
    else:
        show(answer)
    end(answer["same"])


def attempted(history: History, lock: Lock, stage: str) -> dict[str, Any]:
    """The answer for one stage of a chain, or why it could not be run again."""
    folder = Path(tempfile.mkdtemp(prefix="lethe-replay-"))
    try:
        recorded = record_of(history, lock, stage)
        clone = prepared(history, recorded, folder / "clone")
        run(recorded, clone)
        return judged(history, recorded, clone)
    except StageError as error:
        return {"stage": stage, "commit": lock.commits[0].id, "same": None, "why": str(error)}
    finally:
        shutil.rmtree(folder)


def finish_chain(answers: list[dict[str, Any]], json: bool) -> None:
    """Print every answer, and exit with 0, 3 if a stage made something else, 1 if one could not be run again."""
    same = [answer["same"] for answer in answers]
    if json:
        print_json({"same": False if False in same else None if None in same else True, "stages": answers})
    else:
        for answer in answers:
            show(answer) if "why" not in answer else print(f"replay: {answer['stage']}: not replayed: {answer['why']}")
        print(
            f"replay: {same.count(True)} stages made the same, {same.count(False)} not, {same.count(None)} not replayed"
        )
    if None in same and False not in same:
        raise typer.Exit(1)
    end(False not in same)


# What is rebuilt


def chain_of(history: History, model: str) -> list[tuple[Lock, str]]:
    """(dvc.lock, stage) of everything that led to the model, in the order of the pipeline."""
    from lethe.provenance.history import recorded as stages_of
    from lethe.provenance.lineage import Found, chain, outs_of

    md5, index = identity(model), outs_of(history)
    if md5 not in index:
        raise StageError(f"{model}: no dvc.lock in the history has its md5 {md5}; `lethe audit` lists the nearest")
    links = chain(history, Found(next(iter(index[md5])), md5, ""), index)
    wanted = {link.stage: stages_of(history.locks[link.lock].text)[link.stage] for link in links if link.stage}
    locks = {lock: stages_of(lock.text) for lock in reversed(history.locks)}  # the newest record of the same counts
    steps = [(next(lock for lock in locks if locks[lock].get(name) == entry), name) for name, entry in wanted.items()]
    return sorted(steps, key=lambda step: list(locks[step[0]]).index(step[1]))


def found(history: History, model: str, stage: str | None) -> Recorded:
    """The newest record of the model, or of another stage in the same dvc.lock.

    Raises StageError if there is none, or if its command is not that of dvc.yaml.
    """
    from lethe.provenance.history import recorded as stages_of

    md5 = identity(model)
    stages = ((lock, name, entry) for lock in history.locks for name, entry in stages_of(lock.text).items())
    makers = [(lock, name) for lock, name, entry in stages if md5 in entry.outs.values()]
    if not makers:
        raise StageError(f"{model}: no dvc.lock in the history has its md5 {md5}; `lethe audit` lists the nearest")
    lock, maker = makers[-1]
    entries, name = stages_of(lock.text), stage or maker
    if name not in entries:
        raise StageError(f"replay: --stage: expected one of {', '.join(entries)}, got {name}")
    return record_of(history, lock, name)


def record_of(history: History, lock: Lock, stage: str) -> Recorded:
    """A stage as a dvc.lock has it. Raises StageError if its command or a path of it is not to be trusted."""
    from lethe.provenance.history import read_lock
    from lethe.provenance.history import recorded as stages_of

    entry = stages_of(lock.text)[stage]
    for path in (*entry.deps, *entry.outs):
        check_path(path)
    commit = commit_with(history, lock, entry.deps)
    cmd = command_of(history, commit, stage, read_lock(lock.text)["stages"][stage].get("cmd"))
    return Recorded(stage, lock, commit, cmd, *entry)


def check_path(path: str) -> None:
    """Raise StageError for a recorded path that leads out of the project: outs are deleted before they are made."""
    from lethe.provenance.history import leads_out

    if leads_out(path):
        raise StageError(f"dvc.lock: expected paths inside the project, got {path}; nothing was run")


def command_of(history: History, commit: str, stage: str, cmd: Any) -> list[str]:
    """The commands of a stage by the commit's dvc.yaml. Raises StageError unless dvc.lock recorded the same."""
    from lethe.provenance.history import files_at, read_yaml_text

    text = files_at(history.project, commit, ["dvc.yaml"]).get("dvc.yaml", b"")
    content = read_yaml_text(text.decode(errors="replace"))
    stages = content.get("stages") if isinstance(content, dict) else None
    entry = stages.get(stage) if isinstance(stages, dict) else None
    wanted = entry.get("cmd") if isinstance(entry, dict) else None
    if not wanted or cmd != wanted or (isinstance(entry, dict) and "wdir" in entry):
        raise StageError(
            f"replay: {stage}: expected the command of dvc.yaml in commit {commit[:12]} ({wanted or 'none there'}), "
            f"got {cmd or 'none'} in its dvc.lock; nothing was run"
        )
    return [str(each) for each in wanted] if isinstance(wanted, list) else [str(wanted)]


def commit_with(history: History, lock: Lock, deps: Mapping[str, str]) -> str:
    """The first commit with this dvc.lock that also holds the code it records; the first one if none does."""
    from lethe.provenance.code import md5s_at

    for commit in lock.commits:
        held = md5s_at(history, commit.id, deps)
        if all(deps[path] == md5 for path, md5 in held.items()):
            return commit.id
    return lock.commits[0].id


def identity(model: str) -> str:
    """The md5 that a model is recorded under: given as such, or that of the folder or file."""
    from lethe.provenance.fingerprint import path_md5 as md5_of

    if re.fullmatch(r"[0-9a-f]{32}(\.dir)?", model) and not Path(model).exists():
        return model
    if not Path(model).exists():
        raise StageError(f"{model}: no such folder or file; expected a model or its md5; `dvc checkout` may restore it")
    return md5_of(Path(model))


# The clone


def prepared(history: History, recorded: Recorded, target: Path) -> Path:
    """A clone of the commit with the stage's inputs, and none of its outs, all of them as recorded.

    Raises StageError naming the first input that is missing or not as recorded. Returns the project's folder in it.
    """
    root = history.project.folder
    top = root if not history.project.prefix else root.parents[history.project.prefix.count("/") - 1]
    call(["git", "clone", "--quiet", "--no-checkout", "--shared", str(top), str(target)], top)
    call(["git", "checkout", "--quiet", "--detach", recorded.commit], target)
    clone = target / history.project.prefix
    check_inside(clone, own := clone / ".dvc/config.local")
    own.unlink(missing_ok=True)  # it may be a link to something else
    if (root / ".dvc/config.local").exists():  # remotes and their keys
        shutil.copy(root / ".dvc/config.local", own)
    share_cache(clone, cache_of(root))
    (clone / "dvc.lock").write_text(recorded.lock.text, encoding="utf-8")
    for path, md5 in recorded.deps.items():
        bring(clone, path, md5, recorded.commit)
    for out in recorded.outs:  # as DVC does: what is there in the end was made
        made = clone / out
        check_inside(clone, made)
        shutil.rmtree(made) if made.is_dir() and not made.is_symlink() else made.unlink(missing_ok=True)
    return clone


def check_inside(clone: Path, path: Path) -> None:
    """Raise StageError for a path whose folder in the clone is a link out of it."""
    if not path.parent.resolve().is_relative_to(clone.resolve()):
        path = path.relative_to(clone)
        raise StageError(f"{path}: expected a path inside the clone, got a link out of it; nothing was run")


def share_cache(clone: Path, cache: Path) -> None:
    """Let the clone use the project's cache, by a link: DVC can write no path into its config that is not ASCII."""
    (clone / ".dvc/shared-cache").symlink_to(cache)
    call(["dvc", "cache", "dir", "--local", ".dvc/shared-cache"], clone)


def bring(clone: Path, path: str, md5: str, commit: str) -> None:
    """Put one input into the clone as it was recorded: from git, the cache, or a remote."""
    from lethe.provenance.fingerprint import path_md5 as md5_of

    check_inside(clone, clone / path)
    if not (clone / path).exists():
        got = subprocess.run(["dvc", "pull", "--quiet", path], cwd=clone, env=environment(clone), capture_output=True)
        if got.returncode or not (clone / path).exists():
            raise StageError(f"{path}: expected version {md5} in the cache or a remote, got it in neither")
    if md5_of(clone / path) != md5:
        raise StageError(
            f"{path}: expected {md5} as dvc.lock records, got {md5_of(clone / path)} in commit {commit[:12]} (the "
            "stage ran with files that were never committed, so it cannot be replayed)"
        )


def run(recorded: Recorded, clone: Path) -> None:
    """Run the recorded command in the clone; its output goes to stderr. Raises StageError if it fails."""
    for cmd in recorded.cmd:
        done = subprocess.run(cmd, shell=True, cwd=clone, env=environment(clone), stdout=2)  # stderr
        if done.returncode:
            raise StageError(f"replay: {recorded.stage}: `{cmd}` failed with exit code {done.returncode}")


def environment(clone: Path) -> dict[str, str]:
    """This Python's programs, the clone's code, and nothing that leads git from the clone to this project."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return plain() | {"PATH": path, "PYTHONPATH": str(clone)}


def call(command: list[str], folder: Path) -> None:
    """Run a command of git or DVC. Raises StageError with the line in which it says what is wrong, else its last."""
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().split("\n")
        said = next((line for line in lines if line.startswith(("fatal: ", "ERROR: "))), lines[-1])
        raise StageError(f"replay: {' '.join(command[:2])}: {said}")


# The comparison


def judged(history: History, recorded: Recorded, clone: Path) -> dict[str, Any]:
    """Each out with its verdict, and what may explain a difference."""
    from lethe.provenance.audit import scope_row
    from lethe.provenance.fingerprint import path_md5 as md5_of

    tolerant = on_gpu(recorded)
    outs = []
    for out, wanted in recorded.outs.items():
        made = md5_of(clone / out)
        row: dict[str, Any] = {"out": out, "recorded": wanted, "rebuilt": made, "same": made == wanted}
        if not row["same"]:
            row |= near(history, out, wanted, clone / out, tolerant)
        outs.append(row)
    return {
        "history": scope_row(history),
        "stage": recorded.stage,
        "commit": recorded.commit,
        "device": "GPU" if tolerant else "CPU",
        "demand": f"weights within {TOLERANCE}, numbers within {NUMBERS}" if tolerant else "equal bytes",
        "same": all(row["same"] for row in outs),
        "outs": outs,
        "versions": other_versions(history, recorded, clone),
    }


def on_gpu(recorded: Recorded) -> bool:
    """Whether this machine runs the stage on a GPU: code that imports no torch never does."""
    from lethe.provenance.history import params_of

    if "constraints.txt" not in recorded.deps or params_of(recorded.lock.text, recorded.stage).get("device") == "cpu":
        return False
    import torch

    return torch.cuda.is_available()


def near(history: History, out: str, md5: str, made: Path, tolerant: bool) -> dict[str, Any]:
    """How far the rebuilt out is from the recorded one, where that one is available, and whether that is allowed."""
    from lethe.provenance.fingerprint import path_md5 as md5_of

    old = history.project.folder / out
    if not old.exists() or md5_of(old) != md5:
        return {"distance": None, "why": "the recorded version is not here, so there is no distance"}
    if made.is_dir():
        distance = tensor_distance(old, made)
        same = tolerant and distance is not None and distance <= TOLERANCE
        return {"distance": distance, "same": same, "files": differing_files(old, made)}
    distance = number_distance(old.read_text(errors="replace"), made.read_text(errors="replace"))
    return {"distance": distance, "same": tolerant and distance is not None and distance <= NUMBERS}


def differing_files(old: Path, new: Path) -> list[str]:
    """The files of two folders that are not in both with the same bytes."""
    from lethe.provenance.fingerprint import md5_of, own_files

    theirs, ours = ({name: md5_of(path) for name, path in own_files(folder).items()} for folder in (old, new))
    return sorted(name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name))


def tensor_distance(old: Path, new: Path) -> float | None:
    """Norm of the difference over the norm of the old tensors, all of a model folder's as one vector.

    None where names or shapes differ, or a folder holds no tensors.
    """
    import torch

    squares = torch.zeros(2, dtype=torch.float64)
    theirs = tensors(old)
    for name, tensor in tensors(new):
        other_name, other = next(theirs, ("", None))
        if other is None or other_name != name or other.shape != tensor.shape:
            return None
        squares += torch.stack([(tensor.double() - other.double()).square().sum(), other.double().square().sum()])
    if next(theirs, None) is not None or not squares[1]:
        return None
    return float((squares[0] / squares[1]).sqrt())


def tensors(folder: Path) -> Iterator[tuple[str, Any]]:
    """(name, tensor) of every safetensors file below a folder, one in memory at a time."""
    from safetensors import safe_open

    for path in sorted(folder.rglob("*.safetensors")):
        with safe_open(path, "pt") as stored:
            for name in sorted(stored.keys()):
                yield f"{path.relative_to(folder)}:{name}", stored.get_tensor(name)


def number_distance(old: str, new: str) -> float | None:
    """The largest difference between the numbers of two texts, relative above one. None where anything else differs."""
    number = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
    if number.sub("", old) != number.sub("", new):
        return None
    pairs = zip(map(float, number.findall(old)), map(float, number.findall(new)), strict=True)
    return max((abs(mine - theirs) / max(1.0, abs(theirs)) for theirs, mine in pairs), default=0.0)


def other_versions(history: History, recorded: Recorded, clone: Path) -> dict[str, dict[str, str]]:
    """{package: recorded version and this one}, Python among them, of those that differ.

    Recorded are the versions that the run's unlearned model names, else the commit's constraints.txt; see `versions`.
    """
    from platform import python_version

    from lethe.preflight.doctor import version

    found = {}
    for name, wanted in recorded_versions(history, recorded, clone).items():
        here = python_version() if name == "python" else (version(name) or "none").split("+")[0]
        if here not in (wanted.split("+")[0], "none"):  # none: a pin of a package that is not needed
            found[name] = {"recorded": wanted, "here": here}
    return found


def recorded_versions(history: History, recorded: Recorded, clone: Path) -> dict[str, str]:
    """The versions of the run: pinned by its commit's constraints.txt, and as its unlearned model records them."""
    from lethe.custody.plain_data import json_object
    from lethe.custody.stated import part
    from lethe.preflight.doctor import pins
    from lethe.provenance.artifact_store import open_store, read_file
    from lethe.provenance.history import recorded as stages_of

    path = clone / "constraints.txt"
    pinned = pins(path.read_text(encoding="utf-8")) if path.exists() else {}
    outs = {out: md5 for entry in stages_of(recorded.lock.text).values() for out, md5 in entry.outs.items()}
    models = [recorded.outs[out] for out in recorded.outs if out.startswith("models/")]
    models += [md5 for out, md5 in outs.items() if out == "models/unlearned"]  # of the same run, if not of this stage
    store = open_store(history.project)
    written = [part(json_object(read_file(store, md5, PROVENANCE) or b""), "versions") for md5 in models]
    return pinned | {name: str(each) for name, each in next((found for found in written if found), {}).items()}


def show(answer: Mapping[str, Any]) -> None:
    """Print one line per out, and the verdict."""
    out = console()
    for row in answer["outs"]:
        word = "equal bytes" if row["recorded"] == row["rebuilt"] else "within tolerance" if row["same"] else "DIFFERS"
        apart = f", distance {row['distance']:.2g}" if row.get("distance") is not None else ""
        files = f" in {', '.join(row['files'])}" if row.get("files") else ""
        text = f"{row['out']}: {word}{files}{apart} ({row['recorded'][:12]}, rebuilt {row['rebuilt'][:12]})"
        out.print(text, markup=False, soft_wrap=True)
    if "clone" in answer:
        out.print(f"the clone: {answer['clone']}", markup=False, soft_wrap=True)
    verdict = "the same" if answer["same"] else "not the same"
    others = [f"{name} {pair['recorded']}, here {pair['here']}" for name, pair in answer["versions"].items()]
    out.print(
        f"replay: {answer['stage']} of commit {answer['commit'][:12]}, rebuilt on the {answer['device']}: {verdict} "
        f"(required: {answer['demand']}){'; made with ' if others else ''}{'; '.join(others)}",
        markup=False,
        soft_wrap=True,
    )
