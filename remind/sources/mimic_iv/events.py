"""Codes: cultures, prescriptions, procedures and the diagnoses of earlier admissions.

Codes of the own admission (diagnoses_icd, procedures_icd, drgcodes) are made after it, and are
never read as features.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from remind.sources.mimic_iv.measurements import HOURS
from remind.sources.mimic_iv.release import Release
from remind.sources.mimic_iv.stays import DIAGNOSES

CULTURES = "hosp/microbiologyevents"
ORDERS = "hosp/prescriptions"
DONE = "icu/procedureevents"
ITEMS = "icu/d_items"
ABSENT = {
    CULTURES: "microbiology is never observed",
    ORDERS: "prescriptions are never observed",
    DONE: "procedures are never observed",
    ITEMS: "procedures are named by their item ids",
}
TIMED = {"kind": "codes", "code": "code", "time": "time"}


def write_codes(release: Release, folder: Path) -> dict[str, dict[str, Any]]:
    """Write the tables of codes.

    Returns:
        Sections of cohort.toml by the name of their modality.

    Raises:
        InputError: a column is not there, or a table cannot be read.
    """
    sections: dict[str, dict[str, Any]] = {}
    for name, table, read in (
        ("microbiology", CULTURES, _cultures),
        ("prescriptions", ORDERS, _prescriptions),
        ("procedures", DONE, _procedures),
    ):
        if release.has(table, ABSENT[table]) and _write(release, name, table, read, folder):
            sections[name] = {**TIMED, "table": f"{name}.parquet"}
    if release.place(DIAGNOSES) is not None and _write_earlier(release, folder):
        sections["earlier_diagnoses"] = {
            **TIMED,
            "table": "earlier_diagnoses.parquet",
            "system": "icd",
            "version": "version",
        }
    return sections


def count(release: Release, modality: str, **numbers: int) -> None:
    """Put what became of the rows of a modality into the manifest, but for zeros."""
    rows = release.manifest.counts.setdefault("rows", {})
    rows[modality] = {what.replace("_", " "): n for what, n in numbers.items() if n}


def _write(
    release: Release,
    name: str,
    table: str,
    read: Callable[[Release], None],
    folder: Path,
) -> int:
    """Write the table `found` (stay_id, time, code) that `read` makes; return its rows."""
    tables = release.tables
    with release.reading(table):
        read(release)
    good = "code IS NOT NULL AND time IS NOT NULL"
    num = tables.number("SELECT count(*) FROM found")
    kept = tables.number(f"SELECT count(*) FROM (SELECT DISTINCT * FROM found WHERE {good})")
    bad = tables.number(f"SELECT count(*) FROM found WHERE NOT ({good})")
    count(release, name, kept=kept, without_code_or_time=bad, repeated=num - bad - kept)
    if kept:
        query = f"SELECT DISTINCT stay_id, time, code FROM found WHERE {good} ORDER BY ALL"
        tables.write(query, folder / f"{name}.parquet")
    else:
        release.manifest.absent[name] = f"no row of {table} is of it: it is no modality here"
    return kept


def _cultures(release: Release) -> None:
    """A specimen counts from when it was taken, its result from when it was stored.

    A day without a time of day counts as its end; a result without any date of storing is unknown.
    """
    view = release.view(
        CULTURES,
        {
            "subject_id": "BIGINT",
            **dict.fromkeys(("chartdate", "charttime", "storedate", "storetime"), "TIMESTAMP"),
            **dict.fromkeys(("spec_type_desc", "org_name"), "VARCHAR"),
            **dict.fromkeys(("ab_name", "interpretation"), "VARCHAR"),
        },
    )
    release.tables.execute(f"""
        CREATE OR REPLACE TABLE found AS
        WITH culture AS (
            SELECT u.*, coalesce(charttime, chartdate + INTERVAL 1 DAY) AS taken,
                coalesce(storetime, storedate + INTERVAL 1 DAY) AS stored,
                coalesce(nullif(trim(spec_type_desc), ''), 'SPECIMEN') AS specimen,
                nullif(trim(org_name), '') AS organism, nullif(trim(ab_name), '') AS drug,
                nullif(trim(interpretation), '') AS finding
            FROM "{view}" AS e JOIN (
                FROM unit SELECT stay_id, subject_id, intime, start, until
            ) AS u ON e.subject_id = u.subject_id
            WHERE taken >= u.start AND taken <= u.until
        )
        SELECT DISTINCT stay_id, {HOURS.format(time="taken")} AS time, specimen || ' TAKEN' AS code
        FROM culture AS u
        UNION ALL
        SELECT DISTINCT stay_id, {HOURS.format(time="stored")},
            specimen || ': ' || coalesce(organism, 'NO ORGANISM')
        FROM culture AS u WHERE stored <= until
        UNION ALL
        SELECT DISTINCT stay_id, {HOURS.format(time="stored")},
            organism || ', ' || drug || ': ' || finding
        FROM culture AS u WHERE stored <= until AND organism || drug || finding IS NOT NULL
    """)


def _prescriptions(release: Release) -> None:
    """Orders of the admission that begin before the prediction, by the name of the drug."""
    view = release.view(ORDERS, {"hadm_id": "BIGINT?", "starttime": "TIMESTAMP", "drug": "VARCHAR"})
    release.tables.execute(f"""
        CREATE OR REPLACE TABLE found AS
        SELECT u.stay_id, {HOURS.format(time="e.starttime")} AS time,
            nullif(upper(regexp_replace(trim(drug), '\\s+', ' ', 'g')), '') AS code
        FROM "{view}" AS e JOIN unit AS u ON e.hadm_id = u.hadm_id
        WHERE coalesce(e.starttime <= u.until, true)
    """)


def _procedures(release: Release) -> None:
    """What was begun in the ICU stay before the prediction."""
    tables = release.tables
    view = release.view(DONE, {"stay_id": "BIGINT", "itemid": "INTEGER", "starttime": "TIMESTAMP"})
    tables.execute("CREATE OR REPLACE TABLE item (itemid INTEGER, label VARCHAR)")
    if release.has(ITEMS, ABSENT[ITEMS]):
        names = release.view(ITEMS, {"itemid": "INTEGER", "label": "VARCHAR"})
        with release.reading(ITEMS):
            tables.execute(f"""
                INSERT INTO item SELECT itemid, min(trim(label)) FROM "{names}" GROUP BY itemid
            """)
    tables.execute(f"""
        CREATE OR REPLACE TABLE found AS
        SELECT u.stay_id, {HOURS.format(time="e.starttime")} AS time,
            coalesce(nullif(upper(item.label), ''), 'ITEM ' || e.itemid) AS code
        FROM "{view}" AS e JOIN unit AS u ON e.stay_id = u.stay_id
        LEFT JOIN item ON item.itemid = e.itemid
        WHERE coalesce(e.starttime <= u.until, true)
    """)


def _write_earlier(release: Release, folder: Path) -> int:
    """Diagnoses of admissions that had ended when the person came, at the hour of their end."""
    tables = release.tables
    query = f"""
        SELECT DISTINCT u.stay_id, {HOURS.format(time="a.dischtime")} AS time, icd_code AS code,
            icd_version AS version
        FROM unit AS u JOIN admission AS a ON a.subject_id = u.subject_id
            AND a.hadm_id <> u.hadm_id AND a.dischtime <= u.start
        JOIN diagnosis AS d ON d.hadm_id = a.hadm_id
        WHERE icd_code <> '' AND icd_version IN (9, 10)
    """
    kept = tables.number(f"SELECT count(*) FROM ({query})")
    count(release, "earlier_diagnoses", kept=kept)
    if kept:
        tables.write(f"{query} ORDER BY ALL", folder / "earlier_diagnoses.parquet")
    else:
        release.manifest.absent["earlier_diagnoses"] = "nobody has an earlier admission"
    return kept
