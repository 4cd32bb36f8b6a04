"""A first look at the unlearned model, before its references are trained: leak and perplexity beside the baseline's.

python -m lethe.running.first_look    `lethe repro` runs it between two stages; it writes nothing
"""

from __future__ import annotations

from pathlib import Path

from lethe.core.corpus import held_out_texts, training_documents
from lethe.core.errors import StageError
from lethe.core.params import read_params
from lethe.core.tables import read_prompts

PROMPTS = 100  # spread over the set
TEXTS = 40  # of held-out retain text
NEEDED = ("distil", "prompt")  # the stages after which it can be taken
BEFORE = "evaluate"  # which measures all of it


def main() -> None:
    from lethe.evaluation.completions import complete, model_scores, rule_verdicts
    from lethe.evaluation.model_set import format_change, loaded, measured
    from lethe.evaluation.name_tokens import distinctive_tokens, token_counts
    from lethe.evaluation.prompts import check_lengths, prepared, read_names
    from lethe.inference.scoring import block_losses, perplexity
    from lethe.models.checkpoints import load_tokenizer
    from lethe.models.device import prepare
    from stages.evaluate import WINDOW, Params, windows

    params, corpus = read_params("evaluate", Params), Path("data/corpus.parquet")
    device, models = prepare(params.device), measured(("baseline", "unlearned"))
    names, rows = read_names(Path("data/names.csv")), read_prompts(Path("data/prompts.jsonl"), params.set)
    asked = [rows[i * len(rows) // PROMPTS] for i in range(PROMPTS)] if len(rows) > PROMPTS else rows
    tokenizer, context = load_tokenizer(models.baseline), models.context(WINDOW)
    counts = [token_counts(tokenizer, [text for text, _ in training_documents(corpus, [side])]) for side in SIDES]
    prompts = prepared(asked, names, distinctive_tokens(*counts), tokenizer, params.chat_template)
    check_lengths(prompts, context - params.new_tokens)
    held_out = windows(held_out_texts(corpus, "retain")[:TEXTS], tokenizer, context)
    completions, losses = [], {}
    for name, model in loaded(models.present, device, params.precision):
        completions += complete(name, model, tokenizer, prompts, params.new_tokens)
        losses[name] = {"retain_perplexity": perplexity(block_losses(model, held_out))}
    scores = model_scores(completions, rule_verdicts(completions, names), losses)
    parts = []
    for metric, digits in (("leak", 3), ("completion_familiarity", 2), ("retain_perplexity", 2)):
        shown = {
            name: "none" if own.get(metric) is None else f"{own[metric]:.{digits}f}" for name, own in scores.items()
        }
        parts.append(format_change(metric, shown))
    print(f"first look: {', '.join(parts)}, on {len(prompts)} prompts and without references; `{BEFORE}` measures all")


SIDES = ("forget", "retain")

if __name__ == "__main__":
    try:
        main()
    except StageError as error:
        print(f"first look: not possible: {error}")
