"""What a run will take, before anything runs: tokens, floating-point operations, memory. Arithmetic, and one timing.

The operations of a transformer are 2 per weight and token forwards, and twice that backwards (Kaplan et al. 2020,
section 2.1). How fast they go here is measured on one layer of this very model; the estimate is good to a factor of
two or three.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from stages.lib.errors import StageError

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig

CHARACTERS = 4.0  # of English text a token, before there is a tokenizer to ask
GRADIENTS_AND_MOMENTS = 12  # bytes a trained weight: float32 gradient and two Adam moments, as plan_batch has it
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
PROCESS = 600_000_000  # bytes of Python, torch and transformers before there is a model
PROBE_SECONDS, PROBE_TOKENS = 1.0, 512
FORWARD, FULL, ADAPTER = 2, 6, 4  # operations per weight and token; frozen weights need no gradient of their own


class Work(NamedTuple):
    """What one stage has to compute."""

    stage: str
    tokens: int
    operations: float
    steps: int | None  # of the optimiser
    memory: int  # bytes on the device: at least one row of a batch at a time


class Texts(NamedTuple):
    """Tokens of the training text of each side."""

    forget: int
    retain: int


def works(sections: Mapping[str, Any], config: PretrainedConfig, texts: Texts) -> list[Work]:
    """The stages that take a model's time, in the pipeline's order. sections: the validated sections of params.yaml."""
    weights = weight_count(config)
    baseline, label, evaluate = sections["baseline"], sections["label"], sections["evaluate"]
    both = texts.forget + texts.retain
    found = []
    if baseline.epochs:
        found.append(training("baseline", baseline, config, baseline.block_tokens, round(both * baseline.epochs)))
        alone = round(texts.retain * baseline.epochs)
        found.append(training("retrain", baseline, config, baseline.block_tokens, alone))
    reinforce, finetune, width = sections["reinforce"], sections["finetune"], sections["block"].tokens
    found.append(training("reinforce", reinforce, config, width, round(texts.forget * reinforce.epochs)))
    held = 2 * weights * BYTES[label.precision]  # baseline and reinforced model, one after the other in the worst case
    passes = 2 * texts.forget
    found.append(Work("label", passes, FORWARD * weights * passes, None, held))
    rows = finetune.steps * finetune.batch_size * width
    found.append(training("finetune", finetune, config, width, rows))
    prompts = sections["prompt"].cloze * (2 * sections["prompt"].words + evaluate.new_tokens)
    models = 3 + len(finetune.checkpoints)
    read = models * (prompts + both // 10)
    found.append(Work("evaluate", read, FORWARD * weights * read, None, weights * BYTES[evaluate.precision]))
    return found


def training(stage: str, recipe: Any, config: PretrainedConfig, block_tokens: int, tokens: int) -> Work:
    """A training of `tokens` tokens in rows of `block_tokens`; its memory is that of one row, checkpointed."""
    from stages.lib.training import activation_bytes

    weights = weight_count(config)
    moved = weights if recipe.vehicle == "full" else round(0.01 * weights)
    each = FULL if recipe.vehicle == "full" else ADAPTER
    smallest = min(activation_bytes(config, block_tokens))
    memory = weights * BYTES[recipe.weights] + GRADIENTS_AND_MOMENTS * moved + smallest
    steps = -(-tokens // (recipe.batch_size * block_tokens))
    return Work(stage, tokens, each * weights * tokens, steps, memory)


def weight_count(config: PretrainedConfig) -> int:
    """How many weights a causal language model of this config has; nothing is allocated."""
    return sum(parameter.numel() for parameter in empty_model(config).parameters())


def empty_model(config: PretrainedConfig) -> Any:
    """A model of this config without memory for its weights."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def config_of(baseline: Any) -> PretrainedConfig | None:
    """The config of the model that params.yaml asks for; None for the Hub's before it was fetched."""
    from transformers import AutoConfig, LlamaConfig

    if baseline.source == "scratch":
        shape = baseline.scratch
        return LlamaConfig(
            vocab_size=shape.vocabulary,
            hidden_size=shape.hidden,
            intermediate_size=shape.intermediate,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.heads,
            max_position_embeddings=shape.context,
            tie_word_embeddings=True,
        )
    folder = Path("models/start") if baseline.source == "hub" else Path(baseline.folder)
    if not (folder / "config.json").exists():
        return None
    return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def texts_of(corpus: Any) -> Texts:
    """Tokens of each side, from the size of its files; text held out is left out."""
    from stages.corpus import SUFFIXES
    from stages.lib.hashing import folder_files

    counts = []
    for folder in (Path(corpus.forget), Path(corpus.retain)):
        if not folder.is_dir():
            raise StageError(f"{folder}: no such folder, wanted the text whose size says how long a run takes")
        size = sum(path.stat().st_size for path in folder_files(folder) if path.suffix.lower() in SUFFIXES)
        counts.append(round(size * (1 - corpus.held_out) / CHARACTERS))
    return Texts(*counts)


def speed(config: PretrainedConfig, device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a training step here: one layer of this model, forwards and backwards, the fastest."""
    import copy

    import torch
    from transformers import AutoModelForCausalLM

    small = copy.deepcopy(config)
    small.num_hidden_layers, small.vocab_size = 1, min(config.vocab_size, 4096)
    model = AutoModelForCausalLM.from_config(small).to(device)
    width = min(PROBE_TOKENS, getattr(config, "max_position_embeddings", PROBE_TOKENS))
    rows = max(1, 2048 // width)
    tokens = torch.zeros(rows, width, dtype=torch.long, device=device)
    weights = sum(parameter.numel() for parameter in model.parameters())

    def step() -> None:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        model.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()

    step()  # the first one allocates
    began, fastest = time.perf_counter(), float("inf")
    while time.perf_counter() - began < PROBE_SECONDS or fastest == float("inf"):
        started = time.perf_counter()
        step()
        fastest = min(fastest, time.perf_counter() - started)  # what else the machine does now is not asked for
    return FULL * weights * tokens.numel() / fastest
