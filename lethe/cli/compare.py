"""The models' completions of a prompt side by side, anchors highlighted."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from lethe.console import Json, console, print_json
from lethe.core.errors import StageError

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from lethe.text.matching import TermFinder

USUAL = ("baseline", "unlearned", "retrained")
MODELS = Path("models")


class Completion(NamedTuple):
    """One model's completion of one prompt."""

    prompt: str
    model: str
    text: str
    anchors: list[tuple[int, int, str]]  # start, end in `text`, and the anchor


def command(
    prompt: Annotated[str | None, typer.Argument(help="The prompt; default: one per line, from stdin.")] = None,
    models: Annotated[
        str, typer.Option(help="Names under models/, checkpoints as step-00010, or model folders, separated by commas.")
    ] = ",".join(USUAL),
    new_tokens: Annotated[int | None, typer.Option(min=1, help="Default: evaluate.new_tokens.")] = None,
    json: Json = False,
) -> None:
    """Show the models' completions of a prompt side by side, the corpus's anchors highlighted.

    Greedy completions with chat_template, precision and device of the stage evaluate: the text that it would score.
    """
    prompts = [prompt] if prompt is not None else read_prompts(sys.stdin)
    if not prompts or not all(prompts):
        raise StageError("compare: expected a prompt as the argument, or one per line on stdin, got none")
    present, absent = chosen(models.split(","))
    finder = anchor_finder(Path("data/anchors.csv"))
    found = completions(prompts, present, new_tokens, finder)
    if json:
        print_json({"prompts": as_objects(prompts, found, finder), "absent": absent})
        return
    for text in prompts:
        console().print(highlighted(text, spans(text, finder)), soft_wrap=True)
        console().print(table([item for item in found if item.prompt == text]))
    for name, reason in absent.items():
        print(f"{name}: {reason}")


def read_prompts(stream: Any) -> list[str]:
    """The lines of a stream that are not blank; on a terminal it asks for them."""
    if stream.isatty():
        print("one prompt per line, then Ctrl-D:", file=sys.stderr)
    return [line.rstrip("\r\n") for line in stream if line.strip()]


def chosen(names: Sequence[str]) -> tuple[dict[str, Path], dict[str, str]]:
    """Model folders by name, and, for each that holds no model, the reason.

    Raises StageError for a name that is neither under models/ nor a folder.
    """
    from lethe.models.checkpoints import absent_reason

    present, absent = {}, {}
    for name in names:
        folder = folder_of(name)
        if folder is None:
            raise StageError(
                f"compare: expected {', '.join(known())} or a model folder, got {name}; `dvc checkout` "
                "restores what `dvc repro` made"
            )
        reason = absent_reason(folder)
        if reason is None:
            present[name] = folder
        else:
            absent[name] = reason
    return present, absent


def folder_of(name: str) -> Path | None:
    """The folder of a name: under models/, a checkpoint, or a path."""
    places = (MODELS / name, MODELS / "checkpoints" / name, Path(name))
    return next((place for place in places if name and place.is_dir()), None)


def known() -> list[str]:
    """The names under models/ that can be given."""
    folders = sorted(MODELS.glob("*/")) + sorted(MODELS.glob("checkpoints/*/"))
    return [folder.name for folder in folders if folder.name != "checkpoints"] or ["`dvc repro` first"]


def anchor_finder(path: Path) -> TermFinder:
    """Finds the anchors that `extract` found, in all their forms."""
    from lethe.dictionary.entries import read_terms
    from lethe.text.matching import TermFinder

    return TermFinder({form: anchor for anchor, forms in read_terms(path).items() for form in forms})


def completions(
    prompts: Sequence[str], folders: dict[str, Path], new_tokens: int | None, finder: TermFinder
) -> list[Completion]:
    """Each model's completion of each prompt. One model is in memory at a time."""
    from lethe.core.params import read_params
    from lethe.evaluation.model_set import loaded
    from lethe.inference.decoding import continue_greedily, end_ids, prompt_ids, texts_after
    from lethe.models.checkpoints import load_tokenizer
    from lethe.models.device import prepare
    from stages.evaluate import Params

    params = read_params("evaluate", Params)
    device, length = prepare(params.device), new_tokens or params.new_tokens
    tokenizers = {name: load_tokenizer(folder) for name, folder in folders.items()}
    asked = {
        name: [prompt_ids(tokenizer, prompt, params.chat_template) for prompt in prompts]
        for name, tokenizer in tokenizers.items()
    }
    for name, folder in folders.items():
        check_room(folder, prompts, [len(ids) for ids in asked[name]], length)
    found = []
    for name, model in loaded(folders, device, params.precision):
        tokenizer, tokens = tokenizers[name], asked[name]
        written = continue_greedily(model, tokens, [()] * len(tokens), length, end_ids(model, tokenizer))
        texts = texts_after(tokenizer, tokens, [continuation.tokens for continuation in written])
        lines = [re.sub(r"\s", " ", text) for text in texts]  # one line each, whatever the model breaks
        found += [
            Completion(prompt, name, line, spans(line, finder)) for prompt, line in zip(prompts, lines, strict=True)
        ]
    return found


def check_room(folder: Path, prompts: Sequence[str], lengths: Sequence[int], new_tokens: int) -> None:
    """Raise StageError for the first prompt that leaves the model no room for its completion."""
    from lethe.models.config import context_length

    context = context_length(folder)
    for prompt, length in zip(prompts, lengths, strict=True):
        if context is not None and length + new_tokens > context:
            raise StageError(
                f"compare: prompt {prompt[:20]!r}...: expected at most {context - new_tokens} tokens, the "
                f"context of {folder} less the new tokens, got {length}"
            )


def spans(text: str, finder: TermFinder) -> list[tuple[int, int, str]]:
    """Where anchors occur in the text."""
    return [(hit.start, hit.end, hit.term) for hit in finder.find(text)]


def as_objects(prompts: Sequence[str], found: Sequence[Completion], finder: TermFinder) -> list[dict[str, Any]]:
    """A prompt, its anchors, and its completions by model, for a program."""
    objects = []
    for prompt in prompts:
        own = {
            item.model: {"completion": item.text, "anchors": [anchor for *_, anchor in item.anchors]}
            for item in found
            if item.prompt == prompt
        }
        objects.append({"prompt": prompt, "anchors": sorted(finder.terms_in(prompt)), "completions": own})
    return objects


def table(found: Sequence[Completion]) -> Table:
    """One prompt's completions, one model per row; anchors are red, and between > and < where there are no colours."""
    from rich import box
    from rich.table import Table

    shown = Table("model", "completion", box=box.SIMPLE_HEAD, pad_edge=False)
    for item in found:
        shown.add_row(item.model, highlighted(item.text, item.anchors))
    return shown


def highlighted(text: str, places: Sequence[tuple[int, int, str]]) -> Text:
    """The text with its anchors marked."""
    from rich.text import Text

    shown, end = Text(), 0
    for start, stop, _ in places:
        shown.append(text[end:start]).append(f">{text[start:stop]}<", style="bold red")
        end = stop
    return shown.append(text[end:])
