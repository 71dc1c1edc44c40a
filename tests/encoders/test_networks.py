"""Networks of MONAI: weights of others, frozen features, and training from scratch."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from remind.cohort import Encoding, flat_table, read_cohort
from remind.cohort.features import image as features
from remind.cohort.features.image import build_network, load_weights
from remind.cohort.kinds.files import FileBatch, FileSchema
from remind.cohort.kinds.pixels import PixelModality
from remind.encoders import TokenEncoder
from remind.encoders.image import PixelEncoder
from remind.errors import InputError
from tests.cohort.make_files import blob_images, write_files_cohort

WIDTH = 6


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REMIND_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cohort"


def modality(network: str, weights: str | None = None, *, augment: bool = True) -> PixelModality:
    return PixelModality(
        name="ct",
        index=0,
        num_tokens=2,
        shape=(1, 32, 32),
        network=network,
        weights=weights,
        train=True,
        augment=augment,
        flips=False,
        pixel_mean=(0.0,),
        pixel_std=(1.0,),
    )


def torchvision_like(dims: int, channels: int) -> tuple[Any, dict[str, torch.Tensor]]:
    """A frozen resnet10, and its weights as others save them: wrapped, with a classifier."""
    torch.manual_seed(1)
    network, num_features = build_network(
        "resnet10", dims=dims, channels=channels, has_weights=True
    )
    for module in network.modules():
        if hasattr(module, "running_mean"):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
        if getattr(module, "bias", None) is not None and "downsample" in str(module):
            module.bias.data.zero_()
    for name, tensor in network.state_dict().items():
        if name.endswith("downsample.0.bias"):
            tensor.zero_()
    weights = {
        name: tensor.clone()
        for name, tensor in network.state_dict().items()
        if not name.endswith("downsample.0.bias")
    }
    weights |= {"fc.weight": torch.zeros(7, num_features), "fc.bias": torch.zeros(7)}
    return network.eval(), weights


def test_weights_are_loaded_whoever_saved_them(tmp_path: Path) -> None:
    network, weights = torchvision_like(2, 3)
    torch.save({"state_dict": {f"module.{k}": v for k, v in weights.items()}}, tmp_path / "w.pt")
    save_file(weights, tmp_path / "w.safetensors")
    x_V = torch.randn(2, 3, 32, 32)
    for name in ("w.pt", "w.safetensors"):
        fresh, _ = build_network("resnet10", dims=2, channels=3, has_weights=True)
        load_weights(fresh, tmp_path / name)
        torch.testing.assert_close(fresh.eval()(x_V), network(x_V))


def test_shortcuts_of_type_a_are_weights_too(tmp_path: Path) -> None:
    """MedicalNet's networks take every second place and pad with zeros where ours convolve."""
    from monai.networks.nets import resnet10

    torch.manual_seed(0)
    theirs = resnet10(
        spatial_dims=3, n_input_channels=1, conv1_t_stride=2, shortcut_type="A", feed_forward=False
    ).eval()
    torch.save(theirs.state_dict(), tmp_path / "medical.pth")
    ours, _ = build_network("resnet10", dims=3, channels=1, has_weights=True)
    load_weights(ours, tmp_path / "medical.pth")
    x_V = torch.randn(2, 1, 16, 16, 16)
    torch.testing.assert_close(ours.eval()(x_V), theirs(x_V), rtol=1e-4, atol=1e-4)


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    _, weights = torchvision_like(2, 3)
    save_file(weights, tmp_path / "w.safetensors")
    (tmp_path / "text.pt").write_text("hello")
    torch.save([1, 2], tmp_path / "list.pt")
    for name, file, channels, message in (
        ("resnet18", "w.safetensors", 3, r"has no weights for layer1.1.conv1.weight: they are"),
        ("resnet10", "w.safetensors", 1, r"weights of shape \(64, 3, 7, 7\) for conv1.weight"),
        ("resnet10", "text.pt", 3, "cannot be read as weights: give a .safetensors file"),
        ("resnet10", "list.pt", 3, "does not hold a dictionary of tensors"),
    ):
        network, _ = build_network(name, dims=2, channels=channels, has_weights=True)
        with pytest.raises(InputError, match=message):
            load_weights(network, tmp_path / file)


@pytest.mark.parametrize("name", ["densenet121", "resnet18", "efficientnet-b0"])
def test_networks_from_scratch_train_on_single_images(name: str) -> None:
    torch.manual_seed(0)
    encoder = PixelEncoder(FileSchema(modalities=(modality(name),)), width=WIDTH, num_modalities=1)
    values = {"ct": FileBatch(x_V=torch.randn(1, 1, 32, 32), owner_V=torch.tensor([0]))}
    present_BM = torch.tensor([[True], [False]])
    encoder(values, present_BM).x_TD.square().sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())
    empty = {"ct": FileBatch(x_V=values["ct"].x_V[:0], owner_V=torch.zeros(0, dtype=torch.long))}
    assert encoder(empty, ~present_BM[:1]).x_TD.shape == (0, WIDTH)


def test_features_of_a_frozen_network_are_made_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, weights = torchvision_like(2, 1)
    cache.mkdir()
    save_file(weights, cache / "w.safetensors")
    section = 'kind = "image"\nsize = [32, 32]\nnetwork = "resnet10"\nweights = "w.safetensors"\n'
    folder = write_files_cohort(cache, blob_images(cache, 40), section + "train = false\n")
    cohort = read_cohort(folder)
    monkeypatch.setattr(features, "CHUNK", 8)
    made: list[int] = []
    standard = features._standard

    def counted(records_V: np.ndarray, item: Any) -> np.ndarray:
        if len(made) == 2:  # killed at the third chunk of 24 training images
            made.append(0)
            raise KeyboardInterrupt
        made.append(len(records_V))
        return standard(records_V, item)

    monkeypatch.setattr(features, "_standard", counted)
    with pytest.raises(KeyboardInterrupt):
        Encoding.fit(cohort, cohort.rows("train"))
    encoding = Encoding.fit(cohort, cohort.rows("train"))
    encoded = encoding.transform(cohort)
    assert made == [8, 8, 0, 8, 8, 8]  # the rest of train, then val and test
    Encoding.fit(cohort, cohort.rows("train")).transform(cohort)
    flat = flat_table(encoding, cohort)
    assert sum(made) == 40

    batch = encoded.batch(np.arange(40))
    pictures = batch.values["image"]["pictures"]
    raw = cohort.values["pictures"]
    records = raw.store.read(raw.items.columns["place"]).astype(np.float32) / 65535
    with torch.no_grad():
        x_VF = network(torch.from_numpy((records - 0.449) / 0.226))
    train = cohort.rows("train")
    mean_F, std_F = x_VF[train].mean(0), x_VF[train].std(0, correction=0)
    assert (std_F > 1e-3).sum() > 100
    std_F = torch.where(std_F > 1e-6, std_F, 1.0)  # what is always 0 stays so
    torch.testing.assert_close(pictures.x_V, (x_VF - mean_F) / std_F, rtol=1e-3, atol=1e-3)
    column = flat.names.index("pictures_feature3")
    np.testing.assert_allclose(flat.x_NF[:, column], x_VF[:, 3], rtol=1e-4)

    torch.manual_seed(0)
    tokens = TokenEncoder(encoding.schemas, width=WIDTH, num_modalities=2)(batch)
    assert torch.isfinite(tokens.x_TD).all()
    assert (tokens.modality_T == 1).sum() == (2 + 1) * 40  # two of the features, one of the summary
    shutil.move(cache / "w.safetensors", cache / "gone")
    with pytest.raises(InputError, match=r"needs the weights .*w.safetensors, which do not exist"):
        encoding.transform(cohort)
    with pytest.raises(InputError, match=r"\[modalities.pictures\] weights names .*which does not"):
        Encoding.fit(cohort, train)


def test_a_network_that_goes_on_from_weights_keeps_their_batch_statistics(cache: Path) -> None:
    _, weights = torchvision_like(2, 1)
    cache.mkdir()
    save_file(weights, cache / "w.safetensors")
    item = modality("resnet10", str(cache / "w.safetensors"), augment=False)
    schema = FileSchema(modalities=(item,))
    torch.manual_seed(0)
    encoder = PixelEncoder(schema, width=WIDTH, num_modalities=1).train()
    values = {"ct": FileBatch(x_V=torch.randn(3, 1, 32, 32), owner_V=torch.arange(3))}
    present_BM = torch.ones(3, 1, dtype=torch.bool)
    tokens = encoder(values, present_BM)
    tokens.x_TD.square().sum().backward()
    torch.testing.assert_close(encoder.eval()(values, present_BM).x_TD, tokens.x_TD)
    (cache / "w.safetensors").unlink()  # a trained model brings its own
    again = PixelEncoder(schema, width=WIDTH, num_modalities=1).eval()
    again.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(again(values, present_BM).x_TD, tokens.x_TD)
