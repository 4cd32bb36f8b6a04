"""One page: what was demanded and found, step by step, models side by side, what was taught and what was run.

reads   data/corpus.parquet  data/dictionary.csv  data/labels.parquet  data/prompts.jsonl  data/completions.jsonl
        models/baseline  models/unlearned  reports/labels.json  reports/finetune.json  reports/familiarity.json
        reports/benchmarks.json  reports/loss/baseline.csv  reports/loss/retrain.csv  reports/loss/reinforce.csv
        reports/loss/finetune.csv  params.yaml
writes  reports/index.html  reports/steps.csv
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import NonNegativeInt, PositiveInt

from stages.lib.blocks import backend_tokenizer
from stages.lib.corpora import fixed_width
from stages.lib.curves import loss_charts, step_charts
from stages.lib.models import check_tokenizer
from stages.lib.page import flattened, render
from stages.lib.params import StageParams, read_params, read_yaml
from stages.lib.samples import due_places, label_samples, side_by_side, term_ids
from stages.lib.stage import run, workspace
from stages.lib.steps import Bar, bars, header, step_rows, turned
from stages.lib.tables import DICTIONARY, read_csv, read_json, read_jsonl, read_parquet, write_csv

LOSS = ("step", "loss", "learning_rate")


class Params(StageParams):
    samples: NonNegativeInt
    words: PositiveInt


def main() -> None:
    params = read_params("report", Params)
    with workspace("report") as work:
        familiarity = read_json(Path("reports/familiarity.json"))
        benchmarks = read_json(Path("reports/benchmarks.json"))
        finetune = read_json(Path("reports/finetune.json"))
        dictionary = read_csv(Path("data/dictionary.csv"), DICTIONARY)
        rows = step_rows(familiarity, benchmarks, finetune["steps"])
        demands = bars(familiarity, rows)
        titles, lines = turned(rows)
        prompts = read_jsonl(Path("data/prompts.jsonl"), {"id": int, "prompt": str})
        completions = read_jsonl(Path("data/completions.jsonl"), {"model": str, "id": int, "completion": str})
        curves = read_curves(
            Path("reports/loss/baseline.csv"),
            Path("reports/loss/retrain.csv"),
            Path("reports/loss/reinforce.csv"),
            Path("reports/loss/finetune.csv"),
        )
        page = render(
            verdict=verdict(demands),
            measured=measured(familiarity, benchmarks),
            bars=demands,
            titles=titles,
            lines=lines,
            chance=benchmarks["chance"],
            absent=familiarity["absent"] | benchmarks["absent"],
            words=params.words,
            charts={"steps": step_charts(rows), "loss": loss_charts(curves)},
            completions=side_by_side(prompts, completions, params.samples, params.words),
            labels=read_samples(
                Path("data/labels.parquet"), Path("models/baseline"), finetune["alpha"], dictionary, params
            ),
            corpus=read_sizes(Path("data/corpus.parquet")),
            details={
                "Dictionary": dictionary_facts(dictionary),
                "Labels": flattened(read_json(Path("reports/labels.json"))),
                "Fine-tuning and the files of the unlearned model": flattened(finetune),
                "Provenance": flattened(read_json(Path("models/unlearned") / "provenance.json")),
                "Parameters": flattened(read_yaml(Path("params.yaml"))),
            },
        )
        write_csv(rows, header(list(benchmarks["items"])), work / "reports/steps.csv")
        (work / "reports/index.html").write_text(page, encoding="utf-8")
        print(f"report: {verdict(demands)[:-1]}; see reports/index.html")


def verdict(demands: Sequence[Bar]) -> str:
    """The whole run in one sentence."""
    judged = [bar for bar in demands if bar.met is not None]
    unknown = len(demands) - len(judged)
    rest = f"; {unknown} could not be measured" if unknown else ""
    return f"The unlearned model meets {sum(bool(bar.met) for bar in judged)} of {len(judged)} demands{rest}."


def measured(familiarity: Mapping[str, Any], benchmarks: Mapping[str, Any]) -> str:
    """What the numbers rest on, in one sentence."""
    tasks = ", ".join(f"{count} items of {task}" for task, count in benchmarks["items"].items())
    prompts = f"Measured on {familiarity['prompts']} prompts of the {familiarity['set']} set"
    return f"{prompts} and {tasks}." if tasks else f"{prompts}."


def read_curves(*paths: Path) -> dict[str, list[tuple[float, float]]]:
    """(step, loss) of every training that took place, by the name of its stage."""
    rows = {path.stem: read_csv(path, LOSS) for path in paths}
    return {name: [(float(row["step"]), float(row["loss"])) for row in found] for name, found in rows.items() if found}


def read_samples(
    labels: Path, model: Path, alpha: float, dictionary: Sequence[Mapping[str, str]], params: Params
) -> list[dict[str, Any]]:
    """A few of the labels that were trained on where an anchor is due.

    Raises StageError if they belong to another tokenizer.
    """
    column = f"next_ids_{alpha}"
    table, facts = read_parquet(labels, ("block", "length", "tokens", column))
    check_tokenizer(facts["tokenizer"], model, labels)
    tokenizer, tokens, next_ids = backend_tokenizer(model), fixed_width(table, "tokens"), fixed_width(table, column)
    terms = term_ids(tokenizer, sorted({row["form"] for row in dictionary}))
    due = due_places(tokens, next_ids, table["length"].to_numpy(), terms, tokenizer)
    return label_samples(table["block"].to_pylist(), tokens, next_ids, due, tokenizer, params.samples, params.words)


def read_sizes(corpus: Path) -> list[dict[str, Any]]:
    """Documents and characters of each side and part."""
    table, _ = read_parquet(corpus, ("side", "part", "start", "end"))
    sizes: dict[tuple[str, str], list[int]] = {}
    for row in table.select(["side", "part", "start", "end"]).to_pylist():
        sizes.setdefault((row["side"], row["part"]), []).append(row["end"] - row["start"])
    return [
        {"side": side, "part": part, "documents": len(found), "characters": sum(found)}
        for (side, part), found in sorted(sizes.items())
    ]


def dictionary_facts(rows: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    """How many anchors of each kind have translations."""
    kinds = {row["anchor"]: row["kind"] for row in rows}
    by_kind = [(f"of kind {kind}", str(list(kinds.values()).count(kind))) for kind in sorted(set(kinds.values()))]
    return [("anchors", str(len(kinds))), ("forms and translations", str(len(rows))), *by_kind]


if __name__ == "__main__":
    run(main)
