"""The main table and cohort.toml."""

from pathlib import Path
from typing import Any

import tomli_w

from remind.sources.eicu.release import ID, Release
from remind.sources.eicu.tasks import Task
from remind.sources.limits import KEPT, Rule, count_fates, judge
from remind.sources.raw import scan

VAL, TEST = 0.1, 0.2
HOSPITAL = "hospital"
TABULAR = {
    "demographics": ["age_years", "sex", "ethnicity"],
    "admission": [
        *("height_cm", "weight_kg", "hospital_source", "unit_source", "unit_type", "stay_type"),
        "hours_before_unit",
    ],
    HOSPITAL: ["beds", "teaching", "region"],
}
OWN = {
    "age_years": "age_years",
    "sex": "nullif(gender, 'Unknown')",
    "ethnicity": "nullif(ethnicity, 'Other/Unknown')",
    "hospital_source": "hospitaladmitsource",
    "unit_source": "unitadmitsource",
    "unit_type": "unittype",
    "stay_type": "unitstaytype",
    "hours_before_unit": "-since / 60",
}
COMMENT = "# {task}: unit stays. Made by: remind prepare eicu; manifest.json says how.\n\n"


def write_main_table(
    release: Release, rules: list[Rule], task: Task, folder: Path
) -> dict[str, dict[str, Any]]:
    """Write patients.parquet, a row per unit stay.

    Returns:
        The sections of its modalities; columns that hold nothing are left out.

    Raises:
        InputError: a column is not there, or a table cannot be read.
    """
    tables = release.tables
    _read_hospitals(release)
    body = _read_body(release, rules)
    own = ", ".join(f"{sql} AS {name}" for name, sql in OWN.items())
    tables.execute(f"""
        CREATE TABLE main AS
        SELECT u.id AS {ID}, uniquepid, patienthealthsystemstayid, u.hospitalid,
            label AS {task.label}, own.* EXCLUDE (id), b.height_cm, b.weight_kg,
            h.* EXCLUDE (hospitalid)
        FROM unit AS u JOIN (SELECT id, {own} FROM unit) AS own USING (id)
        LEFT JOIN ({body}) AS b USING (id) LEFT JOIN hospital AS h ON h.hospitalid = u.hospitalid
    """)
    tables.write(f"FROM main ORDER BY {ID}", folder / "patients.parquet")
    sections: dict[str, dict[str, Any]] = {}
    for modality, columns in TABULAR.items():
        filled = [name for name in columns if tables.number(f"SELECT count({name}) FROM main")]
        if filled:
            sections[modality] = {"kind": "tabular", "columns": filled}
    return sections


def write_toml(folder: Path, task: Task, seed: int, sections: dict[str, dict[str, Any]]) -> None:
    """Write cohort.toml."""
    data = {
        "cohort": {
            "name": f"eicu {task.name}",
            "table": "patients.parquet",
            "id": ID,
            "label": task.label,
            "task": "binary",
            "group_by": "uniquepid",
        },
        "split": {"val": VAL, "test": TEST, "seed": seed},
        "modalities": sections,
    }
    text = COMMENT.format(task=task.name) + tomli_w.dumps(data)
    (folder / "cohort.toml").write_text(text, encoding="utf-8")


def _read_hospitals(release: Release) -> None:
    """Make `hospital`: beds, teaching and region by hospital; empty if the table is absent."""
    tables = release.tables
    tables.execute(
        "CREATE TABLE hospital (hospitalid BIGINT, beds VARCHAR, teaching VARCHAR, region VARCHAR)"
    )
    if not release.has(HOSPITAL, "size, teaching and region of the hospital are never observed"):
        return
    texts = ("numbedscategory", "teachingstatus", "region")
    types = {"hospitalid": "BIGINT", **dict.fromkeys(texts, "VARCHAR")}
    view = release.view(HOSPITAL, types)
    words = ", ".join(f"nullif(trim({name}), '') AS {name}" for name in ("beds", "region"))
    teaching = "CASE lower(left(trim(teaching), 1)) WHEN 't' THEN 'yes' WHEN 'f' THEN 'no' END"
    with release.reading(HOSPITAL):
        tables.execute(f"""
            INSERT INTO hospital
            SELECT * REPLACE ({words}, {teaching} AS teaching) FROM (
                SELECT hospitalid, numbedscategory AS beds, teachingstatus AS teaching, region
                FROM "{view}" AS h
                QUALIFY row_number() OVER (PARTITION BY hospitalid ORDER BY h) = 1
            )
        """)


def _read_body(release: Release, rules: list[Rule]) -> str:
    """A query of height and weight at admission, by unit stay."""
    tables = release.tables
    scanned, values = tables.work / "body.parquet", tables.work / "body_values.parquet"
    tables.write(
        """
        SELECT id, 0::DOUBLE AS hours, item, written, NULL::VARCHAR AS reported FROM (
            UNPIVOT (SELECT id, admissionheight, admissionweight FROM unit)
            ON admissionheight, admissionweight INTO NAME item VALUE written
        ) WHERE trim(written) <> ''
        """,
        scanned,
    )
    judge(tables, rules, "patient", scanned, values)
    count_fates(tables, release.manifest, "patient", scanned, values)
    columns = ", ".join(
        f"max(value) FILTER (quantity = '{name}') AS {name}" for name in ("height_cm", "weight_kg")
    )
    return f"SELECT id, {columns} FROM {scan(values)} WHERE fate = '{KEPT}' GROUP BY id"
