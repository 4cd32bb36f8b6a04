"""How much of a text a model has memorised: from its likeliest tokens, and from its continuations."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from lethe.text.languages import DOTLESS
from lethe.text.matching import WORD
from lethe.text.spelling import seen

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
    """1 minus the share of the passage that has to be given before the model continues it without an error (Carlini et
    al. 2021, arXiv 2012.07805, as measured by Wang et al. 2025, arXiv 2406.09179). hit: bool [T].

    Greedy decoding continues exactly if every remaining token is the likeliest after the true text before it.
    """
    misses = (~hit).nonzero()[0]
    given = misses[-1] + 1 if len(misses) else 0  # up to the last token it would get wrong
    return 1 - float(given) / len(hit)


def rouge_l(true: str, written: str) -> Overlap:
    """ROUGE-L (Lin 2004) of a continuation: recall as in TOFU (arXiv 2401.06121, section 2.2), F1 as in MUSE (arXiv
    2407.06460). Words are stemmed; a text without words scores 0.
    """
    found = _scorer().score(true, written)["rougeL"]
    return Overlap(found.recall, found.fmeasure)


class _Words:
    """Words of any script, stemmed as rouge-score does; its own tokenizer keeps only a to z, so text in another script
    would always score 0. Spelling does not count (`lethe.text.spelling`).
    """

    def __init__(self) -> None:
        from nltk.stem.porter import PorterStemmer

        self.stem = PorterStemmer().stem

    def tokenize(self, text: str) -> list[str]:
        words = WORD.findall(seen(text).text.translate(DOTLESS).casefold())
        return [self.stem(word) if len(word) > 3 else word for word in words]


@cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=_Words())
