"""How training events lie in time, and how many a patient has."""

# N patients, V events

from dataclasses import dataclass
from typing import Self

import numpy as np

from remind.cohort.kinds.knots import interpolate, knots_of
from remind.cohort.kinds.moments import usable_std
from remind.cohort.kinds.ragged import Ragged

UNIT_VARIANCE = 3**0.5  # half the width of a uniform distribution of variance 1


@dataclass(frozen=True, kw_only=True)
class TimeScale:
    """Quantiles of training events: of their time, and of the time until their patient's last.

    Args:
        time_knots, gap_knots: ascending, in hours.
    """

    time_knots: tuple[float, ...]
    gap_knots: tuple[float, ...]

    @classmethod
    def fit(cls, events: Ragged, max_bins: int) -> Self:
        """Of events with a column `time`."""
        time, gap = (
            tuple(knots_of(values_V.astype(np.float64), max_bins).tolist()) if len(values_V) else ()
            for values_V in (events.columns["time"], _gaps(events))
        )
        return cls(time_knots=time, gap_knots=gap)

    def places(self, events: Ragged) -> np.ndarray:
        """Places of time and gap between the quantiles, float32 (V, 2), of variance about 1.

        They are in +-sqrt(3): a time beyond those of training counts as the last of these.
        """
        place_V2 = np.zeros((len(events.columns["time"]), 2), np.float32)
        for column, knots, values_V in (
            (0, self.time_knots, events.columns["time"]),
            (1, self.gap_knots, _gaps(events)),
        ):
            if len(knots) > 1:
                left_V, frac_V = interpolate(values_V, np.array(knots))
                share_V = (left_V + frac_V) / (len(knots) - 1)
                place_V2[:, column] = UNIT_VARIANCE * (2 * share_V - 1)
        return place_V2


def _gaps(events: Ragged) -> np.ndarray:
    """Hours from each event to the last one of its patient, float32 (V,), >= 0."""
    time_V, counts_N = events.columns["time"], events.counts_N
    starts = events.start_N1[:-1][counts_N > 0]
    if len(starts) == 0:
        return time_V
    return np.repeat(np.maximum.reduceat(time_V, starts), counts_N[counts_N > 0]) - time_V


@dataclass(frozen=True, kw_only=True)
class CountScale:
    """Mean and standard deviation of log(1 + events) of training patients who have any; std 1 if
    all have the same number.
    """

    mean: float
    std: float

    @classmethod
    def fit(cls, events: Ragged) -> Self:
        """Of all observed patients."""
        counts_N = events.counts_N
        log = np.log1p(counts_N[counts_N > 0])
        if len(log) == 0:
            return cls(mean=0.0, std=1.0)
        return cls(mean=float(log.mean()), std=float(usable_std(log.std())))
