"""Greedy conditional value at risk over groups."""

# G groups

from dataclasses import dataclass

import torch
from torch import Tensor

from remind.objectives.checks import check_number
from remind.objectives.running import RunningObjective
from remind.objectives.weights import worst_fraction


class GroupCVaR(RunningObjective):
    """The mean loss of the worst groups that together hold the fraction alpha of the patients.

    The `btl` variant of the reference implementation of Sagawa et al. 2020 (its greedy weights),
    ranked by a running loss, here relative to the batch's mean. A group that no batch has held yet
    keeps its own share. Sampler form, so that alpha = 1 is ERM for every batch.

    Args:
        counts_G: training patients per group, all >= 1.
        config: options.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(RunningObjective.Config):
        """Options of CVaR over groups."""

        alpha: float = 0.2
        """Fraction of the patient mass that counts, in (0, 1]."""

        def __post_init__(self) -> None:
            super().__post_init__()
            check_number("alpha", self.alpha, above=0, at_most=1)

    def __init__(
        self, counts_G: Tensor, config: Config | None = None, *, patterns_GM: Tensor | None = None
    ) -> None:
        super().__init__(counts_G, config, patterns_GM=patterns_GM)
        self.config = config or self.Config()

    def worst(self, mass_G: Tensor) -> Tensor:
        """As `RunningObjective.worst`."""
        rank_G = self.running_G.where(self.seen_G, -torch.inf)
        return worst_fraction(mass_G, rank_G, self.config.alpha)
