"""python -m tests.streaming STAGE PROJECT: by how many MiB a corpus eight times as large raises the stage's peak.

Groups and batches are small here, so that little text is already many of them. No model runs.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from benchmarks.growth import run_stage, simulate_models
from benchmarks.subprocess_case import forget_peak, resident_mib
from lethe.core.tables import ANCHORS, OVERRIDES, write_csv
from lethe.dictionary import contexts
from lethe.text import streaming as streams


def main() -> None:
    stage, folder = sys.argv[1], Path(sys.argv[2])
    streams.GROUP_BYTES, streams.BATCH_BYTES, streams.BUFFER_BYTES = 1 << 18, 1 << 16, 1 << 16
    contexts.HELD = 500
    simulate_models()
    projects = {size: prepared(folder, size, stage) for size in ("small", "large")}
    peaks = [peak(stage, projects[size]) for size in ("small", "small", "large")]  # the first warms up
    print(peaks[2] - peaks[1])


def peak(stage: str, project: Path) -> float:
    """MiB resident at most while the stage ran."""
    forget_peak()
    run_stage(stage, project)
    return resident_mib(peak=True)


def prepared(folder: Path, size: str, stage: str) -> Path:
    """A copy of the project with the corpus of this size, and what stages before would have left."""
    project = folder / f"{stage}-{size}"
    shutil.copytree(folder / "models", project / "models")
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(folder / name, project / name)
    (project / "data").mkdir()
    shutil.copy(folder / f"{size}.parquet", project / "data/corpus.parquet")
    write_csv(json.loads((folder / "anchors.json").read_text()), ANCHORS, project / "data/anchors.csv")
    write_csv([], OVERRIDES, project / "data/overrides.csv")
    if stage == "extract":
        run_stage("block", project)
    return project


if __name__ == "__main__":
    main()
