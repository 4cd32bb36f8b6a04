"""One page: what was demanded and found, the models side by side, attacked and term by term, and what was run.

reads   data/corpus.parquet  data/dictionary.csv  data/labels.parquet  data/prompts.jsonl  data/completions.jsonl
        data/terms.csv  models/baseline  models/unlearned  reports/labels.json  reports/finetune.json
        reports/familiarity.json  reports/benchmarks.json  reports/measures.json  reports/attacks.json
        reports/terms.json  reports/loss/baseline.csv  reports/loss/retrain.csv  reports/loss/reinforce.csv
        reports/loss/finetune.csv  data/requests.jsonl  params.yaml
writes  reports/index.html  reports/gate.json  reports/steps.csv
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import NonNegativeInt, PositiveInt

from lethe.core.corpus import fixed_width, read_documents
from lethe.core.hashing import check_tokenizer
from lethe.core.params import StageParams, read_params, read_yaml
from lethe.core.stage import run, workspace
from lethe.core.tables import TERMS, read_csv, read_json, read_jsonl, read_parquet, write_csv, write_json
from lethe.dictionary.entries import read_entries
from lethe.evaluation.term_verdicts import VERDICTS
from lethe.models.soft_prompts import PROMPT, virtual_tokens
from lethe.models.tokenization import backend_tokenizer
from lethe.report import release_gate as gate
from lethe.report.charts import loss_charts, relearning_charts, request_charts, step_charts, trade_chart
from lethe.report.comparison import attacks_of, groups, relearning
from lethe.report.html import TEMPLATE, flattened, render
from lethe.report.metric_catalogue import size
from lethe.report.request_ledger import course, read_ledger
from lethe.report.samples import due_places, label_samples, side_by_side, term_ids
from lethe.report.step_table import header, step_rows, turned
from lethe.report.term_table import counts, terms_of

LOSS = ("step", "loss", "learning_rate")


class Params(StageParams):
    samples: NonNegativeInt
    words: PositiveInt
    terms: NonNegativeInt
    gate: gate.GateParams


def main() -> None:
    params = read_params("report", Params)
    with workspace("report") as work:
        familiarity = read_json(Path("reports/familiarity.json"))
        benchmarks = read_json(Path("reports/benchmarks.json"))
        measures = read_json(Path("reports/measures.json"))
        attacks = read_json(Path("reports/attacks.json"))
        finetune = read_json(Path("reports/finetune.json"))
        dictionary = read_entries(Path("data/dictionary.csv"))
        prompts = read_jsonl(Path("data/prompts.jsonl"), {"id": int, "prompt": str})
        completions = read_jsonl(Path("data/completions.jsonl"), {"model": str, "id": int, "completion": str})
        terms = terms_of(read_csv(Path("data/terms.csv"), TERMS), params.words)
        forget, sizes = read_corpus(Path("data/corpus.parquet"))
        requests = course(read_ledger(Path("data/requests.jsonl")))
        rows = step_rows(familiarity, benchmarks, finetune["steps"])
        demands = gate.demands(params.gate, familiarity, benchmarks, measures, attacks)
        curves = read_curves(
            Path("reports/loss/baseline.csv"),
            Path("reports/loss/retrain.csv"),
            Path("reports/loss/reinforce.csv"),
            Path("reports/loss/finetune.csv"),
        )
        page = render(
            TEMPLATE,
            verdict=gate.sentence(demands),
            status=gate.status(demands),
            measured=measured(familiarity, benchmarks),
            prompt=removable(Path("models/unlearned"), Path("models/baseline"), familiarity),
            demands=demands,
            steps=turned(rows),
            requests=requests,
            groups=groups(measures, familiarity, benchmarks, completions),
            attacks=attacks_of(attacks),
            terms=terms[: params.terms],
            hidden_terms=len(terms[params.terms :]),
            verdicts=counts(terms),
            meanings=VERDICTS,
            term_numbers=flattened(read_json(Path("reports/terms.json"))),
            absent={
                "models": familiarity["absent"],
                "metrics": measures.get("absent", {}) | benchmarks["absent"],
                "attacks": attacks.get("absent", {}),
            },
            words=params.words,
            charts={
                "trade": trade_chart(rows, "probability_familiarity", "retain_perplexity"),
                "steps": step_charts(rows),
                "requests": request_charts(requests),
                "relearning": relearning_charts(relearning(attacks)),
                "loss": loss_charts(curves),
            },
            completions=side_by_side(prompts, completions, forget, params.samples, params.words),
            labels=read_samples(
                Path("data/labels.parquet"), Path("models/baseline"), finetune["alpha"], dictionary, params
            ),
            corpus=sizes,
            details={
                "Dictionary": dictionary_facts(dictionary),
                "Labels": flattened(read_json(Path("reports/labels.json"))),
                "Fine-tuning and the files of the unlearned model": flattened(finetune),
                "Hashes, parameters and versions that the unlearned model carries": flattened(
                    read_json(Path("models/unlearned") / "provenance.json")
                ),
                "All parameters": flattened(read_yaml(Path("params.yaml"))),
            },
        )
        on_the_way = [row for row in rows if row["step"] is not None]  # a plot has no place for a model without a step
        write_csv(on_the_way, header(list(benchmarks["items"])), work / "reports/steps.csv")
        write_json(gate.metric(demands), work / "reports/gate.json")
        (work / "reports/index.html").write_text(page, encoding="utf-8")
        print(f"report: {gate.sentence(demands)[:-1]}; see reports/index.html")


def measured(familiarity: Mapping[str, Any], benchmarks: Mapping[str, Any]) -> str:
    """What the numbers rest on, in one sentence."""
    tasks = ", ".join(f"{count} items of {task}" for task, count in benchmarks["items"].items())
    prompts = f"Measured on {familiarity['prompts']} prompts of the {familiarity['set']} set"
    return f"{prompts} and {tasks}." if tasks else f"{prompts}."


def removable(unlearned: Path, baseline: Path, familiarity: Mapping[str, Any]) -> dict[str, Any] | None:
    """A soft prompt's size beside the frozen weights', and the leak once it is taken off: that of the baseline.

    None where weights were trained.
    """
    if not (unlearned / PROMPT).exists():
        return None
    saved, frozen = (
        sum(path.stat().st_size for path in folder.glob("*.safetensors")) for folder in (unlearned, baseline)
    )
    sizes = {"vectors": virtual_tokens(unlearned), "saved": size(saved), "frozen": size(frozen)}
    return sizes | {"leak": familiarity["models"]["baseline"]["leak"]}


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


def read_corpus(corpus: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """The texts of the forget side, and documents and characters of each side and part."""
    rows = read_documents(corpus)
    sizes: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        sizes.setdefault((row.side, row.part), []).append(row.end - row.start)
    counted = [
        {"side": side, "part": part, "documents": len(found), "characters": sum(found)}
        for (side, part), found in sorted(sizes.items())
    ]
    return [row.text for row in rows if row.side == "forget"], counted


def dictionary_facts(rows: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    """How many anchors of each kind have translations."""
    kinds = {row["anchor"]: row["kind"] for row in rows}
    by_kind = [(f"of kind {kind}", str(list(kinds.values()).count(kind))) for kind in sorted(set(kinds.values()))]
    return [("anchors", str(len(kinds))), ("forms and translations", str(len(rows))), *by_kind]


if __name__ == "__main__":
    run(main)
