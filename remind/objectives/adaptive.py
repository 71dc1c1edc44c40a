"""Objectives whose weights follow the risk of the training batches, or of held-out patients."""

# N training patients, G groups

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from remind.objectives.base import Objective
from remind.objectives.checks import check_flag
from remind.objectives.trajectory import Trajectory
from remind.objectives.weights import batch_form


class AdaptiveObjective(Objective):
    """Base of the objectives with moving weights; keeps their trajectory.

    Subclasses define `update`, which moves `weight_G` by the group losses of one batch, and may
    define `update_held_out` where a whole validation set calls for something else.

    Args:
        counts_G: training patients per group, all >= 1.
        config: options.
        patterns_GM: modalities of each group, bool.
        start: first weights, "proportions" n_g / N or "uniform" 1 / G.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Objective.Config):
        """Options of all objectives with moving weights."""

        held_out: bool = False
        """Weights follow `observe` alone: a group whose few patients were memorized has no training
        loss left, and would be abandoned though it fails on new patients."""

        def __post_init__(self) -> None:
            check_flag("held_out", self.held_out)

    def __init__(
        self,
        counts_G: Tensor,
        config: Config | None = None,
        *,
        patterns_GM: Tensor | None = None,
        start: Literal["proportions", "uniform"] = "proportions",
    ) -> None:
        super().__init__(counts_G, config, patterns_GM=patterns_GM)
        self.held_out = config is not None and config.held_out
        if start == "uniform":
            self.weight_G = torch.full_like(self.counts_G, 1 / self.num_groups)
        self.trajectory = Trajectory(self.weight_G, self.counts_G)

    def learn(self, loss_G: Tensor, count_G: Tensor) -> None:
        if self.training and not self.held_out:
            self.update(*_finite(loss_G, count_G))
            self.trajectory.record(self.weight_G)

    def observe(self, loss_G: Tensor, count_G: Tensor) -> None:
        """Move the weights by the losses of held-out patients.

        Args:
            loss_G: mean loss of each group's held-out patients (`group_mean` makes both).
            count_G: how many there are; 0 where the group is absent.

        Raises:
            ValueError: the objective learns from training losses (`held_out` is off).
        """
        if not self.held_out:
            raise ValueError("observe needs held_out=True: these weights follow training losses")
        self.update_held_out(*_finite(loss_G, count_G))
        self.trajectory.record(self.weight_G)

    def update(self, loss_G: Tensor, count_G: Tensor) -> None:
        """Move `weight_G` by the mean losses of one batch; groups with count 0 are absent."""
        raise NotImplementedError

    def update_held_out(self, loss_G: Tensor, count_G: Tensor) -> None:
        """Move `weight_G` by the mean losses of the held-out patients."""
        self.update(loss_G, count_G)


class BatchObjective(AdaptiveObjective):
    """Base of those in batch form: the loss is sum_g q_g L_g over the groups of the batch."""

    @dataclass(frozen=True, kw_only=True)
    class Config(AdaptiveObjective.Config):
        """Options of all objectives in batch form."""

        balanced: bool = False
        """Patients are drawn 1 / n_g as often, so that all groups are equally common in batches; an
        epoch still has N draws. Otherwise each patient is drawn once."""

        def __post_init__(self) -> None:
            super().__post_init__()
            check_flag("balanced", self.balanced)

    def __init__(
        self,
        counts_G: Tensor,
        config: Config | None = None,
        *,
        patterns_GM: Tensor | None = None,
        start: Literal["proportions", "uniform"] = "proportions",
    ) -> None:
        super().__init__(counts_G, config, patterns_GM=patterns_GM, start=start)
        self.balanced = config is not None and config.balanced

    def ratio(self, count_G: Tensor) -> Tensor:
        return batch_form(self.weight_G, count_G)

    def draws(self, group_N: Tensor) -> Tensor | None:
        return (1 / self.counts_G)[group_N.to(self.counts_G.device)] if self.balanced else None


def _finite(loss_G: Tensor, count_G: Tensor) -> tuple[Tensor, Tensor]:
    """float64; a group whose loss overflowed (half precision skips that step) counts as absent."""
    loss_G, count_G = loss_G.detach().to(torch.float64), count_G.to(torch.float64)
    is_usable_G = (count_G > 0) & loss_G.isfinite()
    return loss_G.where(is_usable_G, 0.0), count_G.where(is_usable_G, 0.0)
