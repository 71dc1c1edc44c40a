"""A release of eICU-CRD that several tests copy, and what they read of a cohort made of it."""

import shutil
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from remind.sources.manifest import Manifest
from remind.sources.prepare import prepare
from tests.sources.eicu_release import Release, write_release

WINDOW = 24
LABEL = "died_in_hospital"
OFFSETS = {  # table → its offsets; the last one says when a row became known
    "vitalPeriodic": ("observationoffset",),
    "vitalAperiodic": ("observationoffset",),
    "lab": ("labresultoffset", "labresultrevisedoffset"),
    "nurseCharting": ("nursingchartoffset", "nursingchartentryoffset"),
    "respiratoryCharting": ("respchartoffset", "respchartentryoffset"),
    "infusionDrug": ("infusionoffset",),
    "intakeOutput": ("intakeoutputoffset", "intakeoutputentryoffset"),
    "medication": ("drugorderoffset",),
    "admissionDrug": ("drugenteredoffset",),
    "treatment": ("treatmentoffset",),
    "diagnosis": ("diagnosisoffset",),
    "admissionDx": ("admitdxenteredoffset",),
    "pastHistory": ("pasthistoryoffset", "pasthistoryenteredoffset"),
    "note": ("noteoffset", "noteenteredoffset"),
    "microLab": ("culturetakenoffset",),
}


@cache
def _release(base: Path) -> Release:
    return write_release(base / "eicu" / "root", num_persons=30)


def release_of(factory: pytest.TempPathFactory) -> Release:
    """The release of this test session, of 30 persons; it must not be changed."""
    return _release(factory.getbasetemp())


def copy_of(release: Release, root: Path) -> Release:
    """A copy that a test may change."""
    shutil.copytree(release.root, root)
    tables = {name: table.copy() for name, table in release.tables.items()}
    return Release(root=root, tables=tables)


def prepared(release: Release, out: Path, **options: object) -> Manifest:
    return prepare("eicu", out, root=release.root, threads=1, **options)


def main_table(cohort: Path) -> pd.DataFrame:
    return pd.read_parquet(cohort / "patients.parquet").set_index("patientunitstayid")


def features(cohort: Path) -> dict[str, object]:
    """All that a model is given: the main table without its label, the bytes of other tables."""
    files = {path.name: path.read_bytes() for path in cohort.iterdir()}
    del files["manifest.json"], files["patients.parquet"]
    return {**files, "patients": main_table(cohort).drop(columns=LABEL).to_csv()}
