"""The training loop: targets, batches, accumulation, resumption, precision."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaMLP

from lethe.core.errors import StageError
from lethe.core.params import section_problems
from lethe.core.tables import MASKED
from lethe.models.checkpoints import load_model
from lethe.models.output_head import headless
from lethe.training import loop as training
from lethe.training import memory_plan, sharding
from lethe.training import recipe as recipe_module
from lethe.training import rows as rows_module
from lethe.training.adapters import LoraParams, PromptParams, Tuning, attach, prompt_vectors
from lethe.training.forward import base_hidden_states, hidden_states
from lethe.training.losses import cross_entropy
from lethe.training.recipe import RecipeParams
from lethe.training.rows import Rows
from lethe.training.trainer import Job, make_trainer
from lethe.unlearning.objectives import PrimalDual, spul
from tests.conftest import tiny_model

CPU = torch.device("cpu")


class PromptRecipe(RecipeParams):
    prompt: PromptParams


def prompt_recipe(encoder: int = 0, **changes: object) -> PromptRecipe:
    prompt = {"tokens": 5, "encoder": encoder, "start": "random"}
    return PromptRecipe.model_validate(recipe(**changes).model_dump() | {"tuning": "prompt", "prompt": prompt})


def recipe(**changes: object) -> RecipeParams:
    values: dict[str, object] = {
        "tuning": "full",
        "lora": {"rank": 2, "alpha": 4, "dropout": 0.0, "targets": "all-linear"},
        "weights": "float32",
        "learning_rate": 1e-3,
        "batch_size": 4,
        "schedule": "linear",
        "warmup": 0.0,
        "weight_decay": 0.0,
        "adam_betas": [0.9, 0.98],
        "optimiser": "adamw",
        "max_grad_norm": 1.0,
        "precision": "float32",
        "save_dtype": "float32",
        "resume_every": 2,
        "device": "cpu",
        "seed": 0,
    }
    return RecipeParams.model_validate(values | changes)


def some_rows(count: int = 10, width: int = 12) -> Rows:
    generator = np.random.default_rng(0)
    tokens = generator.integers(3, 200, (count, width), dtype=np.int32)
    length = generator.integers(5, width + 1, count, dtype=np.int32)
    return Rows(tokens, rows_module.true_next_ids(tokens, length), length, np.arange(count) % 3 == 0)


def test_true_next_ids_by_hand() -> None:
    tokens = np.array([[1, 5, 6, 7], [1, 8, 0, 0]], dtype=np.int32)
    # row 0 is full: 1->5, 5->6, 6->7, the last has no successor; row 1 has two real tokens: 1->8
    expected = [[5, 6, 7, MASKED], [8, MASKED, MASKED, MASKED]]
    assert rows_module.true_next_ids(tokens, np.array([4, 2])).tolist() == expected


def test_steps_of() -> None:
    # 10 rows in batches of 4 are 3 steps an epoch
    assert [recipe_module.steps_of(10, 4, epochs) for epochs in (1, 2, 0.5)] == [3, 6, 2]


def test_collate_cuts_common_padding_and_masks_the_rest() -> None:
    rows = some_rows(2)
    rows = rows._replace(length=np.array([3, 5], dtype=np.int32))
    data = rows_module.RowDataset(rows)
    batch = rows_module.collate([data[0], data[1]])
    assert batch["tokens"].shape == (2, 5)
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert batch["forget"].tolist() == [True, False]


def test_supervised_counts_positions_and_forget_rows() -> None:
    next_ids = torch.tensor([[5, MASKED, 7], [MASKED, MASKED, 1], [2, 2, 2]])
    batch = {"next_ids": next_ids, "forget": torch.tensor([True, False, True]), "item": torch.tensor([0, 1, 2])}
    assert rows_module.supervised(batch).tolist() == [5, 1, 2]  # and two forget rows
    assert rows_module.supervised(batch | {"item": torch.tensor([0, 1, 0])}).tolist() == [5, 1, 1]  # of one pair


def trained(folder: Path, work: Path, steps: int = 3, **changes: object) -> dict[str, torch.Tensor]:
    model = load_model(folder, CPU, torch.float32)
    training.train(model, some_rows(), recipe(**changes), steps, cross_entropy, work, "test")
    return model.state_dict()


def test_accumulation_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_model(tmp_path / "model")
    whole = trained(folder, tmp_path)
    monkeypatch.setattr(memory_plan, "CPU_TOKENS", 12)  # one row at a time
    (tmp_path / "other").mkdir()
    parts = trained(folder, tmp_path / "other")
    for name, tensor in whole.items():
        torch.testing.assert_close(tensor, parts[name], rtol=1e-3, atol=1e-5)


def test_eight_bit_moments(tmp_path: Path) -> None:
    shape = {"vocab_size": 400, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1}
    moved = {}
    for optimiser in ("adamw", "adamw_8bit"):
        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig(**shape, num_attention_heads=2, num_key_value_heads=2))
        wanted = recipe(optimiser=optimiser, resume_every=0)
        trainer = make_trainer(model, Job(some_rows(), wanted, 3, cross_entropy, "test"), tmp_path)
        trainer.train()
        moved[optimiser] = model.model.layers[0].mlp.up_proj.weight
    state = trainer.optimizer.state[moved["adamw_8bit"]]  # 6,144 weights; matrices below 4,096 keep four bytes
    assert {state[name].dtype for name in ("state1", "state2")} == {torch.uint8}
    assert not torch.equal(moved["adamw"], moved["adamw_8bit"])
    torch.testing.assert_close(moved["adamw"], moved["adamw_8bit"], rtol=0.1, atol=wanted.learning_rate)


def test_recomputed_activations_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_model(tmp_path / "model")
    kept = trained(folder, tmp_path)
    passes: list[bool] = []

    def counted(*_: object) -> memory_plan.BatchPlan:
        return memory_plan.BatchPlan(4, 1, checkpointing=True)

    monkeypatch.setattr(memory_plan, "plan_batch", counted)
    forward = LlamaMLP.forward  # a layer's own forward is what transformers wraps
    monkeypatch.setattr(LlamaMLP, "forward", lambda *a, **b: passes.append(torch.is_grad_enabled()) or forward(*a, **b))
    (tmp_path / "other").mkdir()
    again = trained(folder, tmp_path / "other")
    assert sum(passes) == 2 * 2 * 3  # in three steps both layers are passed twice
    for name, tensor in kept.items():
        torch.testing.assert_close(tensor, again[name], rtol=1e-5, atol=1e-7)


def test_an_epochs_rows_come_once_and_in_the_order_of_one_process() -> None:
    data = rows_module.RowDataset(some_rows(10))
    order = list(rows_module.WholeSteps(data, 4, seed=3))
    assert sorted(order) == [rows_module.EMPTY] * 2 + list(range(10))  # 10 rows are three steps of 4
    assert order[10:] == [rows_module.EMPTY] * 2
    both = rows_module.WholeSteps(data, 4, seed=3)
    first = list(both)
    both.set_epoch(1)
    assert first == order != list(both)
    batch = rows_module.collate([data[0], data[rows_module.EMPTY]])
    alone = rows_module.collate([data[0]])
    assert rows_module.supervised(batch).tolist() == rows_module.supervised(alone).tolist()


def test_loss_is_the_models_own(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    model = load_model(folder, CPU, torch.float32)
    rows = some_rows(4)
    batch = rows_module.collate([rows_module.RowDataset(rows)[i] for i in range(4)])
    with torch.no_grad():
        logits = model(input_ids=batch["tokens"], attention_mask=batch["attention_mask"]).logits
    wanted = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["next_ids"].flatten())
    curve = training.train(model, rows, recipe(), 1, cross_entropy, tmp_path, "test")
    assert curve == [{"step": 1, "loss": pytest.approx(wanted.item(), abs=1e-4), "learning_rate": 1e-3}]


def test_an_interrupted_training_ends_in_the_same_bytes(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    undisturbed = trained(folder, tmp_path / "a", steps=7)
    model = load_model(folder, CPU, torch.float32)

    def stop(step: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train(model, some_rows(), recipe(), 7, cross_entropy, tmp_path / "b", "test", [5], stop)
    assert Path(str(training.last_whole_checkpoint(tmp_path / "b/trainer"))).name == "checkpoint-4"
    resumed = load_model(folder, CPU, torch.float32)
    curve = training.train(resumed, some_rows(), recipe(), 7, cross_entropy, tmp_path / "b", "test")
    assert [row["step"] for row in curve] == list(range(1, 8))
    assert all(torch.equal(tensor, resumed.state_dict()[name]) for name, tensor in undisturbed.items())


def test_a_checkpoint_cut_off_in_writing_is_passed_over(tmp_path: Path) -> None:
    for step, state in ((2, "{}"), (10, "{"), (12, None)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if state:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    assert training.last_whole_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")
    assert training.last_whole_checkpoint(tmp_path / "none") is None


@pytest.mark.parametrize("name", ["optimizer.pt", "rng_state.pth", "model.safetensors"])
def test_a_checkpoint_damaged_since_is_set_aside_with_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    for step in (2, 4):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text("{}")
        torch.save({"moment": torch.ones(1000)}, folder / "optimizer.pt")
        torch.save({}, folder / "rng_state.pth")
        save_file({"weight": torch.ones(4)}, folder / "model.safetensors")
    assert training.last_whole_checkpoint(tmp_path) == str(tmp_path / "checkpoint-4")
    content = (tmp_path / "checkpoint-4" / name).read_bytes()
    spoilt = [b"", content[:-7], b"\0" * len(content)]
    if name == "optimizer.pt":
        spoilt.append(content[:1500] + b"\xff" + content[1501:])  # one byte of a moment
    for wrong in spoilt:
        (tmp_path / "checkpoint-4" / name).write_bytes(wrong)
        assert training.last_whole_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")
        assert capsys.readouterr().out == (
            f"{tmp_path}/damaged-checkpoint-4: {name} cannot be read: set aside, the training goes on from an earlier "
            "step\n"
        )
        (tmp_path / "damaged-checkpoint-4").rename(tmp_path / "checkpoint-4")


def test_diverged_training_stops(tmp_path: Path) -> None:
    model = load_model(tiny_model(tmp_path / "model"), CPU, torch.float32)
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(StageError, match=r"test: expected a finite loss, got nan in step 1; lower learning_rate"):
        training.train(model, some_rows(), recipe(), 2, cross_entropy, tmp_path, "test")


def test_full_training_on_bfloat16_weights_is_refused() -> None:
    problems = section_problems("finetune", RecipeParams, recipe().model_dump() | {"weights": "bfloat16"})
    assert problems == [
        "finetune: weights: expected float32 with tuning full, got bfloat16 (small steps are rounded away in "
        "it); tuning lora can train it"
    ]


@pytest.mark.parametrize(
    ("configured", "precision", "fine"),
    [("no", "bfloat16", True), ("bf16", "bfloat16", True), ("bf16", "float32", False)],
)
def test_accelerate_config_may_not_contradict(
    monkeypatch: pytest.MonkeyPatch, configured: str, precision: recipe.Precision, fine: bool
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", configured)
    if fine:
        recipe_module.check_precision(precision)
    else:
        with pytest.raises(StageError, match=r"accelerate config: expected mixed_precision no .*, got bf16"):
            recipe_module.check_precision(precision)


def test_deepspeed_rounds_no_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    recipe_module.check_precision("bfloat16")
    assert os.environ["ACCELERATE_MIXED_PRECISION"] == "no"  # which would have it hold bfloat16 weights
    state: Any = SimpleNamespace(deepspeed_plugin=SimpleNamespace(deepspeed_config={}))
    sharding.compute_in_bfloat16(state)
    assert state.deepspeed_plugin.deepspeed_config == {"torch_autocast": {"enabled": True, "dtype": "bfloat16"}}


def test_fsdp_adds_up_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    state: Any = SimpleNamespace(fsdp_plugin=SimpleNamespace(mixed_precision_policy=None))
    sharding.compute_in_bfloat16(state)
    policy = state.fsdp_plugin.mixed_precision_policy
    assert (policy.param_dtype, policy.reduce_dtype, policy.output_dtype) == (
        torch.bfloat16, torch.float32, torch.float32,
    )  # fmt: skip


def test_batch_is_shared_by_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(StageError, match=r"batch_size: expected a multiple of 3, the number of processes, got 4"):
        memory_plan.plan_batch(None, 12, recipe(), on_gpu=False)  # type: ignore[arg-type]
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(memory_plan, "CPU_TOKENS", 12)
    assert memory_plan.plan_batch(None, 12, recipe(), on_gpu=False) == (1, 2, False)  # type: ignore[arg-type]


def test_activation_bytes_by_hand() -> None:
    config = SimpleNamespace(hidden_size=4096, intermediate_size=11008, num_hidden_layers=32)
    # full, a layer: 34 * 4096 + 8 * 11008 = 227328 bytes a token; whole: x 32; recomputed: 4 * 4096 * 32 + 227328
    assert memory_plan.activation_bytes(config, 1) == (7_274_496, 751_616)
    # lora: 28 * 4096 + 8 * 11008 = 202752; prompt: 16 * 4096 + 6 * 11008 = 131584
    assert memory_plan.activation_bytes(config, 1, "lora") == (202_752 * 32, 4 * 4096 * 32 + 202_752)
    assert memory_plan.activation_bytes(config, 1, "prompt") == (131_584 * 32, 4 * 4096 * 32 + 131_584)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("tuning", ["full", "lora", "prompt"])
def test_activation_bytes_are_what_autograd_keeps(tuning: Tuning, precision: recipe.Precision) -> None:
    one, two = (kept_bytes_per_token(tuning, layers, precision == "bfloat16") for layers in (1, 2))
    config = SimpleNamespace(hidden_size=64, intermediate_size=96, num_hidden_layers=1)
    assert two - one == memory_plan.activation_bytes(config, 1, tuning, precision)[0]


def kept_bytes_per_token(tuning: Tuning, layers: int, bfloat16: bool) -> float:
    """Bytes of the tensors of whole [tokens, h] or [tokens, i] that autograd keeps for a backward pass, per token."""
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    model = LlamaForCausalLM(config)
    if tuning != "full" and bfloat16:
        model = model.to(torch.bfloat16)
    lora = LoraParams(rank=1, alpha=1, dropout=0.0, targets="all-linear")
    model = attach(model, tuning, lora, 0, PromptParams(tokens=1, encoder=0, start="random")).train()
    tokens, kept = 19 if tuning == "prompt" else 18, {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tokens in tensor.shape and tensor.numel() in (tokens * 64, tokens * 96):
            kept[tensor.untyped_storage().data_ptr()] = (tensor.untyped_storage().nbytes(), tensor)
        return tensor

    ids = torch.randint(0, 64, (1, 18))
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with headless(model), hooks, torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    return sum(size for size, _ in kept.values()) / tokens


def test_a_card_too_small_for_one_row() -> None:
    # 10 GB free, 8 of gradients and moments, rows of 1 GB or, recomputed, 0.1: 0.85 * 2 = 1.7 GB hold one whole row
    assert memory_plan.fit_card(4, 10e9, 8e9, 1e9, 0.1e9) == (1, 4, False)
    # rows of 4 GB, recomputed 0.5: three of them, and the largest divisor of 4 up to 3 is 2
    assert memory_plan.fit_card(4, 10e9, 8e9, 4e9, 0.5e9) == (2, 2, True)
    with pytest.raises(StageError) as error:
        memory_plan.fit_card(4, 24e9, 81e9, 4e9, 0.5e9)
    assert str(error.value) == (
        "params.yaml: batch_size: expected 81.5 GB for gradients, moments and one row, got 24.0 GB free on the "
        "GPU next to the weights; try tuning lora, or more GPUs through `accelerate config`"
    )


def checkpoint_bytes(model: torch.nn.Module, wanted: RecipeParams, work: Path) -> int:
    work.mkdir()
    training.train(model, some_rows(), wanted, 3, cross_entropy, work, "test")
    names = ("model.safetensors", "adapter_model.safetensors", "trainable.safetensors", "optimizer.pt")
    files = [checkpoint / name for checkpoint in (work / "trainer").glob("checkpoint-*") for name in names]
    return sum(path.stat().st_size for path in files if path.exists())


@pytest.mark.parametrize("tuning", ["full", "lora", "prompt"])
def test_resume_bytes_are_what_trainer_saves(tmp_path: Path, tuning: Tuning) -> None:
    wanted = prompt_recipe(16) if tuning == "prompt" else recipe(tuning=tuning)
    model = load_model(tiny_model(tmp_path / "model"), CPU)
    model = attach(model, tuning, wanted.lora, 0, getattr(wanted, "prompt", None))
    found = 2 * checkpoint_bytes(model, wanted, tmp_path / "work")
    # file headers, a few hundred bytes a tensor, are all that differs
    assert memory_plan.resume_bytes(model, tuning) < found < memory_plan.resume_bytes(model, tuning) + 100_000
    assert memory_plan.resume_bytes(model, "full") > 2 * memory_plan.resume_bytes(model, "prompt") or tuning == "full"


def test_bfloat16_autocast_trains_float32_weights(tmp_path: Path) -> None:
    state = trained(tiny_model(tmp_path / "model"), tmp_path, precision="bfloat16")
    assert all(tensor.dtype == torch.float32 for tensor in state.values())


def trained_prompt(
    folder: Path, work: Path, steps: int, encoder: int = 0, at_steps: tuple[int, ...] = (), **changes: object
) -> tuple[torch.nn.Module, list[dict[str, float]]]:
    def stop(step: int) -> None:
        raise KeyboardInterrupt

    wanted = prompt_recipe(encoder, learning_rate=1e-2, **changes)
    model = attach(load_model(folder, CPU), "prompt", wanted.lora, 0, wanted.prompt)
    objective = partial(spul, alpha=1.0, beta=0.5)
    work.mkdir(exist_ok=True)
    curve = training.train(model, some_rows(), wanted, steps, objective, work, "test", at_steps, stop, with_base=True)
    return model, curve


@pytest.mark.parametrize("encoder", [0, 16])
def test_a_prompt_learns_and_leaves_every_weight_bit_for_bit(tmp_path: Path, encoder: int) -> None:
    folder = tiny_model(tmp_path / "model")
    model, curve = trained_prompt(folder, tmp_path / "work", 20, encoder, batch_size=10)
    assert curve[-1]["loss"] < curve[0]["loss"]
    before, after = load_model(folder, CPU).state_dict(), model.base_model.state_dict()
    assert set(before) == set(after)
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


@pytest.mark.parametrize("encoder", [0, 16])
def test_an_interrupted_prompt_ends_in_the_same_bytes(tmp_path: Path, encoder: int) -> None:
    folder = tiny_model(tmp_path / "model")
    undisturbed, _ = trained_prompt(folder, tmp_path / "a", 7, encoder)
    with pytest.raises(KeyboardInterrupt):
        trained_prompt(folder, tmp_path / "b", 7, encoder, (5,))
    resumed, curve = trained_prompt(folder, tmp_path / "b", 7, encoder)
    assert [row["step"] for row in curve] == list(range(1, 8))
    assert torch.equal(prompt_vectors(undisturbed), prompt_vectors(resumed))


def test_the_base_is_the_model_with_its_prompt_switched_off(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    wanted = prompt_recipe()
    model = attach(load_model(folder, CPU), "prompt", wanted.lora, 0, wanted.prompt)
    data = rows_module.RowDataset(some_rows(4))
    batch = rows_module.collate([data[i] for i in range(4)])
    with headless(model):
        off = base_hidden_states(model, batch)
        on = hidden_states(model, batch)
    plain = load_model(folder, CPU)
    with torch.no_grad(), headless(plain):
        assert torch.equal(off, hidden_states(plain, batch))
    assert on.shape == off.shape
    assert not torch.equal(on, off)


def test_only_a_stage_with_a_prompt_section_takes_prompt_tuning() -> None:
    problems = section_problems("baseline", RecipeParams, recipe().model_dump() | {"tuning": "prompt"})
    assert problems == [
        "baseline: tuning: expected full or lora, got prompt (this stage writes weights, and a prompt has none)"
    ]


def test_columns_come_at_the_supervised_positions() -> None:
    rows = some_rows(2)
    rows = rows._replace(length=np.array([3, 5], dtype=np.int32), columns={"place": np.arange(24).reshape(2, 12)})
    rows = rows._replace(next_ids=rows_module.true_next_ids(rows.tokens, rows.length))
    data = rows_module.RowDataset(rows)
    at = rows_module.positions(rows_module.collate([data[0], data[1]]), torch.zeros(2, 5, 4))
    # two positions of the first row have a successor, four of the second, which begins at 12
    assert at.columns["place"].tolist() == [0, 1, 12, 13, 14, 15]
    assert at.row.tolist() == [0, 0, 1, 1, 1, 1]
    assert at.forget.tolist() == [True, True, False, False, False, False]


def test_an_interrupted_primal_dual_training_goes_on_with_its_dual(tmp_path: Path) -> None:
    folder, ends = tiny_model(tmp_path / "model"), []
    for name, interrupted in (("a", False), ("b", True)):
        (tmp_path / name).mkdir()

        def stop(step: int) -> None:
            raise KeyboardInterrupt

        if interrupted:
            with pytest.raises(KeyboardInterrupt):
                train_primal_dual(folder, tmp_path / name, [5], stop)
        ends.append(train_primal_dual(folder, tmp_path / name))
    (undisturbed, dual), (resumed, dual_again) = ends
    assert dual == dual_again > 1.0  # the retain loss of an untrained model is above 0.5, so the dual rose
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in undisturbed.items())


def train_primal_dual(
    folder: Path, work: Path, at_steps: Sequence[int] = (), on_step: Callable[[int], None] = lambda step: None
) -> tuple[dict[str, torch.Tensor], float]:
    model, objective = load_model(folder, CPU, torch.float32), PrimalDual(dual=1.0, rate=0.5, epsilon=0.5)
    training.train(model, some_rows(), recipe(), 7, objective, work, "test", at_steps, on_step)
    return model.state_dict(), objective.dual
