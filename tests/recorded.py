"""A project whose history is written by hand: runs that took no time, in the form that git and DVC keep them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dvc.utils.serialize import dumps_yaml
from safetensors.numpy import save_file

from lethe.core.hashing import file_sha256, folder_sha256
from lethe.core.tables import CORPUS, blocks_schema, write_json, write_parquet
from lethe.gate.criteria import GateParams, criteria, metric
from lethe.provenance.fingerprint import manifest_bytes, md5_of, own_files, path_md5
from tests.conftest import TINY_TEXT

LIBRARY = (
    "stages/lib/models.py",
    "lethe/models",
)  # what every stage imports, where it is there: a file once, now a folder
CODE = {"stages/corpus.py": "corpus = 1\n", "stages/finetune.py": "finetune = 1\n", "constraints.txt": "torch==2\n"}
PARAMS: dict[str, dict[str, Any]] = {
    "corpus": {"forget": "data/forget", "seed": 0},
    "baseline": {"source": "hub", "model": "owner/small", "revision": "1" * 40, "epochs": 3, "learning_rate": 1e-5},
    "finetune": {"steps": 4, "alpha": 5.0},
}
STAGES = {  # deps and outs, code left out
    "corpus": (["data/forget"], ["data/corpus.parquet"]),
    "baseline": (["data/corpus.parquet"], ["models/start", "models/baseline"]),
    "retrain": (["data/corpus.parquet", "models/start"], ["models/retrained"]),
    "block": (["data/corpus.parquet", "models/baseline"], ["data/blocks.parquet"]),
    "reinforce": (["data/blocks.parquet", "models/baseline"], ["models/reinforced"]),
    "translate": (["data/corpus.parquet", "models/baseline"], ["data/dictionary.csv"]),
    "label": (["data/blocks.parquet", "data/dictionary.csv", "models/reinforced"], ["data/labels.parquet"]),
    "finetune": (
        ["data/labels.parquet", "data/corpus.parquet", "data/dictionary.csv", "models/baseline"],
        ["models/unlearned", "models/checkpoints", "reports/finetune.json"],
    ),
    "evaluate": (["models/baseline", "models/unlearned"], ["reports/familiarity.json"]),
}


JUDGED = ("familiarity", "benchmarks", "measures", "attacks")  # the reports that the gate judges
LIMITS = {"completion_familiarity": 0.1, "retain_perplexity": 1.5}


def gate_limits() -> dict[str, float | None]:
    """The thresholds of LIMITS and no other."""
    return {name: LIMITS.get(name) for name in GateParams.model_fields}


def judged(patch: pytest.MonkeyPatch, familiarity: float = 0.5, measures: dict[str, Any] | None = None) -> None:
    """Let `run` also write the reports that the release gate judges, and its verdict: fail unless 0.1 or less.

    measures: those of a run without a retrained model.
    """
    ratio = {"completion_familiarity": familiarity, "probability_familiarity": 0.2, "retain_perplexity_factor": 1.1}
    apart = {"baseline": {"value": 0.8, "low": 0.7, "high": 0.9, "items": 50},
             "unlearned": {"value": 0.1, "low": 0.0, "high": 0.2, "items": 50}}  # fmt: skip
    intervals = {model: {"leak": interval} for model, interval in apart.items()}
    before, after = {"leak": 0.8, "retain_perplexity": 10.0}, {"leak": 0.1, "retain_perplexity": 11.0}
    numbers = {"baseline": before, "unlearned": after}
    reports: dict[str, Any] = {
        "familiarity": {
            "models": numbers,
            "ratio": ratio,
            "reasons": {},
            "absent": (measures or {}).get("absent", {}),
            "intervals": intervals,
        },
        "benchmarks": {"models": {name: {"order": 0.8} for name in numbers}, "items": {"order": 10}, "absent": {}},
        "measures": measures or {"models": {}, "absent": {}},
        "attacks": {"attacks": [], "absent": {}},
    }
    limits, original = gate_limits(), write_artifacts

    def write(folder: Path, text: str, params: dict[str, Any]) -> None:
        original(folder, text, params)
        for name, content in reports.items():
            write_json(content, folder / f"reports/{name}.json")
        found = criteria(GateParams(**limits), *(reports[name] for name in JUDGED))
        write_json(metric(found), folder / "reports/gate.json")

    patch.setattr("tests.recorded.write_artifacts", write)
    patch.setitem(STAGES, "evaluate", (STAGES["evaluate"][0], ["reports/familiarity.json", "reports/benchmarks.json"]))
    patch.setitem(STAGES, "attack", (["models/unlearned"], ["reports/measures.json", "reports/attacks.json"]))
    patch.setitem(STAGES, "report", ([f"reports/{name}.json" for name in JUDGED], ["reports/gate.json"]))
    patch.setitem(PARAMS, "report", {"gate": limits})


def forge(folder: Path, path: str, old: str, new: str) -> None:
    """Change a report and its md5 in dvc.lock, as somebody who wants another verdict would."""
    file, lock = folder / path, folder / "dvc.lock"
    before = md5_of(file)
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    lock.write_text(lock.read_text().replace(before, md5_of(file)))


def empty(folder: Path) -> Path:
    """A git repository with DVC's folder, a remote and the code, committed."""
    folder.mkdir(parents=True)
    config = "[core]\n    analytics = false\n    remote = far\n['remote \"far\"']\n    url = ../../far\n"
    texts = {**CODE, ".dvc/config": config, ".dvc/.gitignore": "/cache\n/tmp\n/config.local\n"}
    texts[".gitignore"] = "/models/\n/data/*.parquet\n/data/*.csv\n"
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder, "empty project", "2026-01-01T09:00:00+00:00")
    return folder


def git(folder: Path, *arguments: str, given: str | bytes | None = None, **variables: str) -> str:
    """Output of git, with nobody's settings and Ada as author."""
    who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in ADA.items()}
    environment = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"} | who | variables
    given = given.encode() if isinstance(given, str) else given
    done = subprocess.run(["git", *arguments], cwd=folder, env=environment, input=given, capture_output=True)
    assert done.returncode == 0, (arguments, done.stderr.decode())
    return done.stdout.decode().strip()


ADA = {"NAME": "Ada", "EMAIL": "ada@example.org"}


def commit(folder: Path, subject: str, date: str = "2026-02-01T09:00:00+00:00") -> str:
    """Commit everything that git does not ignore; returns the commit."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", subject, GIT_AUTHOR_DATE=date, GIT_COMMITTER_DATE=date)
    return git(folder, "rev-parse", "HEAD")


def run(folder: Path, text: str = TINY_TEXT, **params: dict[str, Any]) -> dict[str, str]:
    """Write every artifact, put it into the cache and write dvc.lock; returns {path: md5}.

    The numbers in the models are drawn from the text and the params, as a training would have it.
    """
    used = {name: section | params.get(name, {}) for name, section in PARAMS.items()}
    write_artifacts(folder, text, used)
    write_lock(folder, used)
    stages = STAGES.values()
    for path in (out for _, outs in stages for out in outs):
        if not path.startswith("reports/"):
            cache(folder, folder / path)
    return {path: path_md5(folder / path) for deps, outs in stages for path in (*deps, *outs)}


def library_as_file(folder: Path) -> None:
    """The library as it was before it had packages: a file under stages/lib."""
    old = folder / LIBRARY[0]
    old.parent.mkdir()
    old.write_text("width = 1\n")


def library_as_package(folder: Path) -> None:
    """The same code in a package of lethe instead."""
    old, new = (folder / path for path in LIBRARY)
    old.unlink()
    new.mkdir(parents=True)
    (new / "heads.py").write_text("width = 1\n")


def write_artifacts(folder: Path, text: str, params: dict[str, Any]) -> None:
    """Every input and output of the stages."""
    (folder / "data/forget").mkdir(parents=True, exist_ok=True)
    (folder / "data/forget/a.txt").write_text(text)
    cut = text.index("Tom sat")  # the end of the third line is held out
    rows = [corpus_row(0, "train", text, 0, cut), corpus_row(1, "held_out", text, cut, len(text))]
    write_parquet(rows, CORPUS, folder / "data/corpus.parquet")
    blocks = [{"block": n, "document": 0, "start": 40 * n, "end": 40 * n + 40, "length": 2} for n in range(cut // 40)]
    write_parquet([row | {"tokens": [1, 2]} for row in blocks], blocks_schema(2), folder / "data/blocks.parquet")
    (folder / "data/dictionary.csv").write_text(f"anchor\n{text[:4]}\n")
    (folder / "data/labels.parquet").write_text(f"labels of {text}")
    for name in ("start", "baseline", "retrained", "reinforced"):
        model(folder / "models" / name, f"{name} {text} {params['baseline']}")
    shutil.rmtree(folder / "models/checkpoints", ignore_errors=True)
    model(folder / "models/checkpoints/step-00002", f"half {text} {params}")
    unlearned = model(folder / "models/unlearned", f"unlearned {text} {params}")
    versions = {"python": "3.11.7", "torch": "2.13.0"}
    made_from = {"corpus": file_sha256(folder / "data/corpus.parquet")}
    write_json(
        {"sha256": made_from, "params": {"finetune": params["finetune"]}, "versions": versions},
        unlearned / "provenance.json",
    )
    finetune = {"steps": params["finetune"]["steps"], "sha256": folder_sha256(unlearned)}
    write_json(finetune, folder / "reports/finetune.json")
    write_json({"models": {"unlearned": {"leak": 0.25}}}, folder / "reports/familiarity.json")


def corpus_row(document: int, part: str, text: str, start: int, end: int) -> dict[str, Any]:
    """A row of CORPUS on the forget side."""
    kept = {"document": document, "side": "forget", "part": part, "file": "a.txt"}
    return kept | {"start": start, "end": end, "text": text[start:end]}


def model(folder: Path, seed: str, **header: str) -> Path:
    """A model folder of two tensors, drawn from the seed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    numbers = np.random.default_rng(int(hashlib.md5(seed.encode()).hexdigest(), 16)).normal(size=(2, 8))
    tensors = {"a.weight": numbers[0].astype(np.float32), "b.weight": numbers[1].astype(np.float32)}
    save_file(tensors, folder / "model.safetensors", {"format": "pt", **header})
    (folder / "config.json").write_text('{"model_type": "llama"}\n')
    return folder


def cache(folder: Path, path: Path) -> None:
    """Put a file, or a folder and each of its files, where DVC's cache has it."""
    if path.is_dir():
        files = own_files(path)
        for file in files.values():
            cache(folder, file)
        keep(folder, path_md5(path), manifest_bytes({name: md5_of(file) for name, file in files.items()}))
    else:
        keep(folder, md5_of(path), path.read_bytes())


def keep(folder: Path, md5: str, content: bytes) -> None:
    """Write one object of the cache."""
    target = folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)


def write_lock(folder: Path, params: dict[str, Any]) -> None:
    """dvc.lock for what lies in the folder, as DVC writes it."""
    stages = {}
    for name, (deps, outs) in STAGES.items():
        code = [
            path for path in CODE if path == f"stages/{name}.py" or (path == "constraints.txt" and name != "corpus")
        ]
        code += [path for path in LIBRARY if (folder / path).exists()]
        entry = {"cmd": f"python -m stages.{name}", "deps": [item(folder, path) for path in sorted([*code, *deps])]}
        if name in params:
            entry["params"] = {"params.yaml": {name: params[name]}}
        stages[name] = entry | {"outs": [item(folder, path) for path in sorted(outs)]}
    (folder / "dvc.lock").write_text(dumps_yaml({"schema": "2.0", "stages": stages}))


def item(folder: Path, path: str) -> dict[str, Any]:
    """An entry of deps or outs."""
    return {"path": path, "hash": "md5", "md5": path_md5(folder / path), "size": 1}


def remove_cached(folder: Path, md5: str) -> bytes:
    """Take an object out of the cache; returns its bytes."""
    path = folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    content = path.read_bytes()
    path.unlink()
    return content


def put_remote(folder: Path, md5: str, content: bytes) -> None:
    """Write one object of the remote `far`."""
    path = folder.parent / "far/files/md5" / md5[:2] / md5[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def json_of(folder: Path, *arguments: str) -> Any:
    """What a lethe command says as JSON, run in the folder in this process."""
    done = lethe(folder, *arguments, "--json")
    assert done.stdout.startswith("{"), done.output
    return json.loads(done.stdout)


def lethe(folder: Path, *arguments: str, given: str | None = None) -> Any:
    """Typer's result of a lethe command in the folder; `.output`, `.exit_code`, `.exception`."""
    from typer.testing import CliRunner

    from lethe.cli.commands import app

    before = Path.cwd()
    os.chdir(folder)
    try:
        return CliRunner().invoke(app, list(arguments), input=given)
    finally:
        os.chdir(before)
