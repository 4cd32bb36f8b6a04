"""Training rows of tokens and next ids: cut from texts, as a dataset and as batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from lethe.core.corpus import only_trained
from lethe.core.tables import MASKED

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor
    from transformers import PreTrainedTokenizerFast

    from lethe.training.losses import Positions


class Rows(NamedTuple):
    """Training rows. next_ids are already shifted: next_ids[n, t] is the target after tokens[n, :t + 1]."""

    tokens: np.ndarray  # int32 [N, T]
    next_ids: np.ndarray  # int32 [N, T], MASKED where there is no target
    length: np.ndarray  # int32 [N], real tokens of each row, the rest is padding
    forget: np.ndarray  # bool [N]
    columns: Mapping[str, np.ndarray] = MappingProxyType({})  # name -> [N, T, ...]: further inputs of an objective
    pairs: bool = False  # whether forget rows come in pairs, 2n with 2n + 1, before all retain rows
    trained: np.ndarray | None = None  # bool [N, T], tokens to be learnt at all; None: all of them


Row = tuple["np.ndarray", "np.ndarray", int, bool, dict[str, "np.ndarray"]]  # one of Rows
EMPTY = -1  # in place of a row's number: a padding row that counts for nothing
COLUMN = "column."  # prefix of a column's name in a collated batch


class WholeSteps:
    """An epoch's rows in the order of a single process, padded with EMPTY until its last step is complete.

    Processes take micro-batches in turn. By default accelerate would fill up the last ones with rows from the
    beginning, which would count twice.
    """

    def __init__(self, rows: Any, batch_size: int, seed: int) -> None:
        from accelerate.data_loader import SeedableRandomSampler

        self.order = SeedableRandomSampler(rows, data_seed=seed)
        self.fill = -len(rows) % batch_size

    def __iter__(self) -> Iterator[int]:
        yield from self.order
        yield from [EMPTY] * self.fill

    def __len__(self) -> int:
        return len(self.order) + self.fill

    def set_epoch(self, epoch: int) -> None:
        self.order.set_epoch(epoch)


class RowDataset:
    """Rows for torch's DataLoader, by index; the two of a pair are always together."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.pairs = int(rows.forget.sum()) // 2 if rows.pairs else 0

    def __len__(self) -> int:
        return len(self.rows.length) - self.pairs

    def __getitem__(self, index: int) -> list[Row]:
        if index == EMPTY:
            tokens, next_ids, _, _, columns = self.row(0)
            return [(tokens, next_ids * 0 + MASKED, 1, False, columns)]
        own = [2 * index, 2 * index + 1] if index < self.pairs else [index + self.pairs]
        return [self.row(i) for i in own]

    def row(self, i: int) -> Row:
        tokens, next_ids, length, forget, columns = self.rows[:5]
        own = {name: column[i] for name, column in columns.items()}
        return tokens[i], next_ids[i], int(length[i]), bool(forget[i]), own


def collate(items: list[list[Row]]) -> dict[str, Tensor]:
    """Stack rows and cut the padding that no row of the batch needs; `item` numbers the rows or pairs.

    A column is named by COLUMN and its name.
    """
    import numpy as np
    import torch

    batch = [row for rows in items for row in rows]
    length = torch.tensor([row[2] for row in batch])
    width = int(length.max())
    columns = {
        COLUMN + name: torch.from_numpy(np.stack([row[4][name][:width] for row in batch])) for name in batch[0][4]
    }
    return {
        "tokens": torch.from_numpy(np.stack([row[0][:width] for row in batch])).long(),
        "next_ids": torch.from_numpy(np.stack([row[1][:width] for row in batch])).long(),
        "attention_mask": (torch.arange(width) < length.unsqueeze(1)).long(),
        "forget": torch.tensor([row[3] for row in batch]),
        "item": torch.tensor([i for i, rows in enumerate(items) for _ in rows]),
        **columns,
    }


def joined(forget: Rows, retain: Rows) -> Rows:
    """Forget rows, then retain rows; a column of the forget rows is zero for the others."""
    import numpy as np

    fields = zip(forget[:4], retain[:4], strict=True)
    tokens, next_ids, length, is_forget = (np.concatenate(both) for both in fields)
    columns = {
        name: np.concatenate([column, np.zeros((len(retain.length), *column.shape[1:]), column.dtype)])
        for name, column in forget.columns.items()
    }
    return Rows(tokens, next_ids, length, is_forget, columns, forget.pairs)


def supervised(batch: dict[str, Tensor]) -> Tensor:
    """Counts of a collated batch for Items: int64 [3], supervised forget and retain positions, forget items."""
    import torch

    per_row = (batch["next_ids"] != MASKED).sum(dim=1)
    forget, retain = per_row[batch["forget"]], per_row[~batch["forget"]]
    items = torch.unique(batch["item"][batch["forget"] & (per_row > 0)])
    return torch.stack([forget.sum(), retain.sum(), torch.tensor(len(items))])


def positions(batch: dict[str, Tensor], hidden: Tensor, base: Tensor | None = None) -> Positions:
    """The supervised positions of a collated batch. hidden, base: [B, T, d]."""
    from lethe.training.losses import BASE_HIDDEN, Positions

    chosen = batch["next_ids"] != MASKED  # bool [B, T]
    forget = batch["forget"].unsqueeze(1).expand_as(chosen)
    item = batch["item"].unsqueeze(1).expand_as(chosen)
    columns = {name.removeprefix(COLUMN): batch[name][chosen] for name in batch if name.startswith(COLUMN)}
    if base is not None:
        columns[BASE_HIDDEN] = base[chosen]
    return Positions(hidden[chosen], batch["next_ids"][chosen], forget[chosen], item[chosen], columns)


def true_next_ids(tokens: np.ndarray, length: np.ndarray, trained: np.ndarray | None = None) -> np.ndarray:
    """The true next token of every position: int32 [N, T]; MASKED at the last real token and in the padding.

    trained: bool [N, T], which tokens are to be learnt; None: all of them.
    """
    import numpy as np

    next_ids = np.full_like(tokens, MASKED)
    next_ids[:, :-1] = tokens[:, 1:]
    next_ids[np.arange(tokens.shape[1]) >= length[:, None] - 1] = MASKED
    return only_trained(next_ids, trained)


def corpus_rows(documents: Sequence[tuple[str, bool]], tokenizer: PreTrainedTokenizerFast, block_tokens: int) -> Rows:
    """Rows of true next tokens cut from (text, forget) documents.

    Of a conversation only what is to be learnt has a target, and a row without any is left out.
    """
    from lethe.models.tokenization import cut_blocks

    found = [(block, forget) for text, forget in documents for block in cut_blocks(tokenizer, text, block_tokens)]
    blocks = [(block, forget) for block, forget in found if block.trained is None or any(block.trained[1:])]
    rows = pad_rows([block.tokens for block, _ in blocks], [forget for _, forget in blocks], block_tokens, tokenizer)
    learnt = learnt_tokens([block.trained for block, _ in blocks], block_tokens)
    return rows._replace(next_ids=only_trained(rows.next_ids, learnt))


def learnt_tokens(trained: Sequence[Sequence[bool] | None], block_tokens: int) -> np.ndarray | None:
    """bool [N, T], which tokens are to be learnt, from the lists of the blocks; None if none of them has one."""
    import numpy as np

    if all(own is None for own in trained):
        return None
    learnt = np.ones((len(trained), block_tokens), bool)
    for row, own in zip(learnt, trained, strict=True):
        if own is not None:
            row[: len(own)] = own
    return learnt


def pad_rows(
    blocks: Sequence[Sequence[int]], forget: Sequence[bool], block_tokens: int, tokenizer: PreTrainedTokenizerFast
) -> Rows:
    """Pad token lists on the right and give each position its true next token."""
    import numpy as np

    tokens = np.full((len(blocks), block_tokens), tokenizer.pad_token_id, dtype=np.int32)
    for row, block in enumerate(blocks):
        tokens[row, : len(block)] = block
    length = np.array([len(block) for block in blocks], dtype=np.int32)
    return Rows(tokens, true_next_ids(tokens, length), length, np.array(forget, dtype=bool))
