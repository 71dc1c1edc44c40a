"""Sections to one HTML page that needs nothing else."""

import base64
import hashlib
import importlib.metadata
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from markupsafe import Markup, escape

from remind.cohort.extras import require
from remind.report.blocks import Section, Tile
from remind.report.runs import ReportedRun
from remind.report.words import joined, patients

TEMPLATES = "templates"


def page(runs: Sequence[ReportedRun], sections: Sequence[Section], tiles: Sequence[Tile]) -> str:
    """The page, the same for the same runs.

    Raises:
        InputError: Jinja2 is not installed.
    """
    script = _packaged("tables.js")
    digest = hashlib.sha256(script.encode()).digest()
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
            style=Markup(_packaged("style.css")),
            script=Markup(script),
            script_hash=base64.b64encode(digest).decode(),
        )
    )


def _environment() -> Any:
    """Names come from users, so everything is escaped but this package's own files and SVG."""
    jinja2 = require("jinja2", "report", "a report")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_packaged),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["whole"] = _whole
    return environment


def _whole(text: str) -> Markup:
    """Escape a sentence and keep each interval in it on one line."""
    interval = r"[+−]?\d[\d.,]*(?:–| to )[+−]?\d[\d.,]*%?"
    return Markup(
        re.sub(f"\\(?{interval}\\)?", r'<span class="whole">\g<0></span>', str(escape(text)))
    )


def _packaged(name: str) -> str:
    return (files("remind.report") / TEMPLATES / name).read_text(encoding="utf-8")


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
