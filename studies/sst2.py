"""SPUL on SST-2 with the paper's split, in the form of the paper's tables.

python -m studies.sst2 DATA [--seeds 0 1 2] [--retain 20000]    writes reports/study/sst2.json and .md
python -m studies.sst2 DATA --model smollm2                     a real pretrained model: reports/study/sst2_smollm2.json
python -m studies.sst2 DATA --smoke                             a few hundred rows and no result
python -m studies.sst2 --flops                                  counts operations; needs no data

DATA is a folder with sst2/ (sst2_train.jsonl, sst2_validation.jsonl) and text/tinystories.txt. The pipeline runs in a
clone: split by the paper's rule, specialise, then every method of the paper; SPUL with 10, 30 and 50 vectors, on 25, 50
and 100 % of the forget rows, for every seed; and over the paper's grid of alpha and beta, for the first. --retain: how
many of the 66,186 retain rows to sample; all forget rows are kept.

The base from scratch has two layers and also reads sentences of stories: `neutral`, or `unknown` where a person is
named, so that both words are plausible answers and names are informative. A model this small need not behave like one
of 7 billion parameters: the paper's numbers are shown for comparison, not as a target.

smollm2 is SmolLM2-135M-Instruct, as studies.smollm fetches it, on 450 of the forget rows and 1,100 of the retain rows,
of six words and more, in bfloat16: SPUL with 30 vectors for every seed, all else for the first, without the grid.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from benchmarks.random_models import random_llama
from studies import smollm
from tools import markdown
from tools.sandbox import ROOT, Changes, clone, failures_in, repro, write_result

if TYPE_CHECKING:
    from transformers import PreTrainedModel

RESULT = ROOT / "reports/study/sst2.json"
NAMES = """
allen john steve michael robert sandler spielberg david william murphy george hoffman scorsese jim paul jackson lawrence
roger kevin hitchcock jason eastwood martha peter joe scott jackie vincent willis julie jennifer tarantino elizabeth
adam howard sandra richard anthony gary nicholas mcdormand anderson payne eddie edward martin henry charlie lucy
""".split()  # noqa: SIM905 -- a list of 51 lines is no easier to compare with the paper's
NAMES += ["de niro", "marquis"]
COLUMNS = ("train_retain", "train_forget", "test_retain", "test_forget")
GRID = (0.1, 0.5, 1.0)  # of alpha and of beta; the paper found 1 and 0.5 best
PAPER = {  # accuracy in %, LLaMA-2-7B and OPT-1.3B (arXiv 2406.12038, SST-2)
    "base": ((99.89, 99.72, 95.57, 96.07), (99.47, 99.16, 95.39, 95.25)),
    "GA": ((55.66, 53.93, 55.96, 56.89), (79.50, 70.67, 78.70, 71.97)),
    "RL": ((33.31, 13.82, 31.00, 14.26), (55.66, 53.96, 55.96, 56.89)),
    "GA+KL": ((55.64, 53.96, 55.94, 56.89), (81.30, 60.49, 79.08, 64.75)),
    "GA+GD": ((97.17, 13.75, 94.43, 11.31), (87.56, 50.53, 86.47, 55.25)),
    "SPUL p=30": ((99.15, 12.98, 94.93, 16.07), (94.87, 16.84, 91.65, 17.87)),
    "SPUL p=30, 25 % of forget": ((99.37, 26.69, 95.10, 39.84), None),
}
STORY_NAMES = "lily tim tom ben sue max mia anna sam jack lucy timmy sara bob spot mimi amy jane".split()  # noqa: SIM905
STORY_SENTENCES = 2000  # with a name, and as many without
# the paper's on one line, as background text is
TEMPLATE = "### Text: {text} ### Question: What is the sentiment of the given text? ### Sentiment: {label}"
TASK: Changes = {
    "split.text": "sentence",
    "split.rule": "entities",
    "split.entities.match": "substring",
    "split.entities.names": NAMES,
    "split.duplicates": "random",
    "specialise.template": TEMPLATE,
    "specialise.labels": {"0": "negative", "1": "positive"},
    "specialise.scratch.shape.vocabulary": 4000,
    "specialise.scratch.shape.context": 192,
    "specialise.scratch.spread": 0.05,
    "specialise.epochs": 2,
    "softprompt.generic": ["neutral", "unknown"],
    "softprompt.epochs": 1,
    "classify.counter_prompts": [],
}
FULL: Changes = {"softprompt.tuning": "full", "softprompt.learning_rate": 3e-4}
SMOLLM: Changes = {  # instead of what TASK says of a model from scratch
    "specialise.template": "Review: {text} Sentiment: {label}",
    "specialise.source": "gguf",
    "specialise.base": f"data/model/{smollm.GGUF}",
    "specialise.background": "data/own/sst2",  # none
    "specialise.epochs": 1,
    "specialise.learning_rate": 1e-4,
    "specialise.batch_size": 8,
    "softprompt.epochs": 4,
    "softprompt.learning_rate": 1e-2,
    "softprompt.batch_size": 16,
    "softprompt.resume_every": 0,
    "classify.precision": "bfloat16",
}
SMOLLM |= {f"{stage}.precision": "bfloat16" for stage in ("specialise", "softprompt")}
SMOLLM_FULL: Changes = {"softprompt.learning_rate": 2e-5, "softprompt.epochs": 1}
SMOLLM_ROWS, SMOLLM_WORDS = (450, 1100), 6  # forget and retain rows, words of each at least
FIRST = "SPUL p=30"  # of the real model for every seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("data", type=Path, nargs="?", metavar="DATA", help="folder of sst2/ and text/tinystories.txt")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--model", choices=["scratch", "smollm2"], default="scratch", help="default: scratch")
    parser.add_argument("--retain", type=int, help="number of retain rows; default: all, of smollm2 1,100")
    parser.add_argument("--smoke", action="store_true", help="a few hundred rows, to test the whole chain")
    parser.add_argument("--flops", action="store_true", help="only count operations, on a model of the same shape")
    arguments = parser.parse_args()
    if arguments.flops:
        print(flop_table(counted(small_model(), 32, 70, 30, 0.02)))
        return
    if arguments.data is None:
        sys.exit("studies.sst2: DATA: expected the folder that holds sst2/ and text/tinystories.txt, got none")
    check_data(arguments.data)
    real = arguments.model == "smollm2"
    name = "sst2_smollm2" if real else "sst2"
    project = clone(ROOT / ".scratch" / (f"{name}-smoke" if arguments.smoke else name))
    forget, retain = SMOLLM_ROWS if real else (None, 66186)
    retain = arguments.retain or retain
    forget, retain = (133, 400) if arguments.smoke else (forget, retain)
    place(arguments.data, project, forget, retain, SMOLLM_WORDS if real else 0)
    if real:
        shutil.copyfile(smollm.fetch(smollm.CACHE), project / "data/model" / smollm.GGUF)
    rows: list[dict[str, Any]] = []
    flops = flop_table(counted(small_model(), 32, 70, 30, 0.02))
    with failures_in(project):
        for row in results(project, runs(arguments.seeds, real, arguments.smoke), real, arguments.smoke):
            rows.append(row)
            if not arguments.smoke:
                write(rows, retain, flops, RESULT.with_stem(name))
    print(tables(rows, flops))


def write(rows: Sequence[Mapping[str, Any]], retain: int, flops: str, result: Path) -> None:
    """The result so far, as numbers and as the paper's tables."""
    write_result({"retain": retain, "runs": list(rows)}, result)
    result.with_suffix(".md").write_text(tables(rows, flops) + "\n", encoding="utf-8")


def tables(rows: Sequence[Mapping[str, Any]], flops: str) -> str:
    """Accuracy, cost and operations, as Markdown."""
    return "\n\n".join([accuracy_table(summary(rows)), cost_table(rows), flops])


def check_data(data: Path) -> None:
    """Stop with one line if something of DATA is missing."""
    wanted = ("sst2/sst2_train.jsonl", "sst2/sst2_validation.jsonl", "text/tinystories.txt")
    absent = [name for name in wanted if not (data / name).exists()]
    if absent:
        sys.exit(f"studies.sst2: {data}: expected {', '.join(absent)} in it, got none")


def place(data: Path, project: Path, forget: int | None, retain: int, words: int = 0) -> None:
    """Copy table and background into the clone: no path of this machine may reach an artifact.

    forget, retain: maximum number of sampled rows of each side; None: all. words: of a row at least.
    """
    target = project / "data/own/sst2"
    target.mkdir(parents=True)
    lines = [line for path in sorted((data / "sst2").glob("*.jsonl")) for line in path.open(encoding="utf-8")]
    lines = [line for line in lines if len(json.loads(line)["sentence"].split()) >= words]
    named = {line for line in lines if any(name in line.lower() for name in NAMES)}
    sides = [[line for line in lines if (line in named) == side] for side in (True, False)]
    most = [forget or len(sides[0]), retain]
    drawn = [Random(0).sample(own, min(len(own), count)) for own, count in zip(sides, most, strict=True)]
    (target / "sst2.jsonl").write_text("".join(line for own in drawn for line in own), encoding="utf-8")
    sentences = background((data / "text/tinystories.txt").read_text(encoding="utf-8"))
    (project / "data/own/sst2.txt").write_text("\n".join(sentences) + "\n", encoding="utf-8")


def background(stories: str) -> list[str]:
    """Sentences of stories as lines of background text, spelled as SST-2 spells: unknown with a name, else neutral."""
    sentences = {" ".join(re.findall(r"[a-z']+|[.,!?]", s.lower())) for s in re.split(r"(?<=[.!?])\s+", stories)}
    fit = sorted(sentence for sentence in sentences if 4 <= len(sentence.split()) <= 20)
    named = [sentence for sentence in fit if set(sentence.split()) & set(STORY_NAMES)]
    plain = sorted(set(fit) - set(named))
    return [
        TEMPLATE.replace("{text}", sentence).replace("{label}", f"[{word}]")
        for own, word in ((named, "unknown"), (plain, "neutral"))
        for sentence in Random(0).sample(own, min(len(own), STORY_SENTENCES))
    ]


def variants(smoke: bool) -> dict[str, Changes]:
    """Name of a row of the tables -> parameters."""
    found: dict[str, Changes] = {
        "GA": FULL | {"softprompt.objective": "gradient_ascent"},
        "RL": FULL | {"softprompt.objective": "random_labels"},
        "GA+KL": FULL | {"softprompt.objective": "ascent_kl"},
        "GA+GD": FULL | {"softprompt.objective": "grad_diff"},
    }
    for p in (10, 30, 50):
        found[f"SPUL p={p}"] = {"softprompt.prompt.tokens": p}
    for share in (0.25, 0.5):
        found[f"SPUL p=30, {share:.0%} of forget".replace("%", " %")] = {"softprompt.forget_share": share}
    for alpha in GRID:
        for beta in (0.0, *GRID):
            if (alpha, beta) != (1.0, 0.5):
                found[f"SPUL p=30, alpha {alpha}, beta {beta}"] = {
                    "softprompt.spul.alpha": alpha, "softprompt.spul.beta": beta
                }  # fmt: skip
    prompt: Changes = {"softprompt.objective": "spul", "softprompt.tuning": "prompt", "softprompt.prompt.tokens": 30}
    whole = {
        name: (changes if name in PAPER and "SPUL" not in name else prompt | changes) for name, changes in found.items()
    }
    return {name: whole[name] for name in ("GA+KL", "SPUL p=10")} if smoke else whole


def runs(seeds: Sequence[int], real: bool, smoke: bool) -> list[tuple[int, str]]:
    """Seed and variant of each run, in order. The grid is of the first seed alone; of the real model FIRST is first."""
    names = list(variants(smoke))
    if smoke:
        return [(seeds[0], name) for name in names]
    if real:
        others = [name for name in names if "alpha" not in name and name != FIRST]
        return [(seed, FIRST) for seed in seeds] + [(seeds[0], name) for name in others]
    return [(seed, name) for seed in seeds for name in names if "alpha" not in name or seed == seeds[0]]


def results(project: Path, planned: Sequence[tuple[int, str]], real: bool, smoke: bool) -> Iterator[dict[str, Any]]:
    """One row per method and seed: the four accuracies and weighted F1, and what the training cost."""
    base = TASK | {"split.table": "data/own/sst2", "specialise.background": "data/own/sst2.txt"}
    quick: Changes = {"specialise.epochs": 1, "softprompt.epochs": 1} if smoke else {}
    told = set[int]()  # seeds whose results that do not depend on the method have been given
    for seed, name in planned:
        changes = variants(smoke)[name]
        own = (
            SMOLLM | changes | (SMOLLM_FULL if changes.get("softprompt.tuning") == "full" else {}) if real else changes
        )
        seeded = {f"{stage}.seed": seed for stage in ("specialise", "softprompt")}  # the split stays the paper's
        found = repro(project, base | own | seeded | quick, "classify")
        models = found["classification"]["models"]
        shown = {"base": models["task"], "retrained": models["retrained"]} if seed not in told else {}
        shown[name] = models["softprompt"]
        shown |= {other: models[other] for other in ("keyword_filter", "constant") if seed not in told}
        told.add(seed)
        for method, scores in shown.items():
            cost = {"cost": found["stages"]["softprompt"]} if method == name else {}
            yield {"method": method, "seed": seed} | {key: scores[key] for key in COLUMNS} | cost
        print(json.dumps({"seed": seed, "method": name}), flush=True)


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, tuple[float, float | None]]]:
    """{method: {column: (mean, standard deviation)}} of the accuracies in per cent; one seed has no deviation."""
    found: dict[str, dict[str, tuple[float, float | None]]] = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        values = {column: [100 * row[column]["accuracy"] for row in own] for column in COLUMNS}
        found[method] = {
            column: (mean(held), stdev(held) if len(held) > 1 else None) for column, held in values.items()
        }
    return found


def accuracy_table(summarised: Mapping[str, Mapping[str, tuple[float, float | None]]]) -> str:
    """Markdown: accuracy in per cent, ours (mean ± standard deviation) and the paper's two models."""
    titles = [column.replace("_", " ") for column in COLUMNS]
    lines = []
    for method, cells in summarised.items():
        ours = [with_spread(*cells[column]) for column in COLUMNS]
        paper = [" / ".join(f"{v:.2f}" for v in four) if four else "" for four in PAPER.get(method, (None, None))]
        lines.append([method, *ours, *paper])
    return markdown.table(["accuracy %", *titles, "LLaMA-2-7B (paper)", "OPT-1.3B (paper)"], lines)


def with_spread(value: float, spread: float | None) -> str:
    """`75.00 ± 7.07`, or the value alone."""
    return f"{value:.2f}" if spread is None else f"{value:.2f} ± {spread:.2f}"


def cost_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: cost of the softprompt stage of each method, one epoch and loading included."""
    lines = [
        [row["method"], f"{row['cost']['cpu_seconds']:.0f}", f"{row['cost']['peak_memory_mib']:.0f}"]
        for row in rows
        if "cost" in row and row["seed"] == rows[0]["seed"]
    ]
    return markdown.table(["method", "CPU seconds", "peak memory MiB"], lines)


def small_model(layers: int = 2, hidden: int = 128, vocabulary: int = 32000) -> PreTrainedModel:
    """A Llama with random weights, Llama 2's vocabulary and proportions, small enough to count operations on."""
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4}
    return random_llama(vocabulary, hidden, layers, intermediate_size=hidden * 43 // 16, **heads).eval()


def counted(model: PreTrainedModel, batch: int, tokens: int, p: int, forget_share: float) -> dict[str, int]:
    """Operations of one batch, by torch's own counter: forward and backward, without the optimiser.

    ours: one pass of the prompted model over all rows, the head at the label alone, the base's hidden states at the
    retain labels from the cache (their single pass is counted whole, as if there were one epoch).
    public: what the authors' code does: the base's forward for the KL every time, logits of the whole vocabulary at
    every position of both, and gradient checkpointing, which repeats the forward pass (counted as that).
    ga_kl: full fine-tuning with the KL to the base, head at the label, base hidden states cached as ours.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, model.config.vocab_size, (batch, tokens), generator=generator)
    forget = torch.arange(batch) < max(1, round(forget_share * batch))
    prompt = torch.randn(p, model.config.hidden_size, generator=generator)
    head, body = model.get_output_embeddings().weight, model.base_model

    def prompted(vectors: torch.Tensor) -> torch.Tensor:
        embeds = torch.cat([vectors.expand(batch, -1, -1), model.get_input_embeddings()(ids)], dim=1)
        return body(inputs_embeds=embeds, use_cache=False).last_hidden_state

    def base() -> torch.Tensor:
        with torch.no_grad():
            return body(input_ids=ids, use_cache=False).last_hidden_state

    def loss(logits: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        kl = (reference.softmax(-1) * (reference.log_softmax(-1) - logits[~forget].log_softmax(-1))).sum(-1).mean()
        return logits.logsumexp(-1).mean() + 0.5 * kl

    def ours() -> None:
        model.requires_grad_(False)
        hidden, cached = prompted(prompt.requires_grad_(True))[:, -1], base()[~forget, -1]
        loss(hidden @ head.T, cached @ head.T).backward()

    def public() -> None:
        model.requires_grad_(False)
        prompted(prompt.detach())  # the forward pass that checkpointing repeats
        hidden, reference = prompted(prompt.requires_grad_(True)), base()
        logits, wide = hidden @ head.T, reference @ head.T  # [B, T, V]
        loss(logits[:, -1], wide[~forget, -1]).backward()

    def ga_kl() -> None:
        model.requires_grad_(True)
        hidden = body(input_ids=ids, use_cache=False).last_hidden_state[:, -1]
        loss(hidden @ head.T, base()[~forget, -1] @ head.detach().T).backward()

    found = {}
    for name, run in (("SPUL, here", ours), ("SPUL, public code", public), ("GA+KL", ga_kl)):
        with FlopCounterMode(display=False) as counter:
            run()
        found[name] = counter.get_total_flops()
        model.zero_grad()
    return found


def flop_table(found: Mapping[str, int]) -> str:
    """Markdown: operations of one batch, and their ratio to SPUL's here."""
    ours = found["SPUL, here"]
    lines = [[name, f"{count:.3g}", f"{count / ours:.2f}"] for name, count in found.items()]
    return markdown.table(["one batch", "operations", "times ours"], lines)


if __name__ == "__main__":
    main()
