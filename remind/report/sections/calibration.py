"""May its probabilities be taken at their word? Reliability curves and prediction sets."""

from collections.abc import Sequence
from typing import Any

from remind.evaluation.table import ROWS
from remind.report.blocks import (
    Block,
    Cell,
    Column,
    Figure,
    Finding,
    Section,
    Side,
    Table,
    numbers,
)
from remind.report.plots import Series, forest, legend
from remind.report.runs import ReportedRun
from remind.report.sections.bands import BAND_WORDS
from remind.report.sections.parts import blocks_of, findings_of
from remind.report.svg import (
    BAND_COLORS,
    BAND_MARKERS,
    FULL_WIDTH,
    HALF_WIDTH,
    MUTED,
    RUN_COLORS,
    RUN_MARKERS,
    inline,
)
from remind.report.words import (
    bounds,
    count,
    joined,
    number,
    patients,
    percent,
    percent_with_interval,
    side_of_zero,
    signed,
    signed_bounds,
    with_interval,
)

WHERE = {"overall": "for everyone"} | {row: f"in the {row} band" for row in ROWS[1:]}
WAYS = {"plain": "all together", "band": "by band", "group": "by combination"}


def calibration_section(runs: Sequence[ReportedRun]) -> Section:
    """Reliability of probabilities by band."""
    positive = runs[0].positive
    outcome = "the outcome" if positive is None else f"the outcome ({positive})"
    return Section(
        id="calibration",
        title="Can the probabilities be trusted?",
        lead=f"Of the patients who are given a risk of 10%, does one in ten have {outcome}, in "
        "rare combinations as in common ones? On the diagonal, yes.",
        blocks=blocks_of(runs, "calibration", "Calibration", _calibration),
        summary=findings_of(runs[0], "calibration", _say_calibration),
    )


def conformal_section(runs: Sequence[ReportedRun]) -> Section:
    """Coverage of prediction sets by band."""
    return Section(
        id="conformal",
        title="Prediction sets",
        lead="A prediction set holds every class that cannot be ruled out. Its promise is kept in "
        "a band if the band's interval holds the promised share.",
        blocks=blocks_of(runs, "conformal", "The coverage of prediction sets", _conformal),
        summary=findings_of(runs[0], "conformal", _say_conformal),
    )


def _calibration(run: ReportedRun, part: dict[str, Any], name: str) -> Sequence[Block]:
    return [_curves(run, part, name), _calibration_table(run, part)]


def _curves(run: ReportedRun, part: dict[str, Any], name: str) -> Figure:
    blocks = {row: part["blocks"][row] for row in ROWS if part["blocks"][row]["curve"]}
    what = "predicted risk" if str(part["confidence"]).startswith("prob_") else "confidence"
    seen = "share with the outcome" if what == "predicted risk" else "share that is right"

    def paint(figure: Any) -> None:
        panels = figure.subplots(1, len(blocks), sharex=True, sharey=True, squeeze=False)[0]
        for axes, (row, block) in zip(panels, blocks.items(), strict=True):
            _draw_curve(axes, row, block)
            axes.set_title(f"{BAND_WORDS[row].lower()} ({count(block['n'])})")
        panels[0].set_ylabel(seen)
        figure.supxlabel(what, fontsize=9)

    title = f"Reliability of {run.label} by band"
    caption = (
        f"Patients in bins of equal size: mean {what} against {seen}, with {run.level} intervals. "
        "Below the diagonal the risk is overstated, above it understated."
    )
    if what != "predicted risk":
        caption = caption.replace("the risk is overstated", "the model is too sure")
        caption = caption.replace("above it understated", "above it not sure enough")
    svg = inline(name, title, caption, (FULL_WIDTH, 2.35), paint)
    return Figure(
        title=title, caption=caption, svg=svg, table=_curve_table(title, blocks), is_wide=True
    )


def _draw_curve(axes: Any, row: str, block: dict[str, Any]) -> None:
    color, points = BAND_COLORS[row], block["curve"]
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    for point in points:
        if point["ci"]:
            axes.plot([point["predicted"]] * 2, point["ci"], color=color, linewidth=1.2)
    axes.plot(
        [point["predicted"] for point in points],
        [point["observed"] for point in points],
        color=color,
        marker=BAND_MARKERS[row],
        markersize=4.5,
        linewidth=1.2,
    )
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_aspect("equal")


def _curve_table(title: str, blocks: dict[str, Any]) -> Table:
    rows = [
        [
            Cell(BAND_WORDS[row], float(at)),
            numbers(count(point["n"]), point["n"]),
            numbers(number(point["predicted"]), point["predicted"]),
            numbers(number(point["observed"]), point["observed"], bounds(point["ci"])),
        ]
        for at, (row, block) in enumerate(blocks.items())
        for point in block["curve"]
    ]
    columns = [Column("Band", is_number=False), Column("Patients"), Column("Predicted")]
    return Table(caption=f"{title}: points", columns=[*columns, Column("Observed")], rows=rows)


def _calibration_table(run: ReportedRun, part: dict[str, Any]) -> Table:
    rows = []
    for at, row in enumerate(ROWS):
        block = part["blocks"][row]
        cells = [Cell(BAND_WORDS[row], float(at)), numbers(count(block["n"]), block["n"])]
        for figure in ("ece", "slope"):
            ci = bounds(block["ci"][figure])
            cells.append(numbers(number(block[figure]), block[figure], ci))
        value, ci = block["intercept"], block["ci"]["intercept"]
        rows.append([*cells, numbers(signed(value), value, signed_bounds(ci))])
    return Table(
        caption=f"Calibration of {run.label}",
        columns=[
            Column("Band", is_number=False),
            Column("Patients"),
            Column("Calibration error"),
            Column("Slope"),
            Column("Intercept"),
        ],
        rows=rows,
        note="Slope: 1 is right, below 1 the model is too sure of itself. Intercept: 0 is right, "
        "above 0 risk is understated.",
    )


def _say_calibration(run: ReportedRun, part: dict[str, Any]) -> Sequence[Finding]:
    blocks = part["blocks"]
    slope, ci = blocks["overall"]["slope"], blocks["overall"]["ci"]["slope"]
    side = side_of_zero([bound - 1 for bound in ci]) if ci else None
    verdict = {
        1: "The model is not sure enough of itself.",
        0: "No clear sign that the model is too sure of itself, or not enough.",
        -1: "The model is too sure of itself.",
        None: "How sure the model is of itself cannot be judged.",
    }[side]
    told = [
        f"{with_interval(blocks[row]['ece'], blocks[row]['ci']['ece'])} {where}"
        for row, where in (("overall", "for everyone"), ("tail", "in the tail"))
        if blocks[row]["ece"] is not None
    ]
    evidence = f"The calibration slope is {with_interval(slope, ci)}, where 1 is right"
    return [Finding(verdict, f"{evidence}; the calibration error is {joined(told)}.")]


def _conformal(run: ReportedRun, part: dict[str, Any], name: str) -> Sequence[Block]:
    return [Side([_coverage_figure(run, part, name)]), _coverage_table(run, part)]


def _coverage_figure(run: ReportedRun, part: dict[str, Any], name: str) -> Figure:
    nominal = 1 - part["alpha"]
    series = [
        Series(
            WAYS.get(way, str(way)),
            [blocks[row]["coverage"] for row in ROWS],
            [blocks[row]["ci"] for row in ROWS],
            RUN_COLORS[position],
            RUN_MARKERS[position],
        )
        for position, (way, blocks) in enumerate(part["ways"].items())
    ]
    first = next(iter(part["ways"].values()))
    rows = [f"{BAND_WORDS[row].lower()} ({count(first[row]['n'])})" for row in ROWS]

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        forest(axes, rows, series, xlabel="share of sets that hold the true class", line=nominal)
        legend(figure, axes)

    title = f"Coverage of prediction sets, {run.label}"
    caption = (
        f"Dashed: the promise, {percent(nominal, 0)}. Lines are {part['level']:.0%} intervals. "
        f"Sets were calibrated "
        f"on {patients(part['num_calibration'])} of validation, in three ways."
    )
    svg = inline(name, title, caption, (HALF_WIDTH, 3.3), paint)
    return Figure(title=title, caption=caption, svg=svg)


def _coverage_table(run: ReportedRun, part: dict[str, Any]) -> Table:
    ways = {WAYS.get(way, str(way)): blocks for way, blocks in part["ways"].items()}
    rows = []
    for at, row in enumerate(ROWS):
        found = [blocks[row] for blocks in ways.values()]
        n = found[0]["n"]
        cells = [Cell(BAND_WORDS[row], float(at)), numbers(count(n), n)]
        cells += [_coverage(block) for block in found]
        cells += [numbers(number(block["mean_size"], 2), block["mean_size"]) for block in found]
        rows.append(cells)
    columns = [Column("Band", is_number=False), Column("Patients")]
    for title in ("Coverage", "Classes in a set"):
        columns += [Column(f"{title}, {way}") for way in ways]
    return Table(caption=f"Prediction sets of {run.label}", columns=columns, rows=rows)


def _coverage(block: dict[str, Any]) -> Cell:
    ci = [100 * bound for bound in block["ci"]] if block["ci"] else None
    return numbers(percent(block["coverage"]), block["coverage"], bounds(ci, 1))


def _say_conformal(run: ReportedRun, part: dict[str, Any]) -> Sequence[Finding]:
    way = "group" if "group" in part["ways"] else next(iter(part["ways"]))
    blocks, nominal = part["ways"][way], 1 - part["alpha"]
    sides = {
        row: side_of_zero([bound - nominal for bound in blocks[row]["ci"]])
        for row in ROWS
        if blocks[row]["ci"]
    }
    missed = [
        f"{words} {joined([WHERE[row] for row in sides if sides[row] == side])}"
        for side, words in ((-1, "less often"), (1, "more often"))
        if side in sides.values()
    ]
    promise = f"the promised {percent(nominal, 0)}"
    verdict = (
        f"Prediction sets hold the true class {joined(missed)} than {promise}."
        if missed
        else f"Prediction sets keep {promise} in every band, as far as intervals tell."
    )
    told = [
        f"{percent_with_interval(blocks[row]['coverage'], blocks[row]['ci'])} {where}"
        for row, where in (("overall", "for everyone"), ("tail", "in the tail"))
        if blocks[row]["coverage"] is not None
    ]
    return [Finding(verdict, f"Calibrated {WAYS.get(way, way)}, coverage is {joined(told)}.")]
