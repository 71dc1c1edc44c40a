"""Where the data came from, and with what it was made: flow, settings, versions."""

from collections.abc import Sequence
from typing import Any

from remind.report.blocks import (
    Block,
    Column,
    Facts,
    Flow,
    Heading,
    Missing,
    Points,
    Section,
    Step,
    Table,
    names,
    numbers,
)
from remind.report.runs import ReportedRun
from remind.report.words import UNDEFINED, count, joined, plain

HASH_SHOWN = 16
"""Hexadecimal digits of a checksum that are enough to compare by eye."""


def data_section(runs: Sequence[ReportedRun]) -> Section:
    """The cohort's flow, its files, and what was set."""
    run = runs[0]
    blocks: list[Block] = [Flow(_steps(run))]
    if run.manifest is None:
        blocks.append(
            Missing(
                "The cohort has no manifest.json, which says how it was made of raw files: only "
                "cohorts written by remind prepare have one."
            )
        )
    else:
        blocks += _manifest(run.manifest)
    blocks += [Heading("Settings and versions"), _origin(runs), _settings(runs), _versions(runs)]
    return Section(
        id="data",
        title="Data flow, settings and versions",
        lead="Who came into the cohort, step by step, and what is needed to do it again.",
        blocks=blocks,
    )


def _steps(run: ReportedRun) -> list[Step]:
    steps = [
        Step(
            count(step["num_left"]),
            str(step["step"]),
            f"−{count(step['num_excluded'])}" if step["num_excluded"] else "",
        )
        for step in (run.manifest or {}).get("flow", [])
    ]
    evaluation = run.evaluation
    return [
        *steps,
        Step(count(int(run.groups.counts_G.sum())), "patients to train on"),
        Step(count(evaluation["n"]), f"patients evaluated (split {evaluation['split']})"),
    ]


def _manifest(manifest: dict[str, Any]) -> list[Block]:
    options = manifest.get("options") or {}
    facts = [
        ("Source", str(manifest.get("source", UNDEFINED))),
        ("Version", plain(manifest.get("version"))),
        ("Unit", str(manifest.get("unit", UNDEFINED))),
        ("Options", joined([f"{name} = {plain(value)}" for name, value in options.items()])),
    ]
    absent = [f"{what} is absent: {why}" for what, why in (manifest.get("absent") or {}).items()]
    notes = [str(note) for note in manifest.get("notes") or []]
    blocks: list[Block] = [Facts([(term, text or "none") for term, text in facts])]
    if absent or notes:
        blocks.append(Points([*absent, *notes]))
    if tables := manifest.get("tables") or {}:
        blocks.append(_files(tables))
    return blocks


def _files(tables: dict[str, Any]) -> Table:
    rows = [
        [
            names(name),
            names(str(found.get("path", UNDEFINED))),
            numbers(count(found.get("rows")), found.get("rows")),
            names(str(found.get("sha256", UNDEFINED))[:HASH_SHOWN]),
        ]
        for name, found in tables.items()
    ]
    columns = [Column("Table", is_number=False), Column("File", is_number=False), Column("Rows")]
    return Table(
        caption="Raw files",
        columns=[*columns, Column("SHA-256, first digits", is_number=False)],
        rows=rows,
        is_folded=True,
    )


def _origin(runs: Sequence[ReportedRun]) -> Facts:
    cohort, bootstrap = runs[0].cohort, runs[0].evaluation["bootstrap"]
    return Facts(
        [
            ("Cohort", f"{cohort['name']} ({cohort['source'] or 'in memory'})"),
            ("Fingerprint", cohort["fingerprint"]),
            *((f"Run {run.label}", str(run.path)) for run in runs),
            (
                "Intervals",
                f"{bootstrap['level']:.0%}, {count(bootstrap['num_boot'])} bootstrap resamples by "
                f"{bootstrap['unit']}, seed {bootstrap['seed']}",
            ),
        ]
    )


def _settings(runs: Sequence[ReportedRun]) -> Table:
    return _beside(runs, [run.settings for run in runs], "Setting", "Settings (config.toml)")


def _versions(runs: Sequence[ReportedRun]) -> Table:
    return _beside(runs, [run.versions for run in runs], "Package", "Versions of packages")


def _beside(
    runs: Sequence[ReportedRun], found: Sequence[dict[str, Any]], first: str, caption: str
) -> Table:
    """Keys down, runs across; a key that a run lacks is a dash."""
    keys = list(dict.fromkeys(key for some in found for key in some))
    rows = [[names(key), *(names(plain(some.get(key))) for some in found)] for key in keys]
    columns = [Column(first, is_number=False)]
    columns += [Column(run.label, is_number=False) for run in runs]
    return Table(caption=caption, columns=columns, rows=rows, is_folded=True)
