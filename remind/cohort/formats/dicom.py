"""DICOM images by pydicom: pixels in the units of the scanner, as a radiologist sees them.

The steps are those of DICOM PS3.3, C.11: stored bits, modality transform (rescale slope and
intercept, or its table), VOI window or table. MONOCHROME1 is marked as inverted; colour becomes
RGB.
"""

# H, W rows and columns, C channels, D frames

from pathlib import Path
from typing import Any

import numpy as np

from remind.cohort.extras import require
from remind.cohort.formats.base import (
    FormatError,
    Pixels,
    decoding,
    reason_of,
    require_finite,
    shape_text,
    window_limits,
)

MOST_BITS = 16  # beyond them (doses, labels) the range of the type says nothing of the values
DECODERS = {  # part of the name of a transfer syntax -> what decodes it
    "JPEG-LS": "pyjpegls",
    "2000": "pylibjpeg pylibjpeg-openjpeg",
    "JPEG": "pylibjpeg pylibjpeg-libjpeg",
}
GROUPS = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")


def read_dicom_image(path: Path, *, is_windowed: bool) -> Pixels:
    """The first frame (H, W, C).

    Args:
        path: of the file.
        is_windowed: whether to apply the window or VOI table that the file brings, if any.

    Raises:
        FormatError: it is damaged, has no pixels, or is compressed in a way nothing here decodes.
    """
    dataset = open_dicom(path)
    frame_HWC = frames(dataset, 0)[0]
    pixels = require("pydicom.pixels", "image", "a DICOM file")
    photometric = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
    bits = int(dataset.get("BitsStored", 8))
    with decoding():
        if photometric == "PALETTE COLOR":
            frame_HWC = pixels.apply_color_lut(frame_HWC[:, :, 0], dataset)
            limits = (0.0, float(np.iinfo(frame_HWC.dtype).max))
        elif frame_HWC.shape[2] > 1:
            limits = (0.0, float(2**bits - 1))
        else:
            frame_HWC, limits = _grey(dataset, frame_HWC, is_windowed=is_windowed)
    require_finite(frame_HWC)
    at_detector = dataset.get("ImagerPixelSpacing")  # all that a projection may know
    spacing_mm = pixel_spacing(dataset) or _pair(at_detector)
    return Pixels(
        values=frame_HWC[:, :, :3],
        limits=limits,
        spacing_mm=spacing_mm,
        facts=facts_of(dataset, frame_HWC.shape[:2], spacing_mm),
        is_inverted=photometric == "MONOCHROME1",
    )


def open_dicom(path: Path) -> Any:
    """The dataset of a file.

    Raises:
        FormatError: it is not DICOM, is damaged, or has no pixels.
    """
    pydicom = require("pydicom", "image", "a DICOM file")
    with decoding():
        try:
            dataset = pydicom.dcmread(path)
        except pydicom.errors.InvalidDicomError as error:
            raise FormatError("is not a DICOM file") from error
        if not any(name in dataset for name in ("PixelData", "FloatPixelData")):
            raise FormatError("is a DICOM file without an image")
    return dataset


def frames(dataset: Any, index: int | None = None) -> np.ndarray:
    """Stored pixels (D, H, W, C) of all frames, or of one of them; YBR becomes RGB.

    Raises:
        FormatError: they are truncated, or compressed in a way that nothing here decodes.
    """
    pixels = require("pydicom.pixels", "image", "a DICOM file")
    with decoding():
        syntax = dataset.file_meta.TransferSyntaxUID
        if syntax.is_compressed and syntax.is_encapsulated:
            _require_decoder(pixels, syntax)
            try:
                values = pixels.pixel_array(dataset, index=index)
            except Exception as error:  # plugins raise what they like
                raise FormatError(
                    f'is compressed as "{syntax.name}" and cannot be decompressed '
                    f"({reason_of(error)}): if it is whole, {_remedy(syntax)}"
                ) from error
        else:
            values = pixels.pixel_array(dataset, index=index)
    values = values if int(dataset.get("SamplesPerPixel", 1)) > 1 else values[..., None]
    return values if values.ndim == 4 else values[None]


def rescaled(dataset: Any, frame: int, values: np.ndarray) -> np.ndarray:
    """float32 values of a grey frame in the units of the scanner, such as HU."""
    pixels = require("pydicom.pixels", "image", "a DICOM file")
    if "ModalityLUTSequence" in dataset:
        return pixels.apply_modality_lut(values, dataset).astype(np.float32)
    slope, intercept = (
        attribute(dataset, frame, "PixelValueTransformationSequence", name, default)
        for name, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))
    )
    return values.astype(np.float32) * np.float32(slope) + np.float32(intercept)


def attribute(dataset: Any, frame: int, sequence: str, name: str, default: Any = None) -> Any:
    """An attribute of a frame, where enhanced and where plain DICOM keep it."""
    for group in GROUPS:
        items = dataset.get(group) or []
        place = frame if group == GROUPS[0] else 0
        for item in items[place : place + 1]:
            for part in item.get(sequence) or []:
                if part.get(name) is not None:
                    return part.get(name)
    value = dataset.get(name)
    return default if value is None else value


def pixel_spacing(dataset: Any) -> tuple[float, float] | None:
    """mm between rows and between columns; None if the file does not say both."""
    return _pair(attribute(dataset, 0, "PixelMeasuresSequence", "PixelSpacing"))


def facts_of(
    dataset: Any, shape: tuple[int, ...], spacing_mm: tuple[float, ...] | None
) -> dict[str, Any]:
    """What `remind describe` tells of a file."""
    facts = {
        "type": "dicom",
        "modality": str(dataset.get("Modality", "")),
        "shape": shape_text(shape),
        "bits": int(dataset.get("BitsStored", 0)),
        "photometric": str(dataset.get("PhotometricInterpretation", "")),
        "syntax": dataset.file_meta.TransferSyntaxUID.name,
        "frames": int(dataset.get("NumberOfFrames") or 1),
    }
    return facts if spacing_mm is None else {**facts, "spacing_mm": shape_text(spacing_mm)}


def stored_limits(dataset: Any, frame: int) -> tuple[float, float] | None:
    """What the stored bits can hold, in the units of the scanner."""
    bits = int(dataset.get("BitsStored", 8))
    if bits > MOST_BITS or "FloatPixelData" in dataset:
        return None
    is_signed = int(dataset.get("PixelRepresentation", 0)) == 1
    low = -(2 ** (bits - 1)) if is_signed else 0
    kind = np.int32 if is_signed else np.uint32
    ends = rescaled(dataset, frame, np.array([low, low + 2**bits - 1], dtype=kind))
    return float(ends.min()), float(ends.max())


def _grey(
    dataset: Any, frame_HWC: np.ndarray, *, is_windowed: bool
) -> tuple[np.ndarray, tuple[float, float] | None]:
    """A frame in units of the scanner, or behind its VOI transform, and what is black and white."""
    values = rescaled(dataset, 0, frame_HWC)
    if not is_windowed:
        return values, stored_limits(dataset, 0)
    if dataset.get("VOILUTSequence"):
        pixels = require("pydicom.pixels", "image", "a DICOM file")
        shown = pixels.apply_voi(values.astype(np.int64), dataset)
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        return shown.astype(np.float32), (0.0, float(2**bits - 1))
    center, width = (
        _first(attribute(dataset, 0, "FrameVOILUTSequence", name))
        for name in ("WindowCenter", "WindowWidth")
    )
    if center is None or width is None or width <= 0:
        return values, stored_limits(dataset, 0)
    function = str(attribute(dataset, 0, "FrameVOILUTSequence", "VOILUTFunction", "LINEAR"))
    if function == "SIGMOID":
        return 1 / (1 + np.exp(-4 * (values - center) / width)), (0.0, 1.0)
    if function == "LINEAR_EXACT":
        return values, window_limits(center, width)
    return values, window_limits(center - 0.5, max(width - 1, 1e-6))  # PS3.3, C.11.2.1.2.1


def _pair(value: Any) -> tuple[float, float] | None:
    """Two numbers above 0; None if the value is anything else."""
    if not hasattr(value, "__len__") or len(value) != 2 or min(value) <= 0:
        return None
    return float(value[0]), float(value[1])


def _first(value: Any) -> float | None:
    """The first of the windows that a file offers."""
    if value is None or value == "":
        return None
    return float(value) if not hasattr(value, "__len__") else float(value[0])


def _require_decoder(pixels: Any, syntax: Any) -> None:
    try:
        is_there = pixels.get_decoder(syntax).is_available
    except NotImplementedError:
        is_there = False
    if not is_there:
        raise FormatError(
            f'is compressed as "{syntax.name}", for which no decoder is installed: '
            f"{_remedy(syntax)}"
        )


def _remedy(syntax: Any) -> str:
    package = next((name for part, name in DECODERS.items() if part in syntax.name), None)
    install = "" if package is None else f"pip install {package}, or "
    return f"{install}convert it to an uncompressed transfer syntax"
