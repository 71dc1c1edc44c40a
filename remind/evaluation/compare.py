"""Is one method better than another on the same patients? Paired bootstrap of the differences.

Both methods are measured on the same resamples of persons (Efron & Tibshirani 1993, chapter 16), so
that what makes a patient hard for both cancels. With several seeds (or the pooled folds of several
seeds) a metric is computed per seed and averaged, on the same resampled persons for all seeds: the
interval then is that of patients, for the mean over these seeds.
"""

# N rows, R resamples, C classes

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from remind.errors import InputError, did_you_mean
from remind.evaluation.bootstrap import (
    MIN_PERSONS,
    NUM_BOOT,
    centered,
    check_bootstrap,
    enough_defined,
    interval,
    person_codes,
    resampled,
    resamples,
)
from remind.evaluation.metrics import METRICS
from remind.evaluation.predictions import BANDS, check_predictions, classes_of, label_of, prob_of


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pair:
    """Two methods' probabilities (N, C) on the same rows; a row is a patient under a seed."""

    label_N: np.ndarray
    reference_NC: np.ndarray
    other_NC: np.ndarray
    person_N: np.ndarray
    seed_N: np.ndarray

    def select(self, rows: np.ndarray) -> "_Pair":
        return _Pair(**{name: values[rows] for name, values in vars(self).items()})

    def by_seed(self) -> list[np.ndarray]:
        return [np.flatnonzero(self.seed_N == seed) for seed in np.unique(self.seed_N)]


def compare(
    reference: pd.DataFrame,
    other: pd.DataFrame,
    *,
    metrics: Sequence[str] = tuple(METRICS),
    block: str | None = None,
    num_boot: int = NUM_BOOT,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any]:
    """Differences other - reference, overall and in blocks, with interval and p-value.

    Args:
        reference: predictions of one method, one or several seeds.
        other: predictions of another on the same patients, joined by id, and by seed if several.
        metrics: names out of `METRICS`.
        block: a column of `reference` whose values cut the rows into blocks, such as "band".
        num_boot: resamples of persons.
        seed: of the resamples.
        level: of the intervals.

    Returns:
        ``{"reference", "other": method names, "num_seeds", "bootstrap", "blocks"}``. ``blocks``
        has "overall" and each value of `block`, each with ``n`` (distinct patients) and per metric
        ``reference``, ``other``, ``difference``, ``ci`` and ``p``. p is two-sided: twice the
        smaller share of resamples on either side of 0, a zero counting on both, at most 1; one is
        added to the resamples and to the side, so that p is never 0. What is undefined is None, by
        the rules of `bootstrap`; a metric that one seed leaves undefined is undefined.

    Raises:
        InputError: the tables are not of the same patients, seeds, classes and labels, a table
            holds several methods or splits, or a metric or column is unknown.
        ValueError: num_boot or level out of range.
    """
    check_bootstrap(num_boot, level)
    _check_metrics(metrics)
    reference, other = _aligned(reference, other)
    pair = _pair(reference, other)
    options: dict[str, Any] = {"metrics": metrics, "num_boot": num_boot, "seed": seed}
    blocks = {
        name: {
            "n": int(reference["id"].iloc[rows].nunique()),
            **_differences(pair.select(rows), level=level, **options),
        }
        for name, rows in _blocks(reference, block).items()
    }
    return {
        "reference": str(reference["method"].iloc[0]),
        "other": str(other["method"].iloc[0]),
        "num_seeds": len(pair.by_seed()),
        "bootstrap": {"unit": "person", "num_boot": num_boot, "level": level, "seed": seed},
        "blocks": blocks,
    }


def _differences(
    pair: _Pair, *, metrics: Sequence[str], num_boot: int, seed: int, level: float
) -> dict[str, dict[str, Any]]:
    point = {name: _point(pair, name) for name in metrics}
    person_N, num_persons = person_codes(pair.person_N)
    if num_persons < MIN_PERSONS:
        return {name: {**point[name], "ci": None, "p": None} for name in metrics}
    chunks = [
        {name: _resampled(pair, name, weight_RN) for name in metrics}
        for weight_RN in resamples(person_N, num_persons, num_boot=num_boot, seed=seed)
    ]
    result = {}
    for name in metrics:
        value_R = np.concatenate([chunk[name] for chunk in chunks])
        value_R = centered(name, value_R, point[name]["difference"])
        result[name] = {**point[name], "ci": interval(value_R, level), "p": p_value(value_R)}
    return result


def _point(pair: _Pair, name: str) -> dict[str, float | None]:
    """The metric of each method averaged over seeds, and the difference."""
    seeds = pair.by_seed()
    values = {
        side: [METRICS[name](pair.label_N[rows], prob_NC[rows]) for rows in seeds]
        for side, prob_NC in (("reference", pair.reference_NC), ("other", pair.other_NC))
    }
    means = {side: mean_if_all(side_values) for side, side_values in values.items()}
    left, right = means["reference"], means["other"]
    return {**means, "difference": None if left is None or right is None else right - left}


def mean_if_all(values: Sequence[float | None]) -> float | None:
    """The mean; None if a value is undefined."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if len(defined) == len(values) else None


def _resampled(pair: _Pair, name: str, weight_RN: np.ndarray) -> np.ndarray:
    """The difference in each resample, averaged over seeds (R,)."""
    differences = [
        resampled(name, pair.label_N[rows], pair.other_NC[rows], weight_RN[:, rows])
        - resampled(name, pair.label_N[rows], pair.reference_NC[rows], weight_RN[:, rows])
        for rows in pair.by_seed()
    ]
    return np.mean(differences, axis=0)


def p_value(difference_R: np.ndarray) -> float | None:
    """The two-sided p of resampled differences, see `compare`; None if too few are defined."""
    if not enough_defined(difference_R):
        return None
    defined_R = difference_R[~np.isnan(difference_R)]
    side = min((defined_R <= 0).sum(), (defined_R >= 0).sum())
    return min(1.0, float(2 * (side + 1) / (len(defined_R) + 1)))


def _blocks(frame: pd.DataFrame, block: str | None) -> dict[str, np.ndarray]:
    """Name -> rows: everyone, then the values of the column, bands in their order."""
    everyone = {"overall": np.arange(len(frame))}
    if block is None:
        return everyone
    if block not in frame.columns:
        near = did_you_mean(block, [str(column) for column in frame.columns])
        raise InputError(f'predictions have no column "{block}" to cut into blocks{near}')
    rows_of = {str(name): rows for name, rows in frame.groupby(block).indices.items()}
    order = BANDS if block == "band" else sorted(rows_of)
    return everyone | {name: rows_of[name] for name in order if name in rows_of}


def _aligned(reference: pd.DataFrame, other: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables with the same rows in the order of `reference`."""
    for name, frame in (("reference", reference), ("other", other)):
        check_predictions(frame)
        for column in ("method", "split"):
            if len(frame[column].unique()) > 1:
                raise InputError(f"compare takes one {column} per table, but {name} holds several")
    several = any(len(frame["seed"].unique()) > 1 for frame in (reference, other))
    keys = ["id", "seed"] if several else ["id"]
    at = _keys(other, keys).get_indexer(_keys(reference, keys))
    if (at < 0).any() or len(reference) != len(other):
        raise InputError(
            f"compare needs the same {' and '.join(keys)} in both tables: {int((at < 0).sum())} of "
            f"{len(reference)} reference rows are not among the {len(other)} of the other"
        )
    return reference, other.iloc[at]


def _keys(frame: pd.DataFrame, keys: Sequence[str]) -> pd.MultiIndex:
    return pd.MultiIndex.from_arrays([frame[key].to_numpy() for key in keys], names=keys)


def _pair(reference: pd.DataFrame, other: pd.DataFrame) -> _Pair:
    if classes_of(reference) != classes_of(other):
        raise InputError(
            f"compare needs the same classes in the same order, got {classes_of(reference)} and "
            f"{classes_of(other)}"
        )
    label_N = label_of(reference)
    differs_N = label_N != label_of(other)
    if differs_N.any():
        raise InputError(
            f"compare needs the same labels: {int(differs_N.sum())} rows differ, first id "
            f"{reference['id'].iloc[int(np.argmax(differs_N))]}"
        )
    return _Pair(
        label_N=label_N,
        reference_NC=prob_of(reference),
        other_NC=prob_of(other),
        person_N=reference["person"].to_numpy(),
        seed_N=reference["seed"].to_numpy(),
    )


def _check_metrics(metrics: Sequence[str]) -> None:
    for name in metrics:
        if name not in METRICS:
            raise InputError(f'there is no metric "{name}"{did_you_mean(name, METRICS)}')
