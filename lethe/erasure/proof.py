"""What a model that satisfies a request was made from and how it was measured, as dvc.lock and its reports prove."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lethe.core.errors import StageError
from lethe.custody.plain_git import PLAIN_GIT, plain
from lethe.report.request_ledger import MEASURED


def proof(model: Path, folder: Path) -> dict[str, Any]:
    """What dvc.lock records of the model: its md5, its corpus, its commit.

    Raises StageError unless model and text are the ones of dvc.lock, and the model was made from the text.
    """
    from lethe.provenance.fingerprint import path_md5 as md5_of
    from lethe.provenance.history import ancestors, recorded

    lock_path = Path("dvc.lock")
    lock = recorded(lock_path.read_text(encoding="utf-8")) if lock_path.exists() else {}
    outs = {out: md5 for entry in lock.values() for out, md5 in entry.outs.items()}
    if not model.is_dir() or outs.get(model.as_posix()) != (made := md5_of(model)):
        raise StageError(f"{model}: expected the model that dvc.lock records, got another; `dvc repro`")
    inputs = {dep: md5 for entry in lock.values() for dep, md5 in entry.deps.items()}
    read = [path for path in ancestors(lock, model.as_posix()) if Path(path) in (folder, *folder.parents)]
    if not read:
        raise StageError(
            f"{model}: expected a model made from {folder}, got one made without it (dvc.lock); `dvc repro`"
        )
    if md5_of(Path(read[0])) != inputs[read[0]]:
        raise StageError(f"{read[0]}: changed since the model was made from it; `dvc repro`, then satisfy again")
    return {"md5": made, "corpus_md5": outs["data/corpus.parquet"], "commit": commit()}


def commit() -> str | None:
    """The current commit, None outside git. Raises StageError unless it holds the dvc.lock of the folder."""
    done = subprocess.run([*PLAIN_GIT, "rev-parse", "HEAD"], capture_output=True, text=True, env=plain())
    if done.returncode:
        return None
    held = subprocess.run([*PLAIN_GIT, "cat-file", "blob", "HEAD:./dvc.lock"], capture_output=True, env=plain())
    if held.stdout != Path("dvc.lock").read_bytes():
        raise StageError("dvc.lock: expected it in a commit, got another or none there; git add --all && git commit")
    return done.stdout.strip()


def findings(model: str, md5: str) -> dict[str, Any]:
    """The measures of a model and the release gate's verdict on it, worked out from its reports.

    Raises StageError unless dvc.lock records these reports as made from the model, and reports/gate.json as what
    follows from them.
    """
    from lethe.cli.gate import judged_by, report_of, thresholds
    from lethe.gate.criteria import JUDGED, metric, status
    from lethe.provenance.history import params_of

    text = Path("dvc.lock").read_text(encoding="utf-8")
    gate = Path("reports/gate.json")
    paths = [Path(f"reports/{name}.json") for name in JUDGED]
    for path in (*paths, gate):
        check_report(text, path, model, md5)
    limits = thresholds(Path("dvc.lock"), params_of(text, "report").get("gate"))
    reports = [report_of(path) for path in paths]
    found = judged_by(limits, reports, "reports")
    if not found or report_of(gate) != metric(found):
        raise StageError(f"{gate}: expected the verdict that follows from its reports, got another; `dvc repro report`")
    reasons = reports[0].get("reasons", {}).values()
    verdict = {
        "status": status(found),
        "missed": [row.name for row in found if row.met is False],
        "unmeasured": [row.name for row in found if row.met is None],
        "baseline_knew": not any("the baseline is no more familiar" in reason for reason in reasons),
    }
    return {"measures": measures(), "verdict": verdict}


def check_report(lock: str, path: Path, model: str, md5: str) -> None:
    """Raise StageError unless a dvc.lock records this report, with these bytes, as made with the model or from it."""
    from lethe.provenance.fingerprint import md5_of
    from lethe.provenance.history import recorded
    from lethe.provenance.lineage import Found, outs_from

    stages = recorded(lock)
    outs = {out: digest for entry in stages.values() for out, digest in entry.outs.items()}
    if not path.exists() or outs.get(path.as_posix()) != md5_of(path):
        raise StageError(f"{path}: expected the report that dvc.lock records, got another or none; `dvc repro`")
    if path.as_posix() not in outs_from(stages, Found(model, md5, "")):
        raise StageError(f"{path}: expected a report made from {model} {md5}, got one of another model; `dvc repro`")


def measures() -> dict[str, dict[str, float | None]]:
    """{model: what it still knows and what it lost} from the current reports, for baseline and unlearned.

    Raises StageError for what cannot have been measured.
    """
    from lethe.core.tables import read_json

    models = read_json(Path("reports/familiarity.json"))["models"]
    scores = read_json(Path("reports/benchmarks.json"))["models"]
    found = {
        name: {metric: models[name].get(metric) for metric in MEASURED if metric != "benchmark"}
        for name in ("baseline", "unlearned")
        if name in models
    }
    whole = {name: numbers | {"benchmark": mean(scores.get(name, {}))} for name, numbers in found.items()}
    for name, numbers in whole.items():
        for metric, value in numbers.items():
            if value is not None and not 0 <= value < float("inf"):
                raise StageError(f"reports: {name}: {metric}: expected a measured number, got {value}; `dvc repro`")
    return whole


def mean(scores: Mapping[str, float]) -> float | None:
    """The mean accuracy over all benchmarks, None if there was none."""
    return round(sum(scores.values()) / len(scores), 4) if scores else None
