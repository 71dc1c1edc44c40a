"""Concept shift: do combinations need different functions of the same modalities?"""

from collections.abc import Sequence
from typing import Any

from remind.report.blocks import Block, Column, Figure, Finding, Section, Table, names, numbers
from remind.report.plots import matrix
from remind.report.runs import ReportedRun
from remind.report.sections.parts import blocks_of, findings_of
from remind.report.svg import FULL_WIDTH, inline
from remind.report.words import (
    count,
    number,
    p_value,
    plural,
    short_group,
    signed,
    signed_bounds,
    signed_with_interval,
)

SIGNIFICANT = 0.05


def concept_section(runs: Sequence[ReportedRun]) -> Section:
    """Excess losses of combinations' heads for each other."""
    return Section(
        id="concept-shift",
        title="Do combinations need their own function?",
        lead="A head is fitted for each combination and tried on the patients of another one, all "
        "masked to the modalities that both have, so that the patients are the same. What it "
        "loses more than their own head, chance taken off, is concept shift.",
        blocks=blocks_of(runs, "concept_shift", "Concept shift", _blocks),
        summary=findings_of(runs[0], "concept_shift", _say),
    )


def _blocks(run: ReportedRun, part: dict[str, Any], name: str) -> Sequence[Block]:
    return [_matrix(run, part, name), _groups(run, part), _pairs(run, part)]


def _matrix(run: ReportedRun, part: dict[str, Any], name: str) -> Figure:
    order = part.get("leaves") or range(len(part["groups"]))
    groups = [part["groups"][at] for at in order]
    values = [[part["excess"][a][b] for b in order] for a in order]
    rows = [
        f"{short_group(group['group'], run.modalities, 34)}  {at}"
        for at, group in enumerate(groups, start=1)
    ]
    columns = [str(at) for at in range(1, len(groups) + 1)]
    most = max((abs(v) for row in values for v in row if v is not None), default=0.0)

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        matrix(axes, values, rows, columns, most=most, digits=3)
        axes.set_xlabel("whose head")
        axes.set_ylabel("whose patients")

    title = f"Excess loss of another combination's head, {run.label}"
    caption = (
        "Nats that the patients of a row lose with the head of a column; blue is a loss, "
        "vermillion less than chance. Combinations that share a function stand together."
    )
    cells = [
        [names(label), *(numbers(signed(value), value) for value in row)]
        for label, row in zip(rows, values, strict=True)
    ]
    table = Table(
        caption=f"{title}: figures",
        columns=[Column("Whose patients", is_number=False), *(Column(c) for c in columns)],
        rows=cells,
    )
    size = (FULL_WIDTH, 0.9 + 0.27 * len(groups))
    svg = inline(name, title, caption, size, paint)
    return Figure(title=title, caption=caption, svg=svg, table=table, is_wide=True)


def _groups(run: ReportedRun, part: dict[str, Any]) -> Table:
    rows = [
        [
            names(short_group(group["group"], run.modalities, 80)),
            numbers(count(group["n"]), group["n"]),
            numbers(str(group["cluster"]), group["cluster"]),
            numbers(signed(group["excess"]), group["excess"], signed_bounds(group["ci"])),
        ]
        for group in part["groups"]
    ]
    columns = [Column("Combination", is_number=False), Column("Patients")]
    columns += [Column("Cluster"), Column("Mean excess (nats)")]
    return Table(
        caption=f"Combinations and the function they share, {run.label}",
        columns=columns,
        rows=rows,
        note="Combinations of one cluster lose no more with each other's head than chance does.",
    )


def _pairs(run: ReportedRun, part: dict[str, Any]) -> Table:
    rows = [
        [
            names(short_group(pair["a"], run.modalities, 60)),
            names(short_group(pair["b"], run.modalities, 60)),
            numbers(signed(pair["excess"]), pair["excess"]),
            numbers(number(pair["p"]), pair["p"]),
            numbers(number(pair["q"]), pair["q"]),
        ]
        for pair in part["pairs"]
    ]
    columns = [Column("Combination", is_number=False), Column("Other one", is_number=False)]
    columns += [Column("Excess (nats)"), Column("p"), Column("q")]
    return Table(
        caption=f"Pairs of combinations, {run.label}",
        columns=columns,
        rows=rows,
        note="p by permutation; q after Benjamini and Hochberg.",
        is_long=True,
        is_folded=True,
    )


def _say(run: ReportedRun, part: dict[str, Any]) -> Sequence[Finding]:
    overall = part["overall"]
    num_clusters = len({group["cluster"] for group in part["groups"]})
    is_shown = overall["p"] is not None and overall["p"] <= SIGNIFICANT and overall["excess"] > 0
    verdict = (
        "Combinations differ in their function: there is concept shift."
        if is_shown
        else "No clear sign that combinations need functions of their own."
    )
    return [
        Finding(
            verdict,
            f"Among the {len(part['groups'])} largest, another one's head costs "
            f"{signed_with_interval(overall['excess'], overall['ci'])} nats "
            f"({p_value(overall['p'])}); {overall['significant']} of "
            f"{plural(overall['pairs'], 'pair')} are significant, and they form "
            f"{plural(num_clusters, 'cluster')} that share a function.",
        )
    ]
