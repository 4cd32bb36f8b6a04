"""Whether a model's chat template ends: it is a program of whoever made the model, and loops of loops take for ever."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from lethe.models.conversations import has_template

SECONDS = 20  # of the processor's time
MEMORY = 4 << 30  # bytes
ENDED = 9  # exit code of what follows, where the template ended, also by refusing the messages
RENDER = """
import json, resource, sys
seconds, memory, template = json.load(sys.stdin)
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
from jinja2.sandbox import ImmutableSandboxedEnvironment
try:
    made = ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"]).from_string(template)
    made.render(messages=[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
except MemoryError:
    sys.exit(1)
except Exception:
    pass
sys.exit(9)  # ENDED
"""


def template_problems(folder: Path, chats: str) -> Iterator[str]:
    """What is wrong with the chat template of a model folder. chats: the folder of conversations that need it."""
    if not has_template(folder):
        yield (
            f"baseline.folder: expected a model with a chat template for the conversations in {chats}, got none in "
            f"{folder}; put chat_template.jinja there, or give plain text"
        )
    elif not all(map(ends, sources(folder))):
        yield f"baseline.folder: expected a chat template that ends, got one in {folder} that two messages do not fill"


def sources(folder: Path) -> list[str]:
    """The texts of a folder's chat templates."""
    path, config = folder / "chat_template.jinja", folder / "tokenizer_config.json"
    stated = json.loads(config.read_bytes()).get("chat_template") if config.exists() else None
    texts = [path.read_text(encoding="utf-8")] if path.exists() else []
    return texts + ([stated] if isinstance(stated, str) else [])


def ends(template: str) -> bool:
    """Whether a template has written two messages within the time and the memory that it may take, or refused them."""
    given = json.dumps([SECONDS, MEMORY, template]).encode()
    done = subprocess.run([sys.executable, "-P", "-c", RENDER], input=given, capture_output=True)
    return done.returncode == ENDED
