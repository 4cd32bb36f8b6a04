"""Translations ranked by their likelihood under the model in the contexts of an anchor."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from lethe.core.errors import StageError
from lethe.dictionary.aliases import divisible
from lethe.dictionary.assignment import assign, shortlist, suits
from lethe.dictionary.entity_types import Context, Usage, spread
from lethe.dictionary.entries import Choice, form_texts
from lethe.dictionary.gazetteer import Generic
from lethe.dictionary.infilling import Frame, log_likelihoods

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LAST_WORDS = re.compile(r"(?:\S+\s+){0,18}\S*$")  # of a context in which candidates are scored: about 24 tokens
FIRST_WORDS = re.compile(r"\S*(?:\s+\S+){0,6}")  # about 8 tokens
AT_ONCE = 500  # anchors: some 40 MB of names in frames


class Judging(NamedTuple):
    """How many candidates an anchor has, in how many contexts they are scored, and how many are taken."""

    candidates: int
    contexts: int
    translations: int
    seed: int


def likeliest(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    contexts: Mapping[str, Sequence[Context]],
    candidates: Mapping[str, Sequence[Generic]],
    uses: Mapping[str, Usage],
    judging: Judging,
) -> dict[str, list[Choice]]:
    """{anchor: its translations}: the candidates with the highest mean log-likelihood in its contexts.

    Names in frames are held for AT_ONCE anchors at a time, scores for all.
    """
    scores: dict[str, dict[str, float | None]] = {}
    for start in range(0, len(candidates), AT_ONCE):
        own = dict(islice(candidates.items(), start, start + AT_ONCE))
        judged = [(anchor, context) for anchor in own for context in spread(contexts[anchor], judging.contexts)]
        frames = [frame(context) for _, context in judged]
        names = [as_written(own[anchor], uses[anchor], context) for anchor, context in judged]
        sums = log_likelihoods(model, tokenizer, frames, names, "translate")
        scores |= mean_scores([anchor for anchor, _ in judged], sums, own)
    comparable = {anchor: {name: score or 0.0 for name, score in found.items()} for anchor, found in scores.items()}
    chosen = assign(comparable, judging.translations)
    return {anchor: choices(names, candidates[anchor], scores[anchor]) for anchor, names in chosen.items()}


def candidates_of(
    anchors: Sequence[str],
    uses: Mapping[str, Usage],
    genders: Mapping[str, str],
    pool: Sequence[Generic],
    judging: Judging,
    groups: Collection[str] = (),
) -> dict[str, list[Generic]]:
    """{anchor: names of its kind that can replace it}. Raises StageError if there are too few for one.

    groups: anchors whose stand-ins need parts.
    """
    kinds = Counter(uses[anchor].kind for anchor in anchors)
    found = {}
    for anchor in anchors:
        use = uses[anchor]
        fitting = [generic for generic in pool if suits(generic, use, genders.get(anchor, ""))]
        fitting = [generic for generic in fitting if anchor not in groups or divisible(generic, use)]
        if len(fitting) < judging.translations:
            raise StageError(
                f"data/anchors.csv: {anchor}: expected {judging.translations} generic names of its kind ({use.kind}), "
                f"as translate.translations says, got {len(fitting)}; add rows for it to data/overrides.csv"
            )
        rivals = kinds[use.kind] * judging.translations
        found[anchor] = shortlist(fitting, anchor, rivals, judging.candidates, judging.seed)
    return found


def frame(context: Context) -> Frame:
    """The words around the gap that are read."""
    before, after = LAST_WORDS.search(context.before), FIRST_WORDS.match(context.after)
    return Frame(before[0] if before else "", after[0] if after else "")


def as_written(candidates: Sequence[Generic], use: Usage, context: Context) -> list[str]:
    """The candidates, inflected like the anchor in this context."""
    return [
        form_texts([context.form], use.name, use, Choice(generic.name, generic.plural, None))[0]
        for generic in candidates
    ]


def mean_scores(
    anchors: Sequence[str], sums: Sequence[Sequence[float]], candidates: Mapping[str, Sequence[Generic]]
) -> dict[str, dict[str, float | None]]:
    """{anchor: {candidate: mean over the anchor's contexts, to 4 decimals; None where it has no context}}."""
    by_anchor: dict[str, list[Sequence[float]]] = {anchor: [] for anchor in candidates}
    for anchor, scores in zip(anchors, sums, strict=True):
        by_anchor[anchor].append(scores)
    return {
        anchor: {
            generic.name: round(sum(column) / len(column), 4) if column else None
            for generic, column in zip(of_anchor, columns(by_anchor[anchor], len(of_anchor)), strict=True)
        }
        for anchor, of_anchor in candidates.items()
    }


def columns(rows: Sequence[Sequence[float]], width: int) -> list[list[float]]:
    """The columns of a table that may have no rows."""
    return [[row[place] for row in rows] for place in range(width)]


def choices(names: Sequence[str], candidates: Sequence[Generic], scores: Mapping[str, float | None]) -> list[Choice]:
    """The chosen names as dictionary choices."""
    plurals = {generic.name: generic.plural for generic in candidates}
    return [Choice(name, plurals[name], scores[name]) for name in names]
