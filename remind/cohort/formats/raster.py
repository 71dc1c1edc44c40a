"""PNG and JPEG, 8 and 16 bits, grey and colour, by pillow.

Pillow reads the 16 bits of a grey PNG whole, and the upper eight of a colour one.
"""

from pathlib import Path

import numpy as np

from remind.cohort.extras import require
from remind.cohort.formats.base import Pixels, decoding, shape_text

SIXTEEN_BITS = ("I", "I;16", "I;16L", "I;16B")


def read_raster(path: Path) -> Pixels:
    """An image (H, W, C) of 1 or 3 channels, turned as its EXIF data say; opacity is left out.

    Raises:
        FormatError: it is damaged or truncated.
    """
    image_module = require("PIL.Image", "image", "a PNG or JPEG image")
    operations = require("PIL.ImageOps", "image", "a PNG or JPEG image")
    with decoding(), image_module.open(path) as file:
        name = (file.format or "").lower()
        image = operations.exif_transpose(file)
        if image.mode in SIXTEEN_BITS:
            values, white = np.asarray(image, dtype=np.uint16), 65535.0
        else:
            is_grey = image.mode in ("1", "L", "LA")
            values, white = np.asarray(image.convert("L" if is_grey else "RGB")), 255.0
    values = values if values.ndim == 3 else values[:, :, None]
    facts = {
        "type": name,
        "shape": shape_text(values.shape[:2]),
        "channels": values.shape[2],
        "bits": 16 if white > 255 else 8,
    }
    return Pixels(values=values, limits=(0.0, white), spacing_mm=None, facts=facts)
