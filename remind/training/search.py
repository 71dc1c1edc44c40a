"""What a tuner may try: the dimensions of a method's search space, as data.

A space maps keys of ``--set`` to dimensions. It holds the few settings that matter most for a
method or an objective, with ranges around what its authors used, so that every peer is tuned as
well as ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Choice:
    """One of some values.

    Args:
        values: at least one; whole numbers, numbers, words or booleans.
    """

    values: tuple[int | float | str | bool, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("a choice needs at least one value, got none")


@dataclass(frozen=True, kw_only=True)
class Range:
    """A number between two bounds, both included.

    Args:
        low, high: the bounds, low < high.
        log: whether its logarithm is what varies evenly; then low > 0.
        whole: whether it is a whole number.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"the low end of a logarithmic range must be above 0, got {self.low}")


Space = Mapping[str, Choice | Range]

NEURAL: Space = {
    "lr": Range(low=3e-4, high=3e-3, log=True),
    "weight_decay": Range(low=1e-5, high=1e-1, log=True),
    "dropout": Range(low=0.0, high=0.4),
    "ema": Choice((0.0, 0.99)),
    "width": Choice((64, 96, 128, 256)),
    "embedding_rank": Choice((8, 16, 32)),
    "modality_dropout": Choice((0.0, 0.1, 0.2)),
}
"""What every neural method has; a method adds what is its own."""

OF_OBJECTIVE: Mapping[str, Space] = {
    "erm": {},
    "reweight": {"power": Choice((0.25, 0.5, 1.0))},
    "paper": {"gamma": Choice((0.02, 0.1, 0.5)), "balanced": Choice((False, True))},
    "group_dro": {
        "step": Range(low=1e-3, high=1e-1, log=True),
        "balanced": Choice((False, True)),
    },
    "cvar": {"alpha": Range(low=0.05, high=0.9, log=True)},
    "long_tail_dro": {
        "radius": Range(low=3e-3, high=0.3, log=True),
        "tau": Range(low=5.0, high=100.0, log=True),
    },
    "logit_adjustment": {"tau": Range(low=0.1, high=1.5)},
    "chi2": {"radius": Range(low=0.01, high=1.0, log=True)},
    "fair_batch": {"step": Range(low=1e-3, high=5e-2, log=True)},
    "fair_mixup": {"strength": Range(low=1e-2, high=1.0, log=True)},
    "jtt": {
        "first_epochs": Choice((1, 3, 5)),
        "upweight": Range(low=1.2, high=6.0, log=True),
    },
}
"""What every objective adds, by its name."""
