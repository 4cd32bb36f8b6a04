"""What a task model says before it unlearns, at its answers only: [T, d] a row exists for one batch at a time."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from lethe.core.tables import MASKED
from lethe.training.forward import hidden_states
from lethe.training.losses import BASE_HIDDEN
from lethe.training.rows import RowDataset, Rows, collate
from lethe.unlearning.objectives import BASE_NLL

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel

    from lethe.unlearning.methods import Method

TOKENS = 8192  # of one batch


class AtAnswers:
    """A column [N, T, ...] of Rows that keeps the supervised positions alone and is zero elsewhere."""

    def __init__(self, next_ids: np.ndarray, extra: tuple[int, ...]) -> None:
        import numpy as np

        self.place = next_ids != MASKED  # bool [N, T]
        self.first = np.concatenate([[0], self.place.sum(axis=1).cumsum()])  # of each row in `values`
        self.values = np.zeros((int(self.first[-1]), *extra), dtype=np.float32)

    def __len__(self) -> int:
        return len(self.place)

    def __getitem__(self, row: int) -> np.ndarray:
        """float32 [T, ...]."""
        import numpy as np

        whole = np.zeros((self.place.shape[1], *self.values.shape[1:]), dtype=np.float32)
        whole[self.place[row]] = self.values[self.first[row] : self.first[row + 1]]
        return whole


def answer_columns(model: PreTrainedModel, rows: Rows, method: Method) -> dict[str, Any]:
    """The reference columns that a method wants, computed once by the model before its vehicle is attached.

    One vector per answer token: less than a second pass of the base in every epoch, and far less than its logits.
    """
    import torch

    from lethe.models.output_head import headless
    from lethe.training.losses import token_nll

    columns: dict[str, Any] = {}
    if method.base_hidden:
        columns[BASE_HIDDEN] = AtAnswers(rows.next_ids, (model.config.hidden_size,))
    if method.base_nll:
        columns[BASE_NLL] = AtAnswers(rows.next_ids, ())
    if not columns:
        return {}
    data, size = RowDataset(rows._replace(columns={}, pairs=False)), max(1, TOKENS // rows.tokens.shape[1])
    with torch.no_grad(), headless(model) as head:
        for start in range(0, len(rows.length), size):
            own = range(start, min(start + size, len(rows.length)))
            batch = {name: value.to(model.device) for name, value in collate([[data.row(i)] for i in own]).items()}
            wanted = batch["next_ids"] != MASKED
            hidden = hidden_states(model, batch, method.layer)[wanted]  # [A, d], row by row
            found = {BASE_HIDDEN: hidden, BASE_NLL: token_nll(hidden, batch["next_ids"][wanted], head)}
            for name, column in columns.items():
                span = slice(column.first[own[0]], column.first[own[-1] + 1])
                column.values[span] = found[name].float().cpu().numpy()
    return columns


def bits_sha256(model: Any) -> str:
    """A hash of every weight's bits, in the order of their names; what PEFT wraps around them does not count."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
