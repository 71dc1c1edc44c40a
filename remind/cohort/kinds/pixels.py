"""What images and volumes have in common: intensities in [0, 1], kept with 16 bits."""

# V records, C channels, S values of a channel, N patients, F features of a frozen network,
# K numbers of a summary

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from remind.cohort.formats import FormatError
from remind.cohort.formats.geometry import resample, stretched
from remind.cohort.kinds.files import (
    FileEncoded,
    FileKind,
    FileModality,
    FileSpec,
    FileValues,
    mean_of_items,
    read_chunks,
)
from remind.cohort.kinds.moments import moments_of_sums
from remind.errors import InputError, did_you_mean

NETWORKS = (
    *(f"densenet{depth}" for depth in (121, 169, 201, 264)),
    *(f"resnet{depth}" for depth in (10, 18, 34, 50, 101, 152, 200)),
    *(f"efficientnet-b{size}" for size in range(9)),
)
WHITE = 65535  # of a record, uint16
LUMA = np.array([[0.299], [0.587], [0.114]], np.float32)  # ITU-R BT.601
PERCENTILES = (1, 10, 25, 50, 75, 90, 99)
NUM_CELLS = {2: 8, 3: 4}  # spatial axes -> cells along each, of the plain columns


class PixelSpec(FileSpec):
    """Images or volumes and the network that reads them.

    `spacing_mm`: of the grid of a record, along each axis; then files are cropped and padded around
    their centre, not stretched. `network`: "small", trained from scratch, or a network of MONAI.
    `weights`: of that network, a local .safetensors or PyTorch file. `train`: false keeps the
    network as its weights are and caches its features. `augment`: turn, shift and brighten while
    training. `flips`: mirror too, where left and right mean the same. `pixel_mean`, `pixel_std`: of
    the intensities (0 to 1) that the weights were trained on (default: ImageNet's).
    """

    spacing_mm: list[float] | None = None
    network: str = "small"
    weights: str | None = None
    train: bool = True
    augment: bool = True
    flips: bool = False
    pixel_mean: float = 0.449
    pixel_std: float = Field(default=0.226, gt=0)

    @model_validator(mode="after")
    def _network_and_weights(self) -> Self:
        names = ("small", *NETWORKS)
        if self.network not in names:
            hint = did_you_mean(self.network, names) or f" (there are {', '.join(names)})"
            raise ValueError(f'network "{self.network}" is unknown{hint}')
        if self.weights is not None and self.network == "small":
            raise ValueError('weights need a network of MONAI, such as network = "densenet121"')
        if not self.train and self.weights is None:
            raise ValueError(
                "train = false needs weights: a frozen network of random numbers sees nothing"
            )
        return self


@dataclass(frozen=True, kw_only=True)
class PixelModality(FileModality):
    """One modality of images or volumes.

    Args:
        shape: of a record: channels, then spatial axes.
        network, weights, train, augment, flips: as in cohort.toml; weights with their folder.
        pixel_mean, pixel_std: per channel, of the intensities that the network expects: those of
            the training rows, or those that the weights were trained on.
        feature_mean, feature_std: of the training rows, if the network is frozen.
    """

    shape: tuple[int, ...]
    network: str
    weights: str | None
    train: bool
    augment: bool
    flips: bool
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]
    feature_mean: tuple[float, ...] = ()
    feature_std: tuple[float, ...] = ()


class PixelKind(FileKind):
    """Records are uint16 (C, spatial axes); batches hold them, or features of a frozen network."""

    modality = PixelModality

    def fit_modality(
        self, name: str, index: int, raw: FileValues, spec: PixelSpec
    ) -> PixelModality:
        channels = raw.store.shape[0]
        if spec.weights is None:
            mean, std = _moments(
                read_chunks(raw.store, raw.items.columns["place"]), channels, WHITE
            )
        else:
            mean, std = (spec.pixel_mean,) * channels, (spec.pixel_std,) * channels
        item = PixelModality(
            name=name,
            index=index,
            num_tokens=spec.num_tokens,
            shape=raw.store.shape,
            network=spec.network,
            weights=_weights_file(name, spec, raw.folder),
            train=spec.train,
            augment=spec.augment,
            flips=spec.flips,
            pixel_mean=mean,
            pixel_std=std,
        )
        if spec.train:
            return item
        features = _features(item, raw)
        chunks = read_chunks(features.store, features.items.columns["place"])
        mean, std = _moments(chunks, features.store.shape[0])
        return replace(item, feature_mean=mean, feature_std=std)

    def source(self, item: PixelModality, raw: FileValues) -> FileEncoded:
        if not item.train:
            return _features(item, raw)
        axes = (-1, *[1] * (len(item.shape) - 1))
        mean_C, std_C = (
            np.array(numbers, np.float32).reshape(axes)
            for numbers in (item.pixel_mean, item.pixel_std)
        )
        return FileEncoded(
            items=raw.items, store=raw.store, shift=mean_C * WHITE, scale=1 / (std_C * WHITE)
        )

    def summary(self, item: PixelModality, records_V: np.ndarray) -> tuple[list[str], np.ndarray]:
        unit_VC = records_V.astype(np.float32) / WHITE
        grey_V = unit_VC.mean(axis=1)
        spatial = grey_V.shape[1:]
        flat_V = grey_V.reshape(len(grey_V), math.prod(spatial))
        cells = [min(size, NUM_CELLS[len(spatial)]) for size in spatial]
        names = ["mean", "std", *(f"p{p}" for p in PERCENTILES)]
        names += [f"channel{c}" for c in range(item.shape[0])]
        names += ["_".join(map(str, ("cell", *place))) for place in np.ndindex(*cells)]
        small = resample(np.moveaxis(grey_V, 0, -1), cells, stretched(spatial, cells))
        parts = [
            flat_V.mean(axis=1, keepdims=True),
            flat_V.std(axis=1, keepdims=True),
            np.percentile(flat_V, PERCENTILES, axis=1).T,
            unit_VC.mean(axis=tuple(range(2, unit_VC.ndim))),
            np.moveaxis(small, -1, 0).reshape(len(grey_V), math.prod(cells)),
        ]
        return names, np.concatenate(parts, axis=1)

    def table(self, item: PixelModality, raw: FileValues) -> tuple[list[str], np.ndarray]:
        """Plain columns (N, K); the features of a frozen network stand beside the intensities."""
        names, x_NK = super().table(item, raw)
        if item.train:
            return names, x_NK
        features = _features(item, raw)
        x_VF = features.store.read(features.items.columns["place"])
        more = [f"{item.name}_feature{f}" for f in range(x_VF.shape[1])]
        return names + more, np.concatenate([x_NK, mean_of_items(x_VF, features.items)], axis=1)


def as_record(
    unit: np.ndarray, channels: int, shape: Sequence[int], steps: Sequence[float]
) -> np.ndarray:
    """uint16 (C, spatial axes) of intensities (spatial axes, 1 or 3) in [0, 1]."""
    if unit.shape[-1] != channels:
        unit = unit @ LUMA if channels == 1 else np.repeat(unit, channels, axis=-1)
    grid = resample(unit, shape, steps)
    return np.round(np.moveaxis(grid, -1, 0).clip(0, 1) * WHITE).astype(np.uint16)


def spacing_steps(wanted_mm: Sequence[float], spacing_mm: Sequence[float] | None) -> list[float]:
    """Inputs from one place of the grid to the next.

    Raises:
        FormatError: the file does not say its spacing.
    """
    if spacing_mm is None:
        raise FormatError(
            "does not say its pixel spacing, which spacing_mm needs: use files that do, "
            "or remove spacing_mm"
        )
    return [wanted / own for wanted, own in zip(wanted_mm, spacing_mm, strict=True)]


def check_axes(name: str, values: Sequence[float] | None, num: int) -> None:
    """Raise a ValueError unless there is a positive number per axis."""
    if values is not None and (len(values) != num or min(values) <= 0):
        raise ValueError(f"{name} needs {num} numbers above 0, got {list(values)}")


def check_window(window: Sequence[float] | str | None) -> None:
    """Raise a ValueError unless a window is a centre and a width above 0."""
    if isinstance(window, list) and (len(window) != 2 or window[1] <= 0):
        raise ValueError(f"window needs a centre and a width above 0, got {list(window)}")


def _moments(
    chunks: Iterable[np.ndarray], channels: int, white: float = 1.0
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of records (V, C, ...); std 1 where constant."""
    count, sum_C, square_C = 0, np.zeros(channels), np.zeros(channels)
    for records in chunks:
        x_CS = np.moveaxis(records, 1, 0).reshape(channels, -1).astype(np.float64) / white
        count += x_CS.shape[1]
        sum_C += x_CS.sum(axis=1)
        square_C += (x_CS**2).sum(axis=1)
    return moments_of_sums(sum_C, square_C, count)


def _weights_file(name: str, spec: PixelSpec, folder: Path) -> str | None:
    if spec.weights is None:
        return None
    file = (folder / spec.weights).absolute()
    if not file.is_file():
        raise InputError(
            f"[modalities.{name}] weights names {file}, which does not exist: "
            "paths are relative to the folder of the cohort"
        )
    return str(file)


def _features(item: PixelModality, raw: FileValues) -> FileEncoded:
    """The features of a frozen network, made if need be, in place of the records."""
    from remind.cohort.features.image import feature_store  # torch, only where it is needed

    assert item.weights is not None
    keys_V = [key.decode() for key in raw.items.columns["key"]]
    store = feature_store(item, raw.store, keys_V, raw.items.columns["place"])
    items = replace(raw.items, columns={"place": store.find(keys_V)})
    mean_F = np.array(item.feature_mean or 0.0, np.float32)
    std_F = np.array(item.feature_std or 1.0, np.float32)
    return FileEncoded(items=items, store=store, shift=mean_F, scale=1 / std_F)
