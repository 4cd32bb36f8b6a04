"""Writes the report page: the verdict, what the models say, the release gate, every metric, attack and term.

reads   data/corpus.parquet  data/dictionary.csv  data/labels.parquet  data/prompts.jsonl  data/completions.jsonl
        data/continuations.jsonl  data/terms.csv  data/measures.csv  data/tokens.csv  models/baseline
        models/unlearned  reports/labels.json  reports/finetune.json  reports/distil.json  reports/familiarity.json
        reports/benchmarks.json  reports/measures.json  reports/attacks.json  reports/terms.json
        reports/loss/baseline.csv  reports/loss/retrain.csv  reports/loss/reinforce.csv  reports/loss/finetune.csv
        reports/loss/distil.csv  data/requests.jsonl  params.yaml
writes  reports/index.html  reports/gate.json  reports/steps.csv
"""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import NonNegativeInt, PositiveInt

from lethe.core.params import StageParams, read_params, read_yaml
from lethe.core.stage import run, workspace
from lethe.core.tables import CONTINUATIONS, TERMS, read_csv, read_json, read_jsonl, write_csv, write_json
from lethe.dictionary.entries import read_entries
from lethe.gate import criteria as gate
from lethe.metrics.tables import MEASURES, TOKENS
from lethe.report.html import TEMPLATE, render
from lethe.report.inputs import Findings, read_corpus, read_curves, read_samples, soft_prompt_facts
from lethe.report.opening import weights
from lethe.report.page import content
from lethe.report.request_ledger import history, open_ledger
from lethe.report.step_table import header, step_rows, unlearning_steps
from lethe.report.term_table import terms_of


class Params(StageParams):
    samples: NonNegativeInt
    words: PositiveInt
    terms: NonNegativeInt
    gate: gate.GateParams


def main() -> None:
    params = read_params("report", Params)
    with workspace("report") as work:
        baseline, unlearned, labels = Path("models/baseline"), Path("models/unlearned"), Path("data/labels.parquet")
        ledger = open_ledger(Path("data/requests.jsonl"))
        losses = [Path("reports/loss/baseline.csv"), Path("reports/loss/retrain.csv")]
        losses += [Path("reports/loss/reinforce.csv"), Path("reports/loss/finetune.csv")]
        losses += [Path("reports/loss/distil.csv")]
        found = Findings(
            familiarity=read_json(Path("reports/familiarity.json")),
            benchmarks=read_json(Path("reports/benchmarks.json")),
            measures=read_json(Path("reports/measures.json")),
            attacks=read_json(Path("reports/attacks.json")),
            finetune=read_json(Path("reports/finetune.json")),
            distil=read_json(Path("reports/distil.json")),
            labels=read_json(Path("reports/labels.json")),
            terms=read_json(Path("reports/terms.json")),
            provenance=read_json(unlearned / "provenance.json"),
            params=read_yaml(Path("params.yaml")),
            corpus=read_corpus(Path("data/corpus.parquet")),
            dictionary=read_entries(Path("data/dictionary.csv")),
            prompts=read_jsonl(Path("data/prompts.jsonl"), {"id": int, "prompt": str}),
            completions=read_jsonl(Path("data/completions.jsonl"), {"model": str, "id": int, "completion": str}),
            continuations=read_jsonl(Path("data/continuations.jsonl"), CONTINUATIONS),
            table=terms_of(read_csv(Path("data/terms.csv"), TERMS), params.words),
            passages=read_csv(Path("data/measures.csv"), MEASURES),
            tokens=read_csv(Path("data/tokens.csv"), TOKENS),
            requests=history(ledger.rows),
            broken=ledger.problems,
            curves=read_curves(*losses),
        )
        criteria = gate.criteria(params.gate, found.familiarity, found.benchmarks, found.measures, found.attacks)
        rows = step_rows(found.familiarity, found.benchmarks, found.finetune["steps"], found.distil["steps"])
        limits = params.samples, params.words
        page = render(
            TEMPLATE,
            prompt=soft_prompt_facts(unlearned, baseline, found.familiarity),
            weights=weights(baseline),
            labels=read_samples(labels, baseline, found.finetune["alpha"], found.dictionary, *limits),
            **content(found, criteria, rows, *limits, params.terms),
        )
        write_csv(unlearning_steps(rows), header(list(found.benchmarks["items"])), work / "reports/steps.csv")
        write_json(gate.metric(criteria), work / "reports/gate.json")
        (work / "reports/index.html").write_text(page, encoding="utf-8")
        for problem in ledger.problems:
            print(f"report: warning: {problem}", file=sys.stderr)
        print(f"report: {gate.sentence(criteria)}; see reports/index.html")


if __name__ == "__main__":
    run(main)
