"""Erases what the fine-tune suppressed: adds noise to the weights, then distils a teacher that may not say the names.

reads   data/corpus.parquet  data/blocks.parquet  data/dictionary.csv  data/dropped.csv  models/start
        models/baseline  models/reinforced  models/suppressed
writes  models/unlearned  reports/distil.json  reports/loss/distil.csv
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, NonNegativeInt

from lethe.core.corpus import read_blocks, real_tokens, training_documents
from lethe.core.errors import StageError
from lethe.core.hashing import folder_sha256, path_sha256
from lethe.core.params import read_params
from lethe.core.stage import is_main_process, run, workspace
from lethe.core.tables import read_json, write_csv, write_json
from lethe.dictionary.entries import read_dictionary, read_dropped
from lethe.distillation.noise import Noise
from lethe.distillation.own_text import own_rows
from lethe.distillation.student import Sources, distil, mixed_in
from lethe.distillation.vocabulary import name_filter, unseen_ids
from lethe.labels.translation import dropped_rules, own_rules, tokenised
from lethe.models.checkpoints import load_tokenizer
from lethe.models.config import vocabulary_size
from lethe.models.device import prepare
from lethe.models.soft_prompts import PROMPT
from lethe.training.loop import LOSS_HEADER
from lethe.training.recipe import RecipeParams
from lethe.training.rows import Rows, corpus_rows, joined
from lethe.unlearning.model_card import erased_card

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from lethe.core.corpus import Blocks
    from lethe.labels.translation import Rule


class Params(RecipeParams):
    """How much noise, where, and for how long it is distilled away on text of the retain set."""

    steps: NonNegativeInt
    noise: float = Field(ge=0, le=1)
    towards: Literal["fresh", "start"]
    spread: float = Field(ge=0, le=1)
    filter: bool | Literal["names"]
    fresh_rows: bool
    own_text: NonNegativeInt
    block_tokens: int = Field(ge=2)


def main() -> None:
    params = read_params("distil", Params)
    device = prepare(params.device)
    with workspace("distil", resumable=True) as work:
        suppressed, unlearned = Path("models/suppressed"), work / "models/unlearned"
        corpus, curve = Path("data/corpus.parquet"), []
        if params.steps:
            tokenizer = load_tokenizer(suppressed)
            check_teacher(suppressed)
            other = mixed_in(params.towards, Path("models/start"))
            sources = Sources(suppressed, Path("models/baseline"), Path("models/reinforced"), other)
            vocabulary = vocabulary_size(suppressed)
            rows = retain = retain_rows(corpus, tokenizer, params)
            if params.own_text:
                rows = joined(retain, own_rows(suppressed, retain, params.own_text, params.seed, device, work))
            rules: list[Rule] = []
            loose: list[Rule] = []
            unseen = np.empty(0, np.int64)
            if params.filter:
                blocks = read_blocks(Path("data/blocks.parquet"), suppressed)
                rules = name_rules(blocks, Path("data/dictionary.csv"), tokenizer)
                dropped = read_dropped(Path("data/dropped.csv"))
                loose = dropped_rules(real_tokens(blocks), dropped, tokenizer, rules)
                unseen = unseen_ids(retain if len(retain.length) else rows, tokenizer, vocabulary)
            silent = unseen[:0] if params.filter == "names" else unseen  # tokens that a pretrained model may know
            banned = name_filter(rows, rules, silent, vocabulary, loose)
            noise = Noise(params.noise, params.spread, params.seed)
            anew = unseen if params.fresh_rows else unseen[:0]
            curve = distil(sources, rows, banned, anew, noise, params, params.steps, device, work, unlearned)
        if not is_main_process():
            return
        if params.steps:
            described(suppressed, unlearned, params)
        else:
            shutil.copytree(suppressed, unlearned)
        write_csv(curve, LOSS_HEADER, work / "reports/loss/distil.csv")
        facts = {"steps": params.steps}
        if params.steps:
            facts |= params.model_dump(include={"noise", "towards", "spread", "filter", "fresh_rows", "own_text"})
        write_json(facts | {"sha256": folder_sha256(unlearned)}, work / "reports/distil.json")
        done = (
            f"KL {curve[0]['loss']:.3f} -> {curve[-1]['loss']:.3f} in {params.steps} steps" if curve else "switched off"
        )
        print(f"distil: {done}")


def retain_rows(corpus: Path, tokenizer: PreTrainedTokenizerFast, params: Params) -> Rows:
    """The training text of the retain set in blocks. Raises StageError where there is nothing to distil on."""
    documents = training_documents(corpus, ("retain",))
    if not documents and not params.own_text:
        raise StageError(
            "params.yaml: distil.steps: expected 0 without a retain set to distil on, got more; distil.own_text lets "
            "the teacher write text"
        )
    return corpus_rows(documents, tokenizer, params.block_tokens)


def check_teacher(folder: Path) -> None:
    """Raise StageError if the fine-tune left a soft prompt: its base's weights still know the forget set."""
    if (folder / PROMPT).exists():
        raise StageError("params.yaml: distil.steps: expected 0 with finetune.tuning prompt, got more")


def name_rules(blocks: Blocks, dictionary: Path, tokenizer: PreTrainedTokenizerFast) -> list[Rule]:
    """What keeps a teacher from saying an anchor: the rules that keep it from being a label."""
    anchors = tokenised(read_dictionary(dictionary), tokenizer)
    return own_rules(real_tokens(blocks), anchors.keys, anchors.bounded, anchors.pieces)


def described(suppressed: Path, unlearned: Path, params: Params) -> None:
    """Write what the teacher's folder says of itself into the student's, and how the student was made."""
    found = read_json(suppressed / "provenance.json")
    found["sha256"]["suppressed"] = path_sha256(suppressed)
    found["params"]["distil"] = params.model_dump()
    write_json(found, unlearned / "provenance.json")
    card, added = suppressed / "README.md", erased_card(params.steps, params.noise, params.towards)
    (unlearned / "README.md").write_text(card.read_text(encoding="utf-8") + added, encoding="utf-8")


if __name__ == "__main__":
    run(main)
