"""FairBatch: how often a group is drawn follows its loss (Roh et al., ICLR 2021)."""

# N training patients, G groups

from dataclasses import dataclass

import torch
from torch import Tensor

from remind.objectives.adaptive import AdaptiveObjective
from remind.objectives.checks import check_number


class FairBatch(AdaptiveObjective):
    """ERM on batches in which groups have the shares q, moved once per epoch towards equal losses.

    Their update for two groups: q_1 <- q_1 + step * sign(L_1 - L_2), q_2 the rest, from n_g / N.
    Left open by the source and filled here:

    - More than two groups. Groups above the mean loss gain what groups below it give, `step` in
      all; every group gains or gives in proportion to its share. For two groups that is theirs,
      for hundreds it keeps an epoch from moving `step` to each. Groups give no more than half.
    - Whose losses are equal. The source asks for them within each label; of a combination with a
      handful of patients that would leave one or none, so here it is all patients of a group.
    - When L_g is known. The source goes through the training patients once more; here it is the
      mean over the epoch's batches, or over the validation patients with `held_out`. A group that
      was not drawn keeps its share.

    Args:
        counts_G: training patients per group, all >= 1.
        config: options.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(AdaptiveObjective.Config):
        """Options of FairBatch."""

        step: float = 0.005
        """Share of the patients drawn that changes groups in an epoch, in [0, 1]."""

        def __post_init__(self) -> None:
            super().__post_init__()
            check_number("step", self.step, at_least=0, at_most=1)

    loss_sum_G: Tensor
    seen_count_G: Tensor

    def __init__(
        self, counts_G: Tensor, config: Config | None = None, *, patterns_GM: Tensor | None = None
    ) -> None:
        super().__init__(counts_G, config, patterns_GM=patterns_GM)
        self.config = config or self.Config()
        self.register_buffer("loss_sum_G", torch.zeros_like(self.counts_G))
        self.register_buffer("seen_count_G", torch.zeros_like(self.counts_G))

    def update(self, loss_G: Tensor, count_G: Tensor) -> None:
        self.loss_sum_G = self.loss_sum_G + loss_G * count_G
        self.seen_count_G = self.seen_count_G + count_G

    def update_held_out(self, loss_G: Tensor, count_G: Tensor) -> None:
        self._move(loss_G, count_G > 0)

    def end_epoch(self) -> None:
        is_seen_G = self.seen_count_G > 0
        self._move(self.loss_sum_G / self.seen_count_G.clamp_min(1.0), is_seen_G)
        self.loss_sum_G = torch.zeros_like(self.counts_G)
        self.seen_count_G = torch.zeros_like(self.counts_G)

    def ratio(self, count_G: Tensor) -> Tensor:
        return torch.ones_like(self.counts_G)

    def draws(self, group_N: Tensor) -> Tensor | None:
        return (self.weight_G / self.counts_G)[group_N.to(self.weight_G.device)]

    def _move(self, loss_G: Tensor, is_seen_G: Tensor) -> None:
        count_G = self.counts_G.where(is_seen_G, 0.0)
        mean = (count_G * loss_G).sum() / count_G.sum().clamp_min(1.0)
        self.weight_G = shift(
            self.weight_G,
            is_seen_G & (loss_G > mean),
            is_seen_G & (loss_G < mean),
            self.config.step,
        )


def shift(weight_G: Tensor, is_worse_G: Tensor, is_better_G: Tensor, step: float) -> Tensor:
    """Shares with `step` of the mass moved from the better to the worse, each by its own share."""
    worse_G, better_G = weight_G.where(is_worse_G, 0.0), weight_G.where(is_better_G, 0.0)
    tiny = torch.finfo(weight_G.dtype).tiny
    moved = (better_G.sum() / 2).clamp_max(step) * (worse_G.sum() > 0)
    gain_G = worse_G / worse_G.sum().clamp_min(tiny)
    loss_G = better_G / better_G.sum().clamp_min(tiny)
    return weight_G + moved * (gain_G - loss_G)
