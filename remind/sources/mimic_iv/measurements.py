"""Measurements: long tables of the hospital and of intensive care, each read once.

A scan keeps the rows of units and of items that quantities.csv knows, in time, in a small Parquet
file; from there values are made (`quantities.judge`) and modalities are written.
"""

from dataclasses import dataclass
from pathlib import Path

from remind.sources.mimic_iv.quantities import KEPT, Rule, items, judge, modalities
from remind.sources.mimic_iv.release import Release
from remind.sources.raw import RawTables, scan

HOURS = "date_diff('second', u.intime, {time}) / 3600.0"

LAB = "hosp/labevents"
CHART = "icu/chartevents"
INPUT = "icu/inputevents"
OUTPUT = "icu/outputevents"
ABSENT = {
    LAB: "laboratory panels are never observed",
    CHART: "vitals, haemodynamics, ventilator and neurological scores are never observed",
    INPUT: "vasopressors, sedatives and inputs are never observed",
    OUTPUT: "outputs are never observed",
}
COLUMNS = {
    LAB: {
        "subject_id": "BIGINT",
        "itemid": "INTEGER",
        **dict.fromkeys(("charttime", "storetime"), "TIMESTAMP"),
        **dict.fromkeys(("value", "valueuom"), "VARCHAR"),
        "valuenum": "DOUBLE?",
    },
    CHART: {
        "stay_id": "BIGINT",
        "itemid": "INTEGER",
        "charttime": "TIMESTAMP",
        **dict.fromkeys(("value", "valueuom"), "VARCHAR"),
        "valuenum": "DOUBLE?",
    },
    INPUT: {
        "stay_id": "BIGINT",
        "itemid": "INTEGER",
        **dict.fromkeys(("starttime", "endtime"), "TIMESTAMP"),
        **dict.fromkeys(("rate", "amount"), "DOUBLE?"),
        **dict.fromkeys(("rateuom", "amountuom"), "VARCHAR"),
    },
    OUTPUT: {
        "stay_id": "BIGINT",
        "itemid": "INTEGER",
        "charttime": "TIMESTAMP",
        **dict.fromkeys(("value", "valueuom"), "VARCHAR"),
    },
}

MEASURED = f"""
    SELECT u.stay_id, e.itemid AS item, {HOURS.format(time="e.charttime")} AS hours,
        {{number}} AS number,
        CASE WHEN {{number}} IS NULL OR e.itemid IN ({{worded}}) THEN e.value END AS written,
        e.valueuom AS reported
    FROM "{{view}}" AS e JOIN unit AS u ON {{join}}
    WHERE e.itemid IN ({{items}}) AND e.charttime >= u.since AND e.charttime <= u.until {{known}}
"""
JOINS = {
    LAB: ("e.subject_id = u.subject_id", "AND coalesce(e.storetime, e.charttime) <= u.until"),
    CHART: ("e.stay_id = u.stay_id", ""),
    OUTPUT: ("e.stay_id = u.stay_id", ""),
}

GIVEN = f"""
    SELECT u.stay_id, e.itemid AS item, {HOURS.format(time="e.starttime")} AS begins,
        CASE WHEN e.endtime <= u.until THEN {HOURS.format(time="e.endtime")} END AS ends,
        {HOURS.format(time="u.since")} AS first, rate, rateuom,
        CASE WHEN e.endtime <= u.until THEN amount END AS amount, amountuom
    FROM "{{view}}" AS e JOIN unit AS u ON e.stay_id = u.stay_id
    WHERE e.itemid IN ({{items}}) AND e.starttime <= u.until
"""
RATES = """
    WITH given AS (
        SELECT DISTINCT * FROM {scanned}
    ), running AS (
        SELECT given.*, quantity, greatest(begins, first) AS hours
        FROM given JOIN (VALUES {quantities}) AS named (item, quantity) USING (item)
        WHERE rate IS NOT NULL AND (begins >= first OR coalesce(ends > first, true))
    )
    SELECT stay_id, item, hours, rate AS number, NULL::VARCHAR AS written, rateuom AS reported
    FROM running
    UNION ALL
    SELECT stay_id, item, hours, number, NULL, reported FROM (
        SELECT a.stay_id, a.quantity, coalesce(b.item, a.item) AS item, a.ends AS hours,
            coalesce(b.rate, 0) AS number, coalesce(b.rateuom, a.rateuom) AS reported,
            coalesce(b.begins <= a.begins AND b.begins < a.ends, true) AS is_new
        FROM running AS a LEFT JOIN running AS b ON a.stay_id = b.stay_id
            AND a.quantity = b.quantity AND b.begins <= a.ends AND coalesce(b.ends > a.ends, true)
        WHERE a.ends >= a.hours
        QUALIFY row_number() OVER (PARTITION BY a.stay_id, a.quantity, a.ends
            ORDER BY a.begins DESC, b.begins DESC NULLS LAST,
                b.item, b.rate, b.rateuom, a.item, a.rateuom) = 1
    ) WHERE is_new
    UNION ALL
    SELECT stay_id, item, ends, amount, NULL, amountuom FROM given
    WHERE rate IS NULL AND ends >= first
"""
"""A rate holds from its start, or from when series are read if it runs then. At its end the rate is
0; if others of the quantity go on it is that of the one begun last of them, unless that holds
already. An amount without a rate counts when it is given. What ends after the prediction has no end
yet."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """A modality that was written.

    Args:
        name: of the modality; its table is `name`.parquet.
        num_rows: of the table.
    """

    name: str
    num_rows: int


def write_measurements(release: Release, rules: list[Rule], folder: Path) -> list[Series]:
    """Write a table per modality of the four long tables that are there.

    Raises:
        InputError: a column is not there, or a table cannot be read.
    """
    written: list[Series] = []
    for table in (LAB, CHART, INPUT, OUTPUT):
        if release.has(table, ABSENT[table]):
            values = _read(release, rules, table)
            for name in modalities(rules, table):
                written += _write_modality(release, rules, table, name, values, folder)
            values.unlink()
    return written


def _read(release: Release, rules: list[Rule], table: str) -> Path:
    """The Parquet file of values of a table; counts what became of its rows."""
    tables, short = release.tables, table.rpartition("/")[2]
    scanned, values = tables.work / f"{short}.parquet", tables.work / f"{short}_values.parquet"
    with release.reading(table):
        tables.write(_scan(release, rules, table), scanned)
    if table == INPUT:
        scanned = _rates(tables, rules, scanned)
    counts = release.manifest.counts.setdefault("quantities", {})
    for quantity, fate, number in judge(tables, rules, table, f"FROM {scan(scanned)}", values):
        counts.setdefault(quantity, {})[fate] = number
    scanned.unlink()
    return values


def _rates(tables: RawTables, rules: list[Rule], given: Path) -> Path:
    """The Parquet file of the rates at their times, in place of that of what was given when."""
    rates = given.with_stem(f"{given.stem}_rates")
    firsts = [rule for rule in rules if rule.table == INPUT and rule.place == 0]
    quantities = ", ".join(f"({rule.item}, '{rule.quantity}')" for rule in firsts)
    tables.write(RATES.format(scanned=scan(given), quantities=quantities), rates)
    given.unlink()
    return rates


def _scan(release: Release, rules: list[Rule], table: str) -> str:
    view = release.view(table, COLUMNS[table])
    known = ", ".join(items(rules, table))
    if table == INPUT:
        return GIVEN.format(view=view, items=known)
    join, and_known = JOINS[table]
    worded = [
        rule.item for rule in rules if rule.table == table and (rule.words or rule.low is None)
    ]
    number = "TRY_CAST(e.value AS DOUBLE)" if table == OUTPUT else "e.valuenum"
    return MEASURED.format(
        view=view,
        items=known,
        worded=", ".join(dict.fromkeys(worded)) or "-1",
        number=number,
        join=join,
        known=and_known,
    )


def _write_modality(
    release: Release, rules: list[Rule], table: str, name: str, values: Path, folder: Path
) -> list[Series]:
    has_text = any(rule.low is None for rule in rules if rule.modality == name)
    value = "coalesce(written, value::VARCHAR)" if has_text else "value"
    source = scan(values)
    where = f"FROM {source} WHERE modality = '{name}' AND fate = '{KEPT}'"
    num_rows = release.tables.number(f"SELECT count(*) {where}")
    if not num_rows:
        release.manifest.absent[name] = f"no row of {table} is of it: it is no modality here"
        return []
    release.tables.write(
        f"SELECT stay_id, hours AS time, quantity AS variable, {value} AS value {where}"
        " ORDER BY ALL",
        folder / f"{name}.parquet",
    )
    return [Series(name=name, num_rows=num_rows)]
