"""Weighted means and contrasts of them, with bootstrap intervals by person."""

# N rows, P persons, F means, R resamples

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from remind.analyses.options import Options
from remind.evaluation.bootstrap import MIN_PERSONS, interval, resamples

Name = TypeVar("Name", bound=Hashable)
MeanName = TypeVar("MeanName", bound=Hashable)


class Mean(NamedTuple):
    """A weighted mean over rows.

    Args:
        person_N: whose row it is, 0..P-1.
        value_N: of each row.
        weight_N: of each row, >= 0.
    """

    person_N: np.ndarray
    value_N: np.ndarray
    weight_N: np.ndarray


def figures(
    means: Mapping[MeanName, Mean],
    contrasts: Mapping[Name, Mapping[MeanName, float]],
    num_persons: int,
    options: Options,
) -> dict[Name, dict[str, Any]]:
    """Return ``value`` and ``ci`` of every contrast.

    Persons are resampled, with all of their rows, in all means at once. A contrast of a mean that
    is not there or has no weight is None; one whose means rest on fewer than 10 persons has no
    interval.

    Args:
        means: by name.
        contrasts: by name, the sign of every mean in it.
        num_persons: P.
        options: bootstrap, level and seed.
    """
    above_PF, below_PF = (np.zeros((num_persons, len(means))) for _ in range(2))
    for f, mean in enumerate(means.values()):
        weighted_N = mean.weight_N * mean.value_N
        above_PF[:, f] = np.bincount(mean.person_N, weights=weighted_N, minlength=num_persons)
        below_PF[:, f] = np.bincount(mean.person_N, weights=mean.weight_N, minlength=num_persons)
    point_F = _ratio(above_PF.sum(axis=0), below_PF.sum(axis=0))
    draws = resamples(
        np.arange(num_persons), num_persons, num_boot=options.num_boot, seed=options.seed
    )
    mean_RF = np.concatenate([_ratio(draw @ above_PF, draw @ below_PF) for draw in draws])
    has_enough_F = (below_PF > 0).sum(axis=0) >= MIN_PERSONS
    position = {name: f for f, name in enumerate(means)}
    result = {}
    for name, signs in contrasts.items():
        used = [position[mean] for mean in signs if mean in position]
        if len(used) < len(signs) or np.isnan(point_F[used]).any():
            result[name] = {"value": None, "ci": None}
            continue
        sign_F = np.array(list(signs.values()))
        ci = (
            interval(mean_RF[:, used] @ sign_F, options.level) if has_enough_F[used].all() else None
        )
        result[name] = {"value": float(point_F[used] @ sign_F), "ci": ci}
    return result


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)
