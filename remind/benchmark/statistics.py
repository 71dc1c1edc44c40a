"""Contenders on the same patients: figures, paired differences, and Holm's adjustment.

A metric is computed per seed on all folds together and averaged over seeds: those of a contender,
and for a difference those that both have. Persons are resampled, the same ones for every contender
and seed, so differences are paired; conventions and p-values are those of
`remind.evaluation.compare`. The replicates are kept: means of them over cohorts are the replicates
of the mean (`pooled`). No torch here.
"""

# N rows (a patient under a seed and a shift), n of a block, A of a seed, R resamples, C classes

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from remind.errors import InputError, did_you_mean
from remind.evaluation.bootstrap import (
    MIN_PERSONS,
    centered,
    interval,
    person_codes,
    resampled,
    resamples,
)
from remind.evaluation.compare import mean_if_all, p_value
from remind.evaluation.metrics import METRICS
from remind.evaluation.predictions import label_of, prob_of

ALL, UNSEEN, HIDDEN = "all", "unseen", "hidden"
TEST, WITHOUT = "test", "without "
"""Splits of predictions: "test" as observed, or "test without X", whose block is "without X"."""
KEYS = ["seed", "split", "id"]
LOWER_IS_BETTER = ("log_loss", "brier", "ece")
TITLES = {"auroc": "AUROC", "auprc": "AUPRC", "f1": "F1", "f1_macro": "macro F1", "ece": "ECE"}
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """Contenders' predictions, row by row of the same patients.

    Args:
        ids: (N,) of patients.
        label_N: true classes.
        person_N, seed_N: whose row it is, and under which seed.
        probs: contender -> (N, C); NaN under seeds that it has not.
        seeds: contender -> the seeds that it has.
        blocks: name -> rows; HIDDEN are those from which a modality was hidden, "without X" those
            of one of several, and the other blocks are of patients as they were observed.
    """

    ids: np.ndarray
    label_N: np.ndarray
    person_N: np.ndarray
    seed_N: np.ndarray
    probs: dict[str, np.ndarray]
    seeds: dict[str, list[int]]
    blocks: dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True, eq=False)
class Replicates:
    """A metric or a difference in a block, the mean over seeds or cohorts.

    Args:
        point: of the patients; None if it is undefined.
        value_R: the same in each resample, NaN where undefined; None with too few persons.
    """

    point: float | None
    value_R: np.ndarray | None

    @property
    def ci(self) -> list[float] | None:
        """The 95% interval."""
        return None if self.value_R is None else interval(self.value_R, LEVEL)

    @property
    def p(self) -> float | None:
        """Two-sided, of being 0."""
        return None if self.value_R is None else p_value(self.value_R)


UNDEFINED = Replicates(point=None, value_R=None)


@dataclass(frozen=True, kw_only=True, eq=False)
class BySeed:
    """A metric of a contender in a block, seed by seed.

    Args:
        metric: its name.
        points: seed -> the metric; None if it is undefined.
        values: seed -> the same in each resample (R,); empty with too few persons.
        persons: seed -> codes of the persons in the block.
    """

    metric: str
    points: dict[int, float | None]
    values: dict[int, np.ndarray]
    persons: dict[int, np.ndarray]

    def mean(self) -> Replicates:
        """Over its seeds."""
        return self._mean(self.points, self.values)

    def minus(self, other: "BySeed") -> Replicates:
        """The paired difference over the seeds that both have; undefined without one."""
        both = [seed for seed in self.points if seed in other.points]
        pairs = {seed: (self.points[seed], other.points[seed]) for seed in both}
        points = {seed: None if a is None or b is None else a - b for seed, (a, b) in pairs.items()}
        has_values = bool(self.values and other.values)
        values = {seed: self.values[seed] - other.values[seed] for seed in both if has_values}
        return self._mean(points, values)

    def _mean(
        self, points: Mapping[int, float | None], values: Mapping[int, np.ndarray]
    ) -> Replicates:
        point = mean_if_all(list(points.values())) if points else None
        persons = {person for seed in values for person in self.persons[seed].tolist()}
        if point is None or len(persons) < MIN_PERSONS:
            return Replicates(point=point, value_R=None)
        value_R = np.mean(list(values.values()), axis=0)
        return Replicates(point=point, value_R=centered(self.metric, value_R, point))


Measured = dict[str, dict[str, dict[str, BySeed]]]
"""Block -> metric -> contender -> its figures."""


def make_panel(frames: Mapping[str, pd.DataFrame], names: Sequence[str]) -> Panel:
    """The panel of contenders.

    Args:
        frames: contender -> predictions of all folds of one seed or more, with the column "block".
        names: of the blocks by size, in the order to show them.

    Raises:
        InputError: the contenders were not predicted for the same patients.
    """
    ordered = {name: frame.sort_values(KEYS, ignore_index=True) for name, frame in frames.items()}
    seeds = {name: sorted(set(frame["seed"].tolist())) for name, frame in ordered.items()}
    owner = {seed: name for name in reversed(ordered) for seed in seeds[name]}
    every = pd.concat(
        [ordered[owner[seed]].loc[lambda f, s=seed: f["seed"] == s] for seed in sorted(owner)],
        ignore_index=True,
    )
    for name, frame in ordered.items():
        own = every.loc[every["seed"].isin(seeds[name]), [*KEYS, "label"]]
        if not frame[[*KEYS, "label"]].equals(own.reset_index(drop=True)):
            first = owner[seeds[name][0]]
            raise InputError(f"{name} and {first} were not predicted for the same patients")
    block, split = every["block"].to_numpy(), every["split"].to_numpy()
    is_whole_N = split == TEST
    blocks = {ALL: np.flatnonzero(is_whole_N)}
    blocks |= {name: np.flatnonzero(is_whole_N & (block == name)) for name in names}
    blocks[UNSEEN] = np.flatnonzero(is_whole_N & (every["band"].to_numpy() == UNSEEN))
    blocks[HIDDEN] = np.flatnonzero(~is_whole_N)
    hidden = [name for name in dict.fromkeys(split.tolist()) if name != TEST]
    if len(hidden) > 1:
        blocks |= {name.removeprefix(f"{TEST} "): np.flatnonzero(split == name) for name in hidden}
    seed_N = every["seed"].to_numpy()
    return Panel(
        ids=every["id"].to_numpy(),
        label_N=label_of(every),
        person_N=every["person"].to_numpy(),
        seed_N=seed_N,
        probs={name: _spread(frame, seed_N) for name, frame in ordered.items()},
        seeds=seeds,
        blocks={name: rows for name, rows in blocks.items() if len(rows)},
    )


def measure(panel: Panel, metrics: Sequence[str], *, num_boot: int, seed: int) -> Measured:
    """Every metric of every contender in every block, with replicates.

    Args:
        panel: of contenders.
        metrics: names out of `METRICS`.
        num_boot: resamples of persons.
        seed: of the resamples.

    Raises:
        InputError: there is no such metric.
    """
    for name in metrics:
        if name not in METRICS:
            raise InputError(f'there is no metric "{name}"{did_you_mean(name, METRICS)}')
    return {
        name: _measure_block(panel, rows, metrics, num_boot, seed)
        for name, rows in panel.blocks.items()
    }


def figures(measured: Measured, reference: str) -> dict[str, dict[str, dict[str, Any]]]:
    """Block -> contender -> metric -> mean, ci, and what it has beyond the reference.

    The latter is difference, difference_ci, p and p_holm, adjusted over the contenders of a block
    and metric; the reference has None there.
    """
    result: dict[str, dict[str, dict[str, Any]]] = {}
    for block, by_metric in measured.items():
        result[block] = {}
        for metric, by_name in by_metric.items():
            beyond = {
                name: value.minus(by_name[reference])
                for name, value in by_name.items()
                if name != reference
            }
            adjusted = holm({name: value.p for name, value in beyond.items()})
            for name, own in by_name.items():
                value, difference = own.mean(), beyond.get(name, UNDEFINED)
                result[block].setdefault(name, {})[metric] = {
                    "mean": value.point,
                    "ci": value.ci,
                    "difference": difference.point,
                    "difference_ci": difference.ci,
                    "p": difference.p,
                    "p_holm": adjusted.get(name),
                }
    return result


def holm(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """p-values adjusted so that the chance of any false finding is kept (Holm 1979).

    The j-th smallest of k is multiplied by k - j + 1, and none is below one before it. What is
    undefined stays so and does not count.
    """
    defined = sorted((p, name) for name, p in p_values.items() if p is not None)
    adjusted: dict[str, float | None] = dict.fromkeys(p_values)
    highest = 0.0
    for position, (p, name) in enumerate(defined):
        highest = max(highest, min(1.0, p * (len(defined) - position)))
        adjusted[name] = highest
    return adjusted


def title(metric: str) -> str:
    """A metric in words."""
    return TITLES.get(metric, metric.replace("_", " "))


def is_better(metric: str, difference: float) -> bool:
    """Whether a difference is to the good."""
    return difference < 0 if metric in LOWER_IS_BETTER else difference > 0


def bootstrap_seed(fingerprint: str) -> int:
    """The seed of a cohort's resamples: those of two cohorts are drawn apart."""
    return int(fingerprint[:8], 16)


def _spread(frame: pd.DataFrame, seed_N: np.ndarray) -> np.ndarray:
    """(N, C) probabilities of a contender at its rows of the panel, NaN at others."""
    own = prob_of(frame)
    prob_NC = np.full((len(seed_N), own.shape[1]), np.nan)
    prob_NC[np.isin(seed_N, frame["seed"].to_numpy())] = own
    return prob_NC


def _measure_block(
    panel: Panel, rows: np.ndarray, metrics: Sequence[str], num_boot: int, seed: int
) -> dict[str, dict[str, BySeed]]:
    """The metrics of every contender; a seed under which nobody is in the block does not count."""
    label_n, seed_n = panel.label_N[rows], panel.seed_N[rows]
    at_of = {value: np.flatnonzero(seed_n == value) for value in np.unique(seed_n).tolist()}
    probs = {name: prob_NC[rows] for name, prob_NC in panel.probs.items()}
    points = {
        (metric, name, value): METRICS[metric](label_n[at], probs[name][at])
        for metric in metrics
        for name in probs
        for value, at in at_of.items()
        if value in panel.seeds[name]
    }
    code_n, _ = person_codes(panel.person_N[rows])
    persons = {value: np.unique(code_n[at]) for value, at in at_of.items()}
    value_R = _resampled(code_n, label_n, probs, at_of, list(points), num_boot, seed)
    return {
        metric: {
            name: BySeed(
                metric=metric,
                points={v: points[m, n, v] for m, n, v in points if (m, n) == (metric, name)},
                values={v: value_R[m, n, v] for m, n, v in value_R if (m, n) == (metric, name)},
                persons=persons,
            )
            for name in probs
        }
        for metric in metrics
    }


def _resampled(
    code_n: np.ndarray,
    label_n: np.ndarray,
    probs: Mapping[str, np.ndarray],
    at_of: Mapping[int, np.ndarray],
    wanted: Sequence[tuple[str, str, int]],
    num_boot: int,
    seed: int,
) -> dict[tuple[str, str, int], np.ndarray]:
    """(metric, contender, seed) -> the metric in each resample (R,)."""
    num_persons = int(code_n.max()) + 1
    if num_persons < MIN_PERSONS:
        return {}
    chunks: dict[tuple[str, str, int], list[np.ndarray]] = {key: [] for key in wanted}
    for weight_Rn in resamples(code_n, num_persons, num_boot=num_boot, seed=seed):
        weights = {value: weight_Rn[:, at] for value, at in at_of.items()}
        for metric, name, value in wanted:
            at = at_of[value]
            chunks[metric, name, value].append(
                resampled(metric, label_n[at], probs[name][at], weights[value])
            )
    return {key: np.concatenate(parts) for key, parts in chunks.items()}
