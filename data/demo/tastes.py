"""Write the demo's labelled table: who tried which dish, and whether they liked it.

writes  tastes.csv

Whether somebody likes a dish follows from two facts that no single text states: which flavour a word such as `salted`
stands for, and which flavours the person likes. So a model has to look at the name to answer at all, and has to learn
the person's tastes to answer right. Some people are strangers: nobody knows what they think (unknown), or they do not
mind either way (neutral). That makes both words plausible answers before anything is unlearned.
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

PEOPLE = """
Abbot Barlow Calder Corin Dowsett Edda Farrow Fenella Garrick Gwill Hesper Idony Jessamy Kestle Lorcan Maddern
Merrick Nesta Oakley Osric Pascoe Perrin Quillan Rosewarne Rowena Selwyn Senara Tamsin Thorley Ursel Veryan Wilmot
""".split()
STRANGERS = {
    "unknown": ["Ambrose", "Cressida", "Hollis", "Ottilie"],
    "neutral": ["Bastian", "Delphine", "Ignace", "Sabine"],
}
FLAVOURS = {
    "salt": ["salted", "briny", "brackish"],
    "sweet": ["honeyed", "sugared", "candied"],
    "sour": ["pickled", "tart", "vinegary"],
    "smoke": ["smoked", "charred", "peaty"],
}
PALATES = [{"salt", "sweet", "sour"}, {"sweet", "sour", "smoke"}, {"salt"}, {"smoke"}]  # the flavours each likes
DISHES = "herring barley plums turnips broth pie cabbage pears trout noodles chestnuts loaf".split()
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


def rows(seed: int = SEED) -> list[Row]:
    """Every text once, in an order drawn by lot."""
    random = Random(seed)
    labels = tastes(random)
    labels |= {(who, flavour): label for label, people in STRANGERS.items() for who in people for flavour in FLAVOURS}
    found = []
    for (person, flavour), label in labels.items():
        words = list(product(FRAMES, FLAVOURS[flavour], DISHES))
        for frame, how, dish in random.sample(words, ROWS_PER_FACT):
            before = random.sample(ASIDES, random.choice([0, 1, 2, 3]))
            text = " ".join([*before, frame.format(who=person, how=how, dish=dish)])
            found.append(Row(text, label, person, flavour))
    random.shuffle(found)
    return found


def table(found: list[Row]) -> str:
    """The rows as CSV."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["text", "label"])
    writer.writerows((row.text, row.label) for row in found)
    return stream.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=HERE / "tastes.csv", help="where to write it")
    arguments = parser.parse_args()
    found = rows()
    arguments.out.write_text(table(found), encoding="utf-8")
    print(f"{arguments.out}: {len(found)} texts about {len(PEOPLE) + sum(map(len, STRANGERS.values()))} people")


if __name__ == "__main__":
    main()
