"""How well a model serves everyone, each band and each group: predictions in, JSON out."""

# N rows, C classes

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
import pandas as pd
from fairlearn.metrics import MetricFrame

from remind.errors import InputError
from remind.evaluation.bootstrap import check_bootstrap, intervals
from remind.evaluation.metrics import METRICS, Metric, measure
from remind.evaluation.predictions import BANDS, check_predictions, label_of, prob_of

MIN_PATIENTS = 20
WORST_RULE = "highest log loss among groups of at least {} patients"


class BandLimits(Protocol):
    """The training counts that bound the bands, such as `remind.cohort.Bands`."""

    @property
    def head(self) -> int: ...
    @property
    def medium(self) -> int: ...


def evaluate(
    predictions: pd.DataFrame,
    *,
    cohort: str,
    bands: BandLimits,
    num_boot: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    min_worst: int = MIN_PATIENTS,
) -> dict[str, Any]:
    """Judge one method on one split, overall, by band and by group.

    Every block (overall, head, medium, tail, unseen) holds ``n``, the metrics of `METRICS` and
    their bootstrap intervals ``ci``. A band without patients stays, with n = 0 and nulls.
    ``groups`` lists every group of the table, most common in training first; one with fewer than 20
    patients has ``ci`` null. ``worst_group`` is the group with the highest log loss among those
    with at least `min_worst` patients, as its ``rule`` says; without such a group it is all nulls.
    ``averages`` holds both averages: over patients, and over the groups that define the metric.

    Args:
        predictions: see `remind.evaluation.predictions`; one method, one split, one seed.
        cohort: its name, to be reported.
        bands: the limits that the band column was made with, to be reported.
        num_boot: bootstrap resamples of persons.
        seed: of the resamples.
        level: of the intervals.
        min_worst: fewest patients of a group that can be the worst.

    Returns:
        The object of `remind evaluate --json`; it holds no NaN.

    Raises:
        InputError: the table breaks its contract, or holds several methods, splits or seeds.
        ValueError: num_boot or level out of range.
    """
    check_predictions(predictions)
    check_bootstrap(num_boot, level)
    method, split = (_only(predictions, column) for column in ("method", "split"))
    _only(predictions, "seed")
    block = partial(_block, num_boot=num_boot, seed=seed, level=level)
    overall = block(predictions)
    groups = _groups(predictions, block)
    return {
        "cohort": cohort,
        "split": str(split),
        "method": str(method),
        "n": len(predictions),
        "bands": {"head": bands.head, "medium": bands.medium},
        "bootstrap": {"unit": "person", "num_boot": num_boot, "level": level, "seed": seed},
        "overall": overall,
        **{band: block(predictions.loc[predictions["band"] == band]) for band in BANDS},
        "averages": {
            "patients": {name: overall[name] for name in ("n", *METRICS)},
            "groups": _average(groups),
        },
        "worst_group": _worst(groups, min_worst),
        "groups": groups,
    }


def _only(frame: pd.DataFrame, column: str) -> Any:
    """Return the one value of a column."""
    values = frame[column].unique()
    if len(values) > 1:
        raise InputError(
            f"evaluate takes the predictions of one {column}, got {len(values)}: "
            f"{', '.join(str(value) for value in values[:5])}; select one"
        )
    return values[0]


def _block(frame: pd.DataFrame, *, num_boot: int, seed: int, level: float) -> dict[str, Any]:
    label_N, prob_NC = label_of(frame), prob_of(frame)
    person_N = frame["person"].to_numpy()
    ci = intervals(label_N, prob_NC, person_N, num_boot=num_boot, seed=seed, level=level)
    return {"n": len(frame), **measure(label_N, prob_NC), "ci": ci}


def _groups(frame: pd.DataFrame, block: partial[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every group with its metrics, most common in training first, then by name."""
    rows_of = frame.groupby("group").indices
    # Pooled folds have a count per fold: their mean over the patients.
    n_train: Any = frame.groupby("group")["n_train"].mean()
    groups = [
        {
            "group": str(name),
            "n_train": round(n_train[name]),
            **values,
            "ci": block(frame.iloc[rows_of[name]])["ci"] if values["n"] >= MIN_PATIENTS else None,
        }
        for name, values in _metrics_by_group(frame).items()
    ]
    return sorted(groups, key=lambda group: (-group["n_train"], group["group"]))


def _metrics_by_group(frame: pd.DataFrame) -> dict[Any, dict[str, Any]]:
    """n and every metric of every group, by fairlearn's MetricFrame.

    It splits rows by their position, which keeps probabilities a matrix and a single row legal; it
    turns None into NaN, which is turned back.
    """
    prob_NC = prob_of(frame)
    frame_of_metrics = MetricFrame(
        metrics={name: _of_rows(metric, prob_NC) for name, metric in METRICS.items()}
        | {"n": lambda label_N, row_N: len(row_N)},
        y_true=label_of(frame),
        y_pred=np.arange(len(frame)),
        sensitive_features=frame["group"].reset_index(drop=True),
    )
    table: Any = frame_of_metrics.by_group
    return {
        name: {"n": int(row["n"]), **{m: _number(row[m]) for m in METRICS}}
        for name, row in table.iterrows()
    }


def _of_rows(metric: Metric, prob_NC: np.ndarray) -> Metric:
    return lambda label_N, row_N: metric(label_N, prob_NC[row_N])


def _number(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def _average(groups: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The mean over groups of each metric, over those that define it; n is the number of groups."""
    defined = {m: [g[m] for g in groups if g[m] is not None] for m in METRICS}
    means = {m: float(np.mean(values)) if values else None for m, values in defined.items()}
    return {"n": len(groups), **means}


def _worst(groups: Sequence[dict[str, Any]], min_worst: int) -> dict[str, Any]:
    rule = {"rule": WORST_RULE.format(min_worst)}
    large = [group for group in groups if group["n"] >= min_worst]
    if not large:
        nulls = dict.fromkeys(METRICS)
        return {"group": None, "n_train": None, "n": 0, **nulls, "ci": None, **rule}
    return {**max(large, key=lambda group: group["log_loss"]), **rule}
