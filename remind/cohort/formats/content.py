"""Cropping an image to what it shows: a breast or an eye on a dark background.

Burned-in text ("R MLO"), frames and markers tell a network about the machine and the side, not
about the patient. They lie apart from what is shown, which is the largest bright region.
"""

# H, W rows and columns; h, w those of a small copy; C channels

from typing import Any

import numpy as np

SMALL = 512  # rows or columns at most of the copy on which the region is found
NUM_BINS = 64  # of the histogram that shows the background
DARKEST_SHARE = 0.25  # of the range of intensities, where a background may lie
LEAST_BACKGROUND = 0.05  # of the pixels; an image with less has none, and is left as it is
ABOVE_BACKGROUND = 0.03  # of the range of intensities: content is brighter by more than this
FRAME_SHARE = 0.95  # of a line at the edge that is bright and even makes it part of a frame
FRAME_SPREAD = 0.05  # of the range of intensities, within a line of a frame
MOST_FRAME = 0.1  # of the height or width that a frame takes at each side
MARGIN_SHARE = 0.02  # of the longer side around the region: a dim skin line stays


def crop_to_content(unit_HWC: np.ndarray) -> np.ndarray:
    """The box around the largest bright region; what lies in the box beside the region is black.

    An image without a dark background, and one that is dark all over, is left as it is.

    Args:
        unit_HWC: float32 in [0, 1], 0 is black.
    """
    small_hw, factor = _small(unit_HWC.max(axis=2))
    level = _background(small_hw)
    if level is None:
        return unit_HWC
    inside = _inside_frame(small_hw, level + ABOVE_BACKGROUND)
    found_hw = _largest(small_hw[inside] > level + ABOVE_BACKGROUND)
    if found_hw is None:
        return unit_HWC
    region_hw = np.zeros(small_hw.shape, bool)
    region_hw[inside] = _grown(found_hw)
    rows, columns = (np.flatnonzero(region_hw.any(axis=axis)) for axis in (1, 0))
    box = tuple(slice(at[0] * factor, (at[-1] + 1) * factor) for at in (rows, columns))
    shown_HW = region_hw.repeat(factor, axis=0).repeat(factor, axis=1)
    height, width = unit_HWC.shape[:2]
    return np.where(shown_HW[:height, :width, None][box], unit_HWC[box], np.float32(0))


def _small(grey_HW: np.ndarray) -> tuple[np.ndarray, int]:
    """Means of blocks (h, w), and the side of a block; the blocks at the end may be smaller."""
    factor = max(1, -(-max(grey_HW.shape) // SMALL))
    pad = [(0, -size % factor) for size in grey_HW.shape]
    padded = np.pad(grey_HW, pad, mode="edge")
    height, width = padded.shape
    blocks = padded.reshape(height // factor, factor, width // factor, factor)
    return blocks.mean(axis=(1, 3)), factor


def _background(small_hw: np.ndarray) -> float | None:
    """The commonest dark intensity; None if too few pixels have it."""
    counts, edges = np.histogram(small_hw, NUM_BINS, (0, 1))
    dark = counts[: int(NUM_BINS * DARKEST_SHARE)]
    bin_ = int(dark.argmax())
    return float(edges[bin_ + 1]) if dark[bin_] >= LEAST_BACKGROUND * small_hw.size else None


def _inside_frame(small_hw: np.ndarray, threshold: float) -> tuple[slice, slice]:
    """The rows and columns within even bright lines along the edges."""
    top, left, bottom, right = 0, 0, *small_hw.shape
    most_h, most_w = (int(size * MOST_FRAME) for size in small_hw.shape)
    while top < most_h and _is_frame(small_hw[top], threshold):
        top += 1
    while small_hw.shape[0] - bottom < most_h and _is_frame(small_hw[bottom - 1], threshold):
        bottom -= 1
    while left < most_w and _is_frame(small_hw[top:bottom, left], threshold):
        left += 1
    while small_hw.shape[1] - right < most_w and _is_frame(
        small_hw[top:bottom, right - 1], threshold
    ):
        right -= 1
    return slice(top, bottom), slice(left, right)


def _is_frame(line: np.ndarray, threshold: float) -> bool:
    low, high = np.quantile(line, [(1 - FRAME_SHARE) / 2, (1 + FRAME_SHARE) / 2])
    return bool(low > threshold and high - low < FRAME_SPREAD)


def _largest(is_bright_hw: np.ndarray) -> np.ndarray | None:
    """The largest connected region, without the thin lines that hang on it; None if none is."""
    from scipy import ndimage

    # Opening cuts lines of one block, unless nothing else is there (a tiny image).
    opened_hw = ndimage.binary_opening(is_bright_hw, np.ones((3, 3)))
    labelled: Any = ndimage.label(opened_hw if opened_hw.any() else is_bright_hw)
    labels_hw, num = labelled
    if num == 0:
        return None
    sizes = np.bincount(labels_hw.reshape(-1))[1:]
    return labels_hw == 1 + int(sizes.argmax())


def _grown(region_hw: np.ndarray) -> np.ndarray:
    """The region with its holes filled and a margin around it."""
    from scipy import ndimage

    longer = max(int(np.ptp(np.flatnonzero(region_hw.any(axis=axis)))) + 1 for axis in (0, 1))
    margin = max(1, round(MARGIN_SHARE * longer))
    filled_hw: Any = ndimage.binary_fill_holes(region_hw)
    distance_hw: Any = ndimage.distance_transform_edt(~filled_hw)
    return distance_hw <= margin
