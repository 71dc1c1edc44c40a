"""Networks of MONAI for images and volumes, their weights, and the features of frozen ones."""

# V records, F features, C channels

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from remind.cohort.extras import require
from remind.cohort.store import ContentKeys, RecordStore
from remind.errors import InputError

if TYPE_CHECKING:
    from remind.cohort.kinds.pixels import PixelModality

VERSION = 1  # of the features; another one makes them anew
WHITE = 65535  # of a record
CHUNK = 32  # records that go through a network together, and that a killed run makes again at most
NUM_GROUPS = 8
EPSILON = 1e-5  # that batch normalisation adds to a variance
WRAPPED = ("state_dict", "model_state_dict", "model")
PREFIXES = ("module.", "model.", "backbone.", "_orig_mod.")
TORCHVISION_DENSE = re.compile(r"(denselayer\d+)\.(norm[12]|conv[12])\.")


def build_network(name: str, *, dims: int, channels: int, has_weights: bool) -> tuple[Any, int]:
    """A network of MONAI without its classifier, (V, C, spatial axes) -> (V, F), and F.

    Args:
        name: one of `NETWORKS`.
        dims: number of spatial axes.
        channels: C.
        has_weights: whether weights will be loaded; without, batch normalisation, which needs
            batches of many images, becomes group normalisation.
    """
    from torch import nn

    nets = require("monai.networks.nets", "image", f'network = "{name}"')
    if name.startswith("densenet"):
        build = getattr(nets, name.replace("densenet", "DenseNet"))
        network = build(spatial_dims=dims, in_channels=channels, out_channels=1)
        owner, head = network.class_layers, "out"
    elif name.startswith("resnet"):
        network = getattr(nets, name)(
            spatial_dims=dims, n_input_channels=channels, conv1_t_stride=2, num_classes=1
        )
        owner, head = network, "fc"
    else:
        network = nets.EfficientNetBN(
            name, pretrained=False, spatial_dims=dims, in_channels=channels, num_classes=1
        )
        owner, head = network, "_fc"
    num_features = getattr(owner, head).in_features
    setattr(owner, head, nn.Identity())
    if not has_weights:
        _normalise_by_groups(network)
    return network, num_features


def load_weights(network: Any, file: Path) -> None:
    """Load weights of MONAI or torchvision into a network; those of a classifier are left out.

    Raises:
        InputError: the file cannot be read, or its weights are those of another network.
    """
    given = {_plain(name): tensor for name, tensor in _read(file).items()}
    own = network.state_dict()
    weights = {**_shortcuts(own, given), **given}
    for name, tensor in own.items():
        if name not in weights and not name.endswith("num_batches_tracked"):
            raise InputError(
                f"{file} has no weights for {name}: they are those of another network; name "
                "theirs with the key network"
            )
        if name in weights and weights[name].shape != tensor.shape:
            raise InputError(
                f"{file} has weights of shape {tuple(weights[name].shape)} for {name}, expected "
                f"{tuple(tensor.shape)}: check the keys network and channels"
            )
    network.load_state_dict({name: weights.get(name, tensor) for name, tensor in own.items()})


def feature_store(
    item: "PixelModality", records: RecordStore, keys: Sequence[str], places: np.ndarray
) -> RecordStore:
    """A store that holds the features of all records; those that it lacks are made.

    Args:
        item: whose network and weights to use.
        records: of the images.
        keys, places: of the images that are asked for.

    Raises:
        InputError: the weights are absent or do not fit.
    """
    import torch

    assert item.weights is not None
    file = Path(item.weights)
    if not file.is_file():
        raise InputError(
            f"[modalities.{item.name}] needs the weights {file}, which do not exist: put them back"
        )
    (digest,) = ContentKeys().of([file])
    dims, channels = len(item.shape) - 1, item.shape[0]
    network, num_features = build_network(
        item.network, dims=dims, channels=channels, has_weights=True
    )
    made_by = (VERSION, records.folder.name, item.network, digest, item.pixel_mean, item.pixel_std)
    store = RecordStore(f"image features {made_by}", (num_features,), np.float32)
    place_of = dict(zip(keys, places.tolist(), strict=True))
    is_new = store.find(list(place_of)) < 0
    missing = [key for key, new in zip(place_of, is_new.tolist(), strict=True) if new]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if missing:
        load_weights(network, file)
        network.eval().to(device)
    for start in range(0, len(missing), CHUNK):
        chunk = missing[start : start + CHUNK]
        x_V = _standard(records.read(np.array([place_of[key] for key in chunk])), item)
        with torch.inference_mode():
            x_VF = network(torch.from_numpy(x_V).to(device)).float().cpu().numpy()
        store.add(chunk, list(x_VF))
    return store


def _standard(records_V: np.ndarray, item: "PixelModality") -> np.ndarray:
    axes = (-1, *[1] * (len(item.shape) - 1))
    mean_C, std_C = (
        np.array(numbers, np.float32).reshape(axes) for numbers in (item.pixel_mean, item.pixel_std)
    )
    return (records_V.astype(np.float32) / WHITE - mean_C) / std_C


def _normalise_by_groups(module: Any) -> None:
    """Put group normalisation in the place of batch normalisation."""
    from torch import nn
    from torch.nn.modules.batchnorm import _BatchNorm

    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            setattr(module, name, nn.GroupNorm(NUM_GROUPS, child.num_features))
        else:
            _normalise_by_groups(child)


def _read(file: Path) -> Mapping[str, Any]:
    """The tensors of a safetensors or PyTorch file; nothing else is ever unpickled."""
    import torch
    from safetensors.torch import load_file

    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        data = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # of many classes; whatever it is, these are no weights
        raise InputError(
            f"{file} cannot be read as weights: give a .safetensors file, or a PyTorch file of "
            "tensors only"
        ) from error
    for key in WRAPPED:
        if isinstance(data, dict) and isinstance(data.get(key), dict):
            data = data[key]
    if not isinstance(data, dict) or not all(isinstance(x, torch.Tensor) for x in data.values()):
        raise InputError(f"{file} does not hold a dictionary of tensors: save the state_dict")
    return data


def _plain(name: str) -> str:
    """The name of a weight in MONAI's networks."""
    while prefix := next((prefix for prefix in PREFIXES if name.startswith(prefix)), None):
        name = name.removeprefix(prefix)
    return TORCHVISION_DENSE.sub(r"\1.layers.\2.", name)


def _shortcuts(own: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Weights for the residual shortcuts of a network that were saved without them.

    Those of torchvision have no bias, and those of type A (He et al. 2016) no weights at all: they
    take every second place and pad channels with zeros.
    """
    import torch

    found: dict[str, Any] = {}
    for name, tensor in own.items():
        stem, is_shortcut, part = name.partition(".downsample.")
        if not is_shortcut or name in given:
            continue
        if part == "0.bias":
            found[name] = torch.zeros_like(tensor)
        elif f"{stem}.downsample.0.weight" in given:
            continue
        elif part == "0.weight":
            found[name] = torch.eye(*tensor.shape[:2]).reshape(tensor.shape)
        elif part == "1.running_var":
            found[name] = torch.full_like(tensor, 1 - EPSILON)
        else:
            is_one = part == "1.weight"
            found[name] = torch.ones_like(tensor) if is_one else torch.zeros_like(tensor)
    return found
