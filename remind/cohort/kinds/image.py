"""Images: PNG, JPEG, DICOM and NPY, grey and colour, any number per patient, a set.

A DICOM file of several frames gives its first; frames that are slices are a volume.
"""

from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from remind.cohort.formats import FormatError, Pixels, file_type, unit_range
from remind.cohort.formats.content import crop_to_content
from remind.cohort.formats.dicom import read_dicom_image
from remind.cohort.formats.geometry import stretched
from remind.cohort.formats.npy import read_npy_image
from remind.cohort.formats.raster import read_raster
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

VERSION, CROP_VERSION = 1, 1  # of the records, of cropped ones; others make them anew


class ImageSpec(PixelSpec):
    """Images.

    `size`: height and width of a record; larger ones show more and train more slowly. `channels`: 1
    (grey) or 3 (colour). `window`: "dicom" (that of a DICOM file, or the range of its bits), "full"
    (the range of the bits) or a centre and a width in units of the file. `crop`: "content" keeps
    the largest bright region (a breast, an eye) and drops the dark background around it with the
    text and frames burned into it. `keep_aspect`: pad rather than stretch, where there is no
    `spacing_mm`.
    """

    size: list[int] = Field(default=[64, 64])
    channels: Literal[1, 3] = 1
    window: Literal["dicom", "full"] | list[float] = "dicom"
    crop: Literal["content"] | None = None
    keep_aspect: bool = True

    @model_validator(mode="after")
    def _two_axes(self) -> Self:
        check_axes("size", self.size, 2)
        check_axes("spacing_mm", self.spacing_mm, 2)
        check_window(self.window)
        return self


class Image(PixelKind):
    """Records are (C, height, width)."""

    name = "image"
    spec = ImageSpec

    def decoder(self, spec: ImageSpec) -> FileDecoder:
        options = (spec.channels, spec.window, spec.spacing_mm, spec.keep_aspect)
        cropped = "" if spec.crop is None else f" {spec.crop} {CROP_VERSION}"
        store = RecordStore(
            f"image {VERSION} {options}{cropped}", (spec.channels, *spec.size), np.dtype(np.uint16)
        )
        return FileDecoder(
            store=store, parts=lambda path: [path], decode=partial(decode_image, spec)
        )


def decode_image(spec: ImageSpec, path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """The record of a file, and its facts.

    Raises:
        FormatError: it cannot be used.
    """
    pixels = _read(path, is_windowed=spec.window == "dicom")
    unit = unit_range(pixels, spec.window if isinstance(spec.window, list) else None)
    unit = crop_to_content(unit) if spec.crop == "content" else unit
    height, width = unit.shape[:2]
    if spec.spacing_mm is not None:
        steps = spacing_steps(spec.spacing_mm, pixels.spacing_mm)
    else:
        steps = stretched((height, width), spec.size)
        steps = [max(steps)] * 2 if spec.keep_aspect else steps
    return as_record(unit, spec.channels, spec.size, steps), pixels.facts


def _read(path: Path, *, is_windowed: bool) -> Pixels:
    kind = file_type(path)
    if kind in ("png", "jpeg"):
        return read_raster(path)
    if kind == "npy":
        return read_npy_image(path)
    if kind == "dicom":
        return read_dicom_image(path, is_windowed=is_windowed)
    raise FormatError(
        "is neither PNG, JPEG, DICOM nor NPY"
        + (': NIfTI is a modality of kind "volume"' if kind == "nifti" else ": convert it")
    )
