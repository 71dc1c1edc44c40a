"""Ranks of contenders over folds and seeds: Friedman's test, and Nemenyi's critical difference.

Demšar 2006, "Statistical comparisons of classifiers over multiple data sets", section 3.2.2. Folds
of one cohort share training patients and so are not independent, as the test supposes: read the
picture as a summary of ranks, and the paired intervals as the evidence.
"""

# F folds of all seeds, K contenders

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import friedmanchisquare, rankdata, studentized_range

from remind.benchmark.statistics import LOWER_IS_BETTER, title
from remind.cohort.extras import require
from remind.evaluation.colors import VERMILLION
from remind.evaluation.metrics import METRICS
from remind.evaluation.predictions import label_of, prob_of, write_whole

LEVEL = 0.05
MIN_RANKED = 3
"""Contenders from which on they are ranked."""


def ranks(frames: Mapping[str, pd.DataFrame], metric: str) -> dict[str, Any] | None:
    """Mean rank of each contender, 1 is best; None with fewer than three, or than two folds.

    Returns:
        metric, num_folds (those that define the metric for all), mean_ranks (best first), p of
        Friedman's test, critical_difference, and cliques: contenders that do not differ.
    """
    if len(frames) < MIN_RANKED:
        return None
    value_FK = np.array([_by_fold(frame, metric) for frame in frames.values()], dtype=float).T
    value_FK = value_FK[~np.isnan(value_FK).any(axis=1)]
    if len(value_FK) < 2:
        return None
    sign = 1 if metric in LOWER_IS_BETTER else -1
    rank_K = rankdata(sign * value_FK, axis=1).mean(axis=0)
    order = np.argsort(rank_K, kind="stable")
    names = list(frames)
    difference = critical_difference(len(names), len(value_FK))
    # Every fold a tie makes Friedman's statistic 0 / 0.
    is_tied = bool((value_FK == value_FK[:, :1]).all())
    return {
        "metric": metric,
        "num_folds": len(value_FK),
        "mean_ranks": {names[k]: float(rank_K[k]) for k in order},
        "p": 1.0 if is_tied else float(friedmanchisquare(*value_FK.T).pvalue),
        "critical_difference": difference,
        "cliques": [
            [names[k] for k in order[start:end]]
            for start, end in cliques(rank_K[order], difference)
        ],
    }


def critical_difference(num_contenders: int, num_folds: int) -> float:
    """q sqrt(K (K + 1) / (6 F)), q of the studentized range over sqrt(2), at 5%."""
    q = float(studentized_range.ppf(1 - LEVEL, num_contenders, math.inf)) / math.sqrt(2)
    return q * math.sqrt(num_contenders * (num_contenders + 1) / (6 * num_folds))


def cliques(rank_K: np.ndarray, difference: float) -> list[tuple[int, int]]:
    """Maximal runs [start, end) of at least two sorted ranks that span less than a difference."""
    runs: list[tuple[int, int]] = []
    for start in range(len(rank_K)):
        end = int(np.searchsorted(rank_K, rank_K[start] + difference, side="left"))
        if end - start > 1 and (not runs or end > runs[-1][1]):
            runs.append((start, end))
    return runs


def draw(result: Mapping[str, Any], path: str | Path) -> None:
    """Write the critical-difference diagram as SVG, the same bytes for the same ranks.

    Raises:
        InputError: matplotlib is absent.
    """
    matplotlib, module = require_pictures()
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "remind", "svg.fonttype": "none"}):
        _figure(module, result).savefig(buffer, format="svg", metadata={"Date": None})
    write_whole(path, lambda temporary: temporary.write_bytes(buffer.getvalue()))


def require_pictures() -> tuple[Any, Any]:
    """matplotlib and its module of figures.

    Raises:
        InputError: they are absent.
    """
    what = "the picture of ranks, drawn of three contenders and more,"
    return require("matplotlib", "benchmark", what), require("matplotlib.figure", "benchmark", what)


def _figure(module: Any, result: Mapping[str, Any]) -> Any:
    """Ranks on an axis, best on the left; a bar joins contenders that do not differ."""
    rank_of = result["mean_ranks"]
    num, num_bars = len(rank_of), len(result["cliques"])
    num_left = (num + 1) // 2
    depth = 0.5 + 0.3 * num_bars
    figure = module.Figure(figsize=(8, 1.3 + 0.28 * (num_left + num_bars)), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlim(1 - 0.15 * num, num + 0.15 * num)
    axes.set_ylim(-(depth + 0.55 * num_left + 0.2), 2.0)
    axes.set_axis_off()
    axes.plot([1, num], [0, 0], color="0.2", linewidth=1)
    for rank in range(1, num + 1):
        axes.plot([rank, rank], [0, 0.2], color="0.2", linewidth=1)
        axes.text(rank, 0.35, str(rank), ha="center", va="bottom", fontsize=8)
    for position, (name, rank) in enumerate(rank_of.items()):
        is_left = position < num_left
        row = position if is_left else num - 1 - position
        y, x = -(depth + 0.55 * row), 1 - 0.05 * num if is_left else num + 0.05 * num
        axes.plot([rank, rank, x], [0, y, y], color="0.45", linewidth=0.8)
        words = f"{name} ({rank:.2f})"
        axes.text(x, y, words, ha="right" if is_left else "left", va="center", fontsize=8)
    for row, names in enumerate(result["cliques"]):
        ends = [rank_of[names[0]] - 0.03, rank_of[names[-1]] + 0.03]
        axes.plot(ends, [-0.25 - 0.3 * row] * 2, color=VERMILLION, linewidth=3)
    span = result["critical_difference"]
    axes.plot([1, min(1 + span, num)], [1.4, 1.4], color=VERMILLION, linewidth=3)
    words = f"critical difference {span:.2f}; mean rank of {title(result['metric'])}"
    axes.text(1, 1.6, f"{words} over {result['num_folds']} folds", va="bottom", fontsize=8)
    return figure


def _by_fold(frame: pd.DataFrame, metric: str) -> list[float | None]:
    """The metric of each fold of each seed."""
    return [
        METRICS[metric](label_of(part), prob_of(part))
        for _, part in frame.groupby(["seed", "fold"])
    ]
