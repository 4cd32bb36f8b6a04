"""Whether the numbers in reports/ follow from the code, params and inputs of this checkout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lethe.core.errors import StageError
from lethe.core.params import read_yaml
from lethe.running.plan import Step, plan, targets_of

NAMED = 2  # stages with what differs


class Whose(NamedTuple):
    """Whose the numbers are."""

    same: bool | None  # None: cannot be told
    differs: dict[str, list[str]]  # stage -> what differs from the run that made the numbers
    missing: list[str]  # stages whose outs are not here
    why: str = ""  # it cannot be told

    def sentence(self) -> str:
        """The answer for a person."""
        if self.same is None:
            why = self.why or "this folder is no DVC project that has run"
            return f"Whose numbers these are cannot be told: {why}"
        if self.differs:
            shown = list(self.differs.items())[:NAMED]
            told = "; ".join(f"{stage}: {', '.join(what)}" for stage, what in shown)
            more = f"; {len(self.differs) - NAMED} more stages" if len(self.differs) > NAMED else ""
            return f"NOT this checkout's numbers ({told}{more}); `lethe repro` makes them anew"
        if self.missing:
            return (
                "The numbers of a run with this code, these params and inputs, but not here: "
                f"the outs of {len(self.missing)} stages are missing; `lethe repro` makes them, `dvc pull` fetches them"
            )
        return "This checkout's numbers: its code, params and inputs made them"


def of_checkout() -> Whose:
    """Whose the reports are, by what DVC says of every stage but those of the classification task."""
    if not Path(".dvc").is_dir() or not Path("dvc.lock").exists():
        return Whose(None, {}, [])
    try:
        return answer(plan(targets_of([], list(read_yaml(Path("dvc.yaml"))["stages"]))))
    except StageError as error:
        return Whose(None, {}, [], str(error).removeprefix("repro: "))
    except OSError as error:  # DVC writes its lock where others may only read
        return Whose(None, {}, [], f"{error.filename}: {error.strerror}")


def answer(steps: Sequence[Step]) -> Whose:
    """The answer from the steps that a run would take."""
    differs = {step.name: step.changed for step in steps if step.changed}
    missing = [step.name for step in steps if step.missing]
    return Whose(not differs and not missing, differs, missing)
