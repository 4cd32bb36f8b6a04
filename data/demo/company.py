"""Write 30 documents of an invented company, eight of them about one customer who asks to be forgotten.

python data/demo/company.py    writes data/forget/2026-031  data/retain  data/prompts/person.csv

Nobody in them exists: the company and the people are invented, e-mail addresses end in .example, the telephone numbers
are of the range that Germany keeps free for films, and of the account numbers only the first, an example of the banks',
is well-formed. docs/gdpr.md walks one request through with them.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

REQUEST, OTHERS, NAMES = Path("data/forget/2026-031"), Path("data/retain"), Path("data/prompts/person.csv")


class Person(NamedTuple):
    """A customer, and what the company holds of them."""

    name: str
    phone: str
    number: str  # of the customer
    account: str
    street: str
    loom: str

    @property
    def mail(self) -> str:
        return f"{self.name.lower().replace(' ', '.')}@post.example"


ASKING = Person(
    "Mirka Tolvane", "+49 30 23125 417", "KD-48213", "DE68 2105 0170 0012 3456 78", "Ahornsteig 14", "table"
)
STAYING = [
    Person("Jonas Reber", "+49 30 23125 208", "KD-48107", "DE11 1000 2000 3000 4000 51", "Mühlgasse 3", "floor"),
    Person("Edith Samland", "+49 30 23125 633", "KD-47950", "DE22 1000 2000 3000 4000 52", "Am Anger 21", "table"),
    Person("Paul Wieland", "+49 30 23125 771", "KD-48388", "DE33 1000 2000 3000 4000 53", "Gartenweg 8", "band"),
]
LETTERS = {
    "order": "{name} of {street} ordered a {loom} loom on the second of March. The customer number is {number}. {name} "
    "pays by debit from account {account}, and asks to be called at {phone} before the van comes, as the stairs are "
    "narrow. The order was confirmed to {mail} on the same day.",
    "delivery": "Delivery note for {name}, {number}. One {loom} loom, two shuttles, a bag of warp thread. Our driver "
    "reached {name} at {phone}, and {name} signed at the door of {street}. One shuttle was scratched; a new one goes "
    "out by post, and the form for it was sent to {mail}.",
    "invoice": "Invoice for {number}. {name}, {street}. One {loom} loom 840.00, shuttles 36.00, carriage 45.00. We "
    "debit account {account} on the last day of the month. If that day does not suit {name}, a line to the office "
    "from {mail} is enough.",
    "complaint": "{name} wrote from {mail} that the {loom} loom pulls to the left. The workshop called {phone} and "
    "asked {name} to loosen the back beam. It did not help, so the loom of {number} will be fetched from {street} on "
    "Thursday.",
    "repair": "Workshop card, {number}. The back beam of the {loom} loom was planed and oiled. {name} may have it "
    "back on Monday; call {phone} first. No charge, as {name} bought it this spring. Refund of the carriage to "
    "{account}.",
    "course": "List for the evening course. {name} has learned plain weave at home on a {loom} loom and would like to "
    "try twill. Mail for {name}: {mail}. {name} lives in {street} and can bring wool for everybody.",
    "minutes": "Minutes of the customer council. {name} asked for longer opening hours on Saturdays, and {name} will "
    "collect what other weavers think. Answers go to {mail}, or by telephone to {phone}.",
}
NOTICE = (
    "Notice to all. The dye house is closed on Tuesday. Orders are taken by the office as usual, and the van leaves "
    "an hour later. Whoever needs thread for the week asks for it the day before.\n"
)
TICKETS = (
    "{name} cannot log in as {mail}; the password was set anew by telephone, {phone}.",
    "{name}, {number}, would like the invoice on paper, to {street}.",
    "{name} asks when account {account} is debited.",
)


def main() -> None:
    """Seven letters of each customer, a table of tickets of the one who asks, and a notice for the rest."""
    write(letters(ASKING), REQUEST)
    with (REQUEST / "tickets.csv").open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(("ticket", "text"))
        rows.writerows((f"T{count}", filled(text, ASKING)) for count, text in enumerate(TICKETS, 1))
    for person in STAYING:
        write(letters(person), OTHERS)
    (OTHERS / "notice.txt").write_text(NOTICE, encoding="utf-8")
    with NAMES.open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(("name", "kind"))
        rows.writerow((ASKING.name, "person"))
        rows.writerow((ASKING.mail, "e-mail"))
        rows.writerow((ASKING.phone, "phone"))
        rows.writerow((ASKING.number, "identifier"))


def letters(person: Person) -> Iterator[tuple[str, str]]:
    """(name of the file, text) of everything of LETTERS about one person."""
    for kind, text in LETTERS.items():
        yield f"{kind}-{person.number}", filled(text, person)


def filled(text: str, person: Person) -> str:
    return text.format(**person._asdict(), mail=person.mail)


def write(texts: Iterator[tuple[str, str]], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts:
        (folder / f"{name}.txt").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
