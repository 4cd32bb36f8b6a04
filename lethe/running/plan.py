"""What a run of the pipeline will do, before it runs: DVC's own status of each stage, in the order of the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lethe.core.errors import StageError
from lethe.core.params import read_yaml

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import Stage
    from networkx import DiGraph

TASK = ("split", "specialise", "softprompt", "classify")  # SPUL's task: no other stage reads what these write
NAMES = {"spul": ("classify",)}  # a name for targets of dvc
FIRST = ("distil", "prompt", "evaluate")  # before what they do not need: they make the first verdict
NAMED = 3  # changed values or paths of a stage that are named
WORDS = {"modified": "changed", "deleted": "missing", "new": "new", "not in cache": "not in the cache"}


class Step(NamedTuple):
    """A stage of the run, or a .dvc file that records an input, and the reasons for which it will run, if any."""

    name: str  # by which dvc knows it
    changed: list[str]  # of its params, code, inputs or command
    missing: list[str]  # of what it writes
    after: list[str]  # the earlier stages that will run; it will run if their outs come out otherwise
    forced: bool = False

    @property
    def why(self) -> list[str]:
        """Its own reasons in words, else what it comes after; none if it will not run."""
        if own := [*self.changed, *self.missing]:
            return own
        return ["forced"] if self.forced else [f"after {', '.join(self.after)}"] if self.after else []


def targets_of(words: Sequence[str], stages: Sequence[str]) -> list[str]:
    """The targets that are meant, in the order in which they are wanted. stages: all of dvc.yaml.

    None named: every stage but those of SPUL's task, the ones that lead to a first verdict first.
    """
    if not words:
        default = [stage for stage in stages if stage not in TASK]
        return [*(stage for stage in FIRST if stage in default), *default]
    return [target for word in words for target in ([word] if word in stages else NAMES.get(word, [word]))]


def plan(targets: Sequence[str], force: bool = False) -> list[Step]:
    """The steps of a run for these targets. Raises StageError where DVC cannot read the pipeline or has no such target.

    Every target comes after all that it depends on, and before what only later targets need.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo, lock_repo

    try:
        with Repo(_wait_for_lock=True) as repo, lock_repo(repo):
            order = in_order(repo.index.graph, [stage for target in targets for stage in repo.stage.collect(target)])
            return planned(repo, order, force)
    except DvcException as error:
        raise StageError(f"repro: {str(error).splitlines()[0]}") from None


def in_order(graph: DiGraph, wanted: Sequence[Stage]) -> list[Stage]:
    """The wanted stages and all that they depend on, each after its dependencies. graph: from a stage to those."""
    place = {stage: number for number, stage in enumerate(graph)}  # that of dvc.yaml
    found: dict[Stage, None] = {}

    def add(stage: Stage) -> None:
        if stage in found:
            return
        for earlier in sorted(() if stage.frozen else graph.successors(stage), key=place.__getitem__):
            add(earlier)
        found[stage] = None

    for stage in wanted:
        add(stage)
    return list(found)


def planned(repo: Repo, order: Sequence[Stage], force: bool) -> list[Step]:
    """A step for each stage, with the reasons for which it will run."""
    lock, steps = Path("dvc.lock"), list[Step]()
    running: dict[Stage, str] = {}
    recorded = (read_yaml(lock).get("stages") or {}) if lock.exists() else {}
    for stage in order:
        name, status = stage.addressing, stage.status().get(stage.addressing, [])
        if stage.cmd and name not in recorded:
            step = Step(name, ["has not run yet"], [], [])
        else:
            earlier = [running[other] for other in repo.index.graph.successors(stage) if other in running]
            made = {str(out) for other in running for out in other.outs}
            params = recorded.get(name, {}).get("params", {})
            step = Step(name, list(changes(status, made, params)), list(missing(status)), earlier, force)
        if stage.cmd and step.why:
            running[stage] = name
        steps.append(step)
    return steps


def changes(status: Sequence[Any], made: set[str], recorded: Mapping[str, Any]) -> Iterator[str]:
    """What differs of a stage's command, params and inputs. made: outs of stages that will run before it.

    status: as DVC gives it. recorded: the values of each params file in dvc.lock.
    """
    for item in status:
        if isinstance(item, str):
            yield {"changed command": "its command changed", "always changed": "it always runs"}.get(item, item)
            continue
        states = item.get("changed deps", {})
        for path, state in states.items():
            if isinstance(state, Mapping):
                yield from changed_values(Path(path), state, recorded.get(path, {}))
        yield from told({path: word for path, word in states.items() if isinstance(word, str) and path not in made})


def missing(status: Sequence[Any]) -> Iterator[str]:
    """What differs of a stage's outs."""
    for item in status:
        if isinstance(item, Mapping):
            yield from told(item.get("changed outs", {}))


def told(states: Mapping[str, str]) -> Iterator[str]:
    """`lethe/core, lethe/text changed`, for each state that DVC knows."""
    for state in dict.fromkeys(states.values()):
        paths = [path for path, own in states.items() if own == state]
        more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
        yield f"{', '.join(paths[:NAMED])}{more} {WORDS.get(state, state)}"


def changed_values(path: Path, sections: Mapping[str, str], recorded: Mapping[str, Any]) -> Iterator[str]:
    """`finetune.steps 120 -> 60` for each value of a params file that differs from the recorded one."""
    now = read_yaml(path) if path.exists() else {}
    found = []
    for name in sections:
        before, after = (dict(flat(values.get(name) or {}, name)) for values in (recorded, now))
        for key in [*before, *(key for key in after if key not in before)]:
            old, new = words_of(before, key), words_of(after, key)
            if old != new:
                found.append(f"{key} {old} -> {new}")
    yield from found[:NAMED] or [f"{', '.join(sections)} changed"]
    if len(found) > NAMED:
        yield f"{len(found) - NAMED} more values"


def flat(values: Any, name: str) -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of every value in a section; a list is one value."""
    if not isinstance(values, Mapping):
        yield name, values
        return
    for key, value in values.items():
        yield from flat(value, f"{name}.{key}")


def words_of(values: Mapping[str, Any], key: str) -> str:
    """A value as params.yaml shows it; how a number is spelt does not count."""
    value = values.get(key, "none")
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
