"""Hidden states at the last token and the classifier that reads names off them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info, threadpool_limits

from lethe.attacks.linear_probe import frequent, last_states, layers_at, probe_hits, shuffled
from lethe.classification.forget_split import cluster_numbers, tfidf_vectors
from lethe.models.checkpoints import load_model
from tests.conftest import tiny_model

PROMPTS = [[0, 70, 71, 72], [0, 90], [0, 65, 66, 67, 68]]


def test_states_are_those_of_each_prompt_alone(tmp_path: Path) -> None:
    model = load_model(tiny_model(tmp_path), torch.device("cpu"))
    found = last_states(model, PROMPTS, [1, 2])
    for i, prompt in enumerate(PROMPTS):
        with torch.inference_mode():
            states = model(torch.tensor([prompt]), output_hidden_states=True).hidden_states
        for k, layer in enumerate((1, 2)):
            np.testing.assert_allclose(found[k][i], states[layer][0, -1].numpy(), rtol=1e-4, atol=1e-5)


def test_layers_at_depths() -> None:
    assert layers_at([0.5, 1.0, 0.01], 4) == [2, 4, 1]


def test_rare_names_are_left_out() -> None:
    assert frequent(["a", "b", "a", "c", "a", "b"], 2) == {"a", "b"}


def test_shuffled_labels_are_the_same_labels() -> None:
    labels = [str(i % 3) for i in range(30)]
    assert sorted(shuffled(labels, 0)) == sorted(labels)
    assert shuffled(labels, 0) == shuffled(labels, 0) != labels


def test_a_probe_finds_what_is_there_and_nothing_else() -> None:
    chance = np.random.default_rng(0)
    labels = ["a", "b"] * 50
    states = chance.normal(size=(100, 8))
    states[:, 3] += np.where(np.array(labels) == "a", 4.0, -4.0)
    right = probe_hits(states[:80], labels[:80], states[80:], labels[80:], 1e-3)
    assert sum(right) == len(right) == 20
    control = probe_hits(states[:80], shuffled(labels[:80], 0), states[80:], labels[80:], 1e-3)
    assert 0 <= sum(control) < 20


@pytest.mark.parametrize(
    ("learner", "method", "work"),
    [
        (LogisticRegression, "fit", lambda: probe_hits(np.eye(4), ["a", "b"] * 2, np.eye(4), ["a"] * 4, 1e-3)),
        (KMeans, "fit_predict", lambda: cluster_numbers(np.eye(4), 2, 0)),
        (
            TruncatedSVD,
            "fit_transform",
            lambda: tfidf_vectors(["oak elm ash", "elm ash fir", "fir oak yew", "yew elm"]),
        ),
    ],
)
def test_what_is_learnt_does_not_depend_on_the_threads(
    monkeypatch: pytest.MonkeyPatch, learner: type, method: str, work: Callable[[], object]
) -> None:
    threads, untouched = [], getattr(learner, method)

    def spy(*arguments: object) -> object:
        threads.extend(pool["num_threads"] for pool in threadpool_info())
        return untouched(*arguments)

    monkeypatch.setattr(learner, method, spy)
    with threadpool_limits(2):
        work()
    assert set(threads) == {1}
