"""Gradient consistency: does the average step go the way that each combination needs?"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from remind.report.blocks import (
    Block,
    Cell,
    Column,
    Figure,
    Finding,
    Section,
    Side,
    Table,
    names,
    numbers,
)
from remind.report.plots import matrix
from remind.report.runs import ReportedRun
from remind.report.sections.bands import BAND_WORDS
from remind.report.sections.parts import blocks_of, findings_of
from remind.report.svg import BAND_COLORS, BAND_MARKERS, HALF_WIDTH, MUTED, inline
from remind.report.words import (
    count,
    number,
    p_value,
    percent_with_interval,
    plural,
    short_group,
    side_of_zero,
    signed,
    signed_bounds,
    signed_with_interval,
)

MAX_POINTS = 400
MAX_LISTED = 200
MAX_CELLS = 30
WHEN = {"trained": "after training", "initial": "before training"}


def gradients_section(runs: Sequence[ReportedRun]) -> Section:
    """Cosines by size, before and after training, and between groups."""
    return Section(
        id="gradients",
        title="Do rare combinations pull another way?",
        lead="The cosine of a combination's gradient with that of all training patients: 1 is the "
        "same way, 0 another one. The mean gradient of few patients is noisy, so chance alone "
        "lowers it: only what lies below the shaded range is inconsistency.",
        blocks=blocks_of(runs, "gradients", "Gradient consistency", _blocks),
        summary=findings_of(runs[0], "gradients", _say),
    )


def _blocks(run: ReportedRun, part: dict[str, Any], name: str) -> Sequence[Block]:
    times = [when for when in WHEN if part.get(when)]
    return [
        Side([_scatter(run, part[when], when, f"{name}-{when}") for when in times]),
        Side([_matrix(run, part["trained"], f"{name}-matrix"), _bands(run, part, times)]),
    ]


def _scatter(run: ReportedRun, block: dict[str, Any], when: str, name: str) -> Figure:
    groups = [group for group in block["groups"] if group["cosine"] is not None]
    step = -(-len(groups) // MAX_POINTS) or 1
    shown = groups[::step]

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        _draw_chance(axes, groups)
        for band in ("head", "medium", "tail"):
            some = [group for group in shown if group["band"] == band]
            if some:
                axes.plot(
                    [group["n_train"] for group in some],
                    [group["cosine"] for group in some],
                    linestyle="none",
                    color=BAND_COLORS[band],
                    marker=BAND_MARKERS[band],
                    markersize=3.8,
                    label=band,
                )
        axes.axhline(0, color=MUTED, linewidth=0.8)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.set_xlabel("training patients of the combination")
        axes.set_ylabel("cosine with the overall gradient")
        figure.legend(loc="outside upper left", ncols=4, borderpad=0)

    title = f"Gradients by size {WHEN[when]}, {run.label}"
    caption = "Shaded: 95% of as many patients drawn at random; the line is their mean."
    if step > 1:
        caption += f" Every {step}th of {count(len(groups))} combinations is drawn."
    svg = inline(name, title, caption, (HALF_WIDTH, 3.4), paint)
    table = _group_table(run, groups, f"{title}: figures")
    return Figure(title=title, caption=caption, svg=svg, table=table)


def _draw_chance(axes: Any, groups: Sequence[dict[str, Any]]) -> None:
    """The range of random draws by their number of patients."""
    by_size = {group["n_train"]: group for group in groups if None not in group["range"]}
    sizes = sorted(by_size)
    low, high = np.array([by_size[size]["range"] for size in sizes], dtype=float).T
    axes.fill_between(sizes, low, high, color=MUTED, alpha=0.22, linewidth=0, label="chance")
    axes.plot(sizes, [by_size[size]["expected"] for size in sizes], color=MUTED, linewidth=1)


def _group_table(run: ReportedRun, groups: Sequence[dict[str, Any]], caption: str) -> Table:
    rows = [
        [
            names(short_group(group["group"], run.modalities, 80)),
            Cell(group["band"]),
            numbers(count(group["n_train"]), group["n_train"]),
            numbers(number(group["cosine"], 2), group["cosine"]),
            numbers(number(group["expected"], 2), group["expected"]),
            numbers(number(group["p"]), group["p"]),
        ]
        for group in groups[:MAX_LISTED]
    ]
    columns = [Column("Combination", is_number=False), Column("Band", is_number=False)]
    columns += [Column("Training patients"), Column("Cosine"), Column("By chance"), Column("p")]
    note = f"The {MAX_LISTED} most common." if len(groups) > MAX_LISTED else ""
    return Table(caption=caption, columns=columns, rows=rows, note=note, is_long=True)


def _matrix(run: ReportedRun, block: dict[str, Any], name: str) -> Figure:
    shown = block["matrix"]["groups"][:MAX_CELLS]
    values = [row[: len(shown)] for row in block["matrix"]["cosine"][: len(shown)]]
    ticks = [str(at + 1) if at % 5 == 4 or at == 0 else "" for at in range(len(shown))]

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        matrix(axes, values, ticks, ticks, most=1.0)
        axes.set_aspect("equal")
        axes.set_xlabel("combination, by size")
        axes.set_ylabel("combination, by size")

    title = f"Gradients of combinations with each other, {run.label}"
    caption = (
        f"Cosines between the {len(shown)} largest combinations after training: blue the same "
        "way, vermillion against each other, the stronger the more."
    )
    rows = [
        [
            numbers(str(at + 1), at + 1),
            names(short_group(group, run.modalities, 60)),
            *(numbers(number(value, 2), value) for value in row),
        ]
        for at, (group, row) in enumerate(zip(shown, values, strict=True))
    ]
    columns = [Column("Number"), Column("Combination", is_number=False)]
    columns += [Column(str(at + 1)) for at in range(len(shown))]
    table = Table(caption=f"{title}: figures", columns=columns, rows=rows, is_long=True)
    svg = inline(name, title, caption, (HALF_WIDTH, HALF_WIDTH - 0.2), paint)
    return Figure(title=title, caption=caption, svg=svg, table=table)


def _bands(run: ReportedRun, part: dict[str, Any], times: Sequence[str]) -> Table:
    rows = []
    for when in times:
        for at, (band, found) in enumerate(part[when]["bands"].items()):
            beyond, ci = found["difference"], found["ci"]
            rows.append(
                [
                    Cell(BAND_WORDS[band], float(at)),
                    Cell(WHEN[when].removesuffix(" training")),
                    numbers(count(found["groups"]), found["groups"]),
                    numbers(
                        number(found["cosine"], 2),
                        found["cosine"],
                        f"{number(found['expected'], 2)} by chance",
                    ),
                    numbers(signed(beyond, 2), beyond, signed_bounds(ci, 2)),
                ]
            )
    columns = [Column("Band", is_number=False), Column("Training", is_number=False)]
    columns += [Column("Combinations"), Column("Cosine")]
    return Table(
        caption=f"Mean cosine by band, {run.label}",
        columns=[*columns, Column("Beyond chance")],
        rows=rows,
        note="Every combination counts the same; intervals over combinations.",
    )


def _say(run: ReportedRun, part: dict[str, Any]) -> Sequence[Finding]:
    block = part["trained"]
    size, beyond, below = block["size"], block["size_beyond_chance"], block["below_chance"]
    if size["rho"] is None or beyond["rho"] is None:
        return []
    verdict = {
        1: "Rare combinations pull another way than the average step.",
        0: "No clear sign that rare combinations pull another way.",
        -1: "It is common combinations that pull another way than the average step.",
    }[side_of_zero(beyond["ci"])]
    return [
        Finding(
            verdict,
            f"Over {plural(size['n'], 'combination')} Spearman's ρ of size and cosine with the "
            f"overall gradient is {signed_with_interval(size['rho'], size['ci'], 2)}, "
            f"{p_value(size['p'])}; with the chance in few patients taken off it is "
            f"{signed_with_interval(beyond['rho'], beyond['ci'], 2)}. "
            f"{percent_with_interval(below['share'], below['ci'])} of combinations lie below the "
            "range of chance, where 2.5% would by chance.",
        )
    ]
