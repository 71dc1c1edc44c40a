"""Measurements: long tables, each read once; what a number means is in quantities.csv.

A row counts if it was measured from the coming to the hospital on, and was known by the prediction:
where a table has two offsets (measured and entered, drawn and revised), both lie before it.
"""

from dataclasses import dataclass
from pathlib import Path

from remind.sources.eicu.release import ID, Release
from remind.sources.limits import (
    ITEM,
    KEPT,
    Rule,
    count_fates,
    judge,
    modalities,
    write_series,
)
from remind.sources.raw import scan

IO_PREFIX = "^flowsheet\\|flowsheet cell labels\\|i&o\\|"


@dataclass(frozen=True, kw_only=True)
class Long:
    """A table with a row per measurement.

    Args:
        table: name of the release.
        meaning: of its absence.
        item, written: SQL of what was measured and of what was recorded.
        time: column of the offset in minutes.
        known: column of the offset from when it was known, if there is another.
        reported: column of the unit, if there is one.
        columns: of text that the SQL needs.
    """

    table: str
    meaning: str
    item: str
    written: str
    time: str
    columns: tuple[str, ...]
    known: str | None = None
    reported: str | None = None


LONG = (
    Long(
        table="lab",
        meaning="laboratory panels are never observed",
        item="labname",
        written="coalesce(nullif(trim(labresult), ''), labresulttext)",
        time="labresultoffset",
        known="labresultrevisedoffset",
        reported="labmeasurenamesystem",
        columns=("labname", "labresult", "labresulttext", "labmeasurenamesystem"),
    ),
    Long(
        table="nurseCharting",
        meaning="charted vitals, neurological scores and oxygen are never observed",
        item="trim(nursingchartcelltypevallabel) || '|' || trim(nursingchartcelltypevalname)",
        written="nursingchartvalue",
        time="nursingchartoffset",
        known="nursingchartentryoffset",
        columns=(
            *("nursingchartcelltypevallabel", "nursingchartcelltypevalname", "nursingchartvalue"),
        ),
    ),
    Long(
        table="respiratoryCharting",
        meaning="the ventilator is never observed",
        item="respchartvaluelabel",
        written="respchartvalue",
        time="respchartoffset",
        known="respchartentryoffset",
        columns=("respchartvaluelabel", "respchartvalue"),
    ),
    Long(
        table="infusionDrug",
        meaning="vasopressors, sedatives and infusions are never observed",
        item="drugname",
        written="CASE lower(trim(drugrate)) WHEN 'off' THEN '0' ELSE drugrate END",
        time="infusionoffset",
        columns=("drugname", "drugrate"),
    ),
    Long(
        table="intakeOutput",
        meaning="intake and output are never observed",
        item=f"regexp_replace(lower(trim(cellpath)), '{IO_PREFIX}', '')",
        written="cellvaluenumeric",
        time="intakeoutputoffset",
        known="intakeoutputentryoffset",
        columns=("cellpath", "cellvaluenumeric"),
    ),
)

APERIODIC = "vitalAperiodic"
PERIODIC = "vitalPeriodic"
OFFSET = "observationoffset"

_SCAN = """
    SELECT u.id, e.{time} / 60 AS hours, {item} AS item, {written} AS written,
        {reported} AS reported
    FROM "{view}" AS e JOIN unit AS u ON e.{id} = u.id
    WHERE e.{time} >= u.since AND e.{time} <= u.until AND coalesce(e.{known}, e.{time}) <= u.until
"""
_UNPIVOTED = """
    SELECT id, hours, item, written, NULL::VARCHAR AS reported FROM (
        UNPIVOT (
            SELECT u.id, e.{offset} / 60 AS hours, {columns}
            FROM "{view}" AS e JOIN unit AS u ON e.{id} = u.id
            WHERE e.{offset} >= u.since AND e.{offset} <= u.until
        ) ON {columns} INTO NAME item VALUE written
    ) WHERE trim(written) <> ''
"""
_WIDE = """
    SELECT u.id, e.{offset} AS minutes, {columns}
    FROM "{view}" AS e JOIN unit AS u ON e.{id} = u.id
    WHERE e.{offset} >= u.since AND e.{offset} <= u.until
"""
_HOURLY = """
    SELECT id, max(minutes) / 60 AS hours, '{modality}' AS modality, '{quantity}' AS quantity,
        avg(value)::FLOAT AS value, '{kept}' AS fate, 1 AS copies
    FROM (SELECT id, minutes, {value} AS value FROM {source})
    WHERE value IS NOT NULL GROUP BY id, floor(minutes / 60)
"""
"""A value of the monitor every five minutes is too much: the mean of each hour of the stay, at the
last minute that it rests on."""


def write_measurements(release: Release, rules: list[Rule], folder: Path) -> list[str]:
    """Write a table per modality of the tables that are there.

    Returns:
        The modalities that were written, in order.

    Raises:
        InputError: a column is not there, or a table cannot be read.
    """
    written: list[str] = []
    if release.has(PERIODIC, "what the monitor shows is never observed"):
        values = _read_periodic(release, rules)
        written += _write_modalities(release, rules, PERIODIC, values, folder)
    if release.has(APERIODIC, "cuff pressure and haemodynamics are never observed"):
        values = _judged(release, rules, APERIODIC, _scan_aperiodic(release, rules))
        written += _write_modalities(release, rules, APERIODIC, values, folder)
    for long in LONG:
        if release.has(long.table, long.meaning):
            values = _judged(release, rules, long.table, _scan_long(release, long))
            written += _write_modalities(release, rules, long.table, values, folder)
    return written


def _write_modalities(
    release: Release, rules: list[Rule], table: str, values: Path, folder: Path
) -> list[str]:
    """Write the modalities of a table from its values, which are removed."""
    written: list[str] = []
    for name in modalities(rules, table.lower()):
        if write_series(release.tables, values, name, folder / f"{name}.parquet", ID):
            written.append(name)
        else:
            release.manifest.absent[name] = f"no row of {table} is of it: it is no modality here"
    values.unlink()
    return written


def _judged(release: Release, rules: list[Rule], table: str, query: str) -> Path:
    """The Parquet file of values of a table; counts what became of its rows."""
    tables, name = release.tables, table.lower()
    scanned, values = tables.work / f"{name}.parquet", tables.work / f"{name}_values.parquet"
    with release.reading(table):
        tables.write(query, scanned)
    judge(tables, rules, name, scanned, values)
    count_fates(tables, release.manifest, name, scanned, values)
    scanned.unlink()
    return values


def _scan_long(release: Release, long: Long) -> str:
    offsets = dict.fromkeys((long.time, long.known or long.time), "BIGINT?")
    columns = {ID: "BIGINT", **offsets, **dict.fromkeys(long.columns, "VARCHAR")}
    return _SCAN.format(
        view=release.view(long.table, columns),
        id=ID,
        time=long.time,
        known=long.known or long.time,
        item=ITEM.format(text=long.item),
        written=long.written,
        reported=long.reported or "NULL::VARCHAR",
    )


def _scan_aperiodic(release: Release, rules: list[Rule]) -> str:
    columns = _items(rules, APERIODIC)
    types = {ID: "BIGINT", OFFSET: "BIGINT?", **dict.fromkeys(columns, "VARCHAR")}
    view = release.view(APERIODIC, types)
    return _UNPIVOTED.format(view=view, id=ID, offset=OFFSET, columns=", ".join(columns))


def _read_periodic(release: Release, rules: list[Rule]) -> Path:
    """The Parquet file of hourly means of vitalPeriodic; counts what is outside the limits."""
    tables, columns = release.tables, _items(rules, PERIODIC)
    types = {ID: "BIGINT", OFFSET: "BIGINT?", **dict.fromkeys(columns, "FLOAT?")}
    view = release.view(PERIODIC, types)
    wide, values = tables.work / "periodic.parquet", tables.work / "periodic_values.parquet"
    with release.reading(PERIODIC):
        tables.write(
            _WIDE.format(view=view, id=ID, offset=OFFSET, columns=", ".join(columns)), wide
        )
    parts: list[Path] = []
    for column in columns:
        own = [rule for rule in rules if (rule.table, rule.item) == (PERIODIC.lower(), column)]
        parts.append(tables.work / f"periodic_{column}.parquet")
        query = _HOURLY.format(
            modality=own[0].modality,
            quantity=own[0].quantity,
            value=_value(column, own),
            source=scan(wide),
            kept=KEPT,
        )
        tables.write(query, parts[-1])
        _count_periodic(release, own, column, wide)
    sources = " UNION ALL ".join(f"FROM {scan(part)}" for part in parts)
    tables.write(sources, values)
    for path in (wide, *parts):
        path.unlink()
    return values


def _count_periodic(release: Release, rules: list[Rule], column: str, wide: Path) -> None:
    ((recorded, kept),) = release.tables.execute(
        f"SELECT count({column}), count({_value(column, rules)}) FROM {scan(wide)}"
    )
    fates = {KEPT: kept, "outside the limits": recorded - kept}
    counts = release.manifest.counts.setdefault("quantities", {})
    counts[rules[0].quantity] = {fate: number for fate, number in fates.items() if number}


def _value(column: str, rules: list[Rule]) -> str:
    """SQL of the value of a column, null outside the limits of its rules."""
    cases = (
        f"WHEN {column} * {rule.factor} + {rule.offset} BETWEEN {rule.low} AND {rule.high} "
        f"THEN {column} * {rule.factor} + {rule.offset}"
        for rule in rules
    )
    return f"CASE {' '.join(cases)} END"


def _items(rules: list[Rule], table: str) -> list[str]:
    """The columns of a table that rules name, in order."""
    return list(dict.fromkeys(rule.item for rule in rules if rule.table == table.lower()))
