"""`lethe trace`: from a corpus, a file or a passage, reformatted or not, to the models made from it."""

from __future__ import annotations

import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from lethe.core.errors import StageError
from lethe.provenance import trace
from lethe.provenance.certificate import document_row
from lethe.text.normal import normal
from tests import recorded
from tests.conftest import TINY_TEXT
from tests.recorded import json_of, lethe

SECOND = TINY_TEXT + "Wenna kept old-fashioned bees under the bridge, and nobody minded in the least.\n"
BEES = "WENNA kept old-fash-\n  ioned bees\n\tunder the bridge — and nobody minded in the least"


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str], dict[str, str]]:
    """A project with two runs, the second on more text; and {path: md5} of each. Not to be changed."""
    folder = recorded.empty(tmp_path_factory.mktemp("trace") / "project")
    first = recorded.run(folder)
    recorded.commit(folder, "first", "2026-01-10T09:00:00+00:00")
    second = recorded.run(folder, SECOND)
    recorded.commit(folder, "second", "2026-02-10T09:00:00+00:00")
    return folder, first, second


def unlearned(answer: dict) -> set[str]:
    """The unlearned models of an answer."""
    models = (model for corpus in answer["corpora"] for model in corpus["models"])
    return {model["md5"] for model in models if model["path"] == "models/unlearned"}


def test_a_passage_of_the_second_corpus_leads_to_the_second_model(past: tuple, tmp_path: Path) -> None:
    folder, _, second = past
    path = tmp_path / "bees.txt"
    path.write_text(BEES)
    answer = json_of(folder, "trace", str(path))
    (corpus,) = answer["corpora"]
    start = SECOND.index("Wenna")
    assert corpus["hits"] == [
        {"side": "forget", "part": "held_out", "file": "a.txt", "start": start, "end": len(SECOND) - 2, "blocks": []}
    ]
    assert corpus["share"] == 1.0
    assert unlearned(answer) == {second["models/unlearned"]}
    relations = {model["path"]: model["relation"] for model in corpus["models"]}
    assert set(relations.values()) == {"was measured on the held-out part, not trained on it"}


def test_a_training_passage_says_what_each_model_had_to_do_with_it(past: tuple) -> None:
    folder, first, second = past
    done = lethe(folder, "trace", "-", "--json", given="nobody knew where the LANTERN was")
    assert done.exit_code == 0
    answer = recorded.json.loads(done.output)
    assert unlearned(answer) == {first["models/unlearned"], second["models/unlearned"]}
    relations = {model["path"]: model["relation"] for model in answer["corpora"][0]["models"]}
    assert relations == {
        "models/baseline": "trained on it",
        "models/start": "was made from it",
        "models/retrained": "never trained on it",
        "models/reinforced": "trained on it twice",
        "models/checkpoints": "was being made to forget it",
        "models/unlearned": "was made to forget it",
    }
    (hit,) = answer["corpora"][0]["hits"]
    start = TINY_TEXT.index("Nobody knew")
    assert (hit["start"], hit["end"]) == (start, TINY_TEXT.index(" was.\n") + 4)
    assert (start, hit["blocks"]) == (108, [2])  # blocks of forty characters up to 120: the third is from 80


def test_every_name_of_a_corpus_leads_to_its_model(past: tuple, tmp_path: Path) -> None:
    folder, first, second = past
    corpus = shutil.copy(folder / "data/corpus.parquet", tmp_path / "copy.parquet")
    for asked in (corpus, second["data/corpus.parquet"], second["data/corpus.parquet"][:10], folder / "data/forget"):
        assert second["models/unlearned"] in unlearned(json_of(folder, "trace", str(asked))), asked
    assert unlearned(json_of(folder, "trace", first["data/corpus.parquet"])) == {first["models/unlearned"]}
    assert unlearned(json_of(folder, "trace", first["data/forget"])) == {first["models/unlearned"]}


def test_a_span_as_audit_prints_it(past: tuple) -> None:
    folder, _, second = past
    cut = SECOND.index("Tom sat")
    answer = json_of(folder, "trace", f"a.txt:{cut - 20}-{len(SECOND)}")
    by_md5 = {corpus["md5"]: corpus for corpus in answer["corpora"]}
    both = by_md5[second["data/corpus.parquet"]]
    assert [(hit["part"], hit["start"], hit["end"]) for hit in both["hits"]] == [
        ("train", cut - 20, cut), ("held_out", cut, len(SECOND))
    ]  # fmt: skip
    assert both["share"] == 1.0
    file = str(folder / "data/forget/a.txt")
    answer = json_of(folder, "trace", file, "--span", f"{SECOND.index('Wenna')}-{len(SECOND)}")
    assert unlearned(answer) == {second["models/unlearned"]}


def test_text_that_nobody_trained_on(past: tuple) -> None:
    folder, _, _ = past
    done = lethe(folder, "trace", "-", given="quite another story about ships")
    assert done.exit_code == 3
    assert "-: no recorded corpus contains it: no recorded model was made from it" in done.output


def test_a_corpus_with_a_phrase_of_it_alone_is_named_in_a_note(past: tuple) -> None:
    folder, _, second = past
    # the first corpus has the nine words up to "down" of the nineteen: 47 %
    words = (
        "looked at the water until the sun went down Wenna kept old-fashioned bees under the bridge and nobody minded"
    )
    answer = recorded.json.loads(lethe(folder, "trace", "-", "--json", given=words).output)
    assert unlearned(answer) == {second["models/unlearned"]}
    (note,) = answer["notes"]
    assert note.endswith("has 47 % of its words, less than --least 0.5, and is left out")
    answer = recorded.json.loads(lethe(folder, "trace", "-", "--json", "--least", "0.4", given=words).output)
    assert len(unlearned(answer)) == 2


def test_a_corpus_that_is_gone_is_said_to_be_unread(past: tuple, tmp_path: Path) -> None:
    folder, first, second = past
    copy = shutil.copytree(folder, tmp_path / "project", symlinks=True)
    recorded.remove_cached(copy, first["data/corpus.parquet"])
    answer = recorded.json.loads(lethe(copy, "trace", "-", "--json", given="where the lantern was").output)
    assert unlearned(answer) == {second["models/unlearned"]}
    md5 = first["data/corpus.parquet"]
    assert answer["unread"] == [md5]
    assert answer["notes"] == [f"corpus {md5} is not available, so it is unknown whether the text was in it"]


def test_a_person_reads_the_same(past: tuple) -> None:
    folder, first, _ = past
    output = lethe(folder, "trace", first["data/corpus.parquet"]).output
    assert f"corpus    {first['data/corpus.parquet']}: is the corpus" in output
    wanted = (
        f"model     models/unlearned {first['models/unlearned']} was made to forget it; what was held out of it was "
    )
    wanted += "only measured; 2026-01-10 by Ada <ada@example.org>"
    assert wanted in output
    assert trace.ranges([0, 1, 2, 5, 7, 8]) == "0-2, 5, 7-8"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no such"], "no such: no such file; expected a text file, a folder, NAME:START-END or a hash"),
        (["-"], "-: expected text with at least one word, got none"),
        (["data/forget/a.txt", "--span", "9-3"], "--span: expected START-END within the "),
        (["dvc.lock"], ""),
    ],
)
def test_what_cannot_be_traced_is_one_line(past: tuple, words: list[str], said: str) -> None:
    folder, _, _ = past
    done = lethe(folder, "trace", *words, given="...")
    if said:
        assert isinstance(done.exception, StageError)
        assert str(done.exception).startswith(said)
        assert "\n" not in str(done.exception)
    else:
        assert done.exit_code == 3  # any text may be asked about


def test_on_the_screen_stand_the_longest_passages_in_their_order() -> None:
    lengths = [3, 50, 1, 2, 40]
    hits = [{"start": 100 * number, "end": 100 * number + length} for number, length in enumerate(lengths * 5)]
    shown = trace.longest(hits)
    assert len(shown) == trace.SHOWN
    assert shown == sorted(shown, key=lambda hit: hit["start"])
    # of five times 50, 40, 3, 2 and 1 characters, twenty: all but those of 1
    assert sorted({hit["end"] - hit["start"] for hit in shown}) == [2, 3, 40, 50]
    assert trace.longest([]) == []


def test_a_file_that_git_holds_is_known_without_a_cache(past: tuple, tmp_path: Path) -> None:
    folder, _, second = past
    clone = tmp_path / "clone"
    recorded.git(tmp_path, "clone", "--quiet", str(folder), str(clone))
    file = tmp_path / "renamed.txt"
    file.write_text(SECOND)
    answer = json_of(clone, "trace", str(file))
    assert (answer["verdict"], unlearned(answer)) == ("yes", {second["models/unlearned"]})
    (corpus,) = answer["corpora"]
    assert (corpus["how"], corpus["at_hand"]) == ("is data/forget/a.txt", "")
    relations = {model["path"]: model["sides"] for model in corpus["models"]}
    only = "what was held out of it was only measured"
    assert relations["models/retrained"] == {"forget": f"never trained on it; {only}"}
    assert relations["models/unlearned"] == {"forget": f"was made to forget it; {only}"}
    file.write_text(TINY_TEXT[:90])  # a passage: only the corpora could tell
    done = lethe(clone, "trace", str(file))
    assert done.exit_code == 1
    assert f"{file}: cannot tell: no corpus that can be read here contains it, and the others may" in done.output
    assert "no recorded model was made from it" not in done.output
    done = lethe(clone, "trace", "f" * 32)  # a hash that is none of theirs needs no corpus
    assert done.exit_code == 3


def test_a_hash_is_unknown_where_a_folder_cannot_be_listed(past: tuple, tmp_path: Path) -> None:
    folder, first, _ = past
    copy = shutil.copytree(folder, tmp_path / "project", symlinks=True)
    lock = copy / "dvc.lock"
    lock.write_text(lock.read_text().replace(recorded.path_md5(copy / "data/forget"), "e" * 32 + ".dir"))
    shutil.rmtree(copy / ".dvc/cache")
    recorded.commit(copy, "a folder that nobody has")
    assert json_of(copy, "trace", "f" * 32)["verdict"] == "cannot tell"
    assert json_of(copy, "trace", first["data/corpus.parquet"])["verdict"] == "yes"


@pytest.mark.parametrize(
    ("path", "side", "parts", "epochs", "said"),
    [
        ("models/retrained", "forget", {"train"}, 3, "never trained on it"),
        ("models/retrained", "retain", {"train"}, 3, "trained on it"),
        ("models/retrained", "forget", {"held_out"}, 3, "was measured on the held-out part, not trained on it"),
        ("models/baseline", "forget", {"train"}, 0, "was not trained on it here"),
        ("models/baseline", "forget", {""}, 3, "trained on it; what was held out of it was only measured"),
    ],
)
def test_one_verdict_for_each_model_and_side(path: str, side: str, parts: set[str], epochs: int, said: str) -> None:
    assert trace.relation(path, side, parts, epochs) == said


def test_places_are_those_of_the_file_where_the_text_is_in_another_form() -> None:
    told = "Bees.\r\n\r\nZoe\u0308 kept bees under the old bridge by the mill.\r\n"
    text, edits = normal(told)
    row = {"document": 3, "side": "forget", "part": "train", "file": "a.txt", "text": text}
    row |= {"start": 100, "end": 100 + len(told), "edits": [edit._asdict() for edit in edits]}
    share, (hit,) = trace.by_text([row], "Zoë kept bees under the old bridge by the mill")
    span = "a.txt", 100 + told.index("Z"), 100 + told.index("mill") + 4
    assert (share, hit["start"], hit["end"]) == (1.0, *span[1:])
    # a block's span counts the text: two line feeds before Zoë, where the file has four characters
    blocks = [{"block": 0, "document": 3, "start": 0, "end": 7}, {"block": 1, "document": 3, "start": 7, "end": 60}]
    assert text[7] == "Z"
    assert trace.blocks_within(blocks, hit) == [1]
    assert trace.blocks_within(blocks, trace.by_span([row], span)[1][0]) == [1]
    (shown,) = [document_row(row, file_names=False)]
    assert shown["digest"]["sha256"] == sha256(told.encode()).hexdigest()
