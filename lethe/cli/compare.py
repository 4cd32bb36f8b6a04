"""The models' completions of a prompt side by side, anchors highlighted."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from lethe.console import Json, console, print_json, titled
from lethe.core.errors import StageError

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text
    from transformers import PreTrainedModel

    from lethe.text.matching import TermFinder

USUAL = ("baseline", "unlearned", "retrained")
MODELS = Path("models")
ROOM = 0.8  # share of the free memory that models may take which are kept


class Completion(NamedTuple):
    """One model's completion of one prompt."""

    prompt: str
    model: str
    text: str
    anchors: list[tuple[int, int, str]]  # start, end in `text`, and the anchor


def command(
    prompt: Annotated[
        str | None, typer.Argument(help="The prompt; default: asked for, or one per line from stdin.")
    ] = None,
    models: Annotated[
        str, typer.Option(help="Names under models/, checkpoints as step-00010, or model folders, separated by commas.")
    ] = ",".join(USUAL),
    new_tokens: Annotated[int | None, typer.Option(min=1, help="Default: evaluate.new_tokens.")] = None,
    json: Json = False,
) -> None:
    """Show the models' completions of a prompt side by side, the corpus's anchors highlighted.

    Greedy completions with chat_template, precision and device of the stage evaluate: the text that it would score.
    Without a prompt, on a terminal, it loads the models once and asks for one prompt after another.
    """
    present, absent = chosen(models.split(","))
    if prompt is None and not json and sys.stdin.isatty():
        finder = anchor_finder(Path("data/anchors.csv"))
        converse(Asking(present, new_tokens), finder, absent, asked_prompts(input))
        return
    prompts = [prompt] if prompt is not None else read_prompts(sys.stdin)
    if not prompts or not all(prompts):
        raise StageError("compare: expected a prompt as the argument, or one per line on stdin, got none")
    finder = anchor_finder(Path("data/anchors.csv"))
    found = Asking(present, new_tokens).completions(prompts, finder)
    if json:
        print_json({"prompts": as_objects(prompts, found, finder), "absent": absent})
        return
    for text in prompts:
        show(text, found, finder)
    tell_absent(absent)


def converse(asking: Asking, finder: TermFinder, absent: dict[str, str], prompts: Iterator[str]) -> None:
    """Show the completions of one prompt after another. A prompt that is too long is said, and the next one asked."""
    tell_absent(absent)
    asking.keep_loaded()
    for text in prompts:
        try:
            show(text, asking.completions([text], finder), finder)
        except StageError as error:
            print(f"error: {error}", file=sys.stderr)


def show(prompt: str, found: Sequence[Completion], finder: TermFinder) -> None:
    """Print a prompt and its completions."""
    console().print(highlighted(prompt, spans(prompt, finder)), soft_wrap=True)
    console().print(table([item for item in found if item.prompt == prompt]))


def tell_absent(absent: dict[str, str]) -> None:
    """Print the reason for each model that is not there."""
    for name, reason in absent.items():
        print(f"{name}: {reason}")


def asked_prompts(read: Callable[[str], str]) -> Iterator[str]:
    """Ask for a prompt, again and again, until Ctrl-D, Ctrl-C or an empty line."""
    with suppress(ImportError):
        import readline  # noqa: F401 -- arrow keys in `input`

    print("a prompt, or an empty line to end", file=sys.stderr)
    while True:
        try:
            line = read("> ")
        except (EOFError, KeyboardInterrupt):
            print(file=sys.stderr)
            return
        if not line.strip():
            return
        yield line


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


class Asking:
    """Asks the models: loads each once and, unless they are kept, only when its turn has come."""

    def __init__(self, folders: dict[str, Path], new_tokens: int | None) -> None:
        from lethe.core.params import read_params
        from lethe.models.checkpoints import load_tokenizer
        from lethe.models.device import prepare
        from stages.evaluate import Params

        self.folders, self.params = folders, read_params("evaluate", Params)
        self.device, self.new_tokens = prepare(self.params.device), new_tokens or self.params.new_tokens
        self.tokenizers = {name: load_tokenizer(folder) for name, folder in folders.items()}
        self.kept: dict[str, PreTrainedModel] = {}

    def keep_loaded(self) -> None:
        """Load all models and keep them, unless the memory is too small for all at once."""
        import psutil

        from lethe.evaluation.model_set import dtype_named
        from lethe.models.checkpoints import load_model
        from lethe.models.folders import weight_count

        dtype = dtype_named(self.params.precision)
        wanted = sum(weight_count(folder) for folder in self.folders.values()) * dtype.itemsize
        if self.device.type == "cpu" and wanted > ROOM * psutil.virtual_memory().available:
            print("compare: too little memory for all models at once, each is loaded again", file=sys.stderr)
            return
        self.kept = {name: load_model(folder, self.device, dtype) for name, folder in self.folders.items()}

    def completions(self, prompts: Sequence[str], finder: TermFinder) -> list[Completion]:
        """Each model's completion of each prompt. Raises StageError for a prompt that leaves a model no room."""
        from lethe.evaluation.model_set import loaded
        from lethe.inference.decoding import continue_greedily, end_ids, prompt_ids, texts_after

        asked = {
            name: [prompt_ids(tokenizer, prompt, self.params.chat_template) for prompt in prompts]
            for name, tokenizer in self.tokenizers.items()
        }
        for name, folder in self.folders.items():
            check_room(folder, prompts, [len(ids) for ids in asked[name]], self.new_tokens)
        found = []
        for name, model in self.kept.items() or loaded(self.folders, self.device, self.params.precision):
            tokenizer, tokens = self.tokenizers[name], asked[name]
            ends = end_ids(model, tokenizer)
            written = continue_greedily(model, tokens, [()] * len(tokens), self.new_tokens, ends)
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
        shown.add_row(titled(item.model), highlighted(item.text, item.anchors))
    return shown


def highlighted(text: str, places: Sequence[tuple[int, int, str]]) -> Text:
    """The text with its anchors marked."""
    from rich.text import Text

    shown, end = Text(), 0
    for start, stop, _ in places:
        shown.append(text[end:start]).append(f">{text[start:stop]}<", style="bold red")
        end = stop
    return shown.append(text[end:])
