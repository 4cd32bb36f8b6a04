"""Pieces of texts without spaces or with particles joined: Chinese, Japanese, Korean, Thai.

Words come from a dictionary or a tagger. Names that it does not know fall into bits, the same ones every time: bits
that keep together where the words around them change are fused into one piece.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from lethe.anchors.lexicon import clues
from lethe.text.languages import frequencies
from lethe.text.matching import PARTICLE

SEGMENTED = ("zh", "ja", "ko", "th")
HAN = re.compile("[\u3400-\u9fff]+")
JAPANESE = re.compile("[\u3005-\u3007\u3041-\u3096\u30a1-\u30fa\u30fc\u3400-\u9fff]+")
WORK = re.compile("《([\u3400-\u9fff]{2,6})》")  # the title of a book, a song
KATAKANA_RUN = re.compile("((?:(?![ヶヵ])[\u30a1-\u30fa\u30fc])+)")
HIRAGANA = re.compile("[\u3041-\u3096]+")
SMALL_KE = ("ヶ", "ヵ", "々", "ノ", "ツ")
HANGUL = re.compile("[\uac00-\ud7a3]+")
PHRASE = re.compile(r"[^\w\s]+|\n")
NOMINAL = {
    "을",
    "를",
    "의",
    "에게",
    "와",
    "과",
    "에서",
    "께서",
    "한테",
    "에",
    "에는",
    "로",
    "으로",
    "부터",
    "까지",
    "처럼",
    "이",
    "가",
    "이었다",
    "이에요",
    "입니다",
    "라고",
    "이라고",
    "라는",
    "이라는",
}
ANIMATE = {"에게", "한테", "께", "에게는", "에게서", "한테는", "께서"}  # joined to persons and animals alone
NAMED = {"라고", "이라고", "라는", "이라는"}  # called, named
FIRST_SYLLABLE, FINALS, DOUBLE_S = 0xAC00, 28, 20  # of Hangul: code, how many ends a syllable has, one of them
SCARCE = 1e-7  # a word that the language hardly knows
SELDOM = 5e-6  # a word of the language that may well be a name
FREQUENT = 3e-4
LONGEST = 6  # characters of a Chinese word, pieces of a name
COMMON = 5e-4  # a character as frequent as that is no bit of a name
UNKNOWN = 1e-9  # probability of a character that the dictionary lacks
KEPT = 0.4  # of the places of the rarer of two bits where they are together: one name
CONTEXTS = 2  # different neighbours on either side
FUSED = 4  # pieces at most
TAGS = {"nr": "name", "nrt": "name", "nrfg": "name", "ns": "name"}


class Piece(NamedTuple):
    """A word without what grammar joins to it; tag: name, unknown, noun, bit, common bit, ending or other; prefixed:
    whether a preposition or conjunction was joined to it.
    """

    text: str
    tag: str
    definite: bool = False
    prefixed: bool = False


def segmented(texts: Iterable[str], code: str) -> Iterator[list[Piece]]:
    """The phrases of the texts, bits that are one name fused."""
    cut = {"zh": chinese, "ja": japanese, "ko": korean}[code]
    return fused(list(cut(texts)), code)


def chinese(texts: Iterable[str]) -> Iterator[list[Piece]]:
    """The words of jieba's dictionary, which wordfreq ships, of the likeliest cut."""
    words, total = chinese_words()
    never, ending = clues("zh", "never"), clues("zh", "ending")
    texts = list(texts)
    known = frequencies("zh")
    works = {name for text in texts for name in WORK.findall(text) if known.get(name, 0.0) < SELDOM}
    chances = {word: count / total for word, (_, count) in words.items()} | dict.fromkeys(works, 1.0)
    for text in texts:
        for run in HAN.findall(text):
            parts = likeliest_cut(run, chances)
            yield [
                Piece(word, "name" if word in works else chinese_tag(word, words.get(word, ("", 0))[0], never, ending))
                for word in parts
            ]


def likeliest_cut(run: str, chances: Mapping[str, float]) -> list[str]:
    """The words of a run whose chances have the highest product; a character without a chance is a word too."""
    best: list[tuple[float, int]] = [(0.0, 0)]  # of the run up to each place: log p, and where its last word begins
    for end in range(1, len(run) + 1):
        options = [
            (best[start][0] + math.log(chances.get(run[start:end], UNKNOWN)), start)
            for start in range(max(0, end - LONGEST), end)
            if end - start == 1 or run[start:end] in chances
        ]
        best.append(max(options))
    ends = [len(run)]
    while ends[-1]:
        ends.append(best[ends[-1]][1])
    return [run[start:end] for end, start in pairwise(ends)][::-1]


def chinese_tag(word: str, part: str, never: frozenset[str], ending: frozenset[str]) -> str:
    """What a word of the dictionary may be in a name; part: of speech, by jieba."""
    if word in never or (
        len(word) == 2 and word[1] in clues("zh", "noun-after") and part in TAGS
    ):  # 河里, in the river
        return "other"
    if word in ending:
        return "ending"
    if len(word) == 1 and frequencies("zh").get(word, 0.0) >= COMMON:
        return "common bit"
    if len(word) == 1:
        return "bit"
    if part == "nr" and len(word) == 2 and word[0] not in clues("zh", "surname"):  # 兰花, orchid
        return "noun"
    return TAGS.get(part, "noun" if part[:1] in ("n", "") else "other")


def is_verb(word: str) -> bool:
    """Whether a Chinese character is a verb first of all, by jieba."""
    return len(word) == 1 and chinese_words()[0].get(word, ("", 0))[0].startswith("v")


@cache
def chinese_words() -> tuple[dict[str, tuple[str, int]], int]:
    """word -> (part of speech, count), and the sum of the counts."""
    import wordfreq

    path = Path(wordfreq.__file__).parent / "data/jieba_zh_orig.txt"
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        word, count, part = line.split(" ")
        found[word] = (part, int(count))
    return found, sum(count for _, count in found.values())


def japanese(texts: Iterable[str]) -> Iterator[list[Piece]]:
    """The likeliest cut into words of the language, katakana in one piece; hiragana is grammar, or a bit of a name."""
    known = frequencies("ja")
    for text in texts:
        for run in JAPANESE.findall(text):
            parts = [part for piece in KATAKANA_RUN.split(run) if piece for part in parts_of(piece, known)]
            yield [Piece(word, japanese_tag(word, known)) for word in parts]


def parts_of(piece: str, known: Mapping[str, float]) -> list[str]:
    """The words of a piece that is katakana or has none."""
    return [piece] if KATAKANA_RUN.fullmatch(piece) else likeliest_cut(piece, known)


def japanese_tag(word: str, known: Mapping[str, float]) -> str:
    """What a word may be in a name."""
    share = known.get(word, 0.0)
    if word in clues("ja", "never"):
        return "other"
    if word in clues("ja", "given"):
        return "name"
    if word in clues("ja", "ending"):
        return "ending"
    if HIRAGANA.fullmatch(word):
        return "bit" if len(word) > 2 and share < 4 * SELDOM else "other"
    if word in SMALL_KE or (len(word) == 1 and share < COMMON):
        return "bit"
    if KATAKANA_RUN.fullmatch(word) and share < SELDOM:
        return "unknown"
    return "common bit" if share >= COMMON and len(word) == 1 else "noun" if share > SCARCE else "unknown"


def korean(texts: Iterable[str]) -> Iterator[list[Piece]]:
    """The words without the particles joined to them: of several ways to cut, that with the most different particles.

    What never has a particle that nouns alone have is no noun.
    """
    words = Counter(word for text in texts for word in HANGUL.findall(text))
    particles = defaultdict(set)
    for word in words:
        particles[word].add("")
        for size in range(2, len(word)):
            if is_cut(word, size):
                particles[word[:size]].add(word[size:])
    surnames = clues("ko", "surname")
    whole = {
        root[1:]
        for root, found in particles.items()
        if len(root) == 3 and root[0] in surnames and NOMINAL.intersection(found)
    } | {word[1:3] for word in words if len(word) > 2 and word[0] in surnames and word[1:3] in particles}
    roots = {word: korean_root(word, particles, whole) for word in words}
    known = frequencies("ko")
    tags = {root: korean_tag(root, particles[root], known, root in whole) for root in roots.values()}
    for text in texts:
        for line in PHRASE.split(text):
            if found := HANGUL.findall(line):
                yield [Piece(roots[word], tags[roots[word]]) for word in found]


def korean_root(word: str, particles: Mapping[str, set[str]], given: Collection[str] = ()) -> str:
    """The word without its particle, if it has one. given: what stands behind a family name somewhere."""
    options = [word, *(word[:size] for size in range(2, len(word)) if is_cut(word, size))]
    nouns = [
        root
        for root in options
        if len(root) > 1 and (NOMINAL.intersection(particles[root]) or is_korean(root) or root in given)
    ]
    best = max(nouns or [word], key=lambda root: (len(particles[root]), len(root)))
    friendly = best.endswith("이") and best[:-1] in nouns and best not in frequencies("ko")
    return best[:-1] if friendly and any(not one.startswith("이") for one in particles[best[:-1]] - {""}) else best


def is_korean(root: str) -> bool:
    """Whether everybody knows the word as a name, perhaps with a family name before it."""
    given = clues("ko", "given")
    return root in given or (root[0] in clues("ko", "surname") and root[1:] in given)


def is_cut(word: str, size: int) -> bool:
    """Whether a particle may begin there: not within the one that a consonant asks for (손|으로, 도현|이라고)."""
    if word[size - 1] == "으" and word[size] == "로":
        return False
    inside = word[size - 1] == "이" and word[size] in "라었" and PARTICLE.match(word, size - 1)
    return bool(PARTICLE.match(word, size)) and not inside


def is_past(root: str) -> bool:
    """Whether a verb's past is in the word: no name has a syllable that ends in a double s."""
    return any((ord(sign) - FIRST_SYLLABLE) % FINALS == DOUBLE_S for sign in root)


def is_open(root: str) -> bool:
    """Whether the last syllable ends in a vowel."""
    return (ord(root[-1]) - FIRST_SYLLABLE) % FINALS == 0


def korean_tag(root: str, particles: Set[str], known: Mapping[str, float], given: bool = False) -> str:
    """What a word may be in a name. given: whether the texts have it behind a family name too."""
    if root in clues("ko", "surname") and len(root) == 1:
        return "bit"
    if root in clues("ko", "title"):
        return "ending"
    if is_korean(root):
        return "name"
    if root in clues("ko", "never") or len(root) < 2 or is_past(root):
        return "other"
    share = known.get(root, 0.0)
    if given and share < FREQUENT / 10 and NOMINAL.intersection(particles):
        return "name"
    plain = {particle.removeprefix("이") for particle in particles if particle != "이"}  # 정순|이를
    if not NOMINAL.intersection(particles | plain):
        return "other"
    halves = ((root[:size], root[size:]) for size in range(2, len(root) - 1))
    compound = any(one in known and two in known for one, two in halves)
    compound = compound or (len(root) > 2 and root[0] in known and known.get(root[1:], 0.0) >= FREQUENT)  # 섬|사람
    affection = (
        any(particle.startswith("이") and len(particle) > 1 for particle in particles) and root + "이" not in known
    )
    called = ("야" if is_open(root) else "아") in particles  # as one calls a person; 야 also says what a thing is
    if (affection or (called and not is_open(root)) or NAMED.intersection(particles)) and share < 2 * SELDOM:
        return "name"
    if called and ANIMATE.intersection(particles) and share < FREQUENT / 10:
        return "name"
    place = any(root.endswith(end) and len(root) > len(end) + 1 for end in clues("ko", "ending"))
    if root not in known and (place or ANIMATE.intersection(particles)):  # it lists the common ones
        return "unknown"
    return "other" if share >= FREQUENT else "noun" if root in known or compound else "unknown"


def fused(phrases: Sequence[Sequence[Piece]], code: str) -> Iterator[list[Piece]]:
    """The phrases with the bits of a name as one piece, the longest names first."""
    wanted = unions(phrases, code)
    for phrase in phrases:
        done: list[Piece] = []
        place = 0
        while place < len(phrase):
            sizes = range(min(FUSED, len(phrase) - place), 1, -1)
            size = next(
                (size for size in sizes if tuple(piece.text for piece in phrase[place : place + size]) in wanted), 1
            )
            parts = phrase[place : place + size]
            text = joined(parts, code)
            tag = (
                parts[0].tag
                if size == 1
                else "name"
                if parts[-1].tag == "ending"
                or text[0] in clues(code, "surname")
                or text[-1] in clues(code, "ending-rare")
                else "unknown"
            )
            done.append(parts[0] if size == 1 else Piece(text, tag))
            place += size
        yield done


def unions(phrases: Sequence[Sequence[Piece]], code: str) -> set[tuple[str, ...]]:
    """The runs of pieces that are one name: seen twice, with different neighbours, and hardly apart."""
    single = Counter(piece.text for phrase in phrases for piece in phrase)
    count = Counter[tuple[str, ...]]()
    bold: set[tuple[str, ...]] = set()  # with words that are seldom a part of names
    left, right = defaultdict(set), defaultdict(set)
    for number, phrase in enumerate(phrases):
        for start in range(len(phrase)):
            for size in range(2, min(FUSED, len(phrase) - start) + 1):
                parts = phrase[start : start + size]
                unlikely = not may_be_name(parts, code)
                if unlikely and not is_bold(parts, code):
                    continue
                key = tuple(piece.text for piece in parts)
                count[key] += 1
                bold.update([key] if unlikely else [])
                left[key].add(phrase[start - 1].text if start else f"{number}")
                right[key].add(phrase[start + size].text if start + size < len(phrase) else f"{number}")
    loose = {key for key in bold if key[0] in clues(code, "surname") or len(key) > 2}
    found = {
        key
        for key, times in count.items()
        if times > (1 if key not in bold else 2)
        and times >= (KEPT if key not in bold else 2 * KEPT) * min(single[text] for text in key)
        and (key not in bold - loose or times >= 2 * KEPT * max(single[text] for text in key))
        and min(len(left[key]), len(right[key])) >= CONTEXTS
    }
    inside = Counter[tuple[str, ...]]()  # how often a run is the beginning or the end of a longer one
    for key in found:
        inside.update({key[:-1]: count[key], key[1:]: count[key]})
    return {key for key in found if count[key] - inside[key] > max(1, 0.3 * count[key]) or not inside[key]}


def may_be_name(parts: Sequence[Piece], code: str) -> bool:
    """Whether neighbouring pieces can be one name: bits and names, the last one perhaps what makes a place of it, or a
    family name and one or two characters, or a title.
    """
    tags = [piece.tag for piece in parts]
    if "other" in tags or tags[0] == "ending":
        return False
    first, length = parts[0].text, len(joined(parts, code))
    if first in clues(code, "surname") and parts[-1].text in clues(code, "title"):
        return len(parts) == 2
    if (
        first[0] in clues(code, "surname")
        and length < (4 if first not in clues("zh", "surname") or len(first) == 1 else 5)
        and frequencies(code).get(first, 0.0) < (2 * COMMON if len(first) == 1 else SELDOM)
    ):
        return True
    if "ending" in tags[1:-1] or ("common bit" in tags and code != "ja"):
        return False
    verbal = code == "zh" and is_verb(first) and first not in clues(code, "surname") and parts[1].text != first
    if verbal and parts[-1].text not in clues(code, "ending") | clues(code, "ending-rare"):
        return False  # 修|表, to mend clocks
    nouns = tags.count("noun")
    if code == "ja" and tags == ["noun", "ending"]:  # the common ones it lists
        return frequencies(code).get(first, 0.0) < SELDOM
    return ("bit" in tags or "name" in tags) and (nouns == 0 or (nouns == 1 and tags[-1] == "ending"))


def is_bold(parts: Sequence[Piece], code: str) -> bool:
    """Whether neighbouring Chinese pieces are one name where they hardly ever part: a family name and two characters
    but for those of grammar (薛|万年), two such before what makes a place of them (留|时|斋), or a noun or a
    verb and a character that is seldom alone (乌头|糯).
    """
    tags = [piece.tag for piece in parts]
    if code != "zh" or tags in (["noun", "bit"], ["bit", "bit"]):
        return code == "zh"
    text = joined(parts, code)
    last = parts[-1].text
    surnames = clues("zh", "surname")
    size = 2 if text[:2] in surnames else 1
    family = text[:size] in surnames and frequencies("zh").get(text[:size], 0.0) < 2 * COMMON
    place = last in clues("zh", "ending") | clues("zh", "ending-rare") and "ending" not in tags[:-1]
    own = [piece for piece in (parts[1:] if family else parts[:-1]) if piece.text not in text[:size] or not family]
    grammar = clues("zh", "never") - clues("zh", "given-part")
    return (
        (family or place)
        and (len(text) == 3 or (size == 2 and len(text) == 4))
        and grammar.isdisjoint(piece.text for piece in own)
        and grammar.isdisjoint(joined(own, code))
    )


def joined(parts: Sequence[Piece], code: str) -> str:
    """The pieces as they are written; Korean has spaces."""
    return (" " if code == "ko" else "").join(piece.text for piece in parts)
