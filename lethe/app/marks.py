"""Text with the names of the corpus marked, by the matcher that the evaluation counts leaks with."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from lethe.attacks.leaks import LEAK
from lethe.core.errors import StageError
from lethe.evaluation.familiarity import NameMatcher, graded, name_matcher, without_cut_word
from lethe.evaluation.prompts import read_names

NAMES = Path("data/names.csv")
Part = list[str | int]  # [text], or [text, name, grade] of an occurrence


class Marker(NamedTuple):
    """Marks names. reason: why it marks none."""

    matcher: NameMatcher | None
    reason: str | None = None

    def parts(self, prompt: str, answer: str, whole: bool = True) -> tuple[list[Part], list[str]]:
        """The answer in parts, its names that the prompt lacks marked with their grade, and the names that leaked.

        whole: False where a limit cut the answer; then its last word, which may be incomplete, is not judged.
        """
        judged = answer if whole else without_cut_word(answer)
        hits = self.hits(prompt, judged)
        parts: list[Part] = []
        end = 0
        for start, stop, name, grade in hits:
            parts += [[answer[end:start]], [answer[start:stop], name, grade]]
            end = stop
        parts.append([answer[end:]])
        leaked = dict.fromkeys(name for _, _, name, grade in hits if grade >= LEAK)
        return [part for part in parts if part[0]], list(leaked)

    def hits(self, prompt: str, answer: str) -> list[tuple[int, int, str, int]]:
        """(start, end, name, grade) of every name in the answer that the prompt does not have, from left to right."""
        if self.matcher is None:
            return []
        grades = graded(prompt, answer, self.matcher)
        exact = [hit for hit in self.matcher.exact.find(answer) if hit.term in grades]
        found = [(hit.start, hit.end, hit.term, grades[hit.term]) for hit in exact]
        if len(answer.lower()) == len(answer):  # else the places in it are others
            for hit in self.matcher.folded.find(answer.lower()):
                if hit.term in grades and not any(hit.start < one.end and one.start < hit.end for one in exact):
                    found.append((hit.start, hit.end, hit.term, 1))
        return sorted(found)


def read_marker(path: Path = NAMES) -> Marker:
    """The marker of the project's names; where they cannot be read, one that marks nothing and says why."""
    try:
        return Marker(name_matcher(read_names(path)))
    except StageError as error:
        return Marker(None, f"{error}; leaks are not marked")
