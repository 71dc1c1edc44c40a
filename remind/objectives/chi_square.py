"""Distributionally robust optimization in a chi-square ball."""

# B patients of a batch, N those of all ranks, G groups

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import distributed as dist

from remind.errors import InputError
from remind.objectives.base import Robust
from remind.objectives.checks import check_batch, check_choice, check_number
from remind.objectives.running import RunningObjective
from remind.objectives.weights import worst_chi_square
from remind.world import num_ranks


class ChiSquare(RunningObjective):
    """max of sum_i q_i L_i over distributions q with 1/2 sum_i p_i (q_i / p_i - 1)^2 <= radius.

    Duchi & Namkoong 2021; the inner problem is solved exactly (`worst_chi_square`).

    Over groups, p = n / N and L_g is a running loss relative to the batch's mean, as in CVaR, for a
    batch holds few of many groups. Sampler form, so that radius 0 is ERM for every batch. A group
    that no batch has held yet keeps its share.

    Over patients, p is uniform on a batch, of all ranks: the mini-batch estimator of Levy, Carmon,
    Duchi & Sidford 2020, which knows no groups. The weight of a group is then what its patients in
    the latest batch weigh together.

    Args:
        counts_G: training patients per group, all >= 1.
        config: options.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(RunningObjective.Config):
        """Options of chi-square DRO."""

        radius: float = 0.1
        """Largest divergence of the weights, >= 0; 0 is ERM."""

        over: Literal["groups", "patients"] = "groups"
        """Who is weighed."""

        def __post_init__(self) -> None:
            super().__post_init__()
            check_number("radius", self.radius, at_least=0)
            check_choice("over", self.over, ("groups", "patients"))
            if self.held_out and self.over == "patients":
                raise InputError(
                    "held_out weighs groups by their validation loss, but over=patients weighs "
                    "training patients: set over=groups, or held_out=false"
                )

    def __init__(
        self, counts_G: Tensor, config: Config | None = None, *, patterns_GM: Tensor | None = None
    ) -> None:
        super().__init__(counts_G, config, patterns_GM=patterns_GM)
        self.config = config or self.Config()

    def forward(self, loss_B: Tensor, group_B: Tensor) -> Robust:
        """As `Objective.forward`."""
        if self.config.over == "groups":
            return super().forward(loss_B, group_B)
        check_batch(loss_B, group_B, self.num_groups)
        loss_N, start = _of_all_ranks(loss_B.detach().to(torch.float64))
        uniform_N = torch.full_like(loss_N, 1 / len(loss_N))
        weight_N = worst_chi_square(uniform_N, loss_N, self.config.radius)
        weight_B = weight_N[start : start + len(loss_B)]
        weight_G = torch.zeros_like(self.counts_G).index_add(0, group_B, weight_B)
        if num_ranks() > 1:
            dist.all_reduce(weight_G)
        if self.training:
            self.weight_G = weight_G
            self.trajectory.record(weight_G)
        loss_B = loss_B.to(torch.promote_types(loss_B.dtype, torch.float32))
        return Robust((weight_B.to(loss_B.dtype) * loss_B).sum() * num_ranks(), weight_G)

    def worst(self, mass_G: Tensor) -> Tensor:
        """As `RunningObjective.worst`."""
        return worst_chi_square(mass_G, self.running_G, self.config.radius)


def _of_all_ranks(loss_B: Tensor) -> tuple[Tensor, int]:
    """The losses of all ranks' patients, and where this rank's begin."""
    if num_ranks() == 1:
        return loss_B, 0
    size_R1 = [torch.empty(1, dtype=torch.int64, device=loss_B.device) for _ in range(num_ranks())]
    dist.all_gather(size_R1, torch.full_like(size_R1[0], len(loss_B)))
    sizes = torch.cat(size_R1).tolist()
    loss_RB = [loss_B.new_empty(max(sizes)) for _ in sizes]
    dist.all_gather(loss_RB, F.pad(loss_B, (0, max(sizes) - len(loss_B))))
    parts = [loss_B[:size] for loss_B, size in zip(loss_RB, sizes, strict=True)]
    return torch.cat(parts), sum(sizes[: dist.get_rank()])
