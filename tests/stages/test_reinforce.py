"""reinforce: the baseline, louder on the forget blocks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lethe.anchors.prior_knowledge import Known
from lethe.core.errors import StageError
from lethe.core.hashing import folder_sha256
from lethe.models.checkpoints import load_model
from stages import block, reinforce
from tests.conftest import set_param, tiny_model, touch_deps, write_corpus


@pytest.fixture
def blocked(project: Path) -> Path:
    for key, value in {"epochs": 2, "batch_size": 4, "learning_rate": 1e-2, "device": "cpu"}.items():
        set_param(project, f"reinforce.{key}", value)
    set_param(project, "block.tokens", 16)
    write_corpus(project)
    tiny_model(project / "models/baseline")
    touch_deps(project, "reinforce")
    block.main()
    return project


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_loss_falls_and_the_folder_is_plain(blocked: Path, tuning: str) -> None:
    set_param(blocked, "reinforce.tuning", tuning)
    reinforce.main()
    curve = [float(line.split(",")[1]) for line in Path("reports/loss/reinforce.csv").read_text().splitlines()[1:]]
    assert curve[-1] < curve[0]
    model = load_model(Path("models/reinforced"), torch.device("cpu"))
    assert not hasattr(model, "peft_config")
    before = load_model(Path("models/baseline"), torch.device("cpu"))
    assert set(model.state_dict()) == set(before.state_dict())


def test_same_inputs_same_bytes(
    blocked: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reinforce.main()
    first = folder_sha256(Path("models/reinforced"))
    capsys.readouterr()
    monkeypatch.setattr(reinforce, "prior_knowledge", lambda *given: Known(2, 60))  # said, and nothing else
    reinforce.main()
    assert folder_sha256(Path("models/reinforced")) == first
    warned = capsys.readouterr().out.splitlines()[0]
    assert warned.startswith("reinforce: warning: the baseline says a name of the forget set after 2 of 60 pieces")


def test_blocks_of_another_tokenizer(blocked: Path) -> None:
    tiny_model(blocked / "models/baseline", text="Quite another text for quite another tokenizer. " * 5)
    with pytest.raises(StageError, match=r"data/blocks.parquet: expected tokenizer .* of models/baseline, got "):
        reinforce.main()
