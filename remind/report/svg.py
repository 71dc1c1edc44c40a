"""Matplotlib figures as inline SVG that takes its colors and its font from the page.

Figures are drawn in stand-in colors; each becomes a CSS variable, so that one picture serves a
light page, a dark one and paper. The same figure gives the same bytes: ids come from a fixed salt,
and no date is written.
"""

import io
import re
import warnings
from collections.abc import Callable
from html import escape
from typing import Any

from markupsafe import Markup

from remind.cohort.extras import require
from remind.evaluation.colors import BLUE, BY_BAND, GREEN, ORANGE, PURPLE, SKY, VERMILLION

INK, MUTED, GRID, PAPER = "#010203", "#040506", "#070809", "#0a0b0c"
VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    PAPER: "paper",
    BLUE: "blue",
    ORANGE: "orange",
    VERMILLION: "vermillion",
    PURPLE: "purple",
    GREEN: "green",
    SKY: "sky",
}
BAND_COLORS = {"overall": INK, **BY_BAND}
RUN_COLORS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, INK)
RUN_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
BAND_MARKERS = {"overall": "X", "head": "o", "medium": "s", "tail": "^", "unseen": "D"}

HALF_WIDTH, FULL_WIDTH = 4.2, 9.2  # inches; they decide how large letters are on the page
STYLE = {
    "svg.hashsalt": "remind",
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.labelsize": 9.0,
    "axes.titlesize": 9.5,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
}


def inline(
    name: str,
    title: str,
    description: str,
    size: tuple[float, float],
    paint: Callable[[Any], None],
) -> Markup:
    """Draw a figure and return it as an ``<svg>`` element.

    Args:
        name: distinct on the page, letters, digits and hyphens; ids in the picture begin with it.
        title, description: for those who do not see it.
        size: width and height in inches.
        paint: draws on a matplotlib Figure, in the colors of this module.

    Raises:
        InputError: matplotlib is not installed.
    """
    return Markup(_for_the_page(_drawn(size, paint), name, title, description))


def _drawn(size: tuple[float, float], paint: Callable[[Any], None]) -> str:
    """The file that matplotlib writes."""
    matplotlib = require("matplotlib", "report", "a report")
    figures = require("matplotlib.figure", "report", "a report")
    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # A name in a script that the font lacks: the page's fonts draw it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = figures.Figure(figsize=size, layout="constrained")
        figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03)
        paint(figure)
        # Laid out once and then drawn once: saving would draw twice.
        figure.get_layout_engine().execute(figure)
        figure.set_layout_engine("none")
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _for_the_page(text: str, name: str, title: str, description: str) -> str:
    """The element alone, with names for screen readers, page colors, own ids and no padding."""
    view = re.search(r'viewBox="([^"]*)"', text)
    assert view is not None
    body = text[text.index(">", text.index("<svg")) + 1 :]
    body = re.sub(r"<(metadata|style)\b.*?</\1>|<!--.*?-->", "", body, flags=re.DOTALL)
    used = re.findall(r'href="#([\w-]+)"|url\(#([\w-]+)\)', body)
    # Numbered as they come: matplotlib's own ids hash coordinates, whose last digits vary.
    ids = {
        one or other: f"{name}-{number}" for number, (one, other) in enumerate(dict.fromkeys(used))
    }
    body = re.sub(r"<[^>]+>", lambda tag: _tidy(tag[0], ids), body)
    body = re.sub(r">\s+<", "><", body)
    width, height = view[1].split()[2:]
    return (
        f'<svg viewBox="{view[1]}" width="{width}" height="{height}" role="img" '
        f'xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'aria-labelledby="{name}-title" aria-describedby="{name}-desc">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-desc">{escape(description)}</desc>{body.strip()}'
    )


def _tidy(tag: str, ids: dict[str, str]) -> str:
    """A tag (never a text, which is a name of the user's) in page colors and with own ids."""
    tag = re.sub(r"\s+", " ", tag)
    tag = re.sub(r"#[0-9a-f]{6}\b", _variable, tag)
    tag = re.sub(r"(\.\d\d)\d+", r"\1", tag)
    tag = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", tag)
    tag = re.sub(r"font-family: [^;\"]*;? ?", "", tag)
    tag = re.sub(r' transform="rotate\(-0 [^"]*"', "", tag)
    tag = re.sub(
        r' id="([^"]*)"', lambda found: f' id="{ids[found[1]]}"' if found[1] in ids else "", tag
    )
    return re.sub(
        r'(href="#|url\(#)([\w-]+)', lambda found: found[1] + ids.get(found[2], found[2]), tag
    )


def _variable(match: re.Match[str]) -> str:
    variable = VARIABLES.get(match[0])
    return match[0] if variable is None else f"var(--{variable})"
