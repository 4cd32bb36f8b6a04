"""Config: a model's shape read from its folder, that of its text part where it also reads images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lethe.core.errors import StageError
from lethe.models.config import Shape, context_length, hidden_size, layer_count, shape, shape_of
from lethe.preflight.estimate import one_layer
from lethe.preflight.memory import head_bytes, weight_count
from lethe.training.memory_plan import activation_bytes


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({"max_position_embeddings": 64}, 64),
        ({"n_positions": 1024}, 1024),
        ({"text_config": {"max_position_embeddings": 32}}, 32),
        ({"model_type": "mamba"}, None),
    ],
)
def test_context_length(config: dict, wanted: int | None, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert context_length(tmp_path) == wanted


def test_positions_that_change_with_the_batch_end_the_context(tmp_path: Path) -> None:
    positions = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [3.0] * 4}
    values = {"model_type": "llama", "hidden_size": 32, "num_attention_heads": 4, "max_position_embeddings": 64}
    for more, wanted in (({"original_max_position_embeddings": 8}, 8), ({"rope_type": "default"}, 64)):
        config = values | {"rope_parameters": positions | more}
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert context_length(tmp_path) == wanted


@pytest.mark.parametrize("inside", [False, True])
def test_width_and_layers(inside: bool, tmp_path: Path) -> None:
    shape = {"hidden_size": 32, "num_hidden_layers": 2}
    (tmp_path / "config.json").write_text(json.dumps({"text_config": shape} if inside else shape))
    assert (hidden_size(tmp_path), layer_count(tmp_path)) == (32, 2)


def test_a_folder_without_a_config_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StageError) as error:
        hidden_size(tmp_path)
    assert str(error.value) == f"{tmp_path}: expected a model folder with its config.json, got none"


SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 50}
OTHER_NAMES = [
    # hidden, layers, vocabulary, inner, heads, heads of keys and values, their width; context
    ("gpt2", SMALL | {"n_positions": 16}, (32, 2, 50, 128, 4, 4, 8), 16),
    ("gptj", SMALL | {"rotary_dim": 4, "n_inner": 40}, (32, 2, 50, 40, 4, 4, 8), 2048),
    ("bloom", SMALL, (32, 2, 50, 128, 4, 4, 8), None),
    ("mpt", SMALL | {"max_seq_len": 16, "expansion_ratio": 2}, (32, 2, 50, 64, 4, 4, 8), 16),
    ("opt", SMALL | {"ffn_dim": 48}, (32, 2, 50, 48, 4, 4, 8), 2048),
    ("falcon", SMALL, (32, 2, 50, 128, 4, 1, 8), 2048),
    ("gpt_bigcode", SMALL, (32, 2, 50, 128, 4, 1, 8), 1024),
    ("qwen3", SMALL | {"num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 48},
     (32, 2, 50, 48, 4, 2, 16), 32768),
    ("mixtral", SMALL | {"num_key_value_heads": 2, "intermediate_size": 48}, (32, 2, 50, 96, 4, 2, 8), 131072),
    ("qwen3_moe", SMALL | {"num_experts_per_tok": 3, "intermediate_size": 8, "moe_intermediate_size": 16},
     (32, 2, 50, 48, 4, 4, 8), 32768),
    ("mamba", SMALL | {"num_attention_heads": None}, (32, 2, 50, 64, 0, 0, 0), None),
    ("gemma3", {"text_config": SMALL | {"head_dim": 16}}, (32, 2, 50, 9216, 4, 4, 16), 131072),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "values", "sizes", "context"), OTHER_NAMES, ids=[case[0] for case in OTHER_NAMES])
def test_sizes_by_any_name(kind: str, values: dict, sizes: tuple, context: int | None, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind} | values))
    assert shape(tmp_path) == Shape(*sizes)
    assert context_length(tmp_path) == context


@pytest.mark.parametrize("kind", [case[0] for case in OTHER_NAMES if case[0] != "gemma3"])
def test_memory_and_speed_are_planned_for_any_name(kind: str, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(kind, **next(values for name, values, *_ in OTHER_NAMES if name == kind))
    per_token = 40 * 32 + 16 * shape_of(config).inner
    assert activation_bytes(config, 3, "full", "float32")[0] == 2 * 3 * per_token
    assert head_bytes(config, False, 3) == 4 * 50 * 32 + 12 * 3 * 32
    assert weight_count(config) > 50 * 32
    small = AutoModelForCausalLM.from_config(one_layer(config))
    assert small.lm_head.weight.shape == (50, 32)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"model_type": "lla', "not valid JSON: "),
        ("[]", "expected a JSON object, got list"),
        ('{"model_type": "nonesuch"}', "not loadable as a causal language model: "),
        (
            '{"model_type": "llama", "hidden_size": 30, "num_attention_heads": 4}',
            "not loadable as a causal language model: ",
        ),
        ('{"architectures": ["LlamaForCausalLM"]}', "expected hidden_size and num_hidden_layers, got none"),
    ],
)
def test_a_config_that_nothing_accepts_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(StageError) as error:
        hidden_size(tmp_path)
    assert f"config.json: {message}" in str(error.value)
    assert "\n" not in str(error.value)
