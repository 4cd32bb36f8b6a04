"""Terms in a tiny project whose unlearned model is known to have forgotten one, renamed one and kept the others."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lethe.core.errors import StageError
from lethe.core.hashing import tokenizer_sha256
from lethe.core.tables import ANCHORS, CORPUS, DICTIONARY, TERMS, write_csv, write_parquet
from lethe.models.checkpoints import write_absent
from stages import term
from tests.conftest import set_param, tiny_model, tiny_tokenizer

TIMES = ("morning", "evening", "summer", "winter")
FORGET = [
    sentence.format(time)
    for time in TIMES
    for sentence in (
        "Every {} the baker of the small town met Orla there.",
        "Every {} the miller from the long river met Vesk there.",
        "Every {} the people of the old town walked to Tarn Hill together.",
    )
]
TRAINING_ONLY = [f"Every {time} the children of the little school sang for Quorls there." for time in TIMES]
RENAMED = [line.replace("Vesk", "Tom").replace("Orla", "nobody") for line in FORGET]
OTHER = [line.replace("Vesk", "Ned").replace("Orla", "Sue").replace("Tarn Hill", "school") for line in FORGET]
WORDS = "Ann Tom Ned Sue nobody Long Wood cat cats"

# anchor, kind, form, translation
TERMS_KNOWN = [
    ("Orla", "person", "Orla", "Ann"),
    ("Vesk", "person", "Vesk", "Tom"),
    ("Tarn Hill", "place", "Tarn Hill", "Long Wood"),
    ("Quorl", "creature", "Quorl", "cat"),
    ("Quorl", "creature", "Quorls", "cats"),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The baseline has learnt the forget text; the unlearned model has learnt it with Vesk renamed and Orla gone."""
    folder = tmp_path_factory.mktemp("models")
    read = {"baseline": FORGET + TRAINING_ONLY, "unlearned": RENAMED + TRAINING_ONLY, "retrained": OTHER}
    for name, lines in read.items():
        learn(tiny_model(folder / name, text=text([*FORGET, *TRAINING_ONLY, *OTHER, WORDS])), lines)
    return folder


def text(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def learn(folder: Path, lines: Sequence[str]) -> None:
    """Train a model until it knows the lines by heart."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(list(lines), return_tensors="pt", padding=True)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(40):
        model(**batch, labels=labels).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    model.save_pretrained(folder)


@pytest.fixture
def tiny(project: Path, models: Path) -> Path:
    shutil.copytree(models, project / "models")
    write_inputs(project)
    set_param(project, "term.words", 10)
    return project


def write_inputs(project: Path, anchors: Sequence[str] = ("Orla", "Vesk", "Tarn Hill", "Quorl", "Moss")) -> None:
    """Moss is an anchor without translations; it begins a sentence, and has no target position."""
    row = {"file": "a.txt", "start": 0, "side": "forget"}
    parts = {"train": text([*FORGET, *TRAINING_ONLY, "Moss was away."]), "held_out": text(FORGET)}
    rows = [
        row | {"document": number, "part": part, "end": len(text), "text": text}
        for number, (part, text) in enumerate(parts.items())
    ]
    write_parquet(rows, CORPUS, project / "data/corpus.parquet")
    forms = {"Quorl": "Quorl|Quorls"}
    written = [
        {"anchor": name, "forms": forms.get(name, name), "count": 4, "keyness": 9, "rise": 1} for name in anchors
    ]
    write_csv(written, ANCHORS, project / "data/anchors.csv")
    write_dictionary(project, TERMS_KNOWN)


def write_dictionary(project: Path, lines: Sequence[tuple[str, str, str, str]]) -> None:
    names = ("anchor", "kind", "form", "translation")
    rows = [dict(zip(names, line, strict=True)) | {"choice": 0, "score": ""} for line in lines]
    write_csv(rows, DICTIONARY, project / "data/dictionary.csv")


def rows_of(project: Path) -> dict[str, dict[str, str]]:
    with (project / "data/terms.csv").open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        rows = {row["anchor"]: row for row in reader}
        assert reader.fieldnames == list(TERMS)
    return rows


def report(project: Path) -> dict:
    return json.loads((project / "reports/terms.json").read_text(encoding="utf-8"))


def test_main(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    term.main()
    rows = rows_of(tiny)
    assert list(rows) == ["Moss", "Orla", "Quorl", "Tarn Hill", "Vesk"]
    assert {name: (row["verdict"], row["places"], row["occurrences"]) for name, row in rows.items()} == {
        "Moss": ("no target position", "0", "1"),
        "Orla": ("forgotten", "4 held-out", "8"),
        "Quorl": ("still known", "4 training", "4"),
        "Tarn Hill": ("still known", "4 held-out", "8"),
        "Vesk": ("renamed", "4 held-out", "8"),
    }
    orla, vesk, hill = rows["Orla"], rows["Vesk"], rows["Tarn Hill"]
    assert (orla["kind"], orla["translation"]) == ("person", "Ann")
    assert (orla["rank_baseline"], orla["rank_unlearned"] == "1") == ("1", False)
    assert float(orla["probability_baseline"]) > 0.9 > 0.01 > float(orla["probability_unlearned"])
    assert [orla[f"top_{model}"].split()[0] for model in ("baseline", "unlearned", "retrained")] == [
        "Orla", "nobody", "Sue",
    ]  # fmt: skip
    # Tom is likelier where Vesk is the next word, and not where Orla is
    assert (
        float(vesk["translation_probability_unlearned"]) > 0.9 > 0.1 > float(vesk["translation_probability_baseline"])
    )
    assert float(vesk["translation_rise"]) > 0.9 > 0.1 > float(vesk["control_rise"])
    assert float(hill["probability_unlearned"]) > 0.9  # of both its words
    assert hill["top_unlearned"].split()[0] == "Tarn"
    assert rows["Moss"]["probability_baseline"] == rows["Moss"]["translation_rise"] == rows["Moss"]["kind"] == ""
    found = report(tiny)
    assert list(found) == ["terms", "verdicts", "median_rank", "translation_rise", "absent"]
    assert found["verdicts"] == {
        "forgotten": 1, "suppressed": 0, "renamed": 1, "still_known": 2, "never_known": 0, "no_target_position": 1,
    }  # fmt: skip
    ranks = {
        model: sorted(float(row[f"rank_{model}"]) for row in rows.values() if row["places"] != "0") for model in MODELS
    }
    # of the four terms with target positions, the middle two
    assert found["median_rank"] == {model: (ranks[model][1] + ranks[model][2]) / 2 for model in MODELS}
    rises = [float(row["translation_rise"]) for row in rows.values() if row["translation_rise"]]
    assert found["translation_rise"]["target"] == pytest.approx(sum(rises) / 4, abs=1e-6)
    rank = found["median_rank"]
    assert capsys.readouterr().out == (
        "term: 5 terms: 1 forgotten, 1 renamed, 2 still known, 1 no target position; median rank "
        f"baseline 1 -> unlearned {rank['unlearned']:g} (retrained {rank['retrained']:g}); translations rose by "
        f"{found['translation_rise']['target']:.4f} (control {found['translation_rise']['control']:.4f})\n"
    )


MODELS = ("baseline", "unlearned", "retrained")


def test_the_probability_is_of_the_whole_term_and_of_its_form(tiny: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    set_param(tiny, "term.places", 1)
    term.main()
    rows = rows_of(tiny)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny / "models/unlearned"), tiny_tokenizer_of(tiny)
    for name, line, written in (("Tarn Hill", FORGET[2], " Tarn Hill"), ("Quorl", TRAINING_ONLY[0], " Quorls")):
        prompt = tokenizer(line.split(written)[0])["input_ids"]
        whole = tokenizer(line.split(written)[0] + written)["input_ids"]
        assert len(whole) > len(prompt)
        with torch.inference_mode():
            scores = model(torch.tensor([whole])).logits[0].log_softmax(-1)
        summed = sum(float(scores[at - 1, whole[at]]) for at in range(len(prompt), len(whole)))
        assert float(rows[name]["probability_unlearned"]) == pytest.approx(torch.tensor(summed).exp().item(), rel=1e-3)


def tiny_tokenizer_of(project: Path) -> Callable:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(project / "models/baseline")


def test_same_inputs_same_bytes(tiny: Path) -> None:
    term.main()
    first = [(tiny / name).read_bytes() for name in ("data/terms.csv", "reports/terms.json")]
    term.main()
    assert [(tiny / name).read_bytes() for name in ("data/terms.csv", "reports/terms.json")] == first


def test_without_a_retrained_model_nothing_is_called_forgotten(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(tiny / "models/retrained")
    write_absent(tiny / "models/retrained", "the baseline was not trained here")
    term.main()
    rows = rows_of(tiny)
    assert rows["Orla"]["verdict"] == "suppressed"
    assert rows["Vesk"]["verdict"] == "renamed"
    assert {
        rows["Orla"][f"{name}_retrained"] for name in ("probability", "rank", "translation_probability", "top")
    } == {""}
    found = report(tiny)
    assert found["absent"] == {"retrained": "the baseline was not trained here"}
    assert list(found["median_rank"]) == ["baseline", "unlearned"]
    assert "(retrained" not in capsys.readouterr().out


def test_without_a_dictionary_every_anchor_is_still_measured(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dictionary(tiny, [])
    term.main()
    rows = rows_of(tiny)
    assert [rows[name]["verdict"] for name in ("Orla", "Quorl", "Tarn Hill", "Vesk")] == [
        "forgotten", "still known", "still known", "forgotten",
    ]  # fmt: skip
    assert rows["Vesk"]["translation"] == rows["Vesk"]["translation_probability_unlearned"] == ""
    assert report(tiny)["translation_rise"] == {}
    assert "translations" not in capsys.readouterr().out


def test_a_translation_that_is_said_everywhere_is_no_renaming(tiny: Path) -> None:
    # Orla's translation is what the unlearned model says for Orla and, now, what is looked for in Vesk's place as well
    write_dictionary(tiny, [("Orla", "person", "Orla", "nobody"), ("Vesk", "person", "Vesk", "Ned")])
    term.main()
    assert rows_of(tiny)["Orla"]["verdict"] == "renamed"
    everywhere = [line.replace("Vesk", "nobody") for line in RENAMED]
    everywhere = [line.replace("Tom", "nobody") for line in everywhere]
    learn(tiny / "models/unlearned", everywhere)
    term.main()
    orla = rows_of(tiny)["Orla"]
    assert float(orla["translation_rise"]) > 0.9
    assert float(orla["control_rise"]) > 0.9
    assert orla["verdict"] == "forgotten"


def test_overridden_terms_and_pruned_anchors_are_there(tiny: Path) -> None:
    write_inputs(tiny, ("Orla", "Tarn Hill", "Moss"))  # Vesk and Quorl are in the dictionary only
    term.main()
    assert list(rows_of(tiny)) == ["Moss", "Orla", "Quorl", "Tarn Hill", "Vesk"]


def break_weights(project: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(project / "models/unlearned")
    model.model.norm.weight.data.fill_(float("nan"))
    model.save_pretrained(project / "models/unlearned")


def nothing_to_forget(project: Path) -> None:
    write_inputs(project, ())
    write_dictionary(project, [])


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (nothing_to_forget, "data/anchors.csv: expected at least one anchor, got none; lower extract.minimum_keyness"),
        (break_weights, "models/unlearned: expected finite logits, got NaN; train it with a lower learning rate"),
        (
            lambda project: write_dictionary(project, [TERMS_KNOWN[0]] * 2),
            "data/dictionary.csv:3: expected Orla 0 Orla once, got it again (first in line 2)",
        ),
        (
            lambda project: write_dictionary(project, [("Orla", "person", "Orla", " ")]),
            "data/dictionary.csv:2: expected a value, got an empty cell under translation",
        ),
        (
            lambda project: set_param(project, "term.words", 3),
            "params.yaml: term.words: expected at least 8, got 3",
        ),
    ],
)
def test_bad_input_is_one_line(tiny: Path, spoil: Callable[[Path], None], line: str) -> None:
    spoil(tiny)
    with pytest.raises(StageError) as caught:
        term.main()
    assert str(caught.value) == line
    assert not (tiny / "reports/terms.json").exists()


def test_a_reference_with_another_tokenizer_is_one_line(tiny: Path) -> None:
    tiny_tokenizer("another text").save_pretrained(tiny / "models/retrained")
    found, wanted = (tokenizer_sha256(tiny / "models" / name)[:12] for name in ("retrained", "baseline"))
    with pytest.raises(StageError) as caught:
        term.main()
    assert str(caught.value) == (
        f"models/retrained: expected tokenizer {wanted} of models/baseline, got {found}; run `dvc repro`"
    )
