"""`lethe page`: the report page with its commit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lethe.cli import page
from lethe.core.errors import StageError
from lethe.provenance.history import Commit
from tests.conftest import ROOT
from tests.recorded import STAGES, commit, empty, lethe, run

REPORT = "<dd><!--commit-->not yet<small>x</small><!--/commit--></dd>"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A project whose second commit records a page, and a third one that leaves it as it is."""
    folder = empty(tmp_path_factory.mktemp("page") / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STAGES, "report", (["reports/familiarity.json"], ["reports/index.html"]))
        (folder / "reports").mkdir()
        (folder / "reports/index.html").write_text(REPORT)
        run(folder)
        made = commit(folder, "Forget <b>one</b>", "2026-03-01T09:00:00+00:00")
        commit(folder, "Another thing", "2026-04-01T09:00:00+00:00")
    return folder, made


def test_the_copy_names_the_commit_that_recorded_the_page(recorded: tuple[Path, str]) -> None:
    folder, made = recorded
    done = lethe(folder, "page")
    assert (done.exit_code, done.stdout) == (
        0,
        f"page: .scratch/page/index.html: commit {made[:12]} by Ada <ada@example.org>, 2026-03-01\n",
    )
    assert (folder / ".scratch/page/index.html").read_text() == (
        f"<dd>Ada, 2026-03-01<small>commit <code>{made[:12]}</code>: Forget &lt;b&gt;one&lt;/b&gt;</small></dd>"
    )
    assert (folder / "reports/index.html").read_text() == REPORT
    told: dict[str, Any] = json.loads(lethe(folder, "page", "--out", "a/b.html", "--json").stdout)
    assert told == {
        "written": "a/b.html", "commit": made, "author": "Ada <ada@example.org>",
        "date": "2026-03-01T09:00:00+00:00", "subject": "Forget <b>one</b>",
    }  # fmt: skip
    assert (folder / "a/b.html").exists()


def test_a_page_that_no_commit_records_is_refused(recorded: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(recorded[0])
    (recorded[0] / "other.html").write_text("edited")
    with pytest.raises(StageError, match=r"^other.html: expected the page that a dvc.lock in git records, got another"):
        page.recorded_in(Path("other.html"))
    with pytest.raises(StageError, match=r"^none.html: expected the page of a finished run, got none"):
        page.recorded_in(Path("none.html"))


def test_the_page_has_a_place_for_it() -> None:
    someone = Commit("c" * 40, (), "Ada <a@example.org>", "2026-03-01T09:00:00+00:00", "x", "")
    template = (ROOT / "lethe/report/report.html.j2").read_text(encoding="utf-8")
    assert page.stamped(template, someone).count("Ada, 2026-03-01") == 1
    with pytest.raises(StageError, match=r"got one without a place for its commit$"):
        page.stamped("<html>", someone)
