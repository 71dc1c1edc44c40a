"""A synthetic cohort whose Bayes-optimal probability is known for every patient.

How patient i comes about, with kappa the strength of concept shift:

    S_i  combination, Zipf over a random pool:          p(rank) ~ 1 / rank^tail
    s_i  severity:                                      N(0, 1), alone or correlated with |S_i|
    z_im latent factors of modality m, in R^L:          load s_i + sqrt(1 - load^2) N(0, I)
    h_m  contribution of modality m:                    sum_l c_ml phi_l(z_iml), unit variance
    w_mS weight of modality m in combination S:         (w_m + kappa delta_mS) / sqrt(1 + kappa^2)
    f_S  logit of P(y_i = 1):                           intercept + scale sum_{m in S} w_mS h_m

    delta_mS = sqrt(1 - particular) * (u_m . sum_{k in S, k != m} v_k, standardized over the pool)
             + sqrt(particular) * (one draw of N(0, 1) per modality and combination)

with scale = signal / sqrt(M / 2). kappa = 0 is one fusion function for all: a modality adds the
same wherever it is observed. kappa = 1 gives the group-dependent part of a weight as much variance
as the common part; its first term can be learned across combinations (a pairwise interaction of
rank R), its second cannot.

The optimum is exact, not estimated. Every latent is seen through a pair of columns, a rotation of
(latent, independent noise) followed by an increasing function, so the observed columns determine
the latents of the observed modalities; and the label depends on nothing but these and S. Hence
P(y = 1 | observed columns) = sigmoid(f_S(z)), however the combination depends on severity.

N patients, M modalities, L latents per modality, R rank, P combinations in the pool.
"""

from dataclasses import dataclass, fields
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.special import expit, rel_entr

from remind.cohort import Cohort, CohortSpec, cohort_from_frame, spec_from_dict
from remind.errors import InputError

SEVERITY_LOAD = 0.3  # correlation of every latent with severity
SEVERITY_BREADTH = 0.7  # correlation of severity with the number of observed modalities
MAX_MODALITIES = 62  # combinations are drawn as int64 bit sets


@dataclass(frozen=True, kw_only=True)
class SyntheticConfig:
    """What the synthetic cohort looks like.

    Raises:
        InputError: a value out of range.
    """

    num_patients: int = 20_000
    num_modalities: int = 12
    num_latents: int = 2
    """Latent factors per modality; each is seen through two columns."""
    num_combinations: int = 4095
    """Combinations that can occur, drawn from the 2^M - 1; at most all of them."""
    tail: float = 1.0
    """Zipf exponent over the combinations: 0 is uniform, larger is more in the head."""
    missing: Literal["random", "severity"] = "random"
    """Combination independent of everything, or broader for sicker patients."""
    kappa: float = 1.0
    """Strength of concept shift: sd of the group-dependent over the common part of a weight."""
    particular: float = 0.1
    """Share of the group-dependent variance that is particular to one combination."""
    rank: int = 3
    """Rank of the pairwise interaction between modalities."""
    noise: float = 0.1
    """Share of a signal column's variance that is noise (its partner column holds the rest)."""
    signal: float = 2.0
    """Standard deviation of the logit where half of the modalities are observed."""
    intercept: float = -1.0
    val: float = 0.15
    test: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        ranges: dict[str, tuple[float, float]] = {
            "num_patients": (10, np.inf),
            "num_modalities": (2, MAX_MODALITIES),
            "num_latents": (1, np.inf),
            "num_combinations": (1, np.inf),
            "tail": (0, np.inf),
            "kappa": (0, np.inf),
            "particular": (0, 1),
            "rank": (1, np.inf),
            "noise": (0, 0.5),
            "signal": (0, np.inf),
            "val": (0, 0.4),
            "test": (0, 0.4),
            "seed": (0, np.inf),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not (low <= value <= high and np.isfinite(value)):
                expected = f"at least {low}" if high == np.inf else f"in {low}..{high}"
                raise InputError(f"synthetic: {name} must be {expected}, got {value}")
        if self.missing not in ("random", "severity"):
            raise InputError(
                f'synthetic: missing must be "random" or "severity", got "{self.missing}"'
            )

    def random(self, stream: str) -> np.random.Generator:
        """Return the generator of one named part, so that options of one part leave the others."""
        return np.random.default_rng([self.seed, *stream.encode()])


@dataclass(frozen=True, kw_only=True)
class SyntheticCohort:
    """A cohort and P(y = 1 | what is observed) of its patients, in the order of ``cohort.ids``.

    ``shared_N`` is the same without what is particular to one combination: nothing better can be
    learned for a combination that training has not.
    """

    cohort: Cohort
    optimum_N: np.ndarray
    shared_N: np.ndarray


def load_synthetic(config: SyntheticConfig | None = None) -> SyntheticCohort:
    """Draw the cohort of ``config`` (the defaults if None) together with its optimum."""
    config = config or SyntheticConfig()
    frame, optimum_N = draw(config)
    cohort = cohort_from_frame(frame, cohort_spec(config))
    columns = {"optimum": optimum_N, "shared": draw_shared(config)}
    probability = pd.DataFrame(columns, index=frame["id"].to_numpy()).loc[cohort.ids]
    return SyntheticCohort(
        cohort=cohort,
        optimum_N=probability["optimum"].to_numpy(),
        shared_N=probability["shared"].to_numpy(),
    )


def load(**options: Any) -> Cohort:
    """Return the cohort alone; ``options`` are the fields of SyntheticConfig."""
    return load_synthetic(SyntheticConfig(**options)).cohort


def excess_log_loss(prob_N: np.ndarray, optimum_N: np.ndarray) -> float:
    """Return the mean excess log loss of ``prob_N`` over the optimum, in nats per patient.

    This is KL(optimum || prob), the expected log loss minus the entropy of the optimum: no label
    enters, so there is no label noise. It is inf where prob is 0 or 1 and the optimum is not.
    """
    prob_N, optimum_N = np.asarray(prob_N, float), np.asarray(optimum_N, float)
    if prob_N.shape != optimum_N.shape:
        raise ValueError(f"one probability per patient: {prob_N.shape} against {optimum_N.shape}")
    return float(np.mean(rel_entr(optimum_N, prob_N) + rel_entr(1 - optimum_N, 1 - prob_N)))


class FusionFunction:
    """f_S(z), the true logit for any combination S: fixed by ``config``, independent of patients.

    The number of patients, missingness, noise and split have no influence on it.
    """

    def __init__(self, config: SyntheticConfig) -> None:
        self.config = config
        rng = config.random("fusion function")
        shared_M = rng.uniform(0.5, 1.5, config.num_modalities)
        self.shared_M = shared_M / np.sqrt(np.mean(shared_M**2))
        mix_ML = rng.uniform(0.5, 1.0, (config.num_modalities, config.num_latents))
        self.mix_ML = mix_ML / np.linalg.norm(mix_ML, axis=1, keepdims=True)
        self.left_MR = rng.standard_normal((config.num_modalities, config.rank))
        self.right_MR = rng.standard_normal((config.num_modalities, config.rank))
        pool_PM = combinations(config)
        share_PM = pool_PM / np.maximum(pool_PM.sum(axis=0), 1)
        pairwise_PM = self._pairwise(pool_PM)
        self.center_M = (share_PM * pairwise_PM).sum(axis=0)
        scale_M = np.sqrt((share_PM * (pairwise_PM - self.center_M) ** 2).sum(axis=0))
        self.scale_M = np.where(scale_M > 0, scale_M, 1.0)

    def contributions(self, latent_NML: np.ndarray) -> np.ndarray:
        """Return h_m(z_m), (N, M): linear in even latents, U-shaped in odd ones."""
        odd_L = np.arange(latent_NML.shape[2]) % 2 == 1
        phi_NML = np.where(odd_L, (latent_NML**2 - 1) / np.sqrt(2), latent_NML)
        return np.einsum("nml,ml->nm", phi_NML, self.mix_ML)

    def weights(self, present_NM: np.ndarray, *, particular: bool = True) -> np.ndarray:
        """Return w_mS, (N, M), 0 where m is not observed; without its particular part if asked."""
        config = self.config
        pairwise_NM = (self._pairwise(present_NM) - self.center_M) / self.scale_M
        shift_NM = np.sqrt(1 - config.particular) * pairwise_NM
        if particular:
            shift_NM += np.sqrt(config.particular) * self._particular(present_NM)
        weight_NM = (self.shared_M + config.kappa * shift_NM) / np.sqrt(1 + config.kappa**2)
        return np.where(present_NM, weight_NM, 0.0)

    def logits(
        self, latent_NML: np.ndarray, present_NM: np.ndarray, *, particular: bool = True
    ) -> np.ndarray:
        """Return f_S(z), (N,); latents of modalities that are not observed have no influence."""
        terms_NM = self.weights(present_NM, particular=particular) * self.contributions(latent_NML)
        scale = self.config.signal / np.sqrt(self.config.num_modalities / 2)
        return self.config.intercept + scale * terms_NM.sum(axis=1)

    def _pairwise(self, present_NM: np.ndarray) -> np.ndarray:
        interaction_MM = self.left_MR @ self.right_MR.T
        np.fill_diagonal(interaction_MM, 0.0)
        return present_NM @ interaction_MM.T

    def _particular(self, present_NM: np.ndarray) -> np.ndarray:
        distinct_GM, group_N = np.unique(present_NM, axis=0, return_inverse=True)
        draws = [self._particular_draw(present_M) for present_M in distinct_GM]
        return np.stack(draws)[group_N.ravel()]

    def _particular_draw(self, present_M: np.ndarray) -> np.ndarray:
        digest = blake2b(np.packbits(present_M).tobytes(), digest_size=8).digest()
        rng = np.random.default_rng([self.config.seed, *digest])
        return rng.standard_normal(self.config.num_modalities)


def draw(config: SyntheticConfig) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the table (id, split, outcome, columns) and the optimum (N,) in the same order."""
    present_NM = draw_present(config)
    severity_N = draw_severity(config, present_NM)
    latent_NML = draw_latents(config, severity_N)
    optimum_N = expit(FusionFunction(config).logits(latent_NML, present_NM))
    outcome_N = config.random("outcome").random(config.num_patients) < optimum_N
    columns_NMC = observe(config, latent_NML)
    columns_NMC[~present_NM] = np.nan
    names = [name for columns in column_names(config).values() for name in columns]
    head = pd.DataFrame(
        {
            "id": [f"p{i:06d}" for i in range(config.num_patients)],
            "split": draw_split(config),
            "outcome": outcome_N.astype(np.int64),
        }
    )
    values = pd.DataFrame(columns_NMC.reshape(config.num_patients, -1), columns=pd.Index(names))
    return pd.concat([head, values], axis=1), optimum_N


def draw_shared(config: SyntheticConfig) -> np.ndarray:
    """Return P(y = 1) without what is particular to a combination, (N,), in the order of `draw`."""
    present_NM = draw_present(config)
    latent_NML = draw_latents(config, draw_severity(config, present_NM))
    return expit(FusionFunction(config).logits(latent_NML, present_NM, particular=False))


def combinations(config: SyntheticConfig) -> np.ndarray:
    """Return the pool, bool (P, M), distinct and not empty, most frequent first."""
    num_possible = 2**config.num_modalities - 1
    num_pool = min(config.num_combinations, num_possible)
    bits_P = config.random("combinations").choice(num_possible, num_pool, replace=False) + 1
    return (bits_P[:, None] >> np.arange(config.num_modalities)) & 1 == 1


def draw_present(config: SyntheticConfig) -> np.ndarray:
    """Return which modalities each patient has, bool (N, M)."""
    pool_PM = combinations(config)
    frequency_P = np.arange(1, len(pool_PM) + 1) ** -float(config.tail)
    rng = config.random("present")
    drawn_N = rng.choice(len(pool_PM), config.num_patients, p=frequency_P / frequency_P.sum())
    return pool_PM[drawn_N]


def draw_severity(config: SyntheticConfig, present_NM: np.ndarray) -> np.ndarray:
    """Return the latent severity, standard normal (N,)."""
    severity_N = config.random("severity").standard_normal(config.num_patients)
    if config.missing == "random":
        return severity_N
    num_N = present_NM.sum(axis=1)
    breadth_N = (num_N - num_N.mean()) / max(num_N.std(), np.finfo(float).tiny)
    return SEVERITY_BREADTH * breadth_N + np.sqrt(1 - SEVERITY_BREADTH**2) * severity_N


def draw_latents(config: SyntheticConfig, severity_N: np.ndarray) -> np.ndarray:
    """Return the latents (N, M, L), standard normal, each correlated with severity."""
    shape = (config.num_patients, config.num_modalities, config.num_latents)
    own_NML = config.random("latents").standard_normal(shape)
    common_N11 = severity_N[:, None, None]
    return SEVERITY_LOAD * common_N11 + np.sqrt(1 - SEVERITY_LOAD**2) * own_NML


def observe(config: SyntheticConfig, latent_NML: np.ndarray) -> np.ndarray:
    """Return the columns (N, M, 2L): per latent a pair that determines it.

    The pair is (latent, noise) turned by the angle whose squared sine is ``config.noise``; the
    first is left as it is, the second goes through exp(x / 2), skewed like a laboratory value.
    """
    noise_NML = config.random("noise").standard_normal(latent_NML.shape)
    cos, sin = np.sqrt(1 - config.noise), np.sqrt(config.noise)
    first_NML = cos * latent_NML + sin * noise_NML
    second_NML = np.exp((cos * noise_NML - sin * latent_NML) / 2)
    pairs = np.stack([first_NML, second_NML], axis=-1)
    return pairs.reshape(*latent_NML.shape[:2], -1)


def draw_split(config: SyntheticConfig) -> np.ndarray:
    """Return train, val or test of each patient: exact fractions, independent of everything."""
    num_val, num_test = (round(share * config.num_patients) for share in (config.val, config.test))
    split_N = np.full(config.num_patients, "train", dtype=object)
    order_N = config.random("split").permutation(config.num_patients)
    split_N[order_N[:num_val]] = "val"
    split_N[order_N[num_val : num_val + num_test]] = "test"
    return split_N


def column_names(config: SyntheticConfig) -> dict[str, list[str]]:
    """Return the columns of each modality: m01 -> [m01_1, m01_2, …]."""
    numbers = range(1, 2 * config.num_latents + 1)
    modalities = [f"m{m:02d}" for m in range(1, config.num_modalities + 1)]
    return {modality: [f"{modality}_{c}" for c in numbers] for modality in modalities}


def cohort_spec(config: SyntheticConfig) -> CohortSpec:
    """Return the cohort's description; its table is the frame of ``draw``."""
    roles = {"name": "synthetic", "id": "id", "label": "outcome", "task": "binary"}
    content = {
        "cohort": {**roles, "table": "synthetic.parquet"},
        "split": {"column": "split"},
        "modalities": {
            modality: {"kind": "tabular", "columns": columns}
            for modality, columns in column_names(config).items()
        },
    }
    return spec_from_dict(content, root=Path(), source='source "synthetic"')


OPTIONS = tuple(field.name for field in fields(SyntheticConfig))
