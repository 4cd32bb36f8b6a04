"""The likelihood of a text with a name replaced."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from lethe.dictionary import infilling as replacement
from lethe.dictionary.infilling import Frame, batched, group, log_likelihoods, padded, sums
from lethe.models.checkpoints import load_model, load_tokenizer
from tests.conftest import tiny_model, tiny_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FRAMES = [
    Frame("Tom went to ", " and sat down."),
    Frame('"Where is ', '?" said Tom.'),
    Frame("", " stayed at home.\nNobody knew."),
    Frame("The mill was shut.\n", "'s brother looked at the water until the sun went down."),
]
NAMES = [["Orla", "Harrow Hill", "the mill", "Tom", "Tom"], ["Orla"], ["Tom", "Orla Tarn"], ["Nobody", "Tom"]]


def one_by_one(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, frame: Frame, names: Sequence[str]
) -> list[float]:
    """The plain way: a whole text at a time, whole logits, token by token."""
    scores = []
    for name in names:
        whole = tokenizer(frame.before + name + frame.after, return_offsets_mapping=True)
        ids = torch.tensor([whole["input_ids"]])
        logits = model(input_ids=ids).logits[0].log_softmax(dim=-1)
        start = len(frame.before.rstrip())
        judged = [place for place, (_, end) in enumerate(whole["offset_mapping"]) if end > start and place > 0]
        scores.append(sum(logits[place - 1, ids[0, place]].item() for place in judged))
    return scores


def test_equals_one_text_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_model(tmp_path / "model")
    model, tokenizer = load_model(folder, torch.device("cpu")), load_tokenizer(folder)
    wanted = [one_by_one(model, tokenizer, frame, names) for frame, names in zip(FRAMES, NAMES, strict=True)]
    for tokens, values in ((1 << 13, 1 << 23), (1, 1)):  # all together; a frame and a logit row at a time
        monkeypatch.setattr(replacement, "BATCH_TOKENS", tokens)
        monkeypatch.setattr(replacement, "HEAD_VALUES", values)
        found = log_likelihoods(model, tokenizer, FRAMES, NAMES, "test")
        for row, wanted_row in zip(found, wanted, strict=True):
            assert row == pytest.approx(wanted_row, abs=1e-4)
    assert log_likelihoods(model, tokenizer, [], [], "test") == []


@pytest.mark.parametrize("kind", ["sentencepiece", "byte-level"])
def test_equals_one_text_at_a_time_on_a_real_model(realdata: Path, kind: str) -> None:
    folder = realdata / "models/stories260K"
    model = load_model(folder, torch.device("cpu"))
    tokenizer = load_tokenizer(folder) if kind == "sentencepiece" else tiny_tokenizer(vocabulary=500)
    frames = [Frame("One day, a girl named ", " went to the park."), Frame("She saw ", ". It was big.")]
    names = [["Lily", "Dorothy", "old Tom"], ["a dog", "Toto"]]
    found = log_likelihoods(model, tokenizer, frames, names, "test")
    for frame, of_frame, row in zip(frames, names, found, strict=True):
        assert row == pytest.approx(one_by_one(model, tokenizer, frame, of_frame), abs=1e-3)
    if kind == "sentencepiece":
        assert found[0][0] == max(found[0])  # Lily, whom TinyStories knows best


def test_group() -> None:
    tokenizer = tiny_tokenizer()
    found = group(tokenizer, 7, Frame("Tom saw ", " there."), ["Orla", "Tom"])
    for name, row in zip(("Orla", "Tom"), found.rows, strict=True):
        whole = found.shared + row.ids
        assert whole == tokenizer(f"Tom saw {name} there.")["input_ids"]
        # judged is what begins with the space before the name
        assert tokenizer.decode(row.ids[row.given :]) == f" {name} there."
        assert tokenizer.decode(whole[: len(found.shared) + row.given]) == "<s>Tom saw"
    assert [row.result for row in found.rows] == [(7, 0), (7, 1)]
    assert found.rows[0].given == 1  # everything else is shared


def test_the_first_token_is_never_judged() -> None:
    tokenizer = tiny_tokenizer()
    found = group(tokenizer, 0, Frame("", " went home."), ["Tom", "Orla"])
    assert found.shared == []
    assert [row.given for row in found.rows] == [1, 1]  # <s>


def test_batches_share_equally_many_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replacement, "BATCH_TOKENS", 40)
    tokenizer = tiny_tokenizer()
    groups = [group(tokenizer, number, frame, ["Orla", "Tom"]) for number, frame in enumerate(FRAMES * 3)]
    batches = list(batched(groups))
    assert all(len({len(each.shared) for each in batch}) == 1 for batch in batches)
    assert sorted(row.result for batch in batches for each in batch for row in each.rows) == sorted(
        row.result for each in groups for row in each.rows
    )
    sizes = [sum(len(each.rows) * max(len(row.ids) for row in each.rows) for each in batch) for batch in batches]
    assert all(size <= 40 or len(batch) == 1 for size, batch in zip(sizes, batches, strict=True))


def test_sums() -> None:
    rows = [replacement.Row((0, 0), [1, 0, 1], 1), replacement.Row((0, 1), [0, 1], 1)]
    ids, wanted = padded(rows, torch.device("cpu"))
    assert ids.tolist() == [[1, 0, 1], [0, 1, 0]]
    assert wanted.tolist() == [[False, True, True], [False, True, False]]
    # two tokens; the state is the logit of token 1, that of token 0 is 0. At state 0 both have p = 1/2.
    hidden = torch.tensor([[[0.0], [3.0], [9.0]], [[0.0], [9.0], [9.0]]])
    layer = torch.nn.Linear(1, 2, bias=False)
    layer.weight.data = torch.tensor([[0.0], [1.0]])
    with torch.inference_mode():
        found = sums(hidden, replacement.Head(layer), ids, wanted)
    # row 0: token 0 after state 0: ln 1/2 = -0.6931; token 1 after state 3: -ln(1 + e^-3) = -0.0486; row 1: -0.6931
    assert found == pytest.approx([-0.7417, -0.6931], abs=1e-4)
