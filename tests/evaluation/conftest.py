"""Simulated predictions: probabilities that are the truth, over groups with a long tail."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest


@dataclass(frozen=True)
class Limits:
    head: int = 100
    medium: int = 20


def simulate(
    num: int = 300,
    *,
    groups: int = 12,
    num_classes: int = 2,
    noise: float = 0.0,
    method: str = "default",
    model_seed: int = 0,
    data_seed: int = 0,
) -> pd.DataFrame:
    """Predictions whose labels depend on `data_seed` only and whose errors grow with `noise`."""
    rng = np.random.default_rng(data_seed)
    share_G = 1 / np.arange(1, groups + 1) ** 1.5
    share_G /= share_G.sum()
    n_train_G = np.round(1000 * share_G).astype(int)
    n_train_G[-2:] = 0
    group_N = rng.choice(groups, num, p=share_G)
    logits_NC = rng.normal(size=(num, num_classes))
    label_N = (logits_NC + rng.gumbel(size=logits_NC.shape)).argmax(axis=1)
    error_NC = np.random.default_rng(model_seed).normal(size=logits_NC.shape)
    prob_NC = np.exp(logits_NC + noise * error_NC)
    prob_NC /= prob_NC.sum(axis=1, keepdims=True)
    n_N = n_train_G[group_N]
    conditions = [n_N > 100, n_N >= 20, n_N >= 1]
    return pd.DataFrame(
        {
            "id": [f"p{i}" for i in range(num)],
            "person": [f"p{i}" for i in range(num)],
            "label": label_N.astype(str),
            **{f"prob_{c}": prob_NC[:, c] for c in range(num_classes)},
            "group": [f"g{g:02d}" for g in group_N],
            "n_train": n_N,
            "band": np.select(conditions, ["head", "medium", "tail"], "unseen"),
            "split": "test",
            "method": method,
            "seed": model_seed,
        }
    )


@pytest.fixture
def make() -> Callable[..., pd.DataFrame]:
    return simulate


@pytest.fixture
def limits() -> Any:
    return Limits()
