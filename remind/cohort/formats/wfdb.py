"""WFDB records (PhysioNet: a header and signal files) by wfdb."""

# L leads, S samples

import re
from pathlib import Path
from typing import Any

import numpy as np

from remind.cohort.extras import require
from remind.cohort.formats.base import FormatError, Waves, decoding

SUFFIXES = (".hea", ".dat", ".mat")
MILLIVOLTS = {"uv": 1e-3, "v": 1e3}  # unit -> factor; other units stay as they are
MICROVOLTS = re.compile(rb"/[\x80-\xff]+[vV](?!\S)")  # in a header's line: a µ in any encoding
MARGIN_SECONDS = 1.0


def record_files(path: Path) -> list[Path]:
    """The header and the signal files of a record, of its segments too if it has some.

    Args:
        path: of the record, with or without .hea, .dat or .mat.

    Raises:
        FormatError: one of them does not exist, or the header is damaged.
    """
    header = _header_file(path)
    if not header.is_file():
        raise FormatError(f"is no WFDB record: {header.name} does not exist beside it")
    found = _header(header)
    names = dict.fromkeys(name for name in getattr(found, "file_name", None) or [] if name != "~")
    files = [header, *(header.parent / name for name in names)]
    for file in files:
        if not file.is_file():
            raise FormatError(f"is a WFDB record whose signal file {file.name} does not exist")
    for segment in getattr(found, "seg_name", None) or []:
        if segment != "~":
            files += record_files(header.parent / segment)
    return files


def read_wfdb(path: Path, seconds: float) -> Waves:
    """The middle of a record, in millivolts where the header says how, each lead at its own rate.

    Args:
        path: of the record, with or without .hea, .dat or .mat.
        seconds: to read, and a margin on both sides.

    Raises:
        FormatError: it is damaged, or has no samples.
    """
    wfdb = require("wfdb", "signal", "a WFDB record")
    header = _header(_header_file(path))
    rate_hz, num_samples = float(header.fs or 0), int(header.sig_len or 0)
    if num_samples == 0 or rate_hz <= 0 or not header.n_sig:
        raise FormatError("has no samples")
    wanted = int(np.ceil((seconds + 2 * MARGIN_SECONDS) * rate_hz))
    start = max(0, (num_samples - wanted) // 2)
    stop = min(num_samples, start + wanted)
    with decoding():
        record = wfdb.rdrecord(
            str(_header_file(path).with_suffix("")),
            sampfrom=start,
            sampto=stop,
            smooth_frames=False,  # True averages the samples of a frame
        )
        units = [str(unit).lower() for unit in record.units]
        micro = _in_microvolts(_header_file(path)) if "v" in units else set()
        values, rates_hz = [], []
        for name, unit, values_S in zip(record.sig_name, units, record.e_p_signal, strict=True):
            factor = MILLIVOLTS["uv"] if name in micro else MILLIVOLTS.get(unit, 1.0)
            values.append(np.asarray(values_S, dtype=np.float64) * factor)
            rates_hz.append(rate_hz * len(values_S) / (stop - start))
    facts = {
        "type": "wfdb",
        "rate_hz": max(rates_hz),
        "seconds": num_samples / rate_hz,
        "leads": len(values),
    }
    return Waves(
        values=tuple(values),
        rates_hz=tuple(rates_hz),
        leads=tuple(str(name) for name in record.sig_name),
        facts=facts,
    )


def _in_microvolts(header: Path) -> set[str]:
    """Names of leads in µV, of which wfdb makes V: it leaves out what is beyond ASCII."""
    found = _header(header)
    if hasattr(found, "seg_name"):
        segments = [segment for segment in dict.fromkeys(found.seg_name) if segment != "~"]
        return {
            name
            for segment in segments
            for name in _in_microvolts(header.with_name(f"{segment}.hea"))
        }
    lines = [line.strip() for line in header.read_bytes().splitlines()]
    signals = [line for line in lines if line and not line.startswith(b"#")][1:]
    return {
        name
        for name, line in zip(found.sig_name or [], signals, strict=False)
        if MICROVOLTS.search(line)
    }


def _header_file(path: Path) -> Path:
    stem = path.with_suffix("") if path.suffix.lower() in SUFFIXES else path
    return stem.with_name(f"{stem.name}.hea")


def _header(file: Path) -> Any:
    wfdb = require("wfdb", "signal", "a WFDB record")
    with decoding():
        return wfdb.rdheader(str(file.with_suffix("")))
