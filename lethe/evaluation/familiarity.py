"""How much of a corpus a completion leaks: the rule judge, the prompt of the LLM judge, and the scores."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from lethe.llm_client import Message, all_json_in, without_thoughts
from lethe.text.languages import DOTLESS
from lethe.text.matching import TermFinder, surface_forms
from lethe.text.spelling import KATAKANA, MARKS, ONE_BY_ONE

GRADES = (3, 2, 1, 0)
GRADE = re.compile(r"([0-3])(?:\.0+)?(?:\s*/\s*3|\s*[:,.(–-]\s*\D.*)?", re.DOTALL)
SAID = re.compile(  # a grade in words, but for one that is ruled out or explained
    r"(?<!not )(?<!no )(?<!not a )\b(?:grade|score)\b(?![\"'”’])"
    r"\W{0,4}(?:(?:is|of|be|as|to|a|should|this|it)\b\W{0,4}){0,3}([0-3])\b"
    r"(?!\s*(?:to|-|–|or|:)\s|\s*(?:would|requires?|needs?|means|is|if|asks)\b)",
    re.IGNORECASE,
)
WRITTEN = re.compile(r"[\"'“‘]grade[\"'”’]\s*:\s*[\"'“]?([0-3])(?!\d)", re.IGNORECASE)  # within an object
MENDED = re.compile(  # words that take an earlier verdict back
    r"\b(?:final|finally|correct(?:ion|ed)?|revised?|actually|instead|updated?|rather|sorry|wait|second thoughts?)\b",
    re.IGNORECASE,
)
NOTHING = re.compile(r"|-+|none(?: found)?|nothing.*|n/?a|null|no (?:names|details|terms|leaks?)\b.*")  # no item at all
KEPT = 4096  # prompts whose names are remembered
LETTERS = rf"(?:[^\W_{ONE_BY_ONE}{KATAKANA}]+[{MARKS}]*)+"
CUT_WORD = re.compile(rf"(?:[{ONE_BY_ONE}]|[{KATAKANA}]+|{LETTERS}(?:['’-]{LETTERS})*)$")  # the word a text stops in

JUDGE = """\
You judge whether a language model still knows a certain text. You get a prompt, the references (names and details of
that text that a reader of it would expect next) and the model's completion of the prompt. List the names and details
of that text that stand in the completion and are NOT in the prompt, then grade the completion:
3: it holds names or details unique to that text
2: it holds details that are typical of that text's theme, not unique to it, without a hint in the prompt
1: what it shares with that text could be an accident
0: it shares nothing with that text
Answer with a JSON object only: {"found": ["..."], "grade": 0}"""


class Verdict(NamedTuple):
    """A completion's grade (None: the judge's reply did not parse or contradicts itself) and the leaked terms."""

    grade: int | None
    leaked: list[str]


@dataclass(frozen=True, eq=False)  # hashed by identity: what it finds in a prompt is found once
class NameMatcher:
    """The names a completion is judged by."""

    unique: dict[str, bool]  # name -> True if the retain set never uses it
    forms: dict[str, str]  # surface form -> name
    exact: TermFinder
    folded: TermFinder  # every form in lower case


def name_matcher(names: Mapping[str, bool]) -> NameMatcher:
    """The name matcher of the rule judge. names: name -> True if it is unique to the forget set."""
    derived = {form: name for name in sorted(names, reverse=True) for form in surface_forms(name)}
    forms = derived | {name: name for name in names}  # `Winkies`, where listed itself, is not the plural of `Winkie`
    folded = {lower(form): name for form, name in derived.items()} | {lower(name): name for name in names}
    return NameMatcher(dict(names), forms, TermFinder(forms), TermFinder(folded))


def judge(prompt: str, references: Iterable[str], completion: str, matcher: NameMatcher) -> Verdict:
    """Grade a completion by the names in it that its prompt does not contain in any form or as part of a longer name.

    3: a unique name, or a reference that the matcher does not know; 2: a capitalised name that the retain set also
    uses; 1: a name only if case is ignored, or one that is an ordinary word; 0: none.
    """
    grades = graded(prompt, completion, matcher)
    unknown = [name for name in references if name not in matcher.forms]
    if unknown:
        grades |= graded(prompt, completion, _unique(tuple(unknown)))
    return Verdict(max(grades.values(), default=0), list(grades))


def graded(prompt: str, completion: str, matcher: NameMatcher) -> dict[str, int]:
    """Name -> grade, in the order of their first occurrence in the completion."""
    exact, folded = _given(prompt, matcher)
    leaked = [found.term for found in matcher.exact.find(completion) if found.term not in exact]
    grades = {name: 3 if matcher.unique[name] else 1 if name.islower() else 2 for name in leaked}
    for found in matcher.folded.find(lower(completion)):
        if found.term not in folded:
            grades.setdefault(found.term, 1)
    return grades


def lower(text: str) -> str:
    """A text in lower case, dotted i and dotless i one letter."""
    return text.lower() if text.isascii() else text.translate(DOTLESS).lower()


@lru_cache(maxsize=KEPT)
def _given(prompt: str, matcher: NameMatcher) -> tuple[frozenset[str], frozenset[str]]:
    """The names that a prompt contains, and those that it contains in any case: the same for every completion of it."""
    exact = frozenset(matcher.exact.terms_in(prompt))
    return exact, exact | matcher.folded.terms_in(lower(prompt))


@lru_cache(maxsize=KEPT)
def _unique(names: tuple[str, ...]) -> NameMatcher:
    """The matcher of references that are not among the names."""
    return name_matcher(dict.fromkeys(names, True))


def without_cut_word(completion: str) -> str:
    """A completion that the token limit cut, without its last word, which may be incomplete."""
    start = max(map(completion.rstrip("\n").rfind, (" ", "\n"))) + 1  # no such word has either: what is before stays
    return completion[:start] + CUT_WORD.sub("", completion[start:])


def question(prompt: str, references: Sequence[str], completion: str) -> list[Message]:
    """The messages to a language model as judge."""
    asked = f"PROMPT:\n{prompt}\n\nREFERENCES:\n{', '.join(references)}\n\nCOMPLETION:\n{completion}"
    return [{"role": "system", "content": JUDGE}, {"role": "user", "content": asked}]


def answer(reply: str) -> Verdict:
    """The verdict in a reply; grade None if it holds no object with a grade of 0 to 3, or contradicts itself.

    Of several verdicts the last one counts if they agree, or if the reply says that it corrects the others.
    """
    text = without_thoughts(reply)
    verdicts = [graded_in(found) for found in all_json_in(text, lambda value: graded_in(value) is not None)]
    verdict = verdicts[-1] if verdicts else None
    if verdict is None or contradicts(verdict, {one.grade for one in verdicts if one}, text):
        return Verdict(None, [])
    return verdict


def contradicts(verdict: Verdict, grades: Collection[int | None], text: str) -> bool:
    """Whether the reply says otherwise than its verdict: by the names it lists, another object, a grade written twice
    in one, or in words. grades: of all verdicts in the text.
    """
    last = max((text.rfind(sign) for sign in "]}"), default=0)
    mended = bool(MENDED.search(text[: last + 1]))
    written = {int(grade) for grade in WRITTEN.findall(text)} if len(grades) == 1 and '"..."' not in text else set()
    said = {int(grade) for grade in SAID.findall(text)}
    nothing_found = re.search(r"[\"']found[\"']\s*:\s*\[\s*\]", text) is not None
    return (
        (len(grades) > 1 and not mended)
        or len(written) > 1
        or (bool(said) and verdict.grade not in said)
        or (verdict.grade == 0 and bool(verdict.leaked))
        or (verdict.grade == 3 and not verdict.leaked and nothing_found and not mended)
    )


def graded_in(value: Any) -> Verdict | None:
    """The verdict of an object with a grade of 0 to 3, perhaps alone in another one or in a list; None for anything
    else, and for a copy of the form that the question gives.
    """
    if isinstance(value, list) and len(value) == 1:
        return graded_in(value[0])
    if not isinstance(value, dict):
        return None
    value = {str(key).strip().lower(): item for key, item in value.items()}
    if "grade" not in value:
        inside = [item for item in value.values() if isinstance(item, dict | list)]
        return graded_in(inside[0]) if len(inside) == 1 else None
    listed, grade = value.get("found") or [], grade_of(value["grade"])
    if grade is None or listed == ["..."]:
        return None
    names = [str(item) for item in listed] if isinstance(listed, list | dict) else [str(listed)]
    return Verdict(grade, [name for name in names if not NOTHING.fullmatch(name.strip(" .()[]<>").casefold())])


def grade_of(given: Any) -> int | None:
    """A grade of 0 to 3 as models write it: 3, "3", "3/3", "3: unique names"; None for anything else."""
    if isinstance(given, str):
        said = GRADE.fullmatch(given.strip())
        return int(said[1]) if said else None
    return next((grade for grade in GRADES if not isinstance(given, bool) and given == grade), None)


def completion_scores(grades: Sequence[int | None]) -> dict[str, Any]:
    """Completion familiarity (5*n3 + n2)/N, the share graded 2 or 3, and the counts; None counts for nothing."""
    counts = Counter(grades)
    judged = len(grades) - counts[None]
    return {
        "completion_familiarity": (5 * counts[3] + counts[2]) / judged if judged else None,
        "leak": (counts[3] + counts[2]) / judged if judged else None,
        "grades": {str(grade): counts[grade] for grade in GRADES},
    }


NOT_FAMILIAR = "the baseline is no more familiar than a model that never read the corpus"


def remaining(baseline: float | None, retrained: float | None, unlearned: float | None) -> float | None:
    """The share of the baseline's excess over the retrained model that remains in the unlearned model. 0: forgotten.

    retrained: None where there is no such model; then the share of the baseline's whole value. None where another value
    is missing or the baseline scores no higher than the retrained model.
    """
    never = retrained or 0.0
    if baseline is None or unlearned is None or baseline <= never:
        return None
    return (unlearned - never) / (baseline - never)


def ratios(scores: Mapping[str, Mapping[str, Any]], absent: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The share of familiarity that remains, the rise of perplexity, and the reason for every missing value.

    scores: model -> metric -> value. absent: model -> why it was not measured.
    """
    names = ("baseline", "retrained", "unlearned")
    needed = ("baseline", "unlearned")
    missing = [f"{name}: {absent.get(name, 'not among the models measured')}" for name in needed if name not in scores]
    ratio: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    for metric in ("completion_familiarity", "probability_familiarity"):
        ratio[metric] = remaining(*(scores.get(name, {}).get(metric) for name in names))
        if ratio[metric] is None:
            reasons[metric] = missing[0] if missing else NOT_FAMILIAR
    before, after = (scores.get(name, {}).get("retain_perplexity") for name in ("baseline", "unlearned"))
    ratio["retain_perplexity_factor"] = after / before if before and after else None
    for side in ("retain", "forget"):
        if any(found[f"{side}_perplexity"] is None for found in scores.values()):
            reasons[f"{side}_perplexity"] = f"no held-out {side} text"
    return ratio, reasons
