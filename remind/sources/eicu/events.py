"""Codes and notes: medications, treatments, diagnoses, history, cultures.

Whether an order was cancelled or a diagnosis is active at discharge is known later only, and is
never read. Of a culture only the site counts, for the release does not say when its result came.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remind.sources.eicu.release import ID, Release

CLEAN = "nullif(upper(regexp_replace(trim({text}), '\\s+', ' ', 'g')), '')"
MEDICATIONS, NOTES = "medications", "notes"
MOST_NAMES = 500


@dataclass(frozen=True, kw_only=True)
class Coded:
    """A modality of codes.

    Args:
        name: of the modality.
        table: of the release.
        code: SQL of the code.
        offsets: columns of minutes; the code is known at the latest of them.
        columns: of text that the code needs.
    """

    name: str
    table: str
    code: str
    offsets: tuple[str, ...]
    columns: tuple[str, ...]


DRUG = f"coalesce('HICL ' || nullif(trim(drughiclseqno), ''), {CLEAN.format(text='drugname')})"
CODED = (
    Coded(
        name=MEDICATIONS,
        table="medication",
        code=DRUG,
        offsets=("drugorderoffset",),
        columns=("drughiclseqno", "drugname"),
    ),
    Coded(
        name="home_medications",
        table="admissionDrug",
        code=DRUG,
        offsets=("drugenteredoffset",),
        columns=("drughiclseqno", "drugname"),
    ),
    Coded(
        name="treatments",
        table="treatment",
        code=CLEAN.format(text="treatmentstring"),
        offsets=("treatmentoffset",),
        columns=("treatmentstring",),
    ),
    Coded(
        name="diagnoses",
        table="diagnosis",
        code=CLEAN.format(text="diagnosisstring"),
        offsets=("diagnosisoffset",),
        columns=("diagnosisstring",),
    ),
    Coded(
        name="admission_diagnosis",
        table="admissionDx",
        code=CLEAN.format(text="regexp_replace(admitdxpath, '^admission diagnosis\\|', '')"),
        offsets=("admitdxenteredoffset",),
        columns=("admitdxpath",),
    ),
    Coded(
        name="past_history",
        table="pastHistory",
        code=CLEAN.format(
            text="regexp_replace(pasthistorypath, '^notes/Progress Notes/Past History/', '')"
        ),
        offsets=("pasthistoryoffset", "pasthistoryenteredoffset"),
        columns=("pasthistorypath",),
    ),
    Coded(
        name="microbiology",
        table="microLab",
        code=CLEAN.format(text="'culture of ' || trim(culturesite)"),
        offsets=("culturetakenoffset",),
        columns=("culturesite",),
    ),
)


def write_codes(release: Release, folder: Path) -> dict[str, dict[str, Any]]:
    """Write the tables of codes that are there.

    Returns:
        Sections of cohort.toml by the name of their modality.

    Raises:
        InputError: a column is not there, or a table cannot be read.
    """
    sections: dict[str, dict[str, Any]] = {}
    for coded in CODED:
        meaning = f"{coded.name.replace('_', ' ')} are never observed"
        if release.has(coded.table, meaning) and _write(release, coded, folder):
            file = f"{coded.name}.parquet"
            sections[coded.name] = {"kind": "codes", "table": file, "code": "code", "time": "time"}
    return sections


def write_notes(release: Release, folder: Path) -> dict[str, dict[str, Any]]:
    """Write the notes that are there, as `write_codes` does: what one time and type says, a text.

    A note of this release is a form: each row is an entry of it, a path and what was chosen.
    """
    if not release.has("note", "notes are never observed"):
        return {}
    tables, texts = release.tables, ("notetype", "notepath", "notevalue", "notetext")
    offsets = dict.fromkeys(("noteoffset", "noteenteredoffset"), "BIGINT?")
    view = release.view("note", {ID: "BIGINT", **offsets, **dict.fromkeys(texts, "VARCHAR")})
    with release.reading("note"):
        tables.execute(f"""
            CREATE OR REPLACE TABLE found AS
            SELECT u.id, greatest(noteoffset, noteenteredoffset) / 60 AS time,
                coalesce(trim(notetype), '') AS type, notepath AS path,
                regexp_replace(notepath, '^.*/', '') AS entry,
                coalesce(nullif(trim(notetext), ''), nullif(trim(notevalue), '')) AS said
            FROM "{view}" AS e JOIN unit AS u ON e.{ID} = u.id
            WHERE time * 60 <= u.until
        """)
    tables.execute("""
        CREATE OR REPLACE TABLE noted AS
        SELECT id, time, type || '. ' || string_agg(
            CASE WHEN said = entry THEN said ELSE concat_ws(': ', entry, said) END,
            '. ' ORDER BY path, said) AS text
        FROM (SELECT DISTINCT * FROM found) GROUP BY id, time, type
        HAVING count(said) > 0
    """)
    kept = tables.number("SELECT count(*) FROM noted")
    _count(release, NOTES, "note", tables.number("SELECT count(*) FROM found"), kept)
    if not kept:
        return {}
    query = f"SELECT id AS {ID}, time, text FROM noted ORDER BY ALL"
    tables.write(query, folder / f"{NOTES}.parquet")
    return {NOTES: {"kind": "text", "table": f"{NOTES}.parquet", "text": "text", "time": "time"}}


def _write(release: Release, coded: Coded, folder: Path) -> int:
    """Write a table of codes, sorted by stay and time; return its rows."""
    tables = release.tables
    types = {ID: "BIGINT", **dict.fromkeys(coded.offsets, "BIGINT?")}
    view = release.view(coded.table, types | dict.fromkeys(coded.columns, "VARCHAR"))
    named = f", {CLEAN.format(text='drugname')} AS name" if coded.code == DRUG else ""
    with release.reading(coded.table):
        tables.execute(f"""
            CREATE OR REPLACE TABLE found AS
            SELECT u.id, greatest({", ".join(coded.offsets)}) / 60 AS time,
                {coded.code} AS code{named}
            FROM "{view}" AS e JOIN unit AS u ON e.{ID} = u.id
            WHERE time * 60 <= u.until
        """)
    good = "SELECT DISTINCT id, time, code FROM found WHERE code IS NOT NULL"
    kept = tables.number(f"SELECT count(*) FROM ({good})")
    without = tables.number("SELECT count(*) FROM found WHERE code IS NULL")
    rows = tables.number("SELECT count(*) FROM found")
    _count(release, coded.name, coded.table, rows, kept, without)
    if kept:
        query = f"SELECT id AS {ID}, time, code FROM ({good}) ORDER BY ALL"
        tables.write(query, folder / f"{coded.name}.parquet")
    if named:
        _name_codes(release, coded.name)
    return kept


def _name_codes(release: Release, modality: str) -> None:
    """Put a name of every frequent HICL number into the manifest: its first in the alphabet."""
    names = release.tables.execute(f"""
        SELECT code, min(name) FROM found WHERE code LIKE 'HICL %' AND name IS NOT NULL
        GROUP BY code ORDER BY count(*) DESC, code LIMIT {MOST_NAMES}
    """)
    release.manifest.code_lists[f"{modality}: one of the names of a HICL number"] = dict(names)


def _count(
    release: Release, modality: str, table: str, rows: int, kept: int, without: int = 0
) -> None:
    """Put what became of the rows of a modality into the manifest, but for zeros."""
    fates = {"in the window": rows, "without a code": without, "kept": kept}
    counts = release.manifest.counts.setdefault("rows", {})
    counts[modality] = {what: number for what, number in fates.items() if number}
    if not kept:
        release.manifest.absent[modality] = f"no row of {table} is of it: it is no modality here"
