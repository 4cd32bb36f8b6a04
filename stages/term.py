"""Measures every anchored term and gives a verdict: forgotten, suppressed, renamed or still known.

reads   data/corpus.parquet  data/anchors.csv  data/dictionary.csv  models/baseline  models/retrained
        models/suppressed  models/unlearned
writes  data/terms.csv  reports/terms.json
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PositiveInt

from lethe.core.corpus import held_out_texts, training_documents
from lethe.core.errors import StageError
from lethe.core.params import StageParams, read_params
from lethe.core.stage import run, workspace
from lethe.core.tables import TERMS, write_csv, write_json
from lethe.dictionary.entries import read_entries, read_terms
from lethe.evaluation.model_set import Precision, loaded, measured
from lethe.evaluation.term_probes import Scores, Term, choose, questions, score_places
from lethe.evaluation.term_rows import row, summary
from lethe.evaluation.term_verdicts import Limits
from lethe.models.checkpoints import load_tokenizer
from lethe.models.device import Device, prepare
from lethe.models.token_text import piece_bytes
from lethe.text.cloze import FEWEST_WORDS
from lethe.text.matching import TermFinder

WINDOW = 2048  # tokens of context for a model without a limit of its own

Share = Annotated[float, Field(ge=0, le=1)]


class Params(StageParams):
    places: PositiveInt
    words: Annotated[int, Field(ge=FEWEST_WORDS)]
    top: PositiveInt
    known: Share
    remaining: Share
    renamed: Share
    precision: Precision
    device: Device


def main() -> None:
    from tqdm import tqdm

    params = read_params("term", Params)
    with workspace("term") as work:
        device = prepare(params.device)
        corpus, models = Path("data/corpus.parquet"), measured(("baseline", "suppressed", "unlearned", "retrained"))
        terms = read_all(Path("data/anchors.csv"), Path("data/dictionary.csv"))
        finder = TermFinder({form: name for name, term in terms.items() for form in term.forms})
        held_out = held_out_texts(corpus, "forget")
        training = [text for text, _ in training_documents(corpus, ["forget"])]
        chosen = choose(held_out, training, finder, params.words, params.places)
        tokenizer, context = load_tokenizer(models.baseline), models.context(WINDOW)
        pieces, asked = piece_bytes(tokenizer), questions(chosen, terms, tokenizer, context)
        found: dict[str, list[Scores]] = {}
        each = loaded(models.present, device, params.precision)
        for name, model in tqdm(each, desc="term", unit="model", total=len(models.present)):
            found[name] = score_places(model, asked, params.top, pieces)
        counts = Counter(hit.term for text in (*held_out, *training) for hit in finder.find(text))
        limits = Limits(params.known, params.remaining, params.renamed)
        rows = [row(name, terms[name], counts[name], asked, found, limits, params.top) for name in sorted(terms)]
        report = summary(rows, models.absent)
        write_csv(rows, TERMS, work / "data/terms.csv")
        write_json(report, work / "reports/terms.json")
        print(sentence(report))


def read_all(anchors: Path, dictionary: Path) -> dict[str, Term]:
    """All anchors, with or without a translation, and those that only data/overrides.csv names.

    Raises StageError if there are none.
    """
    terms = {name: Term("", {form: [] for form in forms}) for name, forms in read_terms(anchors).items()}
    kept: dict[str, Term] = {}
    for line in read_entries(dictionary):
        term = kept.setdefault(line["anchor"], Term(line["kind"], {}))
        term.forms.setdefault(line["form"], []).append(line["translation"])
    if not terms | kept:
        raise StageError(f"{anchors}: expected at least one anchor, got none; lower extract.minimum_keyness")
    named = {form for anchor, term in kept.items() for form in term.forms if form != anchor}  # other names of these
    return {name: term for name, term in terms.items() if name not in named} | kept


def sentence(report: Mapping[str, Any]) -> str:
    """The printed line."""
    verdicts = [f"{count} {name.replace('_', ' ')}" for name, count in report["verdicts"].items() if count]
    ranks = report["median_rank"]
    ranked = f"; median rank baseline {ranks['baseline']:g} -> unlearned {ranks['unlearned']:g}" if ranks else ""
    ranked += f" (retrained {ranks['retrained']:g})" if "retrained" in ranks else ""
    rises = report["translation_rise"]
    rose = f"; translations rose by {rises['target']:.4f} (control {rises['control']:.4f})" if rises else ""
    return f"term: {report['terms']} terms: {', '.join(verdicts)}{ranked}{rose}"


if __name__ == "__main__":
    run(main)
