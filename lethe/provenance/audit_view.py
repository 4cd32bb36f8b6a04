"""The text output of `lethe audit`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lethe.console import line
from lethe.custody.stated import part
from lethe.provenance.lineage import GATE

if TYPE_CHECKING:
    from rich.console import Console

COLOURS = {"present and equal": "green", "present and different": "red"}


def show(answer: Mapping[str, Any], out: Console) -> None:
    """Print the answer."""
    from lethe.provenance.history import Scope, scope_words

    row = dict(answer["history"])
    count = row.pop("commits")
    line(out, "history", scope_words(Scope(**row), count))
    if answer["model"] is None:
        show_nearest(answer, out)
    else:
        show_model(answer, out)
        show_code(answer, out)
        show_metrics(answer, out)
        show_corpus(answer["corpus"], out)
        show_verified(answer["verify"], out)
        for text in answer["unchecked"] or ():
            line(out, "unchecked", text, "yellow")
    for note in answer["notes"]:
        line(out, "note", note, "yellow")


def show_nearest(answer: Mapping[str, Any], out: Console) -> None:
    """Print that nothing matches, and the nearest models."""
    line(out, "", f"{answer['given']} (md5 {answer['md5']}) matches nothing in this history", "red")
    for row in answer["elsewhere"]:
        refs = ", ".join(row["refs"]) or "no branch"
        line(out, "elsewhere", f"{row['path']} {row['md5']} in {refs}, commit {row['commit'][:10]} by {row['author']}")
    if answer["elsewhere"]:
        line(out, "", "Not merged into this history, so nobody here vouched for it; --ref NAME answers from there")
    elif not answer["nearest"]:
        line(out, "", "No recorded model shares its weights, corpus or params; --fetch searches git's remotes too")
    for row in answer["nearest"]:
        line(out, "nearest", f"{row['path']} {row['md5']}, first in commit {row['commit'][:10]}")
        for text in row["same"]:
            line(out, "", f"same {text}")


def show_model(answer: Mapping[str, Any], out: Console) -> None:
    """Print what the model is, the chain down to the corpus, and who recorded it."""
    model, by = answer["model"], answer["recorded"]
    line(out, "model", f"{answer['given']} is {model['path']} {model['md5']} ({model['how']})", "bold")
    for each in answer["also"]:
        line(out, "", f"and {each['path']} {each['md5']} ({each['how']})")
    by_path = {row["path"]: row["md5"] for row in reversed(answer["chain"])}
    for path in answer["spine"][1:]:
        line(out, "", f"<- {path} {by_path[path]}")
    experiment = f", experiment {by['experiment']}" if by["experiment"] else ""
    line(out, "recorded", f"{by['date']} by {by['author']}: {by['subject']}")
    refs = ", ".join(by["refs"]) or "no branch"
    line(out, "", f"commit {by['commit']}{experiment}, in {refs}; {by['commits']} commits hold the model")


def show_code(answer: Mapping[str, Any], out: Console) -> None:
    """Print the baseline's origin, the code, the versions and the params."""
    baseline, code = answer["baseline"], answer["code"]
    line(out, "baseline", " ".join(str(part) for part in baseline.values() if part))
    line(out, "code", f"commit {code['commit']}" if code["commit"] else "in no commit", "" if code["commit"] else "red")
    if code["not_in_the_commit_of_the_lock"]:
        line(out, "", f"the commit of the lock has other {', '.join(code['not_in_the_commit_of_the_lock'])}", "yellow")
    for row in answer["recommitted"]:
        changed = "; ".join(f"{path} of {', '.join(stages)}" for path, stages in by_file(row["stages"]).items())
        line(out, "", f"other code, same outputs in {row['commit'][:10]}, {row['date']} by {row['author']}:", "yellow")
        line(out, "", f"  {row['subject']} ({changed}); a `dvc commit`, or a run that gave the same bytes")
    versions = answer["versions"]
    line(out, "versions", flat(versions) if versions else "unknown: the model's provenance.json is not available")
    for stage, section in answer["params"].items():
        line(out, "params", f"{stage}: {flat(section)}")


def by_file(stages: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """{stage: files} the other way round, {file: stages}."""
    found: dict[str, list[str]] = {}
    for stage, paths in stages.items():
        for path in paths:
            found.setdefault(path, []).append(stage)
    return found


def flat(section: Mapping[str, Any]) -> str:
    """A section of params.yaml in one line, sections in it by dotted names."""
    from lethe.report.html import flattened

    return ", ".join(f"{name} {value or 'none'}" for name, value in flattened(dict(section)))


def show_metrics(answer: Mapping[str, Any], out: Console) -> None:
    """Print the numbers of the model itself, report by report, and the gate's verdict."""
    name = Path(answer["model"]["path"]).name
    for report, content in answer["metrics"].items():
        models = part(content, "models") if isinstance(content, dict) else {}
        numbers = models.get(name, {}) if models else content
        shown = {key: value for key, value in plain(numbers).items() if report != GATE}
        if shown:
            line(out, "metrics", f"{report}: {flat(shown)}")
    line(out, "gate", f"{verdict(answer['gate'])}; measured in commit {answer['measured_in'][:10]}")
    for path in answer["unvouched"]:
        line(out, "", f"{path} there is not the file that dvc.lock recorded, and was left out", "red")
    for row in answer["contradictions"]:
        line(out, "", f"contradiction: {row['path']}: {row['said']}", "red")


def plain(numbers: Any) -> dict[str, float]:
    """{name: number} of plain numbers and of {"value": number} entries."""
    items = numbers.items() if isinstance(numbers, dict) else ()
    flattened = ((name, value.get("value") if isinstance(value, dict) else value) for name, value in items)
    return {name: value for name, value in flattened if isinstance(value, int | float)}


def verdict(gate: Mapping[str, Any] | None) -> str:
    """The gate's verdict and the missed criteria, or that there is none."""
    if gate is None:
        return "no verdict recorded: no reports/gate.json with the model"
    missed = [
        f"{row['name']} {row['value']}, {row['bound']} {row['limit']}"
        for row in gate["criteria"]
        if row["met"] is False
    ]
    open_ones = [row["name"] for row in gate["criteria"] if row["met"] is None and "recomputed" not in row]
    words = [*missed, *([f"not measured: {', '.join(open_ones)}"] if open_ones else [])]
    words += [
        f"{row['name']} {row['value']}, but {row['recomputed']} by the reports it was made from"
        for row in gate["criteria"]
        if "recomputed" in row
    ]
    return "; ".join([gate["verdict"], *words])


def show_corpus(corpus: Mapping[str, Any] | None, out: Console) -> None:
    """Print every file of the corpus with its spans."""
    if corpus is None:
        return
    where = f"from {corpus['at_hand']}" if corpus["at_hand"] else "not available, so its files cannot be listed"
    line(out, "corpus", f"{corpus['md5']}, {where}")
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for row in corpus["documents"]:
        grouped.setdefault((row["side"], row["part"], row["file"]), []).append(f"{row['start']}-{row['end']}")
    for words, spans in sorted(grouped.items()):
        line(out, "", f"{' '.join(words)}: characters {', '.join(spans)}")


def show_verified(rows: Iterable[Mapping[str, str]] | None, out: Console) -> None:
    """Print the state of every artifact."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if rows is None:
        return
    table = Table("artifact", "md5", "state", "", box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        state = Text(row["state"], style=COLOURS.get(row["state"], "yellow"))
        table.add_row(Text(row["path"]), row["md5"][:10], state, Text(row["said"]))
    out.print(table)
