"""What became of every term that was to be forgotten: is it gone, only suppressed, renamed, or still known?

reads   data/corpus.parquet  data/anchors.csv  data/dictionary.csv  models/baseline  models/retrained  models/unlearned
writes  data/terms.csv  reports/terms.json
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import Field, PositiveInt

from lethe.core.corpus import held_out_texts, training_documents
from lethe.core.errors import StageError
from lethe.core.params import StageParams, read_params
from lethe.core.stage import run, workspace
from lethe.core.tables import COMPARED, DICTIONARY, TERMS, read_csv, write_csv, write_json
from lethe.dictionary.entries import read_terms
from lethe.evaluation.model_set import Device, Precision, dtype_named, measured
from lethe.evaluation.term_probes import (
    Endings,
    Judged,
    Place,
    Term,
    guests,
    judged,
    mean_probability,
    median_rank,
    places_of,
    said_instead,
    top_words,
    translations,
    word_ids,
)
from lethe.evaluation.term_verdicts import VERDICTS, Limits, Rise, rise, verdict
from lethe.inference.decoding import prompt_ids
from lethe.inference.scoring import expectations
from lethe.models.checkpoints import load_model, load_tokenizer
from lethe.models.config import context_length
from lethe.models.device import prepare
from lethe.models.soft_prompts import virtual_tokens
from lethe.models.token_text import piece_bytes
from lethe.text.cloze import FEWEST_WORDS
from lethe.text.matching import TermFinder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

WORD_TOKENS = 6  # in which the model may finish a word that it begins
WINDOW = 2048  # tokens of context for a model without a limit of its own

Share = Annotated[float, Field(ge=0, le=1)]
By = Mapping[str, Sequence[Judged]]  # model -> its numbers at every question


class Params(StageParams):
    places: PositiveInt
    words: Annotated[int, Field(ge=FEWEST_WORDS)]
    top: PositiveInt
    known: Share
    remaining: Share
    renamed: Share
    precision: Precision
    device: Device


class Question(NamedTuple):
    """A place as the models get it."""

    place: Place
    part: str  # held-out | training
    prompt: list[int]
    term: list[int]
    instead: Endings

    def endings(self) -> list[list[int]]:
        """Everything whose probability is asked for: the term, then the translations in their order."""
        return [self.term, *(ids for endings in self.instead.values() for ids in endings)]


def main() -> None:
    from tqdm import tqdm

    params = read_params("term", Params)
    with workspace("term") as work:
        device = prepare(params.device)
        baseline, corpus = Path("models/baseline"), Path("data/corpus.parquet")
        folders = {"baseline": baseline, "unlearned": Path("models/unlearned"), "retrained": Path("models/retrained")}
        models = measured(("baseline", "unlearned", "retrained"), folders)
        terms = read_all(Path("data/anchors.csv"), Path("data/dictionary.csv"))
        finder = TermFinder({form: name for name, term in terms.items() for form in term.forms})
        held_out = held_out_texts(corpus, "forget")
        training = [text for text, _ in training_documents(corpus, ["forget"])]
        chosen = choose(held_out, training, finder, params)
        tokenizer, context = load_tokenizer(baseline), context_length(baseline) or WINDOW
        context -= max(map(virtual_tokens, models.present.values()), default=0)  # the same text for every model
        pieces, asked = piece_bytes(tokenizer), questions(chosen, terms, tokenizer, context)
        found: dict[str, list[Judged]] = {}
        for name, folder in tqdm(models.present.items(), desc="term", unit="model"):
            model = load_model(folder, device, dtype_named(params.precision))
            found[name] = answers(model, asked, params.top, pieces)
            del model  # before the next is loaded: two may not fit the card
        counts = Counter(hit.term for text in (*held_out, *training) for hit in finder.find(text))
        limits = Limits(params.known, params.remaining, params.renamed)
        rows = [row(name, terms[name], counts[name], asked, found, limits, params.top) for name in sorted(terms)]
        report = summary(rows, models.absent)
        write_csv(rows, TERMS, work / "data/terms.csv")
        write_json(report, work / "reports/terms.json")
        print(sentence(report))


def read_all(anchors: Path, dictionary: Path) -> dict[str, Term]:
    """The anchors, those that have no translation too, and those that only a person's own translations name.

    Raises StageError if there are none.
    """
    terms = {name: Term("", {form: [] for form in forms}) for name, forms in read_terms(anchors).items()}
    kept: dict[str, Term] = {}
    unique = ("anchor", "choice", "form")
    for line in read_csv(dictionary, DICTIONARY, unique=unique, filled=(*unique, "translation")):
        term = kept.setdefault(line["anchor"], Term(line["kind"], {}))
        term.forms.setdefault(line["form"], []).append(line["translation"])
    if not terms | kept:
        raise StageError(f"{anchors}: found no anchor, wanted one or more; lower extract.minimum_keyness")
    return terms | kept


def choose(
    held_out: Sequence[str], training: Sequence[str], finder: TermFinder, params: Params
) -> list[tuple[str, Place]]:
    """(part, place) of the places that are asked about: held-out text, and training text for terms not due there."""
    first = places_of(held_out, finder, params.words, params.places)
    second = places_of(training, finder, params.words, params.places)
    parts = {
        term: ("held-out", first[term]) if term in first else ("training", second[term]) for term in first | second
    }
    return [(part, place) for _, (part, places) in sorted(parts.items()) for place in places]


def questions(
    chosen: Sequence[tuple[str, Place]],
    terms: Mapping[str, Term],
    tokenizer: PreTrainedTokenizerFast,
    context: int | None,
) -> list[Question]:
    """The places as token ids; contexts lose their beginning where a model could not read them and what may follow.

    A place whose term the tokenizer cannot write is left out.
    """
    ids = word_ids(tokenizer, {word for term in terms.values() for word in (*term.forms, *translations(term))})
    hosted = guests(terms, {place.term for _, place in chosen})
    room = (context or 1 << 20) - max([WORD_TOKENS, *map(len, ids.values())])
    lead = len(prompt_ids(tokenizer, "", False))
    found = []
    for part, place in chosen:
        if place.form in ids:
            prompt = prompt_ids(tokenizer, place.context, False)
            kept = prompt[:lead] + prompt[lead:][-max(1, room - lead) :]
            instead = said_instead(place, terms, hosted[place.term], ids)
            found.append(Question(place, part, kept, ids[place.form], instead))
    return found


def answers(model: PreTrainedModel, asked: Sequence[Question], top: int, pieces: Sequence[bytes]) -> list[Judged]:
    """What one model expects at every place."""
    prompts, endings = [question.prompt for question in asked], [question.endings() for question in asked]
    found = expectations(model, prompts, endings, top, WORD_TOKENS)
    return [judged(one, question.term, question.instead, pieces) for one, question in zip(found, asked, strict=True)]


def row(
    name: str, term: Term, count: int, asked: Sequence[Question], found: By, limits: Limits, top: int
) -> dict[str, Any]:
    """A row of data/terms.csv; cells are empty where there is nothing to measure."""
    own = [index for index, question in enumerate(asked) if question.place.term == name]
    other = [i for i, question in enumerate(asked) if question.place.term != name and name in question.instead]
    own_form = dict.fromkeys(next(iter(term.forms.values())))
    cells: dict[str, Any] = dict.fromkeys(TERMS, "")
    cells |= {"anchor": name, "kind": term.kind, "occurrences": count, "translation": "|".join(own_form)}
    if not own:
        return cells | {"verdict": "never due", "places": "0"}
    due, elsewhere = rise_of(name, own, found), rise_of(name, other, found)
    probability = {}
    for model, numbers in found.items():
        here = [numbers[index] for index in own]
        probability[model] = mean_probability(here)
        cells[f"probability_{model}"] = written(probability[model])
        cells[f"rank_{model}"] = f"{median_rank(here):g}"
        cells[f"top_{model}"] = " ".join(top_words(here, top))
        if due is not None:
            cells[f"translation_probability_{model}"] = written(fmean(at_places(name, own, numbers)))
    cells |= {"verdict": verdict(probability, due, elsewhere, limits), "places": f"{len(own)} {asked[own[0]].part}"}
    cells |= {"translation_rise": written(due.mean) if due else ""}
    return cells | {"elsewhere_rise": written(elsewhere.mean) if elsewhere else ""}


def rise_of(name: str, places: Sequence[int], found: By) -> Rise | None:
    """How much likelier a term's translations are for the unlearned model at these places; None without any."""
    said = {model: at_places(name, places, numbers) for model, numbers in found.items()}
    after = said.pop("unlearned")
    return rise(after, list(said.values())) if after else None


def at_places(name: str, places: Sequence[int], numbers: Sequence[Judged]) -> list[float]:
    """The probability of a term's translations at each of these places where it was asked for."""
    return [numbers[place].translations[name] for place in places if name in numbers[place].translations]


def written(number: float) -> str:
    """Four digits: some probabilities are tiny, and what comes after differs from machine to machine."""
    return f"{number:.4g}"


def summary(rows: Sequence[Mapping[str, Any]], absent: Mapping[str, str]) -> dict[str, Any]:
    """reports/terms.json: verdicts, the median over the terms of their ranks, the mean rise of their translations."""
    counts = Counter(row["verdict"] for row in rows)
    ranks = {model: [float(row[f"rank_{model}"]) for row in rows if row[f"rank_{model}"]] for model in COMPARED}
    both = [row for row in rows if row["translation_rise"] and row["elsewhere_rise"]]
    rises = {"due": "translation_rise", "elsewhere": "elsewhere_rise"}
    return {
        "terms": len(rows),
        "verdicts": {name.replace(" ", "_"): counts[name] for name in VERDICTS},
        "median_rank": {model: median(found) for model, found in ranks.items() if found},
        "translation_rise": {
            name: round(fmean(float(row[column]) for row in both), 6) for name, column in rises.items() if both
        },
        "absent": dict(absent),
    }


def sentence(report: Mapping[str, Any]) -> str:
    """The one printed line."""
    told = [f"{count} {name.replace('_', ' ')}" for name, count in report["verdicts"].items() if count]
    ranks = report["median_rank"]
    ranked = f"; median rank baseline {ranks['baseline']:g} -> unlearned {ranks['unlearned']:g}" if ranks else ""
    ranked += f" (retrained {ranks['retrained']:g})" if "retrained" in ranks else ""
    rises = report["translation_rise"]
    rose = f"; translations rose by {rises['due']:.4f}, by {rises['elsewhere']:.4f} elsewhere" if rises else ""
    return f"term: of {report['terms']} terms {', '.join(told)}{ranked}{rose}"


if __name__ == "__main__":
    run(main)
