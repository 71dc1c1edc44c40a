"""A DICOM volume: the files of a series, or the frames of one file, in the order of space."""

# D slices, H, W rows and columns

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from remind.cohort.formats.base import FormatError, Pixels, decoding, require_finite, shape_text
from remind.cohort.formats.dicom import (
    attribute,
    facts_of,
    frames,
    open_dicom,
    pixel_spacing,
    rescaled,
)
from remind.cohort.formats.geometry import canonical

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
SAME_MM = 1e-3
SAME_COSINE = 1e-2
MOST_UNEVEN = 1.5  # usual steps between two slices, beyond which one is missing


class Slice(NamedTuple):
    """One slice: its file, where it lies along the normal (None if unknown), number and pixels."""

    name: str
    place_mm: float | None
    number: int
    values_HW: np.ndarray
    orientation: tuple[float, ...]
    dataset: Any


def series_files(folder: Path) -> list[Path]:
    """The DICOM files of a folder, by their first bytes, sorted by name; hidden ones are not read.

    Raises:
        FormatError: there is none.
    """
    shown = sorted(file for file in folder.iterdir() if not file.name.startswith("."))
    files = [file for file in shown if file.is_file() and _is_dicom(file)]
    if not files:
        raise FormatError("is a folder without a DICOM file")
    return files


def read_series(files: Sequence[Path]) -> Pixels:
    """A volume (D, H, W) turned to superior, anterior, right, in the units of the scanner.

    Slices lie in the order of ImagePositionPatient along the normal, or else of InstanceNumber.

    Raises:
        FormatError: the files are damaged, of several series, of different sizes or orientations,
            hold several volumes, or lack a slice.
    """
    datasets = [_inside(file, files, open_dicom, file) for file in files]
    _require_one_series(files, datasets)
    slices = [
        item
        for file, dataset in zip(files, datasets, strict=True)
        for item in _inside(file, files, _slices, file.name, dataset)
    ]
    _require_same(slices)
    with decoding():
        slices, step_mm = _ordered(slices)
    first = slices[0]
    pixel_mm = pixel_spacing(first.dataset)
    row_mm, column_mm = pixel_mm or (1.0, 1.0)
    across, down = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    through_mm = step_mm or 1.0
    axes_33 = np.stack([np.cross(across, down) * through_mm, down * row_mm, across * column_mm], 1)
    values = np.stack([item.values_HW for item in slices])
    require_finite(values)
    values, spacing_mm = canonical(values, axes_33 * LPS_TO_RAS[:, None])
    known_mm = spacing_mm if pixel_mm and step_mm else None
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


def _inside(file: Path, files: Sequence[Path], read: Callable[..., Any], *args: Any) -> Any:
    """What `read` makes of one of the files; a refusal names it where there are several."""
    try:
        with decoding():
            return read(*args)
    except FormatError as error:
        if len(files) == 1:
            raise
        raise FormatError(f"holds {file.name}, which {error}") from error


def _slices(name: str, dataset: Any) -> list[Slice]:
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
                name,
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
    usual_mm = float(np.quantile(steps, 0.5, method="lower"))
    first, widest = int(steps.argmin()), int(steps.argmax())
    if steps[first] < SAME_MM:
        raise FormatError(
            f"holds several slices at one position{_names(ordered[first : first + 2])}, so it is "
            "4-D: give one 3-D volume per folder"
        )
    if steps[widest] > MOST_UNEVEN * usual_mm:
        raise FormatError(
            f"lacks slices: two{_names(ordered[widest : widest + 2])} lie {steps[widest]:.3g} mm "
            f"apart, others {usual_mm:.3g} mm: add what is missing, or convert it to NIfTI with "
            "even steps"
        )
    return ordered, float(np.median(steps))


def _names(slices: Sequence[Slice]) -> str:
    """The files of some slices, in brackets; nothing if they are frames of one file."""
    names = list(dict.fromkeys(item.name for item in slices))
    return f" ({' and '.join(names)})" if len(names) > 1 else ""


def _require_numbers(slices: list[Slice]) -> None:
    numbers = sorted(item.number for item in slices)
    if any(a == b for a, b in itertools.pairwise(numbers)):
        raise FormatError("has slices with neither a position nor a number of their own")


def _require_one_series(files: Sequence[Path], datasets: Sequence[Any]) -> None:
    found = [str(dataset.get("SeriesInstanceUID", "")) for dataset in datasets]
    if len(set(found)) > 1:
        other = next(file for file, uid in zip(files, found, strict=True) if uid != found[0])
        raise FormatError(
            f"holds {len(set(found))} series ({files[0].name} and {other.name} differ): "
            "give each its own folder"
        )


def _require_same(slices: Sequence[Slice]) -> None:
    first = slices[0]
    for item in slices[1:]:
        if item.values_HW.shape != first.values_HW.shape:
            raise FormatError(
                f"has slices of {shape_text(first.values_HW.shape)} and of "
                f"{shape_text(item.values_HW.shape)}{_names([first, item])}: "
                "give slices of one size"
            )
        if np.abs(np.subtract(item.orientation, first.orientation)).max() > SAME_COSINE:
            raise FormatError(
                f"has slices of different orientations{_names([first, item])}: "
                "leave out the localizers"
            )


def _is_enhanced(dataset: Any) -> bool:
    return bool(dataset.get("PerFrameFunctionalGroupsSequence"))
