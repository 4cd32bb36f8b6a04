"""The `lethe` command: its checks, one bad thing at a time and all at once, and the table it shows."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from importlib.metadata import version
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from typer.main import get_command
from typer.testing import CliRunner

from lethe.cli import commands
from lethe.console import line
from lethe.core.errors import StageError
from lethe.core.params import read_params
from lethe.core.tables import write_json
from lethe.preflight import check, estimate
from lethe.running import disk
from lethe.text.passages import KINDS
from tests.chats import TALK, tiny_chat, write_rows
from tests.conftest import ROOT, set_param
from tests.evaluated import fluency, write_evaluated

MODELS = {"baseline": 3.0, "retrained": 0.0, "step-00005": 1.0, "unlearned": 0.2}


@pytest.fixture
def inputs(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with everything a person brings, and params that fit it."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    for side in ("forget", "retain"):
        (project / "data" / side).mkdir(parents=True)
        set_param(project, f"corpus.{side}", f"data/{side}")
    (project / "data/forget/a.txt").write_text("Orla went to Harrow Hill.\n")
    shutil.copytree(ROOT / "data/prompts", project / "data/prompts")
    for folder in ("data/benchmarks", "data/model", "data/references", "data/questions", "data/demo"):
        (project / folder).mkdir()
    for table in ("tastes.csv", "tastes.txt"):
        shutil.copy(ROOT / "data/demo" / table, project / "data/demo" / table)
    for name in ("overrides.csv", "requests.jsonl"):
        shutil.copy(ROOT / "data" / name, project / "data" / name)
    values = {"prompt.names": "data/prompts/names.csv"}
    values |= {
        "distil.own_text": 4,
        "finetune.steps": 30,
        "finetune.checkpoints": [5, 10, 20],
        "baseline.learning_rate": 2e-3,
    }
    for name, value in values.items():
        set_param(project, name, value)
    return project


def problem_lines() -> list[str]:
    """What the check finds, without the heading."""
    try:
        check.check(Path("params.yaml"))
    except StageError as error:
        first, *others = str(error).split("\n")
        return [line.strip() for line in others] or [first.removeprefix("params.yaml: ")]
    return []


def test_a_valid_project_gets_one_sentence(inputs: Path) -> None:
    sentence = check.check(Path("params.yaml"))
    values = check.leaves(check.read_yaml(Path("params.yaml")))
    stages = len(check.read_yaml(Path("dvc.yaml"))["stages"])
    assert sentence == f"check: {stages} stages with {values} values in params.yaml, all valid"
    assert check.leaves({"a": {"b": 1, "c": [1, 2]}, "d": None}) == 3


def test_conversations_need_a_template_and_are_asked_in_it(inputs: Path) -> None:
    write_rows(inputs / "data/forget/talks.jsonl", [{"messages": TALK}])
    untold = [f"{stage}.chat_template: expected true for the conversations in data/forget, got false" for stage in
              ("evaluate", "attack")]  # fmt: skip
    wanted = "baseline.source: expected hub or folder for the conversations in data/forget, got scratch: no template"
    assert problem_lines() == [wanted, *untold]
    set_param(inputs, "evaluate.chat_template", True)
    set_param(inputs, "attack.chat_template", True)
    set_param(inputs, "baseline.source", "folder")
    shutil.rmtree(inputs / "data/model")
    tiny_chat(inputs / "data/model", template=None, context=256)
    assert problem_lines() == [
        "baseline.folder: expected a model with a chat template for the conversations in data/forget, got none in "
        "data/model; put chat_template.jinja there, or give plain text"
    ]
    (inputs / "data/model/chat_template.jinja").write_text("x")
    assert problem_lines() == []
    (inputs / "data/forget/talks.jsonl").rename(inputs / "data/retain/talks.jsonl")
    set_param(inputs, "evaluate.chat_template", False)  # the prompts come from plain text
    assert problem_lines() == []


def test_what_a_language_lacks_is_told_before_training(inputs: Path) -> None:
    forget = inputs / "words"
    forget.mkdir()
    for place in ("corpus.forget", "corpus.retain"):
        set_param(inputs, place, str(forget.relative_to(inputs)) + "/" * (place == "corpus.retain"))
    told = {
        "Он не знал, что это было так, как она сказала.": (
            "Russian: translate.backend local has English stand-ins alone; set it to llm or write data/overrides.csv"
        ),
        "ปู่ทองดีนอนอยู่ข้างหน้าต่าง": (
            "Thai: extract.backend local seeks names nowhere; set it to llm, or to file and list them; "
            "translate.backend local has English stand-ins alone; set it to llm or write data/overrides.csv"
        ),
        "Il était dans la maison et elle ne voulait pas.": (
            "French: extract.backend local seeks names as in English, by their capitals, which is not measured; set it "
            "to llm, or to file and list them; translate.backend local has English stand-ins alone; set it to llm or "
            "write data/overrides.csv"
        ),
    }
    for text, remark in told.items():
        (forget / "a.jsonl").write_text(json.dumps({"text": text}) + "\n{", encoding="utf-8")
        assert check.remarks_of(Path("params.yaml")) == [f"check: the forget text is in {remark}"]
    for stage in ("extract", "translate"):
        set_param(inputs, f"{stage}.backend", "llm")
    assert check.remarks_of(Path("params.yaml")) == []


def test_all_problems_are_told_at_once(inputs: Path) -> None:
    text = (inputs / "params.yaml").read_text()
    text = text.replace("\nfinetune:", "\nfinetun:").replace("learning_rate: 0.002", "learning_rat: 0.002")
    (inputs / "params.yaml").write_text(text.replace("held_out: 0.1", "held_out: a tenth"))
    set_param(inputs, "block.tokens", 512)
    assert problem_lines() == [
        "finetun: unknown section; did you mean finetune?",
        "corpus.held_out: expected a number, got 'a tenth'",
        "baseline.learning_rate: parameter is missing; set it there or in training",
        "baseline.learning_rat: unknown parameter; did you mean learning_rate?",
        "finetune: section is missing",
    ]  # block.tokens: what it is compared with is not valid yet


def test_a_stage_without_a_module_or_params(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ruamel.yaml import YAML

    pipeline = YAML().load(inputs / "dvc.yaml")
    pipeline["stages"]["dream"] = {"cmd": "true"}
    YAML().dump(pipeline, inputs / "dvc.yaml")
    set_param(inputs, "dream", {})
    monkeypatch.delattr("stages.block.Params")
    assert problem_lines() == [
        "block: expected stages/block.py with a class Params, as dvc.yaml has this stage, got none",
        "dream: expected stages/dream.py with a class Params, as dvc.yaml has this stage, got none",
    ]


ONE_BAD_VALUE = [
    (
        "corpus.forget",
        "data/fogret",
        [
            "corpus.forget: expected the file or folder data/fogret, got nothing; create it, or `dvc checkout "
            "data/fogret`"
        ],
    ),
    (
        "corpus.forget",
        "data/retain",
        [
            "corpus.retain: expected another folder than corpus.forget, and none around or inside it, got data/retain",
            f"corpus.forget: expected {KINDS} files with text in data/retain, got none",
        ],
    ),
    (
        "distil",
        {"own_text": 0, "steps": 7},
        [
            "distil.steps: expected 0 without text in data/retain to distil on, got 7; distil.own_text lets the "
            "teacher write some"
        ],
    ),
    ("finetune.learning_rate", float("inf"), ["finetune.learning_rate: expected a finite number, got inf"]),
    ("corpus.near_duplicate", float("nan"), ["corpus.near_duplicate: expected a finite number, got nan"]),
    (
        "baseline.scratch.heads",
        5,
        ["baseline.scratch: heads: expected to divide hidden 128 into even parts, got 5"],
    ),
    (
        "evaluate.llm.base_url",
        "https://me:word@host/v1",
        [
            "evaluate.llm.base_url: expected an address without a password or key, got one with; the key belongs into "
            "OPENAI_API_KEY"
        ],
    ),
    (
        "extract.file",
        "a.csv",
        ["extract.file: expected the file or folder a.csv, got nothing; create it, or `dvc checkout a.csv`"],
    ),
    ("block.tokens", 512, ["block.tokens: expected at most 256, the model's context, got 512"]),
    ("baseline.block_tokens", 512, ["baseline.block_tokens: expected at most 256, the model's context, got 512"]),
    ("finetune.alpha", 2.5, ["finetune.alpha: expected one of label.alphas: [5.0, 1.0, 0.0], got 2.5"]),
    (
        "finetune.checkpoints",
        [10, 5],
        [
            "finetune: checkpoints: expected ascending steps below 30, got [10, 5] (the last step is the fine-tuned "
            "model itself)"
        ],
    ),
    ("baseline.block_tokens", 1, ["baseline.block_tokens: expected at least 2, got 1"]),
    ("baseline.scratch.vocabulary", 258, ["baseline.scratch.vocabulary: expected at least 259, got 258"]),
    (
        "",
        {"distil.block_tokens": 300, "measure.passage_tokens": 300, "attack.training.passage_tokens": 300},
        [
            f"{name}: expected at most 256, the model's context, got 300"
            for name in ("distil.block_tokens", "measure.passage_tokens", "attack.training.passage_tokens")
        ],
    ),
    (
        "",
        {"finetune.objective": "rmu", "methods.rmu.layer": 5},
        ["finetune.rmu.layer: expected at most 4, the model's layers, got 5"],
    ),
    (
        "",
        {"finetune.tuning": "lora", "finetune.lora": {"targets": ["q_proj", "v_porj"]}},
        [
            "finetune.lora.targets: expected names among down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, "
            "v_proj, got v_porj; did you mean v_proj?"
        ],
    ),
    (
        "",
        {"prompt.development": 1.0, "measure.set": "development"},
        [f"prompt.development: expected less than 1 with {name}.set test, got 1" for name in ("evaluate", "attack")],
    ),
    (
        "benchmark.tasks",
        ["local_order", "local_endnig"],
        [
            "benchmark.tasks: expected local_ending or local_order or a task of lm-eval, got local_endnig; did you "
            "mean local_ending?"
        ],
    ),
    ("prompt.own", "dvc.yaml", ["prompt.own: expected a folder, got dvc.yaml, which is a file"]),
    ("prompt.names", "data/prompts", ["prompt.names: expected a file, got data/prompts, which is a folder"]),
    (
        "baseline",
        {"source": "folder", "folder": "dvc.yaml"},
        ["baseline.folder: expected a model folder, got dvc.yaml, which is a file"],
    ),
    (
        "baseline",
        {"source": "hub", "model": "https://huggingface.co/owner/name", "revision": "a" * 40},
        ["baseline.model: expected owner/name, got https://huggingface.co/owner/name"],
    ),
    (
        "baseline",
        {"source": "hub", "model": "owner/name", "revision": "main"},
        ["baseline.revision: expected a 40-digit commit, got main; `lethe pin owner/name` writes the current one"],
    ),
    (
        "baseline",
        {"source": "folder"},
        [
            "baseline.folder: expected a model folder with config.json, tokenizer.json, *.safetensors, got no "
            "config.json, tokenizer.json, *.safetensors in data/model"
        ],
    ),
    (
        "baseline",
        {"source": "gguf"},
        ["baseline.folder: expected a GGUF file, or a folder with one, got data/model: none"],
    ),
    (
        "extract",
        {"backend": "llm"},
        [
            "extract.llm.send_forget_text: expected true with backend llm, got false; true allows forget text to "
            "leave this machine for http://127.0.0.1:8000/v1",
            "extract.backend: expected the key of http://127.0.0.1:8000/v1 in the environment variable "
            "OPENAI_API_KEY, got none",
        ],
    ),
    (
        "evaluate",
        {"server.addresses": {"baseline": "http://host/v1", "unlearned": "host"}},
        [
            "evaluate.server.send_forget_text: expected true, got false; true allows forget text to leave this machine "
            "for http://host/v1",
            "evaluate.server.addresses.unlearned: expected an address such as https://host/v1, got host",
            "evaluate.server: expected a key in the environment variable OPENAI_API_KEY (any text where none is "
            "asked), got none",
        ],
    ),
]


@pytest.mark.parametrize(("where", "value", "lines"), ONE_BAD_VALUE)
def test_one_bad_value(inputs: Path, where: str, value: object, lines: list[str]) -> None:
    for name, scratch in {"block.tokens": 256, "baseline.block_tokens": 256, "baseline.scratch.context": 256}.items():
        set_param(inputs, name, scratch)
    for name, item in value.items() if isinstance(value, dict) else [("", value)]:
        set_param(inputs, f"{where}.{name}".strip("."), item)
    assert problem_lines() == lines


def test_a_gpu_is_looked_for_only_where_it_is_asked_for(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    asked = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(asked.append(1)))
    assert problem_lines() == []
    assert asked == []
    set_param(inputs, "label.device", "cuda")
    assert problem_lines() == ["label.device: expected cpu or auto, got cuda, but torch sees no GPU here"]


def test_packages_of_extras_are_asked_for_before_anything_runs(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    for module in ("openai", "sentence_transformers"):
        monkeypatch.setitem(sys.modules, module, None)
    assert problem_lines() == []
    set_param(inputs, "split.clusters.embedding", "sentence-transformers")
    assert problem_lines() == []  # the rule is another
    set_param(inputs, "split.rule", "clusters")
    set_param(inputs, "translate.backend", "llm")
    set_param(inputs, "translate.llm.send_forget_text", True)
    assert problem_lines() == [
        "split.clusters.embedding: expected tfidf or the package sentence-transformers, which is missing; `pip "
        "install 'lethe-unlearning[embeddings]'`",
        "translate.backend: llm needs the package openai; `pip install 'lethe-unlearning[llm]'`",
    ]
    for module in ("openai", "sentence_transformers"):
        monkeypatch.delitem(sys.modules, module)
    assert problem_lines() == []


def test_the_block_is_compared_with_a_model_folder_s_own_context(inputs: Path) -> None:
    from tests.conftest import tiny_model

    tiny_model(inputs / "models/mine", context=64)
    set_param(inputs, "baseline.source", "folder")
    set_param(inputs, "baseline.folder", "models/mine")
    for name, tokens in {"baseline": 64, "distil": 64, "block": 65}.items():
        set_param(inputs, f"{name}.tokens" if name == "block" else f"{name}.block_tokens", tokens)
    set_param(inputs, "measure.passage_tokens", 64)
    assert problem_lines() == ["block.tokens: expected at most 64, the model's context, got 65"]


def test_a_soft_prompt_has_to_leave_room_for_a_block(inputs: Path) -> None:
    set_param(inputs, "finetune.prompt.tokens", 33)  # 33 + 224 of 256
    assert problem_lines() == []  # no prompt is trained
    set_param(inputs, "finetune.tuning", "prompt")
    set_param(inputs, "distil.steps", 0)
    assert problem_lines() == [
        "finetune.prompt.tokens: expected at most 32, got 33 (the model's context is 256, a block has 224 tokens)"
    ]


def test_only_the_paper_s_objective_needs_soft_labels(inputs: Path) -> None:
    set_param(inputs, "finetune.labels", "soft")
    set_param(inputs, "finetune.alpha", 5.0)
    assert problem_lines() == ["finetune.alpha: expected one of label.soft_alphas: [1.0], got 5.0"]
    set_param(inputs, "finetune.objective", "npo")
    assert problem_lines() == []


def test_disk_space_by_hand(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"finetune.checkpoints": [5, 10], "finetune.steps": 30}.items():
        set_param(inputs, name, value)
    sections, _ = check.validated({name: {} for name in ("baseline", "reinforce", "finetune", "distil")}, raw(inputs))
    baseline, distil = sections["baseline"], sections["distil"]
    off = distil.model_copy(update={"steps": 0})
    # start, baseline, 3 retrained, reinforced, two checkpoints, suppressed, unlearned: 10 x 4 bytes; two resume
    # checkpoints of weights and two moments: 2 x 12 bytes
    assert disk.bytes_per_weight(baseline, sections["reinforce"], sections["finetune"], 3, distil) == 10 * 4 + 24
    assert disk.bytes_per_weight(baseline, sections["reinforce"], sections["finetune"], 1, off) == 7 * 4 + 24
    # a prompt is kilobytes; the baseline's and the reinforced model's trainings can still be resumed
    prompt = sections["finetune"].model_copy(update={"tuning": "prompt"})
    assert disk.bytes_per_weight(baseline, sections["reinforce"], prompt, 1, off) == 4 * 4 + 24
    # adapters: no moments of the weights, which no resume checkpoint holds either
    lora = [recipe.model_copy(update={"tuning": "lora"}) for recipe in (baseline, sections["reinforce"])]
    assert disk.bytes_per_weight(*lora, prompt, 1, off) == 4 * 4
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(0, 0, 1_000_000))
    wanted = disk.parameters(baseline) * (10 * 4 + 24)
    assert problem_lines() == [
        f"disk: expected about {wanted / 1e9:.1f} GB free for the models and for resuming their training, got 0.0 "
        "GB; free some space, or set fewer finetune.checkpoints"
    ]
    (inputs / "models").mkdir()
    with (inputs / "models/there").open("wb") as stream:
        stream.truncate(wanted)  # what an earlier run left needs no room
    assert problem_lines() == []


def raw(project: Path) -> dict:
    return check.read_yaml(project / "params.yaml")


def test_parameters_are_those_of_the_model(project: Path) -> None:
    from lethe.pretrained.from_scratch import initialise
    from stages.baseline import Params
    from tests.conftest import tiny_model, tiny_tokenizer

    params = read_params("baseline", Params, project / "params.yaml")
    tokenizer = tiny_tokenizer()
    shape = params.scratch.model_copy(update={"vocabulary": len(tokenizer)})
    model = initialise(shape, tokenizer, 0)
    assert disk.parameters(params.model_copy(update={"scratch": shape})) == model.num_parameters()

    folder = tiny_model(project / "mine")
    from safetensors.torch import load_file

    stored = sum(tensor.numel() for tensor in load_file(folder / "model.safetensors").values())
    own = params.model_copy(update={"source": "folder", "folder": str(folder)})
    assert disk.parameters(own) == stored
    assert disk.parameters(params.model_copy(update={"source": "hub"})) is None
    from tests.tiny_gguf import write_gguf

    file = {"source": "gguf", "folder": str(write_gguf(folder, project / "own/tiny.gguf"))}
    assert disk.parameters(params.model_copy(update=file)) == stored
    assert estimate.context_planned(params.model_copy(update=file)) == 64
    assert list(check.gguf_file(params.model_copy(update=file))) == []


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(cwd)}
    command = [sys.executable, "-m", "lethe", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_check_as_a_program(inputs: Path) -> None:
    good = run("check", cwd=inputs)
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.endswith(" values in params.yaml, all valid\n")
    set_param(inputs, "finetune.alpha", 2.5)
    bad = run("check", cwd=inputs)
    assert (bad.returncode, bad.stdout) == (1, "")
    assert bad.stderr == (
        "error: params.yaml: finetune.alpha: expected one of label.alphas: [5.0, 1.0, 0.0], got 2.5\n"
    )
    shutil.copy(inputs / "params.yaml", inputs / "mine.yaml")
    mine = run("check", "mine.yaml", cwd=inputs).stderr
    assert mine.startswith("error: mine.yaml: finetune.alpha: expected one of label.alphas")


def test_check_as_json(inputs: Path) -> None:
    good = run("check", "--json", cwd=inputs)
    assert (good.returncode, json.loads(good.stdout)) == (0, {"params": "params.yaml", "problems": [], "remarks": []})
    set_param(inputs, "evaluate.new_tokens", "six")
    bad = run("check", "--json", cwd=inputs)
    assert (bad.returncode, bad.stderr) == (1, "")
    assert json.loads(bad.stdout)["problems"] == ["evaluate.new_tokens: expected an integer, got 'six'"]


def test_every_command_takes_json_and_has_its_words_of_help() -> None:
    root = get_command(commands.app)
    groups = {name: getattr(command, "commands", {name: command}) for name, command in root.commands.items()}
    every = [command for found in groups.values() for command in found.values()]
    assert len(every) > 15
    for command in every:
        assert command.help, command.name
        assert [option for option in command.params if "--json" in option.opts], command.name
        assert all(option.help for option in command.params if option.name != "help"), command.name


def test_a_long_line_goes_on_below_its_text_on_a_screen() -> None:
    written = StringIO()
    words = f"commit {'a' * 40} and {'b' * 60} [x]"
    line(Console(file=written, force_terminal=True, width=60, no_color=True), "model", words)
    assert written.getvalue().splitlines() == [
        f"model     commit {'a' * 40}",  # 10 + 47, and no room for ` and`
        "          and",
        f"          {'b' * 60}",  # a hash is never cut
        "          [x]",
    ]
    piped = StringIO()
    line(Console(file=piped, width=60), "model", words)
    assert piped.getvalue() == f"model     {words}\n"


def test_check_outside_a_project(tmp_path: Path) -> None:
    outside = run("check", cwd=tmp_path)
    assert outside.returncode == 1
    assert outside.stderr == ("error: dvc.yaml: no such file; run the command in the folder of the project\n")


HEAVY = ("torch", "transformers", "lm_eval", "openai", "sklearn", "matplotlib", "pandas", "huggingface_hub")


@pytest.mark.parametrize("arguments", [["check"], ["result"], ["gate"], ["--help"]])
def test_nothing_heavy_is_imported(inputs: Path, arguments: list[str]) -> None:
    write_reports(inputs)
    program = (
        "import sys; from lethe.cli.main import main\n"
        f"sys.argv = ['lethe', *{arguments}]\n"
        "try: main()\n"
        f"finally: print('heavy:', *sorted(set(sys.modules) & set({HEAVY})), file=sys.stderr)\n"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(inputs)}
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=inputs, env=environment, capture_output=True, text=True, check=False
    )
    assert found.stderr == "heavy:\n"
    assert found.returncode == (3 if arguments == ["gate"] else 0)  # its reports miss a criterion


def write_reports(project: Path) -> None:
    """The reports of a run, of which the benchmarks and the retain perplexity could not be measured."""
    metrics = ("completion_familiarity", "probability_familiarity", "leak", "retain_perplexity")
    numbers = {model: dict.fromkeys(metrics, value) for model, value in MODELS.items()}
    ratio = {"completion_familiarity": 0.0667, "probability_familiarity": 0.2, "retain_perplexity_factor": None}
    reasons = {"retain_perplexity": "no held-out retain text"}
    familiarity = {"models": numbers, "ratio": ratio, "reasons": reasons, "absent": {}, "fluency": fluency()}
    write_json(familiarity, project / "reports/familiarity.json")
    scores = {"baseline": {"local_order": 0.7}, "unlearned": {"local_order": 0.69}}
    write_json({"items": {"local_order": 9}, "models": scores, "absent": {}}, project / "reports/benchmarks.json")
    write_json({"steps": 30}, project / "reports/finetune.json")
    write_json({"steps": 0}, project / "reports/distil.json")
    write_evaluated(project)


CRITERIA = [
    "criterion limit value 95 % interval",
    "Familiarity (completion) remaining (retrained 0, baseline 1) at most 0.1 0.067 pass",
    "Familiarity (probability) remaining (retrained 0, baseline 1) at most 0.1 0.200 fail",
    "Perplexity of held-out retain text, relative to baseline at most 1.1 cannot tell no held-out retain text",
    "Accuracy loss on the worst benchmark at most 0.02 0.010 -0.378 to 0.378 cannot tell 9 items are too few to tell",
    "Fluency loss over baseline and retrained, worst metric at most 0.1 0.050 -0.021 to 0.121 pass Continuations with "
    "a doubled word, retain prompts: 0.050, baseline 0.000",
    "Model utility, relative to baseline at least 0.95 0.986 0.914 to 1.057 pass",
    "Memorisation excess over retrained, worst metric at most 0.05 0.030 pass Verbatim memorisation (ROUGE-L)",
    "Two-choice trivia excess over retrained at most 0.1 0.190 fail",
    "Extraction attack excess over retrained, worst attack at most 0.1 0.410 0.360 to 0.460 fail Relearning on "
    "forget text, 8 forget passages, 20 steps: Leak",
    "Forget quality (p-value) at least 0.05 0.012 fail",
    "PrivLeak, absolute value at most 0.05 0.180 fail",
    "release gate: FAIL (5 of 9 criteria): probability familiarity, trivia excess, attack excess, forget quality, "
    "privleak; 2 not measured",
]


def shown_lines(output: str) -> list[str]:
    lines = [" ".join(line.split()) for line in output.splitlines()]
    return [line for line in lines if line and set(line) - set("─ ")]


def test_result_shows_the_table_and_the_criteria(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_reports(project)
    monkeypatch.setenv("NO_COLOR", "1")
    commands.result(json=False)
    assert shown_lines(capsys.readouterr().out) == [
        "● baseline step 5 ■ unlearned ▲ retrained",
        "Familiarity (completion) 3.000 1.000 0.200 0.000",
        "Familiarity (probability) 3.000 1.000 0.200 0.000",
        "Leak 3.000 1.000 0.200 0.000",
        "Retain perplexity 3.000 1.000 0.200 0.000",
        "local_order 0.700 0.690",
        *CRITERIA,
        "Whose numbers these are cannot be told: this folder is no DVC project that has run",
        "The report reports/index.html is not here; `lethe repro` writes it",
    ]
    (project / "reports/index.html").touch()
    commands.result(json=False)
    assert shown_lines(capsys.readouterr().out)[-1] == "The report: reports/index.html"


def test_result_as_json(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_reports(project)
    commands.result(json=True)
    shown = json.loads(capsys.readouterr().out)
    assert [row["step"] for row in shown["steps"]] == [0, 5, 30, None]
    assert [criterion["met"] for criterion in shown["criteria"]][:4] == [True, False, None, None]
    assert shown["report"] == "reports/index.html"
    assert shown["checkout"] == {"same": None, "differs": {}, "missing": [], "why": ""}


def test_the_gate_as_a_program(project: Path) -> None:
    write_reports(project)
    failed = run("gate", cwd=project)
    assert (failed.returncode, failed.stderr) == (3, "")
    nobody = "Reports that no dvc.lock records: nothing vouches for them"
    assert shown_lines(failed.stdout) == [*CRITERIA[:-1], nobody, CRITERIA[-1]]

    missed = ("probability_familiarity", "trivia_excess", "attack_excess", "forget_quality", "privleak")
    for name in missed:
        set_param(project, f"report.gate.{name}", None)
    open_ = run("gate", "--json", cwd=project)
    shown = json.loads(open_.stdout)
    assert (open_.returncode, shown["status"]) == (1, "cannot tell")
    assert shown["verdict"] == "release gate: CANNOT TELL (2 of 6 criteria not measured)"
    assert len(shown["criteria"]) == 6

    for name in ("retain_perplexity", "benchmark_loss"):
        set_param(project, f"report.gate.{name}", None)
    passed = run("gate", cwd=project)
    assert passed.returncode == 0
    assert passed.stdout.endswith("release gate: PASS (all 4 criteria)\n")


def test_the_gate_cannot_tell_without_reports_or_thresholds(project: Path) -> None:
    absent = run("gate", cwd=project)
    assert (absent.returncode, absent.stdout) == (1, "")
    assert absent.stderr == (
        "error: reports/familiarity.json: no such file; expected the JSON that an earlier stage writes; run `dvc "
        "repro`\n"
    )
    set_param(project, "report.gate.attack_excess", 1.5)
    wrong = run("gate", cwd=project)
    assert (wrong.returncode, wrong.stderr) == (
        1,
        "error: params.yaml: report.gate.attack_excess: expected at most 1, got 1.5\n",
    )


def test_result_before_any_run(project: Path) -> None:
    with pytest.raises(StageError) as error:
        commands.result(json=False)
    assert str(error.value) == (
        "reports/familiarity.json: no such file; expected the JSON that an earlier stage writes; run `dvc repro`"
    )


def test_help_names_the_commands(tmp_path: Path) -> None:
    shown = run("--help", cwd=tmp_path)
    assert shown.returncode == 0
    for word in ("check", "result", "gate", "cost", "dvc repro", "--install-completion"):
        assert word in shown.stdout


def test_version() -> None:
    done = CliRunner().invoke(commands.app, ["--version"])
    assert (done.exit_code, done.stdout) == (0, f"lethe {version('lethe-unlearning')}\n")


@pytest.mark.parametrize(
    ("forget", "retain", "name", "words"),
    [
        ("data/forget", "data/forget", "retain", "expected another folder than corpus.forget, and none around or"),
        ("data/forget", "data/../data/forget/", "retain", "expected another folder than corpus.forget"),
        ("data/forget", "data/linked", "retain", "expected another folder than corpus.forget"),
        ("data/forget", "data/forget/part", "retain", "expected another folder than corpus.forget"),
        ("data/forget/part", "data/forget", "retain", "expected another folder than corpus.forget"),
        (".", "data/retain", "forget", "which holds what the project makes"),
        ("..", "data/retain", "forget", "which holds what the project makes"),
        ("data", "data/retain", "forget", "which holds what the project makes"),
        ("/", "data/retain", "forget", "which belongs to the system"),
        ("/etc", "data/retain", "forget", "which belongs to the system"),
        ("data/forget", "/usr/share/doc", "retain", "which belongs to the system"),
        ("~", "data/retain", "forget", "which belongs to the system"),
        ("models/unlearned", "data/retain", "forget", "which the project or a tool makes"),
        (".git", "data/retain", "forget", "which the project or a tool makes"),
    ],
)
def test_folders_of_text_are_two_and_neither_system_nor_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget: str, retain: str, name: str, words: str
) -> None:
    from lethe.core.corpus import folder_problems

    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/forget/part").mkdir(parents=True)
    (tmp_path / "data/linked").symlink_to("forget")
    ((found, problem),) = folder_problems(os.path.expanduser(forget), retain).items()
    assert found == name
    assert words in problem
    assert folder_problems("data/forget", "data/retain") == {}
    assert folder_problems("data/forget", str(tmp_path.parent / "elsewhere")) == {}


def test_every_stage_checks_the_whole_params_file_first(inputs: Path) -> None:
    text = (inputs / "params.yaml").read_text()
    (inputs / "params.yaml").write_text(text.replace("\n  samples:", "\n  sample:"))
    program = "import sys; from lethe.core.stage import run; sys.argv = ['corpus.py']; run(lambda: print('began'))"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], cwd=inputs, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: params.yaml: 2 problems\n  report.samples: parameter is missing\n"
        "  report.sample: unknown parameter; did you mean samples?\n"
    )


def test_outside_a_project_and_without_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (["preset"], ["preset", "book"]):
        error = CliRunner().invoke(commands.app, arguments).exception
        assert (
            str(error) == "presets: expected the project's folder of presets, got none; run the command in the project"
        )
    Path("dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    assert str(CliRunner().invoke(commands.app, ["card"]).exception) == (
        "reports/familiarity.json: expected the report of a finished run, got none; `git checkout "
        "reports/familiarity.json`"
    )
