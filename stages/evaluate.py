"""Measures familiarity with the forget set, leaks in completions, and perplexity and fluency on both sets.

reads   data/prompts.jsonl  data/names.csv  data/corpus.parquet  models/baseline  models/retrained
        models/references  models/suppressed  models/unlearned  models/checkpoints
writes  data/completions.jsonl  data/continuations.jsonl  reports/familiarity.json
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import PositiveInt, model_validator

from lethe.core.corpus import held_out_texts, training_documents
from lethe.core.params import StageParams, read_params
from lethe.core.stage import run, workspace
from lethe.core.tables import read_prompts, rounded, write_json, write_jsonl
from lethe.evaluation.completions import (
    Completion,
    complete,
    completion_rows,
    model_scores,
    model_verdicts,
    prompt_numbers,
    ratio_intervals,
    rule_verdicts,
    score_intervals,
)
from lethe.evaluation.familiarity import ratios
from lethe.evaluation.fluency import FluencyParams, Written, continuation_rows, fluency_report, starts_of, written
from lethe.evaluation.model_set import Models, Precision, format_change, loaded, measured
from lethe.evaluation.name_tokens import distinctive_tokens, token_counts
from lethe.evaluation.prompts import check_lengths, prepared, read_names
from lethe.inference.scoring import Loss, block_losses, perplexity
from lethe.llm_client import ChatSettings
from lethe.models.checkpoints import load_tokenizer
from lethe.models.device import Device, prepare
from lethe.models.tokenization import cut_blocks
from lethe.served import ServerSettings, writers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

WINDOW = 512  # tokens in which a model without a limited context reads held-out text
SIDES = ("retain", "forget")


class Params(StageParams):
    models: Models
    set: Literal["test", "development"]
    chat_template: bool
    new_tokens: PositiveInt
    fluency: FluencyParams
    server: ServerSettings
    judge: Literal["rule", "llm"]
    llm: ChatSettings
    precision: Precision
    device: Device

    @model_validator(mode="after")
    def _a_judge_reads_forget_text(self) -> Params:
        if self.judge == "llm" and not self.llm.send_forget_text:
            raise ValueError("judge: expected rule, or llm with llm.send_forget_text true, got llm with false")
        return self


def main() -> None:
    from tqdm import tqdm

    params = read_params("evaluate", Params)
    with workspace("evaluate") as work:
        device = prepare(params.device)
        corpus, models = Path("data/corpus.parquet"), measured(params.models)
        names = read_names(Path("data/names.csv"))
        rows = read_prompts(Path("data/prompts.jsonl"), params.set)
        tokenizer, context = load_tokenizer(models.baseline), models.context(WINDOW)
        train = {side: [text for text, _ in training_documents(corpus, [side])] for side in SIDES}
        counts = {side: token_counts(tokenizer, texts) for side, texts in train.items()}
        distinctive = distinctive_tokens(counts["forget"], counts["retain"])
        prompts = prepared(rows, names, distinctive, tokenizer, params.chat_template)
        check_lengths(prompts, context - params.new_tokens)
        texts = {side: held_out_texts(corpus, side) for side in SIDES}
        held_out = {side: windows(texts[side], tokenizer, context) for side in SIDES}
        write = writers(models.present, params.server, "evaluate.server")
        starts = starts_of(texts["retain"], prompts, tokenizer, params.chat_template, context, params.fluency)
        completions: list[Completion] = []
        continuations: list[Written] = []
        losses: dict[str, dict[str, list[Loss]]] = {}
        each = loaded(models.present, device, params.precision)
        for name, model in tqdm(each, desc="evaluate", unit="model", total=len(models.present)):
            completions += complete(name, model, tokenizer, prompts, params.new_tokens, write[name])
            continuations += written(name, model, tokenizer, starts, params.fluency.new_tokens, write[name])
            losses[name] = {side: block_losses(model, held_out[side]) for side in SIDES}
        by_model = params.judge == "llm"
        verdicts = model_verdicts(completions, params.llm) if by_model else rule_verdicts(completions, names)
        perplexities = {
            name: {f"{side}_perplexity": perplexity(found) for side, found in own.items()}
            for name, own in losses.items()
        }
        scores = model_scores(completions, verdicts, perplexities)
        judged = prompt_numbers(completions, verdicts)
        ratio, reasons = ratios(scores, models.absent)
        report: dict[str, Any] = {"set": params.set, "prompts": len(prompts), "names": len(names), "models": scores}
        report |= {"absent": models.absent, "ratio": ratio, "reasons": reasons}
        report |= {"intervals": score_intervals(judged)}
        report |= {"ratio_intervals": ratio_intervals(judged, {name: own["retain"] for name, own in losses.items()})}
        judge = {name: models.present[name] for name in ("retrained",) if name in models.present}
        each = loaded(judge, device, params.precision)
        report["fluency"] = fluency_report(continuations, each, params.fluency, models.absent)
        if by_model:
            report["unparsable"] = sum(verdict.grade is None for verdict in verdicts)
        write_jsonl(completion_rows(completions, verdicts), work / "data/completions.jsonl")
        write_jsonl(continuation_rows(continuations), work / "data/continuations.jsonl")
        write_json(rounded(report), work / "reports/familiarity.json")
        print(sentence(report))


def windows(texts: Sequence[str], tokenizer: PreTrainedTokenizerFast, context: int) -> list[list[int]]:
    """The texts in blocks that fit the model's context."""
    return [block.tokens for text in texts for block in cut_blocks(tokenizer, text, context)]


def sentence(report: Mapping[str, Any]) -> str:
    """The printed line: before -> after."""
    parts = [format_metric(report["models"], metric) for metric in ("leak", "completion_familiarity")]
    unparsable = f"; {report['unparsable']} replies of the judge gave no verdict" if "unparsable" in report else ""
    return f"evaluate: {', '.join(parts)} on {report['prompts']} {report['set']} prompts{unparsable}"


def format_metric(scores: Mapping[str, Mapping[str, Any]], metric: str) -> str:
    """`leak baseline 0.731 -> unlearned 0.044 (retrained 0.010)`."""
    shown = {name: "none" if found[metric] is None else f"{found[metric]:.3f}" for name, found in scores.items()}
    return format_change(metric, shown)


if __name__ == "__main__":
    run(main)
