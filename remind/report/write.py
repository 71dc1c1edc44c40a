"""A report of one run, or of one run beside others: one HTML file."""

from collections.abc import Sequence
from pathlib import Path

from remind.errors import InputError
from remind.evaluation.predictions import check_place, write_whole
from remind.report.blocks import Section
from remind.report.page import page
from remind.report.runs import ReportedRun, read_runs
from remind.report.sections.acquisition import acquisition_section
from remind.report.sections.attributable import attributable_section
from remind.report.sections.bands import bands_section, differences_of, tiles
from remind.report.sections.calibration import calibration_section, conformal_section
from remind.report.sections.card import card_section
from remind.report.sections.combinations import combinations_section
from remind.report.sections.concept import concept_section
from remind.report.sections.data import data_section
from remind.report.sections.gradients import gradients_section
from remind.report.sections.groups import groups_section
from remind.report.sections.routing import routing_section
from remind.report.sections.tail import tail_section
from remind.report.sections.weights import weights_section
from remind.run_files import REPORT


def write_report(runs: Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Write a self-contained page about a run; further runs are shown beside it.

    It reads the run folders alone: evaluation.json, and where they are there diagnosis.json,
    predictions.parquet and the cohort's manifest.json. The same files give the same bytes.

    Args:
        runs: folders; the first is reported, the others are what it is held against.
        out: the file; None for report.html in the first folder.

    Returns:
        The file.

    Raises:
        InputError: a folder is no run or was not evaluated, the runs are not of the same patients,
            `out` cannot be written, or a package of the extra "report" is absent.
    """
    found = read_runs(runs)
    path = found[0].path / REPORT if out is None else Path(out)
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{path} must end in .html: a report is a page")
    check_place(path, "the page")
    text = page(found, sections_of(found), tiles(found[0]))
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return path


def sections_of(runs: Sequence[ReportedRun]) -> list[Section]:
    """All sections, in the order in which somebody in a hurry needs them."""
    return [
        bands_section(runs, differences_of(runs)),
        combinations_section(runs),
        groups_section(runs),
        tail_section(runs),
        attributable_section(runs),
        gradients_section(runs),
        concept_section(runs),
        routing_section(runs),
        weights_section(runs),
        calibration_section(runs),
        conformal_section(runs),
        acquisition_section(runs),
        data_section(runs),
        card_section(runs),
    ]
