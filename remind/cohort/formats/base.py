"""What the reader of a file format returns, and how it refuses a file."""

# H, W rows and columns of an image, D slices of a volume, C channels, S samples, L leads

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from remind.errors import InputError

FileType = Literal["png", "jpeg", "npy", "dicom", "nifti", "unknown"]

HEAD_BYTES = 348
OUTER_PERCENT = 0.5  # of the intensities are black, and as many white, where nothing says what is
MOST_SAMPLED = 1 << 20


class FormatError(ValueError):
    """Why a file cannot be used: the rest of a sentence that begins with its name."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pixels:
    """An image (H, W, C) or a volume (D, H, W).

    Args:
        values: as the file holds them, rescaled to its units.
        limits: the values that are black and white; None if the file does not say.
        spacing_mm: between the centres of neighbours along each spatial axis; None if unknown.
        facts: what `remind describe` tells of the file.
        is_inverted: whether more is darker.
    """

    values: np.ndarray
    limits: tuple[float, float] | None
    spacing_mm: tuple[float, ...] | None
    facts: dict[str, Any]
    is_inverted: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Waves:
    """A part of a signal.

    Args:
        values: of each lead, float64 (S,), NaN in gaps; all leads last as long.
        rates_hz: samples per second of each lead.
        leads: their names; None if the file does not say.
        facts: what `remind describe` tells of the file.
    """

    values: tuple[np.ndarray, ...]
    rates_hz: tuple[float, ...]
    leads: tuple[str, ...] | None
    facts: dict[str, Any]


def file_type(path: Path) -> FileType:
    """What a file is by its first bytes; its name decides only what they do not.

    Raises:
        FormatError: it is empty.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise FormatError("is empty")
    signs: dict[FileType, bool] = {
        "png": head.startswith(b"\x89PNG"),
        "jpeg": head.startswith(b"\xff\xd8\xff"),
        "npy": head.startswith(b"\x93NUMPY"),
        "dicom": head[128:132] == b"DICM" or path.suffix.lower() in (".dcm", ".dicom"),
        "nifti": path.name.lower().endswith((".nii", ".nii.gz")) or head[344:347] == b"n+1",
    }
    found: list[FileType] = [name for name, is_it in signs.items() if is_it]
    return found[0] if found else "unknown"


@contextmanager
def decoding() -> Iterator[None]:
    """Turn whatever a decoder raises on a damaged file into one reason.

    Decoders raise errors of any class on damaged bytes, so that only this catches them all.
    """
    try:
        yield
    except (FormatError, InputError, MemoryError):
        raise
    except Exception as error:
        raise FormatError(f"is damaged or truncated ({reason_of(error)})") from error


def reason_of(error: BaseException) -> str:
    """The message of an error as a part of a sentence."""
    text = " ".join(str(error).split())[:160].rstrip(".:; ")
    return text or type(error).__name__


def require_finite(values: np.ndarray) -> None:
    """Raise a FormatError if a value is NaN or infinite."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise FormatError("holds NaN or infinity: write finite intensities")


def unit_range(pixels: Pixels, window: Sequence[float] | None) -> np.ndarray:
    """float32 in [0, 1]: 0 is black, 1 is white, and so is what lies beyond.

    Args:
        pixels: of a file.
        window: centre and width in units of the file; None takes the limits of the file, and if it
            has none the percentiles 0.5 and 99.5 of its values.
    """
    values = pixels.values
    limits = pixels.limits if window is None else window_limits(*window)
    if limits is None:
        flat = values.reshape(-1)
        sample = flat[:: max(1, len(flat) // MOST_SAMPLED)]
        low, high = np.percentile(sample, [OUTER_PERCENT, 100 - OUTER_PERCENT])
        limits = float(low), float(high)
    low, high = limits
    if high <= low:
        return np.zeros(values.shape, np.float32)
    unit = (values.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    unit = np.clip(unit, 0.0, 1.0)
    return 1.0 - unit if pixels.is_inverted else unit


def window_limits(center: float, width: float) -> tuple[float, float]:
    """The limits of a window, in the units of the values."""
    return center - width / 2, center + width / 2


def shape_text(sizes: tuple[int, ...] | list[int] | tuple[float, ...], digits: int = 3) -> str:
    """``(512, 512) -> '512 x 512'``."""
    return " x ".join(
        f"{size:.{digits}g}" if isinstance(size, float) else str(size) for size in sizes
    )
