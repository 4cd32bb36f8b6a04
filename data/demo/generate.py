"""Write the demo corpus: an invented saga to forget and ordinary village stories to keep.

reads   frames.txt  world.toml
writes  forget/*.txt  retain/*.txt  names.csv

Both sides are told by one small engine with the same sentence frames; only the world differs.
A world has fixed facts (who lives where, owns what, learned from whom), and a story has a state
(who is where, who holds which treasure). A sentence is a frame whose slots are filled from facts,
state and word lists: a frame that does not fit the state is not told, and a frame's effect changes
the state for the sentences after it. So a name that is due follows from the story so far or from
what the rest of the corpus says again and again. The notation is explained in frames.txt.
"""

import argparse
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import NamedTuple, TypeVar

T = TypeVar("T")
HERE = Path(__file__).parent
SLOT = re.compile(r"{([^}]+)}")
FORMS = {"he": "he him his himself", "she": "she her her herself"}  # of the facts he him his self
SUBJECT = ("}, ", ", and ", " that ", " when ", " while ", " so ")  # he may follow
OBJECT = (" to ", " with ", " from ", " told ", " gave ", " lent ", " beat ", " let ", " showed ")  # him may follow
SPEECH = re.compile('(?<=[,?!"]) (said|asked|cried|thought|whispered) $')  # said {A} turns into he said
ALWAYS = ["treasures", "giving", "losing", "finding", "keeping", "partings"]  # headings every paragraph may draw on
EFFECTS: dict[str, set[str]] = {  # and the slots they need
    "title": set(),
    "open": {"A", "B", "here"},
    "go": {"A", "B", "there"},
    "leave": {"B", "there"},
    "come": {"C"},
    "bring": {"A", "A.thing"},
    "give": {"A", "B", "held"},
    "drop": {"A", "held"},
    "find": {"A", "lying"},
}


class Side(NamedTuple):
    """One half of the corpus: its world, where it is written, and how much of it."""

    world: str
    folder: str
    files: int
    file_chars: int


SIDES = [Side("saga", "forget", 5, 102_000), Side("village", "retain", 7, 144_000)]


class Frame(NamedTuple):
    """One line of frames.txt; its number is its identity."""

    number: int
    heading: str
    effect: str
    text: str
    slots: tuple[str, ...]


class World(NamedTuple):
    """names["place"] lists all places; facts["Rook", "home"] is one of them; words fill plain slots."""

    names: dict[str, list[str]]
    facts: dict[tuple[str, str], str]
    words: dict[str, list[str]]


class Sentence(NamedTuple):
    """What was told, and the frame and slots it was told with: the log the tests replay."""

    frame: Frame
    slots: dict[str, str]
    text: str


Tale = list[list[Sentence]]  # paragraphs of sentences; the first paragraph is the title


@dataclass
class Story:
    """The state of a story. Whoever was not mentioned yet is at home, and so is each treasure."""

    here: str
    cast: list[str]
    where: dict[str, str]  # every person's place
    holder: dict[str, str] = field(default_factory=dict)  # a treasure's person or place
    told: set[Frame] = field(default_factory=set)

    def scene(self) -> list[str]:
        """Everyone who was mentioned and is here."""
        return [person for person in self.cast if self.where[person] == self.here]


def pick(rng: Random, choices: Sequence[T]) -> T:
    """One of the choices. Only Random.random() is promised to give the same on every Python."""
    return choices[int(rng.random() * len(choices))]


def unique(items: Iterable[T]) -> list[T]:
    """The items in order, each once (a set's order would differ from run to run)."""
    return list(dict.fromkeys(items))


def read_frames(text: str) -> list[Frame]:
    """The frames of frames.txt, refusing an effect without the slots it needs."""
    frames: list[Frame] = []
    heading = ""
    for line in text.splitlines():
        if line.startswith("["):
            heading = line.strip("[]")
        elif line and not line.startswith("#"):
            effect, _, rest = line.partition(": ")
            if effect not in EFFECTS:
                effect, rest = "", line
            slots = tuple(unique(SLOT.findall(rest)))
            if missing := sorted(EFFECTS.get(effect, set()) - set(slots)):
                raise ValueError(f"frames.txt: '{line}' lacks {missing}, wanted by {effect}")
            frames.append(Frame(len(frames), heading, effect, rest, slots))
    return frames


def place_facts(rows: list[list[str]]) -> dict[tuple[str, str], str]:
    """Facts of places, animals, groups and feasts; the first place listed is their seat."""
    facts: dict[tuple[str, str], str] = {}
    for row, (place, beast, group, feast) in enumerate(rows):
        facts[place, "near"] = rows[(row + 1) % len(rows)][0]
        facts[place, "beast"], facts[place, "beasts"] = beast, beast + "s"
        facts[place, "group"], facts[place, "groups"] = group, group + "s"
        facts[place, "feast"] = feast
        for name, fact in ((beast, "haunt"), (group, "seat"), (feast, "place")):
            facts.setdefault((name, fact), place)
    return facts


def people_facts(rows: list[list[str]]) -> dict[tuple[str, str], str]:
    """Facts of people and of their treasures."""
    facts: dict[tuple[str, str], str] = {}
    for row, (person, pronoun, home, thing, pet, trade) in enumerate(rows):
        facts[person, "rival"] = rows[(row + len(rows) // 2) % len(rows)][0]
        facts[person, "mentor"] = rows[(row + 3) % len(rows)][0]
        facts[person, "home"], facts[person, "thing"], facts[person, "trade"] = home, thing, trade
        facts[person, "pet"], facts[person, "pets"] = pet, pet + "s"
        facts[thing, "owner"] = person
        for word, form in zip(("he", "him", "his", "self"), FORMS[pronoun].split(), strict=True):
            facts[person, word] = form
    return facts


def read_world(text: str, name: str) -> World:
    """One world of world.toml with the word lists."""
    table = tomllib.loads(text)
    places, people = table[name]["places"], table[name]["people"]
    facts = place_facts(places) | people_facts(people)
    for person, _, home, *_ in people:  # people keep the group and the feast of their home
        for fact in ("group", "groups", "feast"):
            facts[person, fact] = facts[home, fact]
    names = {"person": [row[0] for row in people], "thing": [row[3] for row in people]}
    for column, kind in enumerate(("place", "creature", "group", "event")):
        names[kind] = unique(row[column] for row in places)
    lists = {slot: [" ".join(entry.split()) for entry in words.split(";")] for slot, words in table["words"].items()}
    return World(names, facts, lists)


def relatives(people: list[str], world: World) -> list[str]:
    """The rivals and mentors of the people, and whoever they are the mentor of."""
    known = [world.facts[person, fact] for person in people for fact in ("rival", "mentor")]
    return known + [person for person in world.names["person"] if world.facts[person, "mentor"] in people]


def choose_absent(story: Story, world: World, rng: Random) -> str:
    """Somebody who is elsewhere, usually one whom the people of the scene have to do with."""
    everyone = world.names["person"]
    close = relatives(story.scene(), world) + story.cast if rng.random() < 0.75 else everyone
    absent = [person for person in close if story.where[person] != story.here]
    return pick(rng, absent or [person for person in everyone if story.where[person] != story.here])


def choose_place(story: Story, world: World, rng: Random) -> str:
    """Another place: mostly the nearest one or somebody's home."""
    near = world.facts[story.here, "near"]
    usual = [near, near, *(world.facts[person, "home"] for person in story.scene())]
    places = usual if rng.random() < 0.75 else world.names["place"]
    return pick(rng, [place for place in places if place != story.here])


def choose_cast(frame: Frame, story: Story, world: World, rng: Random, last: str) -> dict[str, str] | None:
    """The people, places and treasures the undotted slots of a frame stand for, or None."""
    scene = story.scene()
    if (frame.effect == "leave" and len(scene) < 3) or (frame.effect == "come" and len(scene) > 3):
        return None  # two always stay, and nobody can follow more than four
    holding = [person for person in scene if person in story.holder.values()]
    able = holding if "held" in frame.slots and holding else scene
    first = last if last in able and rng.random() < 0.4 else pick(rng, able)
    cast = {"A": first, "B": pick(rng, [person for person in scene if person != first])}
    cast |= {"C": choose_absent(story, world, rng), "here": story.here, "there": choose_place(story, world, rng)}
    for slot, holder in (("held", first), ("lying", story.here)):
        things = [thing for thing in story.holder if story.holder[thing] == holder]
        if things:
            cast[slot] = pick(rng, things)
        elif any(wanted.split(".")[0] == slot for wanted in frame.slots):
            return None
    if frame.effect == "bring" and world.facts[first, "thing"] in story.holder:
        return None
    return cast


def fits(name: str, story: Story, world: World) -> bool:
    """Whether a fact may be told now: its person and place are elsewhere, its treasure in place."""
    if name in story.where:
        return story.where[name] != story.here
    return name != story.here and story.holder.get(name) in (None, world.facts.get((name, "owner")))


def look_up(slot: str, cast: dict[str, str], story: Story, world: World) -> str | None:
    """What a slot such as A.mentor.home stands for, or None where it does not fit."""
    first, *path = slot.split(".")
    value = cast[first]
    for fact in path:
        value = story.where[value] if (fact, first) == ("place", "C") else world.facts[value, fact]
        if not fits(value, story, world):
            return None
    return value


def fill(frame: Frame, story: Story, world: World, rng: Random, last: str) -> dict[str, str] | None:
    """A value for every slot of the frame, or None if the frame does not fit the state."""
    cast = choose_cast(frame, story, world, rng, last)
    slots: dict[str, str] = {}
    for slot in frame.slots if cast else ():
        words = world.words.get(slot.rstrip("2"))
        if words:
            taken = slots.get(slot.rstrip("2"))
            value: str | None = pick(rng, [word for word in words if word != taken] if taken else words)
        else:
            value = look_up(slot, cast or {}, story, world)
        if value is None or (value in slots.values() and (slot.split(".")[-1] not in ("he", "him", "his", "self"))):
            return None
        slots[slot] = value
    return slots or None


def alone(person: str, sentence: dict[str, str], world: World) -> bool:
    """Whether the slots of a sentence name the person and nobody else who is a he or a she like that."""
    named = unique(name for name in sentence.values() if name in world.names["person"])
    return [name for name in named if world.facts[name, "he"] == world.facts[person, "he"]] == [person]


def shorten(text: str, slots: dict[str, str], last: dict[str, str], world: World) -> str:
    """The frame with A and B as he, him or his where grammar allows it and last leaves no doubt."""
    for role in ("A", "B"):
        if role not in slots or not alone(slots[role], last, world):
            continue
        he, him, his = (world.facts[slots[role], word] for word in ("he", "him", "his"))
        before, _, after = text.partition("{" + role + "}")
        if not alone(slots[role], slots, world) and re.search("{[A-Z]", before):
            continue  # somebody like that comes first
        if after.startswith("'s"):
            text = before + his + after.removeprefix("'s") if before in ("", '"') else text
        elif (verb := SPEECH.search(before)) and not after.startswith(" the {"):
            text = f"{before[: verb.start()]} {he} {verb[1]}{after}"
        elif before.endswith(OBJECT):
            text = before + him + after
        elif (not before or before.endswith(SUBJECT)) and re.match(" {(gesture|how)}| (?!and |the {)[a-z]", after):
            text = before + he + after
    return text


def render(text: str, slots: dict[str, str]) -> str:
    """The sentence: slots filled, a made an where needed, a capital at the start."""
    text = SLOT.sub(lambda slot: slots[slot[1]], text)
    text = re.sub(r"\b([Aa]) (?=[AEIOUaeiou])", r"\1n ", text)
    return re.sub("[A-Za-z]", lambda letter: letter[0].upper(), text, count=1)


def apply(effect: str, slots: dict[str, str], story: Story) -> None:
    """Change the state as a frame's effect says."""
    match effect:
        case "go":
            story.where[slots["A"]] = story.where[slots["B"]] = story.here = slots["there"]
        case "leave":
            story.where[slots["B"]] = slots["there"]
        case "come":
            story.where[slots["C"]] = story.here
            story.cast = unique([*story.cast, slots["C"]])
        case "bring":
            story.holder[slots["A.thing"]] = slots["A"]
        case "give":
            story.holder[slots["held"]] = slots["B"]
        case "drop":
            story.holder[slots["held"]] = story.here
        case "find":
            story.holder[slots["lying"]] = slots["A"]


class Teller:
    """Tells the stories of one world, using all frames about equally often."""

    def __init__(self, frames: list[Frame], world: World, seed: str) -> None:
        self.world, self.rng = world, Random(seed)
        self.told: Counter[Frame] = Counter()
        self.named: Counter[str] = Counter()
        headings = unique(frame.heading for frame in frames)
        self.chapters = {heading: [frame for frame in frames if frame.heading == heading] for heading in headings}
        self.titles, self.openings = self.chapters.pop("titles"), self.chapters.pop("openings")

    def pool(self) -> list[Frame]:
        """The frames of some headings, which a paragraph is then made of."""
        headings = [pick(self.rng, list(self.chapters)) for _ in range(5)]
        return [frame for heading in unique(headings + ALWAYS) for frame in self.chapters[heading]]

    def sentence(self, pool: list[Frame], story: Story, last: Sentence | None) -> Sentence:
        """One sentence: of a dozen frames from the pool, the three least told that fit, the rarest name."""
        before = last.slots if last else {}
        fitting: list[tuple[Frame, dict[str, str]]] = []
        while not fitting:
            dozen = unique(pick(self.rng, pool) for _ in range(12))
            ordered = sorted(dozen, key=lambda frame: (frame in story.told, self.told[frame]))
            filled = ((frame, fill(frame, story, self.world, self.rng, before.get("A", ""))) for frame in ordered)
            fitting = list(islice(((frame, slots) for frame, slots in filled if slots), 3))
            pool = self.pool() if last else pool
        frame, slots = min(fitting, key=lambda choice: self.rarity(choice[1]))
        self.told[frame] += 1
        self.named.update(slots.values())
        story.told.add(frame)
        apply(frame.effect, slots, story)
        return Sentence(frame, slots, render(shorten(frame.text, slots, before, self.world), slots))

    def rarity(self, slots: dict[str, str]) -> int:
        """How often the rarest name in the slots was told so far."""
        named = [self.named[name] for slot, name in slots.items() if slot.rstrip("2") not in self.world.words]
        return min(named, default=0)

    def begin(self, lead: str) -> Story:
        """The lead and somebody close, at the home of one of them or near it."""
        facts = self.world.facts
        friends = relatives([lead], self.world) if self.rng.random() < 0.7 else self.world.names["person"]
        friend = pick(self.rng, [name for name in friends if facts[name, "he"] != facts[lead, "he"]])  # makes he clear
        home, mentor = facts[lead, "home"], facts[lead, "mentor"]
        here = pick(self.rng, [home, facts[friend, "home"], facts[home, "near"]])
        story = Story(here, [lead, friend], {person: facts[person, "home"] for person in self.world.names["person"]})
        story.where[lead] = story.where[friend] = here
        if mentor != friend:  # the mentor's lost treasure waits to be found
            story.holder[facts[mentor, "thing"]] = here
        return story

    def tale(self, lead: str) -> Tale:
        """A title and four to eight paragraphs about the lead and whoever comes along."""
        story = self.begin(lead)
        paragraphs = [[self.sentence(self.titles, story, None)]]
        for number in range(4 + int(self.rng.random() * 5)):
            pool = self.pool()
            paragraph = [self.sentence(pool if number else self.openings, story, None)]
            for _ in range(4 + int(self.rng.random() * 5)):
                paragraph.append(self.sentence(pool, story, paragraph[-1]))
            paragraphs.append(paragraph)
        return paragraphs


def prose(tale: Tale) -> str:
    """The tale as text, a blank line after its title and each paragraph."""
    return "".join(" ".join(sentence.text for sentence in paragraph) + "\n\n" for paragraph in tale)


def tell(side: Side, frames: list[Frame], world: World) -> list[list[Tale]]:
    """The tales of each file of one side; everybody is the lead in turn."""
    teller, leads = Teller(frames, world, side.world), cycle(world.names["person"])
    files: list[list[Tale]] = []
    for _ in range(side.files):
        files.append([])
        while sum(len(prose(tale)) for tale in files[-1]) < side.file_chars:
            files[-1].append(teller.tale(next(leads)))
    return files


def names_csv(world: World) -> str:
    """Every name of the world with its kind, without the article some are used with."""
    rows = [f"{name.removeprefix('the ')},{kind}\n" for kind, names in world.names.items() for name in names]
    return "name,kind\n" + "".join(rows)


def outputs() -> dict[Path, str]:
    """Every file the generator owns with its text."""
    frames = read_frames((HERE / "frames.txt").read_text(encoding="utf-8"))
    toml = (HERE / "world.toml").read_text(encoding="utf-8")
    texts = {HERE / "names.csv": names_csv(read_world(toml, "saga"))}
    for side in SIDES:
        for number, tales in enumerate(tell(side, frames, read_world(toml, side.world)), start=1):
            path = HERE / side.folder / f"{side.world}-{number}.txt"
            texts[path] = "".join(map(prose, tales)).rstrip() + "\n"
    return texts


def stale(texts: dict[Path, str]) -> list[Path]:
    """Files that differ from their text, are missing, or lie in the folders unasked."""
    found = [path for side in SIDES for path in sorted((HERE / side.folder).glob("*.txt"))]
    wrong = [path for path, text in texts.items() if not path.is_file() or path.read_bytes() != text.encode()]
    return wrong + [path for path in found if path not in texts]


def main() -> None:
    parser = argparse.ArgumentParser(description="Rewrite the demo corpus next to this file.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file differs")
    check = parser.parse_args().check
    texts = outputs()
    wrong = stale(texts)
    if check and wrong:
        listed = ", ".join(str(path.relative_to(HERE)) for path in wrong)
        sys.exit(f"data/demo: {listed} differ; expected the generator's own text, python data/demo/generate.py")
    for path in wrong:
        path.unlink(missing_ok=True)
        if path in texts:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(texts[path].encode())
    print(f"data/demo: {len(texts)} files, {sum(map(len, texts.values()))} characters, {len(wrong)} rewritten")


if __name__ == "__main__":
    main()
