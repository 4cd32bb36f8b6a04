"""Fluency, by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from lethe.core.errors import StageError
from lethe.core.tables import CONTINUATIONS, read_jsonl, write_jsonl
from lethe.evaluation import fluency
from lethe.evaluation.completions import perplexity_factor
from lethe.evaluation.fluency import FluencyParams, Start, Written
from lethe.evaluation.prompts import Prompt
from lethe.inference.scoring import MOST_NATS
from tests.conftest import tiny_model

PARAMS = FluencyParams(prompts=3, words=2, new_tokens=5, seed=0)


def said(text: str, model: str = "unlearned", side: str = "retain", prompt: str = "So", ended: bool = True) -> Written:
    return Written(model, Start(side, 0, prompt, [1]), text, [2] * len(text.split()), ended)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("at the door door of", True),
        ("at the Door\ndoor of", True),  # any case, any white space
        ('"No no," he said', True),
        ("she had had enough", True),  # right in English; the references write it too
        ("door, door", False),
        ('"No," no', False),
        ("J. J. Smith", False),
        ("- - -", False),  # no words
        ("the other", False),  # a part of a word
        ("ДВЕРЬ дверь", True),
        ("धीरे धीरे", True),  # vowel signs are no letters
        ("دخل الباب الباب", True),
        ("他在门口门口说", True),  # no spaces between words: two characters twice
        ("妈妈说", False),
        ("", False),
    ],
)
def test_a_doubled_word_in_any_script(text: str, found: bool) -> None:
    assert fluency.doubled(text) is found


def test_words_of_any_script() -> None:
    assert fluency.words_of(' “The old Mill’s” (door), x2!\n"--"') == ["the", "old", "mill’s", "door", "x2"]
    assert fluency.words_of("धीरे, 门口") == ["धीरे", "门", "口"]


def test_the_edges_of_a_continuation() -> None:
    # the prompt's last word counts for doubling, a word that the limit may have cut does not
    assert fluency.stutters(said(" door opened", prompt="Near the Door"))
    assert not fluency.stutters(said("s door opened", prompt="Near the door"))  # `doors door`
    assert not fluency.stutters(said(" the the", ended=False))  # perhaps `the theatre`
    assert fluency.stutters(said(" the the", ended=True))
    assert not fluency.stutters(said("The end", prompt="the "))


def test_common_4grams_by_hand() -> None:
    texts = ["a b c d", "x A b c d, y", "p q r s a b c", "p q r s"]
    gram, held = fluency.common([fluency.ngrams(text) for text in texts])
    # `a b c d` and `p q r s` are in two each; the first in the alphabet
    assert (gram, held) == (("a", "b", "c", "d"), [True, True, False, False])
    # twice in one continuation is not common
    assert fluency.common([fluency.ngrams("a b c d a b c d"), fluency.ngrams("e f g h")]) == (None, [False, False])
    assert fluency.common([]) == (None, [])


def test_distinct_4grams_by_hand() -> None:
    # abcd bcde | abcd | none: 2 of 3 are different
    found = fluency.distinct([fluency.ngrams(text) for text in ("a b c d e", "a b c d", "a b c")])
    assert found is not None
    assert (found.value, found.items) == (pytest.approx(2 / 3), 3)
    assert fluency.distinct([[], []]) is None


def test_the_interval_of_distinct_4grams_holds_the_value() -> None:
    # drawing continuations anew would count those drawn twice as repeated: about 0.63 for what is all different
    different = [fluency.ngrams(f"a{i} b{i} c{i} d{i} e{i}") for i in range(40)]
    found = fluency.distinct(different)
    assert found is not None
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)
    half = fluency.distinct(different[:20] + [fluency.ngrams("a b c d e")] * 20)
    assert half is not None
    assert half.low is not None
    assert half.high is not None
    # 20 continuations of 2 grams and one text for the other 20: 42 of 80 grams
    assert half.value == pytest.approx(42 / 80)
    assert half.low < half.value < half.high


def test_perplexity_by_hand() -> None:
    # 2 tokens at 1/2 each and 1 at 1/8: exp((2 ln 2 + ln 8) / 3) = 2^(5/3); the third continuation says nothing
    found = fluency.perplexity([2 * math.log(2), math.log(8), 0.0], [2, 1, 0])
    assert found is not None
    assert (found.value, found.items) == (pytest.approx(2 ** (5 / 3)), 2)
    assert found.low == pytest.approx(2)  # both draws the first
    assert found.high == pytest.approx(8)
    assert fluency.perplexity([0.0], [0]) is None


def test_the_perplexity_of_a_ruined_model_is_a_number() -> None:
    ruined = fluency.perplexity([5000.0, 9000.0], [4, 4])  # no float holds exp(1250)
    assert ruined is not None
    assert (ruined.value, ruined.low, ruined.high) == (math.exp(MOST_NATS),) * 3
    losses = np.array([5000.0, 9000.0])
    assert perplexity_factor(0 * losses, losses, np.array([4.0, 4.0]), axis=0) == math.exp(MOST_NATS)


def test_scores_by_hand() -> None:
    items = [said("the door door of the mill"), said("so the mill stood dark"), said("the"), said("!!!!!!")]
    items += [said("the mill stood dark now", side="forget"), said("the mill stood dark now", model="retrained")]
    found = fluency.scores(items, None)
    assert list(found) == ["unlearned", "retrained"]
    values = {name: numbers["value"] for name, numbers in found["unlearned"].items()}
    assert values == {
        "retain_doubled_words": 0.25,
        "retain_common_4gram": 0.0,  # none is in two continuations
        "retain_distinct_4grams": 1.0,  # 3 + 2, all different
        "retain_short": 0.5,  # a word, and none
        "forget_doubled_words": 0.0,
        "forget_common_4gram": 0.0,
        "forget_distinct_4grams": 1.0,
        "forget_short": 0.0,
    }
    # one of four, Wilson 95 %: 0.046 to 0.699
    numbers = found["unlearned"]["retain_doubled_words"]
    assert (numbers["low"], numbers["high"]) == (pytest.approx(0.0456, abs=1e-4), pytest.approx(0.6994, abs=1e-4))
    assert numbers["items"] == 4
    with_judge = fluency.scores(items[:2], [6 * math.log(2), 5 * math.log(2)])["unlearned"]
    assert with_judge["retain_continuation_perplexity"]["value"] == pytest.approx(2.0)


def test_beginnings_are_whole_words_at_sentence_starts() -> None:
    text = "The sun\nwent down. Nobody knew where. Tom sat.\n\n“Well, then,” he said. The end."
    found = fluency.beginnings([text, text], words=2, count=9, seed=0)
    # after the last sentence's two words nothing follows; each only once
    assert sorted(found) == ["Nobody knew", "The sun", "Tom sat.", "“Well, then,”"]
    assert fluency.beginnings([text], words=2, count=2, seed=0) == found[:2]
    assert {tuple(fluency.beginnings([text], 2, 2, seed)) for seed in range(9)} > {tuple(found[:2])}
    assert fluency.beginnings([text], words=2, count=0, seed=0) == fluency.beginnings([], 2, 9, 0) == []
    assert fluency.beginnings(["Too short."], words=2, count=9, seed=0) == []


def test_prompts_are_evenly_spaced() -> None:
    prompts = [Prompt(id, "", [], [], set()) for id in range(10)]
    assert [prompt.id for prompt in fluency.spaced(prompts, 4)] == [0, 2, 5, 7]
    assert [prompt.id for prompt in fluency.spaced(prompts[:2], 4)] == [0, 1]


def test_starts_and_continuations_of_a_model(tmp_path: Path) -> None:
    import torch

    from lethe.models.checkpoints import load_model, load_tokenizer

    folder = tiny_model(tmp_path / "model")
    tokenizer = load_tokenizer(folder)
    prompts = [Prompt(7, "Orla went to", [], tokenizer("Orla went to")["input_ids"], set())]
    retain = ["The sun went down. Nobody knew where the river was.\n"]
    starts = fluency.starts_of(retain, prompts, tokenizer, False, 64, PARAMS)
    assert {(start.side, start.text) for start in starts} == {
        ("retain", "The sun"), ("retain", "Nobody knew"), ("forget", "Orla went to"),
    }  # fmt: skip
    assert [start.id for start in starts] == [0, 1, 7]
    model = load_model(folder, torch.device("cpu"))
    items = fluency.written("retrained", model, tokenizer, starts, 5)
    ids = torch.tensor([starts[2].tokens + items[2].tokens])
    with torch.inference_mode():
        logs = model(ids).logits[0].log_softmax(dim=-1)
    first = len(starts[2].tokens)
    places = range(first, ids.shape[1])
    own = -sum(float(logs[place - 1, ids[0, place]]) for place in places)
    assert fluency.surprise(model, items)[2] == pytest.approx(own, rel=1e-5)
    silent = items[0]._replace(tokens=[])
    assert fluency.surprise(model, [silent]) == [0.0]
    report = fluency.fluency_report(items, [("retrained", model)], PARAMS, {})
    assert (report["prompts"], report["absent"]) == ({"retain": 2, "forget": 1}, {})
    assert report["models"]["retrained"]["forget_continuation_perplexity"]["items"] == 1
    write_jsonl(fluency.continuation_rows(items), tmp_path / "rows.jsonl")
    rows = read_jsonl(tmp_path / "rows.jsonl", CONTINUATIONS)
    assert [(row["side"], row["id"], row["continuation"]) for row in rows] == [
        (item.start.side, item.start.id, item.text) for item in items
    ]
    with pytest.raises(StageError) as error:
        fluency.starts_of(retain, prompts, tokenizer, False, 7, PARAMS)
    assert str(error.value) == (
        "evaluate.fluency: retain prompt 0: expected at most 2 tokens, the model's context less new_tokens, got "
        f"{len(starts[0].tokens)}; lower evaluate.fluency.new_tokens"
    )


def test_what_cannot_be_measured_says_why() -> None:
    report = fluency.fluency_report([said("so it was then", side="forget")], [], PARAMS, {"retrained": "not trained"})
    assert report["absent"] == {
        "continuation_perplexity": "retrained: not trained",
        "retain_fluency": "no held-out retain text goes on after 2 words",
    }
    assert report["prompts"] == {"retain": 0, "forget": 1}
    off = fluency.fluency_report([], [], PARAMS.model_copy(update={"prompts": 0}), {})
    assert off["absent"] == {
        "continuation_perplexity": "retrained: not among the models measured",
        "fluency": "evaluate.fluency.prompts is 0",
    }


def test_rows_name_the_common_4gram_where_it_is() -> None:
    items = [said(" So the mill stood dark"), said(" the mill stood dark"), said(" a b c d"), said(" x x")]
    rows = fluency.continuation_rows(items)
    assert [row["common"] for row in rows] == ["the mill stood dark"] * 2 + [None, None]
    assert [row["doubled"] for row in rows] == [True, False, False, True]  # `So So`
