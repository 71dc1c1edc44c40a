"""A DICOM volume: the files of a series, or the frames of one file, in the order of space."""

# D slices, H, W rows and columns

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from remind.cohort.formats.base import FormatError, Pixels, decoding, require_finite, shape_text
from remind.cohort.formats.dicom import attribute, facts_of, frames, open_dicom, rescaled
from remind.cohort.formats.geometry import canonical

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
SAME_MM = 1e-3
SAME_COSINE = 1e-2


class Slice(NamedTuple):
    """One slice: where it lies along the normal (None if unknown), its number and its pixels."""

    place_mm: float | None
    number: int
    values_HW: np.ndarray
    orientation: tuple[float, ...]
    dataset: Any


def series_files(folder: Path) -> list[Path]:
    """The DICOM files of a folder, by their first bytes, sorted by name.

    Raises:
        FormatError: there is none.
    """
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and _is_dicom(file)]
    if not files:
        raise FormatError("is a folder without a DICOM file")
    return files


def read_series(files: Sequence[Path]) -> Pixels:
    """A volume (D, H, W) turned to superior, anterior, right, in the units of the scanner.

    Slices lie in the order of ImagePositionPatient along the normal, or else of InstanceNumber.

    Raises:
        FormatError: the files are damaged, of several series, of different sizes or orientations,
            or hold several volumes.
    """
    datasets = [open_dicom(file) for file in files]
    _require_one(datasets, "SeriesInstanceUID", "series: give each its own folder")
    with decoding():
        slices = [item for dataset in datasets for item in _slices(dataset)]
    _require_same(slices)
    slices, step_mm = _ordered(slices)
    first = slices[0]
    row_mm, column_mm = _spacing(first) or (1.0, 1.0)
    across, down = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    through_mm = step_mm or 1.0
    axes_33 = np.stack([np.cross(across, down) * through_mm, down * row_mm, across * column_mm], 1)
    values = np.stack([item.values_HW for item in slices])
    require_finite(values)
    values, spacing_mm = canonical(values, axes_33 * LPS_TO_RAS[:, None])
    known_mm = spacing_mm if _spacing(first) and step_mm else None
    facts = {**facts_of(first.dataset, values.shape, known_mm), "shape": shape_text(values.shape)}
    return Pixels(
        values=values,
        limits=None,
        spacing_mm=known_mm,
        facts=facts,
        is_inverted=first.dataset.get("PhotometricInterpretation") == "MONOCHROME1",
    )


def _is_dicom(file: Path) -> bool:
    if file.name.upper().startswith("DICOMDIR"):
        return False
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM" or file.suffix.lower() == ".dcm"


def _slices(dataset: Any) -> list[Slice]:
    stored = frames(dataset)
    if stored.shape[3] != 1:
        raise FormatError("holds colour, expected a grey volume")
    number = int(dataset.get("InstanceNumber") or 0)
    slices = []
    for frame, values_HW1 in enumerate(stored):
        values_HW = rescaled(dataset, frame, values_HW1[:, :, 0])
        orientation = attribute(
            dataset, frame, "PlaneOrientationSequence", "ImageOrientationPatient", AXIAL
        )
        orientation = tuple(float(cosine) for cosine in orientation)
        position = attribute(dataset, frame, "PlanePositionSequence", "ImagePositionPatient")
        is_placed = position is not None and (frame == 0 or _is_enhanced(dataset))
        normal = np.cross(orientation[:3], orientation[3:])
        place_mm = float(normal @ np.array(position, dtype=float)) if is_placed else None
        slices.append(
            Slice(
                place_mm,
                number * len(stored) + frame,
                values_HW,
                orientation,
                dataset,
            )
        )
    return slices


def _ordered(slices: list[Slice]) -> tuple[list[Slice], float]:
    """Slices in the order of space, and the distance between two of them in mm, 0 if unknown."""
    dataset = slices[0].dataset
    thickness = attribute(dataset, 0, "PixelMeasuresSequence", "SliceThickness")
    step_mm = float(dataset.get("SpacingBetweenSlices") or thickness or 0)
    places = [item.place_mm for item in slices if item.place_mm is not None]
    if len(places) < len(slices) or len(slices) == 1:
        _require_numbers(slices)
        return sorted(slices, key=lambda item: item.number), step_mm
    ordered = sorted(slices, key=lambda item: item.place_mm or 0.0)
    steps = np.diff(sorted(places))
    if steps.min() < SAME_MM:
        raise FormatError(
            "holds several slices at one position, so it is 4-D: give one 3-D volume per folder"
        )
    return ordered, float(np.median(steps))


def _require_numbers(slices: list[Slice]) -> None:
    numbers = sorted(item.number for item in slices)
    if any(a == b for a, b in itertools.pairwise(numbers)):
        raise FormatError("has slices with neither a position nor a number of their own")


def _require_one(datasets: Sequence[Any], name: str, what: str) -> None:
    found = {str(dataset.get(name, "")) for dataset in datasets}
    if len(found) > 1:
        raise FormatError(f"holds {len(found)} {what}")


def _require_same(slices: Sequence[Slice]) -> None:
    first = slices[0]
    for item in slices[1:]:
        if item.values_HW.shape != first.values_HW.shape:
            raise FormatError(
                f"has slices of {shape_text(first.values_HW.shape)} and of "
                f"{shape_text(item.values_HW.shape)}: give slices of one size"
            )
        if np.abs(np.subtract(item.orientation, first.orientation)).max() > SAME_COSINE:
            raise FormatError("has slices of different orientations: leave out the localizers")


def _spacing(item: Slice) -> tuple[float, float] | None:
    spacing = attribute(item.dataset, 0, "PixelMeasuresSequence", "PixelSpacing")
    if not spacing or min(spacing) <= 0:
        return None
    return float(spacing[0]), float(spacing[1])


def _is_enhanced(dataset: Any) -> bool:
    return bool(dataset.get("PerFrameFunctionalGroupsSequence"))
