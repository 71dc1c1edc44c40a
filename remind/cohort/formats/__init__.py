"""Files of images, volumes and signals to arrays: pure functions, one file per format."""

from remind.cohort.formats.base import (
    FormatError,
    Pixels,
    Waves,
    decoding,
    file_type,
    unit_range,
)

__all__ = ["FormatError", "Pixels", "Waves", "decoding", "file_type", "unit_range"]
