"""What a tuner may try: the dimensions of a method's search space, as data.

A space maps keys of ``--set`` to dimensions. It holds the few settings that matter most for a
method, with ranges around what its authors used, so that every peer is tuned as well as ours.
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
}
"""What every neural method has; a method adds what is its own."""
