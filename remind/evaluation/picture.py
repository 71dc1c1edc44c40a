"""One picture of the result: AUROC per band with intervals, methods side by side."""

from pathlib import Path
from typing import Any

import numpy as np

from remind.errors import InputError
from remind.evaluation.colors import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILLION
from remind.evaluation.predictions import write_whole
from remind.evaluation.table import ROWS, Evaluations, check_same_patients

COLORS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
# They tell methods apart in print.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
SPREAD = 0.5
SUFFIXES = (".png", ".svg")


def band_plot(evaluations: Evaluations, path: str | Path) -> None:
    """Draw AUROC per band with its bootstrap interval to a PNG or SVG file, as its suffix says.

    Args:
        evaluations: method name -> what `evaluate` returned, all of the same patients.
        path: where to; written whole.

    Raises:
        InputError: another suffix, matplotlib is absent, no evaluation, or not the same patients.
    """
    path = Path(path)
    check_same_patients(evaluations)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path} must end in {' or '.join(SUFFIXES)} to be a picture")
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError(
            "a picture needs matplotlib, which is not installed: pip install 'remind-med[plot]'"
        ) from error
    # A fixed salt and no date: the same evaluations give the same bytes.
    with rc_context({"svg.hashsalt": "remind", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7.2, 4.2), dpi=150, layout="constrained")
        _draw(figure.subplots(), evaluations)
        figure.legend(frameon=False, ncols=4, loc="outside upper right")
        metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
        write_whole(path, lambda temporary: figure.savefig(temporary, metadata=metadata))


def _draw(axes: Any, evaluations: Evaluations) -> None:
    offsets = np.linspace(-SPREAD / 2, SPREAD / 2, len(evaluations) + 2)[1:-1]
    for index, (method, evaluation) in enumerate(evaluations.items()):
        _draw_method(axes, index, method, evaluation, offsets[index])
    first = next(iter(evaluations.values()))
    axes.set_xticks(range(len(ROWS)), [f"{row}\nn = {first[row]['n']:,}" for row in ROWS])
    axes.set_xlim(-0.5, len(ROWS) - 0.5)
    axes.axvline(0.5, color="0.8", linewidth=1)
    axes.set_ylabel(f"AUROC with {first['bootstrap']['level']:.0%} interval")
    axes.set_xlabel(_band_legend(first["bands"]), fontsize="small", labelpad=8)
    axes.set_title(f"{first['cohort']}: how common and rare combinations are served", loc="left")
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_method(axes: Any, index: int, method: str, evaluation: Any, offset: float) -> None:
    blocks = [evaluation[row] for row in ROWS]
    points = [(x, block) for x, block in enumerate(blocks) if block["auroc"] is not None]
    value = np.array([block["auroc"] for _, block in points])
    bounds = np.array([_bounds(block) for _, block in points]).reshape(-1, 2)
    axes.errorbar(
        [x + offset for x, _ in points],
        value,
        yerr=np.abs(bounds.T - value),
        label=method,
        color=COLORS[index % len(COLORS)],
        marker=MARKERS[index % len(MARKERS)],
        linestyle="none",
        capsize=3,
    )


def _bounds(block: Any) -> list[float]:
    """The interval of a block's AUROC, or the point itself where there is none."""
    return block["ci"]["auroc"] or [block["auroc"]] * 2


def _band_legend(bands: dict[str, int]) -> str:
    return (
        f"training patients with the same modalities: head > {bands['head']}, "
        f"medium {bands['medium']}–{bands['head']}, tail 1–{bands['medium'] - 1}, unseen 0"
    )
