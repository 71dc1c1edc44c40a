"""Empirical risk minimization: the mean over patients."""

from remind.objectives.base import Objective


class ERM(Objective):
    """The mean loss: q_g = n_g / N, so that every patient weighs 1."""
