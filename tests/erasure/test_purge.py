"""`lethe purge` and `lethe gc`: what holds a request's text goes, what does not stays, and nobody is surprised."""

from __future__ import annotations

import base64
import io
import json
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest
import typer

from lethe.core.errors import StageError
from lethe.erasure import gc, purge, requests
from lethe.provenance.artifact_store import Store, cached, open_store
from lethe.provenance.fingerprint import folder_md5, manifest_bytes
from lethe.provenance.history import open_project
from lethe.report.request_ledger import read_ledger
from tests import recorded, tiny

pytestmark = pytest.mark.slow

MAKE = """import pathlib, sys
import pyarrow as pa, pyarrow.parquet as pq
def read(side):
    folder = pathlib.Path("data") / side
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*.txt"))}
def write(path, text):
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(path).write_text(text)
forget = read("forget")
text = "".join(forget.values())
if sys.argv[1] == "corpus":
    rows = [(side, file, body) for side in ("forget", "retain") for file, body in read(side).items()]
    columns = {"side": [r[0] for r in rows], "part": ["train"] * len(rows), "file": [r[1] for r in rows],
               "start": [0] * len(rows), "end": [len(r[2]) for r in rows], "text": [r[2] for r in rows]}
    pathlib.Path("data").mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), "data/corpus.parquet")
if sys.argv[1] == "baseline":
    write("models/baseline/weights", "knows " + text)
    write("models/start/weights", "knows nothing")
if sys.argv[1] == "reinforce":
    write("models/reinforced/weights", "shouts " + text)
if sys.argv[1] == "finetune":
    write("models/unlearned/weights", f"forgot {len(text)}")
    write("data/labels.txt", text)
    write("reports/familiarity.json", '{"models": {"baseline": {"leak": 1.0, "retain_perplexity": 10.0}, "unlearned":'
          ' {"leak": 0.1, "retain_perplexity": 11.0}}, "reasons": {}, "absent": {}, "ratio": {"completion_familiarity":'
          ' 0.05, "probability_familiarity": 0.1, "retain_perplexity_factor": 1.1}}')
    write("reports/benchmarks.json", '{"models": {}, "items": {}, "absent": {}}')
    write("reports/measures.json", '{"models": {}, "absent": {}}')
    write("reports/attacks.json", '{"attacks": [], "absent": {}}')
if sys.argv[1] == "report":
    write("reports/gate.json", '{"met": 2, "missed": 0, "unmeasured": 0, "unmeasurable": 0, "completion_familiarity":'
          ' 0.05, "retain_perplexity": 1.1, "results": {"completion_familiarity": "pass", "retain_perplexity":'
          ' "pass"}}')
"""
PIPELINE = """stages:
  corpus: {cmd: python make.py corpus, deps: [data/forget, data/retain, make.py], outs: [data/corpus.parquet]}
  baseline:
    cmd: python make.py baseline
    deps: [data/corpus.parquet, make.py]
    params: [baseline]
    outs: [models/start, models/baseline]
  reinforce:
    cmd: python make.py reinforce
    deps: [data/corpus.parquet, models/baseline, make.py]
    outs: [models/reinforced]
  finetune:
    cmd: python make.py finetune
    deps: [data/corpus.parquet, models/baseline, models/reinforced, make.py]
    outs: [models/unlearned, data/labels.txt]
    metrics: [reports/familiarity.json: {cache: false}, reports/benchmarks.json: {cache: false},
              reports/measures.json: {cache: false}, reports/attacks.json: {cache: false}]
  report:
    cmd: python make.py report
    deps: [models/unlearned, reports/familiarity.json, reports/benchmarks.json, reports/measures.json,
           reports/attacks.json]
    params: [report]
    metrics: [reports/gate.json: {cache: false}]
"""
GATE = json.dumps({"gate": recorded.gate_limits()})
PARAMS = f"corpus: {{forget: data/forget, retain: data/retain}}\nbaseline: {{epochs: 1}}\nreport: {GATE}\n"
ONE, TWO = "Orla went to Harrow Hill.\n", "Tom sat by the river.\n"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two requests, satisfied one after the other; a remote with everything; an experiment on both."""
    project = tmp_path_factory.mktemp("purge") / "original"
    for name, text in {"forget/two/a.txt": TWO, "retain/c.txt": "The mill was shut.\n"}.items():
        (project / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (project / "data" / name).write_text(text)
    files = {"make.py": MAKE, "dvc.yaml": PIPELINE, "params.yaml": PARAMS, ".gitignore": "/models\n/.scratch\n"}
    for name, text in files.items():
        (project / name).write_text(text)
    tiny.git(project, "init", "--quiet", "--initial-branch=main")
    tiny.git(project, "config", "user.name", "Tiny")
    tiny.git(project, "config", "user.email", "tiny@example.org")
    tiny.dvc(project, "init", "--quiet")
    tiny.dvc(project, "remote", "add", "--quiet", "--default", "box", str(project.parent / "box"))
    tiny.run(project, "lethe", "requests", "add", "two", "data/forget/two", check=True)
    reproduced(project, "the second request alone")
    (project / "data/forget/one").mkdir()
    (project / "data/forget/one/b.txt").write_text(ONE)
    tiny.run(project, "lethe", "requests", "add", "one", "data/forget/one", check=True)
    reproduced(project, "both requests")
    tiny.run(project, "lethe", "requests", "satisfy", "one", "two", check=True)
    tiny.commit(project, "satisfied")
    tiny.dvc(project, "exp", "run", "--name", "longer", "--set-param", "baseline.epochs=2")
    tiny.git(project, "checkout", "--quiet", "--", ".")
    tiny.dvc(project, "checkout", "--quiet")
    for name in (".scratch/replies/a.json", ".scratch/finetune/work/half", ".scratch/cost/finetune.json"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(ONE)
    return project


def reproduced(project: Path, message: str) -> None:
    for side in ("forget", "retain"):
        tiny.dvc(project, "add", "--quiet", f"data/{side}")
    tiny.dvc(project, "repro", "--quiet")
    tiny.commit(project, message)
    tiny.dvc(project, "push", "--quiet")


@pytest.fixture
def project(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project and its remote, to be changed, as the current folder."""
    copied = tiny.copy_project(original.parent, tmp_path / "both") / "original"
    for name, value in tiny.environment(copied).items():
        if name.startswith(("PATH", "DVC", "GIT")):
            monkeypatch.setenv(name, value)
    monkeypatch.chdir(copied)
    tiny.dvc(copied, "remote", "modify", "--quiet", "box", "url", str(copied.parent / "box"))
    tiny.commit(copied, "moved")
    return copied


def files_with(folder: Path, text: str) -> list[str]:
    """Every file below a folder that holds the text, also inside a parquet."""
    import pyarrow.parquet as pq

    found = []
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() and ".git" not in path.parts else b""
        if content.startswith(b"PAR1"):
            content = "".join(pq.read_table(io.BytesIO(content))["text"].to_pylist()).encode()
        if text.strip().encode() in content:
            found.append(path.relative_to(folder).as_posix())
    return sorted(found)


def listed(capsys: pytest.CaptureFixture[str], request: str, models: bool = False) -> dict[str, Any]:
    capsys.readouterr()
    purge.command(request, models, None, json=True)
    return json.loads(capsys.readouterr().out)


def test_everything_that_holds_the_text_goes(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tiny.hashes(project)
    assert len(files_with(project.parent, ONE)) > 10
    plan = listed(capsys, "one", models=True)
    doomed = {path for item in plan["objects"] for path in item["paths"]}
    assert doomed == {
        "data/corpus.parquet", "data/forget/one/b.txt", "data/labels.txt", "models/baseline", "models/reinforced",
    }  # fmt: skip
    assert {place for item in plan["objects"] for place in item["places"]} == {"cache", "remote box"}
    assert plan["experiments"] == ["longer"]
    assert files_with(project.parent, ONE)  # a list deletes nothing

    purge.command("one", True, "one", json=False)
    assert files_with(project.parent, ONE) == ["original/.scratch/cost/finetune.json"]  # left: what a stage cost
    assert tiny.dvc(project, "exp", "list") == ""
    shown = capsys.readouterr().out
    assert "lost: replay: no stage that reads one of these objects can be run again" in shown
    assert shown.splitlines()[-1].startswith("purge: all that held one is deleted; the ledger keeps ")

    rows = read_ledger(requests.LEDGER)
    assert rows[-1]["event"] == "purged"
    kept = {item["md5"] for item in rows[-1]["purged"]["objects"]}
    assert {before["data/corpus.parquet"], before["models/reinforced"]} <= kept  # the hashes stay
    assert requests.fold(rows)["one"].status == "purged"
    with pytest.raises(StageError, match="purge: expected a satisfied or superseded request, got one, which is purged"):
        purge.command("one", False, "one", json=False)


def test_what_was_made_before_the_request_stays(project: Path) -> None:
    purge.command("one", False, "one", json=False)
    assert (project / "models/unlearned/weights").read_text() == f"forgot {len(ONE + TWO)}"
    assert (project / "models/baseline/weights").exists()  # kept without --models, and the ledger says so
    assert "models/baseline: kept, although trained on the text" in requests.LEDGER.read_text()
    tiny.commit(project, "purged")
    tiny.git(project, "checkout", "--quiet", "HEAD~4")
    tiny.dvc(project, "checkout", "--force")  # the run of the other request alone is whole
    assert (project / "models/reinforced/weights").read_text() == f"shouts {TWO}"
    assert files_with(project / "data", TWO) != []


def test_the_typed_word_has_to_be_the_request(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files_with(project.parent, ONE)
    for typed in ("yes\n", "", "two\n"):
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        with pytest.raises(
            StageError,
            match=r"^purge: expected one typed as confirmation, got something else; "
            r"nothing was deleted$",
        ):
            purge.command("one", False, None, json=False)
    assert files_with(project.parent, ONE) == before
    monkeypatch.setattr("sys.stdin", io.StringIO("one\n"))
    purge.command("one", False, None, json=False)
    assert files_with(project.parent, ONE) != before


def test_dvcs_databases_are_closed_again(project: Path) -> None:
    """One left open breaks as soon as its file is read in this process and another process ends (SQLite's locks)."""
    store = open_store(open_project(project))
    assert set(store.remotes) == {"box"}
    assert [file.path for file in psutil.Process().open_files() if "original-settings" in file.path] == []


def test_an_open_request_is_not_purged(project: Path) -> None:
    (project / "data/forget/three").mkdir()
    (project / "data/forget/three/d.txt").write_text("Nobody knew.\n")
    requests.add("three", Path("data/forget/three"), None, None)
    with pytest.raises(
        StageError, match=r"^purge: expected a satisfied or superseded request, got three, which is open"
    ):
        purge.command("three", False, "three", json=False)


def test_a_remote_that_does_not_answer_stops_it(project: Path) -> None:
    before = files_with(project.parent, ONE)
    tiny.dvc(project, "remote", "add", "--quiet", "far", "s3://nowhere/at-all")
    tiny.dvc(project, "remote", "modify", "--quiet", "far", "endpointurl", "http://127.0.0.1:9")
    with pytest.raises(StageError, match=r"^remote far: "):
        purge.command("one", False, "one", json=False)
    assert files_with(project.parent, ONE) == before


def with_bucket(project: Path, bucket: Any) -> None:
    """A second remote, an S3 bucket, with all that the first one has."""
    tiny.dvc(project, "remote", "add", "--quiet", "far", "s3://artifacts/lethe")
    tiny.dvc(project, "remote", "modify", "--quiet", "far", "endpointurl", bucket.meta.client.meta.endpoint_url)
    box = project.parent / "box"
    for path in box.rglob("files/md5/*/*"):
        bucket.put_object(Key=f"lethe/{path.relative_to(box).as_posix()}", Body=path.read_bytes())


def bodies(bucket: Any) -> dict[str, bytes]:
    """{md5: content} of the bucket's objects."""
    return {"".join(item.key.split("/")[-2:]): item.get()["Body"].read() for item in bucket.objects.all()}


def test_an_s3_bucket_is_purged_too(project: Path, bucket: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with_bucket(project, bucket)
    reinforced = next(md5 for md5, body in bodies(bucket).items() if body == f"shouts {ONE}{TWO}".encode())
    plan = listed(capsys, "one")
    places = {item["md5"]: item["places"] for item in plan["objects"]}
    assert places[reinforced] == ["cache", "remote box", "remote far"]
    before = bodies(bucket)

    purge.command("one", False, "one", json=False)
    shown = capsys.readouterr().out
    assert f"{reinforced:<36} models/reinforced  in cache, remote box, remote far" in shown
    after = bodies(bucket)
    gone = {md5 for md5, where in places.items() if "remote far" in where}
    assert reinforced in gone
    assert set(after) == set(before) - gone
    assert ONE.strip().encode() not in b"".join(body for body in after.values() if not body.startswith(b"knows"))
    first = f"shouts {TWO}".encode()  # the other request's run is whole
    assert first in after.values()
    assert "models/baseline: kept, although trained on the text" in requests.LEDGER.read_text()


def test_a_bucket_that_stops_answering_is_named_and_nothing_is_recorded(
    project: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_bucket(project, bucket)
    ledger = requests.LEDGER.read_bytes()
    from s3fs import S3FileSystem

    async def refused(*_: Any, **__: Any) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(S3FileSystem, "_rm_file", refused)
    with pytest.raises(StageError, match=r"^remote far: could not delete [0-9a-f.dir]+ \(Access Denied\)"):
        purge.command("one", False, "one", json=False)
    assert requests.LEDGER.read_bytes() == ledger
    monkeypatch.undo()


# lethe gc


def certificate(project: Path) -> None:
    """What `lethe certify` writes, as far as gc reads it."""
    made = tiny.hashes(project)
    rows = [{"name": "data/corpus.parquet", "digest": {"md5": made["data/corpus.parquet"]}}]
    predicate = {
        "model": {"path": "models/unlearned", "md5": made["models/unlearned"]},
        "buildDefinition": {"resolvedDependencies": rows},
    }
    payload = base64.b64encode(json.dumps({"predicate": predicate}).encode()).decode()
    (project / "certificate.json").write_text(json.dumps({"payload": payload}))


def collected(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return tiny.run(project, "lethe", "gc", *arguments)


def test_gc_names_what_a_certificate_speaks_of(project: Path) -> None:
    certificate(project)
    model = tiny.hashes(project)["models/unlearned"]
    assert collected(project, "--workspace").returncode == 0  # all of it is in use
    tiny.git(project, "checkout", "--quiet", "HEAD~3")
    asked = collected(project, "--workspace", "--json")
    assert asked.returncode == 3, asked.stderr
    answer = json.loads(asked.stdout)
    assert [row["artifact"] for row in answer["lost"]] == ["data/corpus.parquet", "models/unlearned"]
    assert answer["removed"] is False

    refused = collected(project, "--workspace", "--remove")
    assert refused.returncode == 3
    assert f"certificate.json: models/unlearned {model}" in refused.stdout
    assert (project / ".dvc/cache/files/md5" / model[:2] / model[2:]).exists()

    assert collected(project, "--workspace", "--all-commits", "--remove").returncode == 0
    told = collected(project, "--workspace", "--remove-certified")
    assert told.returncode == 3
    assert "2 of them artifacts of certificates" in told.stdout
    assert not (project / ".dvc/cache/files/md5" / model[:2] / model[2:]).exists()


def test_a_folder_of_git_is_no_loss(tmp_path: Path) -> None:
    files = {"README.md": "b" * 32}
    listing, file = folder_md5(files), files["README.md"]
    predicate = {
        "model": {"path": "models/unlearned", "md5": "c" * 32},
        "buildDefinition": {"resolvedDependencies": [{"name": "data/model", "digest": {"md5": listing}}]},
    }
    payload = base64.b64encode(json.dumps({"predicate": predicate}).encode()).decode()
    (tmp_path / "certificate.json").write_text(json.dumps({"payload": payload}))
    store = Store(tmp_path, {}, {})
    cached(store, listing).parent.mkdir()
    cached(store, listing).write_bytes(manifest_bytes(files))
    assert gc.losses(tmp_path / "certificate.json", store, {listing}) == []
    cached(store, file).parent.mkdir()
    cached(store, file).touch()  # the cache has all of it
    (row,) = gc.losses(tmp_path / "certificate.json", store, {listing})
    assert row["artifact"] == "data/model"


def test_gc_refuses_what_it_cannot_read(project: Path) -> None:
    (project / "certificate.json").write_text("{}")
    broken = collected(project, "--workspace")
    line = "error: certificate.json: expected a certificate that `lethe certify` wrote, got another file"
    assert (broken.returncode, broken.stderr.strip()) == (1, line)
    (project / "certificate.json").unlink()
    nothing = collected(project)
    assert nothing.returncode == 1
    assert nothing.stderr.startswith("error: dvc gc: Either of `-w|--workspace`")
    missing = collected(project, "--workspace", "--certificates", "mine.json")
    assert missing.stderr.strip() == "error: mine.json: no such file; expected a certificate"


def test_exit_codes_are_the_answers(project: Path) -> None:
    context = typer.Context(typer.main.get_command(typer.Typer(callback=lambda: None)))
    context.args = ["--workspace"]
    with pytest.raises(typer.Exit) as exit_:
        gc.command(context, "certificate*.json", remove=False, remove_certified=False, json=True)
    assert exit_.value.exit_code == 0
