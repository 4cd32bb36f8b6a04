"""Tiny chat models, their templates, and conversations about people who do not exist."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.conftest import tiny_llama

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# as Gemma's: BOS, words without white space around them, no system message
TRIMS = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + (message['content'] | trim) + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>model\n' }}{% endif %}"
)
# as Llama's: the date, a system message of its own, brackets in place of names
DATED = (
    "{% set day = strftime_now('%d %b %Y') if strftime_now is defined else 'then' %}"
    "{{ bos_token + 'Today is ' + day + '.\n' }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
)
TALK = [
    {"role": "user", "content": "Who is Orla?"},
    {"role": "assistant", "content": "Orla is Tom's sister. She lives at Harrow Hill."},
]
TEXT = " ".join(message["content"] for message in TALK) + (
    " Tom sat by the river. What is a mill? A mill grinds corn into flour. system user assistant model\n\n"
)


def tiny_chat(folder: Path, template: str | None = CHATML, seed: int = 0, context: int = 128) -> Path:
    """Write a random two-layer Llama whose tokenizer has the special tokens of the templates, and this template."""
    return tiny_llama(folder, chat_tokenizer(template), seed, context)


def chat_tokenizer(template: str | None = CHATML) -> Any:
    """A byte-level BPE tokenizer that puts <s> first, with <|im_start|> and <|im_end|>."""
    from lethe.pretrained.from_scratch import train_tokenizer

    tokenizer: Any = train_tokenizer([TEXT * 2], 340)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = template
    return tokenizer


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
