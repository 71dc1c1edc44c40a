"""Painters that several figures share: points with intervals in rows, and cells of a matrix."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from remind.report.svg import BLUE, INK, MUTED, PAPER, VERMILLION
from remind.report.words import Bounds, number

SPREAD = 0.56  # of a row, shared by the series in it
MAX_NUMBERED = 12  # rows or columns up to which cells of a matrix carry their number


@dataclass(frozen=True)
class Series:
    """Points of one color: a value and an interval per row; None where there is none."""

    label: str
    values: Sequence[float | None]
    intervals: Sequence[Bounds]
    color: str
    marker: str


def forest(
    axes: Any,
    rows: Sequence[str],
    series: Sequence[Series],
    *,
    xlabel: str,
    line: float | None = None,
) -> None:
    """Draw rows from top to bottom, each with its points; `line` is a value to compare with."""
    offsets = np.linspace(-SPREAD / 2, SPREAD / 2, len(series) + 2)[1:-1]
    for some, offset in zip(series, offsets.tolist(), strict=True):
        _draw_series(axes, some, offset)
    if line is not None:
        axes.axvline(line, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_xlabel(xlabel)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _draw_series(axes: Any, series: Series, offset: float) -> None:
    """Filled points with their intervals, and open ones where there is none."""
    known = [y for y, value in enumerate(series.values) if value is not None]
    firm = [y for y in known if series.intervals[y]]
    bare = [y for y in known if not series.intervals[y]]
    style = {"color": series.color, "marker": series.marker, "linestyle": "none"}
    if firm:
        value = np.array([series.values[y] for y in firm], dtype=float)
        bounds = np.array([series.intervals[y] for y in firm], dtype=float)
        axes.errorbar(
            value,
            np.array(firm) + offset,
            xerr=np.maximum(np.stack([value - bounds[:, 0], bounds[:, 1] - value]), 0),
            label=series.label,
            markersize=6,
            markeredgecolor=PAPER,
            markeredgewidth=0.6,
            **style,
        )
    if bare:
        axes.plot(
            [series.values[y] for y in bare],
            np.array(bare) + offset,
            label=None if firm else series.label,
            markersize=5.5,
            markerfacecolor=PAPER,
            markeredgewidth=1.3,
            **style,
        )


def legend(figure: Any, axes: Any) -> None:
    """One above the figure, if there is more than one series."""
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > 1:
        figure.legend(handles, labels, loc="outside upper left", ncols=3, borderpad=0)


def matrix(
    axes: Any,
    values: Sequence[Sequence[float | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    most: float,
    digits: int = 2,
) -> None:
    """Draw cells whose ink grows with the size of their value: blue above 0, vermillion below."""
    filled = np.array([[np.nan if v is None else v for v in row] for row in values], dtype=float)
    _draw_cells(axes, filled, most)
    if max(filled.shape) <= MAX_NUMBERED:
        _number_cells(axes, filled, digits)
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _draw_cells(axes: Any, values: np.ndarray, most: float) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    for color, some in ((BLUE, values >= 0), (VERMILLION, values < 0)):
        at = np.argwhere(some)
        strength = np.minimum(np.abs(values[some]) / (most or 1.0), 1.0)
        cells = PatchCollection(
            [Rectangle((x - 0.48, y - 0.48), 0.96, 0.96) for y, x in at.tolist()],
            facecolors=[(color, round(0.06 + 0.64 * float(s), 2)) for s in strength],
            linewidths=0,
        )
        axes.add_collection(cells)


def _number_cells(axes: Any, values: np.ndarray, digits: int) -> None:
    for (y, x), value in np.ndenumerate(values):
        text = "–" if np.isnan(value) else number(float(value), digits)
        axes.text(x, y, text, ha="center", va="center", fontsize=7.5, color=INK)
