"""NPY files of images, volumes and signals."""

from pathlib import Path

import numpy as np

from remind.cohort.formats.base import FormatError, Pixels, Waves, require_finite, shape_text

WHITE = {"bool": 1.0, "uint8": 255.0, "uint16": 65535.0}


def read_npy_image(path: Path) -> Pixels:
    """An image (H, W), (H, W, C) or (C, H, W), C being 1 or 3; 4 is colour and opacity.

    Raises:
        FormatError: it is damaged, holds no finite numbers, or no image.
    """
    values = _load(path)
    if values.ndim == 3 and values.shape[2] not in (1, 3, 4) and values.shape[0] in (1, 3, 4):
        values = np.moveaxis(values, 0, 2)
    if values.ndim == 2:
        values = values[:, :, None]
    if values.ndim != 3 or values.shape[2] not in (1, 3, 4):
        raise FormatError(
            f"holds an array of {shape_text(values.shape)}, expected an image: "
            "height x width, with 1 or 3 channels before or after"
        )
    return _pixels(values[:, :, :3], 2)


def read_npy_volume(path: Path) -> Pixels:
    """A volume (D, H, W).

    Raises:
        FormatError: it is damaged, holds no finite numbers, or no volume.
    """
    values = _load(path)
    if values.ndim != 3:
        raise FormatError(
            f"is {values.ndim}-D ({shape_text(values.shape)}): give one 3-D volume per file"
        )
    return _pixels(values, 3)


def read_npy_signal(path: Path, *, rate_hz: float, is_samples_first: bool) -> Waves:
    """A signal (L, S), or (S, L), or (S,) of one lead; NaN are gaps.

    Raises:
        FormatError: it is damaged, holds no numbers, or no signal.
    """
    values = _load(path, is_finite=False)
    values = values[None] if values.ndim == 1 else values
    if values.ndim != 2:
        raise FormatError(
            f"holds an array of {shape_text(values.shape)}, expected leads and samples"
        )
    values_LS = values.T if is_samples_first else values
    facts = {"type": "npy", "rate_hz": rate_hz, "seconds": values_LS.shape[1] / rate_hz}
    return Waves(
        values=tuple(values_LS.astype(np.float64)),
        rates_hz=(rate_hz,) * len(values_LS),
        leads=None,
        facts={**facts, "leads": len(values_LS)},
    )


def _load(path: Path, *, is_finite: bool = True) -> np.ndarray:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise FormatError("is not a whole NPY file of numbers") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
        raise FormatError("is not an NPY file of real numbers")
    if values.size == 0:
        raise FormatError(f"holds an empty array ({shape_text(values.shape)})")
    if is_finite:
        require_finite(values)
    return values


def _pixels(values: np.ndarray, num_spatial: int) -> Pixels:
    name = values.dtype.name
    is_unit = values.dtype.kind == "f" and values.min() >= 0 and values.max() <= 1
    white = 1.0 if is_unit else WHITE.get(name)
    facts = {"type": "npy", "shape": shape_text(values.shape[:num_spatial]), "dtype": name}
    if num_spatial == 2:
        facts["channels"] = values.shape[2]
    limits = None if white is None else (0.0, white)
    return Pixels(values=values, limits=limits, spacing_mm=None, facts=facts)
