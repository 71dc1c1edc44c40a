"""MIMIC-IV: adults in intensive care, from the files of versions 2.2 and 3.x and of its modules.

Johnson et al., "MIMIC-IV, a freely accessible electronic health record dataset", Scientific Data
2023. A row is the first ICU stay of a hospital admission. What is predicted, for whom and when is
in `tasks`; from when to when rows are read is in `stays`; what a number means is in quantities.csv
(`quantities`). Nothing that became known after the prediction is a feature: laboratory results and
reports count from when they were stored, cultures from when their result was, the flowsheet from
the time it is charted for, labels of chest X-rays a day after these (`studies`); codes of the own
admission and discharge notes never.
"""

from pathlib import Path
from typing import Any

from remind.sources.checks import check_seed, require_stays
from remind.sources.manifest import Manifest
from remind.sources.mimic_iv.events import write_codes
from remind.sources.mimic_iv.folder import tabular, write_main_table, write_toml
from remind.sources.mimic_iv.measurements import write_measurements
from remind.sources.mimic_iv.published import compare, notes
from remind.sources.mimic_iv.quantities import load_rules
from remind.sources.mimic_iv.release import TITLE, Release, open_release, version_of
from remind.sources.mimic_iv.stays import make_units
from remind.sources.mimic_iv.studies import write_ecgs, write_reports, write_x_rays
from remind.sources.mimic_iv.tasks import Task, find_task
from remind.sources.mimic_iv.wide import (
    AT_DISCHARGE,
    DEMOGRAPHICS,
    read_outpatient,
    read_triage,
)
from remind.sources.raw import RawTables

OPTIONS = (*("root", "ed", "note", "cxr", "ecg", "task", "window", "memory", "threads", "seed"),)
COMMENT = "# {task}: {unit}. Made by: remind prepare mimic-iv; manifest.json says how.\n\n"


def write(
    folder: Path,
    *,
    root: Path,
    ed: Path | None = None,
    note: Path | None = None,
    cxr: Path | None = None,
    ecg: Path | None = None,
    task: str = "in-hospital-mortality",
    window: float = 48,
    memory: float = 2.0,
    threads: int | None = None,
    seed: int = 0,
) -> Manifest:
    """Fill an empty folder with the cohort; images and waveforms stay where they are.

    Args:
        folder: that exists.
        root: of MIMIC-IV, holding hosp/ and icu/.
        ed, note: of MIMIC-IV-ED and MIMIC-IV-Note; below the root if they are not given.
        cxr, ecg: of MIMIC-CXR-JPG and MIMIC-IV-ECG.
        task: see `tasks`.
        window: hours of the stay before the prediction; for tasks at discharge, the last hours of
            the stay that series are read from.
        memory: limit of DuckDB in gigabytes.
        threads: of DuckDB; None takes all cores.
        seed: of the split by patients.

    Returns:
        What was done.

    Raises:
        InputError: an option is out of range, a table or column is not there or cannot be read, or
            nobody is left.
    """
    chosen = find_task(task, window)
    check_seed("mimic-iv", seed)
    roots = {"ed": ed, "note": note, "cxr": cxr, "ecg": ecg}
    options = {"root": str(root), **{name: path and str(path) for name, path in roots.items()}}
    options |= {"task": task, "window": window, "memory": memory, "threads": threads, "seed": seed}
    manifest = Manifest(
        source="mimic-iv", unit="ICU stays", version=version_of(root), options=options
    )
    with RawTables(root, folder, title=TITLE, memory_gb=memory, threads=threads) as tables:
        release = open_release(tables, roots, manifest)
        with tables.explained():
            make_units(release, chosen, window)
            require_stays(manifest, root)
            sections = _write_modalities(release, chosen, folder)
            compare(release, chosen, window, sections)
            manifest.tables = tables.checksums()
    if chosen.codes is not None:
        manifest.code_lists["label"] = chosen.codes
    manifest.code_lists["quantities"] = "remind/sources/mimic_iv/quantities.csv"
    manifest.notes = [*notes(manifest, chosen, window), *manifest.notes]
    write_toml(folder, chosen, seed, sections, COMMENT.format(task=task, unit=manifest.unit))
    return manifest


def _write_modalities(release: Release, task: Task, folder: Path) -> dict[str, dict[str, Any]]:
    """Write all tables; return the sections of cohort.toml."""
    rules = load_rules()
    triage = read_triage(release, rules)
    outpatient = read_outpatient(release, rules)
    series = write_measurements(release, rules, folder)
    codes = write_codes(release, folder)
    reports = write_reports(release, folder)
    x_rays = write_x_rays(release, folder)
    waveforms, ecg = write_ecgs(release, rules, folder)
    filled = write_main_table(release, task, folder)
    demographics = [*DEMOGRAPHICS, *(AT_DISCHARGE if task.moment == "discharge" else ())]
    sections: dict[str, dict[str, Any] | None] = {
        "demographics": tabular(demographics, filled),
        "triage": tabular(triage, filled),
        "outpatient": tabular(outpatient, filled),
        **{item.name: {"kind": "series", "table": f"{item.name}.parquet"} for item in series},
        **codes,
        **reports,
        **x_rays,
        **waveforms,
        "ecg_measurements": tabular(ecg, filled),
    }
    if "chief_complaint" in filled:
        sections["chief_complaint"] = {"kind": "text", "column": "chief_complaint"}
    findings = sections.get("chest_xray_findings")
    if findings is not None:
        sections["chest_xray_findings"] = tabular(findings["columns"], filled)
    return {name: section for name, section in sections.items() if section is not None}


__all__ = ["OPTIONS", "write"]
