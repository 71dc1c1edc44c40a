"""PhysioNet / Computing in Cardiology Challenge 2012: 12,000 ICU stays of at least 48 hours.

Silva et al., "Predicting in-hospital mortality of ICU patients", Computing in Cardiology 2012. A
row is a record. The 37 parameters are grouped clinically, each group a modality of its own. Of the
outcomes only death in hospital is read: SAPS-I, SOFA, length of stay and survival are results of
the stay, or of other models, and never features.
"""

from pathlib import Path

import pyarrow as pa

from remind.errors import InputError
from remind.sources.checks import check_seed
from remind.sources.limits import (
    ITEM,
    count_fates,
    judge,
    load_rules,
    modalities,
    series_section,
    units_of,
    write_series,
)
from remind.sources.manifest import Manifest
from remind.sources.physionet2012.folder import write_main_table, write_toml
from remind.sources.physionet2012.outcomes import read_outcomes
from remind.sources.physionet2012.records import SETS, RecordSet, read_sets
from remind.sources.raw import RawTables, scan

OPTIONS = ("root", "window", "memory", "threads", "seed")
TITLE = "PhysioNet Challenge 2012"
LONGEST = 48.0  # hours that records hold
DESCRIPTORS = ("recordid", "age", "gender", "height", "icutype", "weight")
NOTES = (
    "only death in hospital was read of the outcomes: SAPS-I, SOFA, length of stay and survival "
    "are never features",
    "a record is taken as a person, for the challenge does not say whose it is",
)


def write(
    folder: Path,
    *,
    root: Path,
    window: float = 48,
    memory: float = 2.0,
    threads: int | None = None,
    seed: int = 0,
) -> Manifest:
    """Fill an empty folder with the cohort.

    Args:
        folder: that exists.
        root: holds set-a/, set-b/ or set-c/, or their archives, and Outcomes-a.txt and the like.
        window: hours of the stay before the prediction, at most 48.
        memory: limit of DuckDB in gigabytes.
        threads: of DuckDB; None takes all cores.
        seed: of the split.

    Returns:
        What was done.

    Raises:
        InputError: an option is out of range, a file is absent or cannot be read, or nobody is
            left.
    """
    if not 0 < window <= LONGEST:
        raise InputError(
            f"physionet2012: --window must be above 0 and at most 48 hours, got {window:g}"
        )
    check_seed("physionet2012", seed)
    options = {"root": str(root), "window": window, "memory": memory, "threads": threads}
    manifest = Manifest(
        source="physionet2012", unit="ICU stays", version="1.0.0", options=options | {"seed": seed}
    )
    with RawTables(root, folder, title=TITLE, memory_gb=memory, threads=threads) as tables:
        sets = read_sets(root, tables.work / "rows.parquet")
        outcomes = read_outcomes(root, sets, manifest)
        with tables.explained():
            _make_units(tables, sets, outcomes, manifest)
            step = manifest.emptied_by
            if step is not None:
                raise InputError(f"{root}: no record is left at the step {step!r}")
            series = _write_modalities(tables, window, folder, manifest)
            has_sets = write_main_table(tables, tables.work / "record_values.parquet", folder, seed)
    for one in sets:
        manifest.tables[f"set-{one.name}"] = one.facts
    for name in SETS:
        if name not in {one.name for one in sets}:
            manifest.absent[f"set-{name}"] = "its 4,000 records are not in the cohort"
    manifest.code_lists["quantities"] = "remind/sources/physionet2012/quantities.csv"
    manifest.notes += NOTES
    sections = {name: series_section(name) for name in series}
    write_toml(folder, sections, seed, has_sets=has_sets)
    return manifest


def _make_units(
    tables: RawTables,
    sets: list[RecordSet],
    outcomes: dict[int, int],
    manifest: Manifest,
) -> None:
    """Make the table `unit` (set, record, died) and the flow."""
    records = [(one.name, record) for one in sets for record in one.records]
    columns = {
        "set": pa.array([name for name, _ in records], pa.string()),
        "record": pa.array([record for _, record in records], pa.int64()),
        "died": pa.array([outcomes.get(record) for _, record in records], pa.int32()),
    }
    tables.connection.register("candidate", pa.table(columns))
    rows = scan(tables.work / "rows.parquet")
    tables.execute(f"""
        CREATE TABLE filled AS
        FROM candidate WHERE record IN (SELECT record FROM {rows})
    """)
    tables.execute("CREATE TABLE unit AS FROM filled WHERE died IS NOT NULL")
    for what, table in (
        ("records", "candidate"),
        ("whose file holds rows", "filled"),
        ("whose outcome is known", "unit"),
    ):
        manifest.step(what, tables.number(f"SELECT count(*) FROM {table}"))
    _check_times(tables, sets, rows)


def _check_times(tables: RawTables, sets: list[RecordSet], rows: str) -> None:
    """Refuse times that are no hh:mm."""
    bad = tables.execute(f"""
        SELECT "set", record, row, time FROM {rows}
        WHERE NOT regexp_full_match(time, '\\d{{1,2}}:[0-5]\\d') ORDER BY ALL LIMIT 1
    """)
    for name, record, row, time in bad:
        path = next(one.path for one in sets if one.name == name)
        raise InputError(
            f'{path / f"{record}.txt"}: row {row + 1} is at the time "{time}", expected hh:mm: '
            "download it again"
        )


def _write_modalities(
    tables: RawTables, window: float, folder: Path, manifest: Manifest
) -> list[str]:
    """Write a table per modality of series.

    Returns:
        The modalities that were written, in order.
    """
    rules = load_rules("remind.sources.physionet2012")
    _scan(tables, window, manifest)
    values: dict[str, Path] = {}
    for table in ("record", "series"):
        scanned = tables.work / f"{table}.parquet"
        values[table] = tables.work / f"{table}_values.parquet"
        judge(tables, rules, table, scanned, values[table])
        count_fates(tables, manifest, table, scanned, values[table])
    manifest.counts["units"] = dict(units_of(rules))
    written: list[str] = []
    for name in modalities(rules, "series"):
        path = folder / f"{name}.parquet"
        if write_series(tables, values["series"], name, path, "record_id"):
            written.append(name)
        else:
            manifest.absent[name] = "no record holds a value of it: it is no modality here"
    return written


def _scan(tables: RawTables, window: float, manifest: Manifest) -> None:
    """Write the rows of units: what describes a record, and its series within the window.

    The first row at 00:00 of a descriptor describes; a later weight belongs to the series.
    """
    described = ", ".join(f"'{name}'" for name in DESCRIPTORS)
    tables.execute(f"""
        CREATE VIEW timed AS
        SELECT r.record AS id, {ITEM.format(text="parameter")} AS item, written, time,
            split_part(time, ':', 1)::INTEGER + split_part(time, ':', 2)::INTEGER / 60 AS hours,
            item IN ({described}) AND time = '00:00' AND row_number() OVER (
                PARTITION BY r.record, item ORDER BY row) = 1 AS describes
        FROM {scan(tables.work / "rows.parquet")} AS r JOIN unit USING (record)
    """)
    columns = "id, hours, item, written, NULL::VARCHAR AS reported"
    good = "TRY_CAST(written AS DOUBLE) IS DISTINCT FROM -1"
    tables.write(
        f"SELECT {columns} FROM timed WHERE describes AND {good} AND item <> 'recordid'",
        tables.work / "record.parquet",
    )
    tables.write(
        f"SELECT {columns} FROM timed WHERE NOT describes AND hours <= {window} AND {good}",
        tables.work / "series.parquet",
    )
    ((after, missing),) = tables.execute(f"""
        SELECT count(*) FILTER (hours > {window}),
            count(*) FILTER (hours <= {window} AND NOT ({good}))
        FROM timed
    """)
    manifest.counts["rows"] = {
        "after the window": after,
        "of -1, which marks what is missing": missing,
    }


__all__ = ["OPTIONS", "write"]
