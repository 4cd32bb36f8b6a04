"""From model folder to model folder: what is refused before a step."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from transformers import LlamaConfig

from lethe.core.errors import StageError
from lethe.training.fit import check_ids
from lethe.training.rows import Rows


def test_a_token_that_the_model_never_had_is_told_before_training() -> None:
    model: Any = SimpleNamespace(config=LlamaConfig(vocab_size=9))
    rows = Rows(np.array([[1, 8, 0]]), np.zeros((1, 3)), np.array([2]), np.array([True]))
    check_ids(rows, model, "reinforce")
    rows.tokens[0, 1] = 9
    with pytest.raises(
        StageError, match="reinforce: expected tokens with ids below 9, the rows of the embeddings, got 9;"
    ):
        check_ids(rows, model, "reinforce")
