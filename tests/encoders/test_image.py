"""Images and volumes to tokens."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from remind.cohort import VectorModality, VectorSchema, read_cohort
from remind.cohort.kinds.files import FileBatch, FileSchema
from remind.cohort.kinds.pixels import PixelModality
from remind.encoders import VectorEncoder
from remind.encoders.augment import augment
from remind.encoders.image import PixelEncoder
from remind.methods import METHODS
from remind.training import fit_run, open_run, with_overrides
from tests.cohort.make_files import blob_images, blob_volumes, write_files_cohort

SHAPES = {"ct": (1, 9, 10), "photo": (3, 8, 8), "mri": (1, 5, 6, 7)}
WIDTH = 6
FEW = ["epochs=7", "width=32", "members=4", "hidden=32", "experts=4", "batch_size=32", "ema=0"]


def modality(name: str, index: int, **keys: Any) -> PixelModality:
    shape = SHAPES[name]
    default: dict[str, Any] = {
        "num_tokens": 2,
        "shape": shape,
        "network": "small",
        "weights": None,
        "train": True,
        "augment": True,
        "flips": True,
        "pixel_mean": (0.0,) * shape[0],
        "pixel_std": (1.0,) * shape[0],
    }
    return PixelModality(name=name, index=index, **{**default, **keys})


def make(seed: int) -> tuple[PixelEncoder, dict[str, FileBatch], torch.Tensor]:
    """An encoder of a grey and a coloured modality, 0 and 2 of 3, and images of 4 patients."""
    torch.manual_seed(seed)
    schema = FileSchema(modalities=(modality("ct", 0), modality("photo", 2, num_tokens=1)))
    encoder = PixelEncoder(schema, width=WIDTH, num_modalities=3).double()
    values = {name: random_items(SHAPES[name], 4) for name in ("ct", "photo")}
    return encoder, values, torch.rand(4, 3) < 0.6


def random_items(shape: tuple[int, ...], num_patients: int) -> FileBatch:
    owner_V = torch.randint(0, num_patients, (int(torch.randint(0, 8, ())),)).sort().values
    return FileBatch(x_V=torch.randn(len(owner_V), *shape).double(), owner_V=owner_V)


def changed(batch: FileBatch, rows: torch.Tensor) -> FileBatch:
    return FileBatch(x_V=batch.x_V[rows], owner_V=batch.owner_V[rows])


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6))
def test_the_order_of_images_and_those_of_unobserved_modalities_are_irrelevant(seed: int) -> None:
    encoder, values, present_BM = make(seed)
    encoder.eval()
    tokens = encoder(values, present_BM)
    pairs = [(b, m) for b, m in present_BM.nonzero().tolist() if m != 1]
    expected = [pair for pair in pairs for _ in range(2 if pair[1] == 0 else 1)]
    found = list(zip(tokens.owner_T.tolist(), tokens.modality_T.tolist(), strict=True))
    assert found == expected
    spoilt = {}
    for name, m in (("ct", 0), ("photo", 2)):
        batch = changed(values[name], torch.randperm(len(values[name].owner_V)))
        batch.x_V[~present_BM[batch.owner_V, m]] = torch.nan
        spoilt[name] = batch
    torch.testing.assert_close(encoder(spoilt, present_BM).x_TD, tokens.x_TD)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10**6))
def test_a_patient_has_the_same_tokens_in_any_batch(seed: int) -> None:
    encoder, values, present_BM = make(seed)
    encoder.eval()
    tokens = encoder(values, present_BM)
    for b in range(len(present_BM)):
        own = {
            name: changed(batch, (batch.owner_V == b).nonzero().squeeze(1))
            for name, batch in values.items()
        }
        alone = {name: replace(batch, owner_V=0 * batch.owner_V) for name, batch in own.items()}
        found = encoder(alone, present_BM[b : b + 1])
        torch.testing.assert_close(found.x_TD, tokens.x_TD[tokens.owner_T == b])


@pytest.mark.parametrize("name", SHAPES)
def test_the_gradient_reaches_every_parameter_and_no_image_is_no_error(name: str) -> None:
    torch.manual_seed(0)
    schema = FileSchema(modalities=(modality(name, 0),))
    encoder = PixelEncoder(schema, width=WIDTH, num_modalities=1)
    x_V = torch.randn(6, *SHAPES[name])
    owner_V = torch.tensor([0, 0, 1, 2, 2, 2])
    present_BM = torch.ones(3, 1, dtype=torch.bool)
    encoder({name: FileBatch(x_V=x_V, owner_V=owner_V)}, present_BM).x_TD.square().sum().backward()
    for label, parameter in encoder.named_parameters():
        assert parameter.grad is not None, label
        assert parameter.grad.abs().sum() > 0, label
    nothing = {name: FileBatch(x_V=x_V[:0], owner_V=owner_V[:0])}
    for training in (True, False):
        encoder.train(training)
        assert encoder(nothing, ~present_BM).x_TD.shape == (0, WIDTH)


def test_images_of_hidden_modalities_cost_nothing() -> None:
    encoder, values, present_BM = make(5)
    seen: list[int] = []
    for part in encoder.parts:
        part.network.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    encoder(values, present_BM)
    owners = [present_BM[values[name].owner_V, m] for name, m in (("ct", 0), ("photo", 2))]
    assert seen == [int(observed_V.sum()) for observed_V in owners]
    assert sum(seen) < sum(len(observed_V) for observed_V in owners)


@pytest.mark.parametrize("name", SHAPES)
def test_tokens_have_the_scale_of_those_of_vectors(name: str) -> None:
    torch.manual_seed(0)
    vector = VectorModality(name="v", index=0, mean=(0.0,) * 64, std=(1.0,) * 64)
    present_BM = torch.ones(50, 1, dtype=torch.bool)
    owner_V = torch.arange(50)
    encoder = PixelEncoder(FileSchema(modalities=(modality(name, 0),)), width=64, num_modalities=1)
    other = VectorEncoder(VectorSchema(modalities=(vector,)), width=64, num_modalities=1)
    found = encoder(
        {name: FileBatch(x_V=torch.randn(50, *SHAPES[name]), owner_V=owner_V)}, present_BM
    )
    expected = other({"v": torch.randn(50, 64)}, present_BM)
    assert 0.5 < float(found.x_TD.detach().std() / expected.x_TD.detach().std()) < 2


def test_augmentation_is_for_training_only_and_small() -> None:
    encoder, values, present_BM = make(3)
    present_BM |= True
    encoder.eval()
    first, second = (encoder(values, present_BM).x_TD for _ in range(2))
    assert torch.equal(first, second)
    encoder.train()
    assert not torch.equal(encoder(values, present_BM).x_TD, first)
    still = PixelEncoder(
        FileSchema(modalities=(modality("ct", 0, augment=False),)), width=WIDTH, num_modalities=3
    ).double()
    assert torch.equal(still(values, present_BM).x_TD, still(values, present_BM).x_TD)


@pytest.mark.parametrize("dims", [2, 3])
def test_an_augmented_image_is_the_image_moved_a_little(dims: int) -> None:
    """A spot stays within the largest shift and turn; it changes sides by a flip alone."""
    torch.manual_seed(0)
    size = 32
    x_V = torch.zeros(200, 1, *[size] * dims)
    x_V[(..., *[slice(14, 18)] * (dims - 1), slice(26, 30))] = 1.0
    place = torch.arange(size) + 0.5
    sides = {}
    for flips in (False, True):
        moved_V = augment(x_V, flips=flips) - 0.5
        weight_VX = moved_V.clamp(min=0).flatten(1, -2).sum(1)
        weight_VY = moved_V.clamp(min=0).sum(-1).flatten(1, -2).sum(1)
        x_V_mean = (weight_VX * place).sum(1) / weight_VX.sum(1)
        y_V_mean = (weight_VY * place).sum(1) / weight_VY.sum(1)
        assert ((y_V_mean - 16).abs() < 7).all()
        assert 0.5 < y_V_mean.std() < 3
        sides[flips] = float((x_V_mean > 16).float().mean())
    assert sides[False] == 1.0
    assert 0.3 < sides[True] < 0.7


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REMIND_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cohort"


KINDS = {"image": (blob_images, [32, 32]), "volume": (blob_volumes, [16, 16, 16])}


@pytest.mark.parametrize("kind", KINDS)
def test_a_blob_somewhere_decides_and_is_learned(kind: str, cache: Path) -> None:
    make_files: Callable[[Path, int], list[str]]
    make_files, size = KINDS[kind]
    section = f'kind = "{kind}"\nsize = {size}\n'
    cohort = read_cohort(write_files_cohort(cache, make_files(cache, 200), section))
    method = METHODS["default"]
    run = fit_run(
        cohort,
        method,
        with_overrides(method.default_settings(), [*FEW, "device=cpu"]),
        out=cache.parent / "run",
    )
    frame = run.predictions("test", cohort)
    assert roc_auc_score(frame["label"].astype(int), frame["prob_1"]) > 0.9
    again = open_run(cache.parent / "run", METHODS).predictions("test", cohort)
    np.testing.assert_allclose(again["prob_1"], frame["prob_1"])
