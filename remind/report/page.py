"""Sections to one HTML page that needs nothing else."""

import importlib.metadata
import re
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup, escape

from remind.pages import environment, packaged, script_source
from remind.report.blocks import Section, Tile
from remind.report.runs import ReportedRun
from remind.report.words import joined, patients

PACKAGE = "remind.report"


def page(runs: Sequence[ReportedRun], sections: Sequence[Section], tiles: Sequence[Tile]) -> str:
    """The page, the same for the same runs.

    Raises:
        InputError: Jinja2 is not installed.
    """
    script = packaged(PACKAGE, "tables.js")
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=_title(runs),
            subtitle=_subtitle(runs),
            summary=[finding for section in sections for finding in section.summary],
            tiles=tiles,
            sections=sections,
            footer=_footer(runs),
            style=Markup(packaged(PACKAGE, "style.css")),
            script=Markup(script),
            script_source=Markup(script_source(script)),
        )
    )


def _environment() -> Any:
    """The templates, and a filter that keeps intervals whole; SVG and own files are not escaped."""
    made = environment(PACKAGE, "report", "a report")
    made.filters["whole"] = _whole
    return made


def _whole(text: str) -> Markup:
    """Escape a sentence and keep each interval in it on one line."""
    interval = r"[+−]?\d[\d.,]*(?:–| to )[+−]?\d[\d.,]*%?"
    return Markup(
        re.sub(f"\\(?{interval}\\)?", r'<span class="whole">\g<0></span>', str(escape(text)))
    )


def _title(runs: Sequence[ReportedRun]) -> str:
    beside = f" beside {joined([run.label for run in runs[1:]])}" if len(runs) > 1 else ""
    return f"{runs[0].label} on {runs[0].evaluation['cohort']}{beside}"


def _subtitle(runs: Sequence[ReportedRun]) -> str:
    evaluation = runs[0].evaluation
    cohort = runs[0].spec["cohort"]
    return (
        f"Whom the model serves well, and whom not: predictions of {cohort['label']} for "
        f"{patients(evaluation['n'])} of the split {evaluation['split']}."
    )


def _footer(runs: Sequence[ReportedRun]) -> str:
    folders = joined([str(run.path) for run in runs])
    version = importlib.metadata.version("remind-med")
    return f"Written by REMIND {version} from {folders}. Research software, no medical device."
