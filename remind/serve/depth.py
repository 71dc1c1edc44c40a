"""Whether a prediction can be relied on: what the model never saw, and how it served such patients.

Three verdicts, from evidence only:

    out_of_depth  training had nobody with this combination of modalities, or a value is outside of
                  training: beyond the range of its column, or an unknown category, variable or code
    unsure        the conformal prediction set does not hold exactly one class; or test patients of
                  this band were served worse than all (the interval of a metric excludes what it is
                  over all); or the combination is rare and nobody measured how such are served
    sure          none of these

What was measured is what `remind evaluate` left in the run's folder.
"""

# N patients, C classes

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from remind.cohort import Groups
from remind.cohort.outside import Found
from remind.report.words import joined, patients

VERDICTS = ("sure", "unsure", "out_of_depth")
WORSE = {"auroc": -1, "log_loss": 1}
"""Metric -> the sign of a difference that is for the worse."""


def measured(evaluation: Mapping[str, Any] | None, band: str) -> dict[str, Any] | None:
    """How the patients of a band were served, and all: n, metrics, intervals; None if unknown."""
    if evaluation is None or not evaluation[band]["n"]:
        return None
    block, overall = evaluation[band], evaluation["overall"]
    figures = {
        metric: {"value": block[metric], "ci": block["ci"][metric], "overall": overall[metric]}
        for metric in ("auroc", "accuracy", "log_loss")
    }
    return {"split": evaluation["split"], "band": band, "n": block["n"], **figures}


def worse_by(figures: Mapping[str, Any] | None) -> list[str]:
    """The metrics whose interval in a band excludes what they are over all, for the worse."""
    if figures is None:
        return []
    return [
        metric
        for metric, sign in WORSE.items()
        if (some := figures[metric])["ci"] is not None
        and some["overall"] is not None
        and sign * (some["ci"][0 if sign > 0 else 1] - some["overall"]) > 0
    ]


def unseen_reason(groups: Groups, present_M: np.ndarray) -> str:
    """That training had nobody with these modalities, and the nearest combination that it had."""
    both_G = (groups.patterns_GM & present_M).sum(axis=1)
    near_G = both_G / (groups.patterns_GM | present_M).sum(axis=1)  # Jaccard similarity
    best = np.flatnonzero(near_G == near_G.max())
    nearest = int(best[groups.counts_G[best].argmax()])
    names, pattern_M = np.array(groups.modalities), groups.patterns_GM[nearest]
    has, lacks = names[pattern_M & ~present_M], names[present_M & ~pattern_M]
    differs = [f"has {joined(has.tolist())} too"] if len(has) else []
    differs += [f"lacks {joined(lacks.tolist())}"] if len(lacks) else []
    num = int(groups.counts_G[nearest])
    return (
        "no training patient was observed in exactly these modalities; the nearest combination "
        f"({patients(num)}) {' and '.join(differs)}"
    )


def outside_reasons(found: Sequence[Found]) -> list[str]:
    """What of a patient is outside of training, a sentence each."""
    return [
        f"{item.name} is beyond the range of training"
        if item.is_number
        else f"{item.name} has a category, variable or code that training does not know"
        for item in found
    ]


def judge(
    row: Mapping[str, Any],
    *,
    outside: Sequence[str],
    unseen: str,
    figures: Mapping[str, Any] | None,
    held: Sequence[str] | None,
    level: float,
) -> tuple[str, list[str]]:
    """The verdict on one prediction, and its reasons, a sentence each.

    Args:
        row: group, n_train and band of the patient.
        outside: see `outside_reasons`.
        unseen: see `unseen_reason`; read for the band unseen only.
        figures: see `measured`.
        held: classes of the prediction set, None if there is no such set.
        level: share of patients whose set holds the true class.
    """
    band = row["band"]
    out = [*([unseen] if band == "unseen" else []), *outside]
    unsure: list[str] = []
    worse = worse_by(figures)
    if held is not None and len(held) != 1:
        what = f"holds {joined(held)}" if held else "is empty: no class is probable enough"
        unsure.append(f"the {level:.0%} prediction set {what}")
    if worse:
        assert figures is not None
        unsure.append(_served(figures, worse[0]))
    elif band == "tail" and figures is None:
        unsure.append(
            f"{patients(int(row['n_train']))} of training had this combination, and how such "
            "are served was not measured (remind evaluate)"
        )
    verdict = "out_of_depth" if out else "unsure" if unsure else "sure"
    return verdict, out + unsure


def classes_held(set_NC: np.ndarray | None, classes: Sequence[str], row: int) -> list[str] | None:
    """The classes of a patient's prediction set."""
    if set_NC is None:
        return None
    return [name for c, name in enumerate(classes) if set_NC[row, c]]


def found_of(found: Sequence[Found], num_patients: int) -> list[list[Found]]:
    """What is outside of training, by patient."""
    by_patient: list[list[Found]] = [[] for _ in range(num_patients)]
    for item in found:
        for row in pd.unique(item.row_V).tolist():
            by_patient[row].append(item)
    return by_patient


def _served(figures: Mapping[str, Any], metric: str) -> str:
    some = figures[metric]
    name = {"auroc": "AUROC", "log_loss": "log loss"}[metric]
    low, high = some["ci"]
    return (
        f"{figures['split']} patients of the band {figures['band']} were served worse: {name} "
        f"{some['value']:.3f} ({low:.3f} to {high:.3f}), over all {some['overall']:.3f}"
    )
