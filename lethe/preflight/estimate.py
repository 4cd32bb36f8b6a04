"""What a run will take, before anything runs: tokens, floating-point operations, memory. Arithmetic and one timing.

The operations of a transformer are 2 per weight and token forwards, and twice that backwards (Kaplan et al. 2020,
section 2.1). Their speed here is measured on one layer of the same model; the estimate is good to a factor of two
or three.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lethe.core.errors import StageError
from lethe.core.tables import read_json
from lethe.models.config import context_length, context_of, layer_count, load_config, shape_of, text_part, untrained
from lethe.preflight.memory import Cards, Memory, training_memory, weight_count
from lethe.running.disk import header_of_gguf, whole
from lethe.training.memory_plan import PROCESS as PROCESS

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig

SHAPES = Path("presets/shapes.json")
CHARACTERS = 4.0  # of English text a token, before there is a tokenizer to ask
PROBE_SECONDS, PROBE_TOKENS = 1.0, 512
FORWARD, FULL, ADAPTER = 2, 6, 4  # operations per weight and token; frozen weights need no gradient of their own


class Work(NamedTuple):
    """What one stage has to compute."""

    stage: str
    tokens: int
    operations: float
    steps: int | None  # of the optimiser
    memory: int  # bytes on the device at the worst moment
    pieces: Memory | None = None  # of a training: the parts of that memory
    disk: int = 0  # bytes of what it leaves
    start: float = 0.0  # seconds before the first operation: imports, loading


class Texts(NamedTuple):
    """Tokens of the training text of each side."""

    forget: int
    retain: int


def trained(stage: str, recipe: Any, config: PretrainedConfig, block_tokens: int, tokens: int, cards: Cards) -> Work:
    """A training of `tokens` tokens in rows of `block_tokens`."""
    weights = weight_count(config)
    each = FULL if recipe.tuning == "full" else ADAPTER
    memory = training_memory(recipe, config, block_tokens, cards)
    steps = -(-tokens // (recipe.batch_size * block_tokens))
    return Work(stage, tokens, each * weights * tokens, steps, round(memory.total), memory)


def config_of(baseline: Any, model: Path | None = None) -> PretrainedConfig | None:
    """The config in the folder `model`, or of the model that params.yaml asks for; None for the Hub's, not yet fetched,
    unless presets/shapes.json has its sizes.

    Raises StageError if the folder has none.
    """
    from lethe.pretrained.from_scratch import llama_config

    if model and not (model / "config.json").exists():
        raise StageError(f"{model}: expected a model folder, got no config.json")
    if baseline.source == "scratch" and not model:
        return llama_config(baseline.scratch, baseline.scratch.vocabulary)
    if baseline.source == "gguf" and not model:
        from lethe.pretrained.gguf_file import gguf_config, gguf_path

        own = Path(baseline.folder)
        return gguf_config(gguf_path(own, "baseline.folder")) if own.exists() else None
    folder = model or (Path("models/start") if baseline.source == "hub" else Path(baseline.folder))
    if not (folder / "config.json").exists():
        return known_shape(baseline.model) if baseline.source == "hub" else None
    return load_config(folder)


def context_planned(baseline: Any) -> int | None:
    """The model's context; None where it is not known yet or has no limit."""
    if baseline.source == "scratch":
        return baseline.scratch.context
    if baseline.source == "folder" and (Path(baseline.folder) / "config.json").exists():
        return whole(lambda: context_length(Path(baseline.folder)))
    return whole(lambda: header_of_gguf(baseline).context) if baseline.source == "gguf" else None


def layers_planned(baseline: Any) -> int | None:
    """How many layers the model has; None where it is not known yet."""
    if baseline.source == "scratch":
        return baseline.scratch.layers
    folder = Path(baseline.folder)
    there = baseline.source == "folder" and (folder / "config.json").exists()
    return whole(lambda: layer_count(folder)) if there else None


def known_shape(repo: str | None) -> PretrainedConfig | None:
    """A config with the published sizes of a model of the Hub, None where presets/shapes.json lacks it."""
    from transformers import AutoConfig

    known = read_json(SHAPES) if SHAPES.exists() else {}
    return AutoConfig.for_model(**known[repo]) if repo in known else None


def texts_of(corpus: Any) -> Texts:
    """Tokens of each side, from the size of its files' text; held-out text and missing folders do not count.

    Raises StageError for a book or document that cannot be read.
    """
    from lethe.core.hashing import folder_files
    from lethe.text.formats import READERS
    from lethe.text.passages import SUFFIXES, read_texts

    def size_of(path: Path) -> int:
        if path.suffix.lower() not in READERS:
            return path.stat().st_size
        return sum(len(text.encode()) for _, text in read_texts(path))

    counts = []
    for folder in (Path(corpus.forget), Path(corpus.retain)):
        files = folder_files(folder) if folder.is_dir() else []
        size = sum(size_of(path) for path in files if path.suffix.lower() in SUFFIXES)
        counts.append(round(size * (1 - corpus.held_out) / CHARACTERS))
    return Texts(*counts)


def one_layer(config: PretrainedConfig) -> Any:
    """The config of a Llama with one layer of the same sizes, and no more than 4096 tokens."""
    from transformers import LlamaConfig

    shape = shape_of(config)
    heads = shape.heads if shape.heads and shape.hidden % (2 * shape.heads) == 0 else 1
    return LlamaConfig(
        vocab_size=min(shape.vocabulary, 4096),
        hidden_size=shape.hidden,
        intermediate_size=shape.inner,
        num_hidden_layers=1,
        num_attention_heads=heads,
        num_key_value_heads=shape.cached_heads if heads % (shape.cached_heads or heads + 1) == 0 else heads,
        pad_token_id=None,
    )


def speed(config: PretrainedConfig, device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of a training step here: one layer of these sizes, forwards and backwards, the fastest."""
    import torch

    model = untrained(one_layer(config)).to(device)
    width = min(PROBE_TOKENS, context_of(text_part(config)) or PROBE_TOKENS)
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
        fastest = min(fastest, time.perf_counter() - started)  # the fastest is least disturbed by other work
    return FULL * weights * tokens.numel() / fastest
