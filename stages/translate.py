"""Finds generic translations of every anchor: ordinary names of the same kind that fit its contexts.

reads   data/anchors.csv  data/overrides.csv  data/corpus.parquet  models/baseline
writes  data/dictionary.csv
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import PositiveInt, model_validator

from lethe.core.params import Seed, StageParams, read_params
from lethe.core.stage import run, workspace
from lethe.core.tables import DICTIONARY, write_csv
from lethe.dictionary.aliases import alias_groups, in_parts, merged, regrouped, unused, whole_forms, with_parts
from lethe.dictionary.assignment import usable
from lethe.dictionary.contexts import read_uses, retain_sample
from lethe.dictionary.entity_types import read_rules, tell_genders
from lethe.dictionary.entries import (
    as_listed,
    check_overrides,
    dictionary_rows,
    finder_of,
    given_groups,
    given_kinds,
    own_choices,
    pruned,
    read_overrides,
    read_terms,
    remarks_on,
    translated,
    with_kinds,
    with_overridden,
)
from lethe.dictionary.gazetteer import known_genders, noun_plurals, nouns_by_kind, read_gazetteer, stand_ins, surnames
from lethe.dictionary.llm import SHOWN, ask_translations
from lethe.dictionary.model_ranking import Judging, candidates_of, likeliest
from lethe.dictionary.personal import personal_choices
from lethe.dictionary.summary import sentence
from lethe.llm_client import ChatSettings
from lethe.models.checkpoints import load_model, load_tokenizer, quick_dtype
from lethe.models.device import Device, prepare
from lethe.text.streaming import Texts


class Params(StageParams):
    """Where translations come from, and how many."""

    backend: Literal["local", "llm", "none"]
    translations: PositiveInt
    retain_names: Literal["any", "ordinary"]
    contexts: PositiveInt
    candidates: PositiveInt
    llm: ChatSettings
    device: Device
    seed: Seed

    @model_validator(mode="after")
    def _enough_candidates(self) -> Params:
        if self.candidates < self.translations:
            raise ValueError(
                f"candidates: expected at least {self.translations}, the number of translations, got {self.candidates}"
            )
        return self


def main() -> None:
    params = read_params("translate", Params)
    with workspace("translate") as work:
        if params.backend == "none":
            write_csv([], DICTIONARY, work / "data/dictionary.csv")
            print("translate: no dictionary (backend none), data/overrides.csv ignored")
            return
        path = Path("data/overrides.csv")
        found = read_terms(Path("data/anchors.csv"))
        given = as_listed(read_overrides(path), found)
        terms = with_overridden(found, given, path)
        overrides, alike = translated(given), given_groups(given, terms, path)
        gazetteer = read_gazetteer()
        rules, plurals = read_rules(nouns_by_kind(gazetteer)), noun_plurals(gazetteer)
        forget, retain = (Texts(Path("data/corpus.parquet"), side) for side in ("forget", "retain"))
        shown = SHOWN if params.backend == "llm" else params.contexts
        uses, contexts = read_uses(terms, forget, rules, shown)
        remarks = remarks_on(given, {anchor for anchor, found in contexts.items() if found})
        uses |= with_kinds(uses, given_kinds(given, {}).kinds)
        check_overrides(overrides, terms, uses, path)
        own = {override.anchor for override in overrides}
        groups = regrouped(alias_groups(terms, uses, own | alike.keys()), alike)
        said = given_kinds(given, groups)
        named = merged(terms, groups)
        kept, written = pruned(named), in_parts(terms, groups, uses)
        if groups:
            pooled, contexts = read_uses(kept, forget, rules, shown, whole_forms(terms, groups, uses))
            uses |= with_kinds({first: pooled[first] for first in groups if first in kept}, said.kinds)
        personal, kinds = personal_choices(kept, finder_of(terms), params.translations, params.seed)
        uses |= with_kinds(uses, kinds | said.kinds)
        wanted = sorted(kept.keys() - own - kinds.keys())
        if params.backend == "llm":
            asked = ask_translations(wanted, contexts, kept, uses, plurals, params.translations, params.llm)
            chosen, remarks = asked.choices, [*asked.remarks(), *remarks]
            uses |= with_kinds(uses, asked.kinds | said.kinds)
        else:
            judging = Judging(params.candidates, params.contexts, params.translations, params.seed)
            pool = usable(stand_ins(retain_sample(retain), gazetteer, rules, params.retain_names == "ordinary"), terms)
            genders = tell_genders({anchor: uses[anchor] for anchor in kept}, known_genders(gazetteer)) | said.genders
            candidates = candidates_of(wanted, uses, genders, pool, judging, groups)
            baseline, device = Path("models/baseline"), prepare(params.device)
            model, tokenizer = load_model(baseline, device, quick_dtype(baseline, device)), load_tokenizer(baseline)
            chosen = likeliest(model, tokenizer, contexts, candidates, uses, judging)
        family = unused(surnames(retain if params.retain_names == "ordinary" else ()), terms)
        for first in groups.keys() & chosen.keys():
            chosen[first] = with_parts(first, uses[first], chosen[first], family, params.seed)
        chosen |= personal | own_choices(overrides, uses, plurals)
        write_csv(dictionary_rows(kept, uses, chosen, written), DICTIONARY, work / "data/dictionary.csv")
        print(
            sentence(
                chosen, uses, params.translations, overrides, len(named) - len(kept), len(terms) - len(named), remarks
            )
        )


if __name__ == "__main__":
    run(main)
