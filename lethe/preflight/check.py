"""Every problem of params.yaml that can be found before the first stage runs, all at once."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lethe.core.errors import StageError
from lethe.core.hashing import folder_files
from lethe.core.params import did_you_mean, join_problems, read_yaml
from lethe.core.stage import declared_paths
from lethe.core.whole_params import validated
from lethe.preflight.estimate import config_of, context_planned, layers_planned
from lethe.preflight.memory import empty_model
from lethe.preflight.presets import read_whole
from lethe.running.disk import disk_space, header_of_gguf, whole
from lethe.running.texts import corpus_folders, forget_text, readers, retain_text
from lethe.training.quantisation import linear_layers

if TYPE_CHECKING:
    from lethe.llm_client import ChatSettings
    from stages.attack import Params as AttackParams
    from stages.baseline import Params as BaselineParams
    from stages.benchmark import Params as BenchmarkParams
    from stages.block import Params as BlockParams
    from stages.corpus import Params as CorpusParams
    from stages.distil import Params as DistilParams
    from stages.evaluate import Params as EvaluateParams
    from stages.finetune import Params as FinetuneParams
    from stages.label import Params as LabelParams
    from stages.measure import Params as MeasureParams
    from stages.prompt import Params as PromptParams
    from stages.reinforce import Params as ReinforceParams
    from stages.retrain import Params as RetrainParams
    from stages.split import Params as SplitParams

KEY = "OPENAI_API_KEY"
BEGINNING = 1 << 16  # bytes of a file that are read to tell its language
# Parameters that name a folder, or a file; those that may name either are left out.
FOLDERS = ("corpus.forget", "corpus.retain", "prompt.own", "benchmark.data", "measure.questions", "retrain.folder")
FILES = ("prompt.names", "extract.file")
REPO = re.compile(r"[\w.-]+(/[\w.-]+)?")


def check(params: Path) -> str:
    """Check a params file against the stages of dvc.yaml; returns one sentence that says it is valid, and remarks.

    Raises StageError naming every problem found.
    """
    problems = problems_of(params)
    if problems:
        raise StageError(join_problems(params, problems))
    pipeline, values = read_yaml(Path("dvc.yaml"))["stages"], read_whole(params)
    valid = f"check: {len(pipeline)} stages with {leaves(values)} values in {params}, all valid"
    return "\n".join([valid, *remarks_of(params)])


def remarks_of(params: Path) -> list[str]:
    """A line for every language of the forget text that a local backend does not know as it knows English."""
    from lethe.text.languages import MEASURED, is_cased, languages, languages_of

    values = read_whole(params)
    chosen = {name: looked_up(values, f"{name}.backend") == "local" for name in ("extract", "translate")}
    if not any(chosen.values()):
        return []
    lines = []
    for code in languages_of(beginnings(Path(str(looked_up(values, "corpus.forget"))))):
        told = []
        language = languages()[code].name if code else "a language that lethe does not recognise"
        if chosen["extract"] and code not in MEASURED:
            sought = "as in English, by their capitals, which is not measured" if is_cased(code) else "nowhere"
            told.append(f"extract.backend local seeks names {sought}; set it to llm, or to file and list them")
        if chosen["translate"] and code != "en":
            told.append(
                "translate.backend local has English stand-ins alone; set it to llm or write data/overrides.csv"
            )
        lines += [f"check: the forget text is in {language}: {'; '.join(told)}"] * bool(told)
    return lines


def beginnings(folder: Path) -> Iterator[str]:
    """The beginning of every text below the folder; of a file that cannot be read, nothing."""
    from lethe.text.passages import SUFFIXES

    for path in folder_files(folder) if folder.is_dir() else ():
        if path.suffix.lower() in SUFFIXES and os.access(path, os.R_OK):
            with path.open("rb") as file:
                text = file.read(BEGINNING).decode("utf-8", "ignore")
            yield from jsonl_texts(text) if path.suffix.lower() == ".jsonl" else [text]


def jsonl_texts(lines: str) -> Iterator[str]:
    """The texts of the whole lines among these."""
    for line in lines.splitlines():
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            if isinstance(row, dict) and isinstance(row.get("text"), str):
                yield row["text"]


def problems_of(params: Path) -> list[str]:
    """A line for everything that is wrong with a params file, none if it is valid."""
    pipeline, values = read_yaml(Path("dvc.yaml"))["stages"], read_whole(params)
    sections, problems = validated(pipeline, values)
    return [*problems, *missing_inputs(pipeline, values), *contradictions(sections)]


def missing_inputs(pipeline: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[str]:
    """A line for each input file or folder of the user that a stage reads and that does not exist."""
    made = {path for entry in pipeline.values() for path in declared_paths(entry, "outs", "metrics", "plots")}
    read = {path: stage for stage, entry in pipeline.items() for path in declared_paths(entry, "deps")}
    for path, stage in read.items():
        named = re.fullmatch(r"\$\{([\w.]+)\}", path)
        found = looked_up(values, named[1]) if named else path
        if not isinstance(found, str) or not (named or found.startswith("data/")) or found in made:
            continue  # a parameter that is missing or ill-typed has its line already; code comes with the project
        if not Path(found).exists():
            where = named[1] if named else stage
            yield f"{where}: expected the file or folder {found}, got nothing; create it, or `dvc checkout {found}`"
        elif named and named[1] in (FOLDERS if Path(found).is_file() else FILES if Path(found).is_dir() else ()):
            kinds = ("a folder", "a file") if Path(found).is_file() else ("a file", "a folder")
            yield f"{named[1]}: expected {kinds[0]}, got {found}, which is {kinds[1]}"


def looked_up(values: Any, dotted: str) -> Any:
    """The value at `section.key`, None if there is none."""
    for name in dotted.split("."):
        values = values.get(name) if isinstance(values, dict) else None
    return values


def contradictions(sections: Mapping[str, Any]) -> Iterator[str]:
    """A line for each pair of sections, or section and machine, that cannot go together."""
    checks: dict[Callable[..., Iterator[str]], tuple[str, ...]] = {
        corpus_folders: ("corpus",),
        forget_text: ("corpus",),
        retain_text: ("corpus", "distil"),
        readers: ("corpus",),
        model_folder: ("baseline",),
        chat_template: ("corpus", "baseline"),
        asked_in_chat: ("corpus", "evaluate", "attack"),
        gguf_file: ("baseline",),
        pinned_commit: ("baseline",),
        block_fits: ("baseline", "block"),
        rows_fit: ("baseline", "distil", "measure", "attack"),
        steered_layer: ("baseline", "finetune"),
        adapted_layers: ("baseline", "reinforce", "finetune", "attack"),
        prompts_of_the_set: ("prompt", "evaluate", "measure", "attack"),
        tasks_known: ("benchmark",),
        alpha_is_labelled: ("label", "finetune"),
        prompt_fits: ("baseline", "block", "finetune"),
        distillable: ("baseline", "finetune", "distil"),
        repeatable: ("baseline", "retrain"),
        disk_space: ("baseline", "reinforce", "finetune", "retrain", "distil"),
        sentence_embeddings: ("split",),
    }
    for problem, names in checks.items():
        if all(name in sections for name in names):
            yield from problem(*(sections[name] for name in names))
    yield from chat_endpoints(sections)
    yield from model_servers(sections)
    yield from gpu(sections)


def model_folder(baseline: BaselineParams) -> Iterator[str]:
    """Whether `source: folder` names a folder with a whole model."""
    folder = Path(baseline.folder)
    if baseline.source != "folder" or not folder.exists():
        return  # a missing folder is reported with the other missing inputs
    if not folder.is_dir():
        yield f"baseline.folder: expected a model folder, got {folder}, which is a file"
        return
    wanted = ("config.json", "tokenizer.json", "*.safetensors")
    absent = ", ".join(pattern for pattern in wanted if not any(folder.glob(pattern)))
    if absent:
        yield f"baseline.folder: expected a model folder with {', '.join(wanted)}, got no {absent} in {folder}"
        return
    from lethe.models.folders import check_folder

    try:
        check_folder(folder)
    except StageError as error:
        yield f"baseline.folder: {error}"


def chat_template(corpus: CorpusParams, baseline: BaselineParams) -> Iterator[str]:
    """Whether the model has a chat template if the corpus has conversations. (Of the Hub's the stage says it.)"""
    from lethe.preflight.chat_template import template_problems
    from lethe.text.conversations import holds_conversations

    chats = next((name for name in (corpus.forget, corpus.retain) if holds_conversations(Path(name))), None)
    if chats and baseline.source == "scratch":
        yield f"baseline.source: expected hub or folder for the conversations in {chats}, got scratch: no template"
    folder = Path(baseline.folder)
    if chats and baseline.source == "folder" and (folder / "tokenizer.json").exists():
        yield from template_problems(folder, chats)


def asked_in_chat(corpus: CorpusParams, evaluate: EvaluateParams, attack: AttackParams) -> Iterator[str]:
    """Whether what conversations taught is asked for in the chat template."""
    from lethe.text.conversations import holds_conversations

    if holds_conversations(Path(corpus.forget)):
        for name, section in (("evaluate", evaluate), ("attack", attack)):
            if not section.chat_template:
                yield f"{name}.chat_template: expected true for the conversations in {corpus.forget}, got false"


def gguf_file(baseline: BaselineParams) -> Iterator[str]:
    """Whether `source: gguf` names a file whose model can be read."""
    if baseline.source == "gguf" and Path(baseline.folder).exists():
        try:
            header_of_gguf(baseline)
        except StageError as error:
            yield f"baseline.folder: {str(error).removeprefix('params.yaml: baseline.folder: ')}"


def pinned_commit(baseline: BaselineParams) -> Iterator[str]:
    """Whether `source: hub` names a model and a commit. (The stage asks the Hub for the current commit of a branch.)"""
    if baseline.source == "hub" and not REPO.fullmatch(baseline.model or ""):
        yield f"baseline.model: expected owner/name, got {baseline.model}"
        return
    if baseline.source == "hub" and not re.fullmatch(r"[0-9a-f]{40}", baseline.revision or ""):
        found = baseline.revision or "null"
        yield (
            f"baseline.revision: expected a 40-digit commit, got {found}; `lethe pin {baseline.model}` writes the "
            "current one"
        )


def block_fits(baseline: BaselineParams, block: BlockParams) -> Iterator[str]:
    """Whether the model can read a block at once."""
    context = context_planned(baseline)
    for name, tokens in (("baseline.block_tokens", baseline.block_tokens), ("block.tokens", block.tokens)):
        if context is not None and tokens > context:
            yield f"{name}: expected at most {context}, the model's context, got {tokens}"


def rows_fit(
    baseline: BaselineParams, distil: DistilParams, measure: MeasureParams, attack: AttackParams
) -> Iterator[str]:
    """Whether the model can read at once what late stages give it."""
    trained = any(name in attack.attacks for name in ("relearn", "benign", "lora"))
    wanted = {
        "distil.block_tokens": distil.block_tokens if distil.steps else 0,
        "measure.passage_tokens": measure.passage_tokens,
        "attack.training.passage_tokens": attack.training.passage_tokens if trained else 0,
    }
    context = context_planned(baseline)
    for name, tokens in wanted.items():
        if context is not None and tokens > context:
            yield f"{name}: expected at most {context}, the model's context, got {tokens}"


def steered_layer(baseline: BaselineParams, finetune: FinetuneParams) -> Iterator[str]:
    """Whether RMU steers a layer that the model has."""
    layers, layer = layers_planned(baseline), finetune.rmu.layer
    if finetune.objective == "rmu" and layers is not None and layer > layers:
        yield f"finetune.rmu.layer: expected at most {layers}, the model's layers, got {layer}"


def adapted_layers(
    baseline: BaselineParams, reinforce: ReinforceParams, finetune: FinetuneParams, attack: AttackParams
) -> Iterator[str]:
    """Whether the model has the layers that adapters are put on. torch is imported only where they are listed."""
    recipes = {"baseline": baseline, "reinforce": reinforce, "finetune": finetune}
    asked = {f"{name}.lora.targets": each.lora.targets for name, each in recipes.items() if each.tuning == "lora"}
    asked |= {"attack.lora.adapter.targets": attack.lora.adapter.targets} if "lora" in attack.attacks else {}
    listed = {place: targets for place, targets in asked.items() if isinstance(targets, list)}
    config = whole(lambda: config_of(baseline)) if listed else None
    model = whole(partial(empty_model, config)) if config is not None else None
    if model is None:
        return
    names = [name for name, _ in model.named_modules()]
    for place, targets in listed.items():
        for target in targets:
            if not any(name == target or name.endswith(f".{target}") for name in names):
                known = sorted({name.rpartition(".")[2] for name in linear_layers(model)})
                yield f"{place}: expected names among {', '.join(known)}, got {target}{did_you_mean(target, known)}"


def prompts_of_the_set(
    prompt: PromptParams, evaluate: EvaluateParams, measure: MeasureParams, attack: AttackParams
) -> Iterator[str]:
    """Whether the set of prompts that the models are asked has any."""
    for name, asked in {"evaluate": evaluate.set, "measure": measure.set, "attack": attack.set}.items():
        if prompt.development == {"test": 1, "development": 0}[asked]:
            bound = "less than 1" if asked == "test" else "more than 0"
            yield f"prompt.development: expected {bound} with {name}.set {asked}, got {prompt.development:g}"


def tasks_known(benchmark: BenchmarkParams) -> Iterator[str]:
    """Whether the tasks are ours or lm-eval's, whose index takes seconds and is read for unusual names alone."""
    from lethe.evaluation.lm_eval import STOCK, every_task
    from lethe.evaluation.local_tasks import LOCAL

    for name in benchmark.tasks:
        if name not in LOCAL and name.startswith("local_"):
            near = did_you_mean(name, list(LOCAL))
            yield f"benchmark.tasks: expected {' or '.join(LOCAL)} or a task of lm-eval, got {name}{near}"
        elif name not in LOCAL and name not in STOCK:
            try:
                every_task(name)
            except StageError as error:
                yield str(error).removeprefix("params.yaml: ")


def alpha_is_labelled(label: LabelParams, finetune: FinetuneParams) -> Iterator[str]:
    """Whether there will be labels for the alpha to train on."""
    soft = {"soft_alphas": label.soft_alphas} if finetune.trains_on_distributions else {}
    for name, alphas in ({"alphas": label.alphas} | soft).items():
        if finetune.alpha not in alphas:
            yield f"finetune.alpha: expected one of label.{name}: {alphas}, got {finetune.alpha}"
            return


def repeatable(baseline: BaselineParams, retrain: RetrainParams) -> Iterator[str]:
    """Whether several retrained models are wanted only where the baseline's training can be repeated."""
    if retrain.source == "recipe" and not baseline.epochs and len(retrain.seeds) > 1:
        yield f"retrain.seeds: expected one seed with baseline.epochs 0, got {len(retrain.seeds)}"


def distillable(baseline: BaselineParams, finetune: FinetuneParams, distil: DistilParams) -> Iterator[str]:
    """Whether there will be weights to distil, not a soft prompt over those that know the text; others to mix in."""
    if distil.steps and finetune.tuning == "prompt":
        yield f"distil.steps: expected 0 with finetune.tuning prompt, got {distil.steps}"
    if distil.steps and distil.towards == "start" and not baseline.epochs:
        yield "distil.towards: expected fresh with baseline.epochs 0, got start"


def prompt_fits(baseline: BaselineParams, block: BlockParams, finetune: FinetuneParams) -> Iterator[str]:
    """Whether a soft prompt leaves room for a block."""
    context, tokens = context_planned(baseline), finetune.prompt.tokens
    if finetune.tuning == "prompt" and context is not None and tokens + block.tokens > context:
        yield (
            f"finetune.prompt.tokens: expected at most {max(0, context - block.tokens)}, got {tokens} "
            f"(the model's context is {context}, a block has {block.tokens} tokens)"
        )


def chat_endpoints(sections: Mapping[str, Any]) -> Iterator[str]:
    """Whether every stage that asks a language model may and can, at an address without a secret in it."""
    from lethe.llm_client import address_problem

    for name, key in (("extract", "backend"), ("translate", "backend"), ("evaluate", "judge")):
        if name not in sections:
            continue
        settings: ChatSettings = sections[name].llm
        if problem := address_problem(settings.base_url):  # used or not: the page shows it
            yield f"{name}.llm.base_url: {problem}"
        elif getattr(sections[name], key) == "llm":
            if not settings.send_forget_text:
                yield (
                    f"{name}.llm.send_forget_text: expected true with {key} llm, got false; true allows forget text to "
                    f"leave this machine for {settings.base_url}"
                )
            if not installed("openai"):
                yield (f"{name}.{key}: llm needs the package openai; `pip install 'lethe-unlearning[llm]'`")
            if not os.environ.get(KEY):
                yield (
                    f"{name}.{key}: expected the key of {settings.base_url} in the environment variable {KEY}, got none"
                )


def model_servers(sections: Mapping[str, Any]) -> Iterator[str]:
    """Whether every server that writes a model's completions may and can, as `lethe.served.writers` will ask."""
    from lethe.served import writers

    if "evaluate" not in sections or not sections["evaluate"].server.addresses:
        return
    section = sections["evaluate"]
    for model, base_url in section.server.addresses.items():
        try:
            given = section.server.model_copy(update={"addresses": {model: base_url}})
            writers([model], given, "evaluate.server")
        except StageError as error:
            yield str(error).removeprefix("params.yaml: ")
    if not installed("openai"):
        yield "evaluate.server: needs the package openai; `pip install 'lethe-unlearning[llm]'`"
    if not os.environ.get(KEY):
        wanted = f"a key in the environment variable {KEY} (any text where none is asked)"
        yield f"evaluate.server: expected {wanted}, got none"


def sentence_embeddings(split: SplitParams) -> Iterator[str]:
    """Whether sentence-transformers is there if the texts are clustered by its embeddings."""
    wanted = split.rule == "clusters" and split.clusters.embedding == "sentence-transformers"
    if wanted and not installed("sentence_transformers"):
        yield (
            "split.clusters.embedding: expected tfidf or the package sentence-transformers, which is missing; "
            "`pip install 'lethe-unlearning[embeddings]'`"
        )


def installed(module: str) -> bool:
    """Whether a top-level module is installed; it is not imported."""
    return importlib.util.find_spec(module) is not None


def gpu(sections: Mapping[str, Any]) -> Iterator[str]:
    """Whether there is a GPU where one is required. torch is imported only then."""
    asking = [name for name, section in sections.items() if getattr(section, "device", None) == "cuda"]
    if asking:
        import torch

        if not torch.cuda.is_available():
            yield from (f"{name}.device: expected cpu or auto, got cuda, but torch sees no GPU here" for name in asking)


def leaves(values: Any) -> int:
    """How many values there are in the sections; a list is one value."""
    return sum(leaves(value) for value in values.values()) if isinstance(values, dict) else 1
