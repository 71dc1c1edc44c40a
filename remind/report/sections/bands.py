"""How each band is served, by every run, and by how much the runs differ on the same patients."""

from collections.abc import Sequence
from typing import Any

from remind.evaluation import compare
from remind.evaluation.metrics import METRICS
from remind.evaluation.table import ROWS
from remind.report.blocks import (
    Block,
    Cell,
    Column,
    Figure,
    Missing,
    Section,
    Side,
    Table,
    Tile,
    names,
    numbers,
)
from remind.report.plots import Series, forest, legend
from remind.report.runs import ReportedRun
from remind.report.sections.verdicts import IS_BETTER, SHOWN, Differences, against, of_run
from remind.report.svg import HALF_WIDTH, RUN_COLORS, RUN_MARKERS, inline
from remind.report.words import (
    bounds,
    count,
    joined,
    number,
    patients,
    percent,
    signed,
    signed_bounds,
)

TITLES = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "accuracy": "Accuracy",
    "f1": "F1",
    "f1_macro": "Macro F1",
    "log_loss": "Log loss",
    "brier": "Brier score",
    "ece": "Calibration error",
}
BAND_WORDS = {"overall": "Everyone", "head": "Head", "medium": "Medium", "tail": "Tail"}
BAND_WORDS["unseen"] = "Unseen"


def differences_of(runs: Sequence[ReportedRun]) -> Differences:
    """Paired differences of the first run and each other one whose predictions are kept.

    Raises:
        InputError: the predictions are not of the same patients.
    """
    first = runs[0]
    if first.predictions is None:
        return {}
    return {
        other.label: compare(
            other.predictions, first.predictions, metrics=tuple(SHOWN), block="band"
        )
        for other in runs[1:]
        if other.predictions is not None
    }


def limits_in_words(run: ReportedRun) -> str:
    """What the bands stand for."""
    head, medium = (run.evaluation["bands"][name] for name in ("head", "medium"))
    return (
        "Bands count the training patients who share a patient's combination of modalities: "
        f"head more than {head}, medium {medium} to {head}, tail 1 to {medium - 1}, unseen none."
    )


def tiles(run: ReportedRun) -> list[Tile]:
    """AUROC of everyone and of each band; log loss where no AUROC is defined at all."""
    metric = "auroc" if run.evaluation["overall"]["auroc"] is not None else "log_loss"
    result = []
    for row in ROWS:
        block = run.evaluation[row]
        share = block["n"] / run.evaluation["n"]
        result.append(
            Tile(
                name=BAND_WORDS[row],
                value=number(block[metric]),
                interval=bounds((block["ci"] or {}).get(metric)) or "no interval",
                note=f"{SHOWN[metric]}, {patients(block['n'])}"
                + ("" if row == "overall" else f" ({percent(share)})"),
            )
        )
    return result


def bands_section(runs: Sequence[ReportedRun], differences: Differences) -> Section:
    """Band table, pictures and sentences."""
    level = runs[0].level
    blocks: list[Block] = [
        Side([_forest(runs, metric) for metric in SHOWN]),
        _table(runs, differences),
    ]
    if differences:
        blocks.append(Side([_difference_forest(differences, metric, level) for metric in SHOWN]))
    blocks += [
        Missing(
            f"Paired differences need the predictions of {run.label}; keep them with",
            f"remind evaluate {run.path}",
        )
        for run in runs
        if len(runs) > 1 and run.predictions is None
    ]
    blocks.append(_all_metrics(runs))
    return Section(
        id="bands",
        title="Common and rare combinations",
        lead=f"{limits_in_words(runs[0])} Intervals are {level} bootstrap intervals over persons.",
        blocks=blocks,
        summary=[*of_run(runs[0]), *against(runs[0], differences)],
    )


def _forest(runs: Sequence[ReportedRun], metric: str) -> Figure:
    first = runs[0].evaluation
    series = [
        Series(
            run.label,
            [run.evaluation[row][metric] for row in ROWS],
            [(run.evaluation[row]["ci"] or {}).get(metric) for row in ROWS],
            RUN_COLORS[position % len(RUN_COLORS)],
            RUN_MARKERS[position % len(RUN_MARKERS)],
        )
        for position, run in enumerate(runs)
    ]
    rows = [f"{BAND_WORDS[row].lower()} ({count(first[row]['n'])})" for row in ROWS]
    better = "higher is better" if IS_BETTER[metric] > 0 else "lower is better"
    title = f"{TITLES[metric]} by band"

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        forest(axes, rows, series, xlabel=f"{SHOWN[metric]} ({better})", line=_line(series))
        legend(figure, axes)

    caption = (
        f"Points are {SHOWN[metric]}, lines its {runs[0].level} interval; open points have none. "
        "Patients in brackets."
    )
    if len(runs) == 1:
        caption += " The dashed line is the value for everyone."
    height = 2.0 + 0.3 * len(runs)
    svg = inline(f"bands-{metric}", title, caption, (HALF_WIDTH, height), paint)
    return Figure(title=title, caption=caption, svg=svg)


def _line(series: Sequence[Series]) -> float | None:
    return series[0].values[0] if len(series) == 1 else None


def _difference_forest(differences: Differences, metric: str, level: str) -> Figure:
    rows = [row for row in ROWS if all(row in d["blocks"] for d in differences.values())]
    series = [
        Series(
            f"minus {label}",
            [found["blocks"][row][metric]["difference"] for row in rows],
            [found["blocks"][row][metric]["ci"] for row in rows],
            RUN_COLORS[(position + 1) % len(RUN_COLORS)],
            RUN_MARKERS[(position + 1) % len(RUN_MARKERS)],
        )
        for position, (label, found) in enumerate(differences.items())
    ]
    side = "right" if IS_BETTER[metric] > 0 else "left"
    first = next(iter(differences.values()))["other"]
    title = f"Difference in {SHOWN[metric]} by band"

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        words = [BAND_WORDS[row].lower() for row in rows]
        xlabel = f"difference in {SHOWN[metric]} ({side} is better)"
        forest(axes, words, series, xlabel=xlabel, line=0.0)
        legend(figure, axes)

    caption = (
        f"{first} minus {joined(list(differences))} on the same patients, with paired {level} "
        f"intervals. {side.capitalize()} of the dashed line is better."
    )
    size = (HALF_WIDTH, 2.0 + 0.2 * len(series))
    svg = inline(f"differences-{metric}", title, caption, size, paint)
    return Figure(title=title, caption=caption, svg=svg)


def _table(runs: Sequence[ReportedRun], differences: Differences) -> Table:
    columns = [Column("Band", is_number=False), Column("Patients")]
    for title in (TITLES[metric] for metric in SHOWN):
        columns += [Column(f"{title}, {run.label}" if len(runs) > 1 else title) for run in runs]
        columns += [Column(f"{title}, minus {label}") for label in differences]
    columns += [Column("F1"), Column("Accuracy")] if len(runs) == 1 else []
    rows = [[Cell(BAND_WORDS[row], float(at))] for at, row in enumerate(ROWS)]
    for cells, row in zip(rows, ROWS, strict=True):
        n = runs[0].evaluation[row]["n"]
        cells.append(numbers(count(n), n))
        for metric in SHOWN:
            cells += [metric_cell(run.evaluation[row], metric) for run in runs]
            cells += [_difference_cell(found, row, metric) for found in differences.values()]
        if len(runs) == 1:
            cells += [metric_cell(runs[0].evaluation[row], metric) for metric in ("f1", "accuracy")]
    return Table(
        caption="Bands" if len(runs) == 1 else f"Bands, {joined([run.label for run in runs])}",
        columns=columns,
        rows=rows,
        note=f"In small print: {runs[0].level} intervals. A dash is undefined: too few outcomes."
        + (_of_class(runs[0]) if len(runs) == 1 else ""),
    )


def _of_class(run: ReportedRun) -> str:
    """Which class is counted."""
    return "" if run.positive is None else f" F1 and AUPRC are of {run.positive}."


def metric_cell(block: dict[str, Any], metric: str) -> Cell:
    """A metric over its interval."""
    ci = (block["ci"] or {}).get(metric)
    return numbers(number(block[metric]), block[metric], bounds(ci))


def _difference_cell(found: dict[str, Any], row: str, metric: str) -> Cell:
    block = found["blocks"].get(row)
    if block is None:
        return numbers(number(None), None)
    value = block[metric]["difference"]
    return numbers(signed(value), value, signed_bounds(block[metric]["ci"]))


def _all_metrics(runs: Sequence[ReportedRun]) -> Table:
    several = len(runs) > 1
    run_column = [Column("Run", is_number=False)] if several else []
    rows = []
    for at, row in enumerate(ROWS):
        for run in runs:
            block = run.evaluation[row]
            cells = [Cell(BAND_WORDS[row], float(at))]
            cells += [names(run.label)] if several else []
            cells.append(numbers(count(block["n"]), block["n"]))
            rows.append(cells + [metric_cell(block, metric) for metric in METRICS])
    titles = [Column(TITLES.get(metric, metric)) for metric in METRICS]
    return Table(
        caption="Every metric by band",
        columns=[Column("Band", is_number=False), *run_column, Column("Patients"), *titles],
        rows=rows,
        note="Log loss, Brier score and calibration error: lower is better. Else higher."
        + _of_class(runs[0]),
        is_folded=True,
    )
