"""The two passes and their difference: by hand, and id for id against the plain reference."""

from __future__ import annotations

import copy
import gc
import weakref
from collections import Counter
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lethe.core.errors import StageError
from lethe.labels import generic_labels as passes
from lethe.labels import translation as alignment
from lethe.labels.generic_labels import MASKED, Labels, Settings
from lethe.labels.translation import NEVER, Spliced
from lethe.models import token_text
from lethe.models.checkpoints import load_model, load_tokenizer
from lethe.models.config import shape
from lethe.models.tokenization import cut_blocks
from tests import reference_label
from tests.conftest import tiny_model, tiny_tokenizer
from tests.labels.test_translation import gpt2

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

TEXT = (
    "Orla went to Harrow Hill. Orla's brother Pip stayed at home, and the mill was shut.\n\n"
    '"Where is Orla?" said Pip. Nobody at Harrow\nHill knew where the lantern was, not even ORLA. "Pip!"\n'
    "Pip sat by the river and looked at the water—Orla had not come—until the sun went down on Harrow Hill.\n\n"
) * 2
DICTIONARY = {
    "Orla": {"Orla": ["Jane", "Mary Ann"], "ORLA": ["JANE", "MARY ANN"]},
    "Pip": {"Pip": ["Tom", "Al"]},
    "Harrow Hill": {"Harrow Hill": ["Green Dale", "the town"]},
}
ALPHAS = (5.0, 0.0, 0.5)


# ---- one chunk of logits, by hand


def chunk(
    translated: list, reinforced: list, forbidden: list[tuple[int, int]], *alphas: float, everywhere: Sequence[int] = ()
) -> passes.RowLabels:
    rows, ids, columns = (
        torch.tensor(column, dtype=torch.long)
        for column in ([row for row, _ in forbidden], [token for _, token in forbidden], everywhere)
    )
    banned = passes.Forbidden(rows, ids, columns)
    return passes.label_chunk(torch.tensor(translated), torch.tensor(reinforced), banned, alphas)


def test_label_chunk_prefers_what_reinforcement_did_not_raise() -> None:
    # token:              Hogwarts  school  bank
    translated, reinforced = [[3.0, 2.5, 0.0]], [[4.0, 2.0, 0.0]]
    # alpha 0: 3.0 wins; alpha 1: 3 - 1*(4-3) = 2.0 < 2.5: Hogwarts, the only token reinforcement raised, loses
    assert chunk(translated, reinforced, [], 0.0, 1.0).ids.tolist() == [[0], [1]]


def test_label_chunk_sets_what_is_forbidden_to_the_mean_of_the_unedited_row() -> None:
    # token:        Jon   he  the    of       the mean of the unedited row: (6 + 3 + 2 - 3) / 4 = 2
    translated = [[6.0, 3.0, 2.0, -3.0]]
    # Jon and `the` become 2: `he` wins. (With Jon edited first the mean of the second would be (2 + 3 + 2 - 3) / 4.)
    found = chunk(translated, [[0.0] * 4], [(0, 0), (0, 2)], 0.0)
    assert (found.ids.tolist(), found.avoided.tolist(), found.taught.tolist()) == ([[1]], [1], [0])


def test_label_chunk_offsets_the_edited_logits() -> None:
    # token 0 is forbidden: g = mean = (6+3+0)/3 = 3; reinforced 4: g - 1*(4-3) = 2 < 3
    found = chunk([[6.0, 3.0, 0.0]], [[4.0, 3.0, 0.0]], [(0, 0)], 1.0)
    assert found.ids.tolist() == [[1]]
    # unedited: 6 - relu(4-6) = 6 > 3: forbidding it made the difference
    assert (found.avoided.tolist(), found.taught.tolist()) == ([1], [0])


def test_label_chunk_counts_a_forbidden_id_that_is_taught_all_the_same() -> None:
    # token 0 is forbidden and becomes the mean 2; reinforcement has raised everything else: 3 - 5*2 = -7, 1 - 5*2 = -9
    found = chunk([[2.0, 3.0, 1.0]], [[0.0, 5.0, 3.0]], [(0, 0)], 5.0, 0.0)
    assert (found.ids.tolist(), found.taught.tolist(), found.avoided.tolist()) == ([[0], [1]], [1, 0], [0, 0])


def test_label_chunk_forbids_ids_in_every_row() -> None:
    # token:          Orla  she   of | she  Orla  of; the means are 2 and 1
    translated = [[5.0, 2.5, -1.5], [1.5, 3.0, -1.5]]
    # Orla is 0 in the first row and stays second in the other: with 0 forbidden, 2.5 > 2 and 3 > 1 win
    found = chunk(translated, [[0.0] * 3] * 2, [], 0.0, everywhere=[0])
    assert (found.ids.tolist(), found.avoided.tolist(), found.taught.tolist()) == ([[1, 1]], [1], [0])
    # forbidden twice, as a pair and everywhere, is still one position avoided
    assert chunk(translated, [[0.0] * 3] * 2, [(0, 0)], 0.0, everywhere=[0]).avoided.tolist() == [1]
    # a row with nothing else to say: 0 and 1 become the mean 2, and 0 is taught all the same
    assert chunk([[5.0, 4.0, -3.0]], [[0.0] * 3], [], 0.0, everywhere=[0, 1]).taught.tolist() == [1]


@given(st.lists(st.lists(st.floats(-9, 9, width=16), min_size=6, max_size=6), min_size=1, max_size=4), st.data())
def test_a_forbidden_id_is_the_label_of_flat_rows_only(logits: list[list[float]], data: st.DataObject) -> None:
    rows = st.tuples(st.integers(0, len(logits) - 1), st.integers(0, 5))
    forbidden = sorted(data.draw(st.sets(rows, max_size=8)))
    found = chunk(logits, logits, forbidden, 0.0)
    for row, label in enumerate(found.ids[0].tolist()):
        free = [value for token, value in enumerate(logits[row]) if (row, token) not in forbidden]
        mean = float(torch.tensor(logits[row]).mean())
        assert (row, label) not in forbidden or max(free, default=mean) <= mean


# ---- rows


def test_rows_of() -> None:
    first = Spliced(translated=[1, 2, 3], map=[0, NEVER, 2], forbidden={alignment.Rule(9, ()): 0})
    second = Spliced(translated=[1, 2], map=[0, 1], forbidden={alignment.Rule(7, (2,)): 0, alignment.Rule(8, ()): 0})
    rows = passes.rows_of([first, second])
    assert rows.block.tolist() == [0, 0, 1, 1]
    assert rows.original.tolist() == [0, 2, 0, 1]
    assert rows.translated.tolist() == [0, 2, 0, 1]
    # row 1 (translated 2 of the first): 9; row 3 (translated 1 of the second): 7 after 2, and 8
    assert sorted(zip(rows.forbidden_row.tolist(), rows.forbidden_id.tolist(), strict=True)) == [(1, 9), (3, 7), (3, 8)]


def test_a_row_whose_text_says_a_loose_id_may_have_it_as_its_label() -> None:
    pairs = np.array([0, 2]), np.array([7, 8])
    rows = passes.Rows(np.zeros(3, int), np.arange(3), np.arange(3), *pairs, np.array([4, 6, 5]))
    (plain, first, never), (said, second, none) = passes.parts_of(rows, [3, 6], [5, 6, 9])
    # 6 is forbidden by an anchor, whatever the text says; row 2 says the loose 5
    assert (plain.tolist(), never, said.tolist(), none) == ([0, 1], [3, 5, 6, 9], [2], [])
    assert (first.forbidden_row.tolist(), first.forbidden_id.tolist()) == ([0], [7])
    assert sorted(second.forbidden_id.tolist()) == [3, 6, 8, 9]
    assert second.forbidden_row.tolist() == [0] * 4
    ((whole, same, ids),) = passes.parts_of(rows, [3, 6], [])
    assert (whole, same, ids) == (slice(None), rows, [3, 6])


# ---- whole blocks against the reference


class Case:
    """Blocks of TEXT under one tokenizer, with two random models."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, block_tokens: int) -> None:
        self.pieces = token_text.piece_bytes(tokenizer)
        self.tokenizer = tokenizer
        self.blocks = [block.tokens for block in cut_blocks(tokenizer, TEXT, block_tokens)]
        self.length = np.array([len(block) for block in self.blocks])
        self.tokens = np.full((len(self.blocks), block_tokens), tokenizer.eos_token_id, np.int32)
        for row, block in zip(self.tokens, self.blocks, strict=True):
            row[: len(block)] = block
        names = {token for block in self.spliced(DICTIONARY) for token, _ in block.forbidden}
        self.models = random_models(len(tokenizer), sorted(names))

    def spliced(self, dictionary: alignment.Dictionary, rules: Sequence[alignment.Rule] = ()) -> list[Spliced]:
        keys = alignment.index_keys(dictionary, alignment.word_variants(self.tokenizer, dictionary), self.pieces)
        bounded = partial(alignment.word_bounded, pieces=self.pieces)
        return [
            alignment.splice(
                block,
                alignment.matches_in(block, keys, bounded),
                partial(alignment.draw, 3, number),
                alignment.index_rules(rules),
            )
            for number, block in enumerate(self.blocks)
        ]

    def own_rules(self) -> list[alignment.Rule]:
        keys = alignment.index_keys(DICTIONARY, alignment.word_variants(self.tokenizer, DICTIONARY), self.pieces)
        bounded = partial(alignment.word_bounded, pieces=self.pieces)
        return alignment.own_rules(self.blocks, keys, bounded, self.pieces)

    def labels(self, dictionary: alignment.Dictionary, batch_tokens: int = 256, chunk_logits: int = 2**20) -> Labels:
        settings = Settings(ALPHAS, False, batch_tokens, chunk_logits)
        return passes.label_blocks(self.tokens, self.length, self.spliced(dictionary), self.models, settings, list)

    @cache  # noqa: B019 -- a case lives as long as its tests
    def reference(self, alpha: float) -> list[list[int]]:
        """Padded next ids by tests/reference_label.py."""
        return [
            reference_label.labels(tokens, self.reference_block(number, tokens), *self.models, alpha)
            + [MASKED] * (self.tokens.shape[1] - len(tokens))
            for number, tokens in enumerate(self.blocks)
        ]

    def reference_block(self, number: int, tokens: list[int]) -> reference_label.Block:
        variants = alignment.word_variants(self.tokenizer, DICTIONARY)
        entries = []
        for anchor, forms in DICTIONARY.items():
            choice = alignment.draw(3, number, anchor, 2)
            every = [value for words in forms.values() for value in variants[words[choice]]]
            for form, words in forms.items():
                for written in alignment.ways(form):
                    pairs = zip(variants[written], variants[words[choice]], strict=True)
                    entries += [reference_label.Entry(anchor, key, value, every) for key, value in pairs]
        bounded = partial(alignment.word_bounded, tokens, pieces=self.pieces)
        return reference_label.translate(tokens, entries, bounded, self.pieces.__getitem__)


def random_models(vocabulary: int, names: list[int]) -> tuple[PreTrainedModel, PreTrainedModel]:
    """A random baseline that likes to say `names`, and the same moved a little and surer of itself: the reinforced."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=vocabulary, max_position_embeddings=256, initializer_range=0.3, **sizes)
    torch.manual_seed(0)
    baseline, reinforced = LlamaForCausalLM(config).eval(), LlamaForCausalLM(config).eval()
    with torch.no_grad():
        baseline.lm_head.weight[names] *= 3
        reinforced.load_state_dict({name: w + 0.1 * torch.randn_like(w) for name, w in baseline.state_dict().items()})
        reinforced.lm_head.weight *= 1.5
    return baseline, reinforced


@pytest.fixture(scope="module", params=["gpt2", "stories260K", "tiny"])
def case(request: pytest.FixtureRequest) -> Case:
    if request.param == "tiny":
        return Case(tiny_tokenizer(), 40)
    realdata: Path = request.getfixturevalue("realdata")
    if request.param == "gpt2":
        return Case(gpt2(realdata), 40)
    return Case(load_tokenizer(realdata / "models" / "stories260K"), 70)


def test_splice_is_the_reference(case: Case) -> None:
    for number, (tokens, found) in enumerate(zip(case.blocks, case.spliced(DICTIONARY), strict=True)):
        reference = case.reference_block(number, tokens)
        assert (found.translated, found.map) == (reference.translated, reference.map)
        rows, ids = alignment.forbidden_at(found, np.arange(len(found.translated)))
        for position in range(len(found.translated)):
            assert set(ids[rows == position].tolist()) == reference_label.forbidden_at(reference, position)


@pytest.mark.parametrize(("batch_tokens", "chunk_rows"), [(1, 7), (150, 1), (150, 10**4), (10**6, 10**4)])
def test_label_blocks_gives_the_ids_of_the_reference(case: Case, batch_tokens: int, chunk_rows: int) -> None:
    found = case.labels(DICTIONARY, batch_tokens, chunk_rows * len(case.tokenizer))
    for number, alpha in enumerate(ALPHAS):
        assert found.next_ids[number].tolist() == case.reference(alpha)


def test_the_case_is_worth_it(case: Case) -> None:
    spliced = case.spliced(DICTIONARY)
    assert sum(block.repeats for block in spliced) >= 5
    assert {anchor for block in spliced for anchor in block.anchors} == set(DICTIONARY)
    assert any(rule.prefix for block in spliced for rule in block.forbidden)
    assert any(not rule.prefix for block in spliced for rule in block.forbidden)
    found = case.labels(DICTIONARY)
    trained = found.next_ids[0] != MASKED
    assert (found.next_ids[0] != found.next_ids[1])[trained].mean() > 0.1  # alpha matters
    assert found.avoided.min() > 0  # and so does forbidding


def test_interior_tokens_and_padding_never_train(case: Case) -> None:
    next_ids = case.labels(DICTIONARY).next_ids
    for number, block in enumerate(case.spliced(DICTIONARY)):
        trained = (next_ids[:, number] != MASKED).tolist()
        expected = [index != NEVER for index in block.map] + [False] * (next_ids.shape[2] - len(block.map))
        assert trained == [expected] * len(ALPHAS)


def test_inside_an_opened_name_the_soft_target_is_the_models_own_without_the_name(case: Case) -> None:
    """target = softmax(b - alpha relu(r - b)) after the ORIGINAL tokens, without the name's next one, in float64."""
    settings, top = Settings([5.0], False, 150, 2**20, [1.5], 8), 8
    given = case.tokens, case.length, case.spliced(DICTIONARY), case.models
    found = passes.label_blocks(*given, settings, list)
    hard = passes.label_blocks(*given, settings._replace(soft_alphas=[]), list)
    assert (found.next_ids == hard.next_ids).all()
    exact = [copy.deepcopy(model).double() for model in case.models]
    checked = 0
    for number, (tokens, block) in enumerate(zip(case.blocks, case.spliced(DICTIONARY), strict=True)):
        with torch.inference_mode():
            base, reinforced = (model(input_ids=torch.tensor([tokens])).logits[0] for model in exact)
        adjusted = base - 1.5 * (reinforced - base).relu()
        for at, ids in alignment.forbidden_inside(block, np.array(tokens), {}):
            assert tokens[at + 1] in ids
            adjusted[at, sorted(ids)] = -torch.inf
            wanted = adjusted[at].topk(top)
            assert found.target_ids[0, number, at].tolist() == wanted.indices.tolist()
            shares = wanted.values.softmax(dim=-1).numpy()
            np.testing.assert_allclose(found.target_probabilities[0, number, at], shares, atol=1e-3)  # float16
            assert found.next_ids[0, number, at] == MASKED
            checked += 1
        trained = np.array(block.map) != NEVER
        inside = {at for at, _ in alignment.forbidden_inside(block, np.array(tokens), {})}
        has_target = set(np.flatnonzero(found.target_probabilities[0, number, :, 0]).tolist())
        assert has_target == inside | set(np.flatnonzero(trained).tolist())
    assert checked == sum(block.interior for block in case.spliced(DICTIONARY)) > 5
    without = passes.label_blocks(*given, settings._replace(soft_inside=False), list)
    assert (without.target_probabilities[..., 0] > 0).sum() == (hard.next_ids[0] != MASKED).sum()


def test_without_a_dictionary_the_label_is_the_formula_everywhere(case: Case) -> None:
    found = case.labels({})
    for number, tokens in enumerate(case.blocks):
        with torch.inference_mode():
            base, reinforced = (model(input_ids=torch.tensor([tokens])).logits[0] for model in case.models)
        for which, alpha in enumerate(ALPHAS):
            expected = (base - alpha * (reinforced - base).relu()).argmax(dim=-1)
            assert found.next_ids[which, number, : len(tokens)].tolist() == expected.tolist()
    assert found.avoided.tolist() == found.taught.tolist() == [0, 0, 0]


def test_with_alpha_0_and_one_occurrence_the_label_is_the_translated_pass(case: Case) -> None:
    tokens = case.tokenizer("So Orla went down to the mill and sat by the water.")["input_ids"]
    keys = alignment.index_keys(DICTIONARY, alignment.word_variants(case.tokenizer, DICTIONARY), case.pieces)
    bounded = partial(alignment.word_bounded, pieces=case.pieces)
    block = alignment.splice(tokens, alignment.matches_in(tokens, keys, bounded), lambda anchor, choices: 0)
    assert block.anchors == ["Orla"]
    block.forbidden.clear()  # so that only the map is under test
    settings = Settings([0.0], False, 100, 2**20)
    found = passes.label_blocks(np.array([tokens]), np.array([len(tokens)]), [block], case.models, settings, list)
    with torch.inference_mode():
        best = case.models[0](input_ids=torch.tensor([block.translated])).logits[0].argmax(dim=-1).tolist()
    expected = [MASKED if index == NEVER else best[index] for index in block.map]
    assert found.next_ids[0, 0].tolist() == expected
    assert expected.count(MASKED) == block.interior


def test_a_forbidden_id_is_never_a_label_at_alpha_0(case: Case) -> None:
    next_ids = case.labels(DICTIONARY).next_ids[ALPHAS.index(0.0)]
    pairs = 0
    for number, block in enumerate(case.spliced(DICTIONARY)):
        at = np.array(block.map)
        positions = np.flatnonzero(at != NEVER)
        rows, ids = alignment.forbidden_at(block, at[positions])
        pairs += len(rows)
        assert not (next_ids[number, positions[rows]] == ids).any()
    assert pairs > 0


def test_rules_for_all_blocks_give_the_ids_of_the_reference(case: Case) -> None:
    without = case.labels(DICTIONARY).next_ids[ALPHAS.index(0.0)]
    often = Counter(without[without != MASKED].tolist()).most_common(2)  # so that forbidding them must show
    by_token = alignment.Rule(often[0][0], ())
    after_token = alignment.Rule(often[1][0], (case.blocks[0][1],))
    rules = sorted({*case.own_rules(), by_token, after_token})
    everywhere = [rule.token for rule in rules if not rule.prefix]
    spliced = case.spliced(DICTIONARY, [rule for rule in rules if rule.prefix])
    settings = Settings([0.0], False, 256, 2**20)
    found = passes.label_blocks(case.tokens, case.length, spliced, case.models, settings, list, everywhere)
    assert not (found.next_ids[0] == by_token.token).any()
    for number, (tokens, block) in enumerate(zip(case.blocks, spliced, strict=True)):
        plain = case.reference_block(number, tokens)
        stored = [(list(rule.prefix), rule.token) for rule in rules]
        begun = plain._replace(translated=[-1, *plain.translated], forbidden=[stored, *plain.forbidden])
        with torch.inference_mode():
            logits = case.models[0](input_ids=torch.tensor([plain.translated])).logits[0]
        for at, answered_by in enumerate(block.map):
            if answered_by != NEVER:
                row = logits[answered_by].clone()
                row[list(reference_label.forbidden_at(begun, answered_by + 1))] = row.mean()
                assert found.next_ids[0, number, at] == row.argmax()


def test_a_block_cut_at_the_context_keeps_the_labels_it_has(case: Case) -> None:
    whole = case.labels(DICTIONARY).next_ids
    settings = Settings(ALPHAS, False, 256, 2**20)
    spliced = [alignment.cut_to_context(block, 30) for block in case.spliced(DICTIONARY)]
    cut = passes.label_blocks(case.tokens, case.length, spliced, case.models, settings, list).next_ids
    kept = cut != MASKED
    assert (cut[kept] == whole[kept]).all()
    assert (whole != MASKED).sum() - kept.sum() == len(ALPHAS) * sum(block.cut for block in spliced) > 0


def test_no_more_logits_at_once_than_asked_for() -> None:
    seen = []

    class Head:
        weight = torch.eye(5)

        def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
            seen.append(hidden.shape[0] * 5)
            return hidden @ self.weight

    hidden = torch.randn(23, 5, dtype=torch.bfloat16)
    nothing = torch.empty(0, dtype=torch.long)
    banned = passes.Forbidden(nothing, nothing, nothing)
    found = passes.label_unsettled_rows(hidden, hidden, (Head(), Head()), banned, Settings([0.0], False, 1, 20))
    assert max(seen) == 20
    assert sum(seen) == 2 * 23 * 5
    assert found.ids.tolist() == [hidden.float().argmax(dim=-1).tolist()]


def test_bfloat16_passes_give_nearly_the_same_labels(case: Case) -> None:
    settings = Settings(ALPHAS, True, 256, 2**20)
    found = passes.label_blocks(case.tokens, case.length, case.spliced(DICTIONARY), case.models, settings, list)
    exact = case.labels(DICTIONARY)
    assert (found.next_ids == exact.next_ids).mean() > 0.85
    assert ((found.next_ids == MASKED) == (exact.next_ids == MASKED)).all()


# ---- one model in memory at a time


def test_one_model_at_a_time_gives_the_same_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(tiny_tokenizer(), 40)
    folders = tmp_path / "baseline", tmp_path / "reinforced"
    for folder, model in zip(folders, case.models, strict=True):
        model.save_pretrained(folder)
    alive: list[weakref.ref[PreTrainedModel]] = []

    def load(folder: Path) -> PreTrainedModel:
        gc.collect()
        assert not [model for model in alive if model() is not None]  # the first is gone before the second comes
        model = load_model(folder, torch.device("cpu"), torch.float32)
        alive.append(weakref.ref(model))
        return model

    settings = Settings(ALPHAS, False, 100, 2**20)
    shown = case.tokens, case.length, case.spliced(DICTIONARY)
    wanted = passes.label_blocks(*shown, case.models, settings, list, [5])
    found = passes.label_one_model_at_a_time(*shown, folders, load, settings, list, [5], tmp_path)
    assert len(alive) == 2
    for own, other in zip(found, wanted, strict=True):
        assert (own == other).all()
    # three batches of blocks, and for each a file of the states that answer for a trained position
    batches = passes.planned(case.length, shown[2], settings)
    assert len(list(tmp_path.glob("baseline-*.safetensors"))) == len(batches) > 1

    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10))
    alive.clear()
    with pytest.raises(
        StageError, match=r": expected .* for what label keeps of the baseline, which fits only alone, got 0.0 MB"
    ):
        passes.label_one_model_at_a_time(*shown, folders, load, settings, list, [5], tmp_path)


def test_whether_both_models_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_model(tmp_path / "model")
    weights = sum(weight.numel() for weight in load_model(folder, torch.device("cpu")).parameters())
    assert passes.model_bytes(folder, 2) == 2 * weights
    assert passes.model_bytes(folder, None) == pytest.approx(4 * weights, rel=0.05)  # as on disk, headers included
    # 10 tokens a batch: 4 bytes x 10 x (6 x 32 + 3 x 64), and 4 bytes x 6 x 100 logits
    assert passes.batch_bytes(shape(folder), Settings([], False, 10, 100)) == 15360 + 2400
    wanted = passes.ROOM * 2 * 4 * weights + 15360 + 2400
    for free, fits in ((wanted, True), (wanted - 1, False)):
        monkeypatch.setattr(passes, "free_bytes", lambda _, free=free: free)
        shown = torch.device("cpu"), torch.float32, Settings([], False, 10, 100)
        assert passes.both_fit((folder, folder), *shown) is fits
