"""Every combination with enough patients, as a forest plot, and all of them as a table."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from remind.report.blocks import (
    Block,
    Cell,
    Column,
    Figure,
    Missing,
    Section,
    Table,
    names,
    numbers,
)
from remind.report.plots import Series, forest, legend
from remind.report.runs import ReportedRun
from remind.report.sections.bands import TITLES, metric_cell
from remind.report.sections.verdicts import SHOWN
from remind.report.svg import FULL_WIDTH, RUN_COLORS, RUN_MARKERS, inline
from remind.report.words import count, plural, short_group

MAX_FOREST = 30
"""Combinations in the plot, those with the most evaluated patients."""
MAX_LISTED = 400
"""Combinations in the table, those with the most training patients."""

NOBODY: dict[str, Any] = {"n": 0, **dict.fromkeys(SHOWN), "ci": None}
Groups = dict[str, dict[str, Any]]


def groups_section(runs: Sequence[ReportedRun]) -> Section:
    """Groups of the first run, and the same groups of the others."""
    run = runs[0]
    groups = run.evaluation["groups"]
    by_name = [{group["group"]: group for group in other.evaluation["groups"]} for other in runs]
    with_interval = [group for group in groups if group["ci"]]
    blocks: list[Block] = []
    if with_interval:
        blocks.append(_forest(runs, by_name, with_interval))
    else:
        blocks.append(Missing("No combination has the 20 patients that an interval needs."))
    blocks.append(_table(runs, by_name))
    lead = (
        f"The evaluated patients come in {plural(len(groups), 'combination')}; "
        f"{len(with_interval)} of them {'has' if len(with_interval) == 1 else 'have'} the 20 "
        "patients that an interval needs. Patients of different combinations differ in how hard "
        "they are to predict, so compare runs within a combination rather than combinations."
    )
    return Section(id="groups", title="Group by group", lead=lead, blocks=blocks)


def _forest(
    runs: Sequence[ReportedRun], by_name: Sequence[Groups], groups: Sequence[dict[str, Any]]
) -> Figure:
    first = runs[0]
    largest = sorted(groups, key=lambda group: -group["n"])[:MAX_FOREST]
    shown = sorted(largest, key=lambda group: -group["n_train"])
    words = [
        f"{short_group(group['group'], first.modalities, 36)}  ({count(group['n'])})"
        for group in shown
    ]
    title = "Combinations, from common to rare"

    def paint(figure: Any) -> None:
        panels = np.atleast_1d(figure.subplots(1, len(SHOWN), sharey=True))
        for axes, (metric, label) in zip(panels, SHOWN.items(), strict=True):
            line = first.evaluation["overall"][metric]
            forest(axes, words, _series(runs, by_name, shown, metric), xlabel=label, line=line)
        legend(figure, panels[0])

    caption = (
        f"Combinations with at least 20 evaluated patients (how many, in brackets), sorted by "
        f"their training patients, with {first.level} intervals. Dashed: {first.label}, everyone."
    )
    if len(largest) < len(groups):
        caption += f" The {len(largest)} with most evaluated patients of {len(groups)}."
    height = 1.1 + (0.24 + 0.08 * (len(runs) - 1)) * len(shown)
    svg = inline("groups", title, caption, (FULL_WIDTH, height), paint)
    return Figure(title=title, caption=caption, svg=svg, is_wide=True)


def _series(
    runs: Sequence[ReportedRun],
    by_name: Sequence[Groups],
    shown: Sequence[dict[str, Any]],
    metric: str,
) -> list[Series]:
    series = []
    for position, (run, groups) in enumerate(zip(runs, by_name, strict=True)):
        blocks = [groups.get(group["group"], NOBODY) for group in shown]
        series.append(
            Series(
                run.label,
                [block.get(metric) for block in blocks],
                [(block["ci"] or {}).get(metric) for block in blocks],
                RUN_COLORS[position % len(RUN_COLORS)],
                RUN_MARKERS[position % len(RUN_MARKERS)],
            )
        )
    return series


def _table(runs: Sequence[ReportedRun], by_name: Sequence[Groups]) -> Table:
    first = runs[0]
    groups = first.evaluation["groups"]
    columns = [
        Column("Combination", is_number=False),
        Column("Band", is_number=False),
        Column("Training patients"),
        Column("Evaluated patients"),
    ]
    for title in (TITLES[metric] for metric in SHOWN):
        columns += [Column(f"{title}, {run.label}" if len(runs) > 1 else title) for run in runs]
    rows = []
    for group in groups[:MAX_LISTED]:
        band = str(first.groups.bands.of(np.array([group["n_train"]]))[0])
        cells = [
            names(short_group(group["group"], first.modalities, 400)),
            Cell(band),
            numbers(count(group["n_train"]), group["n_train"]),
            numbers(count(group["n"]), group["n"]),
        ]
        for metric in SHOWN:
            blocks = [some.get(group["group"], NOBODY) for some in by_name]
            cells += [metric_cell(block, metric) for block in blocks]
        rows.append(cells)
    note = "Under 20 evaluated patients there is no interval: such figures say little."
    if len(groups) > MAX_LISTED:
        note += f" The {MAX_LISTED} most common in training of {count(len(groups))}; "
        note += "evaluation.json has all."
    return Table(caption="All combinations", columns=columns, rows=rows, note=note, is_long=True)
