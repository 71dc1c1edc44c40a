"""The gain of a measurement: how much less a run would lose if it knew one modality more.

For a patient in combination c who lacks modality m, with H the entropy of the run's prediction,

    expected gain = scale * share(c, m) * H.

share(c, m) is the share of the uncertainty that m takes away. Validation patients in combination
c + m tell it: they are predicted with m and with m hidden, and as if the run with m were right,

    share = sum KL(with m || hidden) / sum H(hidden),

over patients of c and, with weight exp(-(1 - J) / bandwidth), of other combinations by their
Jaccard similarity J to c, shrunk to the modality's overall share as by `PRIOR` nats of entropy. KL
is the gain averaged over the run's own belief of the outcome: it has no label noise, which is many
times the gain. Whether the run's belief is right is then left to the labels: `scale` is the slope
of realised gains, -log p(hidden) + log p(with m), on the leave-one-out prediction of KL.

Who has m was chosen by somebody: the gain is that of patients like those who had it.
"""

# N pairs of patient and modality, M modalities, C classes, U combinations, R resamples, P persons

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from remind.analyses.masked import observed_in, probabilities
from remind.analyses.options import Options
from remind.cohort import Cohort
from remind.evaluation.bootstrap import MIN_PERSONS, enough_defined, person_codes, resamples
from remind.evaluation.metrics import log_loss_of_rows
from remind.training import Run

BANDWIDTH = 0.1
PRIOR = 5.0
MAX_PATIENTS = 20_000
"""Validation patients that are asked."""
NUM_DRAWS = 200
"""Most resamples behind the intervals of single shares."""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """A patient and a modality that they have, hidden.

    Args:
        row_N: of the cohort.
        person_N: 0..P-1.
        modality_N: which one is hidden.
        left_NM: presence without it.
        entropy_N: of the prediction without it, in nats.
        divergence_N: KL of the prediction with it from that without it, in nats.
        gain_N: log loss without it minus log loss with it, in nats.
        num_persons: P.
    """

    row_N: np.ndarray
    person_N: np.ndarray
    modality_N: np.ndarray
    left_NM: np.ndarray
    entropy_N: np.ndarray
    divergence_N: np.ndarray
    gain_N: np.ndarray
    num_persons: int

    def __len__(self) -> int:
        return len(self.row_N)


@dataclass(frozen=True)
class Evidence:
    """What validation patients say of one modality, by the combination they would be left with.

    Args:
        patterns_UM: the combinations.
        num_U: patients of each.
        above_RU, below_RU: sums of KL and of entropy; the first row is the sample itself, the
            others are resamples.
        num_persons: who say it.
    """

    patterns_UM: np.ndarray
    num_U: np.ndarray
    above_RU: np.ndarray
    below_RU: np.ndarray
    num_persons: int

    def share(self, patterns_VM: np.ndarray) -> np.ndarray:
        """Shares (R, V) for patients left with other combinations.

        A resample that drew nobody who says it, or who is unsure without it, is NaN.
        """
        near_UV = nearness(self.patterns_UM, patterns_VM)
        below_R = self.below_RU.sum(axis=1)
        nothing_R = np.full(len(below_R), np.nan)
        overall_R = np.divide(self.above_RU.sum(axis=1), below_R, out=nothing_R, where=below_R > 0)
        above_RV = self.above_RU @ near_UV + PRIOR * overall_R[:, None]
        return above_RV / (self.below_RU @ near_UV + PRIOR)


@dataclass(frozen=True)
class Factors:
    """Expected gain per nat of entropy, (V, M); NaN where m is observed or nobody knows.

    Args:
        value, low, high: the estimate and its interval, NaN where under 10 persons know or, as for
            any interval, over 5% of the resamples leave it undefined.
        evidence: validation patients, counted by nearness.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    evidence: np.ndarray


@dataclass(frozen=True)
class GainModel:
    """Expected gains of a run.

    Args:
        evidence: per modality; None where no validation patient has it beside another one.
        scale_R: the sample's, then the resamples'.
        level: of the intervals.
    """

    evidence: tuple[Evidence | None, ...]
    scale_R: np.ndarray
    level: float

    @classmethod
    def fit(cls, pairs: Pairs, options: Options) -> "GainModel":
        """From validation patients."""
        num_draws = min(options.num_boot, NUM_DRAWS)
        draws = resamples(
            np.arange(pairs.num_persons),
            pairs.num_persons,
            num_boot=num_draws,
            seed=options.seed,
        )
        weight_RP = np.concatenate([np.ones((1, pairs.num_persons)), *draws])
        evidence = tuple(_evidence(pairs, m, weight_RP) for m in range(pairs.left_NM.shape[1]))
        predicted_N = _left_out(evidence, pairs)
        above_P, below_P = (
            np.bincount(pairs.person_N, weights=value_N, minlength=pairs.num_persons)
            for value_N in (predicted_N * pairs.gain_N, predicted_N**2)
        )
        below_R = weight_RP @ below_P
        scale_R = np.divide(
            weight_RP @ above_P, below_R, out=np.zeros(len(below_R)), where=below_R > 0
        )
        return cls(evidence, scale_R, options.level)

    def factors(self, patterns_VM: np.ndarray) -> Factors:
        """For patients who are observed in these combinations."""
        value, low, high = (np.full(patterns_VM.shape, np.nan) for _ in range(3))
        evidence = np.zeros(patterns_VM.shape)
        tails = [(1 - self.level) / 2, (1 + self.level) / 2]
        for m, known in enumerate(self.evidence):
            lack = ~patterns_VM[:, m]
            if known is None or not lack.any():
                continue
            factor_RV = self.scale_R[:, None] * known.share(patterns_VM[lack])
            value[lack, m] = factor_RV[0]
            evidence[lack, m] = known.num_U @ nearness(known.patterns_UM, patterns_VM[lack])
            drawn_RV = factor_RV[1:]
            if known.num_persons >= MIN_PERSONS and enough_defined(drawn_RV):
                defined_RV = drawn_RV[~np.isnan(drawn_RV).any(axis=1)]  # a draw is NaN as a whole
                low[lack, m], high[lack, m] = np.quantile(defined_RV, tails, axis=0)
        return Factors(value, low, high, evidence)

    def predict(self, pairs: Pairs) -> np.ndarray:
        """Expected gain (N,) of what is hidden; NaN where nobody knows."""
        patterns_VM, which_N = np.unique(pairs.left_NM, axis=0, return_inverse=True)
        factor_VM = self.factors(patterns_VM).value
        return factor_VM[which_N.ravel(), pairs.modality_N] * pairs.entropy_N


def hide_each(run: Run, cohort: Cohort, rows: np.ndarray) -> Pairs:
    """Hide every modality of every row that has another one: as many predictions as modalities."""
    label_N = cohort.label_N
    assert label_N is not None
    present_NM = cohort.present_NM[rows]
    full_NC = probabilities(run.predictor, cohort.select(rows))
    several_N = present_NM.sum(axis=1) > 1
    at, modality, hidden = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [full_NC[:0]]
    for m in range(present_NM.shape[1]):
        some = np.flatnonzero(several_N & present_NM[:, m])
        left_NM = present_NM[some].copy()
        left_NM[:, m] = False
        at.append(some)
        modality.append(np.full(len(some), m))
        hidden.append(probabilities(run.predictor, observed_in(cohort, rows[some], left_NM)))
    at_N, modality_N, hidden_NC = (np.concatenate(part) for part in (at, modality, hidden))
    left_NM = present_NM[at_N].copy()
    left_NM[np.arange(len(at_N)), modality_N] = False
    person_N, num_persons = person_codes(cohort.person[rows])
    label_N = label_N[rows[at_N]]
    return Pairs(
        row_N=rows[at_N],
        person_N=person_N[at_N],
        modality_N=modality_N,
        left_NM=left_NM,
        entropy_N=entropy(hidden_NC),
        divergence_N=_divergence(full_NC[at_N], hidden_NC),
        gain_N=log_loss_of_rows(label_N, hidden_NC) - log_loss_of_rows(label_N, full_NC[at_N]),
        num_persons=num_persons,
    )


def entropy(prob_NC: np.ndarray) -> np.ndarray:
    """Entropy of each row in nats (N,)."""
    return -(prob_NC * _log(prob_NC)).sum(axis=1)


def nearness(patterns_UM: np.ndarray, patterns_VM: np.ndarray) -> np.ndarray:
    """exp(-(1 - J) / bandwidth) of combinations (U, V), J their Jaccard similarity."""
    bits_UM, bits_VM = patterns_UM.astype(np.float64), patterns_VM.astype(np.float64)
    both_UV = bits_UM @ bits_VM.T
    either_UV = bits_UM.sum(axis=1)[:, None] + bits_VM.sum(axis=1) - both_UV
    return np.exp((both_UV / np.maximum(either_UV, 1.0) - 1) / BANDWIDTH)


def _evidence(pairs: Pairs, modality: int, weight_RP: np.ndarray) -> Evidence | None:
    some = np.flatnonzero(pairs.modality_N == modality)
    if not len(some) or pairs.entropy_N[some].sum() <= 0:
        return None
    patterns_UM, which_N = np.unique(pairs.left_NM[some], axis=0, return_inverse=True)
    place = (pairs.person_N[some], which_N.ravel())
    shape = (pairs.num_persons, len(patterns_UM))
    above_PU, below_PU = (
        sparse.coo_array((value_N[some], place), shape=shape).tocsr()
        for value_N in (pairs.divergence_N, pairs.entropy_N)
    )
    return Evidence(
        patterns_UM=patterns_UM,
        num_U=np.bincount(which_N.ravel()),
        above_RU=(above_PU.T @ weight_RP.T).T,
        below_RU=(below_PU.T @ weight_RP.T).T,
        num_persons=len(np.unique(pairs.person_N[some])),
    )


def _left_out(evidence: tuple[Evidence | None, ...], pairs: Pairs) -> np.ndarray:
    """Predicted KL of each pair by the shares of all others; 0 where there are no others."""
    predicted_N = np.zeros(len(pairs))
    for m, known in enumerate(evidence):
        some = np.flatnonzero(pairs.modality_N == m)
        if known is None or len(some) < 2:
            continue
        above_U, below_U = known.above_RU[0], known.below_RU[0]
        _, which_N = np.unique(pairs.left_NM[some], axis=0, return_inverse=True)
        near_UU = nearness(known.patterns_UM, known.patterns_UM)
        own_above_N, own_below_N = pairs.divergence_N[some], pairs.entropy_N[some]
        overall_N = (above_U.sum() - own_above_N) / np.maximum(
            below_U.sum() - own_below_N, np.finfo(float).tiny
        )
        above_N = (above_U @ near_UU)[which_N.ravel()] - own_above_N
        below_N = (below_U @ near_UU)[which_N.ravel()] - own_below_N
        predicted_N[some] = (above_N + PRIOR * overall_N) / (below_N + PRIOR) * own_below_N
    return predicted_N


def _divergence(prob_NC: np.ndarray, other_NC: np.ndarray) -> np.ndarray:
    return np.maximum((prob_NC * (_log(prob_NC) - _log(other_NC))).sum(axis=1), 0.0)


def _log(prob_NC: np.ndarray) -> np.ndarray:
    return np.log(np.clip(prob_NC, np.finfo(float).eps, 1.0))
