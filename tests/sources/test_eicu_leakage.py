"""eICU-CRD: what is known later, and labels, reach no feature."""

from pathlib import Path

import pandas as pd
import pytest

from tests.sources.eicu_release import Release
from tests.sources.eicu_shared import (
    LABEL,
    OFFSETS,
    WINDOW,
    copy_of,
    features,
    main_table,
    prepared,
    release_of,
)

CODED = (
    *("medication", "admissionDrug", "treatment", "diagnosis", "admissionDx", "pastHistory"),
    *("note", "microLab"),
)

LATER = {  # table → columns that hold what is known later only, or never
    "patient": (
        *("apacheadmissiondx", "dischargeweight", "hospitaldischargelocation"),
        *("unitdischargelocation", "unitdischargestatus", "hospitaldischargeyear"),
    ),
    "medication": ("drugordercancelled", "drugstopoffset"),
    "treatment": ("activeupondischarge",),
    "diagnosis": ("activeupondischarge",),
    "microLab": ("organism", "antibiotic", "sensitivitylevel"),
    "apachePatientResult": ("predictedhospitalmortality", "actualhospitalmortality"),
}


@pytest.fixture
def release(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Release:
    return copy_of(release_of(tmp_path_factory), tmp_path / "root")


def changed(column: pd.Series, name: str) -> pd.Series:
    """Other numbers; in tables of codes and notes other texts too."""
    number = pd.to_numeric(column, errors="coerce")
    words = column.astype(str) + (" changed" if name in CODED else "")
    return words.where(number.isna(), (number * 1.01).astype(str))


def with_twins(release: Release, minute: int) -> dict[str, pd.DataFrame]:
    """Rows known by the window, and a changed twin of each that is known at a minute."""
    tables: dict[str, pd.DataFrame] = {}
    for name, offsets in OFFSETS.items():
        table = release.tables[name]
        in_time = table[table[list(offsets)].max(axis=1) <= WINDOW * 60]
        values = in_time.columns.difference(["patientunitstayid", *offsets])
        twins = in_time.assign(**{value: changed(in_time[value], name) for value in values})
        twins[offsets[-1]] = minute
        tables[name] = pd.concat([in_time, twins])
        assert len(in_time) > 0, name
    return tables


def test_nothing_known_later_reaches_a_feature(release: Release, tmp_path: Path) -> None:
    """Rows after the window, columns of what came later, other models and labels may change."""
    prepared(release, tmp_path / "before")
    twins = {minute: with_twins(release, minute) for minute in (WINDOW * 60, WINDOW * 60 + 1)}
    for name, columns in LATER.items():
        table = release.tables[name]
        release.tables[name] = table.assign(**dict.fromkeys(columns, "7"))
        release.write(name)
        for tables in twins.values():
            if name in tables:
                tables[name] = tables[name].assign(**dict.fromkeys(columns, "7"))
    patient, swap = release.tables["patient"], {"Expired": "Alive", "Alive": "Expired", "": ""}
    patient["hospitaldischargestatus"] = patient["hospitaldischargestatus"].map(swap)
    release.write("patient")
    found = {"before": features(tmp_path / "before")}
    for minute, tables in twins.items():
        release.tables |= tables
        for name in tables:
            release.write(name)
        prepared(release, tmp_path / str(minute))
        found[str(minute)] = features(tmp_path / str(minute))
    before, in_time, late = found.values()
    assert late == before
    labels = [main_table(tmp_path / name)[LABEL] for name in ("before", str(WINDOW * 60 + 1))]
    assert (labels[0] + labels[1] == 1).all()
    same = {name for name in before if before[name] == in_time[name]}
    assert same == {"cohort.toml", "patients"}  # a minute earlier, every other table changes
