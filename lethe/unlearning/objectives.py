"""Unlearning objectives. Every function is an Objective of lethe.training.losses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lethe.training.losses import BASE_HIDDEN, Items, Objective, Positions, summed, summed_kl, summed_nll, token_nll

if TYPE_CHECKING:
    from torch import Tensor

    from lethe.models.output_head import Head

BASE_NLL = "base_nll"  # column float32 [N]: its negative log-likelihood of next_ids
PREFERRED = "preferred"  # column bool [N]: of a pair of sequences, whether it is the preferred one


def forget_cross_entropy(at: Positions, head: Head, items: Items) -> Tensor:
    """Mean negative log-likelihood of `next_ids` over the forget positions; 0 in a step without any."""
    forget = at.where(at.forget)
    return summed_nll(forget.hidden, forget.next_ids, head) / items.forget.clamp(min=1)


def retain_cross_entropy(at: Positions, head: Head, items: Items) -> Tensor:
    """Mean negative log-likelihood of `next_ids` over the retain positions; 0 in a step without any."""
    retain = at.where(~at.forget)
    return summed_nll(retain.hidden, retain.next_ids, head) / items.retain.clamp(min=1)


def retain_kl(at: Positions, head: Head, items: Items, base_head: Head | None = None) -> Tensor:
    """Mean KL(base || model) over the retain positions; 0 in a step without any (SPUL section 3).

    The base's distribution is base_head on the column BASE_HIDDEN; base_head None: the head does not move.
    """
    retain = at.where(~at.forget)
    kl = summed_kl(retain.hidden, head, retain.columns[BASE_HIDDEN], base_head or head)
    return kl / items.retain.clamp(min=1)


def spul(at: Positions, head: Head, items: Items, alpha: float, beta: float, base_head: Head | None = None) -> Tensor:
    """CE(forget -> generic) + alpha CE(retain -> true) + beta KL(base || model, on retain), each a mean of its own
    (SPUL section 3, arXiv 2406.12038). The KL is not computed where beta is 0.
    """
    loss = forget_cross_entropy(at, head, items) + alpha * retain_cross_entropy(at, head, items)
    return loss + beta * retain_kl(at, head, items, base_head) if beta else loss


def gradient_ascent(at: Positions, head: Head, items: Items) -> Tensor:
    """-CE(forget -> true) (Jang et al. 2022, arXiv 2210.01504; GA of SPUL section 4). Unbounded."""
    return -forget_cross_entropy(at, head, items)


def ascent_kl(at: Positions, head: Head, items: Items, weight: float, base_head: Head | None = None) -> Tensor:
    """-CE(forget -> true) + weight KL(base || model, on retain) (Maini et al. 2024, arXiv 2401.06121, as "KL
    minimisation"; GA+KL of SPUL section 4).
    """
    return gradient_ascent(at, head, items) + weight * retain_kl(at, head, items, base_head)


def with_retain(forget_loss: Objective, weight: float, at: Positions, head: Head, items: Items) -> Tensor:
    """forget_loss + weight CE(retain -> true): the retain term that most methods are used with.

    Over gradient_ascent it is GradDiff (Liu et al. 2022, arXiv 2203.12817; GA+GD of SPUL section 4).
    """
    loss = forget_loss(at, head, items)
    return loss + weight * retain_cross_entropy(at, head, items) if weight else loss


def npo(at: Positions, head: Head, items: Items, beta: float) -> Tensor:
    """2/beta E log(1 + (p_model(y)/p_base(y))^beta) over whole forget sequences y
    (Zhang et al. 2024, arXiv 2404.05868). Wants the column BASE_NLL.
    """
    from torch.nn.functional import softplus

    forget = at.where(at.forget)
    nll = token_nll(forget.hidden, forget.next_ids, head)
    ratio = per_row(forget.columns[BASE_NLL] - nll, forget.row)  # log p_model(y) / p_base(y)
    return 2 / beta * softplus(beta * ratio).sum() / items.forget_rows.clamp(min=1)


def simnpo(at: Positions, head: Head, items: Items, beta: float, gamma: float) -> Tensor:
    """-2/beta E log sigmoid(-beta/|y| log p_model(y) - gamma): NPO with the length in the base's place
    (Fan et al. 2024, arXiv 2410.07163). No reference.
    """
    import torch
    from torch.nn.functional import logsigmoid

    forget = at.where(at.forget)
    nll = token_nll(forget.hidden, forget.next_ids, head)
    length = per_row(torch.ones_like(nll), forget.row)
    mean = per_row(nll, forget.row) / length
    return -2 / beta * logsigmoid(beta * mean - gamma).sum() / items.forget_rows.clamp(min=1)


def dpo(at: Positions, head: Head, items: Items, beta: float) -> Tensor:
    """-2/beta E log sigmoid(beta (log p/p_base of the preferred - log p/p_base of the other sequence of a pair))
    (Rafailov et al. 2023, arXiv 2305.18290; with the factor 2/beta of NPO, which is this without the
    preferred sequence, arXiv 2404.05868). Wants the columns BASE_NLL and PREFERRED, and `row` to number the pairs.

    IdkDPO prefers a sentence that says "I do not know" (arXiv 2401.06121); ours may prefer the generic labels too.
    """
    from torch.nn.functional import logsigmoid

    forget = at.where(at.forget)
    nll = token_nll(forget.hidden, forget.next_ids, head)
    sign = 1 - 2 * forget.columns[PREFERRED].float()  # + for the preferred sequence, - for the other
    margin = per_row(sign * (nll - forget.columns[BASE_NLL]), forget.row)
    return -2 / beta * logsigmoid(beta * margin).sum() / items.forget_rows.clamp(min=1)


def weighted_ascent(at: Positions, head: Head, items: Items, saturation: float, importance: float) -> Tensor:
    """E[p^saturation (1 - p)^importance log p] over forget tokens, the weight without gradient; p is the model's
    probability of the true token. importance 0: WGA (Wang et al. 2025, arXiv 2502.19301); else SatImp
    (Yang et al. 2025, arXiv 2505.11953).
    """
    forget = at.where(at.forget)
    nll = token_nll(forget.hidden, forget.next_ids, head)
    p = (-nll).exp().detach()
    weight = p**saturation * (1 - p) ** importance
    return -(weight * nll).sum() / items.forget.clamp(min=1)


def undial(at: Positions, head: Head, items: Items, beta: float, base_head: Head | None = None) -> Tensor:
    """CE(model, softmax(base's logits - beta at the true token)) over forget tokens
    (Dong et al. 2024, arXiv 2402.10052). Wants BASE_HIDDEN; base_head None: the head does not move.
    """
    teacher = base_head or head

    def chunk(hidden: Tensor, base_hidden: Tensor, next_ids: Tensor) -> Tensor:
        from torch.nn.functional import cross_entropy

        target = teacher(base_hidden.float()).detach()
        target = lowered(target, next_ids, beta)
        return cross_entropy(head(hidden.float()), target.softmax(dim=-1), reduction="sum")

    forget = at.where(at.forget)
    loss = summed(chunk, head, forget.hidden, forget.columns[BASE_HIDDEN], forget.next_ids)
    return loss / items.forget.clamp(min=1)


def ceu(at: Positions, head: Head, items: Items) -> Tensor:
    """CE(model, its own distribution without the true token) over forget tokens, the target without gradient
    (Yang 2025, arXiv 2503.01224: the true token's logit set to minus infinity). No reference.
    """

    def chunk(hidden: Tensor, next_ids: Tensor) -> Tensor:
        from torch.nn.functional import cross_entropy

        logits = head(hidden.float())
        target = lowered(logits.detach(), next_ids, float("inf"))
        return cross_entropy(logits, target.softmax(dim=-1), reduction="sum")

    forget = at.where(at.forget)
    return summed(chunk, head, forget.hidden, forget.next_ids) / items.forget.clamp(min=1)


def flattening(at: Positions, head: Head, items: Items) -> Tensor:
    """E (largest logit - mean logit)^2 over forget tokens: the logit-margin flattening of PDU
    (Entesari et al. 2025, arXiv 2506.05314).
    """

    def chunk(hidden: Tensor) -> Tensor:
        logits = head(hidden.float())
        return (logits.amax(dim=-1) - logits.mean(dim=-1)).square().sum()

    return summed(chunk, head, at.hidden[at.forget]) / items.forget.clamp(min=1)


class PrimalDual:
    """PDU: least flattening loss under the constraint CE(retain -> true) <= epsilon, by a primal step on
    flattening + dual (CE - epsilon) and then a dual one, dual <- max(0, dual + rate (CE - epsilon))
    (Entesari et al. 2025, arXiv 2506.05314).

    The only objective with state: the training loop calls `end_step` and saves `dual` with its own state.
    """

    def __init__(self, dual: float, rate: float, epsilon: float) -> None:
        self.dual, self.rate, self.epsilon = dual, rate, epsilon
        self.retain: Tensor | float = 0.0  # CE of the step so far, this process's share

    def __call__(self, at: Positions, head: Head, items: Items) -> Tensor:
        retain = retain_cross_entropy(at, head, items)
        self.retain = self.retain + retain.detach()
        return flattening(at, head, items) + self.dual * retain

    def end_step(self, retain: float) -> None:
        """The dual step. retain: CE of the whole step, over all processes."""
        self.dual = max(0.0, self.dual + self.rate * (retain - self.epsilon))
        self.retain = 0.0


def rmu(at: Positions, head: Head, items: Items, control: Tensor, alpha: float) -> Tensor:
    """E |h - control|^2 / d over forget tokens + alpha E |h - h_base|^2 / d over retain tokens, h one layer's hidden
    states (Li et al. 2024, arXiv 2403.03218, squared norms per dimension as in its code).

    `hidden` and BASE_HIDDEN are those of that layer; the head is not used. control: [d], see control_vector.
    """
    forget, retain = at.where(at.forget), at.where(~at.forget)
    moved = (forget.hidden.float() - control.to(forget.hidden.device)).square().mean(dim=-1).sum()
    kept = (retain.hidden.float() - retain.columns[BASE_HIDDEN].float()).square().mean(dim=-1).sum()
    return moved / items.forget.clamp(min=1) + alpha * kept / items.retain.clamp(min=1)


def control_vector(width: int, steering: float, seed: int) -> Tensor:
    """The vector that forget activations are steered to: uniform in [0, 1)^width, then of length `steering`."""
    import torch

    drawn = torch.rand(width, generator=torch.Generator().manual_seed(seed))
    return steering * drawn / drawn.norm()


def per_row(values: Tensor, row: Tensor) -> Tensor:
    """Sums of `values` [N] over positions with the same `row` [N], one for each row there is, in their order."""
    import torch

    present, place = torch.unique(row, return_inverse=True)
    return values.new_zeros(len(present)).index_add(0, place, values)


def lowered(logits: Tensor, ids: Tensor, by: float) -> Tensor:
    """A copy of logits [N, V] with one id's of each row lowered."""
    import torch

    return logits.scatter_add(1, ids.unsqueeze(1), torch.full_like(logits[:, :1], -by))
