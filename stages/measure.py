"""Measures knowledge, memorisation and membership inference by the metrics of TOFU and MUSE, with intervals.

reads   data/prompts.jsonl  data/names.csv  data/corpus.parquet  ${measure.questions}  models/baseline  models/retrained
        models/references  models/suppressed  models/unlearned  models/checkpoints
writes  data/measures.csv  data/tokens.csv  reports/measures.json
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, field_validator

from lethe.core.corpus import held_out_texts, training_documents
from lethe.core.params import Seed, StageParams, read_params
from lethe.core.stage import run, workspace
from lethe.core.tables import read_csv, read_prompts, write_csv, write_json
from lethe.evaluation.intervals import Interval, interval_rows
from lethe.evaluation.model_set import Models, Precision, format_change, loaded, measured
from lethe.metrics.assistant import ChatParams, chats_of
from lethe.metrics.collect import (
    Material,
    check_lengths,
    check_passages,
    drawn_passages,
    read_out,
    second_halves,
    sentences,
)
from lethe.metrics.compute import (
    MEMBER,
    OTHER,
    absent_metrics,
    all_excesses,
    all_measures,
    all_values,
    measure_rows,
)
from lethe.metrics.membership import MinK
from lethe.metrics.name_swaps import analyse_names, frames
from lethe.metrics.questions import filed_questions, made_questions, sampled, trivia_questions
from lethe.metrics.tables import MEASURES, TOKENS
from lethe.metrics.token_places import token_rows
from lethe.models.checkpoints import load_tokenizer
from lethe.models.device import Device, prepare

WINDOW = 2048  # tokens in which a model without a limited context reads a question
PRINTED = ("truth_ratio", "trivia", "model_utility", "privleak")
RETAIN_CHARS = 4_000_000  # of retain text searched for names
NOT_LISTED = "retrained is not among measure.models"


class Params(StageParams):
    models: Models
    set: Literal["test", "development"]
    questions: str
    template: str
    wrong: PositiveInt
    answer_tokens: PositiveInt
    cloze: PositiveInt
    passages: Annotated[int, Field(ge=2)]
    passage_tokens: Annotated[int, Field(ge=8)]
    chat: ChatParams
    min_k: MinK
    precision: Precision
    device: Device
    seed: Seed

    @field_validator("template")
    @classmethod
    def _asks_the_question(cls, template: str) -> str:
        if "{question}" not in template:
            raise ValueError(f"expected a template that contains {{question}}, got {template!r}")
        return template


def main() -> None:
    from tqdm import tqdm

    params = read_params("measure", Params)
    with workspace("measure") as work:
        device = prepare(params.device)
        corpus, models = Path("data/corpus.parquet"), measured(params.models)
        rows = read_prompts(Path("data/prompts.jsonl"), params.set)
        listed = read_csv(Path("data/names.csv"), ("name", "unique"), unique=("name",), filled=("name",))
        texts = {side: [text for text, _ in training_documents(corpus, [side])] for side in ("forget", "retain")}
        targets = {row.get("due") or row["references"][0] for row in rows}
        texts["retain"] = sampled(texts["retain"], RETAIN_CHARS, params.seed)
        names = analyse_names(sorted(targets | {row["name"] for row in listed}), texts["forget"], texts["retain"])
        questions = filed_questions(Path(params.questions), params.template) or made_questions(
            rows, names, texts["retain"], params.cloze, params.wrong, params.seed
        )
        trivia = trivia_questions(rows, names, texts["forget"], params.cloze, params.seed)
        tokenizer, context = load_tokenizer(models.baseline), models.context(WINDOW)
        held_out = {side: held_out_texts(corpus, side) for side in ("forget", "retain")}
        passages = {MEMBER: texts["forget"], OTHER: held_out["forget"], "retain": held_out["retain"]}
        neighbours = frames(((f"prompt {row['id']}", row["prompt"]) for row in rows), names, params.seed)
        check_passages(params.passage_tokens, context)
        asked = [question for group in (*questions.values(), trivia) for question in group]
        check_lengths(asked, tokenizer, context, params.answer_tokens)
        members, others, ability = (
            drawn_passages(texts, tokenizer, name, params.passage_tokens, params.passages, params.seed)
            for name, texts in passages.items()
        )
        spoken = sentences(neighbours, tokenizer, context)
        chats = chats_of(held_out["retain"], tokenizer, context, params.chat, params.seed)
        material = Material(questions, trivia, members, others, ability, spoken, chats)
        each = tqdm(loaded(models.present, device, params.precision), "measure", len(models.present), unit="model")
        found = {name: read_out(model, tokenizer, material, params.answer_tokens) for name, model in each}
        values = all_values(found, material, second_halves(material.members, tokenizer), params.min_k)
        measures = all_measures(values)
        absent = models.absent | absent_metrics(measures, models.absent.get("retrained", NOT_LISTED))
        write_csv(measure_rows(values), MEASURES, work / "data/measures.csv")
        likely = token_rows(found, members, texts["forget"], tokenizer, params.passage_tokens)
        write_csv(likely, TOKENS, work / "data/tokens.csv")
        compared = {"models": measures, "excess": all_excesses(values)}
        shown = {key: {name: interval_rows(own) for name, own in of.items()} for key, of in compared.items()}
        write_json(shown | {"absent": absent}, work / "reports/measures.json")
        print(sentence(measures, absent))


def sentence(measures: Mapping[str, Mapping[str, Interval]], absent: Mapping[str, str]) -> str:
    """The printed line: before -> after, and the number of metrics."""
    parts = [format_metric(measures, metric) for metric in PRINTED if any(metric in own for own in measures.values())]
    metrics = {metric for own in measures.values() for metric in own}
    missing = f", {len(absent)} absent" if absent else ""
    return f"measure: {', '.join(parts)}; {len(metrics)} metrics of {len(measures)} models{missing}"


def format_metric(measures: Mapping[str, Mapping[str, Interval]], metric: str) -> str:
    """`trivia baseline 0.951 -> unlearned 0.702 (retrained 0.500)`."""
    shown = {name: f"{own[metric].value:.3f}" for name, own in measures.items() if metric in own}
    return format_change(metric, shown)


if __name__ == "__main__":
    run(main)
