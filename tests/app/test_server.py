"""The running app over HTTP: what it answers, and what another site gets from it."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import pytest

from lethe.app.guard import ticket
from tests.app.conftest import PAGE, Served

SAMPLING = {"temperature": 0, "top_k": 0, "top_p": 1, "new_tokens": 4, "seed": 0, "samples": 1}
QUESTION = {
    "models": ["baseline", "unlearned"], "prompt": "Tom sat by the", "chat": False, "earlier": {}, "start": "",
    "sampling": SAMPLING,
}  # fmt: skip


def test_the_state_names_every_model_and_why_one_is_absent(served: Served) -> None:
    status, _, text = served.ask("/api/state")
    state = json.loads(text)
    assert status == 200
    assert [(row["name"], row["role"], row["state"]) for row in state["models"]] == [
        ("baseline", "before", "ready"), ("suppressed", "half-way", "absent"),
        ("unlearned", "after", "ready"), ("retrained", "never read it", "absent"),
    ]  # fmt: skip
    assert state["models"][3]["reason"] == "nothing was trained"
    assert (state["loading"], state["unmarked"], state["new_tokens"]) == ([], None, 6)


def test_an_answer_is_a_stream_of_lines(served: Served) -> None:
    status, headers, text = served.ask("/api/ask", QUESTION)
    assert (status, headers["content-type"].split(";")[0]) == (200, "application/x-ndjson")
    rows = [json.loads(line) for line in text.splitlines()]
    assert {row["model"] for row in rows if row.get("done")} == {"baseline", "unlearned"}
    assert rows[-1] == {"end": True}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"models": ["retrained"]}, "retrained: nothing was trained"),
        ({"models": ["nosuch"]}, "nosuch: no such model"),
        ({"models": []}, "models: expected at least one, got none"),
        ({"prompt": ""}, "request: question.prompt: String should have at least 1 character, got ''"),
        ({"sampling": {**SAMPLING, "temperature": -1}}, "question.sampling.temperature: expected at least 0, got -1"),
        ({"more": 1}, "request: question.more: unknown parameter"),
    ],
)  # fmt: skip
def test_a_wrong_question_gets_one_line(served: Served, changes: dict, told: str) -> None:
    status, _, text = served.ask("/api/ask", QUESTION | changes)
    assert status == 400
    assert told in json.loads(text)["error"]


def test_what_is_no_json_gets_one_line(served: Served) -> None:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    headers = {"authorization": f"Bearer {served.token}", "content-type": "application/json"}
    for content in (b"{", b"[" * 100_000, b"\xff"):
        connection.request("POST", "/api/ask", content, headers)
        answer = connection.getresponse()
        assert (answer.status, json.load(answer)) == (400, {"error": "question: expected JSON, got something else"})


def test_a_passage_and_the_contexts(served: Served) -> None:
    found = json.loads(served.ask("/api/passage", {"models": ["baseline"], "text": "Orla sat."})[2])
    assert "".join(row[0] for row in found["models"]["baseline"]["tokens"]) == "Orla sat."
    assert found["names"][0]["name"] == "Orla"
    assert set(json.loads(served.ask("/api/contexts")[2])) == {"opening", "summary"}
    long = served.ask("/api/passage", {"models": ["baseline"], "text": "a" * 20_001})
    assert long[0] == 400


def test_the_page_asks_nothing_of_a_network(served: Served) -> None:
    status, headers, page = served.ask(f"/?token={served.token}", authorization="")
    assert status == 200
    policy = headers["content-security-policy"]
    nonce = re.search(r"script-src 'nonce-([\w-]+)'", policy)
    assert nonce
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "unsafe" not in policy
    assert page.count(f'nonce="{nonce[1]}"') == 2
    assert not re.search(r"https?://|//[a-z]+\.|@import|url\(|innerHTML", page.replace("http://127.0.0.1", ""))
    assert served.token not in page
    again = served.ask(f"/?token={served.token}", authorization="")[1]["content-security-policy"]
    assert again != policy  # a nonce that is used twice is none


def test_a_runs_report_is_shown_apart(served: Served) -> None:
    rows = json.loads(served.ask("/api/runs")[2])["rows"]
    found = json.loads(served.ask(f"/api/compare?one={rows[1]['id']}&other={rows[0]['id']}")[2])
    own = found["runs"][1]["ticket"]
    assert (found["runs"][0]["ticket"], own) == (None, ticket(served.token, rows[0]["id"]))
    status, headers, text = served.ask(f"/report?run={rows[0]['id']}&ticket={own}", authorization="")
    assert (status, text) == (200, PAGE)
    assert headers["content-security-policy"].startswith("sandbox allow-scripts; default-src 'none'")
    assert served.ask(f"/report?run={rows[1]['id']}&ticket={own}")[0] == 403
    lacking = f"/report?run={rows[1]['id']}&ticket={ticket(served.token, rows[1]['id'])}"
    assert served.ask(lacking)[0] == 404


def test_another_site_gets_nothing(served: Served) -> None:
    assert served.ask("/api/state", authorization="")[0] == 403
    assert served.ask("/api/state", authorization="Bearer x")[0] == 403
    assert served.ask("/api/state", host="evil.example")[0] == 421
    assert served.ask("/api/state", origin="http://evil.example")[0] == 403
    assert served.ask("/api/stand-ins", {"version": "", "own": {}}, origin="null")[0] == 403
    status, headers, _ = served.ask("/api/ask", method="OPTIONS", origin="http://evil.example")
    assert status == 403
    assert not [name for name in headers if name.startswith("access-control")]
    assert served.ask("/")[0] == 403


def test_only_this_machine_is_answered(served: Served) -> None:
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.2", served.port), timeout=5)  # another address of this machine


def test_a_saved_correction_says_what_runs_again(served: Served) -> None:
    path = Path("data/overrides.csv")
    before = path.read_bytes()
    try:
        table = json.loads(served.ask("/api/stand-ins")[2])
        status, _, text = served.ask("/api/stand-ins", {"version": table["version"], "own": {"Orla": ["Berta"]}})
        assert (status, path.read_text()) == (200, "anchor,translation\nOrla,Berta\n")
        assert json.loads(text)["plan"]["stages"][0]["stage"] == "translate"
        status, _, text = served.ask("/api/stand-ins", {"version": table["version"], "own": {}})
        assert (status, "somebody has changed it" in text) == (400, True)
    finally:
        path.write_bytes(before)


def test_nothing_that_was_asked_is_written_down(served: Served, capfd: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in served.folder.rglob("*") if path.is_file()}
    served.ask("/api/ask", QUESTION)
    served.ask("/api/passage", {"models": ["baseline"], "text": "Orla sat."})
    assert {path: path.stat().st_mtime_ns for path in served.folder.rglob("*") if path.is_file()} == before
    said = capfd.readouterr()
    assert said.out + said.err == ""
