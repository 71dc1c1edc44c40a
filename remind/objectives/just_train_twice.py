"""Just train twice (Liu et al., ICML 2021)."""

# N training patients

from dataclasses import dataclass

import torch
from torch import Tensor

from remind.objectives.base import Objective
from remind.objectives.checks import check_number, check_whole


class JustTrainTwice(Objective):
    """ERM for a few epochs; then a fresh model, with the patients the first got wrong drawn more.

    Algorithm 1: the error set E of a model of `first_epochs` epochs, then ERM on a training set in
    which each patient of E occurs `upweight` times. It knows no groups. Left open by the source:
    an epoch still draws N patients, E in the same proportion, so that epochs stay comparable; the
    second model starts from the weights that the first started from, and has all epochs of the
    training for itself; the first has the same options, weight average included.

    Args:
        counts_G: training patients per group, all >= 1.
        config: options.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Objective.Config):
        """Options of just train twice."""

        first_epochs: int = 3
        """T, epochs of the first model, before the training's own, >= 1."""

        upweight: float = 1.5
        """lambda, how often a patient of the error set is drawn for one of the others, >= 1. The
        source takes 20 to 100 where labels are clean; where outcomes are chance, as in hospitals,
        most of the error set is bad luck: on SUPPORT2 a 3 cost 0.05 of validation AUROC."""

        def __post_init__(self) -> None:
            check_whole("first_epochs", self.first_epochs, at_least=1)
            check_number("upweight", self.upweight, at_least=1)

    is_wrong_N: Tensor

    def __init__(
        self, counts_G: Tensor, config: Config | None = None, *, patterns_GM: Tensor | None = None
    ) -> None:
        super().__init__(counts_G, config, patterns_GM=patterns_GM)
        self.config = config or self.Config()
        self.restart_after = self.config.first_epochs
        num_patients = int(self.counts_G.sum())
        self.register_buffer("is_wrong_N", torch.zeros(num_patients, dtype=torch.bool))

    def mark(self, is_wrong_N: Tensor) -> None:
        self.is_wrong_N = is_wrong_N.to(self.is_wrong_N.device, copy=True)

    def draws(self, group_N: Tensor) -> Tensor | None:
        if not self.is_wrong_N.any():
            return None
        return 1 + (self.config.upweight - 1) * self.is_wrong_N.to(torch.float64)
