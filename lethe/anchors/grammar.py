"""Languages other than English with capitals: cases of names, and nouns with capitals that are no names."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from lethe.anchors.lexicon import clues
from lethe.anchors.proper_names import lower
from lethe.text.languages import stem

KNOWN = 1e-7  # frequency from which on a word behind an article is one of the language, and no name
COMPOUNDED = 1e-6  # frequency of the parts of a compound
NOUN_SHARE = 0.35  # behind an article: a noun rather than a name where every noun has a capital


def base_forms(counts: Mapping[str, int], language: str, known: Mapping[str, float]) -> dict[str, str]:
    """form -> the one that stands for all forms of a name by case, the best known, then the most frequent; English has
    none. counts: of lower-case words that are names.
    """
    by_stem = defaultdict(list)
    for word in sorted(counts):
        by_stem[stem(word, language)].append(word)
    found: dict[str, str] = {}
    for words in by_stem.values():
        base = max(words, key=lambda word: (known.get(word, 0.0), counts[word]))
        found |= {word: base for word in words if word != base}
    return found


def common_nouns(
    texts: Iterable[str],
    counts: Mapping[str, int],
    language: str,
    singular: Mapping[str, str],
    known: Mapping[str, float],
) -> set[str]:
    """Titles, and where all nouns have capitals those that stand behind an article too often to be names: words of the
    language and what is put together of two.

    counts: of lower-case words with a capital.
    """
    found = set(clues(language, "title"))
    if clues(language, "noun"):
        before = "|".join(sorted(clues(language, "noun")))
        noun = re.compile(
            rf"(?<!, )\b(?:{before})\s+(?:[^\W\d_A-Z]+(?:e|er|en|es|em|ste|sten)\s+)?([^\W\d_]+)", re.IGNORECASE
        )
        behind = Counter(lower(match[1]) for text in texts for match in noun.finditer(text) if match[1][0].isupper())
        found |= {
            word
            for word, count in counts.items()
            if behind[word] >= NOUN_SHARE * count and (known.get(word, 0.0) > KNOWN or is_compound(word, known))
        }
    return found | {singular[word] for word in found if word in singular}


def is_compound(word: str, known: Mapping[str, float]) -> bool:
    """Whether two words of the language make up a longer one: Leuchtturm|wärter."""
    places = range(4, len(word) - 3)
    return any(min(known.get(word[:at], 0.0), known.get(word[at:], 0.0)) > COMPOUNDED for at in places)
