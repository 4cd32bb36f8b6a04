"""Fine-tunes the baseline on the generic labels, or with another objective: the suppressed model.

reads   data/labels.parquet  data/corpus.parquet  data/dictionary.csv  models/baseline
writes  models/suppressed  models/checkpoints  reports/finetune.json  reports/loss/finetune.csv
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import NonNegativeFloat, PositiveInt, model_validator

from lethe.core.corpus import training_documents
from lethe.core.hashing import file_sha256, folder_sha256, path_sha256
from lethe.core.params import read_params
from lethe.core.stage import is_main_process, run, workspace
from lethe.core.tables import write_csv, write_json
from lethe.models.checkpoints import load_tokenizer, write_absent
from lethe.models.config import context_length, hidden_size
from lethe.models.device import prepare
from lethe.text.streaming import read_facts
from lethe.training.adapters import check_prompt_room
from lethe.training.loop import LOSS_HEADER
from lethe.unlearning.fine_tuning import fine_tune
from lethe.unlearning.methods import UnlearningParams, chosen
from lethe.unlearning.model_card import card_facts, front_matter, model_card, provenance
from lethe.unlearning.rows import check_layer, labelled_rows, read_labels, with_retain_rows


class Params(UnlearningParams):
    """The objective, tuning and labels that the baseline is fine-tuned with (WHP section 2)."""

    labels: Literal["hard", "soft"]
    alpha: NonNegativeFloat
    retain_rows: NonNegativeFloat
    steps: PositiveInt
    checkpoints: list[PositiveInt]

    @model_validator(mode="after")
    def _checkpoints_ascend_before_the_end(self) -> Params:
        if self.checkpoints != sorted(set(self.checkpoints)) or any(step >= self.steps for step in self.checkpoints):
            raise ValueError(
                f"checkpoints: expected ascending steps below {self.steps}, got {self.checkpoints} (the last step is "
                "the fine-tuned model itself)"
            )
        return self

    @property
    def trains_on_distributions(self) -> bool:
        """Whether soft labels are read; other objectives than the paper's use the likeliest token, if any label."""
        return self.labels == "soft" and self.objective == "generic_labels"


def main() -> None:
    params = read_params("finetune", Params)
    device = prepare(params.device)
    with workspace("finetune", resumable=True) as work:
        labels, baseline = Path("data/labels.parquet"), Path("models/baseline")
        corpus = Path("data/corpus.parquet")
        tokenizer = load_tokenizer(baseline)
        method = chosen(params, hidden_size(baseline), params.seed)
        check_layer(params, method, baseline)
        generic = read_labels(labels, params.alpha, baseline, params.trains_on_distributions)
        if params.tuning == "prompt":
            check_prompt_room(params.prompt, generic.tokens.shape[1], context_length(baseline), "finetune")
        rows = labelled_rows(generic, params, method, tokenizer, baseline, params.seed)
        if method.retain:
            retain = training_documents(corpus, ("retain",))
            rows = with_retain_rows(rows, retain, tokenizer, params.retain_rows, params.objective, params.seed)
        suppressed, checkpoints = work / "models/suppressed", work / "models/checkpoints"
        checkpoints.mkdir(parents=True, exist_ok=True)
        folders = {step: checkpoints / f"step-{step:05d}" for step in params.checkpoints} | {params.steps: suppressed}
        curve, change = fine_tune(baseline, rows, params, folders, device, work)
        if not is_main_process():
            return
        if not params.checkpoints:  # DVC warns of an empty folder, again and again
            write_absent(checkpoints, "finetune.checkpoints is empty")
        inputs = {
            "corpus": file_sha256(corpus),
            "dictionary": file_sha256(Path("data/dictionary.csv")),
            "labels": file_sha256(labels),
            "baseline": path_sha256(baseline),
        }
        write_json(provenance(inputs, params, baseline), suppressed / "provenance.json")
        datasets = read_facts(corpus).get("datasets", "").split()
        head = front_matter(card_facts(baseline, datasets, params.tuning == "prompt"))
        card = head + model_card(inputs, params, params.alpha, params.steps)
        (suppressed / "README.md").write_text(card, encoding="utf-8")
        write_csv(curve, LOSS_HEADER, work / "reports/loss/finetune.csv")
        write_json(
            {
                "steps": params.steps,
                "alpha": params.alpha,
                "objective": params.objective,
                "tuning": params.tuning,
                **change,
                "sha256": folder_sha256(suppressed),
            },
            work / "reports/finetune.json",
        )
        print(f"finetune: loss {curve[0]['loss']:.3f} -> {curve[-1]['loss']:.3f} in {params.steps} steps")


if __name__ == "__main__":
    run(main)
