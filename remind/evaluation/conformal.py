"""Conformal prediction sets: enough classes to hold the true one 1 - alpha of the time.

Split conformal prediction (Vovk et al. 2005) on crepes: the score of a class is 1 - its
probability, and a class is in the set of a patient unless its score is among the alpha highest of
the calibration patients. Three ways to choose the calibration patients of a patient:

    plain  all. The promise holds on average over patients, and rare ones may pay for common ones.
    band   those of the same band (Mondrian). The promise holds in every band.
    group  those of the same combination, and while there are fewer than `min_calibration`, those of
           the next nearest combinations by Jaccard similarity, all at one distance together;
           in the end all. The promise holds for the pool, and for the group as far as its
           neighbours are like it.

Validation patients calibrate. They also chose the best epoch, which makes sets too small by far
less than the figures' intervals.
"""

# N rows to predict, V calibration rows, C classes, U combinations, P pools of calibration rows

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import betabinom

from remind.errors import InputError
from remind.evaluation.bootstrap import NUM_BOOT, check_bootstrap, person_codes
from remind.evaluation.predictions import (
    BANDS,
    check_predictions,
    classes_of,
    label_of,
    prob_of,
)
from remind.evaluation.proportions import clopper_pearson, share_interval

WAYS = ("plain", "band", "group")
MIN_CALIBRATION = 50
"""Calibration patients from which on coverage varies by less than about 0.04 (Beta law, 0.9)."""


class Pools(NamedTuple):
    """Whose scores a row is compared with.

    Attributes:
        rows: P arrays of calibration rows.
        pool_N: the pool of each row to predict.
        source_P: "own" (band or combination), "neighbours" or "all".
    """

    rows: list[np.ndarray]
    pool_N: np.ndarray
    source_P: list[str]


def conformal(
    calibration: pd.DataFrame,
    predictions: pd.DataFrame,
    *,
    alpha: float = 0.1,
    ways: Sequence[str] = WAYS,
    min_calibration: int = MIN_CALIBRATION,
    num_boot: int = NUM_BOOT,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any]:
    """Coverage and size of the prediction sets, overall and by band, for each way.

    Args:
        calibration: validation predictions of one method and seed.
        predictions: of the same model, for other patients.
        alpha: share of patients whose set may miss the true class, in (0, 1).
        ways: some of `WAYS`.
        min_calibration: see above, >= 1.
        num_boot: resamples of persons, where a person has several rows.
        seed: of the resamples.
        level: of the intervals.

    Returns:
        JSON: ``ways`` holds per way a block for overall and each band: ``n``, ``coverage``, ``ci``
        (Clopper-Pearson over these patients; bootstrap by person where one has several rows, see
        `share_interval`), ``expected`` (where a valid method's coverage falls in `level` of
        repetitions, calibration included; None where pools overlap or a person has several rows),
        ``mean_size``, ``empty`` and ``single`` (shares of sets of that size), ``calibrated_by``
        (how many patients had their own, neighbours', or all calibration patients).

    Raises:
        InputError: a table breaks its contract, classes differ, or crepes is not installed.
        ValueError: alpha, min_calibration, num_boot or level out of range, or an unknown way.
    """
    check_bootstrap(num_boot, level)
    for way in ways:
        if way not in WAYS:
            raise ValueError(f'there is no way "{way}" (there are {", ".join(WAYS)})')
    options: dict[str, Any] = {"num_boot": num_boot, "seed": seed, "level": level}
    report = {
        way: _report(calibration, predictions, way, alpha, min_calibration, **options)
        for way in ways
    }
    return {
        "alpha": alpha,
        "score": "1 - probability of the class",
        "num_calibration": len(calibration),
        "min_calibration": min_calibration,
        "level": level,
        "ways": report,
    }


def prediction_sets(
    calibration: pd.DataFrame,
    predictions: pd.DataFrame,
    *,
    alpha: float = 0.1,
    way: str = "group",
    min_calibration: int = MIN_CALIBRATION,
) -> np.ndarray:
    """Return which classes are in each patient's set, bool (N, C), in the order of `classes_of`.

    Labels of `predictions` are not read. Arguments and errors are those of `conformal`.
    """
    _check(calibration, predictions, alpha, min_calibration)
    pools = make_pools(calibration, predictions, way, min_calibration)
    return _sets(calibration, predictions, pools, alpha)


def make_pools(
    calibration: pd.DataFrame, predictions: pd.DataFrame, way: str, min_calibration: int
) -> Pools:
    """The calibration rows of every row to predict; a pool that is too small is widened."""
    everyone = np.arange(len(calibration))
    if way == "plain":
        return Pools([everyone], np.zeros(len(predictions), dtype=np.int64), ["own"])
    name_U, pool_N = np.unique(predictions[way].to_numpy().astype(str), return_inverse=True)
    rows_of = calibration.groupby(way).indices
    if way == "band":
        rows = [rows_of.get(name, everyone[:0]) for name in name_U.tolist()]
        enough = [len(some) >= min_calibration for some in rows]
        rows = [some if ok else everyone for some, ok in zip(rows, enough, strict=True)]
        return Pools(rows, pool_N, ["own" if ok else "all" for ok in enough])
    return _lattice_pools(name_U.tolist(), rows_of, pool_N, len(calibration), min_calibration)


def _lattice_pools(
    names: list[str],
    rows_of: dict[Any, np.ndarray],
    pool_N: np.ndarray,
    num_calibration: int,
    min_calibration: int,
) -> Pools:
    """Each combination with its nearest ones until there are enough rows."""
    known = [str(name) for name in rows_of]
    rows_by_group = list(rows_of.values())
    size_V = np.array([len(rows) for rows in rows_by_group])
    near_UV = jaccard(names, known)
    rows: list[np.ndarray] = []
    sources: list[str] = []
    for near_V in near_UV:
        order_V = np.argsort(-near_V, kind="stable")
        reached = int(np.searchsorted(size_V[order_V].cumsum(), min_calibration))
        last = order_V[min(reached, len(order_V) - 1)]
        taken = np.flatnonzero(near_V >= near_V[last])
        pool = np.sort(np.concatenate([rows_by_group[v] for v in taken]))
        rows.append(pool)
        own = len(taken) == 1 and near_V[last] == 1.0
        is_all = len(pool) == num_calibration
        sources.append("own" if own else "all" if is_all else "neighbours")
    return Pools(rows, pool_N, sources)


def jaccard(names: Sequence[str], others: Sequence[str]) -> np.ndarray:
    """Jaccard similarity (U, V) of combinations by their names, such as ``'labs+vitals'``."""
    parts, other_parts = ([set(name.split("+")) for name in some] for some in (names, others))
    index = {part: i for i, part in enumerate(sorted(set().union(*parts, *other_parts)))}
    bits_UM, bits_VM = _bits(parts, index), _bits(other_parts, index)
    both_UV = bits_UM @ bits_VM.T
    return both_UV / (bits_UM.sum(axis=1)[:, None] + bits_VM.sum(axis=1) - both_UV)


def _bits(parts: list[set[str]], index: dict[str, int]) -> np.ndarray:
    bits = np.zeros((len(parts), len(index)))
    for row, some in enumerate(parts):
        bits[row, [index[part] for part in some]] = 1.0
    return bits


def _sets(
    calibration: pd.DataFrame, predictions: pd.DataFrame, pools: Pools, alpha: float
) -> np.ndarray:
    """One Mondrian classifier, a category per pool; a row may calibrate several pools."""
    crepes = _crepes()
    prob_VC, label_V = prob_of(calibration), label_of(calibration)
    score_V = 1 - prob_VC[np.arange(len(label_V)), label_V]
    taken = np.concatenate(pools.rows)
    category = np.repeat(np.arange(len(pools.rows)), [len(rows) for rows in pools.rows])
    classifier = crepes.ConformalClassifier().fit(score_V[taken], bins=category)
    p_NC = classifier.predict_p(1 - prob_of(predictions), bins=pools.pool_N, smoothing=False)
    return np.asarray(p_NC) > alpha


def _report(
    calibration: pd.DataFrame,
    predictions: pd.DataFrame,
    way: str,
    alpha: float,
    min_calibration: int,
    **options: Any,
) -> dict[str, Any]:
    _check(calibration, predictions, alpha, min_calibration)
    check_predictions(predictions)
    pools = make_pools(calibration, predictions, way, min_calibration)
    set_NC = _sets(calibration, predictions, pools, alpha)
    label_N, band_N = label_of(predictions), predictions["band"].to_numpy()
    person_N = predictions["person"].to_numpy()
    is_repeated = _is_repeated(calibration["person"].to_numpy())
    blocks = {"overall": np.ones(len(predictions), dtype=bool)} | {
        band: band_N == band for band in BANDS
    }
    return {
        name: _coverage(set_NC[some], label_N[some], person_N[some], **options)
        | _calibrated_by(pools, some)
        | {
            "expected": None
            if is_repeated or _is_repeated(person_N[some])
            else _expected(pools, way, name, some, alpha, options["level"])
        }
        for name, some in blocks.items()
    }


def _coverage(
    set_NC: np.ndarray, label_N: np.ndarray, person_N: np.ndarray, **options: Any
) -> dict[str, Any]:
    num = len(label_N)
    hit_N = set_NC[np.arange(num), label_N]
    size_N = set_NC.sum(axis=1)
    shares = {
        "mean_size": float(size_N.mean()) if num else None,
        "empty": float((size_N == 0).mean()) if num else None,
        "single": float((size_N == 1).mean()) if num else None,
    }
    return {
        "n": num,
        "coverage": float(hit_N.mean()) if num else None,
        "ci": share_interval(hit_N, person_N, clopper_pearson, **options),
        **shares,
    }


def _is_repeated(person_N: np.ndarray) -> bool:
    """Whether a person has several rows: these are not exchangeable with those of others."""
    return person_codes(person_N)[1] < len(person_N)


def _calibrated_by(pools: Pools, some: np.ndarray) -> dict[str, Any]:
    source_N = np.array(pools.source_P)[pools.pool_N[some]]
    counts = {name: int((source_N == name).sum()) for name in ("own", "neighbours", "all")}
    return {"calibrated_by": counts}


def _expected(
    pools: Pools, way: str, block: str, some: np.ndarray, alpha: float, level: float
) -> list[float] | None:
    """The central range of coverage if patients are exchangeable: hits are beta-binomial.

    The true class is in unless its score exceeds the l-th highest of n calibration scores,
    l = floor(alpha (n + 1)), so coverage is Beta(n + 1 - l, l) over calibration sets (Vovk 2012).
    """
    used = np.unique(pools.pool_N[some])
    is_own_block = block == "overall" if way == "plain" else way == "band" and block != "overall"
    if not is_own_block or len(used) != 1 or pools.source_P[used[0]] != "own":
        return None
    num, num_calibration = int(some.sum()), len(pools.rows[used[0]])
    missed = int(np.floor(alpha * (num_calibration + 1)))
    if missed == 0:
        return [1.0, 1.0]
    law = betabinom(num, num_calibration + 1 - missed, missed)
    return [float(law.ppf(tail)) / num for tail in ((1 - level) / 2, (1 + level) / 2)]


def _check(
    calibration: pd.DataFrame, predictions: pd.DataFrame, alpha: float, min_calibration: int
) -> None:
    check_predictions(calibration)
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, got {alpha}")
    if min_calibration < 1:
        raise ValueError(f"min_calibration must be at least 1, got {min_calibration}")
    if classes_of(calibration) != classes_of(predictions):
        raise InputError(
            f"prediction sets need the same classes in calibration and predictions, got "
            f"{classes_of(calibration)} and {classes_of(predictions)}: take both from one model"
        )


def _crepes() -> Any:
    try:
        return importlib.import_module("crepes")
    except ImportError as error:
        raise InputError(
            "prediction sets need crepes, which is not installed: pip install 'remind-med[report]'"
        ) from error
