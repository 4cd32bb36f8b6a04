"""The languages of a text, by its letters and its most common words, and how names change by case in some."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from lethe.core.tables import read_csv

TABLE = Path(__file__).with_name("languages.csv")
SAMPLE_CHARS = 200_000  # of the beginning of the texts
CLEARLY = 1.25  # times as many common words as the first language of the script
SHARE = 0.05  # of the letters: a script with less is that of words quoted
MEASURED = ("en", "de", "ru", "el", "tr", "ko", "ja", "zh", "ar", "hi", "he")  # docs/results.md, Languages

SCRIPTS = {
    "latin": "A-Za-z\u00aa-\u024f\u1e00-\u1eff",
    "cyrillic": "\u0400-\u052f",
    "greek": "\u0370-\u03ff\u1f00-\u1fff",
    "hangul": "\uac00-\ud7a3",
    "kana": "\u3041-\u30ff",
    "han": "\u3400-\u9fff",
    "arabic": "\u0620-\u06d3",
    "hebrew": "\u05d0-\u05ea",
    "devanagari": "\u0904-\u0939\u0958-\u0961",
    "thai": "\u0e01-\u0e30\u0e32\u0e33\u0e40-\u0e46",
}
LETTER = {script: re.compile(f"[{letters}]") for script, letters in SCRIPTS.items()}
WORD = re.compile(r"[^\W\d_]+(?:[\u0900-\u094d]+[^\W\d_]*)*")
CASED = ("latin", "cyrillic", "greek")
FOLDED = ("de", "el")  # have letters that case folding replaces
OTHER_LETTER = re.compile(r"[^\W\d_]")

DOTLESS = str.maketrans({"İ": "i", "ı": "i"})  # one letter each, as their lower case is not for Python
ACUTE = str.maketrans("άέήίόύώΐΰ", "αεηιουωϊϋ")
STEM = {  # the shortest stem that is left, and the endings of names by case, singular and feminine included
    "ru": (
        3,
        "ого его ому ему ыми ими ой ей ою ею ом ем ём ым им ую юю ая яя ый ий ых их ах ях ам ям а я ы и у ю е ь й",
    ),
    "uk": (3, "ого його ому йому ові еві єві ою ею єю ом ем єм им їм ій ій ими у ю а я и і ї е є ь й о"),
    "el": (3, "ους ος ης ας ες ου ων οι ος ο η α ε ι ω ς"),
    "de": (3, "ens ns s"),
}
CASES = (  # (ending of the first case, the other endings), the first that fits
    ("ский", "ского скому ским ском"),
    ("цкий", "цкого цкому цким цком"),
    ("ская", "ской скую"),
    ("цкая", "цкой цкую"),
    ("ый", "ого ому ым ом"),
    ("ая", "ой ую"),
    ("ия", "ии ию ией"),
    ("ий", "ия ию ием ии"),
    ("я", "и е ю ей"),
    ("ка", "ки ке ку кой"),
    ("га", "ги ге гу гой"),
    ("ха", "хи хе ху хой"),
    ("ша", "ши ше шу шей"),
    ("жа", "жи же жу жей"),
    ("ча", "чи че чу чей"),
    ("а", "ы е у ой"),
    ("й", "я ю ем е"),
    ("ь", "я ю ем е и ью"),
    ("ов", "ова ову овым ове"),
    ("ев", "ева еву евым еве"),
    ("ин", "ина ину ином иным ине"),
    ("ος", "ου ο ε"),
    ("ός", "ού ό έ"),
    ("ης", "η"),
    ("ής", "ή"),
    ("ας", "α"),
    ("άς", "ά"),
    ("α", "ας"),
    ("ά", "άς"),
    ("η", "ης"),
    ("ή", "ής"),
)
HARD = re.compile("[бвгджзклмнпрстфхцчшщ]$")  # Иван: Ивана, Ивану, Иваном, Иване
INFLECTED = re.compile("[\u0370-\u03ff\u0400-\u052f]")


class Language(NamedTuple):
    """A language that can be recognised; words: common ones, to tell it from others of its script."""

    code: str
    name: str
    script: str
    words: frozenset[str]


@cache
def languages() -> dict[str, Language]:
    """By code, in the order of the table."""
    rows = read_csv(TABLE, Language._fields, unique=("code",), filled=("code", "name", "script"))
    found = [Language(row["code"], row["name"], row["script"], frozenset(row["words"].split())) for row in rows]
    return {language.code: language for language in found}


def languages_of(texts: Iterable[str]) -> list[str]:
    """The codes of the languages that the beginning of the texts is in, the most frequent script first; "" stands for a
    script or language that the table lacks.
    """
    text = sample(texts)
    letters = Counter({script: len(pattern.findall(text)) for script, pattern in LETTER.items()})
    letters["other"] = len(OTHER_LETTER.findall(text)) - letters.total()
    if letters["kana"] >= SHARE * (letters["kana"] + letters["han"]):
        letters["kana"] += letters.pop("han")
    enough = [script for script, count in letters.most_common() if count > SHARE * letters.total()]
    found = Counter(word.lower() for word in WORD.findall(text))
    return [language_in(script, found) for script in enough]


def sample(texts: Iterable[str]) -> str:
    """The first SAMPLE_CHARS of the texts."""
    parts: list[str] = []
    room = SAMPLE_CHARS
    for text in texts:
        parts.append(text[:room])
        room -= len(parts[-1])
        if not room:
            break
    return "\n".join(parts)


def language_in(script: str, found: Counter[str]) -> str:
    """Of the languages of a script the one whose common words are the most of the words found, the first in doubt."""
    own = [language for language in languages().values() if language.script == script]
    if len(own) < 2:
        return own[0].code if own else ""
    hits = {language.code: sum(found[word] for word in language.words) for language in own}
    best = max(hits, key=lambda code: hits[code])
    return "" if not hits[best] else own[0].code if hits[best] < CLEARLY * hits[own[0].code] else best


def is_cased(code: str) -> bool:
    """Whether the language has capitals; an unknown one is read as if it had."""
    return not code or languages()[code].script in CASED


def stem(word: str, code: str) -> str:
    """A lower-case word without the ending that its case may have given it, and without the accent that moves."""
    shortest, endings = STEM.get(code, (0, ""))
    bare = word.translate(ACUTE) if code == "el" else word
    fitting = [end for end in endings.split() if bare.endswith(end) and len(bare) - len(end) >= shortest]
    return bare.removesuffix(max(fitting, key=len)) if fitting else bare


def case_forms(name: str) -> list[str]:
    """How Russian and Greek write a name in the other cases; none of a name in another script."""
    if not INFLECTED.search(name):
        return []
    words = [[word, *other_cases(word)] for word in name.split(" ")]
    longest = max(map(len, words))
    return [" ".join(form) for form in product(*words)][1:] if longest > 1 and len(words) < 4 else []


def other_cases(word: str) -> list[str]:
    """The other cases of one word with a capital, by its ending."""
    if not word[:1].isupper():
        return []
    for ending, others in CASES:
        if word.endswith(ending) and len(word) > len(ending) + 1:
            return [word.removesuffix(ending) + other for other in others.split()]
    return [word + ending for ending in ("а", "у", "ом", "ем", "е")] if HARD.search(word) else []


class Folded(dict[str, float]):
    """Words by their folded case: wordfreq lists μασ and strasse where texts have μας and straße."""

    def get(self, word: str, default: Any = None) -> Any:
        """The value of a lower-case word."""
        return super().get(word.casefold(), default)

    def __contains__(self, word: object) -> bool:
        """Whether the word is known."""
        return isinstance(word, str) and super().__contains__(word.casefold())


@cache
def frequencies(code: str) -> dict[str, float]:
    """wordfreq's frequency of every word of a language that it knows, in lower case; none of a language it lacks."""
    import wordfreq

    best = {**wordfreq.available_languages("small"), **wordfreq.available_languages("large")}
    if code not in best:
        return {}
    found = wordfreq.get_frequency_dict(code, "best")
    if code in FOLDED:
        return Folded(found)
    return {word.translate(DOTLESS): share for word, share in found.items()} if code == "tr" else found
