"""The pure function of the benchmark: a trial or a fit on one fold, with what it cost."""

# N patients

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from remind.benchmark.splits import SplitPlan, size_of_combination
from remind.benchmark.tuning import Params, Trial, tuned
from remind.cohort import Cohort
from remind.errors import InputError
from remind.evaluation.metrics import log_loss
from remind.evaluation.predictions import check_predictions, label_of, prob_of
from remind.methods import METHODS
from remind.training import Predictor, Run, Settings, fit_run


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """A trial, or a fit whose test patients are predicted.

    Args:
        name: of the contender.
        settings: before tuning, with the seed of the fit.
        params: that win over the settings.
        split: (N,) of the fold.
        plan: says which test patients are predicted; None for a trial.
    """

    name: str
    settings: Settings
    params: Params
    split: np.ndarray
    plan: SplitPlan | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """What a fit gives.

    Args:
        frame: predictions of the test patients, with the column "size": patients of the cohort
            that are observed in what this one is, before anything is hidden.
        cost: see `COSTS`.
        note: what the method had to do otherwise than published on these patients; mostly empty.
    """

    frame: pd.DataFrame
    cost: dict[str, float | None]
    note: str = ""


COSTS = {
    "parameters": "parameters",
    "seconds": "training seconds",
    "microseconds": "inference, µs per patient",
    "memory_mb": "peak memory, MB",
}
"""parameters: trained numbers, or splits and leaves of trees; seconds: of the fit; microseconds: of
the prediction of all test patients at once, reading of values included; memory_mb: most that the
process had resident, with Python, its libraries and the cohort."""


def perform(cohort: Cohort, task: Task) -> Trial | Fitted:
    """Do a task; a trial that the method refuses is one, a fit is not.

    Raises:
        InputError: the fit was refused, or what it predicts is no probability.
    """
    cohort = replace(cohort, split=task.split)
    if task.plan is None:
        return _trial(cohort, task)
    return _fit(cohort, task, task.plan)


def _trial(cohort: Cohort, task: Task) -> Trial:
    """The validation loss of early stopping; test patients are not looked at."""
    start = time.perf_counter()
    value, error = None, ""
    try:
        value = _validation_loss(_run(cohort, task), cohort)
    except InputError as refusal:
        error = str(refusal)
    seconds = time.perf_counter() - start
    return Trial(params=task.params, value=value, seconds=seconds, error=error)


def _fit(cohort: Cohort, task: Task, plan: SplitPlan) -> Fitted:
    start = time.perf_counter()
    run = _run(cohort, task)
    trained = time.perf_counter()
    frames = [
        run.predict(test).assign(split=shown_as) for shown_as, test in plan.tests(cohort).items()
    ]
    predicted = time.perf_counter()
    size = pd.Series(size_of_combination(cohort, cohort.present_NM), index=cohort.ids)
    frame = pd.concat(frames, ignore_index=True).assign(method=task.name)
    frame["size"] = size.loc[frame["id"]].to_numpy()
    check_predictions(frame)
    cost = {
        "parameters": num_parameters(run.predictor),
        "seconds": trained - start,
        "microseconds": 1e6 * (predicted - trained) / len(frame),
        "memory_mb": peak_memory_mb(),
    }
    note = getattr(getattr(run.predictor, "model", None), "note", "")
    return Fitted(frame=frame, cost=cost, note=note)


def _validation_loss(run: Run, cohort: Cohort) -> float | None:
    """The mean loss on the validation split, of the epoch that was kept.

    That of early stopping is of the logits that the objective adjusts: tuning would otherwise
    prefer the settings that learn least from such an objective.
    """
    frame = check_predictions(run.predictions("val", cohort))
    history = run.history
    if history is None:
        return log_loss(label_of(frame), prob_of(frame))
    return history.metrics[history.best_epoch - 1]["val_log_loss"]


def _run(cohort: Cohort, task: Task) -> Run:
    settings = tuned(task.settings, task.params)
    return fit_run(cohort, METHODS[settings.method], settings)


def num_parameters(predictor: Predictor) -> int | None:
    """Numbers that were learned: weights of networks, or splits and leaves of trees.

    None for a predictor that holds neither.
    """
    counts = [count for held in vars(predictor).values() for count in [_size(held)] if count]
    return sum(counts) or None


def peak_memory_mb() -> float | None:
    """Most memory that this process has had resident so far; None where nothing tells."""
    status = Path("/proc/self/status")
    if status.is_file():  # the high-water mark of this process alone, even after a fork
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024 / 1e6
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _size(held: Any) -> int:
    if isinstance(held, nn.Module):
        return sum(parameter.numel() for parameter in held.parameters())
    if hasattr(held, "trees_to_dataframe"):  # LightGBM and XGBoost: a row per split and per leaf
        return len(held.trees_to_dataframe())
    if hasattr(held, "get_tree_leaf_counts"):  # CatBoost: a split per level of a tree
        leaves_T = held.get_tree_leaf_counts()
        return int((leaves_T + np.log2(leaves_T)).sum())
    return 0
