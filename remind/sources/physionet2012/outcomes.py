"""Outcomes-a.txt and the like: death in hospital alone, never the scores beside it."""

import csv
from pathlib import Path

from remind.errors import InputError, did_you_mean
from remind.sources.manifest import Manifest, sha256_of
from remind.sources.physionet2012.records import RecordSet

RECORD, DIED = "RecordID", "In-hospital_death"
PUBLISHED = {"a": (4000, 554), "b": (4000, 568)}  # records, deaths


def read_outcomes(root: Path, sets: list[RecordSet], manifest: Manifest) -> dict[int, int]:
    """Record → 1 if the person died in hospital, else 0, where that is known.

    Raises:
        InputError: there are no outcomes, or a file lacks a column or holds what is no record.
    """
    outcomes: dict[int, int] = {}
    counts: dict[str, dict[str, int]] = manifest.counts.setdefault("sets", {})
    for one in sets:
        file = root / f"Outcomes-{one.name}.txt"
        if not file.is_file():
            manifest.absent[file.name] = f"the outcomes of set {one.name} are not known"
            continue
        own = set(one.records)
        died = {record: label for record, label in _read(file).items() if record in own}
        outcomes |= died
        counts[one.name] = {"records": len(own), "deaths": sum(died.values())}
        if one.name in PUBLISHED:
            records, deaths = PUBLISHED[one.name]
            counts[one.name] |= {"records published": records, "deaths published": deaths}
        manifest.tables[file.name] = {
            "path": file.name,
            "bytes": file.stat().st_size,
            "sha256": sha256_of(file),
        }
    if not counts:
        raise InputError(
            f"{root} has no Outcomes-{sets[0].name}.txt: download the outcomes beside the sets"
        )
    return outcomes


def _read(file: Path) -> dict[int, int]:
    died: dict[int, int] = {}
    with file.open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.DictReader(lines, skipinitialspace=True)
        have = [name.strip() for name in rows.fieldnames or ()]
        rows.fieldnames = have
        for column in (RECORD, DIED):
            if column not in have:
                raise InputError(f'{file} has no column "{column}"{did_you_mean(column, have)}')
        for line, row in enumerate(rows, start=2):
            record, label = (row[RECORD] or "").strip(), (row[DIED] or "").strip()
            if not record.isdigit():
                raise InputError(
                    f'{file}: line {line} has the {RECORD} "{record}", expected a number: '
                    "download it again"
                )
            if label in ("0", "1"):
                died[int(record)] = int(label)
    return died
