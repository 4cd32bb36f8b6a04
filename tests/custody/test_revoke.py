"""The end, the successor and the revocation of a certificate: told offline, whoever forges or delays a list."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lethe.custody import stated
from lethe.custody.stated import LIST_TYPE
from lethe.provenance import certificate as certify
from lethe.provenance import verify
from tests import recorded
from tests.recorded import lethe

TODAY = datetime.now(UTC)


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a certificate that ends on 2200-01-01, and one that replaces it; not to be changed."""
    folder = recorded.empty(tmp_path_factory.mktemp("revoke") / "project")
    recorded.run(folder)
    recorded.commit(folder, "run")
    certified(folder, "old.json", "--new-key", "--valid-until", "2200-01-01")
    certified(folder, "new.json", "--supersedes", "old.json")
    return folder


@pytest.fixture
def held(past: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the two, the keys and the model, as the current folder."""
    for name in ("old.json", "new.json", "lethe.key", "lethe.pub"):
        shutil.copy(past / name, tmp_path / name)
    shutil.copytree(past / "models/unlearned", tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def certified(folder: Path, out: str, *more: str) -> None:
    done = lethe(folder, "certify", "models/unlearned", "--out", out, *more)
    assert done.exit_code == 0, (done.output, done.exception)


def at(monkeypatch: pytest.MonkeyPatch, **later: float) -> None:
    """Let the clock here be later."""
    monkeypatch.setattr(stated, "now", lambda: TODAY + timedelta(**later))


def checked(held: Path, certificate: str, listed: str | None = "revocations.json") -> tuple[int, str]:
    words = ["--revocations", listed] if listed else []
    done = lethe(held, "verify", certificate, "model", *words)
    return done.exit_code, done.output


def predicate(path: Path) -> dict[str, Any]:
    return json.loads(base64.b64decode(json.loads(path.read_text())["payload"]))["predicate"]


def test_a_certificate_states_its_id_end_and_predecessor(held: Path) -> None:
    old, new = predicate(held / "old.json"), predicate(held / "new.json")
    assert (old["validUntil"], old["supersedes"]) == ("2200-01-01T23:59:59+00:00", [])
    assert old["id"].startswith("urn:uuid:")
    assert new["validUntil"] is None
    assert new["supersedes"][0]["id"] == old["id"] != new["id"]
    code, shown = checked(held, "new.json", None)
    assert code == 0
    assert f"replaces  certificate {old['id']}" in shown
    assert "end       it states no end" in shown
    assert "revoked   not looked up: --revocations LIST, which the signer publishes" in shown


def test_an_ended_certificate_does_not_hold(held: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, shown = checked(held, "old.json", None)
    assert (code, "end       valid until 2200-01-01T23:59:59+00:00" in shown) == (0, True)
    at(monkeypatch, days=400 * 365)
    code, shown = checked(held, "old.json", None)
    assert code == 3
    assert "FAIL  payload.validUntil: expired on 2200-01-01T23:59:59+00:00, by the clock here" in shown
    assert checked(held, "new.json", None)[0] == 0


@pytest.mark.parametrize(
    "end", ["soon", 7, "2200-01-01", "2200-01-01T00:00:00", ["2200-01-01T00:00:00+00:00"], True, ""]
)
def test_an_end_of_another_form_is_none_that_holds(end: Any) -> None:
    assert stated.end_of({"validUntil": end})[0] is False


@pytest.mark.parametrize("day", ["2020-01-01", "tomorrow", "2200-13-01", "2200-1-1"])
def test_a_day_that_is_past_or_none_is_refused(past: Path, day: str) -> None:
    done = lethe(past, "certify", "models/unlearned", "--out", "x.json", "--valid-until", day)
    assert str(done.exception) == f"--valid-until: expected YYYY-MM-DD, today or later, got {day}"


def test_a_revoked_certificate_does_not_hold_and_its_successor_does(held: Path) -> None:
    done = lethe(held, "revoke", "old.json", "--reason", "superseded", "--by", "new.json")
    assert done.output.startswith("revoke: revocations.json: list 1 with 1 certificates, stale on ")
    code, shown = checked(held, "old.json")
    assert code == 3
    assert "FAIL  revocations: revoked on " in shown
    assert f": superseded, superseded by {predicate(held / 'new.json')['id']} (list 1 of " in shown
    assert "verdict" not in shown
    code, shown = checked(held, "new.json")
    assert (code, "ok  revocations: not in list 1 of " in shown) == (0, True)


def test_a_list_grows_and_is_renewed(held: Path) -> None:
    lethe(held, "revoke", "old.json")
    lethe(held, "revoke", "new.json", "old.json", "--reason", "key compromised")
    answer = json.loads(lethe(held, "revoke", "--days", "5", "--json").output)
    assert (answer["number"], [row["reason"] for row in answer["revoked"]]) == (3, ["other", "key compromised"])
    assert checked(held, "old.json")[0] == checked(held, "new.json")[0] == 3


def test_a_stale_list_leaves_it_open_but_still_revokes(held: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lethe(held, "revoke", "old.json", "--days", "10")
    at(monkeypatch, days=11)
    code, _ = checked(held, "new.json")
    assert code == 1
    assert checked(held, "old.json")[0] == 3
    at(monkeypatch, days=-2)  # a list from the future, or a clock that was set back
    assert checked(held, "new.json")[0] == 1


def listed(held: Path, content: dict[str, Any], key: str = "lethe.key", kind: str = LIST_TYPE) -> None:
    """Write a list signed by a key."""
    envelope = certify.signed(content, certify.read_key(held / key), kind)
    (held / "revocations.json").write_bytes(verify.envelope_bytes(envelope))


def content(held: Path) -> dict[str, Any]:
    return json.loads(base64.b64decode(json.loads((held / "revocations.json").read_text())["payload"]))


def shortened(held: Path) -> None:
    envelope = json.loads((held / "revocations.json").read_text())
    envelope["payload"] = base64.b64encode(verify.canonical(content(held) | {"revoked": []})).decode()
    envelope["parts"] = verify.parts_of(content(held) | {"revoked": []})
    (held / "revocations.json").write_bytes(verify.envelope_bytes(envelope))


def by_a_stranger(held: Path) -> None:
    certify.write_new_key(held / "other.key")
    listed(held, content(held) | {"revoked": []}, "other.key")


def a_certificate(held: Path) -> None:
    shutil.copy(held / "new.json", held / "revocations.json")


def a_list_as_certificate(held: Path) -> None:
    listed(held, content(held), kind=verify.PAYLOAD_TYPE)


def without_rows(held: Path) -> None:
    listed(held, {name: value for name, value in content(held).items() if name != "revoked"})


def rows_of_another_form(held: Path) -> None:
    listed(held, content(held) | {"revoked": [{"id": 7}]})


def no_times(held: Path) -> None:
    listed(held, content(held) | {"nextUpdate": "never"})


def text(held: Path) -> None:
    (held / "revocations.json").write_text("nothing was revoked\n")


@pytest.mark.parametrize(
    "forge",
    [
        shortened,
        by_a_stranger,
        a_certificate,
        a_list_as_certificate,
        without_rows,
        rows_of_another_form,
        no_times,
        text,
    ],
)
def test_a_forged_list_vouches_for_nothing(held: Path, forge: Callable[[Path], None]) -> None:
    lethe(held, "revoke", "old.json")
    forge(held)
    code, shown = checked(held, "old.json")
    assert code == 3
    assert "FAIL  revocations." in shown
    done = lethe(held, "revoke", "new.json")  # nor is it signed again
    assert str(done.exception).startswith("revocations.json: expected a list that lethe.key signed, got another file: ")


def test_a_missing_list_and_what_is_no_certificate_are_one_line(held: Path) -> None:
    done = lethe(held, "verify", "new.json", "model", "--revocations", "none.json")
    assert done.exit_code == 1
    (held / "note.json").write_text("{}")
    assert str(lethe(held, "revoke", "note.json").exception).startswith(
        "note.json: expected a certificate that lethe.pub signed, got another file: certificate: "
    )
    assert str(lethe(held, "revoke", "new.json", "--reason", "x").exception).startswith("--reason: expected one of key")
    assert str(lethe(held, "revoke", "--days", "0").exception) == "--days: expected 1 to 3660, got 0"
    assert not (held / "revocations.json").exists()


def test_a_certificate_from_before_it_had_an_id_is_revoked_by_its_hash(held: Path) -> None:
    statement = json.loads(base64.b64decode(json.loads((held / "old.json").read_text())["payload"]))
    for name in ("id", "validUntil", "supersedes"):
        del statement["predicate"][name]
    envelope = certify.signed(statement, certify.read_key(held / "lethe.key"))
    (held / "older.json").write_bytes(verify.envelope_bytes(envelope))
    assert checked(held, "older.json", None)[0] == 0
    lethe(held, "revoke", "older.json")
    assert checked(held, "older.json")[0] == 3
    assert checked(held, "old.json")[0] == 0
