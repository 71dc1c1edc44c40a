"""Series of a MIMIC-IV release by pandas or PyHealth, for the benchmark `prepare_scale`.

    python prepare_scale_peers.py pandas|pandas-chunks|pyhealth ROOT OUT LABS CHARTS HOURS

Imports nothing of remind, so that it runs in a Python of the peer's own. LABS and CHARTS are item
ids with commas. The last line of its output is JSON: version, peak_kib.
"""

import importlib.metadata
import json
import resource
import sys
from pathlib import Path
from typing import Any

import pandas as pd

AT_ONCE = 1_000_000  # rows of a chunk
SERIES = ["stay_id", "hours", "itemid", "value"]
TABLES = """
tables:
  patients:
    file_path: hosp/patients.csv.gz
    patient_id: subject_id
    timestamp: null
    attributes: [gender]
  admissions:
    file_path: hosp/admissions.csv.gz
    patient_id: subject_id
    timestamp: admittime
    attributes: [hadm_id]
  icustays:
    file_path: icu/icustays.csv.gz
    patient_id: subject_id
    timestamp: intime
    attributes: [hadm_id, stay_id, outtime]
  labevents:
    file_path: hosp/labevents.csv.gz
    patient_id: subject_id
    timestamp: charttime
    attributes: [itemid, valuenum, storetime]
  chartevents:
    file_path: icu/chartevents.csv.gz
    patient_id: subject_id
    timestamp: charttime
    attributes: [stay_id, itemid, valuenum]
"""


def stays_of(root: Path, hours: float) -> pd.DataFrame:
    """Stays of at least so many hours: the cohort without what the tables of persons say."""
    columns = ["subject_id", "stay_id", "intime", "outtime"]
    stays = pd.read_csv(root / "icu/icustays.csv.gz", usecols=columns)
    for name in ("intime", "outtime"):
        stays[name] = pd.to_datetime(stays[name])
    return stays.loc[stays["outtime"] - stays["intime"] >= pd.Timedelta(hours=hours)]


def in_window(rows: pd.DataFrame, stays: pd.DataFrame, key: str, hours: float) -> pd.DataFrame:
    """The series that rows of a table make: within the window of their stay, and known in it."""
    rows = rows.merge(stays.drop(columns=[c for c in ("subject_id",) if c != key]), on=key)
    span = (pd.to_datetime(rows["charttime"]) - rows["intime"]) / pd.Timedelta(hours=1)
    is_in = span.between(0, hours)
    if "storetime" in rows:
        known = (pd.to_datetime(rows["storetime"]) - rows["intime"]) / pd.Timedelta(hours=1)
        is_in &= ~(known > hours)
    rows = rows.assign(hours=span).rename(columns={"valuenum": "value"})
    return rows.loc[is_in, SERIES]


def by_pandas(
    root: Path, out: Path, labs: list[int], charts: list[int], hours: float, at_once: int | None
) -> None:
    """Read both tables, whole or in chunks, and write the series."""
    stays = stays_of(root, hours)
    parts = []
    for name, key, items, columns in (
        ("hosp/labevents", "subject_id", labs, ["charttime", "storetime"]),
        ("icu/chartevents", "stay_id", charts, ["charttime"]),
    ):
        usecols = [key, "itemid", "valuenum", *columns]
        read: Any = pd.read_csv(root / f"{name}.csv.gz", usecols=usecols, chunksize=at_once)
        for rows in [read] if at_once is None else read:
            kept = rows[rows["itemid"].isin(items) & rows["valuenum"].notna()]
            parts.append(in_window(kept, stays, key, hours))
    pd.concat(parts).sort_values(["stay_id", "hours"]).to_parquet(out, index=False)


def be_like_python_3_12() -> None:
    """Give an older Python the two things of 3.12 that PyHealth 2 and its Dask cannot do without.

    `itertools.batched`, and `functools.cached_property` without a lock: with it, Dask's client and
    scheduler, threads of one process, wait for each other for ever.
    """
    import functools
    import itertools

    if sys.version_info >= (3, 12):
        return
    import more_itertools  # pyright: ignore[reportMissingImports]

    class Unlocked(functools.cached_property):
        def __get__(self, instance: Any, owner: Any = None) -> Any:
            if instance is None:
                return self
            values = instance.__dict__
            if self.attrname not in values:
                values[self.attrname] = self.func(instance)
            return values[self.attrname]

    functools.cached_property = Unlocked
    itertools.batched = more_itertools.batched  # pyright: ignore[reportAttributeAccessIssue]


def by_pyhealth(root: Path, out: Path, labs: list[int], charts: list[int], hours: float) -> str:
    """Let PyHealth make its table of events, pick the series from it, and write them."""
    version = importlib.metadata.version("pyhealth")
    be_like_python_3_12()
    import polars as pl
    from pyhealth.datasets import MIMIC4EHRDataset  # pyright: ignore[reportMissingImports]

    config = out.with_suffix(".yaml")
    config.write_text(f'version: "3.1"{TABLES}')
    dataset = MIMIC4EHRDataset(
        root=str(root),
        tables=["labevents", "chartevents"],
        config_path=str(config),
        cache_dir=str(out.with_suffix(".cache")),
    )
    events = dataset.global_event_df
    stays = pl.from_pandas(stays_of(root, hours)).lazy()
    parts = []
    for table, key, column, items in (
        ("labevents", "subject_id", "patient_id", labs),
        ("chartevents", "stay_id", "chartevents/stay_id", charts),
    ):
        number = pl.col(f"{table}/valuenum").cast(pl.Float64, strict=False)
        item = pl.col(f"{table}/itemid").cast(pl.Int64, strict=False)
        rows = events.filter(pl.col("event_type") == table).select(
            pl.col(column).cast(pl.Int64).alias(key),
            item.alias("itemid"),
            number.alias("value"),
            "timestamp",
            *([pl.col(f"{table}/storetime").str.to_datetime()] if table == "labevents" else []),
        )
        rows = rows.filter(pl.col("itemid").is_in(items), pl.col("value").is_not_null())
        rows = rows.join(stays, on=key)
        since = {
            name: (pl.col(column) - pl.col("intime")).dt.total_milliseconds() / 3_600_000
            for name, column in (("hours", "timestamp"), ("known", "labevents/storetime"))
        }
        rows = rows.with_columns(since["hours"].alias("hours"))
        rows = rows.filter(pl.col("hours").is_between(0, hours))
        if table == "labevents":
            rows = rows.filter((since["known"] <= hours).fill_null(True))
        parts.append(rows.select(SERIES).collect(engine="streaming"))
    pl.concat(parts).sort(["stay_id", "hours"]).write_parquet(out)
    return version


def peak_kib() -> int:
    """Peak resident memory of this process or of its largest child, in KiB.

    The kernel's count of a process (`ru_maxrss`) begins with what its parent had when it forked;
    VmHWM begins anew.
    """
    status = Path("/proc/self/status").read_text()
    own = int(status.partition("VmHWM:")[2].split()[0])
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)


def main() -> None:
    """Do the work of the named peer."""
    name, root, out, labs, charts, hours = sys.argv[1:]
    items = [int(item) for item in labs.split(",")], [int(item) for item in charts.split(",")]
    version = pd.__version__
    if name == "pyhealth":
        version = by_pyhealth(Path(root), Path(out), *items, float(hours))
    else:
        at_once = AT_ONCE if name == "pandas-chunks" else None
        by_pandas(Path(root), Path(out), *items, float(hours), at_once)
    print(json.dumps({"version": version, "peak_kib": peak_kib()}))


if __name__ == "__main__":
    main()
