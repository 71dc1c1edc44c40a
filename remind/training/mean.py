"""The mean loss of an epoch, without waiting for the device in every step."""

import math

import torch
from torch import Tensor

from remind.training.ranks import mean_over_ranks

LOOK_EVERY = 64
"""Steps between two looks: each waits for the device."""


class MeanLoss:
    """The mean over patients of the losses of steps.

    Attributes:
        strange: the first value that is not finite; 0 as long as all are.
    """

    def __init__(self) -> None:
        self.strange = 0.0
        self.total, self.num_patients = 0.0, 0
        self.pending: list[tuple[Tensor, int]] = []

    def add(self, loss: Tensor, num_patients: int) -> None:
        """Take the loss of a step.

        Args:
            loss: of this rank, whose mean over ranks is that of the global batch.
            num_patients: of the global batch.
        """
        self.pending.append((loss, num_patients))
        if len(self.pending) == LOOK_EVERY:
            self.look()

    def look(self) -> None:
        """Read the losses that were taken since the last look; all ranks do so at once."""
        if not self.pending:
            return
        losses = torch.stack([loss for loss, _ in self.pending]).to(torch.float64)
        for value, (_, num) in zip(mean_over_ranks(losses).tolist(), self.pending, strict=True):
            if not math.isfinite(value) and not self.strange:
                self.strange = value
            self.total += value * num
            self.num_patients += num
        self.pending.clear()

    @property
    def value(self) -> float:
        """The mean of what was looked at."""
        return self.total / self.num_patients
