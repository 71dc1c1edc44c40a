"""The paper's weight update (arXiv:2603.00046, equation 4, as its readers describe it)."""

# G groups

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from remind.objectives.adaptive import BatchObjective
from remind.objectives.checks import check_choice, check_number, check_whole
from remind.objectives.weights import ascend


class PaperUpdate(BatchObjective):
    """q_g <- q_g exp(gamma R_g), normalized, every `every` batches.

    R_g is the mean loss of the patients of g seen since the last refresh; a group without any keeps
    its weight. The loss is sum_g q_g L_g over the groups of the batch (batch form). With `balanced`
    all groups are drawn alike, as by the reference implementation of group DRO; not by default.

    Args:
        counts_G: training patients per group, all >= 1.
        config: options.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(BatchObjective.Config):
        """Options of the paper's update."""

        gamma: float = 0.02
        """Ascent step per refresh and nat of loss, >= 0; the paper compares 0.5, 0.1 and 0.02."""

        every: int = 50
        """Batches between two refreshes, >= 1."""

        start: Literal["uniform", "proportions"] = "uniform"
        """First weights. From "proportions" a small gamma leaves them where they are: ERM under
        another name."""

        def __post_init__(self) -> None:
            super().__post_init__()
            check_number("gamma", self.gamma, at_least=0)
            check_whole("every", self.every, at_least=1)
            check_choice("start", self.start, ("uniform", "proportions"))

    log_weight_G: Tensor
    loss_sum_G: Tensor
    seen_count_G: Tensor

    def __init__(
        self, counts_G: Tensor, config: Config | None = None, *, patterns_GM: Tensor | None = None
    ) -> None:
        config = config or self.Config()
        super().__init__(counts_G, config, patterns_GM=patterns_GM, start=config.start)
        self.config = config
        self.register_buffer("log_weight_G", self.weight_G.log())
        self.register_buffer("loss_sum_G", torch.zeros_like(self.counts_G))
        self.register_buffer("seen_count_G", torch.zeros_like(self.counts_G))

    def update(self, loss_G: Tensor, count_G: Tensor) -> None:
        self.loss_sum_G = self.loss_sum_G + loss_G * count_G
        self.seen_count_G = self.seen_count_G + count_G
        if (self.trajectory.num_updates + 1) % self.config.every == 0:
            risk_G = self.loss_sum_G / self.seen_count_G.clamp_min(1.0)
            self._refresh(risk_G, self.seen_count_G)
            self.loss_sum_G = torch.zeros_like(self.counts_G)
            self.seen_count_G = torch.zeros_like(self.counts_G)

    def update_held_out(self, loss_G: Tensor, count_G: Tensor) -> None:
        self._refresh(loss_G, count_G)

    def _refresh(self, risk_G: Tensor, count_G: Tensor) -> None:
        self.log_weight_G = ascend(self.log_weight_G, risk_G, count_G > 0, self.config.gamma)
        self.weight_G = self.log_weight_G.exp()
