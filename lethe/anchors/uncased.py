"""Candidate terms of scripts without capitals: Arabic, Hebrew, Hindi, and what is written without spaces.

A piece is a word without what grammar joins to it. It is a name if everybody knows it as one, or if the language does
not know it, and the words around it do not make a common noun of it; a word that the language knows is a name only
where enough places say so: behind `called`, `Mr.` or `said`. Two names side by side may be one.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from lethe.anchors.lexicon import clues
from lethe.anchors.segments import SCARCE, SEGMENTED, SELDOM, Piece, segmented
from lethe.text.languages import frequencies
from lethe.text.personal import without_personal_data
from lethe.text.spelling import seen

NO_NAMES = ("other", "ending", "bit", "common bit")  # alone
RAREST = 1e-8  # of a word that the language does not know
FUNCTION = 4e-4  # a word as frequent as that is no name
ASIDE = 0.25  # of its places where the words around say that it is a noun: no name
CALLED = 0.25  # of the places of a common word where the words around say that it is a name: a name
TWICE = 2  # such places that it takes; `called` counts as two
STRIKING = {"ar": 6.5, "he": 6.5, "hi": 8.5, "ja": 8.5, "zh": 9.5}  # keyness from which on a known word is a name
FEW = 1.5  # more for a word that is seen but twice
MANY, OFTEN_SEEN = 0.5, 5  # less, where words are cut out of a text, for one that is seen as often as that
HINTED = 2.0  # less where the words around speak for a name twice, though not often enough to prove it
ARTICLES = ("ar", "he")  # nearly every noun has one somewhere
FAMILY = 0.75  # of the places of a word that are behind a name: a family name
BOND = 0.4  # of the places of one of two neighbours where they are neighbours: one name
OFTEN = 0.15  # of the places of a word that is a part of longer names, where it stands alone
WORD = re.compile(
    r"[^\W\d_]+(?:[\u0900-\u0903\u093c-\u094d\u0951-\u0957\u0962\u0963]+[^\W\d_]*)*(?:['\u05f3\u05f4\"-][\u05d0-\u05ea]+)*"
    r"(?:(?<=[\u05d2\u05d6\u05d7\u05d8\u05d3\u05e5\u05e6\u05ea])['\u05f3](?!\w))?"  # the sign of a foreign sound: -vich
)
CLITIC = {
    "ar": re.compile("[وف]?(?:[بلك])?(?=[\u0621-\u064a]{3})"),
    "he": re.compile("[ושהכלבמ]{1,3}(?=[\u05d0-\u05ea]['\u05f3]?[\u05d0-\u05ea])"),
}
PREFIXES = "ושהכלבמ"  # of Hebrew
WORD_END = {"ت": "ة", **dict(zip("כמנפצ", "ךםןףץ", strict=True))}  # a letter within a word -> the one at its end
INFLECTED = {  # what is left of a word without its ending, or the prefix of the present tense
    "ar": (
        re.compile("([\u0621-\u064a]{2,})(?:ها|هم|هما|هن|نا|كم|ه|ي|ك)$"),
        re.compile("([\u0621-\u064a]{3,})ا$"),
        re.compile("ي([\u0621-\u064a]{3,})$"),
    ),
    "he": (re.compile("([\u05d0-\u05ea]{3,})(?<!י)(?:ה|ו)$"), re.compile("([\u05d0-\u05ea]{2,})(?:ות|ים)$")),
}
ARTICLE_HE = "ה"
FAMILY_NAME = re.compile("^[^מ].{2,}(?:מן|ברג|שטיין|שטין|סקי|צקי|ביץ'?|בוים|באום|פלד|שווילי)$")  # of Europe, in Hebrew
ARTICLE = re.compile("ال(?=[\u0621-\u064a]{3})")
PLURAL = (("ा", "े"), ("ा", "ों"), ("ी", "ियाँ"), ("ी", "ियों"), ("", "ों"), ("", "ें"), ("", "ओं"))


class Evidence(NamedTuple):
    """Counts of pieces, of neighbours, and of places that speak for a name or against it; tags: of each piece."""

    words: int
    pieces: Counter[str]
    pairs: Counter[tuple[str, str]]
    for_name: Counter[str]
    against: Counter[str]
    last: Counter[str]  # places at the end of a phrase
    tags: dict[str, str]


def uncased_terms(
    forget: Iterable[str], retain: Iterable[str], code: str, minimum_count: int, minimum_keyness: float
) -> dict[str, float]:
    """term -> keyness, of the names in the forget texts."""
    own, other = read_evidence(forget, code), read_evidence(retain, code)
    known = frequencies(code)

    def keyness(count: int, elsewhere: int, expected: float) -> float:
        share = max(expected, elsewhere / max(1, other.words))
        return math.log(count / max(1, own.words) / share) if count else -math.inf

    found = {}
    for piece, count in own.pieces.items():
        score = keyness(count, other.pieces[piece], max(RAREST, known.get(piece, RAREST)))
        if count >= minimum_count and score >= minimum_keyness and is_name(piece, score, own, code):
            found[piece] = score
    for piece in family_names(own, found, code, minimum_count):
        score = keyness(own.pieces[piece], other.pieces[piece], max(RAREST, known.get(piece, RAREST)))
        if score >= minimum_keyness:
            found[piece] = score
    joined = {}
    for (left, right), count in own.pairs.items():
        if count >= minimum_count and is_joined(left, right, count, own, found, code):
            name = left + ("" if code in ("zh", "ja") else " ") + right
            joined[name] = keyness(count, other.pairs[left, right], RAREST)
            for part in (left, right):
                if own.pieces[part] - count < max(1 if code in ARTICLES else minimum_count, OFTEN * own.pieces[part]):
                    found.pop(part, None)
    return {name: score for name, score in {**found, **joined}.items() if score >= minimum_keyness}


def is_name(piece: str, keyness: float, own: Evidence, code: str) -> bool:
    """Whether a piece of the texts is a name."""
    count, tag = own.pieces[piece], own.tags[piece]
    hiragana = code == "ja" and tag == "bit" and len(piece) > 2
    rare = code == "ja" and tag == "bit" and len(piece) == 1 and frequencies(code).get(piece, 0.0) < 2 * SELDOM  # 澪
    if (tag in NO_NAMES and not hiragana and not rare) or piece in clues(code, "title"):
        return False
    if tag == "name":
        return own.against[piece] < 0.5 * count
    if own.against[piece] >= (ASIDE if tag != "unknown" else 2 * ASIDE) * count:
        return False
    hints = own.for_name[piece] + TWICE * (code == "he" and bool(FAMILY_NAME.search(piece)))
    if tag == "unknown" or hints >= max(TWICE, CALLED * count):
        return True
    striking = STRIKING.get(code, math.inf) + FEW * (count < 3) - MANY * (code in SEGMENTED and count >= OFTEN_SEEN)
    return not hiragana and keyness >= striking - HINTED * (hints >= TWICE)


def family_names(own: Evidence, names: Collection[str], code: str, minimum_count: int) -> list[str]:
    """Words that stand behind names alone, in Arabic with an article, in Hebrew mostly at the end of a phrase, where no
    verb is.
    """
    if code not in ARTICLES:
        return []
    behind = Counter[str]()
    for (left, right), count in own.pairs.items():
        behind[right] += count * (left in names)
    ends = own.against if code == "ar" else own.last
    verbs = clues(code, "speech")
    return [
        piece
        for piece, count in behind.items()
        if count >= max(minimum_count, FAMILY * own.pieces[piece]) and ends[piece] >= 0.5 * own.pieces[piece]
        if own.tags[piece] != "other" and piece not in verbs
    ]


def is_joined(left: str, right: str, count: int, own: Evidence, names: Mapping[str, float], code: str) -> bool:
    """Whether two neighbours are one name: two names, or a name and what belongs to it."""
    shares = count / own.pieces[left], count / own.pieces[right]
    if code == "he" and left in clues(code, "title"):
        return False
    if left in names and right in names:
        return max(shares) >= BOND
    if own.tags[right] == "ending" and left in clues(code, "surname"):
        return True
    if "other" in (own.tags[left], own.tags[right]):
        return False
    if left in clues(code, "place") or own.tags[right] == "ending" or right in clues(code, "place"):
        return max(shares) >= BOND
    seldom = right not in clues(code, "title") and frequencies(code).get(right, 0.0) < SELDOM
    if code in ARTICLES and count > TWICE and min(shares) >= 2 * BOND and seldom:
        return True
    if code in ARTICLES and left in names and own.against[right] > 0.5 * own.pieces[right]:  # a family name
        return shares[1] >= BOND
    if left in names and own.tags[right] in ("noun", "unknown", "name"):
        return shares[1] >= (BOND if own.tags[right] == "unknown" else 2 * BOND)
    return False


def read_evidence(texts: Iterable[str], code: str) -> Evidence:
    """The evidence of the texts of one side, read twice."""
    if code in SEGMENTED:
        return weighed(segmented([plain_text(text) for text in texts], code), code)
    raw = Counter(word for text in texts for word in WORD.findall(plain_text(text)))
    roots = {word: root_of(word, raw, code) for word in raw}
    tagged = {root: tag_of(root, code) for root, _ in roots.values()}
    counted = weighed((phrase for text in texts for phrase in spaced(plain_text(text), roots, tagged)), code)
    for root in counted.pieces:
        count, hints = counted.pieces[root], counted.for_name[root]
        called = hints > CALLED * (2 if code == "ar" else 1) * count
        if counted.tags[root] != "name" and not called and is_inflected(root, raw, code):
            counted.against[root] = count
    return counted


def plain_text(text: str) -> str:
    """The text as it is compared, without personal data."""
    return without_personal_data(seen(text).text)


def weighed(phrases: Iterable[Sequence[Piece]], code: str) -> Evidence:
    """Counts over phrases, each a list of pieces with nothing but spaces between them."""
    found = Evidence(0, Counter(), Counter(), Counter(), Counter(), Counter(), {})
    tags: dict[str, Counter[str]] = {}
    words = 0
    before, naming = clues(code, "title") | clues(code, "place") | clues(code, "speech"), clues(code, "naming")
    after, aside, behind = (
        clues(code, "after") | clues(code, "speech-after"),
        clues(code, "noun"),
        clues(code, "noun-after"),
    )
    named = {("と", verb) for verb in ("いう", "いい", "いっ", "呼ば", "申し")} if code == "ja" else set()
    places = clues(code, "ending") | clues(code, "ending-rare") if code == "zh" else frozenset()
    calling, those, objects = clues(code, "calling"), clues(code, "called"), clues(code, "object")
    for phrase in phrases:
        words += len(phrase)
        for place, piece in enumerate(phrase):
            left = phrase[place - 1].text if place else ""
            right = phrase[place + 1].text if place + 1 < len(phrase) else ""
            found.pieces[piece.text] += 1
            found.last[piece.text] += not right
            tags.setdefault(piece.text, Counter())[piece.tag] += 1
            called = left in naming or (
                place > 1 and phrase[place - 1].tag == "other" and phrase[place - 2].text in naming
            )
            called = called or (right, further(phrase, place)) in named
            called = called or (
                right in calling and any(one.text in those for one in phrase[max(0, place - 4) : place])
            )
            alone = not piece.definite and (not right or phrase[place + 1].tag == "other")
            beside = (left in before and not piece.prefixed) or (left in objects and alone) or right in after
            said = code == "ja" and place == 1 and left == "と" and right in ("は", "が")  # ...", said NAME
            found.for_name[piece.text] += TWICE * called + (beside or said)
            within = right in behind and piece.text[-1] not in places  # 酒坛里, in the jar; places are gone to as well
            found.against[piece.text] += left in aside or within or piece.definite
        for one, two in pairwise(phrase):
            found.pairs[one.text, two.text] += 1
    found.tags.update({text: seen_as.most_common(1)[0][0] for text, seen_as in tags.items()})
    return found._replace(words=words)


def further(phrase: Sequence[Piece], place: int) -> str:
    """The piece after the next one."""
    return phrase[place + 2].text if place + 2 < len(phrase) else ""


def spaced(text: str, roots: Mapping[str, tuple[str, bool]], tags: Mapping[str, str]) -> Iterator[list[Piece]]:
    """The phrases of a text with spaces between its words."""
    phrase: list[Piece] = []
    end = 0
    streets = clues("he", "street")  # of Hebrew: before a noun with an article part of its name (גבעת התמרים)
    for match in WORD.finditer(text):
        if text[end : match.start()].strip(" \n") and phrase:
            yield phrase
            phrase = []
        root, definite = roots[match[0]]
        if phrase and phrase[-1].text in streets and match[0] == ARTICLE_HE + root and tags[root] != "other":
            phrase[-1] = Piece(f"{phrase[-1].text} {match[0]}", "unknown", False, phrase[-1].prefixed)
        else:
            phrase.append(Piece(root, tags[root], definite, match[0] != root))
        end = match.end()
    yield phrase


def root_of(word: str, raw: Mapping[str, int], code: str) -> tuple[str, bool]:
    """A word without the prefixes of Arabic and Hebrew, and whether an article makes it definite.

    A prefix is one only where the rest is a word too.
    """
    if code not in CLITIC or any(word in clues(code, slot) for slot in ("given", "naming", "place", "street")):
        return word, False
    prefix = CLITIC[code].match(word)
    sizes = range(prefix.end() if prefix else 0, 0, -1)
    root = next((word[size:] for size in sizes if is_root(word[size:], word, raw, code)), word)
    if code == "ar":
        if word.startswith("لل") and raw.get("ال" + word[2:]):
            root = "ال" + word[2:]
        article = ARTICLE.match(root)
        bare = root[article.end() :] if article else ""
        return root, bool(bare) and (bare in raw or frequencies("ar").get(bare, 0.0) > 1e-7)
    return root, word != root and "ה" in word[: len(word) - len(root)]


def is_root(rest: str, word: str, raw: Mapping[str, int], code: str) -> bool:
    """Whether what is left of a word without its prefix is one: in the texts, or known to all, unlike the whole."""
    known = frequencies(code)
    whole, share = known.get(word, 0.0), known.get(rest, 0.0)
    if rest in raw or (rest in clues(code, "given") and share > whole) or share > max(SELDOM, 20 * whole):
        return True
    if code == "he":
        if len(rest) > 3 and (
            share > max(SELDOM, whole) or (word == ARTICLE_HE + rest and share > max(SCARCE, whole / 3))
        ):
            return True
        common = len(rest) > 2 and share > SELDOM and whole > SELDOM  # חצר, yard: most often in the yard
        elsewhere = len(rest) > 3 and sum(sign + rest in raw for sign in PREFIXES) > 1  # מטריאסטה, לטריאסטה
        return (common or elsewhere) and share >= whole / 2
    return rest == word[1:] and word[0] == "و" and share > max(3 * SCARCE, 3 * whole)


def tag_of(root: str, code: str) -> str:
    """What a word is without its surroundings."""
    if root in clues(code, "given"):
        return "name"
    share = frequencies(code).get(root, 0.0)
    if root in clues(code, "never") | clues(code, "naming") or share >= FUNCTION or len(root) < 2:
        return "other"
    return "noun" if share > SCARCE else "unknown"


def is_inflected(root: str, raw: Mapping[str, int], code: str) -> bool:
    """Whether grammar made the word of another: a Hindi word that the texts have in the plural too, an Arabic one with
    a pronoun (her grandfather), in the accusative or of the present tense, a Hebrew verb of a woman or of many.
    """
    if code == "hi":
        return any(root.endswith(one) and root.removesuffix(one) + many in raw for one, many in PLURAL)
    known = frequencies(code)
    bases = {form[1] for form in (form.match(root) for form in INFLECTED.get(code, ())) if form}
    if code == "he":
        bases |= {base + "ה" for base in bases if root.endswith("ות")}  # משחות, of משחה
    bases = {base[:-1] + WORD_END.get(base[-1], base[-1]) for base in bases}
    return any(known.get(base, 0.0) > max(SELDOM / 5, known.get(root, 0.0)) for base in bases)
