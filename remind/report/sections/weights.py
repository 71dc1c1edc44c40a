"""Group weights: what the robust objective did during training."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from remind.report.blocks import (
    Block,
    Column,
    Figure,
    Finding,
    Section,
    Side,
    Table,
    Text,
    names,
    numbers,
)
from remind.report.runs import ReportedRun
from remind.report.sections.parts import blocks_of, findings_of
from remind.report.svg import BLUE, GREEN, HALF_WIDTH, VERMILLION, inline
from remind.report.words import count, number, percent, short_group

LINES = {
    "tail_mass": ("weight of the tail", VERMILLION, "-"),
    "max_weight": ("largest weight", BLUE, "--"),
    "moved": ("moved since the start", GREEN, ":"),
}


def weights_section(runs: Sequence[ReportedRun]) -> Section:
    """Trajectories, health and the groups that weigh most."""
    return Section(
        id="weights",
        title="What the objective weighed",
        lead="Group-robust training raises the weight of combinations that are served badly. "
        "Weights that never move, or end on one combination, do not help anybody.",
        blocks=blocks_of(runs, "group_weights", "The trajectory of group weights", _blocks),
        summary=findings_of(runs[0], "group_weights", _say),
    )


def _blocks(run: ReportedRun, part: dict[str, Any], name: str) -> Sequence[Block]:
    blocks: list[Block] = [Text(_health(run, part))]
    track, unit = _track(part)
    if track:
        blocks.append(Side([_lines(run, track, unit, name), _spread(run, track, unit, name)]))
    if part["groups"] and part["moves"]:
        blocks.append(_table(run, part))
    return blocks


def _health(run: ReportedRun, part: dict[str, Any]) -> str:
    return f"Weights of {run.label} (objective {part['objective']}) are {part['health']}."


def _track(part: dict[str, Any]) -> tuple[dict[str, list[float]], str]:
    """The records as columns, by update or else by epoch, and which of the two."""
    if part["updates"]:
        return part["updates"], "update"
    epochs = part["epochs"]
    if not epochs:
        return {}, ""
    return {key: [epoch[key] for epoch in epochs] for key in ("epoch", "entropy", *LINES)}, "epoch"


def _lines(run: ReportedRun, track: dict[str, list[float]], unit: str, name: str) -> Figure:
    def paint(figure: Any) -> None:
        axes = figure.subplots()
        for key, (label, color, style) in LINES.items():
            axes.plot(track[unit], track[key], color=color, linestyle=style, label=label)
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel(unit)
        axes.set_ylabel("share of the weight")
        figure.legend(loc="outside upper left", ncols=2, borderpad=0)

    title = f"Group weights by {unit}, {run.label}"
    caption = "Shares of all weight; moved is the part that changed hands since the start."
    columns = [Column(unit.capitalize())]
    columns += [Column(label[0].upper() + label[1:]) for label, _, _ in LINES.values()]
    columns.append(Column("Combinations in effect"))
    rows = [
        [
            numbers(count(track[unit][at]), track[unit][at]),
            *(numbers(number(track[key][at]), track[key][at]) for key in LINES),
            numbers(number(float(np.exp(track["entropy"][at])), 1), track["entropy"][at]),
        ]
        for at in range(len(track[unit]))
    ]
    table = Table(caption=f"{title}: figures", columns=columns, rows=rows, is_long=True)
    svg = inline(f"{name}-lines", title, caption, (HALF_WIDTH, 3.0), paint)
    return Figure(title=title, caption=caption, svg=svg, table=table)


def _spread(run: ReportedRun, track: dict[str, list[float]], unit: str, name: str) -> Figure:
    def paint(figure: Any) -> None:
        axes = figure.subplots()
        axes.plot(track[unit], np.exp(track["entropy"]), color=BLUE)
        axes.set_ylim(bottom=0)
        axes.set_xlabel(unit)
        axes.set_ylabel("combinations in effect")

    title = f"Spread of the weights by {unit}, {run.label}"
    caption = "How many equally weighted combinations would be as spread out: 1 is one-hot."
    svg = inline(f"{name}-spread", title, caption, (HALF_WIDTH, 3.0), paint)
    return Figure(title=title, caption=caption, svg=svg)


def _table(run: ReportedRun, part: dict[str, Any]) -> Table:
    rows = [
        [
            names(short_group(group["group"], run.modalities, 80)),
            numbers(count(group["n_train"]), group["n_train"]),
            numbers(percent(group["share"], 2), group["share"]),
            numbers(percent(group["weight"], 2), group["weight"]),
            numbers(number(group["ratio"], 2), group["ratio"]),
        ]
        for group in part["groups"]
    ]
    columns = [Column("Combination", is_number=False), Column("Training patients")]
    columns += [Column("Share of patients"), Column("Weight"), Column("Weight per share")]
    return Table(
        caption=f"Combinations that weigh most per patient, {run.label}",
        columns=columns,
        rows=rows,
        is_long=True,
    )


def _say(run: ReportedRun, part: dict[str, Any]) -> Sequence[Finding]:
    if not part["moves"]:
        return []
    verdict, _, evidence = part["health"].partition(": ")
    return [Finding(f"The group weights: {verdict}.", f"{evidence[:1].upper()}{evidence[1:]}.")]
