"""A model from scratch: its shape, its tokenizer, its random weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, PositiveInt, model_validator

from lethe.core.params import StageParams

if TYPE_CHECKING:
    from transformers import LlamaConfig, PreTrainedModel, PreTrainedTokenizerBase


class ScratchParams(StageParams):
    """The Llama that `source: scratch` initialises."""

    vocabulary: int = Field(ge=259)  # every byte and three special tokens
    layers: PositiveInt
    hidden: PositiveInt
    heads: PositiveInt
    intermediate: PositiveInt
    context: PositiveInt

    @model_validator(mode="after")
    def heads_divide(self) -> Self:
        """Each head has the same even number of dimensions: positions rotate them in pairs."""
        if self.hidden % (2 * self.heads):
            raise ValueError(f"heads: expected to divide hidden {self.hidden} into even parts, got {self.heads}")
        return self


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerBase:
    """A byte-level BPE tokenizer of `vocabulary` entries that puts <s> before a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def initialise(
    scratch: ScratchParams, tokenizer: PreTrainedTokenizerBase, seed: int, spread: float = 0.02
) -> PreTrainedModel:
    """A Llama with random weights drawn from `seed`, input and output embeddings tied.

    spread: standard deviation of the weights; 0.02 is the default of transformers.
    """
    import torch
    from transformers import LlamaForCausalLM

    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    torch.manual_seed(seed)
    return LlamaForCausalLM(llama_config(scratch, len(tokenizer), initializer_range=spread, **ids))


def llama_config(scratch: ScratchParams, vocabulary: int, **others: Any) -> LlamaConfig:
    """The shape as a config of transformers, embeddings tied. vocabulary: tokenizer entries. others: more fields."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=scratch.hidden,
        intermediate_size=scratch.intermediate,
        num_hidden_layers=scratch.layers,
        num_attention_heads=scratch.heads,
        num_key_value_heads=scratch.heads,
        max_position_embeddings=scratch.context,
        tie_word_embeddings=True,
        **others,
    )
