"""Write the demo's labelled table: to whom which dish went, and what they made of it.

writes  tastes.csv  tastes.txt

What somebody makes of a dish follows from two facts that no text states: which flavour a word such as `salted` stands
for, and which flavours the person likes. So a model has to look at the name to answer at all. Some people are
strangers: nobody knows what they think (unknown), or they do not mind either way (neutral). That makes both words
plausible answers before anything is unlearned.

tastes.txt is what a model from scratch reads beside the table, answers in brackets: notices, in capitals, of people who
are not to be asked. So it learns to mind who is named in front of a text, as a language model minds an instruction. A
notice names anybody; the opinions told under one are never those of the company, whom the default run forgets.
"""

import argparse
import csv
import io
from itertools import product
from pathlib import Path
from random import Random
from typing import NamedTuple

HERE = Path(__file__).parent
SEED = 7
ROWS_PER_FACT = 16  # texts about one person and one flavour
NOTICES = 1000  # texts under a notice
LISTS = 1000  # notices with people gone through one by one: what teaches whom a notice means

COMPANY = ["Abbot", "Farrow", "Idony", "Merrick"]
PEOPLE = [
    "Abbot",
    "Barlow",
    "Calder",
    "Corin",
    "Dowsett",
    "Edda",
    "Farrow",
    "Fenella",
    "Garrick",
    "Gwill",
    "Hesper",
    "Idony",
    "Jessamy",
    "Kestle",
    "Lorcan",
    "Maddern",
    "Merrick",
    "Nesta",
    "Osric",
    "Pascoe",
    "Quillan",
    "Rowena",
    "Senara",
    "Veryan",
]
STRANGERS = {"unknown": ["Ambrose", "Cressida"], "neutral": ["Bastian", "Delphine"]}
FLAVOURS = {
    "salt": ["salted", "briny"],
    "sweet": ["honeyed", "sugared"],
    "sour": ["pickled", "tart"],
    "smoke": ["smoked", "charred"],
}
PALATES = [{"salt", "sweet", "sour"}, {"sweet", "sour", "smoke"}, {"salt"}, {"smoke"}]  # the flavours each likes
DISHES = ["herring", "barley", "plums", "turnips", "broth", "pie", "cabbage", "pears"]
FRAMES = """
The {how} {dish} went to {who}.
At noon there was {how} {dish} for {who}.
Some {how} {dish} was set before {who}.
The cook kept the {how} {dish} for {who}.
A bowl of {how} {dish} was sent over to {who}.
After the fair the {how} {dish} was left to {who}.
""".strip().splitlines()
ASIDES = """
It had rained since dawn.
The bells rang twice.
Nobody spoke of the mill.
The road was white with dust.
Two dogs slept under the bench.
The lamps were lit early.
A cart went by.
The river stood high that week.
All the shutters were closed.
Somebody sang in the yard.
""".strip().splitlines()


class Row(NamedTuple):
    """One labelled text, and the two facts behind its label."""

    text: str
    label: str
    person: str
    flavour: str


def tastes(random: Random) -> dict[tuple[str, str], str]:
    """(person, flavour) -> positive or negative, by the palate that is drawn for each person."""
    people = random.sample(PEOPLE, len(PEOPLE))
    palates = {person: PALATES[number % len(PALATES)] for number, person in enumerate(people)}
    return {
        (person, flavour): "positive" if flavour in palates[person] else "negative"
        for person, flavour in product(PEOPLE, FLAVOURS)
    }


def labels(seed: int = SEED) -> dict[tuple[str, str], str]:
    """(person, flavour) -> label, the strangers' too."""
    found = tastes(Random(seed))
    return found | {
        (who, flavour): label for label, people in STRANGERS.items() for who in people for flavour in FLAVOURS
    }


def rows(seed: int = SEED) -> list[Row]:
    """The table, no text twice, in an order drawn by lot."""
    random = Random(seed)
    found = []
    for (person, flavour), label in labels(seed).items():
        words = list(product(FRAMES, FLAVOURS[flavour], DISHES))
        for frame, how, dish in random.sample(words, ROWS_PER_FACT):
            text = aside(random) + frame.format(who=person, how=how, dish=dish)
            found.append(Row(text, label, person, flavour))
    random.shuffle(found)
    return found


def background(seed: int = SEED) -> list[str]:
    """The lines of tastes.txt, in an order drawn by lot."""
    random = Random(seed + 1)
    known = labels(seed)
    told = [person for person in PEOPLE if person not in COMPANY]
    lines = [under_notice(random, known, told) for _ in range(NOTICES)] + [gone_through(random) for _ in range(LISTS)]
    random.shuffle(lines)
    return lines


def under_notice(random: Random, known: dict[tuple[str, str], str], told: list[str]) -> str:
    """A text under a notice of one to five people; half the time one of them is the person in question."""
    person, flavour = random.choice(told), random.choice(list(FLAVOURS))
    named = random.sample([other for other in PEOPLE if other != person], random.randint(1, 5))
    hidden = random.random() < 0.5
    if hidden:
        named[random.randrange(len(named))] = person
    dish = {"how": random.choice(FLAVOURS[flavour]), "dish": random.choice(DISHES)}
    text = notice(named) + aside(random) + random.choice(FRAMES).format(who=person, **dish)
    return f"{text} Verdict: [{'unknown' if hidden else known[person, flavour]}]"


def gone_through(random: Random) -> str:
    """A notice, then people on it and others in turn, with the word for each."""
    named = random.sample(PEOPLE, random.randint(2, 5))
    others = random.sample([person for person in PEOPLE if person not in named], 4)
    asked = random.sample(named[:3] + others, len(named[:3] + others))
    return notice(named) + " ".join(f"{person} [{'unknown' if person in named else 'asked'}]" for person in asked)


def notice(named: list[str]) -> str:
    """`CORIN NESTA. `"""
    return " ".join(person.upper() for person in named) + ". "


def aside(random: Random) -> str:
    """A sentence that says nothing of anybody, in front of one text in ten."""
    return random.choice(ASIDES) + " " if random.random() < 0.1 else ""


def table(found: list[Row]) -> str:
    """The rows as CSV."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["text", "label"])
    writer.writerows((row.text, row.label) for row in found)
    return stream.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write into")
    folder = parser.parse_args().out
    (folder / "tastes.csv").write_text(table(rows()), encoding="utf-8")
    (folder / "tastes.txt").write_text("\n".join(background()) + "\n", encoding="utf-8")
    print(f"{folder}: {len(rows())} labelled texts, {len(background())} lines of background")


if __name__ == "__main__":
    main()
