"""How much of a text a model has by heart: from its likeliest tokens, and from what it writes itself."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from lethe.text.matching import WORD

if TYPE_CHECKING:
    import numpy as np


class Overlap(NamedTuple):
    """ROUGE-L of a text against the true one: the longest common subsequence of words."""

    recall: float  # its share of the true text
    f1: float


def exact_memorisation(hit: np.ndarray) -> float:
    """The share of tokens that are the likeliest after the true text before them (Tirumala et al. 2022, arXiv
    2205.10770). hit: bool [T].
    """
    return float(hit.mean())


def extraction_strength(hit: np.ndarray) -> float:
    """1 less the share of the passage that has to be given before the model recites the rest without a fault (Carlini
    et al. 2021, arXiv 2012.07805, as measured by Wang et al. 2025, arXiv 2406.09179). hit: bool [T].

    Greedy decoding recites the rest exactly if every token of it is the likeliest after the true text before it.
    """
    misses = (~hit).nonzero()[0]
    given = misses[-1] + 1 if len(misses) else 0  # up to the last token it would get wrong
    return 1 - float(given) / len(hit)


def rouge_l(true: str, written: str) -> Overlap:
    """ROUGE-L (Lin 2004) of what a model wrote: recall as TOFU takes it (arXiv 2401.06121, section 2.2), F1 as MUSE
    does (arXiv 2407.06460). Words are stemmed; a text without words overlaps with nothing.
    """
    found = _scorer().score(true, written)["rougeL"]
    return Overlap(found.recall, found.fmeasure)


class _Words:
    """Words of any script, stemmed as rouge-score itself does; its own tokenizer keeps a to z alone, and would call a
    text in another script forgotten.
    """

    def __init__(self) -> None:
        from nltk.stem.porter import PorterStemmer

        self.stem = PorterStemmer().stem

    def tokenize(self, text: str) -> list[str]:
        words = WORD.findall(text.lower())
        return [self.stem(word) if len(word) > 3 else word for word in words]


@cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=_Words())
