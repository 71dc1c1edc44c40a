"""The parts of an UpSet plot, on axes of matplotlib.

Lex et al. 2014, "UpSet: visualization of intersecting sets": a column per combination, most common
first, whose filled dots are the modalities in it, below its number of patients; a row per modality
beside the share of patients in whom it is observed.
"""

# G combinations shown, M modalities

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from remind.cohort import Groups


@dataclass(frozen=True, kw_only=True)
class Look:
    """Colors and sizes.

    Args:
        bands: band -> color of its bars.
        dot, no_dot: colors of what is and of what is not in a combination.
        dot_size: area in square points.
        line_width: of what joins the dots of a combination, in points.
        bar: of the bars of modalities, as matplotlib's `barh` takes it.
        room: how far beyond a share of 1 the bars of modalities have room for their names.
    """

    bands: Mapping[str, str]
    dot: str
    no_dot: str
    dot_size: float
    line_width: float
    bar: Mapping[str, Any]
    room: float


def draw_counts(
    axes: Any, groups: Groups, num: int, look: Look, labels: Mapping[str, str] | None = None
) -> None:
    """Training patients of the most common combinations, in the colors of their bands.

    Args:
        axes: to draw on; the legend is left to the caller.
        groups: of training.
        num: combinations that are shown.
        look: colors.
        labels: band -> what the legend calls it; its name if None.
    """
    counts_G = groups.counts_G[:num]
    band_G = groups.bands.of(counts_G)
    for band, color in look.bands.items():
        at = np.flatnonzero(band_G == band)
        if len(at):
            label = band if labels is None else labels[band]
            axes.bar(at, counts_G[at], width=0.7, color=color, label=label)
    for at, count in enumerate(counts_G.tolist()):
        axes.annotate(f"{count:,}", (at, count), xytext=(0, 2), ha="center", **NOTE)
    hide_columns(axes, num)


def draw_dots(axes: Any, patterns_GM: np.ndarray, look: Look) -> None:
    """A column of dots per combination, joined from its first modality to its last."""
    num, num_modalities = patterns_GM.shape
    for is_in, color in ((False, look.no_dot), (True, look.dot)):
        column, row = np.nonzero(patterns_GM == is_in)
        axes.scatter(column, row, s=look.dot_size, color=color, linewidths=0, zorder=3)
    for column, pattern_M in enumerate(patterns_GM):
        rows = np.flatnonzero(pattern_M)
        if len(rows):
            ends = [rows[0], rows[-1]]
            axes.plot([column] * 2, ends, color=look.dot, linewidth=look.line_width, zorder=2)
    axes.set_ylim(num_modalities - 0.5, -0.5)
    axes.tick_params(left=False, labelleft=False)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False)
    hide_columns(axes, num)


def draw_shares(axes: Any, names: Sequence[str], share_M: np.ndarray, look: Look) -> None:
    """The share of patients in whom each modality is observed, growing to the left."""
    axes.barh(range(len(names)), share_M, **look.bar)
    for row, share in enumerate(share_M.tolist()):
        words = f"{share:.0%}"
        axes.annotate(words, (share, row), xytext=(-3, 0), ha="right", va="center", **NOTE)
    axes.set_xlim(1 + look.room, 0)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.yaxis.tick_right()
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(bottom=False, labelbottom=False, right=False)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def hide_columns(axes: Any, num: int) -> None:
    """As wide as the columns of dots, without anything that marks them."""
    axes.set_xlim(-0.6, num - 0.4)
    axes.tick_params(bottom=False, labelbottom=False)
    axes.grid(visible=False, axis="x")
    axes.spines[["top", "right", "bottom"]].set_visible(False)


NOTE: dict[str, Any] = {"textcoords": "offset points", "fontsize": 7}
