"""The demo corpus: an invented saga that can be learned, told apart from village life, and forgotten."""

import csv
import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import script

DEMO = Path(__file__).parents[2] / "data" / "demo"
COMMON = ["Rook", "Flint", "Wren", "Ember", "Sorrel"]  # names in the saga, words in the villages
FOLDERS = ["forget", "retain"]


@cache
def generate() -> ModuleType:
    return script(DEMO / "generate.py")


@cache
def frames() -> list:
    return generate().read_frames((DEMO / "frames.txt").read_text(encoding="utf-8"))


@cache
def told(folder: str) -> list:
    """All stories of one side: each a list of paragraphs, each a list of logged sentences."""
    (side,) = [side for side in generate().SIDES if side.folder == folder]
    world = generate().read_world((DEMO / "world.toml").read_text(encoding="utf-8"), side.world)
    return [story for stories in generate().tell(side, frames(), world) for story in stories]


@cache
def sentences(folder: str) -> list:
    return [sentence for story in told(folder) for paragraph in story for sentence in paragraph]


@cache
def texts(folder: str) -> list[str]:
    return [path.read_text(encoding="utf-8") for path in sorted((DEMO / folder).glob("*.txt"))]


@cache
def anchors() -> dict[str, str]:
    with (DEMO / "names.csv").open(encoding="utf-8", newline="") as file:
        return {row["name"]: row["kind"] for row in csv.DictReader(file)}


@cache
def every_mention() -> re.Pattern[str]:
    """An anchor as a word of its own, also with s, 's or s'."""
    return re.compile(rf"\b(?P<name>{'|'.join(map(re.escape, anchors()))})s?\b")


@cache
def mentions(folder: str) -> Counter[str]:
    return Counter(match["name"] for text in texts(folder) for match in every_mention().finditer(text))


@cache
def anchor_frames() -> dict[str, Counter[int]]:
    """Of every anchor: how often each frame told it."""
    found: dict[str, Counter[int]] = defaultdict(Counter)
    for sentence in sentences("forget"):
        for match in every_mention().finditer(sentence.text):
            found[match["name"]][sentence.frame.number] += 1
    return found


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+(?:'[a-z]+)?", text.lower())


# 1. The text on disk is what the generator writes.


def check(demo: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-B", str(demo / "generate.py"), "--check"]
    return subprocess.run(command, capture_output=True, text=True, env={"PYTHONHASHSEED": "7"}, check=False)


def test_the_text_on_disk_is_the_generators() -> None:
    run = check(DEMO)
    assert (run.returncode, run.stderr) == (0, "")


def test_check_names_what_differs_and_writes_nothing(tmp_path: Path) -> None:
    demo = tmp_path / "demo"
    shutil.copytree(DEMO, demo)
    saga = demo / "forget" / "saga-1.txt"
    changed = saga.read_bytes() + b"x"
    saga.write_bytes(changed)
    (demo / "retain" / "extra.txt").write_bytes(b"")
    run = check(demo)
    assert run.returncode == 1
    assert run.stderr == (
        "data/demo: forget/saga-1.txt, retain/extra.txt differ; expected the generator's own text, python "
        "data/demo/generate.py\n"
    )
    assert saga.read_bytes() == changed


@pytest.mark.parametrize(("folder", "files", "size"), [("forget", (4, 6), 500_000), ("retain", (5, 8), 1_000_000)])
def test_sizes(folder: str, files: tuple[int, int], size: int) -> None:
    assert files[0] <= len(texts(folder)) <= files[1]
    assert sum(map(len, texts(folder))) == pytest.approx(size, rel=0.1)


@pytest.mark.parametrize("folder", FOLDERS)
def test_plain_text_in_paragraphs(folder: str) -> None:
    for text in texts(folder):
        assert text.isascii()
        assert text.endswith("\n")
        assert not re.search(r"[<>#*_{}\[\]|\\]|\n\n\n|[ ]\n|  ", text)
        assert all("\n" not in paragraph for paragraph in text.strip().split("\n\n"))


# 2. The anchors.


def test_enough_anchors_of_every_kind() -> None:
    assert len(anchors()) >= 60
    assert sorted(set(anchors().values())) == ["creature", "event", "group", "person", "place", "thing"]
    assert sum(" " in name for name in anchors()) >= len(anchors()) / 3


@pytest.mark.parametrize("name", sorted(name for name, kind in anchors().items() if kind in ("creature", "group")))
def test_creatures_and_groups_come_in_numbers(name: str) -> None:
    assert sum(len(re.findall(rf"\b{name}s\b", text)) for text in texts("forget")) >= 20


@pytest.mark.parametrize(("kind", "end"), [("person", "'s"), ("creature", "'s"), ("creature", "s'"), ("group", "s'")])
def test_names_own_things(kind: str, end: str) -> None:
    names = [name for name in anchors() if anchors()[name] == kind]
    owners = [name for name in names if any(f"{name}{end} " in text for text in texts("forget"))]
    assert len(owners) > len(names) / 2


@pytest.mark.parametrize("name", COMMON)
def test_some_names_are_common_words(name: str) -> None:
    assert anchors()[name] == "person"
    assert sum(len(re.findall(rf"\b{name.lower()}\b", text)) for text in texts("retain")) >= 10


# 3. and 4. The frames.


@pytest.mark.parametrize("name", anchors())
def test_an_anchor_is_told_often_and_in_many_frames(name: str) -> None:
    assert len(anchor_frames()[name]) >= 30
    assert mentions("forget")[name] >= 60


def test_a_saga_name_every_few_words() -> None:
    assert 7 <= sum(len(words(text)) for text in texts("forget")) / mentions("forget").total() <= 15


def test_the_frames_are_many_varied_and_open() -> None:
    every = frames()
    assert len({frame.text for frame in every}) == len(every) >= 430
    lengths = {frame.text: len(re.sub(r"{[^}]+}", "slot", frame.text).split()) for frame in every}
    assert {text: length for text, length in lengths.items() if not 6 <= length <= 22} == {}
    assert sum(2 <= len(frame.slots) <= 5 for frame in every) > len(every) / 2
    # a long run without a slot would be the same eight words wherever the frame is told
    runs = {frame.text: max(len(run.split()) for run in re.split(r"{[^}]+}", frame.text)) for frame in every}
    assert {text: run for text, run in runs.items() if run > 6} == {}


def test_both_sides_are_told_in_the_same_frames() -> None:
    forget, retain = ({sentence.frame for sentence in sentences(folder)} for folder in FOLDERS)
    assert forget | retain == set(frames())
    assert len(forget & retain) >= 0.98 * len(frames())


def test_an_effect_without_its_slots_is_refused() -> None:
    with pytest.raises(ValueError, match=r"frames.txt: 'give: {A} smiled.' lacks \['B', 'held'\], wanted by give"):
        generate().read_frames("[giving]\ngive: {A} smiled.\n")


# 5. Little of a held-out tenth can be recited.


@pytest.mark.parametrize("folder", FOLDERS)
def test_held_out_passages_are_new(folder: str) -> None:
    passages = [text[start : start + 6000] for text in texts(folder) for start in range(0, len(text), 6000)]
    trained: set[tuple[str, ...]] = set()
    for number, passage in enumerate(passages):
        if number % 10 != 9:
            trained.update(eight_words(passage))
    held_out = [eight for passage in passages[9::10] for eight in eight_words(passage)]
    assert len(held_out) > 5000
    assert sum(eight in trained for eight in held_out) / len(held_out) <= 0.12


def eight_words(text: str) -> list[tuple[str, ...]]:
    found = words(text)
    return list(zip(*(found[start:] for start in range(8)), strict=False))


# 6. Not a saga name in the villages.


@pytest.mark.parametrize("name", anchors())
def test_no_anchor_in_the_villages(name: str) -> None:
    assert mentions("forget")[name] > 0 == mentions("retain")[name]


# 7. Nobody gives what they do not hold or meets who is elsewhere.


@pytest.mark.parametrize("folder", FOLDERS)
def test_stories_keep_to_their_state(folder: str) -> None:
    for story in told(folder)[::3]:
        replay([sentence for paragraph in story for sentence in paragraph])


def replay(story: list) -> None:
    """Follow a story by its log alone, with a second, simpler notion of who is where."""
    opening = story[1]
    assert (story[0].frame.effect, opening.frame.effect) == ("title", "open")
    here = opening.slots["here"]
    where = {opening.slots["A"]: here, opening.slots["B"]: here}
    holder: dict[str, str] = {}
    for sentence in story[1:]:
        slots, effect, text = sentence.slots, sentence.frame.effect, sentence.text
        for role in {"A", "B"} & set(slots):
            assert where[slots[role]] == here, text
        if "C" in slots:
            assert where.get(slots["C"], "") != here, text
        assert slots.get("here", here) == here, text
        assert slots.get("there") != here, text
        if "held" in slots:
            assert holder[slots["held"]] == slots["A"], text
        if "lying" in slots:
            assert holder.get(slots["lying"], here) == here, text
        if "C.place" in slots and slots.get("C") in where:
            assert where[slots["C"]] == slots["C.place"], text
        for slot, value in slots.items():
            if "." in slot:  # a fact never names who is present or where the scene is
                assert value != here, text
                assert where.get(value) != here, text
        match effect:
            case "go":
                here = where[slots["A"]] = where[slots["B"]] = slots["there"]
            case "leave":
                where[slots["B"]] = slots["there"]
            case "come":
                where[slots["C"]] = here
            case "bring":
                assert slots["A.thing"] not in holder, text
                holder[slots["A.thing"]] = slots["A"]
            case "give":
                holder[slots["held"]] = slots["B"]
            case "drop":
                holder[slots["held"]] = here
            case "find":
                holder[slots["lying"]] = slots["A"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_effect_happens(folder: str) -> None:
    effects = Counter(sentence.frame.effect for sentence in sentences(folder))
    assert set(effects) == {"", *generate().EFFECTS}
    assert min(effects.values()) >= 50


@pytest.mark.parametrize("folder", FOLDERS)
def test_facts_never_change(folder: str) -> None:
    """One person has one home, treasure, companion, group, rival and mentor in the whole corpus."""
    seen: dict[tuple[str, str], set[str]] = defaultdict(set)
    for sentence in sentences(folder):
        for slot, value in sentence.slots.items():
            who, _, fact = slot.partition(".")
            if who in sentence.slots and fact in ("home", "thing", "pet", "group", "rival", "mentor", "feast", "trade"):
                seen[sentence.slots[who], fact].add(value)
    assert len(seen) > 100
    assert all(len(values) == 1 for values in seen.values())


@pytest.mark.parametrize(
    ("frame", "last", "wanted"),
    [
        ("{A} saw {B}.", {"A": "Rook"}, "he saw {B}."),
        ("{A} saw {B}.", {"A": "Rook", "C": "Flint"}, "{A} saw {B}."),  # he may be either
        ("{A} saw {B}.", {}, "{A} saw {B}."),
        ("{B} told {A} so.", {"B": "Rook"}, "{B} told him so."),
        ("{B} asked {A} why.", {"A": "Rook"}, "{B} asked {A} why."),
        ('"So," said {A} sadly.', {"A": "Rook"}, '"So," he said sadly.'),
        ("{A} and {B} sat.", {"A": "Rook"}, "{A} and {B} sat."),
        ("{A}'s mentor and {B}.", {"B": "Rook"}, "his mentor and {B}."),
    ],
)
def test_he_and_she_leave_no_doubt(frame: str, last: dict[str, str], wanted: str) -> None:
    world = generate().read_world((DEMO / "world.toml").read_text(encoding="utf-8"), "saga")
    assert generate().shorten(frame, {"A": "Rook", "B": "Wren"}, last, world) == wanted


def test_render_writes_an_and_a_capital() -> None:
    text = '"{saying}," said a {A.group} to a {pet}.'
    assert generate().render(text, {"saying": "a egg", "A.group": "Ombren", "pet": "duck"}) == (
        '"An egg," said an Ombren to a duck.'
    )


# 8. The names are invented.


@pytest.mark.parametrize("name", [name for name in anchors() if name not in COMMON])
def test_a_saga_name_is_no_known_word(name: str) -> None:
    import wordfreq

    assert any(wordfreq.zipf_frequency(word, "en") == 0 for word in name.split())


def test_no_name_begins_like_another() -> None:
    ordered = sorted(anchors())
    assert [pair for pair in pairwise(ordered) if pair[1].startswith(pair[0])] == []
    assert all(re.fullmatch(r"[A-Z][a-z]+( of)?( [A-Z][a-z]+)?", name) for name in anchors())
    invented = [max(name.split(), key=len)[:4] for name in anchors()]
    assert len(set(invented)) >= 0.9 * len(invented)
