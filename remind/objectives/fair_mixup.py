"""Fair mixup: predictions hardly move on the way between groups (Chuang & Mroueh, ICLR 2021)."""

# B patients of a batch, K members, D width, C classes

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from remind.objectives.base import Objective, from_all_ranks
from remind.objectives.checks import check_number
from remind.transfer import to_device


class FairMixup(Objective):
    """ERM, and a penalty on the slope of the mean prediction along paths between groups.

    For groups 0 and 1 and each class y of patients,

        R = integral over t in [0, 1] of | d/dt E f(x_0 + t (x_1 - x_0)) |,

    x_0 and x_1 patients of the groups (manifold mixup: their representations), f the probability
    that is predicted; t is drawn once per batch, uniformly. This is the source's own regularizer in
    its form for equalized odds. The cross entropy of mixed patients would be plain mixup, which
    asks for nothing of groups; and demographic parity (no y) would pull the risk of the sickest
    combination to that of the healthiest, though it is observed because they are sick.

    Left open by the source and filled here. More than two groups: x_1 in a group, x_0 in any other,
    both drawn from the batch (of all ranks, if there are several); each group and class counts by
    its pairs. More than two classes: half the sum over classes of |slope|, which is |slope| for
    two. Ensemble members: f is their mean.

    Args:
        counts_G: training patients per group, all >= 1.
        config: options.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Objective.Config):
        """Options of fair mixup."""

        strength: float = 0.1
        """lambda, weight of the penalty, per unit of probability, >= 0."""

        def __post_init__(self) -> None:
            check_number("strength", self.strength, at_least=0)

    reads_representations = True

    def __init__(
        self, counts_G: Tensor, config: Config | None = None, *, patterns_GM: Tensor | None = None
    ) -> None:
        super().__init__(counts_G, config, patterns_GM=patterns_GM)
        self.config = config or self.Config()

    def penalty(
        self,
        x_BKD: Tensor,
        classify: Callable[[Tensor], Tensor],
        label_B: Tensor,
        group_B: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        x_BKD, label_B, group_B = (from_all_ranks(own) for own in (x_BKD, label_B, group_B))
        order_B = torch.rand(len(label_B), generator=generator)
        time = torch.rand((), generator=generator)
        order_B, time = to_device((order_B, time), x_BKD.device)
        partner_B = partners(label_B, order_B)
        slope_BC = slopes(x_BKD[partner_B], x_BKD, time, classify)
        is_pair_B = group_B != group_B[partner_B]
        return self.config.strength * path_penalty(slope_BC, is_pair_B, label_B, group_B)


def partners(label_B: Tensor, order_B: Tensor) -> Tensor:
    """(B,) another patient of the same class for each; oneself where there is no other.

    Every patient is the partner of one: they stand in a ring per class, in the order given.
    """
    ring_B = order_B.argsort()
    ring_B = ring_B[label_B[ring_B].argsort(stable=True)]
    label_B = label_B[ring_B]
    first_B = torch.searchsorted(label_B, label_B)
    end_B = torch.searchsorted(label_B, label_B, right=True)
    next_B = torch.arange(1, len(label_B) + 1, device=label_B.device)
    next_B = torch.where(next_B == end_B, first_B, next_B)
    return torch.empty_like(ring_B).index_copy(0, ring_B, ring_B[next_B])


def slopes(
    from_BKD: Tensor, to_BKD: Tensor, time: Tensor, classify: Callable[[Tensor], Tensor]
) -> Tensor:
    """(B, C) d/dt of the mean over members of softmax(classify(from + t (to - from))) at `time`.

    Full precision, with a gradient of its own. One pass for all classes: the derivative that
    reverse mode gives is linear in a cotangent per class, and is differentiated by it once more.
    """
    dtype = torch.promote_types(from_BKD.dtype, torch.float32)
    from_BKD, to_BKD = from_BKD.to(dtype), to_BKD.to(dtype)
    time_B11 = time.expand(len(from_BKD), 1, 1).to(from_BKD).requires_grad_()
    with torch.autocast(from_BKD.device.type, enabled=False):
        logits_BKC = classify(from_BKD + time_B11 * (to_BKD - from_BKD))
        prob_BC = logits_BKC.softmax(dim=2).mean(dim=1)
        cotangent_BC = torch.zeros_like(prob_BC, requires_grad=True)
        (slope_B11,) = torch.autograd.grad(prob_BC, time_B11, cotangent_BC, create_graph=True)
        (slope_BC,) = torch.autograd.grad(slope_B11.sum(), cotangent_BC, create_graph=True)
    return slope_BC


def path_penalty(slope_BC: Tensor, is_pair_B: Tensor, label_B: Tensor, group_B: Tensor) -> Tensor:
    """Mean over the pairs of |mean slope of the pairs of one's group and class|.

    Costs a table of B x B and nothing that grows with the number of groups.
    """
    cell_2B = torch.stack([label_B, group_B])
    is_same_BB = (cell_2B[:, :, None] == cell_2B[:, None, :]).all(dim=0) & is_pair_B
    weight_BB = is_same_BB.to(slope_BC.dtype)
    mean_BC = weight_BB @ slope_BC / weight_BB.sum(dim=1, keepdim=True).clamp_min(1.0)
    size_B = mean_BC.abs().sum(dim=1) / 2
    return (size_B * is_pair_B).sum() / is_pair_B.sum().clamp_min(1)
