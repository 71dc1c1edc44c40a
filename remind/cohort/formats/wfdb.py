"""WFDB records (PhysioNet: a header and signal files) by wfdb."""

# L leads, S samples

from pathlib import Path
from typing import Any

import numpy as np

from remind.cohort.extras import require
from remind.cohort.formats.base import FormatError, Waves, decoding

SUFFIXES = (".hea", ".dat")
MILLIVOLTS = {"uv": 1e-3, "µv": 1e-3, "v": 1e3}  # unit -> factor; other units stay as they are
MARGIN_SECONDS = 1.0


def record_files(path: Path) -> list[Path]:
    """The header and the signal files of a record, of its segments too if it has some.

    Args:
        path: of the record, with or without .hea or .dat.

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
    """The middle of a record, in millivolts where the header says how.

    Args:
        path: of the record, with or without .hea or .dat.
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
    with decoding():
        record = wfdb.rdrecord(
            str(_header_file(path).with_suffix("")),
            sampfrom=start,
            sampto=min(num_samples, start + wanted),
        )
        values_SL = np.asarray(record.p_signal, dtype=np.float64)
        factors = [MILLIVOLTS.get(str(unit).lower(), 1.0) for unit in record.units]
    leads = tuple(str(name) for name in record.sig_name)
    facts = {
        "type": "wfdb",
        "rate_hz": rate_hz,
        "seconds": num_samples / rate_hz,
        "leads": len(leads),
    }
    return Waves(values_LS=(values_SL * factors).T, rate_hz=rate_hz, leads=leads, facts=facts)


def _header_file(path: Path) -> Path:
    stem = path.with_suffix("") if path.suffix.lower() in SUFFIXES else path
    return stem.with_name(f"{stem.name}.hea")


def _header(file: Path) -> Any:
    wfdb = require("wfdb", "signal", "a WFDB record")
    with decoding():
        return wfdb.rdheader(str(file.with_suffix("")))
