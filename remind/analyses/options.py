"""What all parts of a diagnosis share."""

from collections.abc import Sequence
from dataclasses import dataclass

from remind.errors import InputError
from remind.evaluation.bootstrap import NUM_BOOT


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
    num_boot: int = NUM_BOOT
    level: float = 0.95
    alpha: float = 0.1
    seed: int = 0

    def check_not_fitted_on(self, splits: Sequence[str], what: str) -> None:
        """Refuse to judge something on the patients that it was fitted on.

        Args:
            splits: that it was fitted on.
            what: it is, in the singular.

        Raises:
            InputError: the split is one of these.
        """
        if self.split in splits:
            raise InputError(
                f'{what} is fitted on patients of the split "{self.split}", so it cannot be judged '
                "on them: diagnose the split test"
            )
