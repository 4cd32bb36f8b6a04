"""Runs extraction attacks on the unlearned, baseline and retrained models.

reads   data/prompts.jsonl  data/names.csv  data/corpus.parquet  models/baseline  models/retrained
        models/references  models/suppressed  models/unlearned
writes  data/attacks.csv  reports/attacks.json
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lethe.attacks.every_model import attack_all
from lethe.attacks.leaks import check_room
from lethe.attacks.params import AttackParams
from lethe.attacks.results import ATTACKS_HEADER, item_rows, report_rows, sentence
from lethe.attacks.suite import Material, inapplicable
from lethe.attacks.training_prompts import training_prompts
from lethe.core.corpus import training_documents
from lethe.core.errors import StageError
from lethe.core.params import read_params
from lethe.core.stage import run, workspace
from lethe.core.tables import read_prompts, write_csv, write_json
from lethe.evaluation.familiarity import name_matcher
from lethe.evaluation.model_set import measured
from lethe.evaluation.name_tokens import distinctive_tokens, token_counts
from lethe.evaluation.prompts import prepared, read_names
from lethe.models.checkpoints import load_tokenizer
from lethe.models.device import prepare

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SIDES = ("retain", "forget")
WINDOW = 2048  # tokens of context for a model without a limit of its own


class Params(AttackParams):
    """Which attacks are run, and with what effort."""


def main() -> None:
    os.environ |= {"HF_HUB_OFFLINE": "1"}  # an attack fetches nothing; read when a library is imported
    params = read_params("attack", Params)
    with workspace("attack") as work:
        device = prepare(params.device)
        models = measured(("baseline", "suppressed", "unlearned", "retrained", "references"))
        tokenizer, names = load_tokenizer(models.baseline), read_names(Path("data/names.csv"))
        if params.chat_template and tokenizer.chat_template is None:
            raise StageError(
                "params.yaml: attack.chat_template: expected false, got true, but the tokenizer has no chat template"
            )
        texts = {side: [text for text, _ in training_documents(Path("data/corpus.parquet"), [side])] for side in SIDES}
        rows = read_prompts(Path("data/prompts.jsonl"), params.set)
        room = models.context(WINDOW) - params.new_tokens
        found = material(rows, names, texts, tokenizer, room, work / "training", params)
        check_room(found.prompts, room, "no attack")
        reasons = {name: reason for name in params.attacks if (reason := inapplicable(name, found))}
        wanted = [name for name in params.attacks if name not in reasons]
        findings = attack_all(models.present, found, wanted, device.type)
        attacks = report_rows(findings)
        write_csv(item_rows(findings), ATTACKS_HEADER, work / "data/attacks.csv")
        report = {"set": params.set, "prompts": len(found.prompts), "attacks": attacks}
        write_json(report | {"absent": models.absent | reasons}, work / "reports/attacks.json")
        print(sentence(attacks))


def material(
    rows: Sequence[dict[str, Any]],
    names: dict[str, bool],
    texts: dict[str, list[str]],
    tokenizer: PreTrainedTokenizerFast,
    room: int,
    work: Path,
    params: AttackParams,
) -> Material:
    """The inputs of the attacks; the prompts are evenly spaced over all test prompts."""
    count = min(params.prompts, len(rows))
    asked = [rows[i * len(rows) // count] for i in range(count)]
    distinctive = distinctive_tokens(token_counts(tokenizer, texts["forget"]), token_counts(tokenizer, texts["retain"]))
    targeted = [row for row in rows if row.get("due")]
    matcher = name_matcher(names)
    prompts = prepared(asked, names, distinctive, tokenizer, params.chat_template)
    most = max(params.probe.prompts, params.soft_prompt.prompts)
    training = training_prompts(texts["forget"], names, params.words, most, params.seed)
    return Material(
        tokenizer, asked, prompts, targeted, texts, training, names, matcher, distinctive, room, work, params
    )


if __name__ == "__main__":
    run(main)
