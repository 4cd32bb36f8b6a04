"""`lethe card`: the README.md of the unlearned model as model hubs read it, with what the release gate measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lethe.cli.gate import judge, origin
from lethe.console import Json, print_json
from lethe.core.errors import StageError
from lethe.core.hashing import folder_sha256
from lethe.core.tables import read_json
from lethe.unlearning.model_card import card_facts, without_front_matter

if TYPE_CHECKING:
    from lethe.gate.criteria import Criterion

MODEL, BASELINE = Path("models/unlearned"), Path("models/baseline")
REPORTS, PARAMS = Path("reports"), Path("params.yaml")


def command(json: Json = False) -> None:
    """Print the model card of **models/unlearned** with front matter: base model, licence, tags, the gate's numbers.

    The README.md in the folder has all but the gate's numbers, which are measured after it is written. For a copy that
    you publish: **lethe card > release/README.md**. The model's own folder stays as it is, because its hash is
    recorded. Raises an error if the reports are not of this model.
    """
    check_reports(MODEL, REPORTS)
    text = read_text(MODEL / "README.md")
    found = metadata(text, BASELINE, judge(PARAMS, REPORTS))
    if json:
        print_json(found.to_dict())
    else:
        print(f"---\n{found.to_yaml()}\n---\n\n{without_front_matter(text)[1]}", end="")


def check_reports(model: Path, reports: Path) -> None:
    """Raise StageError unless the reports are recorded and the last training that they tell of wrote this model."""
    origin(reports)
    told = read_json(reports / "distil.json")["sha256"]
    found = folder_sha256(model)
    different = sorted(name for name in told.keys() | found.keys() if told.get(name) != found.get(name))
    if different:
        raise StageError(f"{model}: expected the model that {reports}/distil.json tells of, got another {different[0]}")


def metadata(text: str, baseline: Path, judged: Sequence[Criterion]) -> Any:
    """The front matter, as huggingface_hub's ModelCardData. text: of the card, which says what the model is."""
    from huggingface_hub import EvalResult, ModelCardData

    corpus: dict[str, Any] = {
        "task_type": "text-generation",
        "dataset_type": "private",
        "dataset_name": "forget and retain set",
    }
    results = [
        EvalResult(**corpus, metric_type=one.name, metric_name=one.what, metric_value=round(one.value, 6))
        for one in judged
        if one.value is not None
    ]
    said, body = without_front_matter(text)
    facts = card_facts(baseline, said.get("datasets", ()), "frozen weights" in body)
    return ModelCardData(model_name="unlearned", eval_results=results or None, **facts | said)


def read_text(path: Path) -> str:
    """A file's text. Raises StageError if there is none."""
    if not path.exists():
        raise StageError(f"{path}: expected the card that the training wrote, got none; run `dvc repro`")
    return path.read_text(encoding="utf-8")
