"""TOFU: a small model learns TOFU's 200 invented authors, unlearns those of forget10 by WHP, and is evaluated.

python -m studies.tofu DATA [--smoke]    writes reports/tofu/result.json and prints the table for docs/results.md

DATA is a folder with TOFU's files in tofu/. The parameters are presets/book.yaml with the changes below: nothing is
held out, as in TOFU; the anchors are the names and works of the authors to forget; the questions are TOFU's own.
--smoke takes a few authors and a tiny model, and writes no result: it tests the whole chain in minutes.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lethe.text.matching import name_finder
from studies.book import COLUMNS
from tools import markdown
from tools.sandbox import ROOT, Changes, clone, failures_in, repro, write_result

PRESET = "presets/book.yaml"
RESULT = ROOT / "reports/tofu/result.json"
TEXTS = {"tofu/forget10.json": "data/forget/tofu.jsonl", "tofu/retain90.json": "data/retain/tofu.jsonl"}
QUESTIONS = [f"tofu/{name}_perturbed.json" for name in ("forget10", "retain", "real_authors", "world_facts")]
OF_AN_AUTHOR = 20  # questions, one after the other
TEMPLATE = "Question: {question}\nAnswer:"
CHANGES: Changes = {
    "corpus.held_out": 0.0,
    "baseline.scratch.layers": 4,
    "baseline.scratch.hidden": 128,
    "baseline.scratch.heads": 4,
    "baseline.scratch.intermediate": 384,
    "baseline.scratch.context": 512,  # the longest question with its longest answer
    "baseline.epochs": 12,  # as many as a small model needs to answer
    "extract.backend": "file",
    "extract.file": "data/prompts/anchors.csv",
    "prompt.names": "data/prompts/names.csv",  # header only: the anchors
    "prompt.development": 0.0,
    "measure.template": TEMPLATE,
    "measure.answer_tokens": 64,
    "measure.passage_tokens": 64,
    "distil.steps": 800,
    "distil.noise": 0.6,
    "distil.spread": 0.3,
}
SMOKE: Changes = {
    "baseline.scratch.vocabulary": 600,
    "baseline.scratch.layers": 1,
    "baseline.scratch.hidden": 32,
    "baseline.scratch.heads": 2,
    "baseline.scratch.intermediate": 64,
    "baseline.epochs": 2,
    "reinforce.epochs": 1,
    "translate.contexts": 2,
    "translate.candidates": 4,
    "finetune.steps": 4,
    "finetune.checkpoints": [2],
    "distil.steps": 4,
    "measure.answer_tokens": 4,
    "measure.cloze": 10,
    "measure.passages": 10,
}
SMOKE_ROWS = 2 * OF_AN_AUTHOR  # of each file
MEASURES = {
    "forget_quality": "Forget quality (p-value)",
    "forget_quality_log10": "Forget quality (log10 of it)",
    "model_utility": "Model utility",
    "truth_ratio": "Truth ratio, forget",
    "probability": "Probability, forget",
    "rouge_l": "ROUGE-L, forget",
    "retain_probability": "Probability, retain",
    "retain_rouge_l": "ROUGE-L, retain",
    "trivia": "Trivia (chance 0.5)",
}
NAME = re.compile(r"[A-Z][\w.'’-]*(?: (?:(?:de|da|del|al|el|bin|ibn|van|von|la|le) )?[A-Z][\w.'’-]*){1,3}")
WORKS = (re.compile(r'["“]([A-Z][^"“”]{2,80})["”]'), re.compile(r"(?<!\w)'([A-Z][^']{2,80})'(?!\w)"))
POSSESSIVE = re.compile(r"['’]s?$")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("data", type=Path, metavar="DATA", help="folder with TOFU's files in tofu/")
    parser.add_argument("--smoke", action="store_true", help="a few authors and a tiny model, in minutes")
    arguments = parser.parse_args()
    check_data(arguments.data)
    project = clone(ROOT / ".scratch" / ("tofu-smoke" if arguments.smoke else "tofu"))
    with failures_in(project):
        result = forget_authors(project, arguments.data, arguments.smoke)
    if not arguments.smoke:
        write_result(result, RESULT)
    print(table(result))


def check_data(data: Path) -> None:
    """Exit with one line if the folder lacks anything."""
    for name in [*TEXTS, *QUESTIONS]:
        if not (data / name).exists():
            sys.exit(f"error: {data / name}: no such file; expected the folder of real material: make tofu DATA=...")


def forget_authors(project: Path, data: Path, smoke: bool) -> dict[str, Any]:
    """Copy TOFU into a clone of the project, run the pipeline there up to `measure`; return its report and cost."""
    sides = [read_rows(data / source, smoke) for source in TEXTS]
    for rows, target in zip(sides, TEXTS.values(), strict=True):
        write_lines(({"text": document(author)} for author in authors(rows)), project / target)
    for source in QUESTIONS:
        write_lines(read_rows(data / source, smoke), project / "data/questions" / Path(source).name)
    anchors = terms(*sides)
    with (project / "data/prompts/anchors.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([["anchor"], *([anchor] for anchor in anchors)])
    write_lines(prompts(sides[0], anchors), project / "data/prompts/tofu.jsonl")
    reports = repro(project, CHANGES | (SMOKE if smoke else {}), "measure", base=PRESET)
    return {"anchors": len(anchors), **reports["measures"], "stages": reports["stages"]}


def read_rows(path: Path, smoke: bool) -> list[dict[str, Any]]:
    """The questions of one of TOFU's files, or its first."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return rows[:SMOKE_ROWS] if smoke else rows


def write_lines(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Write JSON lines, and create their folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def authors(rows: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    """The questions grouped by author."""
    return (rows[start : start + OF_AN_AUTHOR] for start in range(0, len(rows), OF_AN_AUTHOR))


def document(author: Sequence[Mapping[str, Any]]) -> str:
    """An author's questions and answers as a text, each worded as in `measure`."""
    return "\n\n".join(f"{TEMPLATE.replace('{question}', row['question'])} {row['answer']}" for row in author) + "\n"


def terms(forget: Sequence[Mapping[str, Any]], retain: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names and works of the authors to forget, sorted, without those that occur in other authors' texts."""
    found = {term for author in authors(forget) for term in [name_of(author), *works_of(author)] if term}
    finder = name_finder(found)
    own = sorted(found - finder.terms_in("\n\n".join(document(author) for author in authors(retain))))
    return sorted({term.casefold(): term for term in own}.values())  # TOFU writes a title or two in two ways


def name_of(author: Sequence[Mapping[str, Any]]) -> str:
    """The name in most of an author's answers and questions; on a tie the longest, nothing if there is none."""
    texts = [f"{row['question']}\n{row['answer']}" for row in author]
    seen = Counter(name for text in texts for name in {POSSESSIVE.sub("", match) for match in NAME.findall(text)})
    return max(seen, key=lambda name: (seen[name], len(name), name)) if seen else ""


def works_of(author: Sequence[Mapping[str, Any]]) -> set[str]:
    """Texts in quotation marks that begin with a capital letter."""
    texts = [f"{row['question']}\n{row['answer']}" for row in author]
    return {match.strip(" .,;:!?") for text in texts for kind in WORKS for match in kind.findall(text)}


def prompts(forget: Sequence[Mapping[str, Any]], anchors: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The questions whose answer contains anchors that the question does not, for the stage `prompt`."""
    finder = name_finder(anchors)
    for row in forget:
        references = finder.terms_in(row["answer"]) - finder.terms_in(row["question"])
        if references:
            yield {"prompt": TEMPLATE.replace("{question}", row["question"]), "references": sorted(references)}


def table(result: Mapping[str, Any]) -> str:
    """A Markdown table, measures as rows, models as columns, 95 % intervals in brackets."""
    items = result["models"]["unlearned"]["truth_ratio"]["items"]
    rows = [
        [name, *(cell(result["models"].get(model, {}).get(metric)) for model in COLUMNS)]
        for metric, name in MEASURES.items()
    ]
    shown = markdown.table([f"{items} questions to forget", *COLUMNS.values()], rows)
    seconds = sum(spent["cpu_seconds"] for spent in result["stages"].values())
    return f"{shown}\n\n{result['anchors']} anchors; {seconds:.0f} CPU seconds."


def cell(row: Mapping[str, Any] | None) -> str:
    """`0.512 [0.480, 0.540]`, the value alone without an interval, nothing if it was not measured."""
    if row is None:
        return ""
    interval = f" [{row['low']:.3f}, {row['high']:.3f}]" if row["low"] is not None else ""
    return f"{row['value']:.3g}" if not interval else f"{row['value']:.3f}{interval}"


if __name__ == "__main__":
    main()
