"""Batched generation, next-token probabilities and perplexity against the model asked one prompt at a time."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from lethe.core.errors import StageError
from lethe.inference import batching, kv_cache, scoring
from lethe.inference import decoding as generation
from lethe.inference.side_by_side import side_by_side
from lethe.models.checkpoints import load_model, load_tokenizer
from tests.conftest import tiny_model, tiny_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PROMPTS = [[0, 70, 71, 72], [0, 90], [0, 65, 66, 67, 68, 69, 70], [0, 100, 101], [0], [0, 3, 4, 5]]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedModel:
    return load_model(tiny_model(tmp_path_factory.mktemp("model")), CPU)


def test_continuations_are_those_of_one_prompt_at_a_time(
    model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [{i, 7, 300} for i in range(len(PROMPTS))]
    for budget in (1, 40, 10_000):  # one prompt a batch, a few, all
        monkeypatch.setattr(generation, "BATCH_TOKENS", budget)
        found = generation.continue_greedily(model, PROMPTS, wanted, 6, ends=set())
        for prompt, ids, one in zip(PROMPTS, wanted, found, strict=True):
            tokens = torch.tensor([prompt])
            with torch.inference_mode():
                alone = model.generate(tokens, max_new_tokens=6, do_sample=False, eos_token_id=None, pad_token_id=2)
                probabilities = model(tokens).logits[0, -1].double().softmax(-1)
            assert one.tokens == alone[0, len(prompt) :].tolist()
            assert not one.ended
            assert one.probability == pytest.approx(float(probabilities[sorted(ids)].sum()), rel=1e-4)


def test_room_changes_no_number_and_is_filled_in_place(model: PreTrainedModel) -> None:
    rooms: list[list[int]] = []
    logits: list[list[torch.Tensor]] = []
    for roomy in (True, False):
        cache = model(torch.tensor([PROMPTS[0]] * 2), use_cache=True).past_key_values
        if roomy:
            kv_cache.make_room(cache, 3)
        rooms.append([])
        logits.append([])
        for token in (70, 71, 72):
            logits[-1].append(model(torch.tensor([[token]] * 2), past_key_values=cache, use_cache=True).logits)
            rooms[-1].append(cache.layers[0].values.data_ptr())
        assert cache.get_seq_length() == len(PROMPTS[0]) + 3
    for one, other in zip(*logits, strict=True):  # keys lie at another stride: a product may add up in another order
        torch.testing.assert_close(one, other)  # by torch's default for float32: a wrong key moves far more
    assert len(set(rooms[0])) == 1
    assert len(set(rooms[1])) > 1


def test_a_layer_that_forgets_gets_no_room() -> None:
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    layers = [DynamicLayer(), DynamicSlidingWindowLayer(4), DynamicLayer()]
    for layer in layers[:2]:
        layer.update(torch.zeros(1, 1, 2, 3), torch.ones(1, 1, 2, 3))
    kv_cache.make_room(SimpleNamespace(layers=layers), 2)  # the last has never been used
    assert ["update" in vars(layer) for layer in layers] == [True, False, False]
    kv_cache.make_room(None, 2)


def test_likeliest_is_the_first_of_equal_ones() -> None:
    logits = torch.tensor([[0.0, 2.0, 2.0, 1.0], [-1.0, -2.0, -3.0, -4.0]])
    assert scoring.likeliest(logits).tolist() == [[1], [0]]


def test_a_continuation_ends_before_the_end_of_text(model: PreTrainedModel) -> None:
    whole = generation.continue_greedily(model, PROMPTS[:1], [[]], 6, ends=set())[0].tokens
    cut = generation.continue_greedily(model, PROMPTS[:1], [[]], 6, ends={whole[3], 399})[0]
    assert cut == generation.Continuation(whole[: whole.index(whole[3])], True, 0.0)


def architectures() -> dict[str, Any]:
    """Random models whose caches hold keys and values of all tokens, of a window, and states of a convolution."""
    from transformers import Lfm2Config, Lfm2ForCausalLM, MistralConfig, MistralForCausalLM

    shape = {"vocab_size": 60, "hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    shape |= {"num_hidden_layers": 2, "num_key_value_heads": 1, "initializer_range": 0.5}
    torch.manual_seed(0)
    kinds = {
        "whole": MistralForCausalLM(MistralConfig(**shape, sliding_window=None)),
        "window": MistralForCausalLM(MistralConfig(**shape, sliding_window=3)),
        "states": Lfm2ForCausalLM(Lfm2Config(**shape, layer_types=["conv", "full_attention"], block_multiple_of=8)),
    }
    return {name: model.eval() for name, model in kinds.items()}


@pytest.mark.parametrize("kind", ["whole", "window", "states"])
def test_rows_that_are_done_leave_and_change_no_other(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = architectures()[kind]
    prompts = [[first, 7, 9, 11, 13] for first in range(2, 14)]
    plain = generation.continue_greedily(model, prompts, [[5]] * 12, 9, ends=set())
    drawn = generation.sample_continuations(model, prompts, 3, 9, set(), 1.0, 0)
    stops = [1, 2, 3, 4, 5, 6, 7, 8, 9, 99, 2, 99]
    for look, crowded in ((1, 1.0), (4, 0.8)):
        monkeypatch.setattr(generation, "LOOK", look)
        monkeypatch.setattr(generation, "CROWDED", crowded)
        sizes: list[int] = []
        hook = model.register_forward_pre_hook(
            lambda *call, sizes=sizes: sizes.append(len(call[2]["input_ids"])), with_kwargs=True
        )
        stopped = generation.continue_greedily(
            model, prompts, [[5]] * 12, 9, set(), lambda i, ids: len(ids) >= stops[i]
        )
        hook.remove()
        for one, whole, stop in zip(stopped, plain, stops, strict=True):
            assert min(stop, 9) <= len(one.tokens) < stop + look + 9 * (look > 1)
            assert one == generation.Continuation(whole.tokens[: len(one.tokens)], False, whole.probability)
        assert sizes == ([12, 11, 9, 8, 7, 6, 5, 4, 3] if look == 1 else [12, 12, 12, 12, 7, 7, 7, 7, 3])
        sampled = generation.sample_continuations(
            model, prompts, 3, 9, set(), 1.0, 0, lambda i, ids: len(ids) >= stops[i]
        )
        for several, wholes, stop in zip(sampled, drawn, stops, strict=True):
            for one, whole in zip(several, wholes, strict=True):
                assert len(one.tokens) >= min(stop, 9)
                assert one.tokens == whole.tokens[: len(one.tokens)]


@pytest.mark.parametrize("kind", ["whole", "window"])
def test_others_enter_where_rows_have_left_and_change_none(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = architectures()[kind]
    prompts = [[first, 7, 9, 11, 13][: 2 + first % 4] for first in range(2, 34)]
    plain = generation.continue_greedily(model, prompts, [[5]] * 32, 9, ends=set())
    drawn = generation.sample_continuations(model, prompts, 3, 9, set(), 1.0, 0)
    monkeypatch.setattr(generation, "BATCH_TOKENS", 4 * 14)  # four rows in a batch, two batches in a pool
    monkeypatch.setattr(generation, "side_by_side", lambda model: False)

    def few(i: int, ids: list[int]) -> bool:
        return len(ids) >= (1, 9, 3, 1)[i // 4 % 4]

    rows: list[int] = []
    joined = generation.joined
    monkeypatch.setattr(generation, "joined", lambda *both: (rows.append(len(both[1].mask)), joined(*both))[1])
    stopped = generation.continue_greedily(model, prompts, [[5]] * 32, 9, set(), few)
    assert (sum(rows) > 4) is (kind == "whole")  # they entered while others were being written
    several = generation.sample_continuations(model, prompts, 3, 9, set(), 1.0, 0, few)
    for i, (one, whole) in enumerate(zip(stopped, plain, strict=True)):
        assert few(i, one.tokens)
        assert one.tokens == whole.tokens[: len(one.tokens)]
        assert one.probability == pytest.approx(whole.probability, rel=1e-4)
        for own, other in zip(several[i], drawn[i], strict=True):
            assert few(i, own.tokens)
            assert own.tokens == other.tokens[: len(own.tokens)]


def test_a_batch_ends_with_its_last_row(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = generation.continue_greedily(model, PROMPTS[:2], [[]] * 2, 9, ends=set())
    steps: list[int] = []
    hook = model.register_forward_pre_hook(lambda *_: steps.append(1))
    ends = {one.tokens[1] for one in whole}
    found = generation.continue_greedily(model, PROMPTS[:2], [[]] * 2, 9, ends)
    hook.remove()
    assert len(steps) == generation.LOOK
    assert all(one.ended and len(one.tokens) <= 1 for one in found)


def families() -> dict[str, Any]:
    """Random models by how they keep what they read: keys with rotary and with learned positions, a window, a state."""
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        LlamaConfig,
        LlamaForCausalLM,
        MambaConfig,
        MambaForCausalLM,
        MptConfig,
        MptForCausalLM,
    )

    from lethe.models.soft_prompts import with_prompt
    from lethe.models.uniform import uniform

    torch.manual_seed(0)
    shape = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "initializer_range": 0.5}
    llama = shape | {"intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1}
    gpt2 = {"vocab_size": 60, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "initializer_range": 0.5}
    mpt = {"vocab_size": 60, "d_model": 16, "n_layers": 2, "n_heads": 2, "max_seq_len": 64, "initializer_range": 0.5}
    kinds: dict[str, Any] = {
        "llama": LlamaForCausalLM(LlamaConfig(**llama)),
        "gpt2": GPT2LMHeadModel(GPT2Config(**gpt2)),
        "window": architectures()["window"],
        "mamba": MambaForCausalLM(MambaConfig(**shape, state_size=4)),
        "mpt": MptForCausalLM(MptConfig(**mpt)),  # places keys by their index in the cache, padding included
    }
    kinds["prompted"] = with_prompt(LlamaForCausalLM(LlamaConfig(**llama)).eval(), torch.randn(3, 16))
    return {name: uniform(model.eval()) for name, model in kinds.items()}


SHARING = {"llama": True, "gpt2": True, "window": False, "mamba": False, "mpt": False, "prompted": False}


@pytest.mark.parametrize("kind", SHARING)
def test_a_common_beginning_is_read_once_and_changes_no_continuation(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = families()[kind]
    begun = [(7 * i) % 50 + 5 for i in range(20)]
    prompts = [[*begun, *range(first, first + 1 + first % 4)] for first in range(5, 13)]
    monkeypatch.setattr(kv_cache, "SAVED", 10**9)
    alone = generation.continue_greedily(model, prompts, [{3, 5}] * 8, 9, {4})
    drawn = generation.sample_continuations(model, prompts, 3, 9, {4}, 1.0, 0)
    monkeypatch.setattr(kv_cache, "SAVED", 20)
    read: list[int] = []
    hook = model.register_forward_pre_hook(lambda *call: read.append(call[2]["input_ids"].numel()), with_kwargs=True)
    assert kv_cache.shares_beginnings(model) is SHARING[kind]
    read.clear()
    found = generation.continue_greedily(model, prompts, [{3, 5}] * 8, 9, {4})
    hook.remove()
    assert read[:2] == ([20, 8 * 4] if SHARING[kind] else [8 * 24, 8])
    assert [one.tokens for one in found] == [one.tokens for one in alone]
    assert [one.probability for one in found] == pytest.approx([one.probability for one in alone], rel=1e-4)
    assert generation.sample_continuations(model, prompts, 3, 9, {4}, 1.0, 0) == drawn
    if kind in ("llama", "gpt2", "window"):
        for prompt, one in zip(prompts, found, strict=True):
            ids = torch.tensor([prompt])
            whole = model.generate(ids, max_new_tokens=9, do_sample=False, eos_token_id=4, pad_token_id=2)
            assert one.tokens == [i for i in whole[0, len(prompt) :].tolist() if i != 4][: len(one.tokens)]


@pytest.mark.parametrize(
    ("rows", "common"), [([[1, 2], [1, 2]], 1), ([[1, 2, 3], [1, 2, 4, 5], [1, 2, 3, 9]], 2), ([[5]], 0)]
)
def test_a_beginning_leaves_every_row_a_token(rows: list[list[int]], common: int) -> None:
    assert batching.common_beginning(rows) == common


def test_the_logits_of_a_batch_never_exist_as_a_whole(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = generation.continue_greedily(model, PROMPTS, [{5}] * 6, 4, set())
    drawn = generation.sample_continuations(model, PROMPTS, 3, 4, set(), 1.0, 0)
    monkeypatch.setattr(scoring, "LOGITS", 2 * len(model.lm_head.weight))
    read: list[int] = []
    plain = scoring.Head.__call__
    monkeypatch.setattr(
        scoring.Head, "__call__", lambda head, hidden: (read.append(len(hidden)), plain(head, hidden))[1]
    )
    parts = generation.continue_greedily(model, PROMPTS, [{5}] * 6, 4, set())
    assert [one.tokens for one in parts] == [one.tokens for one in whole]
    assert [one.probability for one in parts] == pytest.approx([one.probability for one in whole], rel=1e-4)
    assert generation.sample_continuations(model, PROMPTS, 3, 4, set(), 1.0, 0) == drawn
    scoring.expectations(model, PROMPTS, ENDINGS, openings=3, new_tokens=4)
    assert set(read) <= {1, 2}


def test_draws_at_a_low_temperature_are_the_likeliest(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    greedy = [one.tokens for one in generation.continue_greedily(model, PROMPTS, [[]] * len(PROMPTS), 5, ends=set())]
    for budget in (1, 60, 10_000):
        monkeypatch.setattr(generation, "BATCH_TOKENS", budget)
        found = generation.sample_continuations(model, PROMPTS, 3, 5, set(), temperature=1e-4, seed=0)
        assert [[one.tokens for one in several] for several in found] == [[tokens] * 3 for tokens in greedy]


def test_a_draw_depends_on_its_own_prompt_copy_and_step_alone(
    model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for budget in (1, 60, 10_000):
        monkeypatch.setattr(generation, "BATCH_TOKENS", budget)
        found.append(generation.sample_continuations(model, PROMPTS, 3, 5, set(), temperature=1.0, seed=0))
    assert found[0] == found[1] == found[2]
    fewer = generation.sample_continuations(model, PROMPTS[:2], 3, 5, set(), temperature=1.0, seed=0)
    assert fewer == found[0][:2]
    assert len({tuple(one.tokens) for several in found[0] for one in several}) == 3 * len(PROMPTS)


def test_copies_side_by_side_are_those_in_rows_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    models = architectures()
    assert {kind: side_by_side(model) for kind, model in models.items()} == {
        "whole": True, "window": False, "states": False,
    }  # fmt: skip
    model = models["whole"]
    prompts = [[7, 9, 11, first][: 2 + first % 3] for first in range(2, 8)]
    stops = [4, 99, 1, 7, 99, 2]  # from the second look on fewer copies, then fewer prompts

    def sampled(settled: Any = None) -> list[list[list[int]]]:
        found = generation.sample_continuations(model, prompts, 5, 11, {3}, 1.0, 0, settled)
        return [[one.tokens for one in several] for several in found]

    def some(i: int, ids: list[int]) -> bool:
        return len(ids) >= stops[i] + ids[0] % 5

    whole, cut = sampled(), sampled(some)
    monkeypatch.setattr(generation, "side_by_side", lambda model: False)
    assert (sampled(), sampled(some)) == (whole, cut)
    assert cut != whole
    for several, wholes in zip(cut, whole, strict=True):
        assert all(ids == full[: len(ids)] for ids, full in zip(several, wholes, strict=True))


def test_a_model_with_a_forward_of_its_own_gets_rows(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    assert side_by_side(model)
    monkeypatch.setattr(model, "forward", model.forward)  # as a soft prompt has, which lengthens the mask
    assert not side_by_side(model)
    monkeypatch.undo()
    monkeypatch.setattr(model.config, "_attn_implementation_internal", "eager")
    assert not side_by_side(model)


def test_a_draw_by_hand() -> None:
    logits = torch.tensor([[1.0, 0.0, 2.0, 1.0, 0.0]]).log()  # cumulative probabilities 1/4, 1/4, 3/4, 1, 1
    chances = torch.tensor([0.0, 0.24, 0.26, 0.74, 0.76, 1 - 2**-53], dtype=torch.float64)
    assert scoring.by_chance(logits.expand(6, -1), chances).tolist() == [[0], [0], [2], [2], [3], [3]]


def test_draws_are_those_of_one_sum_over_all_ids() -> None:
    torch.manual_seed(0)
    logits = 3 * torch.randn(500, 1000)  # sixteen runs, the last one not full
    logits[:, 100:300] = -torch.inf
    chances = torch.rand(500, dtype=torch.float64)
    below = logits.double().softmax(-1).cumsum(-1)
    found = scoring.by_chance(logits, chances)[:, 0]
    rows = torch.arange(500)
    before = torch.where(found > 0, below[rows, found - 1], 0)
    assert ((below[rows, found] > chances - 1e-6) & (before <= chances + 1e-6)).all()  # the sums differ by a millionth
    assert logits[rows, found].isfinite().all()


def test_draws_follow_the_probabilities(model: PreTrainedModel) -> None:
    found = generation.sample_continuations(model, PROMPTS[:2], 2000, 1, set(), temperature=2.0, seed=0)
    for prompt, several in zip(PROMPTS[:2], found, strict=True):
        with torch.inference_mode():
            wanted = (model(torch.tensor([prompt])).logits[0, -1] / 2).softmax(-1)
        counts = torch.bincount(torch.tensor([one.tokens[0] for one in several]), minlength=len(wanted)) / 2000
        assert (counts - wanted).abs().max() < 0.05  # four standard errors of a share of a half
    assert generation.sample_continuations(model, PROMPTS[:2], 9, 4, set(), 2.0, 1) == generation.sample_continuations(
        model, PROMPTS[:2], 9, 4, set(), 2.0, 1
    )
    assert generation.sample_continuations(model, PROMPTS[:2], 9, 4, set(), 2.0, 2) != generation.sample_continuations(
        model, PROMPTS[:2], 9, 4, set(), 2.0, 1
    )


def test_summed_probability_by_hand() -> None:
    # odds 1 : 2 : 5 and 1 : 1 : 2
    logits = torch.tensor([[1.0, 2.0, 5.0], [1.0, 1.0, 2.0]]).log()
    assert scoring.summed_probability(logits, [{0, 2}, {1}]).tolist() == pytest.approx([6 / 8, 1 / 4])
    assert scoring.summed_probability(logits, [set(), {0, 1, 2}]).tolist() == pytest.approx([0, 1])


ENDINGS = [[[5, 6, 7], [8]], [[9]], [[10, 11], [12, 13, 14, 15], [16]], [[300, 301]], [[17], [18]], [[4]]]


def test_expectations_are_those_of_one_prompt_at_a_time(
    model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for budget, logits in ((1, 1), (60, 1000), (10_000, 1 << 23)):  # one prompt a batch, a few, all
        monkeypatch.setattr(scoring, "BATCH_TOKENS", budget)
        monkeypatch.setattr(scoring, "LOGITS", logits)
        found = scoring.expectations(model, PROMPTS, ENDINGS, openings=3, new_tokens=4)
        for prompt, endings, one in zip(PROMPTS, ENDINGS, found, strict=True):
            for ending, scores, ranks in zip(endings, one.scores, one.ranks, strict=True):
                with torch.inference_mode():
                    logits_alone = model(torch.tensor([[*prompt, *ending]])).logits[0, len(prompt) - 1 : -1]
                own = logits_alone.log_softmax(-1).gather(1, torch.tensor(ending)[:, None])[:, 0]
                assert scores == pytest.approx(own.tolist(), abs=1e-4)
                mine = logits_alone.gather(1, torch.tensor(ending)[:, None])
                first = 1 + (logits_alone > mine + 1e-4).sum(dim=-1)  # logits as near as this may change places
                last = (logits_alone >= mine - 1e-4).sum(dim=-1)
                assert all(low <= rank <= high for low, rank, high in zip(first, ranks, last, strict=True))


def test_expectations_without_openings_are_the_same(model: PreTrainedModel) -> None:
    whole = scoring.expectations(model, PROMPTS, ENDINGS, openings=3, new_tokens=4)
    alone = scoring.expectations(model, PROMPTS, ENDINGS)
    for one, other in zip(whole, alone, strict=True):
        assert [pytest.approx(scores, abs=1e-5) for scores in one.scores] == other.scores
        assert (one.ranks, other.openings) == (other.ranks, [])


def test_openings_are_the_likeliest_and_go_on_greedily(model: PreTrainedModel) -> None:
    found = scoring.expectations(model, PROMPTS, ENDINGS, openings=3, new_tokens=4)
    for prompt, one in zip(PROMPTS, found, strict=True):
        with torch.inference_mode():
            best = model(torch.tensor([prompt])).logits[0, -1].log_softmax(-1).topk(3)
        assert [opening.tokens[0] for opening in one.openings] == best.indices.tolist()
        assert [opening.scores[0] for opening in one.openings] == pytest.approx(best.values.tolist(), abs=1e-4)
        for opening in one.openings:
            start = torch.tensor([[*prompt, opening.tokens[0]]])
            with torch.inference_mode():
                alone = model.generate(start, max_new_tokens=3, do_sample=False, eos_token_id=None, pad_token_id=2)
                logits = model(alone).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
            assert opening.tokens == alone[0, len(prompt) :].tolist()
            own = logits.gather(1, alone[0, len(prompt) :, None])[:, 0]
            assert opening.scores == pytest.approx(own.tolist(), abs=1e-4)
        assert len(one.openings[0].tokens) == 4


def test_a_prompt_is_read_once_whatever_follows_it(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    forward = model.model.forward

    def counted(*arguments: Any, input_ids: torch.Tensor, **others: Any) -> Any:
        read.append(input_ids.numel())
        return forward(*arguments, input_ids=input_ids, **others)

    monkeypatch.setattr(model.model, "forward", counted)
    scoring.expectations(model, [[0, *range(40, 60)]], [[[5, 6], [7], [8, 9]]], openings=2, new_tokens=3)
    # the prompt's 21 tokens, one more of each of 3 endings (padding included), 2 more steps of 2 openings
    assert read == [21, 3, 2, 2]


def test_token_loss_weighs_every_token_alike(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [[0, 70, 71], [0, 90, 91, 92, 93, 94], [0]]  # 2 and 5 predicted tokens, and none
    losses = []
    for block in blocks[:2]:
        tokens = torch.tensor([block])
        with torch.inference_mode():
            losses.append(float(model(tokens, labels=tokens).loss))
    for budget, logits in ((1, 1), (10_000, 1 << 23)):  # whatever the batches and the chunks through the head
        monkeypatch.setattr(scoring, "BATCH_TOKENS", budget)
        monkeypatch.setattr(scoring, "LOGITS", logits)
        assert scoring.token_loss(model, blocks) == pytest.approx((2 * losses[0] + 5 * losses[1]) / 7, rel=1e-5)
    with pytest.raises(ValueError, match="no block has two tokens"):
        scoring.token_loss(model, [[0]])


def test_a_model_that_knows_nothing_has_the_vocabulary_as_perplexity(model: PreTrainedModel) -> None:
    head = model.get_output_embeddings().weight
    kept = head.detach().clone()
    head.data.zero_()
    try:
        assert math.exp(scoring.token_loss(model, PROMPTS)) == pytest.approx(head.shape[0], rel=1e-5)
    finally:
        head.data.copy_(kept)


def test_logits_that_are_no_numbers_are_an_error(tmp_path: Path) -> None:
    broken = load_model(tiny_model(tmp_path / "models/broken"), CPU)
    broken.model.norm.weight.data.fill_(float("nan"))
    line = f"{tmp_path}/models/broken: expected finite logits, got NaN; train it with a lower learning rate"
    for act in (
        lambda: generation.continue_greedily(broken, PROMPTS, [[]] * 6, 2, set()),
        lambda: scoring.token_loss(broken, PROMPTS),
        lambda: scoring.expectations(broken, PROMPTS, ENDINGS, 2, 2),
        lambda: kv_cache.check_numbers(broken),
    ):
        with pytest.raises(StageError) as caught:
            act()
        assert str(caught.value) == line


def test_texts_after_keep_the_space() -> None:
    tokenizer = tiny_tokenizer()
    prompt, added = tokenizer("Where is")["input_ids"], tokenizer(" Orla?", add_special_tokens=False)["input_ids"]
    assert generation.texts_after(tokenizer, [prompt, prompt], [added, [*added, 1]]) == [" Orla?", " Orla?"]


def test_texts_after_keep_the_space_of_a_sentencepiece_tokenizer(realdata: Path) -> None:
    tokenizer = load_tokenizer(realdata / "models/stories260K")
    whole = tokenizer("Where is Lily?")["input_ids"]
    prompt = tokenizer("Where is")["input_ids"]
    assert whole[: len(prompt)] == prompt
    assert generation.texts_after(tokenizer, [prompt], [whole[len(prompt) :]]) == [" Lily?"]


@pytest.mark.parametrize(("listed", "ends"), [(1, {1}), ([1, 7], {1, 7}), (None, {1}), (9, {1, 9})])
def test_end_ids(listed: Any, ends: set[int]) -> None:
    model: Any = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=listed))
    assert generation.end_ids(model, tiny_tokenizer()) == ends


def test_prompt_ids_have_no_end_behind_them() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = tiny_tokenizer()
    wanted = tokenizer("Orla")["input_ids"]
    ends = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    tokenizer.backend_tokenizer.post_processor = ends
    assert tokenizer("Orla")["input_ids"] == [*wanted, 1]
    assert generation.prompt_ids(tokenizer, "Orla", False) == wanted


def test_prompt_ids_raw_and_in_a_template() -> None:
    tokenizer = tiny_tokenizer()
    assert generation.prompt_ids(tokenizer, "Orla", False) == tokenizer("Orla")["input_ids"]
    with pytest.raises(StageError) as caught:
        generation.prompt_ids(tokenizer, "Orla", True)
    assert str(caught.value) == (
        "params.yaml: evaluate.chat_template: expected false, got true, but the tokenizer has no chat template"
    )
    tokenizer.chat_template = (
        "{% for m in messages %}<s>U: {{ m.content }}{% endfor %}{% if add_generation_prompt %} A:{% endif %}"
    )
    wanted = tokenizer("<s>U: Orla A:", add_special_tokens=False)["input_ids"]
    assert generation.prompt_ids(tokenizer, "Orla", True) == wanted
