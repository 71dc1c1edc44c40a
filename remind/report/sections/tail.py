"""The long tail: how unequal combinations are, and how many patients will bring a new one."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from remind.report.blocks import Block, Cell, Column, Figure, Finding, Section, Side, Table, numbers
from remind.report.runs import ReportedRun
from remind.report.sections.bands import BAND_WORDS
from remind.report.sections.parts import blocks_of, findings_of
from remind.report.svg import BAND_COLORS, BAND_MARKERS, HALF_WIDTH, inline
from remind.report.words import (
    bounds,
    count,
    number,
    percent,
    percent_with_interval,
    plural,
)


def tail_section(runs: Sequence[ReportedRun]) -> Section:
    """The rank-size curve and the shares of the bands; the same for all runs of a cohort."""
    first = next((run for run in runs if run.part("long_tail")), runs[0])
    return Section(
        id="long-tail",
        title="The long tail",
        lead="How patients spread over combinations of modalities: how unequal they are, and how "
        "often a new patient will bring a combination that training never saw.",
        blocks=blocks_of([first], "long_tail", "The long tail", _blocks),
        summary=findings_of(first, "long_tail", _say),
    )


def _blocks(run: ReportedRun, part: dict[str, Any], name: str) -> Sequence[Block]:
    return [Side([_curve(part, name), _table(part)])]


def _curve(part: dict[str, Any], name: str) -> Figure:
    steps = part["rank_size"]
    head, medium = part["limits"]["head"], part["limits"]["medium"]
    bands = ["head" if s["n"] > head else "medium" if s["n"] >= medium else "tail" for s in steps]

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        for band in ("head", "medium", "tail"):
            some = [step for step, its in zip(steps, bands, strict=True) if its == band]
            if not some:
                continue
            ends = np.array([[step["first"], step["last"]] for step in some]).ravel()
            axes.plot(
                ends,
                np.repeat([step["n"] for step in some], 2),
                color=BAND_COLORS[band],
                marker=BAND_MARKERS[band],
                markersize=3.5,
                label=band,
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.set_xlabel("rank of the combination")
        axes.set_ylabel("training patients")
        axes.legend()

    title = "Size of combinations by rank"
    caption = "Both axes are logarithmic: a straight fall is a power law."
    rows = [
        [
            numbers(count(step["n"]), step["n"]),
            numbers(count(step["first"]), step["first"]),
            numbers(count(step["last"]), step["last"]),
            Cell(band),
        ]
        for step, band in zip(steps, bands, strict=True)
    ]
    columns = [Column("Training patients"), Column("First rank"), Column("Last rank")]
    columns.append(Column("Band", is_number=False))
    table = Table(caption="Sizes and ranks", columns=columns, rows=rows)
    svg = inline(name, title, caption, (HALF_WIDTH, 3.0), paint)
    return Figure(title=title, caption=caption, svg=svg, table=table)


def _table(part: dict[str, Any]) -> Table:
    rows = []
    for at, (band, block) in enumerate(part["bands"].items()):
        ci = [100 * bound for bound in block["ci"]] if block["ci"] else None
        rows.append(
            [
                Cell(BAND_WORDS[band], float(at)),
                numbers(count(block["groups"]), block["groups"]),
                numbers(count(block["n"]), block["n"]),
                numbers(percent(block["share"]), block["share"]),
                numbers(percent(block["observed"]), block["observed"], bounds(ci, 1)),
            ]
        )
    columns = [Column("Band", is_number=False), Column("Combinations"), Column("Training patients")]
    columns += [
        Column("Share of training"),
        Column(f"Share of {part['unseen']['split']}"),
    ]
    return Table(
        caption="Shares of the bands",
        columns=columns,
        rows=rows,
        note=f"Gini {number(part['gini'], 2)} (0: all combinations equally common); as unequal as "
        f"{number(part['effective_groups'], 1)} equally common combinations would be.",
    )


def _say(run: ReportedRun, part: dict[str, Any]) -> Sequence[Finding]:
    unseen = part["unseen"]
    expected = percent_with_interval(unseen["expected"], unseen["ci"])
    observed = percent_with_interval(unseen["observed"], unseen["observed_ci"])
    did = f"In the split {unseen['split']} {observed} did. "
    return [
        Finding(
            f"Of new patients {expected} are expected to bring a combination that training never "
            "saw.",
            f"{'' if unseen['observed'] is None else did}Training has "
            f"{plural(part['num_groups'], 'combination')}, as unequal as "
            f"{number(part['effective_groups'], 1)} equally common ones.",
        )
    ]
