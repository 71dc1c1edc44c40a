"""Preparing MIMIC-IV at full size: time and peak memory, with pandas and PyHealth beside it.

    python benchmarks/prepare_scale.py [--lab-rows 50e6] [--chart-rows 100e6] [--memory 2]
        [--compare-rows 2e6] [--pyhealth PYTHON] [--folder DIR] [--json]

Two parts. The first writes labevents and chartevents of so many rows as .csv.gz with the columns of
the real release (`prepare_scale_files`) and runs `remind prepare mimic-iv` on them as a user would.
The second, on a release of --compare-rows rows (a third of them labevents), puts beside it the part
of that work that others can do: read both tables, keep the rows of the cohort's stays within the
first 48 hours, of the items that `remind` takes and known by then, and write them as series (stay,
hours, item, value). remind is not let off anything: its time is that of the whole preparation,
which also converts units, drops what is implausible or doubled, and keeps comparators.
PyHealth reads the tables into its table of events, from which polars picks the same rows;
--pyhealth names the Python that it is installed in, for it needs versions of its own.

The peak is that of resident memory of the largest process, as the kernel counted it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.common import exit_status
from benchmarks.prepare_scale_files import write_release
from remind.benchmark.tables import figure, markdown_table
from remind.errors import InputError
from remind.sources.mimic_iv.quantities import items, load_rules

WINDOW_HOURS = 48
TABLES = ("hosp/labevents", "icu/chartevents")
TOP = Path(__file__).parents[1]
PEERS = TOP / "benchmarks" / "prepare_scale_peers.py"
TOLD = 300  # characters of what a peer that failed said last
LONGEST_SECONDS = 1800  # that a peer may take


def run_scale(raw: Path, work: Path, memory_gb: float, rows: int) -> dict[str, Any]:
    """Run the whole preparation on a release; what it wrote goes away.

    Args:
        raw: the release.
        work: a folder for the cohort.
        memory_gb: the option of `remind prepare`.
        rows: of labevents and chartevents together.

    Returns:
        Seconds (of them those of imports), rows per second, peak GiB, rows of the series, the flow.

    Raises:
        RuntimeError: it failed.
    """
    out = work.absolute() / "cohort"
    options = ["--root", str(raw.absolute()), "--out", str(out), "--memory", str(memory_gb)]
    start = time.perf_counter()
    command = [sys.executable, "-c", _RUN, "prepare", "mimic-iv", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=TOP)
    if done.returncode:
        raise RuntimeError(f"remind prepare mimic-iv: {done.stderr[-2000:]}")
    seconds = time.perf_counter() - start
    facts = json.loads(done.stderr.splitlines()[-1])
    manifest = json.loads((out / "manifest.json").read_text())
    series = [pq.ParquetFile(file) for file in out.glob("*.parquet")]
    num_series_rows = sum(
        file.metadata.num_rows for file in series if "variable" in file.schema_arrow.names
    )
    bytes_on_disk = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    shutil.rmtree(out)
    return {
        "seconds": seconds,
        "rows_per_second": rows / seconds,
        "start_seconds": facts["start_seconds"],
        "peak_gib": facts["peak_kib"] / 2**20,
        "num_rows": rows,
        "cohort_gib": bytes_on_disk / 2**30,
        "num_series_rows": num_series_rows,
        "flow": manifest["flow"],
        "quantities": manifest["notes"][-1],
    }


_RUN = """
import json, sys, time
start = time.perf_counter()
import remind.commands.data
from remind.cli import main
facts = {"start_seconds": time.perf_counter() - start}
from benchmarks.prepare_scale_peers import peak_kib
try:
    main()
finally:
    print(json.dumps({**facts, "peak_kib": peak_kib()}), file=sys.stderr)
"""


def run_peer(name: str, python: str, raw: Path, work: Path, rows: int) -> dict[str, Any]:
    """Run a peer in a process of its own.

    Args:
        name: "pandas", "pandas-chunks" or "pyhealth".
        python: the interpreter.
        raw: the release.
        work: a folder for what it writes.
        rows: of labevents and chartevents together.

    Returns:
        Seconds, rows per second, peak GiB, rows and sum of values of the series, its version; or
        "why_not", a sentence.
    """
    out = work / f"{name}.parquet"
    rules = load_rules()
    listed = [",".join(items(rules, table)) for table in TABLES]
    command = [python, str(PEERS), name, str(raw), str(out), *listed, str(WINDOW_HOURS)]
    start = time.perf_counter()
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=LONGEST_SECONDS
        )
    except subprocess.TimeoutExpired:
        return {"why_not": f"it took longer than {LONGEST_SECONDS} s"}
    except OSError as error:
        return {"why_not": f"{python} does not start: {error.strerror}"}
    seconds = time.perf_counter() - start
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it was killed"])[-1]
        return {"why_not": last[:TOLD]}
    facts = json.loads(done.stdout.splitlines()[-1])
    value = pq.read_table(out, columns=["value"])["value"]
    return {
        "seconds": seconds,
        "rows_per_second": rows / seconds,
        "peak_gib": facts["peak_kib"] / 2**20,
        "version": facts["version"],
        "num_series_rows": len(value),
        "sum_of_values": float(value.to_numpy().sum()),
    }


def run_comparison(
    raw: Path, work: Path, memory_gb: float, rows: int, pyhealth: str
) -> dict[str, dict[str, Any]]:
    """All contenders on one release, one after the other."""
    results = {"remind": run_scale(raw, work, memory_gb, rows)}
    for name in ("pandas", "pandas-chunks"):
        results[name] = run_peer(name, sys.executable, raw, work, rows)
    results["pyhealth"] = run_peer("pyhealth", pyhealth, raw, work, rows)
    return results


def text(results: dict[str, Any]) -> str:
    """The results as Markdown tables."""
    parts = []
    if scale := results.get("scale"):
        header = ["rows", "seconds", "rows per second", "peak GiB", "--memory", "cohort GiB"]
        cells = [f"{scale['num_rows']:,}", *_figures(scale), f"{results['memory_gb']:g}"]
        parts.append(markdown_table(header, [[*cells, figure(scale["cohort_gib"], 2)]]))
        flow = "".join(f"{step['num_left']:,} {step['step']}\n" for step in scale["flow"])
        parts.append(f"{flow}{scale['quantities']}\n")
    if comparison := results.get("comparison"):
        header = ["contender", "seconds", "rows per second", "peak GiB", "rows of series"]
        rows = [
            [_named(name, one), *_figures(one), f"{one['num_series_rows']:,}"]
            for name, one in comparison.items()
            if "why_not" not in one
        ]
        parts.append(f"{results['compare_rows']:,} rows, a third of them of labevents:\n")
        start = comparison["remind"]["start_seconds"]
        parts.append(markdown_table(header, rows))
        parts.append(f"{start:.1f} s of remind's are imports, whatever the size\n")
        parts.append(
            "".join(
                f"{name}: not shown, {one['why_not']}\n"
                for name, one in comparison.items()
                if "why_not" in one
            )
        )
    return "\n".join(part for part in parts if part)


def _figures(one: dict[str, Any]) -> list[str]:
    return [
        figure(one["seconds"], 1),
        f"{one['rows_per_second']:,.0f}",
        figure(one["peak_gib"], 2),
    ]


def _named(name: str, one: dict[str, Any]) -> str:
    if name == "remind":
        return "remind (the whole preparation)"
    return f"{name} {one['version']}"


def release(folder: Path, lab_rows: int, chart_rows: int) -> tuple[Path, float]:
    """The release of so many rows below a folder, written if it is not there, and the seconds."""
    raw = folder / f"mimic-{lab_rows}-{chart_rows}"
    start = time.perf_counter()
    if not raw.exists():
        print(f"writing {lab_rows + chart_rows:,} rows to {raw}", file=sys.stderr)
        write_release(raw, lab_rows, chart_rows)
    return raw, time.perf_counter() - start


def run(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Both parts, or one of them where the other has no rows."""
    lab_rows, chart_rows = round(arguments.lab_rows), round(arguments.chart_rows)
    compare_rows = round(arguments.compare_rows)
    if min(lab_rows, chart_rows, compare_rows) < 0 or (lab_rows > 0) != (chart_rows > 0):
        raise InputError("--lab-rows and --chart-rows must both be above 0, or both be 0")
    results: dict[str, Any] = {"memory_gb": arguments.memory, "cores": os.cpu_count()}
    with tempfile.TemporaryDirectory(prefix="remind-prepare-", dir=folder) as name:
        work = Path(name)
        if lab_rows:
            raw, seconds = release(folder, lab_rows, chart_rows)
            results["write_seconds"] = seconds
            results["scale"] = run_scale(raw, work, arguments.memory, lab_rows + chart_rows)
        if compare_rows:
            num_labs = compare_rows // 3
            raw, _ = release(folder, num_labs, compare_rows - num_labs)
            python = arguments.pyhealth or sys.executable
            results["compare_rows"] = compare_rows
            results["comparison"] = run_comparison(
                raw, work, arguments.memory, compare_rows, python
            )
    return results


def main(argv: Sequence[str] | None = None) -> int:
    """Write the releases, run the contenders, show the tables."""
    parser = argparse.ArgumentParser(description="Preparing MIMIC-IV at full size.")
    parser.add_argument(
        "--lab-rows", type=float, default=50e6, help="of labevents; 0 leaves it out"
    )
    parser.add_argument("--chart-rows", type=float, default=100e6, help="of chartevents")
    parser.add_argument("--memory", type=float, default=2.0, help="gigabytes that DuckDB may take")
    parser.add_argument(
        "--compare-rows", type=float, default=2e6, help="beside pandas and PyHealth"
    )
    parser.add_argument("--pyhealth", help="a Python in which PyHealth is installed (this one)")
    parser.add_argument("--folder", type=Path, help="where the releases are kept and used again")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args(argv)
    temporary = None if arguments.folder else Path(tempfile.mkdtemp(prefix="remind-scale-"))
    folder = temporary or arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    try:
        results = run(arguments, folder)
    finally:
        if temporary is not None:
            shutil.rmtree(temporary)
    print(json.dumps(results) if arguments.json else text(results))
    return 0


if __name__ == "__main__":
    raise SystemExit(exit_status(main))
