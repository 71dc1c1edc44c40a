"""Volumes: NIfTI, the folder of a DICOM series or one DICOM file, and NPY; a set per patient.

NIfTI and DICOM are turned so that indices grow towards superior, anterior and right; NPY is taken
as it is.
"""

from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from remind.cohort.formats import FormatError, Pixels, file_type, unit_range
from remind.cohort.formats.geometry import stretched
from remind.cohort.formats.nifti import read_nifti
from remind.cohort.formats.npy import read_npy_volume
from remind.cohort.formats.series import read_series, series_files
from remind.cohort.kinds.decoding import FileDecoder
from remind.cohort.kinds.pixels import (
    PixelKind,
    PixelSpec,
    as_record,
    check_axes,
    check_window,
    spacing_steps,
)
from remind.cohort.store import RecordStore

VERSION = 2  # of the records; another one makes them anew


class VolumeSpec(PixelSpec):
    """Volumes.

    `size`: slices, height and width of a record. `window`: a centre and a width in units of the
    file, such as [40, 400] HU; without it, the percentiles 0.5 and 99.5 of each volume.
    """

    size: list[int] = Field(default=[24, 48, 48])
    window: list[float] | None = None

    @model_validator(mode="after")
    def _three_axes(self) -> Self:
        check_axes("size", self.size, 3)
        check_axes("spacing_mm", self.spacing_mm, 3)
        check_window(self.window)
        return self


class Volume(PixelKind):
    """Records are (1, slices, height, width)."""

    name = "volume"
    spec = VolumeSpec

    def decoder(self, spec: VolumeSpec) -> FileDecoder:
        options = (spec.window, spec.spacing_mm)
        store = RecordStore(f"volume {VERSION} {options}", (1, *spec.size), np.dtype(np.uint16))
        return FileDecoder(store=store, parts=_parts, decode=partial(decode_volume, spec))


def decode_volume(spec: VolumeSpec, path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """The record of a file or folder, and its facts.

    Raises:
        FormatError: it cannot be used.
    """
    pixels = _read(path)
    unit = unit_range(pixels, spec.window)
    if spec.spacing_mm is not None:
        steps = spacing_steps(spec.spacing_mm, pixels.spacing_mm)
    else:
        steps = stretched(unit.shape, spec.size)
    return as_record(unit[..., None], 1, spec.size, steps), pixels.facts


def _parts(path: Path) -> list[Path]:
    return series_files(path) if path.is_dir() else [path]


def _read(path: Path) -> Pixels:
    if path.is_dir():
        return read_series(series_files(path))
    kind = file_type(path)
    if kind == "nifti":
        return read_nifti(path)
    if kind == "npy":
        return read_npy_volume(path)
    if kind == "dicom":
        return read_series([path])
    raise FormatError("is neither NIfTI, DICOM nor NPY: convert it")
