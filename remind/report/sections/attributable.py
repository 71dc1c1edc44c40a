"""How much of a rare band's deficit is the model's, and how much nobody could win."""

from collections.abc import Sequence
from typing import Any

from remind.report.blocks import (
    Block,
    Cell,
    Column,
    Figure,
    Finding,
    Section,
    Table,
    names,
    numbers,
)
from remind.report.plots import Series, forest
from remind.report.runs import ReportedRun
from remind.report.sections.bands import BAND_WORDS
from remind.report.sections.parts import blocks_of, findings_of
from remind.report.svg import BAND_COLORS, BAND_MARKERS, FULL_WIDTH, inline
from remind.report.words import (
    count,
    percent,
    short_group,
    side_of_zero,
    signed,
    signed_bounds,
    signed_with_interval,
)

PARTS = {
    "gap": "gap to common patients",
    "information": "less is known",
    "patients": "other patients",
    "function": "other function (open)",
    "model": "a better model wins",
    "common_excess": "minus common ones",
}


def attributable_section(runs: Sequence[ReportedRun]) -> Section:
    """The gap of every rare band in its parts."""
    return Section(
        id="attributable",
        title="Is it the model's fault?",
        lead="Common patients masked down to a rare combination know as little, and a reference "
        "had plenty of them to learn from. So the gap of rare patients splits into what is "
        "intrinsic (less is known, other patients), what is open (another function, or severity "
        "that no value shows) and what a better model wins.",
        blocks=blocks_of(runs, "attributable", "The attributable gap", _blocks),
        summary=findings_of(runs[0], "attributable", _say),
    )


def _blocks(run: ReportedRun, part: dict[str, Any], name: str) -> Sequence[Block]:
    blocks: list[Block] = [_forest(run, part, name), _table(run, part)]
    return [*blocks, _groups(run, part)] if part["groups"] else blocks


def _forest(run: ReportedRun, part: dict[str, Any], name: str) -> Figure:
    bands = {band: block for band, block in part["bands"].items() if block}

    def paint(figure: Any) -> None:
        panels = figure.subplots(1, len(bands), sharey=True, squeeze=False)[0]
        for axes, (band, block) in zip(panels, bands.items(), strict=True):
            found = [block["log_loss"]["parts"][key] for key in PARTS]
            series = Series(
                band,
                [one["value"] for one in found],
                [one["ci"] for one in found],
                BAND_COLORS[band],
                BAND_MARKERS[band],
            )
            forest(axes, list(PARTS.values()), [series], xlabel="log loss (nats)", line=0.0)
            axes.set_title(f"{BAND_WORDS[band].lower()} ({count(block['n'])})")

    title = f"The gap in log loss and its parts, {run.label}"
    caption = (
        f"Each band against common patients, with {run.level} intervals; the five parts add up to "
        "the gap. Right of the dashed line is a loss."
    )
    svg = inline(name, title, caption, (FULL_WIDTH, 2.6), paint)
    return Figure(title=title, caption=caption, svg=svg, is_wide=True)


def _table(run: ReportedRun, part: dict[str, Any]) -> Table:
    rows = [
        [
            Cell(BAND_WORDS[band], float(at)),
            numbers(count(block["n"]), block["n"], f"{percent(block['covered'], 0)} comparable"),
            *_cells(block),
        ]
        for at, (band, block) in enumerate(part["bands"].items())
        if block
    ]
    columns = [Column("Band", is_number=False), Column("Patients")]
    columns += [Column(title[0].upper() + title[1:]) for title in PARTS.values()]
    return Table(
        caption=f"Parts of the gap in log loss, {run.label}",
        columns=columns,
        rows=rows,
        note="Comparable: patients to whose combination a common patient can be masked. A better "
        "model wins what a reference won here, on patients that it had not seen.",
    )


def _groups(run: ReportedRun, part: dict[str, Any]) -> Table:
    rows = [
        [
            names(short_group(group["group"], run.modalities, 80)),
            numbers(count(group["n"]), group["n"]),
            *_cells(group),
        ]
        for group in part["groups"]
    ]
    columns = [Column("Combination", is_number=False), Column("Patients")]
    columns += [Column(title[0].upper() + title[1:]) for title in PARTS.values()]
    return Table(
        caption=f"Parts of the gap by combination, {run.label}",
        columns=columns,
        rows=rows,
        is_long=True,
        is_folded=True,
    )


def _cells(block: dict[str, Any]) -> list[Cell]:
    found = [block["log_loss"]["parts"][key] for key in PARTS]
    return [numbers(signed(f["value"]), f["value"], signed_bounds(f["ci"])) for f in found]


def _say(run: ReportedRun, part: dict[str, Any]) -> Sequence[Finding]:
    band = next((name for name in ("tail", "medium", "unseen") if part["bands"].get(name)), None)
    if band is None:
        return []
    parts = part["bands"][band]["log_loss"]["parts"]
    if any(parts[key]["value"] is None for key in PARTS):
        return []
    told = {key: signed_with_interval(parts[key]["value"], parts[key]["ci"]) for key in PARTS}
    verdict = {
        1: f"A better model could serve the {band} better.",
        0: f"No clear room for a better model in the {band}.",
        -1: f"In the {band} the run does better than the reference.",
    }[side_of_zero(parts["model"]["ci"])]
    return [
        Finding(
            verdict,
            f"Its log loss minus that of common patients is {told['gap']} nats. Less information "
            f"makes {told['information']} of it, other patients {told['patients']}, another "
            f"function or unseen severity {told['function']}, and a better model wins "
            f"{told['model']}.",
        )
    ]
