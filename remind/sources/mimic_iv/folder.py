"""The main table and cohort.toml."""

from pathlib import Path
from typing import Any

import tomli_w

from remind.sources.mimic_iv.release import Release
from remind.sources.mimic_iv.tasks import Task
from remind.sources.mimic_iv.wide import AT_DISCHARGE, DEMOGRAPHICS

VAL, TEST = 0.1, 0.2
JOINED = ("arrival", "wide_ed_triage", "wide_hosp_omr", "wide_cxr", "wide_ecg_machine_measurements")


def write_main_table(release: Release, task: Task, folder: Path) -> set[str]:
    """Write patients.parquet, a row per stay.

    Returns:
        Its columns that hold anything.
    """
    tables = release.tables
    have = {name for (name,) in tables.execute("SELECT table_name FROM duckdb_tables()")}
    columns = {**DEMOGRAPHICS, **(AT_DISCHARGE if task.moment == "discharge" else {})}
    own = ", ".join(f"{sql} AS {name}" for name, sql in columns.items())
    joined = [name for name in JOINED if name in have]
    picked = "".join(f", {name}.* EXCLUDE (stay_id)" for name in joined)
    joins = " ".join(f"LEFT JOIN {name} USING (stay_id)" for name in joined)
    tables.execute(f"""
        CREATE TABLE main AS
        SELECT unit.stay_id, unit.subject_id, unit.hadm_id, unit.label AS {task.label},
            unit.anchor_year_group, own.* EXCLUDE (stay_id){picked}
        FROM unit JOIN (SELECT stay_id, {own} FROM unit) AS own USING (stay_id) {joins}
    """)
    tables.write("FROM main ORDER BY stay_id", folder / "patients.parquet")
    names = [row[0] for row in tables.execute("DESCRIBE main")]
    counts = ", ".join(f'count("{name}")' for name in names)
    (numbers,) = tables.execute(f"SELECT {counts} FROM main")
    return {name for name, number in zip(names, numbers, strict=True) if number}


def tabular(columns: list[str], filled: set[str]) -> dict[str, Any] | None:
    """The section of a tabular modality, without empty columns; None if no column is left."""
    columns = [name for name in columns if name in filled]
    return {"kind": "tabular", "columns": columns} if columns else None


def write_toml(
    folder: Path, task: Task, seed: int, sections: dict[str, dict[str, Any]], comment: str
) -> None:
    """Write cohort.toml."""
    data = {
        "cohort": {
            "name": f"mimic-iv {task.name}",
            "table": "patients.parquet",
            "id": "stay_id",
            "label": task.label,
            "task": task.kind,
            "group_by": "subject_id",
        },
        "split": {"val": VAL, "test": TEST, "seed": seed},
        "modalities": sections,
    }
    (folder / "cohort.toml").write_text(comment + tomli_w.dumps(data), encoding="utf-8")
