"""Logit adjustment with a label prior per group (Menon et al., ICLR 2021)."""

# N training patients, B patients of a batch, G groups, K members, C classes

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from remind.objectives.base import Objective
from remind.objectives.checks import check_number


class LogitAdjustment(Objective):
    """Cross entropy of f_y(x) + tau log pi_{y|g} in training, f alone in prediction (equation 10).

    The model then answers for a population in which all classes are equally common, here in every
    group: it minimizes the balanced error within groups, and learns nothing from how common a class
    is in one. Its probabilities are those of that population: calibrate them before they are read
    as risks. A validation loss has the priors added, as the training loss has; without them it
    would prefer the epochs that learned the least.

    Left open by the source, which has one prior for all: a group of three has no prior of its own.
    So pi_{y|g} = (n_gy + m pi_y) / (n_g + m): `prior_patients` m patients of the overall prior
    pi_y = (n_y + 1) / (N + C), which also serves the patients of unseen groups.

    Args:
        counts_G: training patients per group, all >= 1.
        config: options.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Objective.Config):
        """Options of logit adjustment."""

        tau: float = 1.0
        """Share of the log prior that is added, >= 0; 0 is ERM."""

        prior_patients: float = 20.0
        """Patients that the overall prior is worth in a group, > 0."""

        def __post_init__(self) -> None:
            check_number("tau", self.tau, at_least=0)
            check_number("prior_patients", self.prior_patients, above=0)

    counts_GC: Tensor

    def __init__(
        self, counts_G: Tensor, config: Config | None = None, *, patterns_GM: Tensor | None = None
    ) -> None:
        super().__init__(counts_G, config, patterns_GM=patterns_GM)
        self.config = config or self.Config()
        self.register_buffer("counts_GC", self.counts_G.new_zeros(0, 0), persistent=False)

    def begin(self, label_N: Tensor, group_N: Tensor) -> None:
        num_classes = int(label_N.max()) + 1
        cells = self.counts_G.new_zeros(self.num_groups * num_classes)
        cell_N = (group_N * num_classes + label_N).to(cells.device)
        cells = cells.index_add(0, cell_N, torch.ones_like(cell_N, dtype=cells.dtype))
        self.counts_GC = cells.unflatten(0, (self.num_groups, num_classes))

    def adjust(self, logits_BKC: Tensor, group_B: Tensor) -> Tensor:
        prior_BC = self.prior(group_B, logits_BKC.shape[2])
        return logits_BKC + self.config.tau * prior_BC.log().to(logits_BKC.dtype).unsqueeze(1)

    def prior(self, group_B: Tensor, num_classes: int) -> Tensor:
        """(B, C) share of each class in the patients' groups, shrunken; float64.

        Raises:
            ValueError: `begin` has not told the labels of the training patients.
        """
        if not self.counts_GC.numel():
            raise ValueError("logit_adjustment needs labels: call begin(label_N, group_N) first")
        missing = num_classes - self.counts_GC.shape[1]  # classes that training does not have
        count_C = F.pad(self.counts_GC.sum(dim=0), (0, missing))
        overall_C = (count_C + 1) / (count_C.sum() + num_classes)
        count_BC = F.pad(self.counts_GC[group_B], (0, missing))
        count_BC = count_BC.where((group_B >= 0).unsqueeze(1), 0.0)
        worth = self.config.prior_patients
        return (count_BC + worth * overall_C) / (count_BC.sum(dim=1, keepdim=True) + worth)
