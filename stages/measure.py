"""What each model still knows, has by heart and gives away, by the metrics of TOFU and MUSE, with intervals.

reads   data/prompts.jsonl  data/names.csv  data/corpus.parquet  ${measure.questions}  models/baseline  models/retrained
        models/unlearned  models/checkpoints
writes  data/measures.csv  reports/measures.json
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, PositiveInt, field_validator

from lethe.core.corpus import held_out_texts, training_documents
from lethe.core.errors import StageError
from lethe.core.params import StageParams, read_params
from lethe.core.stage import run, workspace
from lethe.core.tables import read_csv, read_prompts, write_csv, write_json
from lethe.evaluation.intervals import Interval
from lethe.evaluation.model_set import Device, Models, Precision, dtype_named, measured
from lethe.metrics.collect import Material, Readout, check_lengths, drawn_passages, read_out, rests, sentences
from lethe.metrics.compute import (
    ATTACKS,
    MEMBER,
    OTHER,
    QUESTIONED,
    RELATIVE,
    Values,
    aggregates,
    membership_values,
    memorised_values,
    neighbour_values,
    question_values,
    relative,
    trivia_values,
    utility,
)
from lethe.metrics.name_swaps import Frame, Names, frames, know_names, retain_kinds
from lethe.metrics.questions import (
    Question,
    forget_questions,
    question_files,
    read_questions,
    sampled,
    text_questions,
)
from lethe.models.checkpoints import load_model, load_tokenizer
from lethe.models.config import context_length
from lethe.models.device import prepare
from lethe.models.soft_prompts import virtual_tokens
from lethe.text.cloze import FEWEST_WORDS
from lethe.text.matching import name_finder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

WINDOW = 2048  # tokens in which a model without a limited context reads a question
MEASURES = ("model", "metric", "item", "value")
TOLD = ("truth_ratio", "trivia", "model_utility", "privleak")  # in the printed sentence
RETAIN_CHARS = 4_000_000  # of retain text searched for names
NOT_ASKED = "retrained is not among measure.models"
REASONS = {
    ("truth_ratio", "trivia", "forget_quality", "forget_quality_log10"): "no name due has another one of its kind",
    tuple(f"retain_{name}" for name in QUESTIONED): "nowhere in the retain text are several names of one kind due",
    ("model_utility",): "there are no questions about what is to be retained",
    ("verbatim_memorisation", "extraction_strength", "exact_memorisation"): "the forget side's text is too short",
    ATTACKS: "the forget side has no held-out text, or too little, to tell from what was trained on",
    ("privleak",): "there is no held-out forget text, or the retrained model tells it apart without a fault",
    ("neighbour_perplexity",): "no prompt has names that can all be replaced by ordinary ones",
}


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
    min_k: Annotated[float, Field(gt=0, le=1)]
    precision: Precision
    device: Device
    seed: int

    @field_validator("template")
    @classmethod
    def _asks_the_question(cls, template: str) -> str:
        if "{question}" not in template:
            raise ValueError(f"found {template!r}, wanted {{question}} in it")
        return template


def main() -> None:
    from tqdm import tqdm

    params = read_params("measure", Params)
    with workspace("measure") as work:
        device = prepare(params.device)
        baseline, corpus = Path("models/baseline"), Path("data/corpus.parquet")
        folders = {"baseline": baseline, "retrained": Path("models/retrained")}
        folders |= {"unlearned": Path("models/unlearned"), "checkpoints": Path("models/checkpoints")}
        models = measured(params.models, folders)
        rows = read_prompts(Path("data/prompts.jsonl"), params.set)
        listed = read_csv(Path("data/names.csv"), ("name", "unique"), unique=("name",), filled=("name",))
        texts = {side: [text for text, _ in training_documents(corpus, [side])] for side in ("forget", "retain")}
        due = {row.get("due") or row["references"][0] for row in rows}
        texts["retain"] = sampled(texts["retain"], RETAIN_CHARS, params.seed)
        names = know_names(sorted(due | {row["name"] for row in listed}), texts["forget"], texts["retain"])
        questions = all_questions(rows, names, texts["retain"], params)
        trivia = all_trivia(rows, names, texts["forget"], params)
        tokenizer, context = load_tokenizer(baseline), context_length(baseline) or WINDOW
        context -= max(map(virtual_tokens, models.present.values()), default=0)  # the same text for every model
        passages = {MEMBER: texts["forget"], OTHER: held_out_texts(corpus, "forget")}
        neighbours = frames(((f"prompt {row['id']}", row["prompt"]) for row in rows), names, params.seed)
        material = gather(questions, trivia, passages, neighbours, tokenizer, context, params)
        found: dict[str, Readout] = {}
        for name, folder in tqdm(models.present.items(), desc="measure", unit="model"):
            model = load_model(folder, device, dtype_named(params.precision))
            found[name] = read_out(model, tokenizer, material, params.answer_tokens)
            del model  # before the next is loaded: two may not fit the card
        values = all_values(found, material, rests(material.members, tokenizer), params.min_k)
        measures = all_measures(values)
        absent = models.absent | absent_metrics(measures, models.absent.get("retrained", NOT_ASKED))
        write_csv(measure_rows(values), MEASURES, work / "data/measures.csv")
        rows_of = {name: {key: one.row() for key, one in of_model.items()} for name, of_model in measures.items()}
        write_json({"models": rows_of, "absent": absent}, work / "reports/measures.json")
        print(sentence(measures, absent))


def all_questions(
    rows: Sequence[Mapping[str, Any]], names: Names, retain: Sequence[str], params: Params
) -> dict[str, list[Question]]:
    """The questions by group: TOFU's files if there are any, else the prompts, and training text of the retain side:
    like TOFU's retain set, it is what the baseline was taught and should keep.
    """
    files = question_files(Path(params.questions))
    if files:
        return {group: read_questions(path, params.template) for group, path in files.items()}
    kinds = {name: use.kind for name, use in names.uses.items()}
    prompts = forget_questions(rows, kinds, names.finder, params.wrong, params.seed)
    known = retain_kinds(names)
    asked = text_questions(
        "retain", retain, known, name_finder(known), longest(rows), params.cloze, params.wrong, params.seed
    )
    return {"forget": prompts} | ({"retain": asked} if asked else {})


def all_trivia(
    rows: Sequence[Mapping[str, Any]], names: Names, forget: Sequence[str], params: Params
) -> list[Question]:
    """Places of the forget side's training text, whatever the other questions are, each with one wrong name."""
    kinds = {name: use.kind for name, use in names.uses.items()}
    return text_questions("trivia", forget, kinds, names.finder, longest(rows), params.cloze, 1, params.seed)


def longest(rows: Sequence[Mapping[str, Any]]) -> int:
    """Words of the longest prompt: what is made of running text is no longer."""
    return max(FEWEST_WORDS, *(len(row["prompt"].split()) for row in rows))


def gather(
    questions: dict[str, list[Question]],
    trivia: list[Question],
    passages: Mapping[str, Sequence[str]],
    neighbours: Sequence[Frame],
    tokenizer: PreTrainedTokenizerFast,
    context: int,
    params: Params,
) -> Material:
    """Everything the models are shown. Raises StageError for what does not fit their context."""
    if params.passage_tokens > context:
        raise StageError(
            f"params.yaml: measure.passage_tokens: found {params.passage_tokens}, wanted at most {context}, the "
            "model's context"
        )
    for asked in (*questions.values(), trivia):
        check_lengths(asked, tokenizer, context, params.answer_tokens)
    members, others = (
        drawn_passages(texts, tokenizer, name, params.passage_tokens, params.passages, params.seed)
        for name, texts in passages.items()
    )
    return Material(questions, trivia, members, others, sentences(neighbours, tokenizer, context))


def all_values(
    found: Mapping[str, Readout], material: Material, true_rests: Sequence[str], min_k: float
) -> dict[str, Values]:
    """Model -> metric -> item -> value. The reference attack compares every model with the retrained one."""
    values: dict[str, Values] = {}
    reference = found.get("retrained")
    for name, own in found.items():
        of_model: Values = {}
        for group, questions in material.questions.items():
            of_model |= question_values(group, questions, own.answers[group], own.written[group])
        of_model |= trivia_values(material.trivia, own.trivia)
        of_model |= memorised_values(material.members, own.members, true_rests, own.recited)
        against = [*reference.members, *reference.others] if reference and name != "retrained" else None
        passages = [*material.members, *material.others]
        of_model |= membership_values(passages, [*own.members, *own.others], against, min_k)
        values[name] = of_model | neighbour_values(material.sentences, own.sentences)
    return values


def all_measures(values: Mapping[str, Values]) -> dict[str, dict[str, Interval]]:
    """Model -> metric -> its number with its interval."""
    measures = {}
    for name, of_model in values.items():
        measures[name] = aggregates(of_model)
        useful = utility(of_model)
        if useful is not None:
            measures[name]["model_utility"] = useful
        if "retrained" in values and name != "retrained":
            measures[name] |= relative(of_model, values["retrained"])
    return measures


def absent_metrics(measures: Mapping[str, Mapping[str, Interval]], no_reference: str) -> dict[str, str]:
    """Metric -> why no model has it. no_reference: why there is no retrained model to compare with."""
    missing = {metric: no_reference for metric in RELATIVE if "retrained" not in measures}
    for metrics, reason in REASONS.items():
        missing |= {metric: reason for metric in metrics if metric not in missing}
    return {metric: reason for metric, reason in missing.items() if not any(metric in own for own in measures.values())}


def measure_rows(values: Mapping[str, Values]) -> list[dict[str, Any]]:
    """Rows of data/measures.csv, numbers to six significant digits."""
    return [
        {"model": model, "metric": metric, "item": item, "value": f"{value:.6g}"}
        for model, of_model in values.items()
        for metric, of_items in of_model.items()
        for item, value in of_items.items()
    ]


def sentence(measures: Mapping[str, Mapping[str, Interval]], absent: Mapping[str, str]) -> str:
    """The one printed line: before -> after, and how many metrics there are."""
    parts = [told(measures, metric) for metric in TOLD if any(metric in own for own in measures.values())]
    metrics = {metric for own in measures.values() for metric in own}
    missing = f", {len(absent)} absent" if absent else ""
    return f"measure: {', '.join(parts)}; {len(metrics)} metrics of {len(measures)} models{missing}"


def told(measures: Mapping[str, Mapping[str, Interval]], metric: str) -> str:
    """`trivia baseline 0.951 -> unlearned 0.702 (retrained 0.500)`."""
    shown = {name: f"{own[metric].value:.3f}" for name, own in measures.items() if metric in own}
    steps = " -> ".join(f"{name} {shown[name]}" for name in ("baseline", "unlearned") if name in shown)
    aside = f"(retrained {shown['retrained']})" if "retrained" in shown else ""
    return " ".join(part for part in (metric.replace("_", " "), steps, aside) if part)


if __name__ == "__main__":
    run(main)
