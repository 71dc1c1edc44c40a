"""What all parts of a diagnosis share."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of a diagnosis.

    Attributes:
        split: whose patients are looked at.
        num_boot: bootstrap resamples of persons, >= 1.
        level: of the intervals, in (0, 1).
        alpha: share of patients whose prediction set may miss the true class, in (0, 1).
        seed: of everything that is drawn.
    """

    split: str = "test"
    num_boot: int = 500
    level: float = 0.95
    alpha: float = 0.1
    seed: int = 0
