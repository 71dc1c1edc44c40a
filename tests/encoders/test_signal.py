"""Signals to tokens."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from remind.cohort import VectorModality, VectorSchema, read_cohort
from remind.cohort.kinds.files import FileBatch, FileSchema
from remind.cohort.kinds.signal import SignalModality
from remind.encoders import VectorEncoder
from remind.encoders.signal import SignalEncoder
from remind.methods import METHODS
from remind.training import fit_run, with_overrides
from tests.cohort.make_files import beating_signals, write_files_cohort

WIDTH = 6
FEW = ["epochs=12", "width=32", "members=4", "hidden=32", "experts=4", "batch_size=32", "ema=0"]


def make(num_signals: int, seed: int, width: int = WIDTH) -> tuple:
    """An encoder of modality 1 of 2, and signals of 4 patients with gaps."""
    torch.manual_seed(seed)
    item = SignalModality(
        name="ecg",
        index=1,
        num_tokens=2,
        leads=("I", "II", "V1"),
        rate_hz=50.0,
        num_samples=120,
        center=(0.0,) * 3,
        scale=(1.0,) * 3,
    )
    schema = FileSchema(modalities=(item,))
    encoder = SignalEncoder(schema, width=width, num_modalities=2).double()
    x_VLS = torch.randn(num_signals, 3, 120).double()
    x_VLS[torch.rand(num_signals, 3, 120) < 0.2] = torch.nan
    owner_V = torch.randint(0, 4, (num_signals,)).sort().values
    return encoder, FileBatch(x_V=x_VLS, owner_V=owner_V), torch.rand(4, 2) < 0.6


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 8), st.integers(0, 10**6))
def test_the_order_of_signals_and_those_of_unobserved_patients_are_irrelevant(
    num: int, seed: int
) -> None:
    encoder, batch, present_BM = make(num, seed)
    tokens = encoder({"ecg": batch}, present_BM)
    owners = present_BM[:, 1].nonzero().squeeze(1).repeat_interleave(2)
    assert tokens.owner_T.tolist() == owners.tolist()
    assert torch.isfinite(tokens.x_TD).all()
    order = torch.randperm(num)
    x_V = torch.where(present_BM[batch.owner_V, 1][:, None, None], batch.x_V, torch.inf)
    other = FileBatch(x_V=x_V[order], owner_V=batch.owner_V[order])
    torch.testing.assert_close(encoder({"ecg": other}, present_BM).x_TD, tokens.x_TD)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 8), st.integers(0, 10**6))
def test_a_patient_has_the_same_tokens_in_any_batch(num: int, seed: int) -> None:
    encoder, batch, present_BM = make(num, seed)
    tokens = encoder({"ecg": batch}, present_BM)
    for b in range(4):
        own = batch.owner_V == b
        alone = FileBatch(x_V=batch.x_V[own], owner_V=0 * batch.owner_V[own])
        found = encoder({"ecg": alone}, present_BM[b : b + 1])
        torch.testing.assert_close(found.x_TD, tokens.x_TD[tokens.owner_T == b])


def test_a_gap_is_not_a_sample_of_zero() -> None:
    encoder, batch, present_BM = make(5, 0)
    present_BM |= True
    filled = replace(batch, x_V=batch.x_V.nan_to_num(0.0))
    found = encoder({"ecg": filled}, present_BM).x_TD
    assert not torch.allclose(found, encoder({"ecg": batch}, present_BM).x_TD)


def test_the_gradient_reaches_every_parameter() -> None:
    encoder, batch, present_BM = make(8, 1)
    encoder({"ecg": batch}, present_BM | True).x_TD.square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_tokens_have_the_scale_of_those_of_vectors() -> None:
    encoder, batch, _ = make(60, 2, width=64)
    present_BM = torch.tensor([[False, True]] * 4)
    vector = VectorModality(name="v", index=0, mean=(0.0,) * 64, std=(1.0,) * 64)
    other = VectorEncoder(VectorSchema(modalities=(vector,)), width=64, num_modalities=1)
    expected = other({"v": torch.randn(60, 64)}, torch.ones(60, 1, dtype=torch.bool))
    found = encoder({"ecg": batch}, present_BM)
    assert 0.5 < float(found.x_TD.detach().std() / expected.x_TD.detach().std()) < 2


def test_the_rate_of_beats_decides_and_is_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REMIND_CACHE", str(tmp_path / "cache"))
    section = 'kind = "signal"\nleads = ["I", "II"]\nseconds = 4.0\nsource_rate = 100.0\n'
    folder = write_files_cohort(tmp_path, beating_signals(tmp_path, 250, ".npy"), section)
    cohort = read_cohort(folder)
    method = METHODS["default"]
    settings_ = with_overrides(method.default_settings(), [*FEW, "device=cpu", "patience=0"])
    frame = fit_run(cohort, method, settings_).predictions("test", cohort)
    assert roc_auc_score(frame["label"].astype(int), frame["prob_1"]) > 0.9
