"""What would help: which missing modality is worth acquiring, for a patient and for a group.

The model of gains is `gains.GainModel`, fitted on validation patients. Here it makes ranked lists,
and is held against other patients: every modality that they have is hidden in turn, and what the
run loses by that is compared with what was expected.
"""

# N pairs of patient and modality, B patients, M modalities, V combinations

from typing import Any

import numpy as np
import pandas as pd

from remind.analyses.gains import MAX_PATIENTS, Factors, GainModel, entropy, hide_each
from remind.analyses.masked import probabilities
from remind.analyses.options import Options
from remind.analyses.validation import validate_gains
from remind.cohort import Cohort, Groups
from remind.errors import InputError
from remind.evaluation.bootstrap import interval
from remind.training import Run

MAX_GROUPS = 30
"""Groups that are listed, those with most patients."""


def acquisition(run: Run, cohort: Cohort, options: Options) -> dict[str, Any]:
    """Ranked lists of what would help, and how far they can be trusted.

    Args:
        run: any method's.
        cohort: that it was fitted on, with validation patients.
        options: split, bootstrap, level and seed.

    Returns:
        JSON: ``groups``, each with ``gains``, a list of ``modality``, ``gain`` (nats per patient),
        ``ci`` and ``evidence`` (validation patients, counted by nearness), best first;
        ``modalities``, the same for everyone who lacks one, with what hiding it cost others;
        ``validation`` on the split, see `validate_gains`.

    Raises:
        InputError: the split is that of training or of validation, or nobody in either has two
            modalities.
    """
    options.check_not_fitted_on(("train",), "the run")
    options.check_not_fitted_on(("val",), "the model of gains")
    model = fit_gains(run, cohort, options)
    rows = cohort.rows(options.split)
    pairs = hide_each(run, cohort, rows)
    if not len(pairs):
        raise InputError(_nobody(options.split))
    patterns_VM, which_B = np.unique(cohort.present_NM[rows], axis=0, return_inverse=True)
    which_B = which_B.ravel()
    entropy_B = entropy(probabilities(run.predictor, cohort.select(rows)))
    factors = model.factors(patterns_VM)
    num_V = np.bincount(which_B)
    entropy_V = np.bincount(which_B, weights=entropy_B)
    validation, hidden = validate_gains(model, pairs, run.encoding.modalities, options)
    return {
        "split": options.split,
        "unit": "nats of log loss per patient",
        "scale": {
            "value": float(model.scale_R[0]),
            "ci": interval(model.scale_R[1:], options.level),
        },
        "groups": _groups(run.encoding.groups, patterns_VM, num_V, entropy_V, factors),
        "modalities": _modalities(run.encoding.modalities, num_V, entropy_V, factors, hidden),
        "validation": validation,
    }


def fit_gains(run: Run, cohort: Cohort, options: Options) -> GainModel:
    """Fit the model of gains on the validation patients of a cohort.

    Raises:
        InputError: nobody in validation has two modalities.
    """
    rows = np.random.default_rng(options.seed).permutation(cohort.rows("val"))[:MAX_PATIENTS]
    pairs = hide_each(run, cohort, rows)
    if not len(pairs):
        raise InputError(_nobody("val"))
    return GainModel.fit(pairs, options)


def what_would_help(run: Run, patients: Cohort, model: GainModel) -> pd.DataFrame:
    """For every patient the modalities they lack, best first.

    Args:
        run: whose predictions are to improve.
        patients: a cohort or a table to predict.
        model: of `fit_gains` for the same run.

    Returns:
        Columns id, modality, gain (nats), low, high, evidence; a row per patient and missing
        modality, in the order of the patients; NaN, and last, where nobody knows.
    """
    patterns_VM, which_B = np.unique(patients.present_NM, axis=0, return_inverse=True)
    factors = model.factors(patterns_VM)
    entropy_B = entropy(probabilities(run.predictor, patients))
    patient, modality = np.nonzero(~patients.present_NM)
    at = which_B.ravel()[patient], modality
    table = pd.DataFrame(
        {
            "id": patients.ids[patient],
            "modality": np.array(run.encoding.modalities)[modality],
            "gain": factors.value[at] * entropy_B[patient],
            "low": factors.low[at] * entropy_B[patient],
            "high": factors.high[at] * entropy_B[patient],
            "evidence": factors.evidence[at],
            "patient": patient,
        }
    )
    order = table.sort_values(["patient", "gain"], ascending=[True, False], kind="stable")
    return order.drop(columns="patient").reset_index(drop=True)


def _groups(
    groups: Groups,
    patterns_VM: np.ndarray,
    num_V: np.ndarray,
    entropy_V: np.ndarray,
    factors: Factors,
) -> list[dict[str, Any]]:
    """Groups that lack something, most patients first."""
    lacking = [v for v in np.argsort(-num_V, kind="stable") if not patterns_VM[v].all()]
    listed = np.array(lacking[:MAX_GROUPS], dtype=np.int64)
    return [
        {
            "group": name,
            "n": int(num_V[v]),
            "n_train": int(n_train),
            "entropy": float(entropy_V[v] / num_V[v]),
            "gains": _ranked(groups.modalities, factors, v, float(entropy_V[v] / num_V[v])),
        }
        for v, name, n_train in zip(
            listed.tolist(),
            groups.names(patterns_VM[listed]),
            groups.n_train(patterns_VM[listed]),
            strict=True,
        )
    ]


def _ranked(
    modalities: tuple[str, ...], factors: Factors, v: int, mean_entropy: float
) -> list[dict[str, Any]]:
    gains = [
        {
            "modality": modalities[m],
            "gain": float(factors.value[v, m] * mean_entropy),
            "ci": _bounds(factors.low[v, m] * mean_entropy, factors.high[v, m] * mean_entropy),
            "evidence": float(factors.evidence[v, m]),
        }
        for m in np.flatnonzero(~np.isnan(factors.value[v])).tolist()
    ]
    return sorted(gains, key=lambda item: -item["gain"])


def _modalities(
    modalities: tuple[str, ...],
    num_V: np.ndarray,
    entropy_V: np.ndarray,
    factors: Factors,
    hidden: dict[str, dict[str, Any]],
) -> list[dict[str, Any]]:
    """Every modality that somebody lacks or has beside another one, most gain first."""
    listed = []
    for m, name in enumerate(modalities):
        lack_V = ~np.isnan(factors.value[:, m])
        num = int(num_V[lack_V].sum())
        gain = float(factors.value[lack_V, m] @ entropy_V[lack_V] / num) if num else None
        listed.append({"modality": name, "lacking": num, "gain": gain, "hidden": hidden.get(name)})
    return sorted(listed, key=lambda item: -np.inf if item["gain"] is None else -item["gain"])


def _bounds(low: float, high: float) -> list[float] | None:
    return None if np.isnan(low) else [float(low), float(high)]


def _nobody(split: str) -> str:
    return (
        f'nobody in the split "{split}" has two modalities, so none can be hidden to see what it '
        "is worth: give a cohort in which patients have several"
    )
