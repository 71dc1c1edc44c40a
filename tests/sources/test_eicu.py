"""eICU-CRD from generated files with the real columns: who is in it, labels, files and splits."""

import json
from pathlib import Path

import pandas as pd
import pytest

from remind.cohort import read_cohort
from remind.sources.manifest import flow_lines
from tests.commands import remind
from tests.sources.eicu_release import Release, write_release
from tests.sources.eicu_shared import (
    LABEL,
    WINDOW,
    copy_of,
    features,
    main_table,
    prepared,
    release_of,
)

SERIES = {
    *("vitals_periodic", "arterial_pressure", "pulmonary_pressure", "capnography", "st_segments"),
    *("vitals_aperiodic", "haemodynamics", "blood_count", "differential", "chemistry"),
    *("bedside_glucose", "liver", "coagulation", "blood_gas", "lactate", "cardiac"),
    *("inflammation", "metabolic", "urine", "drug_levels", "gas_settings", "nurse_vitals"),
    *("neurological", "pain", "oxygen", "ventilator", "vasopressors", "sedatives"),
    *("urine_output", "intake"),
}
CODES = {
    *("medications", "home_medications", "treatments", "diagnoses", "admission_diagnosis"),
    *("past_history", "microbiology"),
}
OTHERS = {"demographics", "admission", "hospital", "notes"}


@pytest.fixture
def release(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Release:
    return copy_of(release_of(tmp_path_factory), tmp_path / "root")


def test_from_raw_files_to_a_fit_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REMIND_CACHE", str(tmp_path / "cache"))
    release, cohort = write_release(tmp_path / "root", num_persons=50), tmp_path / "cohort"
    options = ("--root", release.root, "--out", cohort, "--threads", 1)
    assert remind(monkeypatch, "prepare", "eicu", *options) == 0
    told = capsys.readouterr().out
    assert "that last at least 24 hours" in told
    assert "apachePatientResult (outcomes, predictions of another model" in told

    assert remind(monkeypatch, "describe", cohort, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert {modality["name"] for modality in facts["modalities"]} == SERIES | CODES | OTHERS

    run = tmp_path / "run"
    small = ["epochs=1", "width=8", "hidden=8", "members=1", "experts=2", "batch_size=32"]
    sets = [part for text in small for part in ("--set", text)]
    assert remind(monkeypatch, "fit", cohort, "--out", run, *sets) == 0


def recount(patient: pd.DataFrame, task: str) -> tuple[list[int], pd.Series]:
    """The flow and the labels, by pandas: who is left after every step."""
    stays = patient.set_index("patientunitstayid")
    age = pd.to_numeric(stays["age"].replace("> 89", "90"))
    status = {"Expired": 1, "Alive": 0}
    label = {
        "in-hospital-mortality": stays["hospitaldischargestatus"].map(status),
        "unit-mortality": stays["unitdischargestatus"].map(status),
        "length-of-stay": (stays["unitdischargeoffset"] > 3 * 1440).astype(int),
        "length-of-stay:2": (stays["unitdischargeoffset"] > 2 * 1440).astype(int),
    }[task]
    left, flow = pd.Series(True, index=stays.index), [len(stays), len(stays)]
    for step in (
        age >= 18,
        stays["unitvisitnumber"] == 1,
        stays["unitdischargeoffset"] >= WINDOW * 60,
        stays["hospitaldischargeoffset"] >= WINDOW * 60,
        label.notna(),
    ):
        left &= step
        flow.append(int(left.sum()))
    return flow, label[left].astype(int)


@pytest.mark.parametrize(
    ("task", "column"),
    [
        *(("in-hospital-mortality", LABEL), ("unit-mortality", "died_in_unit")),
        *(("length-of-stay", "long_stay"), ("length-of-stay:2", "long_stay")),
    ],
)
def test_flow_and_labels_are_those_of_a_plain_recount(
    task: str, column: str, tmp_path: Path
) -> None:
    release = write_release(tmp_path / "root", num_persons=60)
    for name in set(release.tables) - {"patient"}:
        release.file(name).unlink()
    manifest = prepared(release, tmp_path / "out", task=task)
    flow, label = recount(release.tables["patient"], task)
    assert [step.num_left for step in manifest.flow] == flow
    assert min(step.num_excluded for step in manifest.flow[2:5]) > 0
    assert set(label) == {0, 1}
    assert main_table(tmp_path / "out")[column].to_dict() == label.to_dict()


def test_files_may_be_in_lower_case(release: Release, tmp_path: Path) -> None:
    for name in set(release.tables) - {"patient", "lab", "vitalPeriodic", "microLab"}:
        release.file(name).unlink()
        del release.tables[name]
    prepared(release, tmp_path / "camel")
    for name in release.tables:
        release.file(name).rename(release.root / f"{name.lower()}.csv.gz")
    prepared(release, tmp_path / "lower")
    assert features(tmp_path / "camel") == features(tmp_path / "lower")


def test_absent_tables_are_no_modality_and_said(release: Release, tmp_path: Path) -> None:
    for name in set(release.tables) - {"patient"}:
        release.file(name).unlink()
    told = "\n".join(flow_lines(prepared(release, tmp_path / "out")))
    for name in set(release.tables) - {"patient", "apachePatientResult"}:
        assert f"eICU-CRD {name} is absent: " in told
    assert "vitalPeriodic is absent: what the monitor shows is never observed" in told
    assert set(read_cohort(tmp_path / "out").spec.modality_names) == {"demographics", "admission"}


def test_persons_never_cross_splits_and_the_manifest_is_whole(tmp_path: Path) -> None:
    release = write_release(tmp_path / "eicu-crd-2.0", num_persons=60)
    for name in set(release.tables) - {"patient", "lab", "vitalPeriodic"}:
        release.file(name).unlink()
    prepared(release, tmp_path / "out", seed=3, window=20)
    cohort = read_cohort(tmp_path / "out")
    persons = main_table(tmp_path / "out").loc[cohort.ids, "uniquepid"]
    assert persons.duplicated().any()
    assert pd.Series(cohort.split, index=persons.to_numpy()).groupby(level=0).nunique().max() == 1
    kept = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (kept["version"], kept["options"]["window"]) == ("2.0", 20)
    assert kept["counts"]["release"]["unit stays"] == len(release.tables["patient"])
    assert kept["counts"]["quantities"]["weight_kg"]["outside the limits"] == 1
    assert all(len(table["sha256"]) == 64 for table in kept["tables"].values())
    assert {"patient", "lab", "vitalPeriodic"} <= set(kept["tables"])
