"""Percentile bootstrap intervals by person (Efron 1979): rows of a person stay together.

A resample draws as many persons as there are, with replacement, and gives each row its person's
multiplicity as weight. Rules, so that no interval says more than its data:

- fewer than `MIN_PERSONS` persons have no interval;
- a metric that is undefined in more than 5% of the resamples has none; else the percentiles are
  over the resamples that define it;
- beyond two classes, a mean over classes is undefined in a resample that has lost one of the
  sample's: it would be a mean over others;
- the calibration error is biased upwards, in a resample once more than in the sample, so its
  resamples are shifted to have the figure itself as their mean (and to lie above 0).
"""

# R resamples, N rows, P persons, C classes

from collections.abc import Iterator, Sequence

import numpy as np

from remind.evaluation.metrics import METRICS, OF_ROWS
from remind.evaluation.weighted import WEIGHTED

NUM_BOOT = 1000
"""Resamples where none are asked for: what two commands show of one run is the same."""
MIN_PERSONS = 10
MAX_UNDEFINED = 0.05
BIASED = ("ece",)
MEANS_OVER_CLASSES = ("auroc", "auprc", "f1", "f1_macro")
CHUNK_CELLS = 2_000_000


def intervals(
    label_N: np.ndarray,
    prob_NC: np.ndarray,
    person_N: np.ndarray,
    *,
    num_boot: int = NUM_BOOT,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, list[float] | None]:
    """Return ``[low, high]`` or None for every metric by name.

    Args:
        label_N: true classes, int64.
        prob_NC: probabilities.
        person_N: whose row it is; compared as text.
        num_boot: resamples, >= 1.
        seed: of the resamples; the same seed and persons give the same resamples.
        level: share of the resamples within the interval, in (0, 1).

    Raises:
        ValueError: num_boot or level out of range.
    """
    check_bootstrap(num_boot, level)
    person_N, num_persons = person_codes(person_N)
    if num_persons < MIN_PERSONS:
        return dict.fromkeys(WEIGHTED)
    chunks = [
        {name: resampled(name, label_N, prob_NC, weight_RN) for name in WEIGHTED}
        for weight_RN in resamples(person_N, num_persons, num_boot=num_boot, seed=seed)
    ]
    return {
        name: metric_interval(
            name,
            np.concatenate([chunk[name] for chunk in chunks]),
            METRICS[name](label_N, prob_NC),
            level,
        )
        for name in WEIGHTED
    }


def resampled(
    name: str, label_N: np.ndarray, prob_NC: np.ndarray, weight_RN: np.ndarray
) -> np.ndarray:
    """Return a metric in each resample (R,), NaN where it is undefined by the rules above.

    Args:
        name: of the metric.
        label_N, prob_NC: of the sample.
        weight_RN: multiplicities of the rows.
    """
    value_R = WEIGHTED[name](label_N, prob_NC, weight_RN)
    if name not in MEANS_OVER_CLASSES or prob_NC.shape[1] == 2:
        return value_R
    true_NC = np.eye(prob_NC.shape[1])[label_N][:, np.unique(label_N)]
    return np.where((weight_RN @ true_NC > 0).all(axis=1), value_R, np.nan)


def resampled_over_groups(
    name: str,
    label_N: np.ndarray,
    prob_NC: np.ndarray,
    weight_RN: np.ndarray,
    groups: Sequence[np.ndarray],
) -> np.ndarray:
    """Return the mean of a metric over groups in each resample (R,).

    A metric that is a mean over patients keeps the groups' shares: a patient counts 1 / the size of
    the group, so that groups which a resample lacks are made up for by those that it has twice. Any
    other is undefined in a resample unless it is defined in every group.

    Args:
        name: of the metric.
        label_N, prob_NC: of the sample.
        weight_RN: multiplicities of the rows.
        groups: the rows of each group that defines the metric in the sample; without one all is
            NaN.
    """
    nothing_R = np.full(len(weight_RN), np.nan)
    if not groups:
        return nothing_R
    smallest_first = sorted(groups, key=len)
    if name in OF_ROWS:
        share_N = np.zeros(len(label_N))
        for rows in groups:
            share_N[rows] = len(smallest_first[0]) / len(rows)
        drawn_R = weight_RN @ share_N
        total_R = weight_RN @ (share_N * OF_ROWS[name](label_N, prob_NC))
        return np.divide(total_R, drawn_R, out=nothing_R, where=drawn_R > 0)
    total_R = np.zeros(len(weight_RN))
    for rows in smallest_first:
        total_R += resampled(name, label_N[rows], prob_NC[rows], weight_RN[:, rows])
        if np.isnan(total_R).all():
            break
    return total_R / len(groups)


def metric_interval(
    name: str, value_R: np.ndarray, point: float | None, level: float
) -> list[float] | None:
    """Return the `interval` of a metric; that of one in `BIASED` centered, and cut off at 0."""
    bounds = interval(centered(name, value_R, point), level)
    return [max(bound, 0.0) for bound in bounds] if bounds and name in BIASED else bounds


def interval(value_R: np.ndarray, level: float) -> list[float] | None:
    """Return the central percentiles of the defined values, None if too few are defined."""
    if not enough_defined(value_R):
        return None
    tail = (1 - level) / 2
    low, high = np.quantile(value_R[~np.isnan(value_R)], [tail, 1 - tail])
    return [float(low), float(high)]


def centered(name: str, value_R: np.ndarray, point: float | None) -> np.ndarray:
    """Return the resamples, those of a metric in `BIASED` shifted to have `point` as their mean."""
    if name not in BIASED or point is None or np.isnan(value_R).all():
        return value_R
    return value_R - (np.nanmean(value_R) - point)


def enough_defined(value_R: np.ndarray) -> bool:
    """Whether at most 5% of the resamples leave the value undefined."""
    return bool(np.isnan(value_R).mean() <= MAX_UNDEFINED)


def person_codes(person_N: np.ndarray) -> tuple[np.ndarray, int]:
    """Return each row's person as int64 0..P-1 in the order of their names, and P."""
    names_P, code_N = np.unique(np.asarray(person_N).astype(str), return_inverse=True)
    return code_N, len(names_P)


def resamples(
    person_N: np.ndarray, num_persons: int, *, num_boot: int, seed: int
) -> Iterator[np.ndarray]:
    """Yield the weights of `num_boot` resamples, float64 (R, N) a piece, in bounded memory."""
    rng = np.random.default_rng(seed)
    size = max(1, CHUNK_CELLS // max(len(person_N), num_persons))
    for start in range(0, num_boot, size):
        num = min(size, num_boot - start)
        drawn_RP = rng.integers(num_persons, size=(num, num_persons))
        drawn_RP += np.arange(num)[:, None] * num_persons
        count_RP = np.bincount(drawn_RP.ravel(), minlength=num * num_persons)
        yield count_RP.reshape(num, num_persons).astype(np.float64)[:, person_N]


def check_bootstrap(num_boot: int, level: float) -> None:
    """Raise ValueError unless num_boot >= 1 and 0 < level < 1."""
    if num_boot < 1:
        raise ValueError(f"num_boot must be at least 1, got {num_boot}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
