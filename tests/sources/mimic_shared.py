"""Releases and cohorts of MIMIC-IV that several tests read and none changes: made once."""

import shutil
from functools import cache
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from remind.sources.manifest import Manifest
from remind.sources.prepare import prepare
from tests.sources.mimic_release import Release, write_release

WINDOW_HOURS = 48


@cache
def _release(base: Path, num_patients: int, version: str, format: str) -> Release:
    folder = base / f"mimic-{num_patients}-{version}-{format}"
    return write_release(folder, num_patients=num_patients, version=version, format=format)


def release_of(
    factory: pytest.TempPathFactory,
    num_patients: int = 40,
    version: str = "3.1",
    format: str = "csv.gz",
) -> Release:
    """A release of this test session; the same every time."""
    return _release(factory.getbasetemp(), num_patients, version, format)


def copy_of(release: Release, folder: Path) -> Release:
    """A copy that a test may change: all tables, without images and waveforms."""
    kept = shutil.ignore_patterns("files")
    places = {}
    for name, path in release.options.items():
        places[name] = folder / name
        shutil.copytree(path, places[name], ignore=kept)
    return Release(**places, tables=dict(release.tables))


def prepared(release: Release, out: Path, *, modules: bool = True, **options: object) -> Manifest:
    """Prepare with one thread, from all modules or from the root alone."""
    where = release.options if modules else {"root": release.root}
    return prepare("mimic-iv", out, **{"threads": 1, **where, **options})


@cache
def _plain(base: Path) -> tuple[Path, Manifest]:
    out = base / "mimic-plain-cohort"
    return out, prepared(_release(base, 20, "3.1", "csv.gz"), out, modules=False)


def plain_cohort(factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """The cohort of the root of a release of 20 patients, with all options at their defaults."""
    return _plain(factory.getbasetemp())


def main_table(cohort: Path) -> pd.DataFrame:
    """A row per stay, by stay_id."""
    return pd.read_parquet(cohort / "patients.parquet").set_index("stay_id").sort_index()


def features(cohort: Path, label: str) -> dict[str, object]:
    """All that a model is given: the main table without its label, the bytes of other tables."""
    files = {file.name: file for file in cohort.iterdir() if file.name != "manifest.json"}
    wide = pq.read_table(files.pop("patients.parquet")).drop_columns([label])
    return {"patients": wide, **{name: file.read_bytes() for name, file in files.items()}}


def candidates(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """All stays with their admission and patient, and `is_first` of the admission, by stay_id."""
    stays = tables["icu/icustays"].merge(
        tables["hosp/admissions"].drop(columns="subject_id"), on="hadm_id"
    )
    stays = stays.merge(tables["hosp/patients"], on="subject_id").sort_values("intime")
    stays["is_first"] = ~stays["hadm_id"].duplicated()
    stays["dod"] = pd.to_datetime(stays["dod"])
    return stays.set_index("stay_id").sort_index()
