"""Band tables: methods side by side on everyone and on each band, in a terminal or a document.

A figure has three decimals and no zero in front; what is undefined is shown as "–".
"""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

from remind.errors import InputError
from remind.evaluation.predictions import BANDS

ROWS = ("overall", *BANDS)
FIGURES = {"log_loss": "log loss", "f1": "F1", "accuracy": "accuracy"}
UNDEFINED = "–"

Evaluations = Mapping[str, Mapping[str, Any]]


def band_table(evaluations: Evaluations) -> Table:
    """Return a terminal table: AUROC over its interval, log loss, F1 and accuracy of each method.

    Two methods fit into 80 columns; the other intervals are in `markdown`.

    Args:
        evaluations: method name -> what `evaluate` returned, all of the same patients.

    Raises:
        InputError: no evaluation, or they are not of the same patients.
    """
    check_same_patients(evaluations)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column("")
    table.add_column("n", justify="right")
    for method in evaluations:
        table.add_column(f"{method}\nAUROC", justify="center", overflow="fold", min_width=11)
        for title in FIGURES.values():
            table.add_column("\n".join(title.rsplit(" ", 1)), justify="right", vertical="top")
    for row in ROWS:
        cells = [_terminal_cells(evaluation[row]) for evaluation in evaluations.values()]
        table.add_row(
            row, str(_n(evaluations, row)), *(cell for method in cells for cell in method)
        )
    return table


def markdown(evaluations: Evaluations) -> str:
    """Return the same table in Markdown, one line per row, each figure with its interval.

    Errors as `band_table`.
    """
    check_same_patients(evaluations)
    titles = ["AUROC", *FIGURES.values()]
    header = ["", "n", *(f"{method} {title}" for method in evaluations for title in titles)]
    lines = [header, ["---", "--:", *["--:"] * (len(header) - 2)]]
    for row in ROWS:
        cells = [_document_cells(evaluation[row]) for evaluation in evaluations.values()]
        lines.append([row, str(_n(evaluations, row)), *(c for method in cells for c in method)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def check_same_patients(evaluations: Evaluations) -> None:
    """Raise InputError if there is no evaluation, or if counts of patients differ."""
    if not evaluations:
        raise InputError("there is no evaluation to show; give at least one method")
    for row in ROWS:
        counts = {method: evaluation[row]["n"] for method, evaluation in evaluations.items()}
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{method}: {n}" for method, n in counts.items())
            raise InputError(
                f"the evaluations are not of the same patients: {row} has {told}; "
                "evaluate all methods on one split"
            )


def _n(evaluations: Evaluations, row: str) -> int:
    return next(iter(evaluations.values()))[row]["n"]


def _terminal_cells(block: Mapping[str, Any]) -> list[str]:
    interval = interval_text(block, "auroc")
    auroc = figure_text(block["auroc"]) + (f"\n[dim]{interval}[/dim]" if interval else "")
    return [auroc, *(figure_text(block[name]) for name in FIGURES)]


def _document_cells(block: Mapping[str, Any]) -> list[str]:
    intervals = {name: interval_text(block, name) for name in ("auroc", *FIGURES)}
    return [
        figure_text(block[name]) + (f" ({interval})" if interval else "")
        for name, interval in intervals.items()
    ]


def interval_text(block: Mapping[str, Any], name: str) -> str:
    """Return the interval of a metric of a block, ``.816–.911``; empty if it has none."""
    bounds = (block["ci"] or {}).get(name)
    return UNDEFINED.join(figure_text(bound) for bound in bounds) if bounds else ""


def figure_text(value: float | None) -> str:
    """Return three decimals, no zero in front: ``.864``."""
    return UNDEFINED if value is None else f"{value:.3f}".removeprefix("0")
