"""NIfTI volumes (.nii, .nii.gz) by nibabel."""

from pathlib import Path

import numpy as np

from remind.cohort.extras import require
from remind.cohort.formats.base import FormatError, Pixels, decoding, require_finite, shape_text
from remind.cohort.formats.geometry import canonical


def read_nifti(path: Path) -> Pixels:
    """A volume (D, H, W) turned to superior, anterior, right, in the units of the file.

    Raises:
        FormatError: it is damaged, not 3-D, or holds other than finite real numbers.
    """
    nibabel = require("nibabel", "image", "a NIfTI volume")
    with decoding():
        image = nibabel.load(path)
        shape = tuple(image.shape)
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        if len(shape) != 3 or 0 in shape:
            raise FormatError(
                f"is {len(shape)}-D ({shape_text(shape)}): give one 3-D volume per file"
            )
        stored = image.get_data_dtype()
        if stored.kind not in "biuf":
            raise FormatError(f"holds values of type {stored}, expected real numbers")
        values = np.asarray(image.dataobj, dtype=np.float32).reshape(shape)
    require_finite(values)
    values, spacing_mm = canonical(values, np.asarray(image.affine)[:3, :3])
    facts = {
        "type": "nifti",
        "shape": shape_text(values.shape),
        "dtype": stored.name,
        "spacing_mm": shape_text(spacing_mm),
    }
    known_mm = spacing_mm if min(spacing_mm) > 0 else None
    return Pixels(values=values, limits=None, spacing_mm=known_mm, facts=facts)
