"""`lethe certify` and `lethe verify`: any byte that changes is found and placed, by a stranger who has nothing else."""

from __future__ import annotations

import ast
import base64
import importlib.util
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lethe.core.errors import StageError
from lethe.core.tables import write_json
from lethe.custody import stated
from lethe.provenance import certificate as certify
from lethe.provenance import verify
from lethe.provenance.fingerprint import own_files
from tests import recorded
from tests.conftest import ROOT, TINY_TEXT
from tests.recorded import lethe

NO_VERDICT = "The certificate holds for this model. Its release gate: NONE: no release gate was recorded for this model"
LIBRARIES = ("securesystemslib", "cryptography", "cffi", "_cffi_backend", "pycparser")

MET = {"name": "a", "met": True, "value": 1, "bound": "at most", "limit": 2}


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder outside of the project with model/, certificate.json, lethe.key and lethe.pub; not to be changed."""
    folder = tmp_path_factory.mktemp("issued")
    project = recorded.empty(folder / "project")
    recorded.run(project)
    recorded.commit(project, "run", "2026-01-10T09:00:00+00:00")
    issue(project, folder)
    shutil.copytree(project / "models/unlearned", folder / "model")
    return folder


def issue(project: Path, folder: Path, *more: str) -> None:
    """Make a key and certify the project's unlearned model."""
    key, out = folder / "lethe.key", folder / "certificate.json"
    words = ["certify", "models/unlearned", "--new-key", "--key", str(key), "--out", str(out), *more]
    done = lethe(project, *words)
    assert done.exit_code == 0, (done.output, done.exception)


@pytest.fixture
def held(issued: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    for name in ("certificate.json", "lethe.pub", "lethe.key"):
        shutil.copy(issued / name, tmp_path / name)
    shutil.copytree(issued / "model", tmp_path / "model")
    return tmp_path


def test_a_model_of_before_the_library_had_packages_is_certified(tmp_path: Path) -> None:
    project = recorded.empty(tmp_path / "project")
    recorded.library_as_file(project)
    recorded.run(project)
    first = recorded.commit(project, "files under stages/lib")
    shutil.copytree(project / "models/unlearned", tmp_path / "model")
    recorded.library_as_package(project)
    recorded.run(project, TINY_TEXT * 2)
    recorded.commit(project, "a package")
    words = ["certify", str(tmp_path / "model"), "--new-key", "--key", str(tmp_path / "lethe.key")]
    done = lethe(project, *words, "--out", str(tmp_path / "certificate.json"))
    assert done.exit_code == 0, (done.output, done.exception)
    assert broken(tmp_path) == []
    predicate = json.dumps(statement_in(tmp_path / "certificate.json")["predicate"])
    assert "stages/lib/models.py" in predicate
    assert first in predicate


def findings(folder: Path, model: str = "model") -> list[verify.Finding]:
    return verify.verify(folder / "certificate.json", folder / model, folder / "lethe.pub")


def broken(folder: Path, model: str = "model") -> list[tuple[str, str]]:
    """(place, words) of everything that does not hold."""
    return [(finding.place, finding.said) for finding in findings(folder, model) if not finding.holds]


def statement_in(path: Path) -> dict[str, Any]:
    return json.loads(base64.b64decode(json.loads(path.read_text())["payload"]))


def resign(folder: Path, statement: dict[str, Any]) -> None:
    """Write the certificate anew, signed with the same key."""
    envelope = certify.signed(statement, certify.read_key(folder / "lethe.key"))
    (folder / "certificate.json").write_bytes(verify.envelope_bytes(envelope))


def test_a_genuine_certificate_holds(held: Path) -> None:
    assert broken(held) == []
    files = ["README.md", "config.json", "model.safetensors", "provenance.json"]
    assert [finding.place for finding in findings(held)] == ["certificate", *files[1:]]
    done = lethe(held, "verify", "certificate.json", "model")
    assert done.exit_code == 0
    assert done.output.splitlines()[-1] == NO_VERDICT
    assert json.loads(lethe(held, "verify", "certificate.json", "model", "--json").output)["holds"] is True


def test_it_states_what_was_made_measured_and_not_proved(issued: Path) -> None:
    statement = statement_in(issued / "certificate.json")
    predicate = statement["predicate"]
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert [row["name"] for row in statement["subject"]] == ["config.json", "model.safetensors", "provenance.json"]
    assert predicate["metrics"]["reports/familiarity.json"] == {"models": {"unlearned": {"leak": 0.25}}}
    assert predicate["lock"]["sha256"] == verify.sha256_of(issued / "project/dvc.lock")
    assert predicate["lock"]["commit"] == recorded.git(issued / "project", "rev-parse", "HEAD")
    assert predicate["corpus"]["documents"][0]["digest"]["sha256"] == digest(TINY_TEXT[: TINY_TEXT.index("Tom sat")])
    assert predicate["attacks"] == []
    assert "That it withstands an attack: none was recorded for this model." in predicate["doesNotProve"]
    assert len(predicate["proves"]) == 4
    names = {row["name"] for row in predicate["buildDefinition"]["resolvedDependencies"]}
    assert {"data/labels.parquet", "data/corpus.parquet", "data/forget", "models/baseline"} <= names


def digest(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()


def test_it_holds_no_text_and_no_file_name_of_the_corpus(issued: Path, tmp_path: Path) -> None:
    payload = json.dumps(statement_in(issued / "certificate.json"))
    words = TINY_TEXT.split()
    assert not [run for run in zip(words, words[1:], words[2:], strict=False) if " ".join(run) in payload]
    assert "a.txt" not in payload
    project = shutil.copytree(issued / "project", tmp_path / "project", symlinks=True)
    issue(project, tmp_path, "--file-names")
    assert "a.txt" in json.dumps(statement_in(tmp_path / "certificate.json"))


def test_thresholds_and_attacks_come_from_the_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = recorded.empty(tmp_path / "project")
    attack = {"attacks": [{"attack": "relearn", "model": "unlearned", "value": 0.5}]}
    monkeypatch.setitem(recorded.STAGES, "attack", (["models/unlearned"], ["reports/attacks.json"]))
    monkeypatch.setitem(recorded.STAGES, "report", (["reports/attacks.json"], ["reports/gate.json"]))
    limits = {"gate": {"attack_excess": 0.1, "model_utility": 0.9, "privleak": 5.0, "trivia_excess": None}}
    monkeypatch.setitem(recorded.PARAMS, "report", limits)
    (project / "reports").mkdir()
    write_json(attack, project / "reports/attacks.json")
    write_json({"met": 1, "attack_excess": 0.5, "model_utility": 0.95}, project / "reports/gate.json")
    recorded.run(project)
    recorded.commit(project, "run")
    issue(project, tmp_path)
    predicate = statement_in(tmp_path / "certificate.json")["predicate"]
    assert predicate["attacks"] == attack["attacks"]
    assert predicate["verdict"] == "fail"
    found = [(row["name"], row["bound"], row["limit"], row["value"], row["met"]) for row in predicate["thresholds"]]
    assert found == [
        ("attack_excess", "at most", 0.1, 0.5, False),
        ("model_utility", "at least", 0.9, 0.95, True),
        ("privleak", "at most", 5.0, None, None),
    ]
    shown = lethe(project, "audit", "models/unlearned").output
    assert "gate      fail; attack_excess 0.5, at most 0.1; not measured: privleak" in shown
    assert not any("attack" in line for line in predicate["doesNotProve"])


def test_any_flipped_byte_of_the_certificate_is_placed(held: Path) -> None:
    path = held / "certificate.json"
    content = path.read_bytes()
    places = set()
    for place in range(len(content)):
        for bit in (1, 32):
            path.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
            found = broken(held)
            assert len(found) == 1, (place, bit)
            places.add(found[0][0])
    assert places >= {"certificate", "payload", "payloadType", "signatures.keyid", "signatures.sig"}


def test_the_same_content_in_another_form_is_no_certificate(held: Path) -> None:
    path = held / "certificate.json"
    content = path.read_bytes()
    others = [content + b"\n", content[:-1], content.replace(b"\n ", b"\r ", 1), content.replace(b": ", b":\t", 1)]
    others.append(content.replace(b'{\n "parts"', b'{\n "payload": "",\n "parts"'))
    for other in others:
        assert json.loads(other) == json.loads(content)
        path.write_bytes(other)
        ((place, said),) = broken(held)
        assert place == "certificate"
        assert said == f"byte {verify.first_difference(other, content)}: not as `lethe certify` writes it"


def test_any_flipped_byte_of_the_key_is_placed(held: Path) -> None:
    path = held / "lethe.pub"
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        ((where, _),) = broken(held)
        assert where in ("key", "signatures.keyid"), place


def test_any_flipped_byte_of_any_file_names_the_file(held: Path) -> None:
    for path in sorted((held / "model").iterdir()):
        content = path.read_bytes()
        for place in range(len(content)):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            assert [where for where, _ in broken(held)] == [path.name], place
        path.write_bytes(content)


def test_the_part_of_the_payload_that_changed_is_named(held: Path) -> None:
    statement = statement_in(held / "certificate.json")
    envelope = json.loads((held / "certificate.json").read_text())
    statement["predicate"]["metrics"]["reports/familiarity.json"]["models"]["unlearned"]["leak"] = 0.0
    envelope["payload"] = base64.b64encode(verify.canonical(statement)).decode()
    (held / "certificate.json").write_bytes(verify.envelope_bytes(envelope))
    said = "predicate.metrics: changed since it was signed (or its hash in parts was)"
    assert broken(held) == [("payload", said)]
    envelope["parts"] = verify.parts_of(statement)  # who forges the hashes too still lacks the key
    (held / "certificate.json").write_bytes(verify.envelope_bytes(envelope))
    assert broken(held) == [("signatures.sig", "invalid: the signature or what it signs was changed")]


def test_another_key_is_another_signer(held: Path, tmp_path: Path) -> None:
    certify.write_new_key(tmp_path / "other.key")
    shutil.copy(tmp_path / "other.pub", held / "lethe.pub")
    ((place, said),) = broken(held)
    assert place == "signatures.keyid"
    assert said.endswith("another key signed, or it was changed")


def test_a_signed_statement_of_another_kind_is_no_certificate(held: Path) -> None:
    resign(held, statement_in(held / "certificate.json") | {"predicateType": "https://slsa.dev/provenance/v1"})
    said = "expected urn:lethe:unlearning:v1, got https://slsa.dev/provenance/v1"
    assert broken(held) == [("payload.predicateType", said)]


def test_a_certificate_of_another_model(held: Path) -> None:
    shutil.rmtree(held / "model")
    other = recorded.model(held / "model", "another seed")
    (other / "provenance.json").write_text("{}")
    md5 = statement_in(held / "certificate.json")["predicate"]["model"]["md5"]
    assert broken(held)[0] == (
        str(other),
        f"expected models/unlearned {md5}, which the certificate describes, got another model",
    )
    done = lethe(held, "verify", "certificate.json", "model")
    assert done.exit_code == 3
    assert done.output.splitlines()[-1] == "The certificate does not hold for this model."


def test_files_too_many_too_few_truncated_and_pickled(held: Path) -> None:
    model = held / "model"
    weights = model / "model.safetensors"
    size = weights.stat().st_size
    weights.write_bytes(weights.read_bytes()[:-5])
    (model / "config.json").unlink()
    (model / ".hidden").write_text("x")
    (model / "pytorch_model.bin").write_bytes(b"\x80\x04")
    assert broken(held) == [
        (".hidden", "extra: the certificate names no such file"),
        ("config.json", "missing: the certificate names it, the model has no such file"),
        ("model.safetensors", f"truncated: expected {size} bytes, got {size - 5}"),
        ("pytorch_model.bin", "expected safetensors, got a pickle (refused: it can run code when loaded)"),
    ]


def test_one_file_of_the_model_is_checked_whatever_its_name(held: Path) -> None:
    shutil.copy(held / "model/model.safetensors", held / "weights.safetensors")
    said = "is model.safetensors, one of 3 files of the model; not covered: config.json, provenance.json"
    assert findings(held, "weights.safetensors")[-1] == verify.Finding(str(held / "weights.safetensors"), True, said)
    (held / "other.safetensors").write_bytes(b"other")
    assert broken(held, "other.safetensors")[0][1] == "none of the 3 files that the certificate names"


@pytest.mark.parametrize(
    ("content", "place", "said"),
    [
        (b"\xff", "certificate", "not UTF-8 at byte 0"),
        (b"{", "certificate", "not JSON at byte 1: Expecting property name enclosed in double quotes"),
        (b'{"a": NaN}\n', "certificate", "not the JSON that `lethe certify` writes"),
        (b"[]\n", "certificate", "expected the fields parts, payload, payloadType, signatures, missing or "
                                 "unknown: no object"),
        (b'{"x": 1}\n', "certificate", "byte 1: not as `lethe certify` writes it"),
    ],
)  # fmt: skip
def test_what_is_no_certificate(held: Path, content: bytes, place: str, said: str) -> None:
    (held / "certificate.json").write_bytes(content)
    assert broken(held) == [(place, said)]


def test_verify_needs_neither_lethe_nor_the_project(held: Path) -> None:
    """Two files, an isolated Python without site-packages, and the signature library with what it needs."""
    site, stranger = held / "site", held / "stranger"
    site.mkdir()
    stranger.mkdir()
    for path in ("lethe/provenance/verify.py", "lethe/custody/stated.py"):
        shutil.copy(ROOT / path, stranger / Path(path).name)
    for name in LIBRARIES:
        found = importlib.util.find_spec(name)
        if found and found.origin:
            origin = Path(found.origin)
            source = origin.parent if origin.name == "__init__.py" else origin
            (site / source.name).symlink_to(source)
    program = (
        "import sys, runpy\nsys.path.append(sys.argv[1])\nsys.argv = sys.argv[2:]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally: print(sorted({'stages', 'dvc', 'torch', 'typer', 'lethe'} & set(sys.modules)), file=sys.stderr)\n"
    )
    words = [str(site), str(stranger / "verify.py"), "../certificate.json", "../model", "--key", "../lethe.pub"]
    command = [sys.executable, "-I", "-S", "-c", program, *words]
    done = subprocess.run(command, cwd=stranger, capture_output=True, text=True, env={})
    assert (done.returncode, done.stderr) == (0, "[]\n"), done.stdout
    assert done.stdout.splitlines()[-1] == NO_VERDICT
    (held / "model/config.json").write_text("{}")
    done = subprocess.run(command, cwd=stranger, capture_output=True, text=True, env={})
    assert done.returncode == 3
    assert done.stdout.splitlines()[0].startswith("FAIL  config.json: truncated: expected ")


def test_verify_imports_the_signature_library_and_nothing_else() -> None:
    wanted = {"verify.py": {"cryptography", "securesystemslib", "rich", "lethe", "stated"}, "stated.py": set()}
    for path in ("lethe/provenance/verify.py", "lethe/custody/stated.py"):
        tree = ast.parse((ROOT / path).read_text())
        names = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        names |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
        foreign = {name.split(".")[0] for name in names} - sys.stdlib_module_names
        assert foreign == wanted[Path(path).name]  # rich where it is: without it, no colours
        assert {name for name in names if name.startswith("lethe")} <= {"lethe.custody.stated"}


COMMAND = """import sys
from lethe.cli.main import main
try: main()
finally: print(sorted({name.split('.')[0] for name in sys.modules} & set(sys.argv[0].split())), file=sys.stderr)
"""


@pytest.mark.parametrize("words", [["certificate.json", "model"], ["certificate.json", "model", "--json"], ["--help"]])
def test_the_command_verify_loads_nothing_of_the_pipeline(held: Path, words: list[str]) -> None:
    unwanted = "stages dvc torch numpy ruamel filelock"
    program = f"import sys; sys.argv = [{unwanted!r}, 'verify', *{words!r}]\n{COMMAND}"
    environment = {"PYTHONPATH": str(ROOT), "HOME": str(held)}
    done = subprocess.run([sys.executable, "-c", program], cwd=held, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "[]\n"), done.stdout
    wanted = {"model": NO_VERDICT, "--json": '"holds": true', "--help": "lethe verify"}
    assert wanted[words[-1]] in done.stdout


def test_without_rich_the_lines_are_the_same(
    held: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (held / "model/config.json").write_text("{}")
    paths = (held / "certificate.json", held / "model", held / "lethe.pub")
    assert verify.answer(*paths, as_json=False) == 3
    shown = capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "rich.console", None)  # as if it were not installed
    assert verify.answer(*paths, as_json=False) == 3
    assert capsys.readouterr().out == shown
    assert shown.splitlines()[-1] == "The certificate does not hold for this model."


def test_a_file_that_cannot_be_read_is_named(held: Path) -> None:
    (held / "model/config.json").unlink()
    (held / "model/config.json").symlink_to("gone.json")
    assert broken(held) == [("config.json", "cannot be read: No such file or directory")]


def test_the_private_key_is_its_owners_alone_and_never_overwritten(tmp_path: Path) -> None:
    private, public = certify.write_new_key(tmp_path / "my.key")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert public == tmp_path / "my.pub"
    with pytest.raises(StageError) as error:
        certify.write_new_key(tmp_path / "my.key")
    assert str(error.value) == (
        f"{private}: expected a new path, got an existing file (a key is never overwritten); choose another --key"
    )


def test_what_cannot_be_certified_is_one_line(issued: Path, tmp_path: Path) -> None:
    project = issued / "project"
    key = str(issued / "lethe.key")

    def said(*words: str) -> str:
        return str(lethe(project, "certify", *words).exception)

    assert said() == "MODEL: expected a model folder (or --new-key), got none"
    assert said("models/unlearned") == "lethe.key: no such file; expected a private key; lethe certify --new-key"
    stranger = str(recorded.model(tmp_path / "m", "x"))
    assert said(stranger, "--key", key) == (
        f"{stranger}: expected a model that a commit records, got none; lethe audit {stranger} lists the nearest"
    )
    weights = "models/unlearned/model.safetensors"
    assert said(weights, "--key", key) == (
        f"{weights}: expected the whole folder of a recorded model, got its file model.safetensors"
    )
    wrong = str(issued / "lethe.pub")
    assert said("models/unlearned", "--key", wrong) == (
        f"{wrong}: expected a private key of lethe certify --new-key, got another file"
    )


def test_verify_without_a_file_is_not_answered(held: Path) -> None:
    done = lethe(held, "verify", "absent.json", "model")
    assert done.exit_code == 1
    assert "absent.json: no such file; expected the certificate, the model and the public key" in done.output


@pytest.fixture(scope="module")
def failed(judged_run: tuple[Path, dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the certificate of a model that the release gate failed, model/ and the keys; not to be changed."""
    folder = tmp_path_factory.mktemp("failed")
    project = shutil.copytree(judged_run[0], folder / "project", symlinks=True)
    issue(project, folder)
    shutil.copytree(project / "models/unlearned", folder / "model")
    return folder


def test_it_ends_with_what_is_certified_and_a_fail_is_no_pass(failed: Path) -> None:
    shown = lethe(failed, "verify", "certificate.json", "model").output.splitlines()
    commit = recorded.git(failed / "project", "rev-parse", "HEAD")
    assert "verdict   FAIL: completion_familiarity 0.5, at most 0.1" in shown
    assert f"recorded  in commit {commit} on 2026-01-10T09:00:00+00:00 by Ada <ada@example.org>" in shown
    assert (
        f"corpus    md5 {statement_in(failed / 'certificate.json')['predicate']['corpus']['digest']['md5']}, "
        in str(shown)
    )
    assert "tools     python 3.11.7, torch 2.13.0" in shown
    assert len([row for row in shown if row.startswith("no proof  ")]) >= 5
    assert shown[-1] == (
        "The certificate holds for this model. Its release gate: FAIL: completion_familiarity 0.5, at most 0.1"
    )
    answer = json.loads(lethe(failed, "verify", "certificate.json", "model", "--json").output)
    assert answer["stated"][0] == ["verdict", "FAIL: completion_familiarity 0.5, at most 0.1"]
    assert not any("PASS" in row or "pass" in row for row in shown)


@pytest.mark.parametrize(
    ("predicate", "words"),
    [
        ({"verdict": "pass", "thresholds": [MET]}, "PASS"),
        ({"verdict": "pass", "thresholds": [{"name": "a", "met": None}]}, "CANNOT TELL: it says pass, but of its own "
                                                                          "criteria: cannot tell: a"),
        ({"verdict": "pass", "thresholds": [{"name": "a", "met": False, "value": 2, "bound": "at most", "limit": 1}]},
         "CANNOT TELL: it says pass, but of its own criteria: a 2, at most 1"),
        ({"verdict": "pass", "thresholds": []}, "CANNOT TELL: it says pass, but of its own criteria: none"),
        ({"verdict": "pass", "thresholds": [MET,
                                            {"name": "b", "met": None, "result": "not measurable"}]},
         "PASS: not measurable here: b"),
        ({"verdict": "pass", "thresholds": [{"name": "b", "met": None, "result": "not measurable"}]},
         "CANNOT TELL: it says pass, but of its own criteria: none"),
        ({"verdict": "Pass"}, "NONE: no release gate was recorded for this model"),
        ({"verdict": {"pass": 1}, "thresholds": "pass"}, "NONE: no release gate was recorded for this model"),
        ({"verdict": "cannot tell", "thresholds": [{"name": "a", "met": None}, 7]},
         "CANNOT TELL: cannot tell: a; rows of another form"),
    ],
)  # fmt: skip
def test_only_a_pass_that_its_criteria_give_is_one(predicate: dict[str, Any], words: str) -> None:
    assert stated.verdict_words(predicate) == words


def test_a_statement_without_its_parts_is_shown_and_no_traceback(held: Path) -> None:
    predicate = {"model": {"path": "m", "md5": "x"}, "corpus": [1], "runDetails": "x", "doesNotProve": {}, "lock": None}
    resign(held, statement_in(held / "certificate.json") | {"predicate": predicate})
    assert lethe(held, "verify", "certificate.json", "model").exit_code == 0


@pytest.mark.parametrize(
    "change",
    [
        {"subject": []}, {"subject": [1]}, {"subject": {"name": "x"}}, {"subject": [{"name": 1, "digest": {}}]},
        {"predicate": None}, {"predicate": {"model": [1]}},
        {"subject": [{"name": "x", "digest": {"sha256": 7}, "annotations": {"size": "1"}}]},
    ],
)  # fmt: skip
def test_a_signed_statement_of_another_form_is_named(held: Path, change: dict[str, Any]) -> None:
    resign(held, statement_in(held / "certificate.json") | change)
    assert broken(held) == [("payload.subject", "expected the files of a model with sha256 and size, got another form")]


@pytest.mark.parametrize("signatures", [[1], [[]], "ab", [{"keyid": 1, "sig": 2}], {"keyid": "a"}, [{}, {}], None, []])
def test_signatures_of_any_type_are_named(held: Path, signatures: Any) -> None:
    envelope = json.loads((held / "certificate.json").read_text()) | {"signatures": signatures}
    (held / "certificate.json").write_bytes(verify.envelope_bytes(envelope))
    assert broken(held) == [("signatures", "expected one signature with keyid and sig, got something else")]


def test_numbers_too_large_and_another_form_of_the_payload_are_named(held: Path) -> None:
    envelope = json.loads((held / "certificate.json").read_text())
    for payload in (b'{"a": 1e999}', b"[" * 20_000, b'{"a":1,"a":2}', b'{"b": 1}', b"[1]"):
        envelope["payload"] = base64.b64encode(payload).decode()
        (held / "certificate.json").write_bytes(verify.envelope_bytes(envelope))
        ((place, _),) = broken(held)
        assert place == "payload", payload


def test_a_signed_payload_of_two_readings_is_refused(held: Path) -> None:
    from securesystemslib.dsse import Envelope

    statement = statement_in(held / "certificate.json")
    payload = verify.canonical(statement)
    twofold = payload.replace(b'"verdict":null', b'"verdict":"pass","verdict":null')
    assert twofold != payload
    assert json.loads(twofold) == statement
    envelope = Envelope(twofold, verify.PAYLOAD_TYPE, {})
    envelope.sign(certify.read_key(held / "lethe.key"))
    content = {**envelope.to_dict(), "parts": verify.parts_of(statement)}
    (held / "certificate.json").write_bytes(verify.envelope_bytes(content))
    assert broken(held) == [("payload", "not in the one form that `lethe certify` writes")]


def test_pipes_loops_and_folders_that_cannot_be_read_are_named_and_end(
    held: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = held / "model"
    os.mkfifo(model / "pipe")
    (model / "linked").symlink_to("pipe")
    for name in ("one", "two"):
        (model / name).symlink_to(".")
    (model / "deep").mkdir()
    for name in ("three", "four"):
        (model / "deep" / name).symlink_to("../deep")
    (model / "closed").mkdir()
    real = os.scandir

    def scandir(path: Path) -> Any:
        if path == model / "closed":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr("os.scandir", scandir)
    again = "a link to a folder of the model, which was checked under its own name"
    pipe = "expected a file, got a pipe, which was not opened"
    assert broken(held) == [
        ("closed", "cannot be read: Permission denied"),
        ("deep/four", again), ("deep/three", again), ("linked", pipe), ("one", again), ("pipe", pipe), ("two", again),
    ]  # fmt: skip
    with pytest.raises(StageError, match=r"model/linked: expected a file, got a pipe"):
        own_files(model)


@pytest.mark.parametrize("place", ["certificate.json", "lethe.pub", "model"])
def test_a_pipe_or_folder_in_place_of_a_file_is_one_line(
    held: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = held / place
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    for make in (os.mkfifo, *([os.mkdir] if place != "model" else [])):
        make(path)
        assert verify.answer(held / "certificate.json", held / "model", held / "lethe.pub", as_json=False) == 1
        assert capsys.readouterr().err.startswith(f"error: {path}: expected a ")
        path.unlink() if make is os.mkfifo else path.rmdir()


def test_code_and_pickles_beside_the_weights_are_named(held: Path) -> None:
    for name in ("modeling_x.py", "kernel.so", "extra.joblib"):
        (held / "model" / name).write_bytes(b"x")
    assert broken(held) == [
        ("extra.joblib", "expected safetensors, got a pickle (refused: it can run code when loaded)"),
        ("kernel.so", "extra: code that a loader may run"),
        ("modeling_x.py", "extra: code that a loader may run"),
    ]


def test_a_file_without_weights_identifies_no_model(held: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = held / "model/config.json"
    assert verify.answer(held / "certificate.json", path, held / "lethe.pub", as_json=False) == 1
    said = (
        f"error: {path}: expected the model folder or its weights, got config.json, which other models may have too\n"
    )
    assert capsys.readouterr().err == said
    weights = held / "model/model.safetensors"
    assert verify.answer(held / "certificate.json", weights, held / "lethe.pub", as_json=False) == 0
    shown = capsys.readouterr().out
    assert "not covered: config.json, provenance.json" in shown
    assert "The certificate holds for this file of the model. Its release gate: NONE" in shown


def test_a_name_cannot_write_lines_of_its_own(held: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (held / "model/x\nThe certificate holds for this model.\x1b[2K").write_text("x")
    assert verify.answer(held / "certificate.json", held / "model", held / "lethe.pub", as_json=False) == 3
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("FAIL  x\\nThe certificate holds for this model.\\x1b[2K: extra")
    assert len(shown) == 2


@pytest.mark.parametrize("name", ["cryptography", "securesystemslib"])
def test_a_missing_package_is_one_line_with_the_command(
    held: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in [module for module in sys.modules if module.split(".")[0] == name]:
        monkeypatch.setitem(sys.modules, module, None)
    assert verify.answer(held / "certificate.json", held / "model", held / "lethe.pub", as_json=False) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: the package ")
    assert said.endswith(" is missing; pip install securesystemslib cryptography\n")
