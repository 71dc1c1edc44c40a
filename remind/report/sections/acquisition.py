"""What would help: which missing modality is worth acquiring, and how far that can be trusted."""

from collections.abc import Sequence
from typing import Any

from remind.report.blocks import (
    Block,
    Column,
    Figure,
    Finding,
    Section,
    Side,
    Table,
    names,
    numbers,
)
from remind.report.plots import Series, forest
from remind.report.runs import ReportedRun
from remind.report.sections.parts import blocks_of, findings_of
from remind.report.svg import BLUE, HALF_WIDTH, MUTED, inline
from remind.report.words import (
    UNDEFINED,
    bounds,
    count,
    cut,
    number,
    short_group,
    side_of_zero,
    signed_with_interval,
)

MAX_SHOWN = 20
PER_GROUP = 3
SHORT = 20


def acquisition_section(runs: Sequence[ReportedRun]) -> Section:
    """Ranked tables and the check on patients from whom a modality was hidden."""
    return Section(
        id="acquisition",
        title="What would help",
        lead="By how much log loss is expected to fall if a modality that is missing were "
        "acquired, learned from patients who have it. It is the worth for the prediction, for "
        "patients like those who had it measured; not a recommendation to treat or test.",
        blocks=blocks_of(runs, "acquisition", "What would help", _blocks),
        summary=findings_of(runs[0], "acquisition", _say),
    )


def _blocks(run: ReportedRun, part: dict[str, Any], name: str) -> Sequence[Block]:
    return [
        _modalities(run, part),
        _groups(run, part),
        Side([_bins(run, part, name), _hidden(run, part, f"{name}-hidden")]),
    ]


def _modalities(run: ReportedRun, part: dict[str, Any]) -> Table:
    rows = []
    for rank, item in enumerate(_ranked(part), start=1):
        hidden = item["hidden"] or {"n": None, "expected": None, "realised": None}
        realised = hidden["realised"] or {"value": None, "ci": None}
        rows.append(
            [
                names(item["modality"]),
                numbers(str(rank) if item["gain"] is not None else UNDEFINED, rank),
                numbers(count(item["lacking"]), item["lacking"]),
                numbers(number(item["gain"]), item["gain"]),
                numbers(count(hidden["n"]), hidden["n"]),
                numbers(number(hidden["expected"]), hidden["expected"]),
                numbers(number(realised["value"]), realised["value"], bounds(realised["ci"])),
            ]
        )
    columns = [Column("Modality", is_number=False), Column("Rank"), Column("Patients who lack it")]
    columns += [Column("Expected gain"), Column("Patients it was hidden from")]
    columns += [Column("Expected for them"), Column("Realised for them")]
    return Table(
        caption=f"Modalities by what acquiring them would gain, {run.label}",
        columns=columns,
        rows=rows,
        note="Gains are in nats of log loss per patient; more is better. The last columns check "
        "the expectation on patients who have the modality and from whom it was hidden.",
    )


def _ranked(part: dict[str, Any]) -> list[dict[str, Any]]:
    """Modalities, most gain first, those that nobody lacks last."""
    return sorted(
        part["modalities"],
        key=lambda item: (item["gain"] is None, -(item["gain"] or 0.0)),
    )


def _groups(run: ReportedRun, part: dict[str, Any]) -> Table:
    rows = []
    for group in part["groups"]:
        name = short_group(group["group"], run.modalities, 60)
        for rank, item in enumerate(group["gains"][:PER_GROUP], start=1):
            rows.append(
                [
                    names(name),
                    numbers(count(group.get("n")), group.get("n")),
                    numbers(str(rank), rank),
                    names(item["modality"]),
                    numbers(number(item["gain"]), item["gain"], bounds(item["ci"])),
                ]
            )
    columns = [Column("Combination", is_number=False), Column("Patients"), Column("Rank")]
    columns += [Column("Acquire", is_number=False), Column("Expected gain")]
    return Table(
        caption=f"The best {PER_GROUP} modalities to acquire, by combination, {run.label}",
        columns=columns,
        rows=rows,
        note=f"The {len(part['groups'])} combinations with most patients.",
        is_long=True,
        is_folded=True,
    )


def _bins(run: ReportedRun, part: dict[str, Any], name: str) -> Figure:
    bins = part["validation"]["bins"]

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        ends = [point["expected"] for point in bins]
        axes.plot(
            [min(ends), max(ends)],
            [min(ends), max(ends)],
            color=MUTED,
            linewidth=1,
            linestyle=(0, (4, 3)),
        )
        for point in bins:
            realised = point["realised"]
            if realised["ci"]:
                axes.plot([point["expected"]] * 2, realised["ci"], color=BLUE, linewidth=1.4)
            if realised["value"] is not None:
                axes.plot([point["expected"]], [realised["value"]], "o", color=BLUE, markersize=5)
        axes.set_xlabel("expected gain (nats)")
        axes.set_ylabel("realised gain (nats)")

    title = f"Expected and realised gain, {run.label}"
    caption = (
        f"Tenths of the hidden measurements by their expected gain, with {run.level} intervals of "
        "the realised one. On the dashed line expectations come true."
    )
    rows = [
        [
            numbers(number(point["expected"], 4), point["expected"]),
            numbers(
                number(point["realised"]["value"], 4),
                point["realised"]["value"],
                bounds(point["realised"]["ci"], 4),
            ),
            numbers(count(point["n"]), point["n"]),
        ]
        for point in bins
    ]
    columns = [Column("Expected gain"), Column("Realised gain"), Column("Hidden measurements")]
    table = Table(caption=f"{title}: points", columns=columns, rows=rows)
    svg = inline(name, title, caption, (HALF_WIDTH, 3.0), paint)
    return Figure(title=title, caption=caption, svg=svg, table=table)


def _hidden(run: ReportedRun, part: dict[str, Any], name: str) -> Figure:
    shown = [item for item in part["modalities"] if item["hidden"]]
    shown = sorted(shown, key=lambda item: -item["hidden"]["expected"])[:MAX_SHOWN]
    series = [
        Series(
            "realised",
            [item["hidden"]["realised"]["value"] for item in shown],
            [item["hidden"]["realised"]["ci"] for item in shown],
            BLUE,
            "o",
        ),
    ]

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        axes.scatter(
            [item["hidden"]["expected"] for item in shown],
            range(len(shown)),
            marker="|",
            s=120,
            color=MUTED,
            linewidths=2,
        )
        rows = [cut(item["modality"], SHORT) for item in shown]
        forest(axes, rows, series, xlabel="gain where it was hidden (nats)", line=0.0)

    title = f"What each modality was worth, {run.label}"
    caption = (
        f"Mean realised gain of having the modality, with {run.level} intervals, for patients "
        "who have it; the grey bar is what was expected."
    )
    svg = inline(name, title, caption, (HALF_WIDTH, 0.8 + 0.2 * len(shown)), paint)
    return Figure(title=title, caption=caption, svg=svg)


def _say(run: ReportedRun, part: dict[str, Any]) -> Sequence[Finding]:
    known = [item for item in _ranked(part) if item["gain"] is not None]
    if not known:
        return []
    best, found = known[0], part["validation"]["pearson"]
    trust = {
        1: "expected and realised gains go together",
        0: "that expectations come true is not shown",
        -1: "expected and realised gains go against each other",
    }[side_of_zero(found["ci"])]
    told = f"{trust}, correlation {signed_with_interval(found['value'], found['ci'], 2)}"
    cells = part["validation"]["groups"]
    if cells and cells["pearson"]["value"] is not None:
        means = signed_with_interval(cells["pearson"]["value"], cells["pearson"]["ci"], 2)
        told += f", and {means} over means of combinations"
    return [
        Finding(
            f"Most would be gained by acquiring {best['modality']}.",
            f"For the {count(best['lacking'])} patients who lack it, log loss is expected to fall "
            f"by {number(best['gain'])} nats. Where measurements were hidden to check, {told}.",
        )
    ]
