"""Which combinations of modalities there are, and how well each is served.

An UpSet plot (`remind.upset`) with points between bars and dots: how well the run serves the
evaluated patients of a combination.
"""

# M modalities

from collections.abc import Sequence
from typing import Any

import numpy as np

from remind.report.blocks import Cell, Column, Figure, Section, Table, names, numbers
from remind.report.runs import ReportedRun
from remind.report.sections.bands import metric_cell
from remind.report.svg import BAND_COLORS, FULL_WIDTH, GRID, INK, MUTED, PAPER, inline
from remind.report.words import count, cut, percent, plural
from remind.upset import Look, draw_counts, draw_dots, draw_shares, hide_columns

NUM_SHOWN = 24
MAX_MODALITIES = 40
"""Rows of dots; beyond them those that most patients have or lack are left out."""
INCHES_PER_ROW = 0.215
MAX_NAME = 22
LOOK = Look(
    bands={band: BAND_COLORS[band] for band in ("head", "medium", "tail")},
    dot=INK,
    no_dot=GRID,
    dot_size=26,
    line_width=1,
    bar={"height": 0.55, "color": MUTED, "alpha": 0.55},
    room=0.45,
)


def combinations_section(runs: Sequence[ReportedRun]) -> Section:
    """The UpSet plot of the first run, whose training patients are those of all."""
    run = runs[0]
    counts_G = run.groups.counts_G
    total, shown = int(counts_G.sum()), min(NUM_SHOWN, len(counts_G))
    share = counts_G[:shown].sum() / total
    lead = (
        f"The {count(total)} training patients come in {plural(len(counts_G), 'combination')} of "
        f"{plural(len(run.modalities), 'modality').replace('modalitys', 'modalities')}; "
        f"the {shown} most common hold {percent(share)} of them."
    )
    return Section(
        id="combinations", title="Combinations of modalities", lead=lead, blocks=[_upset(run)]
    )


def _upset(run: ReportedRun) -> Figure:
    num = min(NUM_SHOWN, len(run.groups))
    order_M = _order(run)
    served = {group["group"]: group for group in run.evaluation["groups"]}
    blocks = [served.get(name) for name in run.groups.names(run.groups.patterns_GM[:num])]
    height = 3.1 + INCHES_PER_ROW * len(order_M)

    def paint(figure: Any) -> None:
        grid = figure.add_gridspec(
            3, 2, width_ratios=(1.3, 7), height_ratios=(1.5, 1.1, INCHES_PER_ROW * len(order_M))
        )
        bars, points, sizes, dots = (
            figure.add_subplot(grid[at]) for at in ((0, 1), (1, 1), (2, 0), (2, 1))
        )
        draw_counts(bars, run.groups, num, LOOK)
        bars.set_ylabel("training\npatients")
        bars.margins(y=0.12)
        bars.legend(loc="upper right", ncols=3)
        _draw_losses(points, run, blocks)
        draw_dots(dots, run.groups.patterns_GM[:num][:, order_M], LOOK)
        shown = [cut(run.modalities[m], MAX_NAME) for m in order_M]
        draw_shares(sizes, shown, _shares(run)[order_M], LOOK)

    caption = (
        f"A column is a combination; its dots are the modalities in it. Bars: training patients. "
        f"Points: log loss of {run.label} on the evaluated patients with its {run.level} interval, "
        "open where they are under 20 and have none; the dashed line is everyone's. Left: share of "
        "training patients in whom a modality is observed."
    )
    if len(order_M) < len(run.modalities):
        caption += f" The {len(order_M)} modalities that vary most are shown."
    title = "The most common combinations, and how they are served"
    svg = inline("upset", title, caption, (FULL_WIDTH, height), paint)
    return Figure(title=title, caption=caption, svg=svg, table=_data(run, num), is_wide=True)


def _order(run: ReportedRun) -> np.ndarray:
    """Positions of the modalities that are shown, most observed first."""
    share_M = _shares(run)
    varied = np.sort(np.argsort(np.abs(share_M - 0.5), kind="stable")[:MAX_MODALITIES])
    return varied[np.argsort(-share_M[varied], kind="stable")]


def _shares(run: ReportedRun) -> np.ndarray:
    """Share of the training patients in whom each modality is observed (M,)."""
    counts_G = run.groups.counts_G
    return (counts_G[:, None] * run.groups.patterns_GM).sum(axis=0) / counts_G.sum()


def _draw_losses(axes: Any, run: ReportedRun, blocks: Sequence[dict[str, Any] | None]) -> None:
    for at, block in enumerate(blocks):
        if block is None or block["log_loss"] is None:
            continue
        ci = (block["ci"] or {}).get("log_loss")
        if ci:
            axes.plot([at, at], ci, color=INK, linewidth=1.4, solid_capstyle="butt")
        axes.plot(
            [at],
            [block["log_loss"]],
            marker="o",
            markersize=5,
            color=INK,
            markerfacecolor=INK if ci else PAPER,
        )
    axes.axhline(
        run.evaluation["overall"]["log_loss"],
        color=MUTED,
        linewidth=1,
        linestyle=(0, (4, 3)),
        zorder=1,
    )
    axes.set_ylabel("log loss")
    axes.margins(y=0.1)
    hide_columns(axes, len(blocks))


def _data(run: ReportedRun, num: int) -> Table:
    groups = run.groups
    served = {group["group"]: group for group in run.evaluation["groups"]}
    nobody = {"n": 0, "log_loss": None, "ci": None}
    rows = []
    for name, n_train in zip(
        groups.names(groups.patterns_GM[:num]), groups.counts_G[:num].tolist(), strict=True
    ):
        block = served.get(name, nobody)
        band = str(groups.bands.of(np.array([n_train]))[0])
        rows.append(
            [
                names(name.replace("+", " + ")),
                Cell(band),
                numbers(count(n_train), n_train),
                numbers(count(block["n"]), block["n"]),
                metric_cell(block, "log_loss"),
            ]
        )
    columns = [
        Column("Combination", is_number=False),
        Column("Band", is_number=False),
        Column("Training patients"),
        Column("Evaluated patients"),
        Column("Log loss"),
    ]
    return Table(caption="The most common combinations", columns=columns, rows=rows)
