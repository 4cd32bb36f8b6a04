"""Models from the Hub, against a local server that speaks its API."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lethe.core.errors import StageError
from lethe.core.hashing import folder_sha256
from lethe.pretrained import hub
from tests.conftest import tiny_model
from tests.fake_hub import TOKEN, FakeHub, serving

REPO = "owner/name"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository's files: a tiny model and much that must never be fetched."""
    folder = tiny_model(tmp_path_factory.mktemp("repo"))
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "modeling_x.py").write_text("raise SystemExit\n")
    (folder / "absent.json").write_text("{}\n")
    (folder / "original").mkdir()
    (folder / "original/consolidated.safetensors").write_bytes(b"the same weights once more")
    return folder


@pytest.fixture
def fake(model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub that holds the model as owner/name."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "/nonexistent")
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 500)  # what a broken connection can lose
    monkeypatch.setattr("time.sleep", lambda _: None)  # between the client's retries
    with serving() as server:
        server.repos[REPO] = {COMMIT: model}
        server.branches["main"] = server.branches["v1.0"] = COMMIT
        yield server


def changed(model: Path, folder: Path, change: Callable[[Path], None]) -> Path:
    """A copy of the repository with one change."""
    for path in model.iterdir():
        if path.is_file():
            (folder / path.name).parent.mkdir(parents=True, exist_ok=True)
            (folder / path.name).write_bytes(path.read_bytes())
    change(folder)
    return folder


def test_fetches_the_model_and_nothing_else(fake: FakeHub, model: Path, tmp_path: Path) -> None:
    target = tmp_path / "start"
    assert hub.fetch_model(REPO, COMMIT, target, fake.hub) == COMMIT
    files = folder_sha256(target)
    source = json.loads((target / "source.json").read_text())
    assert source == {"repo": REPO, "revision": COMMIT, "commit": COMMIT}
    assert sorted(files) == [
        "config.json", "generation_config.json", "model.safetensors", "source.json", "tokenizer.json",
        "tokenizer_config.json",
    ]  # fmt: skip
    there = folder_sha256(model)
    assert all(files[name] == there[name] for name in files if name != "source.json")
    assert not any(
        word in request for request in fake.paths("resolve") for word in (".bin", ".py", "original", "absent")
    )


def test_the_fetched_folder_loads(fake: FakeHub, tmp_path: Path) -> None:
    import torch

    from lethe.models.checkpoints import load_model, load_tokenizer

    hub.fetch_model(REPO, COMMIT, tmp_path / "start", fake.hub)
    assert load_tokenizer(tmp_path / "start").bos_token == "<s>"
    assert load_model(tmp_path / "start", torch.device("cpu")).config.num_hidden_layers == 2


def test_a_second_call_fetches_nothing(fake: FakeHub, tmp_path: Path) -> None:
    hub.fetch_model(REPO, COMMIT, tmp_path, fake.hub)
    before = folder_sha256(tmp_path)
    fake.requests.clear()
    hub.fetch_model(REPO, COMMIT, tmp_path, fake.hub)
    assert fake.paths("resolve") == []
    assert folder_sha256(tmp_path) == before


def test_the_endpoint_is_read_from_the_environment(
    fake: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", fake.hub + "/")
    assert hub.fetch_model(REPO, COMMIT, tmp_path) == COMMIT


def test_weights_in_several_files_are_those_of_the_index(fake: FakeHub, model: Path, tmp_path: Path) -> None:
    names = ["part-one.safetensors", "part-two.safetensors"]

    def shard(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / names[0])
        (folder / names[1]).write_bytes(b"second")
        (folder / "consolidated.safetensors").write_bytes(b"the same weights in another format")
        index = {"weight_map": {"a": names[0], "b": names[1], "c": names[0]}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    fake.repos[REPO][OTHER] = changed(model, tmp_path / "sharded", shard)
    hub.fetch_model(REPO, OTHER, tmp_path / "start", fake.hub)
    assert sorted(path.name for path in (tmp_path / "start").glob("*.safetensors")) == names


def test_a_dropped_connection_goes_on_within_the_call(fake: FakeHub, tmp_path: Path) -> None:
    fake.cut["model.safetensors"] = [1000]
    hub.fetch_model(REPO, COMMIT, tmp_path, fake.hub)
    ranges = [headers.get("range") for _, host, headers in fake.requests if host in fake.storage]
    assert ranges == [None, "bytes=1000-"]


def test_a_killed_download_goes_on_in_the_next_call(fake: FakeHub, model: Path, tmp_path: Path) -> None:
    weights = (model / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors.part").write_bytes(weights[:5000])  # what a killed process leaves
    (tmp_path / "config.json.part").write_bytes(b"{")  # a small file starts again
    hub.fetch_model(REPO, COMMIT, tmp_path, fake.hub)
    ranges = [headers["range"] for _, _, headers in fake.requests if "range" in headers]
    assert ranges == ["bytes=5000-", "bytes=5000-"]  # at the hub and, redirected, at its storage
    assert (tmp_path / "model.safetensors").read_bytes() == weights
    assert not list(tmp_path.glob("*.part"))


def test_a_file_that_lacks_only_its_name_is_not_fetched_again(fake: FakeHub, model: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.part").write_bytes((model / "model.safetensors").read_bytes())
    hub.fetch_model(REPO, COMMIT, tmp_path, fake.hub)
    assert fake.paths("model.safetensors") == []
    assert (tmp_path / "model.safetensors").exists()


def test_a_damaged_file_in_the_target_is_fetched_again(fake: FakeHub, model: Path, tmp_path: Path) -> None:
    hub.fetch_model(REPO, COMMIT, tmp_path, fake.hub)
    weights = bytearray((tmp_path / "model.safetensors").read_bytes())
    weights[-1] ^= 1  # same size, other content
    (tmp_path / "model.safetensors").write_bytes(weights)
    hub.fetch_model(REPO, COMMIT, tmp_path, fake.hub)
    assert (tmp_path / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()


def test_the_token_opens_a_gated_model_and_goes_to_no_other_host(
    fake: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.gated = True
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.fetch_model(REPO, COMMIT, tmp_path, fake.hub)
    hosts = {host in fake.hub for _, host, headers in fake.requests if "authorization" in headers}
    assert hosts == {True}
    assert any(host in fake.storage for _, host, _ in fake.requests)


def test_git_sha1_is_git_s_own() -> None:
    # printf 'hello\n' | git hash-object --stdin
    assert hub.git_sha1(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"


AT = f"params.yaml: baseline.model: owner/name at {OTHER[:12]}"


@pytest.mark.parametrize(
    ("repo", "revision", "message"),
    [
        (
            REPO,
            "main",
            f"params.yaml: baseline.revision: expected a 40-digit commit, got main; main is currently {COMMIT}",
        ),
        (
            REPO,
            None,
            f"params.yaml: baseline.revision: expected a 40-digit commit, got null; main is currently {COMMIT}",
        ),
        (
            REPO,
            "v1.0",
            f"params.yaml: baseline.revision: expected a 40-digit commit, got v1.0; v1.0 is currently {COMMIT}",
        ),
        (
            REPO,
            OTHER,
            f"params.yaml: baseline.revision: expected one of HUB/owner/name/commits/main, got {OTHER}, which "
            "owner/name does not have",
        ),
        (
            "owner/nome",
            COMMIT,
            "params.yaml: baseline.model: owner/nome: no such model at HUB, or a private one; check the name, or set "
            "HF_TOKEN to see it",
        ),
        ("a b/c", COMMIT, "params.yaml: baseline.model: expected owner/name, got a b/c"),
    ],
)
def test_bad_name_or_revision(fake: FakeHub, tmp_path: Path, repo: str, revision: str | None, message: str) -> None:
    with pytest.raises(StageError) as error:
        hub.fetch_model(repo, revision, tmp_path / "start", fake.hub)
    assert str(error.value) == message.replace("HUB", fake.hub)
    assert not (tmp_path / "start").exists()


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("config.json", f"{AT}: expected a causal language model with its fast tokenizer, got no config.json"),
        ("tokenizer.json", f"{AT}: expected a causal language model with its fast tokenizer, got no tokenizer.json"),
        (
            "model.safetensors",
            f"{AT}: expected safetensors, got only pickled weights (pytorch_model.bin); use a converted copy of "
            "the model",
        ),
    ],
)
def test_bad_repository(fake: FakeHub, model: Path, tmp_path: Path, removed: str, message: str) -> None:
    fake.repos[REPO][OTHER] = changed(model, tmp_path / "repo", lambda folder: (folder / removed).unlink())
    with pytest.raises(StageError) as error:
        hub.fetch_model(REPO, OTHER, tmp_path / "start", fake.hub)
    assert str(error.value) == message
    assert fake.paths("resolve") == []


@pytest.mark.parametrize("named", ["pytorch_model.bin", "original/consolidated.safetensors", "../../x.safetensors"])
def test_an_index_that_names_anything_but_weights_beside_it(
    fake: FakeHub, model: Path, tmp_path: Path, named: str
) -> None:
    def point(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / "original").mkdir()
        (folder / "original/consolidated.safetensors").write_bytes(b"the same weights once more")
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": named}}))

    fake.repos[REPO][OTHER] = changed(model, tmp_path / "repo", point)
    with pytest.raises(StageError) as error:
        hub.fetch_model(REPO, OTHER, tmp_path / "start", fake.hub)
    assert str(error.value) == (
        "params.yaml: baseline.model: owner/name: model.safetensors.index.json: expected a .safetensors file of "
        f"the model, got {named}"
    )


def misbehave(fake: FakeHub, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the hub, or the way to it, fail in one manner."""
    if how == "gated":
        fake.gated = True
    elif how == "offline":
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    elif how == "damaged":
        fake.damage = "model.safetensors"
    elif how == "cut":
        fake.cut["model.safetensors"] = [1000] + [0] * 10
    else:
        fake.status = int(how)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            "gated",
            "params.yaml: baseline.model: owner/name: gated (401); accept the licence at HUB/owner/name and set "
            "HF_TOKEN",
        ),
        (
            "403",
            "params.yaml: baseline.model: owner/name: HF_TOKEN refused (403); expected a token that may read "
            "HUB/owner/name",
        ),
        ("503", "HUB: expected the files of owner/name, got status 503; run `dvc repro` later, it resumes"),
        ("offline", "HUB: expected network access, got HF_HUB_OFFLINE set; unset it or use `source: folder`"),
        (
            "cut",
            "HUB: not reachable (RemoteProtocolError); expected the Hugging Face Hub; check the network and "
            "HF_ENDPOINT, then run `dvc repro`, which resumes",
        ),
        (
            "damaged",
            "TARGET/model.safetensors: expected the hash that owner/name states, got another file from HUB; run "
            "`dvc repro` to fetch it again",
        ),
    ],
)
def test_bad_days(fake: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, message: str) -> None:
    misbehave(fake, how, monkeypatch)
    with pytest.raises(StageError) as error:
        hub.fetch_model(REPO, COMMIT, tmp_path, fake.hub)
    assert str(error.value) == message.replace("HUB", fake.hub, 1 if how != "gated" else -1).replace(
        "TARGET", str(tmp_path)
    )
    assert not (tmp_path / "source.json").exists()
    assert not (tmp_path / "model.safetensors").exists()


def test_an_interrupted_download_leaves_what_it_has(fake: FakeHub, tmp_path: Path) -> None:
    fake.cut["model.safetensors"] = [1000] + [0] * 10
    with pytest.raises(StageError):
        hub.fetch_model(REPO, COMMIT, tmp_path, fake.hub)
    assert (tmp_path / "model.safetensors.part").stat().st_size == 1000


def test_a_hub_that_is_down(tmp_path: Path) -> None:
    with serving() as server:
        address = server.hub
    with pytest.raises(StageError) as error:
        hub.fetch_model(REPO, COMMIT, tmp_path, address)
    assert str(error.value) == (
        f"{address}: not reachable (ConnectError); expected the Hugging Face Hub; check the network and "
        "HF_ENDPOINT, then run `dvc repro`, which resumes"
    )


def test_a_full_disk_is_told_before_the_weights_are_fetched(
    fake: FakeHub, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(0, 0, 1000))
    with pytest.raises(StageError) as error:
        hub.fetch_model(REPO, COMMIT, tmp_path, fake.hub)
    assert (
        str(error.value)
        == f"{tmp_path}: expected 0.2 MB free for the weights of owner/name, got 0.0 MB; free some space"
    )
    assert fake.paths("model.safetensors") == []
