"""Figures of an arm on everyone, head and tail, over seeds, with intervals of the patients.

Per seed, the figures are those of `remind.evaluation.evaluate`. An interval is that of the mean
over seeds: persons are resampled, the same for all seeds, as in `remind.evaluation.compare`.
"""

# N rows (patients under a seed), R resamples

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from remind.evaluation import evaluate
from remind.evaluation.bootstrap import (
    MIN_PERSONS,
    metric_interval,
    person_codes,
    resampled_over_groups,
    resamples,
)
from remind.evaluation.metrics import METRICS
from remind.evaluation.predictions import label_of, prob_of
from remind.reproduce.config import BLOCKS

AVERAGES = ("patients", "groups")
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class ShareBands:
    """Head and tail by share: tail if at most `share` of the training patients, unseen or not.

    Args:
        share: in (0, 1).
        num_train: training patients.
    """

    share: float
    num_train: int

    @property
    def head(self) -> int:
        """Training patients above which a combination is head."""
        return int(np.floor(self.share * self.num_train + 1e-9))

    @property
    def medium(self) -> int:
        """Training patients below which a combination is tail: none lies between."""
        return self.head + 1

    def of(self, n_train: np.ndarray) -> np.ndarray:
        """The band of each count, as text."""
        return np.where(np.asarray(n_train) > self.head, "head", "tail")


def arm_figures(
    frame: pd.DataFrame, bands: ShareBands, metrics: Sequence[str], *, num_boot: int
) -> dict[str, Any]:
    """Figures by block.

    Args:
        frame: predictions of one arm, all seeds.
        bands: that its column `band` was made with.
        metrics: names.
        num_boot: resamples of persons.

    Returns:
        block -> ``n`` (patients), ``num_groups``, and for each average (patients, groups) and
        metric ``mean`` and ``sd`` over seeds, ``seeds`` (a value each) and ``ci``. What is
        undefined is None.
    """
    rows_of = {"all": np.arange(len(frame)), **frame.groupby("band").indices}
    nobody = np.zeros(0, np.int64)
    return {
        block: _block(frame.iloc[rows_of.get(block, nobody)], bands, metrics, num_boot)
        for block in BLOCKS
    }


def _block(
    frame: pd.DataFrame, bands: ShareBands, metrics: Sequence[str], num_boot: int
) -> dict[str, Any]:
    nothing = {"mean": None, "sd": None, "seeds": [], "ci": None}
    if not len(frame):
        figures = {average: {name: dict(nothing) for name in metrics} for average in AVERAGES}
        return {"n": 0, "num_groups": 0, **figures}
    per_seed = [
        evaluate(rows, cohort="", bands=bands, num_boot=1)["averages"]
        for _, rows in frame.groupby("seed")
    ]
    return {
        "n": per_seed[0]["patients"]["n"],
        "num_groups": per_seed[0]["groups"]["n"],
        **{
            average: {
                name: _figure(
                    frame,
                    name,
                    [result[average][name] for result in per_seed],
                    by_group=average == "groups",
                    num_boot=num_boot,
                )
                for name in metrics
            }
            for average in AVERAGES
        },
    }


def _figure(
    frame: pd.DataFrame, name: str, values: list[float | None], *, by_group: bool, num_boot: int
) -> dict[str, Any]:
    """A metric over seeds, with the interval of its mean."""
    figure = _over_seeds(values)
    ci = _interval(frame, name, figure["mean"], by_group=by_group, num_boot=num_boot)
    return {**figure, "ci": ci}


def _over_seeds(values: list[float | None]) -> dict[str, Any]:
    """Mean and standard deviation, undefined if a seed leaves the metric undefined."""
    defined = [value for value in values if value is not None]
    if len(defined) < len(values):
        return {"mean": None, "sd": None, "seeds": values}
    sd = float(np.std(defined, ddof=1)) if len(defined) > 1 else None
    return {"mean": float(np.mean(defined)), "sd": sd, "seeds": values}


def _interval(
    frame: pd.DataFrame, name: str, mean: float | None, *, by_group: bool, num_boot: int
) -> list[float] | None:
    """Bootstrap interval of the mean over seeds, of everyone or of the mean over groups."""
    person_N, num_persons = person_codes(frame["person"].to_numpy())
    if num_persons < MIN_PERSONS:
        return None
    label_N, prob_NC = label_of(frame), prob_of(frame)
    group_N = frame["group"].to_numpy() if by_group else np.zeros(len(frame))
    groups = [
        [rows[group_N[rows] == group] for group in np.unique(group_N[rows])]
        for rows in frame.groupby("seed").indices.values()
    ]
    seeds = [
        [rows for rows in some if METRICS[name](label_N[rows], prob_NC[rows]) is not None]
        for some in groups
    ]
    value_R = np.concatenate(
        [
            np.mean(
                [resampled_over_groups(name, label_N, prob_NC, draw, some) for some in seeds], 0
            )
            for draw in resamples(person_N, num_persons, num_boot=num_boot, seed=0)
        ]
    )
    return metric_interval(name, value_R, mean, LEVEL)
