"""Units and limits of recorded numbers, by the reviewed table in the package of a source.

A row of such a table, quantities.csv, says that an item of a raw table is a quantity of a modality:

    value = recorded number * factor + offset, in `unit`, if that lies within low to high.

`item` is what the release calls it, in any case; a "*" in it stands for any text, and the first row
that fits an item counts. A row without a quantity leaves its items out. The rows of an item are
tried in order: the first whose limits hold the value is taken, so that a temperature in Fahrenheit
under an item for Celsius is still read. `reported` is the unit as the release writes it, which a
number must have or lack to be of the row; one in a unit of no row is left out. `source` says where
the limits are from.

What fits no row is missing, and counted by the reason. A comparator counts as its bound ("<0.1" is
0.1), and a percent sign is dropped.
"""

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from remind.sources.manifest import Manifest
from remind.sources.raw import RawTables, scan

TABLE = "quantities.csv"
KEPT = "kept"
OTHERS = "items that quantities.csv does not list or leaves out"
MOST_OTHERS = 20  # of these, that the manifest names
ITEM = "regexp_replace(lower(trim({text})), '\\s+', ' ', 'g')"
"""SQL that makes an item of a text, as rules name it."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A row of quantities.csv.

    Args:
        table, item: what is recorded, in lower case, as in "lab" and "sodium".
        place: among the rows of the item, from 0.
        quantity, modality, unit: of the value; "" where the item is left out.
        reported: the unit as the release writes it, or "" if it does not.
        factor, offset, low, high: see above.
    """

    table: str
    item: str
    place: int
    quantity: str
    modality: str
    unit: str
    reported: str
    factor: float
    offset: float
    low: float
    high: float


def load_rules(package: str) -> list[Rule]:
    """The rows of quantities.csv of a package, as in "remind.sources.eicu"."""
    text = (resources.files(package) / TABLE).read_text(encoding="utf-8")
    rules: list[Rule] = []
    num_of: dict[tuple[str, str], int] = defaultdict(int)
    for row in csv.DictReader(text.splitlines()):
        key = (row["table"], row["item"].lower())
        rules.append(
            Rule(
                table=key[0],
                item=key[1],
                place=num_of[key],
                quantity=row["quantity"],
                modality=row["modality"],
                unit=row["unit"],
                reported=row["reported"],
                factor=float(row["factor"]),
                offset=float(row["offset"]),
                low=float(row["low"]),
                high=float(row["high"]),
            )
        )
        num_of[key] += 1
    return rules


def modalities(rules: Iterable[Rule], table: str | None = None) -> list[str]:
    """The modalities, of one table or of all, in order."""
    own = (r.modality for r in rules if r.quantity and table in (None, r.table))
    return list(dict.fromkeys(own))


def judge(tables: RawTables, rules: Iterable[Rule], table: str, scanned: Path, out: Path) -> None:
    """Turn recorded numbers into values, and write them with what became of each.

    Args:
        tables: do the work.
        rules: of all tables.
        table: that the rows are of.
        scanned: Parquet file with the columns id, hours, item, written and reported.
        out: Parquet file to write: id, hours, modality, quantity, value, fate and copies (how often
            the row was there). Items without a rule, or left out, are not in it.
    """
    own = [rule for rule in rules if rule.table == table]
    _make_rules(tables, own)
    tables.execute(_KNOWN.format(scanned=scan(scanned)))
    tables.write(_VALUES.format(scanned=scan(scanned)), out)


def count_fates(
    tables: RawTables, manifest: Manifest, table: str, scanned: Path, out: Path
) -> None:
    """Put what became of the rows of a judged table into the manifest."""
    counts = manifest.counts.setdefault("quantities", {})
    for quantity, fate, number in tables.execute(_FATES.format(values=scan(out))):
        fates = counts.setdefault(quantity, {})
        fates[fate] = fates.get(fate, 0) + number
    others = tables.execute(_OTHERS.format(scanned=scan(scanned)))
    if others:
        told = manifest.counts.setdefault(OTHERS, {})
        told[table] = {
            "rows": sum(number for _, number in others),
            "items": len(others),
            "most frequent": dict(others[:MOST_OTHERS]),
        }


def write_series(tables: RawTables, values: Path, name: str, path: Path, id_column: str) -> int:
    """Write the kept values of a modality as a long table, sorted by id and time.

    Returns:
        Its number of rows; with none there is no file.
    """
    kept = f"FROM {scan(values)} WHERE modality = '{name}' AND fate = '{KEPT}'"
    num_rows = tables.number(f"SELECT count(*) {kept}")
    if num_rows:
        tables.write(
            f"SELECT id AS {id_column}, hours AS time, quantity AS variable, value {kept}"
            " ORDER BY ALL",
            path,
        )
    return num_rows


def series_section(name: str) -> dict[str, Any]:
    """The section of cohort.toml of a modality that `write_series` wrote."""
    return {"kind": "series", "table": f"{name}.parquet"}


def units_of(rules: Iterable[Rule]) -> Mapping[str, str]:
    """Quantity → unit, for the manifest."""
    return {rule.quantity: rule.unit for rule in rules if rule.quantity}


def _make_rules(tables: RawTables, rules: list[Rule]) -> None:
    """Make the table `rule` of one raw table's rules; `rank` is their order."""
    tables.execute("""
        CREATE OR REPLACE TEMP TABLE rule (rank INTEGER, item VARCHAR, place INTEGER,
            quantity VARCHAR, modality VARCHAR, reported VARCHAR, factor DOUBLE, shift DOUBLE,
            low DOUBLE, high DOUBLE)
    """)
    tables.insert(
        "rule",
        [
            [
                *(rank, rule.item, rule.place, rule.quantity, rule.modality),
                *(rule.reported.lower(), rule.factor, rule.offset, rule.low, rule.high),
            ]
            for rank, rule in enumerate(rules)
        ],
    )


_KNOWN = """
    CREATE OR REPLACE TEMP TABLE known AS
    WITH named AS (
        SELECT seen.item, arg_min(rule.item, rule.rank) AS pattern
        FROM (SELECT DISTINCT item FROM {scanned}) AS seen
        JOIN rule ON seen.item GLOB rule.item GROUP BY seen.item
    )
    SELECT named.item, list(struct_pack(quantity := quantity, modality := modality,
        reported := reported, factor := factor, shift := shift, low := low, high := high)
        ORDER BY place) AS rules
    FROM named JOIN rule ON rule.item = named.pattern WHERE quantity <> '' GROUP BY named.item
"""
"""Every item that is not left out, with its rules in order."""

_VALUES = """
    WITH once AS (
        SELECT id, hours, item, written, reported, count(*) AS copies
        FROM {scanned} WHERE item IN (SELECT item FROM known) GROUP BY ALL
    ), numbered AS (
        SELECT once.*, rules,
            [r FOR r IN rules IF coalesce(lower(trim(reported)), '') IN ('', r.reported)
                OR r.reported = ''] AS own,
            TRY_CAST(regexp_replace(written, '^\\s*[<>]=?\\s*|\\s*%?\\s*$', '', 'g') AS DOUBLE) AS x
        FROM once JOIN known USING (item)
    ), tried AS (
        SELECT *, [r FOR r IN own IF x * r.factor + r.shift BETWEEN r.low AND r.high][1] AS fit
        FROM numbered
    )
    SELECT id, hours, copies, coalesce(fit, rules[1]).modality AS modality,
        coalesce(fit, rules[1]).quantity AS quantity,
        (x * fit.factor + fit.shift)::FLOAT AS value,
        CASE WHEN x IS NULL OR NOT isfinite(x) THEN 'no number'
            WHEN len(own) = 0 THEN 'another unit'
            WHEN fit IS NULL THEN 'outside the limits'
            ELSE 'kept' END AS fate
    FROM tried
"""

_FATES = """
    SELECT quantity, fate, sum(n)::BIGINT AS n FROM (
        SELECT quantity, fate, count(*) AS n FROM {values} GROUP BY ALL
        UNION ALL
        SELECT quantity, 'duplicate row', sum(copies - 1) FROM {values} GROUP BY ALL
    ) WHERE n > 0 GROUP BY ALL ORDER BY quantity, fate
"""

_OTHERS = """
    SELECT item, count(*) AS n FROM {scanned}
    WHERE coalesce(item NOT IN (SELECT item FROM known), true)
    GROUP BY item ORDER BY n DESC, item NULLS LAST
"""
