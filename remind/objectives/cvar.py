"""Greedy conditional value at risk over groups."""

# G groups

from dataclasses import dataclass

import torch
from torch import Tensor

from remind.objectives.adaptive import AdaptiveObjective
from remind.objectives.checks import check_number
from remind.objectives.weights import follow, relative, worst_fraction


class GroupCVaR(AdaptiveObjective):
    """The mean loss of the worst groups that together hold the fraction alpha of the patients.

    The `btl` variant of the reference implementation of Sagawa et al. 2020 (its greedy weights),
    ranked by a running loss, here relative to the batch's mean. A group that no batch has held yet
    keeps its own share. Sampler form, so that alpha = 1 is ERM for every batch.

    Args:
        counts_G: training patients per group, all >= 1.
        config: options.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(AdaptiveObjective.Config):
        """Options of CVaR over groups."""

        alpha: float = 0.2
        """Fraction of the patient mass that counts, in (0, 1]."""

        rate: float = 0.1
        """Weight of the newest batch in the running loss, in (0, 1]."""

        def __post_init__(self) -> None:
            super().__post_init__()
            check_number("alpha", self.alpha, above=0, at_most=1)
            check_number("rate", self.rate, above=0, at_most=1)

    running_G: Tensor
    seen_G: Tensor

    def __init__(
        self, counts_G: Tensor, config: Config | None = None, *, patterns_GM: Tensor | None = None
    ) -> None:
        super().__init__(counts_G, config, patterns_GM=patterns_GM)
        self.config = config or self.Config()
        self.register_buffer("running_G", torch.zeros_like(self.counts_G))
        self.register_buffer("seen_G", torch.zeros_like(self.counts_G, dtype=torch.bool))

    def update(self, loss_G: Tensor, count_G: Tensor) -> None:
        self._update(loss_G, count_G, self.config.rate)

    def update_held_out(self, loss_G: Tensor, count_G: Tensor) -> None:
        self._update(loss_G, count_G, 1.0)

    def _update(self, loss_G: Tensor, count_G: Tensor, rate: float) -> None:
        loss_G = relative(loss_G, count_G)
        self.running_G = follow(self.running_G, self.seen_G, loss_G, count_G, rate)
        self.seen_G = self.seen_G | (count_G > 0)
        share_G = self.counts_G / self.counts_G.sum()
        mass_G = share_G.where(self.seen_G, 0.0)
        rank_G = self.running_G.where(self.seen_G, -torch.inf)
        self.weight_G = torch.where(
            self.seen_G, worst_fraction(mass_G, rank_G, self.config.alpha), share_G
        )
