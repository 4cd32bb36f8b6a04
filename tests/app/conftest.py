"""One project for all tests of the app: two tiny models, one that is absent, two runs, anchors and their stand-ins."""

from __future__ import annotations

import http.client
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import pytest

from lethe.app.shelf import Shelf, wanted
from lethe.core.tables import ANCHORS, DICTIONARY, write_csv
from lethe.models.checkpoints import write_absent
from tests import recorded
from tests.conftest import NO_EXTRA, ROOT, TINY_TEXT, set_param, tiny_model, write_corpus

TEMPLATE = "{% for turn in messages %}{{ turn.role }}: {{ turn.content }}\n{% endfor %}"
PROMPT = "Tom sat by the river and looked for"
NAMES = {"Harrow Hill": "place", "Orla": "person"}
PAGE = "<!doctype html><title>a report</title><p>the page of the second run</p>"
MODELS = ("baseline", "suppressed", "unlearned", "retrained")


@pytest.fixture(scope="session")
def app_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project. Not to be changed: copy it."""
    folder = recorded.empty(tmp_path_factory.mktemp("app") / "project")
    with pytest.MonkeyPatch.context() as patch:
        recorded.judged(patch)
        recorded.run(folder)
        recorded.commit(folder, "first run", "2026-01-10T09:00:00+00:00")
        patch.setitem(
            recorded.STAGES, "report", (recorded.STAGES["report"][0], ["reports/gate.json", "reports/index.html"])
        )
        (folder / "reports/index.html").write_text(PAGE)
        recorded.run(folder, finetune={"steps": 8})
        recorded.cache(folder, folder / "reports/index.html")
    (folder / ".gitignore").write_text("/models/\n/data/*.parquet\n/data/*.csv\n/reports/index.html\n")
    recorded.commit(folder, "second run", "2026-01-11T09:00:00+00:00")
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, folder / name)
    shutil.rmtree(folder / "models")
    for seed, name in enumerate(("baseline", "unlearned")):
        model = tiny_model(folder / "models" / name, seed)
        (model / "chat_template.jinja").write_text(TEMPLATE)
    write_absent(folder / "models/retrained", "nothing was trained")
    rows = [dict.fromkeys(ANCHORS, "") | {"anchor": name, "forms": name, "count": 3} for name in NAMES]
    write_csv(rows, ANCHORS, folder / "data/anchors.csv")
    chosen = {"Harrow Hill": "Oakfield", "Orla": "Anna"}
    entries = [
        {"anchor": name, "kind": kind, "choice": 0, "form": name, "translation": chosen[name], "score": ""}
        for name, kind in NAMES.items()
    ]
    write_csv(entries, DICTIONARY, folder / "data/dictionary.csv")
    (folder / "data/overrides.csv").write_text("anchor,translation\n")
    (folder / "data/names.csv").write_text("name,unique\n" + "".join(f"{name},yes\n" for name in NAMES))
    prompt = {
        "id": 0,
        "set": "test",
        "prompt": "Tom sat by the river and looked for",
        "references": ["Orla"],
        "due": "Orla",
    }
    (folder / "data/prompts.jsonl").write_text(json.dumps(prompt) + "\n")
    write_corpus(folder, TINY_TEXT * 3)
    set_param(folder, "evaluate.new_tokens", 6)
    return folder


@pytest.fixture
def own_project(app_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to be changed, as the current folder."""
    folder = shutil.copytree(app_project, tmp_path / "project", symlinks=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def shelf(app_project: Path) -> Shelf:
    """Its models, loaded once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(app_project)
        made = Shelf(wanted(MODELS))
        made.load("float32", "cpu")
    assert made.coming() == []
    return made


class Served(NamedTuple):
    """A running app."""

    port: int
    token: str
    folder: Path

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/?token={self.token}"

    def ask(self, path: str, body: Any = None, method: str = "", **headers: str) -> tuple[int, dict[str, str], str]:
        """(status, headers, text) of a request as the page makes it; headers: `host`, `origin` in place of its own."""
        sent = {"host": f"127.0.0.1:{self.port}", "authorization": f"Bearer {self.token}"}
        content = None if body is None else json.dumps(body)
        if content is not None:
            sent["content-type"] = "application/json"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(
            method or ("GET" if body is None else "POST"), path, content, {k: v for k, v in sent.items() if v}
        )
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()


@contextmanager
def running(folder: Path, shelf: Shelf) -> Iterator[Served]:
    """The app of a project that is the current folder, as `lethe app` serves it, in a thread."""
    pytest.importorskip("starlette", reason=NO_EXTRA)
    uvicorn = pytest.importorskip("uvicorn", reason=NO_EXTRA)
    from lethe.app.command import bound, configured
    from lethe.app.server import Handlers

    token = "a-token-of-the-tests"
    with bound(0) as listening:
        server = uvicorn.Server(configured(Handlers(shelf, token, 6)))
        thread = Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        yield Served(listening.getsockname()[1], token, folder)
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def served(app_project: Path, shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One app for the tests of a module, on a copy of the project that is the current folder."""
    folder = shutil.copytree(app_project, tmp_path_factory.mktemp("served") / "project", symlinks=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with running(folder, shelf) as app:
            yield app
