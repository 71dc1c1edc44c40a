"""References: what can be known about rare combinations, with plenty of patients to learn from.

Trees learn from common training patients masked down to the combinations in question, many copies
of many patients. Two references come of them, whatever kind of model the run is:

    common  (1 - w) own + w trees, w fitted on masked common validation patients, where it is no
            worse than the run
    rare    softmax(a + b log own + c log trees): the run, corrected by what common patients know,
            and put at the rare patients' own level of risk. Fitted on rare validation patients and
            on four fifths of the rare patients in question, and used for the other fifth, fold by
            fold of persons, so that nobody is predicted with the help of their own label. A ridge
            towards the run itself, a = 0, b = 1, c = 0, is chosen by cross-validation in turn, so
            that a run that is right is left as it is
"""

# N rows, M modalities, U combinations, C classes

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from remind.analyses.masked import draw_combinations, observed_in, probabilities
from remind.baselines.lightgbm import LightGBMConfig, fit_lightgbm
from remind.cohort import Cohort
from remind.evaluation.bootstrap import person_codes
from remind.evaluation.metrics import log_loss_of_rows
from remind.training import Predictor, Run

MAX_PATIENTS = 20_000
"""Patients that a reference learns from."""
COPIES = 4
"""Masked copies of each, beside the patient as observed."""
LEARNING_RATE = 0.06  # the peer's own is finer than a reference needs
WEIGHTS = np.linspace(0.0, 1.0, 21)
RIDGES = (1.0, 10.0, 100.0)
FOLDS = 5
FLOOR = 1e-6  # probabilities are kept above it, so that their logarithms are finite


class Known(NamedTuple):
    """Rows that a stack can be fitted on: log own and log trees (N, C), label and person (N,)."""

    own_NC: np.ndarray
    trees_NC: np.ndarray
    label_N: np.ndarray
    person_N: np.ndarray

    def select(self, some: np.ndarray) -> "Known":
        """Some of the rows."""
        return Known(*(part[some] for part in self))


@dataclass(frozen=True)
class Reference:
    """The run's predictor and trees, and how they are mixed.

    Args:
        own: the run's.
        trees: fitted on masked common patients.
        weight: w of the trees, in [0, 1].
        validation: rare validation patients.
    """

    own: Predictor
    trees: Predictor
    weight: float
    validation: Known

    def common(self, own_NC: np.ndarray, trees_NC: np.ndarray) -> np.ndarray:
        """Probabilities of the reference for common patients."""
        return (1 - self.weight) * own_NC + self.weight * trees_NC

    def rare(
        self, own_NC: np.ndarray, trees_NC: np.ndarray, label_N: np.ndarray, person_N: np.ndarray
    ) -> np.ndarray:
        """Probabilities of the reference for these rare patients, each out of fold."""
        known = Known(_log(own_NC), _log(trees_NC), label_N, person_N.astype(str))
        fold_N = person_codes(known.person_N)[0] % FOLDS
        prob_NC = np.empty_like(own_NC)
        for fold in range(FOLDS):
            out = known.select(fold_N == fold)
            others = known.select(fold_N != fold)
            both = zip(self.validation, others, strict=True)
            stack = _fit_stack(Known(*(np.concatenate(parts) for parts in both)))
            prob_NC[fold_N == fold] = softmax(_logits(stack, out), axis=1)
        return prob_NC


def fit_reference(
    run: Run, cohort: Cohort, patterns_UM: np.ndarray, counts_U: np.ndarray, *, seed: int = 0
) -> Reference:
    """Fit the references for some combinations.

    Args:
        run: whose predictor is mixed in, and whose training groups say who is common (band head).
        cohort: that it was fitted on; its splits train and val are used.
        patterns_UM: the combinations, bool, U >= 1.
        counts_U: how often each is wanted, > 0.
        seed: of draws and trees.
    """
    rng = np.random.default_rng(seed)
    copies, is_val_N = _masked_copies(run, cohort, patterns_UM, counts_U, rng)
    trees = fit_lightgbm(
        copies,
        run.encoding,
        LightGBMConfig(learning_rate=LEARNING_RATE),
        train_rows=np.flatnonzero(~is_val_N),
        val_rows=np.flatnonzero(is_val_N),
        seed=seed,
    )
    weight = _fit_weight(run.predictor, trees, copies.select(np.flatnonzero(is_val_N)))
    rare = cohort.select(_rows(run, cohort, "val", rng, is_common=False))
    assert rare.label_N is not None
    own_NC, trees_NC = probabilities(run.predictor, rare), probabilities(trees, rare)
    validation = Known(_log(own_NC), _log(trees_NC), rare.label_N, rare.person.astype(str))
    return Reference(run.predictor, trees, weight, validation)


def _rows(
    run: Run, cohort: Cohort, split: str, rng: np.random.Generator, *, is_common: bool
) -> np.ndarray:
    rows = cohort.rows(split)
    is_head_N = run.encoding.groups.band(cohort.present_NM[rows]) == "head"
    return rng.permutation(rows[is_head_N == is_common])[:MAX_PATIENTS]


def _masked_copies(
    run: Run,
    cohort: Cohort,
    patterns_UM: np.ndarray,
    counts_U: np.ndarray,
    rng: np.random.Generator,
) -> tuple[Cohort, np.ndarray]:
    """Common patients of train and val, as observed and masked; and whether each is of val."""
    train, val = (_rows(run, cohort, split, rng, is_common=True) for split in ("train", "val"))
    rows = np.concatenate([train, val])
    is_val_N = np.arange(len(rows)) >= len(train)
    present_NM = cohort.present_NM[rows]
    at, present = [np.arange(len(rows))], [present_NM]
    for _ in range(COPIES):
        pattern_N = draw_combinations(present_NM, patterns_UM, counts_U, rng)
        at.append(np.flatnonzero(pattern_N >= 0))
        present.append(patterns_UM[pattern_N[at[-1]]])
    all_at = np.concatenate(at)
    return observed_in(cohort, rows[all_at], np.concatenate(present)), is_val_N[all_at]


def _fit_weight(own: Predictor, trees: Predictor, copies: Cohort) -> float:
    """The weight of the trees with the lowest log loss; a half where there is nobody to ask."""
    if len(copies) == 0:
        return 0.5
    assert copies.label_N is not None
    own_NC, trees_NC = probabilities(own, copies), probabilities(trees, copies)
    losses = [
        log_loss_of_rows(copies.label_N, (1 - weight) * own_NC + weight * trees_NC).mean()
        for weight in WEIGHTS
    ]
    return float(WEIGHTS[int(np.argmin(losses))])


def _fit_stack(known: Known) -> np.ndarray:
    """C - 1 offsets a, then b and c; the run itself where there are not enough to ask."""
    start = np.zeros(known.own_NC.shape[1] + 1)
    start[-2] = 1.0
    code_N, num_persons = person_codes(known.person_N)
    if num_persons < FOLDS:
        return start
    parts = [
        (known.select(code_N % FOLDS != f), known.select(code_N % FOLDS == f)) for f in range(FOLDS)
    ]
    losses = [
        sum(_penalised(_minimum(start, fit, ridge), start, out, 0.0)[0] for fit, out in parts)
        for ridge in RIDGES
    ]
    return _minimum(start, known, RIDGES[int(np.argmin(losses))])


def _minimum(start: np.ndarray, known: Known, ridge: float) -> np.ndarray:
    arguments = (start, known, ridge)
    return minimize(_penalised, start, arguments, jac=True, method="L-BFGS-B").x


def _penalised(
    stack: np.ndarray, start: np.ndarray, known: Known, ridge: float
) -> tuple[float, np.ndarray]:
    """Log loss, summed, with a ridge towards `start`, and the gradient."""
    log_NC = log_softmax(_logits(stack, known), axis=1)
    rows = np.arange(len(log_NC))
    error_NC = np.exp(log_NC)
    error_NC[rows, known.label_N] -= 1
    slopes = (error_NC * known.own_NC).sum(), (error_NC * known.trees_NC).sum()
    gradient = np.r_[error_NC[:, 1:].sum(axis=0), slopes]
    away = stack - start
    loss = -log_NC[rows, known.label_N].sum() + ridge / 2 * away @ away
    return float(loss), gradient + ridge * away


def _logits(stack: np.ndarray, known: Known) -> np.ndarray:
    return np.r_[0.0, stack[:-2]] + stack[-2] * known.own_NC + stack[-1] * known.trees_NC


def _log(prob_NC: np.ndarray) -> np.ndarray:
    return np.log(np.clip(prob_NC, FLOOR, 1.0))
