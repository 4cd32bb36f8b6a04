"""Reference quantities of the base model: the columns that an objective compares the trained model with.

They do not change, so they are computed once, before the first step, by the model that is then trained; no second
model is held. `with_base` keeps whole columns in files, from which an interrupted training reads them again;
`answer_columns` keeps those of a task in memory, at the answers only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lethe.core.stage import need_disk
from lethe.core.tables import MASKED
from lethe.models.config import shape_of
from lethe.models.distributed import one_first
from lethe.training.forward import hidden_states
from lethe.training.losses import BASE_HIDDEN
from lethe.training.rows import RowDataset, Rows, collate
from lethe.unlearning.objectives import BASE_NLL

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from lethe.models.output_head import Head
    from lethe.unlearning.methods import Method

TOKENS = 8192  # of one batch
Put = Callable[[np.ndarray, "Tensor"], None]  # takes row numbers [B] and the base's values for them [B, W, ...]


def each_batch(
    model: PreTrainedModel,
    rows: Rows,
    numbers: np.ndarray,
    layer: int | None,
    bfloat16: bool,
    columns: Mapping[str, Put],
) -> None:
    """Pass the model's values for the rows `numbers` to each column, by its name, a batch at a time.

    W is the width of the batch's longest row. bfloat16: whether training will run under autocast, as this will then.
    """
    import torch

    from lethe.models.output_head import headless

    data, together = RowDataset(rows._replace(columns={})), max(1, TOKENS // rows.tokens.shape[1])
    with torch.no_grad(), headless(model) as head:
        for own in np.split(numbers, range(together, len(numbers), together)):
            batch = {name: tensor.to(model.device) for name, tensor in collate([[data.row(i) for i in own]]).items()}
            with torch.autocast(model.device.type, torch.bfloat16, bfloat16):
                hidden = hidden_states(model, batch, layer)  # [B, W, d]
            for name, put in columns.items():
                put(own, hidden if name == BASE_HIDDEN else placed_nll(hidden, batch["next_ids"], head))


def placed_nll(hidden: Tensor, next_ids: Tensor, head: Head) -> Tensor:
    """float32 [B, W]: -log p(next_ids) at the supervised positions, 0 elsewhere. hidden: [B, W, d]."""
    import torch

    from lethe.training.losses import token_nll

    there = next_ids != MASKED
    nll = torch.zeros(there.shape, device=hidden.device)
    nll[there] = token_nll(hidden[there], next_ids[there], head)
    return nll


def with_base(model: PreTrainedModel, rows: Rows, method: Method, bfloat16: bool, folder: Path) -> Rows:
    """The rows with the reference columns that the method needs, kept as .npy files in `folder` and read from there.

    model: before training, without its tuning. bfloat16: whether training will run under autocast, as this will then.
    """
    needed: dict[str, tuple[np.ndarray, tuple[int, ...], type]] = {}
    if method.base_nll:
        needed[BASE_NLL] = (rows.forget, (), np.float32)
    if method.base_hidden:
        side = rows.forget if method.base_hidden == "forget" else ~rows.forget
        needed[BASE_HIDDEN] = (side, (shape_of(model.config).hidden,), np.float16 if bfloat16 else np.float32)
    columns = dict(rows.columns)
    for name, (side, extra, dtype) in needed.items():
        path, numbers, shape = folder / f"{name}.npy", np.flatnonzero(side), (*rows.tokens.shape, *extra)
        with one_first():
            if not path.exists():
                with column_file(path, shape, dtype, len(numbers)) as put:
                    each_batch(model, rows, numbers, method.layer, bfloat16, {name: put})
        columns[name] = np.load(path, mmap_mode="r")
    return rows._replace(columns=columns)


@contextmanager
def column_file(path: Path, shape: tuple[int, ...], dtype: type, filled: int) -> Iterator[Put]:
    """A context in which a column [N, T, ...] is filled; after it the .npy file exists, complete or not at all.

    filled: how many of its rows will be filled; the others take no disk. Raises StageError if there is too little disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    size = filled * int(np.prod(shape[1:])) * np.dtype(dtype).itemsize
    need_disk(path.parent, size, "the base's reference values")
    part = path.with_suffix(".part")
    column = np.lib.format.open_memmap(part, "w+", dtype, shape)

    def put(own: np.ndarray, found: Tensor) -> None:
        column[own, : found.shape[1]] = found.float().cpu().numpy()

    yield put
    column.flush()
    part.rename(path)


class AtAnswers:
    """A column [N, T, ...] of Rows that stores only the supervised positions and is zero elsewhere.

    The dense [T, ...] of a row exists only while a batch holds it.
    """

    def __init__(self, next_ids: np.ndarray, extra: tuple[int, ...]) -> None:
        self.place = next_ids != MASKED  # bool [N, T]
        self.first = np.concatenate([[0], self.place.sum(axis=1).cumsum()])  # of each row in `values`
        self.values = np.zeros((int(self.first[-1]), *extra), dtype=np.float32)

    def __len__(self) -> int:
        return len(self.place)

    def __getitem__(self, row: int) -> np.ndarray:
        """float32 [T, ...]."""
        whole = np.zeros((self.place.shape[1], *self.values.shape[1:]), dtype=np.float32)
        whole[self.place[row]] = self.values[self.first[row] : self.first[row + 1]]
        return whole

    def put(self, own: np.ndarray, found: Tensor) -> None:
        """Store the values [B, W, ...] of consecutive rows `own`."""
        import torch

        there = torch.from_numpy(self.place[own, : found.shape[1]]).to(found.device)
        self.values[self.first[own[0]] : self.first[own[-1] + 1]] = found[there].float().cpu().numpy()


def answer_columns(model: PreTrainedModel, rows: Rows, method: Method) -> dict[str, Any]:
    """The reference columns that a method needs, computed once by the model before its tuning is attached.

    One vector per answer token: less than a second pass of the base in every epoch, and far less than its logits.
    """
    columns: dict[str, AtAnswers] = {}
    if method.base_hidden:
        columns[BASE_HIDDEN] = AtAnswers(rows.next_ids, (shape_of(model.config).hidden,))
    if method.base_nll:
        columns[BASE_NLL] = AtAnswers(rows.next_ids, ())
    if columns:
        puts = {name: column.put for name, column in columns.items()}
        each_batch(model, rows, np.arange(len(rows.length)), method.layer, bfloat16=False, columns=puts)
    return dict(columns)
