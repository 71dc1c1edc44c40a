"""What nobody observes: how ill each stay is in ten ways, what was measured, and who dies.

    z_im   illness of stay i in the way that modality m shows, and no other    N(0, 1)
    s_i    severity: the weighted mean of z_i, of unit variance
    p_im   chance that m is measured: rises with what the ward sees of s_i, with the intensity of
           care, and with a reason that several modalities share (a heart, a head, a chest)
    y_i    death: sigmoid(intercept + SIGNAL * sum_m w_m a_im z_im), a_im = 1 if measured, else
           UNMEASURED, for what was not looked for was mostly not there

The z are independent, so a modality tells what no other can. The intercept makes the share of
deaths DEATHS. Stays of one person share the chronic part of z. The weights are such that every kind
is worth about as much: without it the best possible AUROC falls by .024 to .031 from .956
(`benchmarks/toy_optimum.py`, which no fit enters).

N stays, M modalities.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit

SIGNAL = 7.0  # standard deviation of the logit if everything is measured
UNMEASURED = 0.25
DEATHS = 0.25
NEW_PERSON = 0.8  # chance that a stay is the first of its person
SICK_SEEN = 0.8  # correlation of what the ward sees with severity
PULL_OF_SICKNESS, PULL_OF_CARE, PULL_OF_REASON = 0.9, 0.8, 1.1


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way of being ill, and the modality that shows it.

    Args:
        weight: in severity.
        measured: share of stays in which the modality is measured, about.
        chronic: share of the variance of z that belongs to the person.
        reason: why it is measured, shared with other modalities.
    """

    weight: float
    measured: float
    chronic: float = 0.1
    reason: str = ""


WAYS: dict[str, Way] = {
    "admission": Way(weight=0.7, measured=1.0, chronic=0.9),
    "vitals": Way(weight=0.7, measured=0.93),
    "labs": Way(weight=1.0, measured=0.85),
    "diagnoses": Way(weight=1.0, measured=0.82, chronic=0.8),
    "drugs": Way(weight=1.0, measured=0.75),
    "notes": Way(weight=1.1, measured=0.7, reason="head"),
    "chest_xray": Way(weight=1.2, measured=0.65, reason="chest"),
    "head_ct": Way(weight=1.4, measured=0.45, reason="head"),
    "ecg": Way(weight=1.2, measured=0.65, reason="heart"),
    "echo": Way(weight=1.2, measured=0.55, chronic=0.6, reason="heart"),
}
NAMES = tuple(WAYS)
WEIGHTS_M = np.array([way.weight for way in WAYS.values()])
WEIGHTS_M = WEIGHTS_M / np.linalg.norm(WEIGHTS_M)


@dataclass(frozen=True, kw_only=True, eq=False)
class Stays:
    """N stays as nature made them.

    Args:
        seed: of everything drawn from them.
        person_N: whose stay it is, int64.
        z_NM: illness, in the order of `NAMES`.
        present_NM: what was measured, bool.
        care_N: intensity of care, N(0, 1).
        died_N: int64, 0 or 1.
    """

    seed: int
    person_N: np.ndarray
    z_NM: np.ndarray
    present_NM: np.ndarray
    care_N: np.ndarray
    died_N: np.ndarray

    def __len__(self) -> int:
        return len(self.died_N)

    def illness(self, modality: str) -> np.ndarray:
        """z (N,) of one modality."""
        return self.z_NM[:, NAMES.index(modality)]

    def present(self, modality: str) -> np.ndarray:
        """Whether it was measured, bool (N,)."""
        return self.present_NM[:, NAMES.index(modality)]

    def random(self, stream: str) -> np.random.Generator:
        """The generator of one named part, so that a change of one part leaves the others."""
        return random(self.seed, stream)


def random(seed: int, stream: str) -> np.random.Generator:
    """A generator for one named part of a seed."""
    return np.random.default_rng([seed, *stream.encode()])


def draw_stays(num: int, seed: int) -> Stays:
    """Draw `num` stays."""
    person_N = np.cumsum(random(seed, "persons").random(num) < NEW_PERSON)
    z_NM = _draw_illness(person_N, seed)
    care_N = random(seed, "care").standard_normal(num)
    present_NM = _draw_present(z_NM @ WEIGHTS_M, care_N, seed)
    seen_NM = np.where(present_NM, 1.0, UNMEASURED) * z_NM
    score_N = SIGNAL * seen_NM @ WEIGHTS_M
    intercept: Any = brentq(lambda shift: expit(score_N + shift).mean() - DEATHS, -50.0, 50.0)
    died_N = random(seed, "death").random(num) < expit(score_N + intercept)
    return Stays(
        seed=seed,
        person_N=person_N,
        z_NM=z_NM,
        present_NM=present_NM,
        care_N=care_N,
        died_N=died_N.astype(np.int64),
    )


def _draw_illness(person_N: np.ndarray, seed: int) -> np.ndarray:
    rng = random(seed, "illness")
    chronic_M = np.array([way.chronic for way in WAYS.values()])
    person_PM = rng.standard_normal((person_N.max() + 1, len(WAYS)))
    own_NM = rng.standard_normal((len(person_N), len(WAYS)))
    return np.sqrt(chronic_M) * person_PM[person_N] + np.sqrt(1 - chronic_M) * own_NM


def _draw_present(severity_N: np.ndarray, care_N: np.ndarray, seed: int) -> np.ndarray:
    rng = random(seed, "measured")
    num = len(severity_N)
    seen_N = SICK_SEEN * severity_N + np.sqrt(1 - SICK_SEEN**2) * rng.standard_normal(num)
    pull_N = PULL_OF_SICKNESS * seen_N + PULL_OF_CARE * care_N
    reasons = dict.fromkeys(way.reason for way in WAYS.values())
    reason_N = {
        name: PULL_OF_REASON * rng.standard_normal(num) if name else np.zeros(num)
        for name in reasons
    }
    spread = np.sqrt(PULL_OF_SICKNESS**2 + PULL_OF_CARE**2 + PULL_OF_REASON**2)
    columns = []
    for way in WAYS.values():
        base = np.sqrt(1 + (spread / 1.7) ** 2) * logit(way.measured)  # undoes the pulls, about
        chance_N = expit(base + pull_N + reason_N[way.reason])
        columns.append(rng.random(num) < chance_N)
    return np.column_stack(columns)
