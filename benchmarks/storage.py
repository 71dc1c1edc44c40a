"""Cohorts larger than memory: time and peak memory of describe, fit and predict.

    python benchmarks/storage.py [--millions 1,3,10] [--modalities 20] [--columns 2] [--shards 20]
        [--folder DIR] [--set key=value] [--json]

Writes Parquet cohorts of so many million patients, each modality missing for a share of them, and
runs the command line on each as a user would: `remind describe`, `remind fit` for one epoch, and
`remind predict` for all patients. Shown are seconds, seconds per million patients and the peak of
resident memory of the process (what the kernel counted: files that are mapped included). The
model is small by default, so that reading, encoding and batching are what is measured.
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
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.common import at_least, exit_status
from remind.benchmark.tables import figure, markdown_table

SMALL = ("epochs=1", "batch_size=4096", "width=32", "hidden=32", "members=2", "experts=4")
ROW_GROUP = 1 << 17


def write_cohort(
    folder: Path, num_patients: int, *, num_modalities: int, num_columns: int, shards: int
) -> None:
    """A cohort of tabular modalities in shards; the label depends on the first columns."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = {
        f"m{m:02d}": [f"m{m:02d}_{c}" for c in range(num_columns)] for m in range(num_modalities)
    }
    sections = "".join(
        f'\n[modalities.{name}]\nkind = "tabular"\ncolumns = {json.dumps(columns)}\n'
        for name, columns in names.items()
    )
    (folder / "cohort.toml").write_text(
        f'[cohort]\nname = "large"\ntable = "patients-*.parquet"\nid = "id"\nlabel = "died"\n'
        f'task = "binary"\n\n[split]\ncolumn = "split"\n{sections}'
    )
    bounds = np.linspace(0, num_patients, shards + 1).astype(int)
    for shard, (low, high) in enumerate(pairwise(bounds)):
        writer = None
        for start in range(low, high, ROW_GROUP):
            part = _rows(rng, start, min(start + ROW_GROUP, high), names)
            if writer is None:
                writer = pq.ParquetWriter(folder / f"patients-{shard:03d}.parquet", part.schema)
            writer.write_table(part)
        if writer is not None:
            writer.close()


def _rows(rng: np.random.Generator, low: int, high: int, names: dict[str, list[str]]) -> pa.Table:
    num = high - low
    columns: dict[str, Any] = {"id": np.arange(low, high)}
    risk_N = np.zeros(num)
    for m, own in enumerate(names.values()):
        is_missing_N = rng.random(num) < (0.05 if m == 0 else 0.1 + 0.6 * m / len(names))
        if m == 0:
            is_missing_N[:] = False
        for name in own:
            value_N = rng.standard_normal(num, dtype=np.float32)
            risk_N += np.where(is_missing_N, 0.0, 0.3 * value_N)
            columns[name] = pa.array(value_N, mask=is_missing_N)
    columns["died"] = (rng.random(num) < 1 / (1 + np.exp(1.0 - risk_N))).astype(np.int8)
    columns["split"] = np.array(["train", "train", "train", "val", "test"])[np.arange(num) % 5]
    return pa.table(columns)


def measured(arguments: Sequence[str], environment: dict[str, str]) -> dict[str, float]:
    """Seconds and peak resident GiB of a command of remind.

    Raises:
        RuntimeError: it failed.
    """
    start = time.perf_counter()
    command = [sys.executable, "-c", _RUN, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"remind {' '.join(arguments)}: {done.stderr[-2000:]}")
    peak_kib = int(done.stderr.rsplit("peak ", 1)[1])
    return {"seconds": time.perf_counter() - start, "peak_gib": peak_kib / 2**20}


_RUN = """
import resource, sys
from remind.cli import main
try:
    main()
finally:
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def run_size(folder: Path, num_patients: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Write the cohort of one size and run every command on it."""
    cohort, out = folder / "cohort", folder / "run"
    start = time.perf_counter()
    write_cohort(
        cohort,
        num_patients,
        num_modalities=arguments.modalities,
        num_columns=arguments.columns,
        shards=arguments.shards,
    )
    written = time.perf_counter() - start
    environment = {**os.environ, "REMIND_CACHE": str(folder / "cache")}
    sets = [part for text in (*SMALL, *arguments.sets) for part in ("--set", text)]
    table = str(cohort / "patients-*.parquet")
    commands = {
        "describe": ["describe", str(cohort), "--json"],
        "fit": ["fit", str(cohort), "--out", str(out), *sets],
        "predict": ["predict", str(out), table, "--out", str(folder / "predictions.parquet")],
    }
    result = {name: measured(command, environment) for name, command in commands.items()}
    predicted = pq.read_metadata(folder / "predictions.parquet").num_rows
    assert predicted == num_patients
    line = json.loads((out / "metrics.jsonl").read_text().splitlines()[0])
    bytes_on_disk = sum(file.stat().st_size for file in cohort.iterdir())
    return {
        "num_patients": num_patients,
        "cohort_gib": bytes_on_disk / 2**30,
        "write_seconds": written,
        "epoch_seconds": line["seconds"],
        "waiting": line["waiting"],
        "commands": result,
    }


def text(results: Sequence[dict[str, Any]]) -> str:
    """The results as a Markdown table."""
    rows = [
        [
            f"{result['num_patients']:,}",
            name,
            figure(values["seconds"], 1),
            figure(values["seconds"] / result["num_patients"] * 1e6, 1),
            figure(values["peak_gib"], 2),
        ]
        for result in results
        for name, values in result["commands"].items()
    ]
    header = ["patients", "command", "seconds", "per million", "peak GiB"]
    notes = "".join(
        f"{result['num_patients']:,}: {result['cohort_gib']:.2f} GiB of Parquet; the epoch took "
        f"{result['epoch_seconds']:.1f} s, {result['waiting']:.1%} of it waiting for batches\n"
        for result in results
    )
    return f"{markdown_table(header, rows, left=2)}\n{notes}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run all sizes."""
    parser = argparse.ArgumentParser(description="Cohorts larger than memory.")
    parser.add_argument("--millions", default="1,3,10", help="patients, with commas")
    parser.add_argument("--modalities", type=at_least(1), default=20)
    parser.add_argument("--columns", type=at_least(1), default=2, help="of each modality")
    parser.add_argument("--shards", type=at_least(1), default=20, help="Parquet files")
    parser.add_argument("--folder", type=Path, help="for everything; removed afterwards")
    parser.add_argument("--set", action="append", default=[], dest="sets", metavar="key=value")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args(argv)
    results = []
    for millions in arguments.millions.split(","):
        if arguments.folder is not None:
            arguments.folder.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="remind-storage-", dir=arguments.folder))
        try:
            results.append(run_size(folder, round(float(millions) * 1e6), arguments))
        finally:
            shutil.rmtree(folder)
    print(json.dumps({"sizes": results}) if arguments.json else text(results))
    return 0


if __name__ == "__main__":
    raise SystemExit(exit_status(main))
