"""Objectives whose weights are those of the worst case over running losses of the groups."""

# G groups

from dataclasses import dataclass

import torch
from torch import Tensor

from remind.objectives.adaptive import AdaptiveObjective
from remind.objectives.checks import check_number
from remind.objectives.weights import follow, relative


class RunningObjective(AdaptiveObjective):
    """Base: keeps a running loss of every group, relative to the batch's mean.

    Subclasses define `worst`. A group that no batch has held yet keeps its own share.

    Args:
        counts_G: training patients per group, all >= 1.
        config: options.
        patterns_GM: modalities of each group, bool.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(AdaptiveObjective.Config):
        """Options of all objectives with running losses."""

        rate: float = 0.1
        """Weight of the newest batch in the running loss, in (0, 1]."""

        def __post_init__(self) -> None:
            super().__post_init__()
            check_number("rate", self.rate, above=0, at_most=1)

    running_G: Tensor
    seen_G: Tensor

    def __init__(
        self, counts_G: Tensor, config: Config | None = None, *, patterns_GM: Tensor | None = None
    ) -> None:
        super().__init__(counts_G, config, patterns_GM=patterns_GM)
        self.rate = (config or self.Config()).rate
        self.register_buffer("running_G", torch.zeros_like(self.counts_G))
        self.register_buffer("seen_G", torch.zeros_like(self.counts_G, dtype=torch.bool))

    def worst(self, mass_G: Tensor) -> Tensor:
        """Return the weights of the groups; `mass_G` is their share, 0 for one not seen yet."""
        raise NotImplementedError

    def update(self, loss_G: Tensor, count_G: Tensor) -> None:
        self._update(loss_G, count_G, self.rate)

    def update_held_out(self, loss_G: Tensor, count_G: Tensor) -> None:
        self._update(loss_G, count_G, 1.0)

    def _update(self, loss_G: Tensor, count_G: Tensor, rate: float) -> None:
        loss_G = relative(loss_G, count_G)
        self.running_G = follow(self.running_G, self.seen_G, loss_G, count_G, rate)
        self.seen_G = self.seen_G | (count_G > 0)
        share_G = self.counts_G / self.counts_G.sum()
        worst_G = self.worst(share_G.where(self.seen_G, 0.0))
        self.weight_G = torch.where(self.seen_G, worst_G, share_G)
