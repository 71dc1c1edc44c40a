"""TabM: its recipe against plain computations, its settings, and tables that lack something.

N patients, Q numeric columns, X codes, K members, C classes.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm
from torch import Tensor, nn

from remind.baselines import TABM, TabMConfig, tabm
from remind.baselines.tabm import Flat, TabMPredictor
from remind.cohort import FlatTable, cohort_from_frame, spec_from_dict
from remind.errors import InputError
from remind.sources import load_source
from remind.training import fit_run, open_run, with_overrides


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"width": 0}, "width must be a whole number >= 1, got 0"),
        ({"members": 0}, "members must be a whole number >= 1, got 0"),
        ({"bins": 1}, "bins must be a whole number >= 2, got 1"),
        ({"batch_size": 0}, "batch_size must be a whole number >= 1, got 0"),
        ({"lr": 0.0}, "lr must be a number > 0, got 0.0"),
        ({"weight_decay": -1.0}, "weight_decay must be a number >= 0, got -1.0"),
        ({"dropout": 1.0}, "dropout must be in [0, 1), got 1.0"),
    ],
)
def test_wrong_values_are_refused(options: dict, sentence: str) -> None:
    with pytest.raises(InputError, match="^" + re.escape(sentence) + "$"):
        TabMConfig(**options)


def test_fewer_patients_than_bins_are_learned_from() -> None:
    cohort = load_source("synthetic", num_patients=50, num_modalities=3, seed=1)
    assert len(cohort.rows("train")) < TABM.config.bins
    settings = with_overrides(TABM.default_settings(), ["epochs=2", "width=8"])
    prob_NC = fit_run(cohort, TABM, settings).predictor.predict_proba(cohort)
    np.testing.assert_allclose(prob_NC.sum(1), 1, rtol=1e-6)


COLUMNS = {
    "numbers without a missing one": {"a": "random", "b": "random"},
    "categories": {"ward": "words"},
    "constant numbers": {"a": "constant", "ward": "words"},
}


@pytest.mark.parametrize("columns", COLUMNS.values(), ids=COLUMNS)
def test_a_table_may_lack_categories_numbers_or_any_spread(
    columns: dict[str, str], tmp_path: Path
) -> None:
    """It is learned from, and a run opens again to the same predictions."""
    rng = np.random.default_rng(0)
    values = {
        "random": rng.normal(size=60),
        "constant": np.ones(60),
        "words": rng.choice(["icu", "surgery"], 60),
    }
    frame = pd.DataFrame({name: values[kind] for name, kind in columns.items()})
    frame["id"], frame["label"] = np.arange(60), np.arange(60) % 2
    frame["split"] = np.array(["train", "train", "val", "test"])[np.arange(60) // 2 % 4]
    cohort = cohort_from_frame(frame, spec_from_dict(_toml(list(columns)), root=tmp_path))
    settings = with_overrides(TABM.default_settings(), ["epochs=2", "width=8", "members=2"])
    run = fit_run(cohort, TABM, settings, out=tmp_path / "run")
    prob_NC = run.predictor.predict_proba(cohort)
    np.testing.assert_allclose(prob_NC.sum(1), 1, rtol=1e-6)
    again = open_run(tmp_path / "run", {"tabm": TABM})
    np.testing.assert_array_equal(again.predictor.predict_proba(cohort), prob_NC)


def _toml(columns: list[str]) -> dict[str, Any]:
    about = {"name": "x", "table": "x.csv", "id": "id", "label": "label", "task": "binary"}
    tables = {name: {"kind": "tabular", "columns": [name]} for name in columns}
    return {"cohort": about, "split": {"column": "split"}, "modalities": tables}


def test_numbers_become_normal_scores_and_missing_values_codes() -> None:
    """Quantiles of the filled training column, the training mean where missing, an indicator."""
    rng = np.random.default_rng(0)
    x_NF = np.stack([rng.gamma(2, 1, 400), rng.normal(size=400), rng.integers(0, 3, 400)], 1)
    x_NF[::5, 0] = x_NF[::7, 2] = x_NF[301, 1] = np.nan
    table = FlatTable(
        x_NF=x_NF.astype(np.float32), names=["a", "b", "c"], categorical=[2], cardinalities=[4]
    )
    scores, code_NX = Flat.fit(table, np.arange(300), seed=3).transform(table)
    for q, score_N in enumerate(scores.double().numpy().T):
        is_missing_N = np.isnan(x_NF[:, q])
        column_N = table.x_NF[:, q].astype(np.float64)
        filled_N = np.where(is_missing_N, np.nanmean(column_N[:300]), column_N)
        share_P = np.linspace(0, 1, 10)
        edges_P = np.quantile(filled_N[:300], share_P)
        high_N = norm.ppf(np.interp(filled_N, edges_P, share_P))
        low_N = norm.ppf(1 - np.interp(-filled_N, -edges_P[::-1], 1 - share_P[::-1]))
        is_inside_N = ~is_missing_N & (np.abs(high_N) < 2)
        expected_N = high_N[is_inside_N]
        np.testing.assert_allclose(score_N[is_inside_N], expected_N, atol=1e-4)
        is_between_N = (low_N - 1e-3 <= score_N) & (score_N <= high_N + 1e-3)
        assert is_between_N[is_missing_N].all()  # many patients have the mean, at any of its ranks
    assert code_NX.dtype == torch.int64
    assert code_NX[:, 0].tolist() == np.isnan(x_NF[:, 0]).tolist()  # "b" was never missing
    assert code_NX[:, 1].tolist() == np.where(np.isnan(x_NF[:, 2]), 4, x_NF[:, 2]).tolist()


class Members(nn.Module):
    """Two linear members, as the package's network takes and gives its tensors."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight_KQC = nn.Parameter(torch.randn(2, 3, 2))
        self.num_batches = 0

    def forward(self, number_NQ: Tensor | None, code_NX: Tensor | None) -> Tensor:
        """Logits (N, K, C)."""
        assert number_NQ is not None
        assert code_NX is None
        self.num_batches += self.training
        return torch.einsum("nq,kqc->nkc", number_NQ, self.weight_KQC)


def test_training_is_its_recipe() -> None:
    """The mean of the members' losses, a norm of 1 at most, AdamW; the best epoch, and patience."""
    config = TabMConfig(lr=0.1, weight_decay=0.1, batch_size=16, epochs=60, patience=4)
    random = torch.Generator().manual_seed(1)
    number_NQ = torch.randn(60, 3, generator=random)
    label_N = (number_NQ[:, 0] + torch.randn(60, generator=random) > 0).long()
    train_rows, val_rows = np.arange(40), np.arange(40, 60)

    plain = Members()
    weight = plain.weight_KQC
    optimizer = torch.optim.AdamW([weight], lr=0.1, weight_decay=0.1)
    losses, states = [], []
    while not losses or len(losses) - 1 - int(np.argmin(losses)) < 4:
        order = np.random.default_rng([5, len(losses)]).permutation(train_rows)
        for start in range(0, 40, 16):
            rows = order[start : start + 16]
            prob_NKC = (number_NQ[rows] @ weight).softmax(-1).transpose(0, 1)
            loss_NK = -prob_NKC[np.arange(len(rows)), :, label_N[rows]].log()
            optimizer.zero_grad()
            loss_NK.mean().backward()
            assert weight.grad is not None
            weight.grad /= max(1.0, float(weight.grad.norm()) + 1e-6)
            optimizer.step()
        prob_NC = (number_NQ[val_rows] @ weight.detach()).softmax(-1).mean(0)
        losses.append(float(-prob_NC[np.arange(20), label_N[val_rows]].log().mean()))
        states.append(weight.detach().clone())
    assert 5 < len(losses) < 60

    network, no_codes = Members(), torch.zeros(60, 0, dtype=torch.int64)
    tabm._train(network, (number_NQ, no_codes, label_N), config, train_rows, val_rows, seed=5)
    assert network.num_batches == 3 * len(losses)
    torch.testing.assert_close(network.weight_KQC.data, states[int(np.argmin(losses))])


def test_a_prediction_is_the_mean_of_the_members_probabilities() -> None:
    cohort = load_source("synthetic", num_patients=80, num_modalities=3, seed=1)
    settings = with_overrides(TABM.default_settings(), ["epochs=2", "width=8", "members=3"])
    predictor = fit_run(cohort, TABM, settings).predictor
    assert isinstance(predictor, TabMPredictor)
    found: list[Any] = []
    predictor.network.register_forward_hook(lambda part, given, out: found.append(out))
    prob_NC = predictor.predict_proba(cohort)
    (logits_NKC,) = (out.double().cpu() for out in found)
    assert logits_NKC.shape[1] == 3
    members = [(x_NC - x_NC.logsumexp(1, keepdim=True)).exp() for x_NC in logits_NKC.unbind(1)]
    expected_NC = sum(members) / 3
    np.testing.assert_allclose(prob_NC, expected_NC, rtol=1e-5)
