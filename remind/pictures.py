"""Pictures of a cohort: which combinations of modalities there are, as an UpSet plot (`upset`)."""

# N patients, M modalities

import io
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from remind.cohort import BAND_NAMES, Bands, Cohort, Groups
from remind.cohort.extras import require
from remind.errors import InputError
from remind.evaluation.colors import BY_BAND
from remind.evaluation.predictions import check_place, write_whole
from remind.upset import Look, draw_counts, draw_dots, draw_shares

SUFFIXES = (".png", ".svg", ".pdf", ".html")
TITLE = "Combinations of modalities, drawn by remind"
"""In the metadata of every picture, by which it is known again."""
NUM_SHOWN = 25
LOOK = Look(
    bands=BY_BAND,
    dot="0.2",
    no_dot="0.86",
    dot_size=34,
    line_width=1.3,
    bar={"height": 0.6, "color": "0.45"},
    room=0.25,
)
STRIPE = "0.96"
INCHES_PER_COLUMN, INCHES_PER_ROW, INCHES_OF_BARS = 0.3, 0.28, 2.6


def upset_plot(cohort: Cohort, path: str | Path, bands: Bands | None = None) -> None:
    """Draw the most frequent combinations of the training patients to a file.

    Args:
        cohort: with splits.
        path: ends in .png, .svg, .pdf or .html, which says what is written; written whole.
        bands: thresholds on training counts.

    Raises:
        InputError: another suffix, no such folder, a file that is there and is not such a picture,
            or matplotlib is absent.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path} must end in {', '.join(SUFFIXES)} to be a picture")
    check_place(path, "the picture")
    if path.is_file() and TITLE.encode() not in path.read_bytes():
        raise InputError(
            f"{path} is there and is no picture of combinations, but maybe a patient's: "
            "name another file, or remove it"
        )
    present_NM = cohort.present_NM[cohort.rows("train")]
    groups = Groups.fit(present_NM, cohort.spec.modality_names, bands)
    content = _drawn(groups, present_NM, cohort.spec.cohort.name, path.suffix.lower())
    write_whole(path, lambda temporary: temporary.write_bytes(content))


def _drawn(groups: Groups, present_NM: np.ndarray, name: str, suffix: str) -> bytes:
    """The bytes of the file: the same ones for the same cohort, for no date is in them."""
    matplotlib = require("matplotlib", "plot", "a picture")
    figure_module = require("matplotlib.figure", "plot", "a picture")
    form = "svg" if suffix == ".html" else suffix[1:]
    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    metadata = {"Title": TITLE} | dates.get(form, {})
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "remind", "svg.fonttype": "none"}):
        figure = _figure(figure_module, groups, present_NM, name)
        figure.savefig(buffer, format=form, metadata=metadata)
    return _page(buffer.getvalue(), name) if suffix == ".html" else buffer.getvalue()


def _figure(module: Any, groups: Groups, present_NM: np.ndarray, name: str) -> Any:
    num_shown, num_modalities = min(NUM_SHOWN, len(groups)), len(groups.modalities)
    order_M = np.argsort(-present_NM.sum(axis=0), kind="stable")
    names = [groups.modalities[m] for m in order_M]
    inches_right = max(INCHES_PER_COLUMN * num_shown, 3.6)
    inches_left = 1.5 + 0.075 * max(len(text) for text in names)
    inches_below = INCHES_PER_ROW * num_modalities
    figure = module.Figure(
        figsize=(inches_left + inches_right + 0.4, inches_below + INCHES_OF_BARS + 0.8),
        dpi=150,
        layout="constrained",
    )
    figure.get_layout_engine().set(w_pad=0.04, h_pad=0.04, wspace=0.0, hspace=0.0)
    grid = figure.add_gridspec(
        2,
        2,
        width_ratios=(1.5, inches_right),
        height_ratios=(INCHES_OF_BARS, inches_below),
    )
    bars, sizes, dots = (figure.add_subplot(grid[at]) for at in ((0, 1), (1, 0), (1, 1)))
    _draw_counts(bars, groups, num_shown)
    for row in range(0, num_modalities, 2):
        dots.axhspan(row - 0.5, row + 0.5, color=STRIPE, linewidth=0)
    draw_dots(dots, groups.patterns_GM[:num_shown][:, order_M], LOOK)
    dots.spines[:].set_visible(False)
    draw_shares(sizes, names, present_NM[:, order_M].mean(axis=0), LOOK)
    sizes.set_xlabel("observed in", fontsize="small")
    share = groups.counts_G[:num_shown].sum() / len(present_NM)
    which = f"the {num_shown} most frequent of " if num_shown < len(groups) else ""
    figure.suptitle(
        f"{name}\n{which}{len(groups):,} combinations of modalities, "
        f"{share:.0%} of {len(present_NM):,} training patients",
        fontsize="medium",
    )
    return figure


def _draw_counts(axes: Any, groups: Groups, num_shown: int) -> None:
    """Patients of each combination, with a legend of the bands above."""
    words = _bands_in_words(groups.bands)
    labels = {band: f"{band} ({words[band]})" for band in BAND_NAMES}
    draw_counts(axes, groups, num_shown, LOOK, labels)
    axes.set_ylabel("training patients")
    axes.margins(y=0.1)
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)
    axes.legend(
        title="training patients with the same modalities",
        frameon=False,
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=len(BAND_NAMES),
        alignment="right",
        fontsize="small",
        title_fontsize="small",
    )


def _bands_in_words(bands: Bands) -> dict[str, str]:
    return {
        "head": f"> {bands.head}",
        "medium": f"{bands.medium}–{bands.head}",
        "tail": f"< {bands.medium}",
        "unseen": "0",
    }


def _page(svg: bytes, name: str) -> bytes:
    """A page of its own around the picture, which grows with the window."""
    text = svg.decode("utf-8")
    text = text[text.index("<svg") :]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>Combinations of modalities: {escape(name)}</title>\n"
        "<style>body { margin: 1rem; } svg { max-width: 100%; height: auto; }</style>\n"
        f"</head>\n<body>\n{text}\n</body>\n</html>\n"
    ).encode()
