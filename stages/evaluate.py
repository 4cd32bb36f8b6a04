"""How much of the forget side each model still gives away, and how well it still reads both sides.

reads   data/prompts.jsonl  data/names.csv  data/corpus.parquet  models/baseline  models/retrained  models/unlearned
        models/checkpoints
writes  data/completions.jsonl  reports/familiarity.json
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import PositiveInt, model_validator

from lethe.core.corpus import held_out_texts, training_documents
from lethe.core.errors import StageError
from lethe.core.params import StageParams, read_params
from lethe.core.stage import run, workspace
from lethe.core.tables import read_prompts, write_json, write_jsonl
from lethe.evaluation.familiarity import (
    Verdict,
    answer,
    completion_scores,
    judge,
    question,
    ratios,
    without_cut_word,
    yardstick,
)
from lethe.evaluation.model_set import Device, Models, Precision, dtype_named, measured
from lethe.evaluation.name_tokens import telling_tokens, token_counts
from lethe.evaluation.prompts import Prompt, prepared, read_names
from lethe.inference.decoding import continue_greedily, end_ids, texts_after
from lethe.inference.scoring import token_loss
from lethe.llm_client import ChatSettings, ask_all
from lethe.models.checkpoints import load_model, load_tokenizer
from lethe.models.config import context_length
from lethe.models.device import prepare
from lethe.models.soft_prompts import virtual_tokens
from lethe.models.tokenization import cut_blocks

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

WINDOW = 512  # tokens in which a model without a limited context reads held-out text
SIDES = ("retain", "forget")


class Params(StageParams):
    models: Models
    set: Literal["test", "development"]
    chat_template: bool
    new_tokens: PositiveInt
    judge: Literal["rule", "llm"]
    llm: ChatSettings
    precision: Precision
    device: Device

    @model_validator(mode="after")
    def _a_judge_reads_forget_text(self) -> Params:
        if self.judge == "llm" and not self.llm.send_forget_text:
            raise ValueError("judge: found llm with llm.send_forget_text false, wanted true or the judge rule")
        return self


class Completion(NamedTuple):
    """What one model made of one prompt."""

    model: str
    prompt: Prompt
    text: str
    ended: bool  # False: cut by the token limit
    probability: float


def main() -> None:
    from tqdm import tqdm

    params = read_params("evaluate", Params)
    with workspace("evaluate") as work:
        device = prepare(params.device)
        baseline, corpus = Path("models/baseline"), Path("data/corpus.parquet")
        folders = {"baseline": baseline, "retrained": Path("models/retrained")}
        folders |= {"unlearned": Path("models/unlearned"), "checkpoints": Path("models/checkpoints")}
        models = measured(params.models, folders)
        names = read_names(Path("data/names.csv"))
        rows = read_prompts(Path("data/prompts.jsonl"), params.set)
        tokenizer, context = load_tokenizer(baseline), context_length(baseline) or WINDOW
        context -= max(map(virtual_tokens, models.present.values()), default=0)  # the same text for every model
        train = {side: [text for text, _ in training_documents(corpus, [side])] for side in SIDES}
        telling = telling_tokens(token_counts(tokenizer, train["forget"]), token_counts(tokenizer, train["retain"]))
        prompts = prepared(rows, names, telling, tokenizer, params.chat_template)
        check_lengths(prompts, context - params.new_tokens)
        held_out = {side: windows(held_out_texts(corpus, side), tokenizer, context) for side in SIDES}
        completions: list[Completion] = []
        perplexities: dict[str, dict[str, float | None]] = {}
        for name, folder in tqdm(models.present.items(), desc="evaluate", unit="model"):
            model = load_model(folder, device, dtype_named(params.precision))
            completions += complete(name, model, tokenizer, prompts, params.new_tokens)
            perplexities[name] = {f"{side}_perplexity": perplexity(model, held_out[side]) for side in SIDES}
            del model  # before the next is loaded: two may not fit the card
        verdicts = judge_all(completions, names, params)
        scores = model_scores(completions, verdicts, perplexities)
        ratio, reasons = ratios(scores, models.absent)
        report: dict[str, Any] = {"set": params.set, "prompts": len(prompts), "names": len(names), "models": scores}
        report |= {"absent": models.absent, "ratio": ratio, "reasons": reasons}
        if params.judge == "llm":
            report["unparsable"] = sum(verdict.grade is None for verdict in verdicts)
        write_jsonl(completion_rows(completions, verdicts), work / "data/completions.jsonl")
        write_json(rounded(report), work / "reports/familiarity.json")
        print(sentence(report))


def check_lengths(prompts: Sequence[Prompt], room: int) -> None:
    """Raise StageError for the first prompt that leaves a model no room for its completion."""
    for prompt in prompts:
        if len(prompt.tokens) > room:
            raise StageError(
                f"data/prompts.jsonl: prompt {prompt.id}: found {len(prompt.tokens)} tokens, wanted at most {room}, "
                "the model's context less evaluate.new_tokens; shorten it or lower prompt.words"
            )


def windows(texts: Sequence[str], tokenizer: PreTrainedTokenizerFast, context: int) -> list[list[int]]:
    """The texts in pieces that a model can read at once."""
    return [block.tokens for text in texts for block in cut_blocks(tokenizer, text, context)]


def complete(
    name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, prompts: Sequence[Prompt], new_tokens: int
) -> list[Completion]:
    """What the model makes of every prompt."""
    tokens, content = [prompt.tokens for prompt in prompts], [prompt.content for prompt in prompts]
    found = continue_greedily(model, tokens, content, new_tokens, end_ids(model, tokenizer))
    texts = texts_after(tokenizer, tokens, [continuation.tokens for continuation in found])
    return [
        Completion(name, prompt, text, continuation.ended, continuation.probability)
        for prompt, text, continuation in zip(prompts, texts, found, strict=True)
    ]


def perplexity(model: PreTrainedModel, pieces: Sequence[Sequence[int]]) -> float | None:
    """exp of the mean loss per token; None without text."""
    return math.exp(token_loss(model, pieces)) if any(len(piece) > 1 for piece in pieces) else None


def judge_all(completions: Sequence[Completion], names: Mapping[str, bool], params: Params) -> list[Verdict]:
    """A verdict for each completion, by rule or by a language model."""
    if params.judge == "llm":
        asked = [question(item.prompt.text, item.prompt.references, item.text) for item in completions]
        return [answer(reply) for reply in ask_all(asked, params.llm, "evaluate")]
    stick = yardstick(names)
    texts = [item.text if item.ended else without_cut_word(item.text) for item in completions]
    return [
        judge(item.prompt.text, item.prompt.references, text, stick)
        for item, text in zip(completions, texts, strict=True)
    ]


def model_scores(
    completions: Sequence[Completion],
    verdicts: Sequence[Verdict],
    perplexities: Mapping[str, Mapping[str, float | None]],
) -> dict[str, dict[str, Any]]:
    """Model -> its numbers."""
    scores = {}
    for name, found in perplexities.items():
        own = [i for i, item in enumerate(completions) if item.model == name]
        measures = completion_scores([verdicts[i].grade for i in own])
        measures["probability_familiarity"] = math.fsum(completions[i].probability for i in own) / len(own)
        scores[name] = measures | dict(found)
    return scores


def completion_rows(completions: Sequence[Completion], verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Rows of data/completions.jsonl."""
    return [
        {"model": item.model, "id": item.prompt.id, "completion": item.text}
        | {"grade": verdict.grade, "leaked": verdict.leaked, "probability": rounded(item.probability)}
        for item, verdict in zip(completions, verdicts, strict=True)
    ]


def rounded(value: Any) -> Any:
    """Every number of a report to six decimals."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return round(value, 6) if isinstance(value, float) else value


def sentence(report: Mapping[str, Any]) -> str:
    """The one printed line: before -> after."""
    parts = [told(report["models"], metric) for metric in ("leak", "completion_familiarity")]
    unparsable = f"; {report['unparsable']} replies of the judge did not parse" if "unparsable" in report else ""
    return f"evaluate: {', '.join(parts)} on {report['prompts']} {report['set']} prompts{unparsable}"


def told(scores: Mapping[str, Mapping[str, Any]], metric: str) -> str:
    """`leak baseline 0.731 -> unlearned 0.044 (retrained 0.010)`."""
    shown = {name: "none" if found[metric] is None else f"{found[metric]:.3f}" for name, found in scores.items()}
    steps = " -> ".join(f"{name} {shown[name]}" for name in ("baseline", "unlearned") if name in shown)
    aside = f"(retrained {shown['retrained']})" if "retrained" in shown else ""
    return " ".join(part for part in (metric.replace("_", " "), steps, aside) if part)


if __name__ == "__main__":
    run(main)
