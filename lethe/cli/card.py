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

if TYPE_CHECKING:
    from lethe.gate.criteria import Criterion

MODEL, BASELINE = Path("models/unlearned"), Path("models/baseline")
REPORTS, PARAMS = Path("reports"), Path("params.yaml")


def command(json: Json = False) -> None:
    """Print the model card of **models/unlearned** with front matter: base model, licence, tags, the gate's numbers.

    For a copy that you publish: **lethe card > release/README.md**. The model's own folder stays as it is,
    because its hash is recorded. Raises an error if the reports are not of this model.
    """
    check_reports(MODEL, REPORTS)
    found = metadata(read_text(MODEL / "README.md"), BASELINE, judge(PARAMS, REPORTS))
    if json:
        print_json(found.to_dict())
    else:
        print(f"---\n{found.to_yaml()}\n---\n\n{read_text(MODEL / 'README.md')}", end="")


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
    return ModelCardData(
        model_name="unlearned",
        eval_results=results or None,
        library_name="peft" if "frozen weights" in text else "transformers",
        pipeline_tag="text-generation",
        tags=["machine-unlearning", "lethe"],
        **origin_of(baseline),
    )


def origin_of(baseline: Path) -> dict[str, Any]:
    """The base model on the Hub and its licence, as far as the baseline's folder says them."""
    from huggingface_hub import metadata_load
    from yaml import YAMLError

    found: dict[str, Any] = {}
    if (baseline / "source.json").exists():
        source = read_json(baseline / "source.json")  # the Hub's name and commit, or hash and licence of a GGUF file
        found |= {name: source[key] for name, key in (("base_model", "repo"), ("license", "license")) if key in source}
    try:
        said = (metadata_load(baseline / "README.md") or {}) if (baseline / "README.md").exists() else {}
    except (ValueError, YAMLError):  # front matter that is none
        said = {}
    for name in ("license", "license_name", "license_link"):
        if said.get(name):
            found[name] = str(said[name])
    if "license" not in found and any(baseline.glob("LICENSE*")):
        found |= {"license": "other", "license_link": "LICENSE"}
    return found


def read_text(path: Path) -> str:
    """A file's text. Raises StageError if there is none."""
    if not path.exists():
        raise StageError(f"{path}: expected the card that the training wrote, got none; run `dvc repro`")
    return path.read_text(encoding="utf-8")
