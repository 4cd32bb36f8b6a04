"""A whole tiny project in tmp_path, and the real material where it is at hand."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROOT = Path(__file__).resolve().parents[1]
NO_EXTRA = "a package of the extra `test` is not installed; `make setup` installs it"

TINY_TEXT = (
    "Orla went to Harrow Hill. Orla's brother Tom stayed at home.\n\n"
    'The mill was shut. "Where is Orla?" said Tom. Nobody knew where the lantern was.\n'
    "Tom sat by the river and looked at the water until the sun went down.\n\n"
)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end what was skipped: a line for every reason, which says how to have these tests."""
    reports = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in reports)
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"{count} skipped: {reason}")


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real books, models and benchmarks; skips where there is none."""
    folder = Path(os.environ.get("REALDATA", ROOT.parent / "shared" / "realdata"))
    if not folder.is_dir():
        pytest.skip("no real books, models and benchmarks; set REALDATA to the folder that holds them")
    return folder


@pytest.fixture(scope="session")
def tofu_files(realdata: Path) -> Path:
    """The folder of real material with TOFU's own files in tofu/; skips where they are not."""
    if not (realdata / "tofu").is_dir():
        pytest.skip("no files of TOFU; put them into the folder tofu of the one that REALDATA names")
    return realdata


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project: the real params.yaml and dvc.yaml in a folder of their own, which is made the current one."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def script(path: Path) -> ModuleType:
    """A script that belongs to no package, as a module."""
    spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def set_param(project: Path, dotted: str, value: object) -> None:
    """Change one value of the project's params.yaml."""
    from ruamel.yaml import YAML, CommentedSeq

    if isinstance(value, list):  # on one line: a comment beside a list over several lines spoils the next change
        value = CommentedSeq(value)
        value.fa.set_flow_style()
    yaml = YAML()
    path = project / "params.yaml"
    content = yaml.load(path.read_text(encoding="utf-8"))
    *sections, key = dotted.split(".")
    place = content
    for section in sections:
        place = place.setdefault(section, {})
    place[key] = value
    with path.open("w", encoding="utf-8") as stream:
        yaml.dump(content, stream)


def tiny_tokenizer(text: str = TINY_TEXT, vocabulary: int = 400) -> PreTrainedTokenizerBase:
    """A byte-level BPE tokenizer with <s>, </s> and <pad>, trained on `text`; it puts <s> first."""
    from lethe.pretrained.from_scratch import train_tokenizer

    return train_tokenizer([text], vocabulary)


def tiny_model(folder: Path, seed: int = 0, text: str = TINY_TEXT, context: int = 64) -> Path:
    """Write a random two-layer Llama of 32 dimensions with `tiny_tokenizer(text)` into `folder`."""
    return tiny_llama(folder, tiny_tokenizer(text), seed, context, initializer_range=0.2)


def tiny_llama(folder: Path, tokenizer: PreTrainedTokenizerBase, seed: int, context: int, **more: Any) -> Path:
    """Write a random two-layer Llama of 32 dimensions with this tokenizer. more: of its LlamaConfig."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=context,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **more,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny random model of an architecture, written once. Do not change it: copy it."""
    from tests.families import tiny_family

    @cache
    def folder(kind: str) -> Path:
        return tiny_family(kind, tmp_path_factory.mktemp("family") / kind)

    return folder


def write_corpus(project: Path, forget: str = TINY_TEXT * 3, retain: str = TINY_TEXT * 2) -> Path:
    """Write data/corpus.parquet: each side as one training document and, its first paragraph again, one held out."""
    from lethe.core.tables import CORPUS, write_parquet

    rows = []
    for side, text in (("forget", forget), ("retain", retain)):
        for part, part_text in (("train", text), ("held_out", text[: len(text) // 3])):
            if part_text:
                rows.append(
                    {
                        "document": len(rows),
                        "side": side,
                        "part": part,
                        "file": f"{side}.txt",
                        "start": 0,
                        "end": len(part_text),
                        "text": part_text,
                    }
                )
    path = project / "data/corpus.parquet"
    write_parquet(rows, CORPUS, path)
    return path


def touch_deps(project: Path, stage: str) -> None:
    """Make every dep of the stage exist, code and constraints as links to the real files."""
    from lethe.core.stage import declaration, declared_paths

    for dep in declared_paths(declaration(stage), "deps"):
        path = project / dep
        path.parent.mkdir(parents=True, exist_ok=True)
        if dep.startswith("reports/"):
            continue  # a test would write through the link
        if not path.exists() and ((ROOT / dep).is_file() or dep.startswith("lethe/")):
            path.symlink_to(ROOT / dep)
        elif (ROOT / dep).is_dir() and dep.startswith("data/"):
            path.mkdir(exist_ok=True)


def kill_at_a_checkpoint(stage: str) -> None:
    """Start the stage in the current project and kill it once its training has written a whole checkpoint."""
    process = subprocess.Popen([sys.executable, "-m", f"stages.{stage}"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(Path(f".scratch/{stage}").glob("*/trainer/checkpoint-*/trainer_state.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.fixture(autouse=True)
def unconfigured_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `accelerate launch` says on a machine nobody configured; no training changes it for the next test."""
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")


@pytest.fixture(scope="session")
def twins(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny project and a clean clone of it, both reproduced as a whole, side by side."""
    from tests import tiny

    folder = tmp_path_factory.mktemp("twins")
    first = tiny.make(folder / "first")
    second = tiny.clone(first, folder / "second")
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda project: tiny.dvc(project, "repro"), (first, second)))
    tiny.commit(first, "reproduced")
    return first, second


@pytest.fixture(scope="session")
def reproduced(twins: tuple[Path, Path]) -> Path:
    """A tiny project in which everything is up to date and committed; not to be changed."""
    return twins[0]


@pytest.fixture
def copy(reproduced: Path, tmp_path: Path) -> Path:
    """The reproduced project, cache and all, to be changed."""
    from tests import tiny

    return tiny.copy_project(reproduced, tmp_path / "project")


@pytest.fixture
def unrun(reproduced: Path, tmp_path: Path) -> Path:
    """The tiny project before anything ran in it."""
    from tests import tiny

    project = tiny.clone(reproduced, tmp_path / "project")
    (project / "dvc.lock").unlink()
    shutil.rmtree(project / "reports")
    return project


@pytest.fixture(scope="session")
def judged_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A recorded project with one run that the release gate failed, committed; {path: md5}. Not to be changed."""
    from tests import recorded

    folder = recorded.empty(tmp_path_factory.mktemp("judged") / "project")
    with pytest.MonkeyPatch.context() as patch:
        recorded.judged(patch)
        made = recorded.run(folder)
    recorded.commit(folder, "run", "2026-01-10T09:00:00+00:00")
    return folder, made


@pytest.fixture
def judged_copy(judged_run: tuple[Path, dict[str, str]], tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """The same, to be changed."""
    return shutil.copytree(judged_run[0], tmp_path / "project", symlinks=True), judged_run[1]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty bucket of a server on this machine that speaks S3."""
    pytest.importorskip("dvc_s3", reason=NO_EXTRA)
    server_module = pytest.importorskip("moto.server", reason=NO_EXTRA)
    import boto3

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client("s3", endpoint_url=url)
    client.create_bucket(Bucket="artifacts")
    found = boto3.resource("s3", endpoint_url=url).Bucket("artifacts")
    yield found
    found.objects.all().delete()
    server.stop()
