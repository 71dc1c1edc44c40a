"""How well a model serves everyone, each band and each group: predictions in, JSON out."""

# N rows, C classes, G groups, R resamples

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from remind.errors import InputError
from remind.evaluation.bootstrap import (
    MIN_PERSONS,
    NUM_BOOT,
    check_bootstrap,
    intervals,
    metric_interval,
    person_codes,
    resampled_over_groups,
    resamples,
)
from remind.evaluation.metrics import METRICS, measure
from remind.evaluation.predictions import (
    BANDS,
    check_predictions,
    classes_of,
    label_of,
    positive_of,
    prob_of,
)
from remind.evaluation.weighted import WEIGHTED

MIN_PATIENTS = 20
RANKING = ("auroc", "auprc")
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
    num_boot: int = NUM_BOOT,
    seed: int = 0,
    level: float = 0.95,
    min_worst: int = MIN_PATIENTS,
) -> dict[str, Any]:
    """Judge one method on one split, overall, by band and by group.

    ``positive`` is the class that F1, AUPRC and calibration are of, None beyond two classes. Every
    block (overall, head, medium, tail, unseen) holds ``n``, the metrics of `METRICS` and
    their bootstrap intervals ``ci``. A band without patients stays, with n = 0 and nulls.
    ``groups`` lists every group of the table, most common in training first; one with fewer than 20
    patients has ``ci`` null. ``worst_group`` is the group with the highest log loss among those
    with at least `min_worst` patients, as its ``rule`` says; without such a group it is all nulls.
    Its ``ci`` is that of the group, as if it had been named beforehand: the worst of many is partly
    chance, and that is not in it. ``averages`` holds both averages and their ``ci``: over patients,
    and over the groups that define the metric. The latter's resamples of persons keep the groups
    (see `resampled_over_groups`); in a long tail some group is undefined in most of them, and only
    what is a mean over patients has an interval: accuracy, log loss and Brier score.

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
    options: dict[str, Any] = {"num_boot": num_boot, "seed": seed, "level": level}
    block = partial(_block, **options)
    overall = block(predictions)
    rows_of = {str(name): rows for name, rows in predictions.groupby("group").indices.items()}
    groups = _groups(predictions, rows_of, **options)
    return {
        "cohort": cohort,
        "split": str(split),
        "method": str(method),
        "n": len(predictions),
        "positive": positive_of(classes_of(predictions)),
        "bands": {"head": bands.head, "medium": bands.medium},
        "bootstrap": {"unit": "person", "num_boot": num_boot, "level": level, "seed": seed},
        "overall": overall,
        **{band: block(predictions.loc[predictions["band"] == band]) for band in BANDS},
        "averages": {
            "patients": overall,
            "groups": _average(predictions, groups, rows_of, **options),
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


def _block(frame: pd.DataFrame, **options: Any) -> dict[str, Any]:
    label_N, prob_NC = label_of(frame), prob_of(frame)
    ci = intervals(label_N, prob_NC, frame["person"].to_numpy(), **options)
    return {"n": len(frame), **measure(label_N, prob_NC), "ci": ci}


def _groups(
    frame: pd.DataFrame, rows_of: Mapping[str, np.ndarray], **options: Any
) -> list[dict[str, Any]]:
    """Every group with its metrics, most common in training first, then by name."""
    label_N, prob_NC = label_of(frame), prob_of(frame)
    person_N, n_train_N = frame["person"].to_numpy(), frame["n_train"].to_numpy()
    metrics = _metrics_by_group(label_N, prob_NC, list(rows_of.values()))
    groups = [
        {
            "group": name,
            # Pooled folds have a count per fold: their mean over the patients.
            "n_train": round(float(n_train_N[rows].mean())),
            "n": len(rows),
            **values,
            "ci": intervals(label_N[rows], prob_NC[rows], person_N[rows], **options)
            if len(rows) >= MIN_PATIENTS
            else None,
        }
        for (name, rows), values in zip(rows_of.items(), metrics, strict=True)
    ]
    return sorted(groups, key=lambda group: (-group["n_train"], group["group"]))


def _metrics_by_group(
    label_N: np.ndarray, prob_NC: np.ndarray, groups: Sequence[np.ndarray]
) -> list[dict[str, float | None]]:
    """Every metric of every group: a group is a weighting that is 1 for its rows.

    Those of ranking take each group by itself, for they need the rows in order.
    """
    ends_G = np.cumsum([0, *map(len, groups)])
    weight_GN: Any = csr_array(
        (np.ones(ends_G[-1]), np.concatenate(groups), ends_G), shape=(len(groups), len(label_N))
    )
    value_MG = {
        name: _by_itself(name, label_N, prob_NC, groups)
        if name in RANKING
        else metric(label_N, prob_NC, weight_GN)
        for name, metric in WEIGHTED.items()
    }
    return [
        {
            name: None if np.isnan(value_G[g]) else float(value_G[g])
            for name, value_G in value_MG.items()
        }
        for g in range(len(groups))
    ]


def _by_itself(
    name: str, label_N: np.ndarray, prob_NC: np.ndarray, groups: Sequence[np.ndarray]
) -> np.ndarray:
    """A metric of ranking of each group (G,); those of one class are NaN."""
    value_G = np.full(len(groups), np.nan)
    for g, rows in enumerate(groups):
        label_n = label_N[rows]
        if (label_n != label_n[0]).any():
            value_G[g] = WEIGHTED[name](label_n, prob_NC[rows], np.ones((1, len(rows))))[0]
    return value_G


def _average(
    frame: pd.DataFrame,
    groups: Sequence[dict[str, Any]],
    rows_of: Mapping[str, np.ndarray],
    *,
    num_boot: int,
    seed: int,
    level: float,
) -> dict[str, Any]:
    """The mean over groups of each metric, over those that define it; n is the number of groups."""
    defined = {m: [g for g in groups if g[m] is not None] for m in METRICS}
    means = {
        m: float(np.mean([g[m] for g in some])) if some else None for m, some in defined.items()
    }
    result = {"n": len(groups), **means}
    person_N, num_persons = person_codes(frame["person"].to_numpy())
    if num_persons < MIN_PERSONS:
        return {**result, "ci": dict.fromkeys(METRICS)}
    label_N, prob_NC = label_of(frame), prob_of(frame)
    rows = {m: [rows_of[g["group"]] for g in some] for m, some in defined.items()}
    chunks = [
        {m: resampled_over_groups(m, label_N, prob_NC, weight_RN, rows[m]) for m in METRICS}
        for weight_RN in resamples(person_N, num_persons, num_boot=num_boot, seed=seed)
    ]
    ci = {
        m: metric_interval(m, np.concatenate([chunk[m] for chunk in chunks]), means[m], level)
        for m in METRICS
    }
    return {**result, "ci": ci}


def _worst(groups: Sequence[dict[str, Any]], min_worst: int) -> dict[str, Any]:
    rule = {"rule": WORST_RULE.format(min_worst)}
    large = [group for group in groups if group["n"] >= min_worst]
    if not large:
        nulls = dict.fromkeys(METRICS)
        return {"group": None, "n_train": None, "n": 0, **nulls, "ci": None, **rule}
    return {**max(large, key=lambda group: group["log_loss"]), **rule}
