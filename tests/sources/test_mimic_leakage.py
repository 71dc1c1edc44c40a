"""Nothing that becomes known after the prediction reaches a feature of MIMIC-IV."""

from pathlib import Path

import pandas as pd
import pytest

from remind.sources.mimic_iv.studies import REPORT_HOURS
from tests.sources.mimic_changes import Change, changes, later
from tests.sources.mimic_release import Release, write_table
from tests.sources.mimic_shared import (
    WINDOW_HOURS,
    candidates,
    copy_of,
    features,
    main_table,
    prepared,
    release_of,
)

AT_DISCHARGE = {
    *("hosp/patients", "hosp/diagnoses_icd", "hosp/procedures_icd", "hosp/drgcodes"),
    *("hosp/hcpcsevents", "hosp/labevents", "hosp/microbiologyevents"),
    *("note/discharge", "note/radiology"),
}
"""What of `changes` can still happen to a person who has left the hospital."""
LABELS = {"in-hospital-mortality": "died_in_hospital", "mortality-30d": "died_within_30_days"}


@pytest.fixture
def release(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Release:
    return copy_of(release_of(tmp_path_factory, 60), tmp_path / "release")


def change_all(release: Release, possible: dict[str, list[Change]], last: pd.Series) -> None:
    """Write changed tables over those of the release; every change must find rows."""
    for table, all_of_it in possible.items():
        frame = release.tables[table]
        for change in all_of_it:
            frame, num = change(frame, last)
            assert num > 0, f"nothing of {table} was changed"
        release.write(table, frame)


def change_studies(release: Release, last: pd.Series) -> None:
    """Change ECG measurements after the last prediction, and X-ray labels reported after it."""
    machine = pd.read_csv(release.ecg / "machine_measurements.csv", parse_dates=["ecg_time"])
    change = later("ecg_time", values=("rr_interval", "qrs_end", "t_axis"))
    machine, num = change(machine, last)
    write_table(release.ecg / "machine_measurements.csv", machine)
    metadata = pd.read_csv(release.cxr / "mimic-cxr-2.0.0-metadata.csv.gz")
    taken = metadata["StudyDate"].astype(str) + metadata["StudyTime"].map("{:010.3f}".format)
    taken = pd.to_datetime(taken, format="%Y%m%d%H%M%S.%f")
    is_later = taken + pd.Timedelta(hours=REPORT_HOURS) > metadata["subject_id"].map(last)
    file = release.cxr / "mimic-cxr-2.0.0-chexpert.csv.gz"
    labels = pd.read_csv(file)
    of_later = labels["study_id"].isin(metadata.loc[is_later, "study_id"])
    labels.loc[of_later, "Edema"] = 1 - labels.loc[of_later, "Edema"].fillna(0.0)
    write_table(file, labels)
    assert num > 0
    assert is_later.any()


def predictions(release: Release, cohort: Path, *, at_discharge: bool) -> pd.Series:
    """When each person of the cohort is predicted for the last time."""
    stays = candidates(release.tables).loc[main_table(cohort).index]
    at = stays["intime"] + pd.Timedelta(hours=WINDOW_HOURS)
    return (stays["dischtime"] if at_discharge else at).groupby(stays["subject_id"]).max()


@pytest.mark.parametrize("task", LABELS)
def test_what_happens_after_the_prediction_changes_labels_only(
    task: str, release: Release, tmp_path: Path
) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    prepared(release, before, task=task)
    at_discharge = task == "mortality-30d"
    last = predictions(release, before, at_discharge=at_discharge)
    possible = changes(release.tables["hosp/admissions"])
    if at_discharge:
        possible = {table: possible[table] for table in AT_DISCHARGE}
    else:
        change_studies(release, last)
    change_all(release, possible, last)
    prepared(release, after, task=task)
    old, new = (features(cohort, LABELS[task]) for cohort in (before, after))
    assert [name for name in old if old[name] != new[name]] == []
    assert old == new
    labels = [main_table(cohort)[LABELS[task]] for cohort in (before, after)]
    assert (labels[0] != labels[1]).mean() > 0.2


def test_results_count_from_when_they_are_stored(release: Release, tmp_path: Path) -> None:
    """Drawn before the prediction, stored a minute before it: known; a minute after it: unknown."""
    stays = candidates(release.tables)
    long = stays["outtime"] - stays["intime"] > pd.Timedelta(hours=WINDOW_HOURS + 12)
    stay = stays[long & stays["is_first"]].iloc[0]
    at = stay["intime"] + pd.Timedelta(hours=WINDOW_HOURS)
    labs = release.tables["hosp/labevents"]
    row = labs[labs["itemid"] == 50813].iloc[[0]]
    row = row.assign(subject_id=stay["subject_id"], hadm_id=stay["hadm_id"])
    planted = [
        row.assign(
            labevent_id=number,
            value=str(value),
            valuenum=value,
            charttime=at - pd.Timedelta(hours=2),
            storetime=at + pd.Timedelta(minutes=minutes),
        )
        for number, (value, minutes) in enumerate(((31.5, -1), (30.5, 1)))
    ]
    release.write("hosp/labevents", pd.concat([labs, *planted]))
    prepared(release, tmp_path / "out", modules=False)
    lactate = pd.read_parquet(tmp_path / "out" / "lactate.parquet")
    found = lactate[lactate["value"] > 30]
    assert found[["stay_id", "time", "value"]].to_numpy().tolist() == [
        [stay.name, pytest.approx(WINDOW_HOURS - 2), 31.5]
    ]


def test_what_happens_before_the_prediction_does_change_features(
    release: Release, tmp_path: Path
) -> None:
    """The counterpart, without which a test of leakage could never fail."""
    label = LABELS["in-hospital-mortality"]
    prepared(release, tmp_path / "before")
    last = predictions(release, tmp_path / "before", at_discharge=False)
    early = last - pd.Timedelta(hours=24)
    possible = changes(release.tables["hosp/admissions"])
    changed = {
        "hosp/labevents": {"chemistry", "lactate", "blood_count"},
        "icu/chartevents": {"vitals", "neurological"},
        "icu/outputevents": {"outputs"},
        "icu/inputevents": {"vasopressors"},
        "hosp/prescriptions": {"prescriptions"},
        "hosp/microbiologyevents": {"microbiology"},
        "note/radiology": {"radiology"},
    }
    change_all(release, {table: possible[table] for table in changed}, early)
    prepared(release, tmp_path / "after")
    old, new = (features(tmp_path / name, label) for name in ("before", "after"))
    differ = {name.removesuffix(".parquet") for name in old if old[name] != new[name]}
    assert set().union(*changed.values()) <= differ
    assert "patients" not in differ


def test_labels_of_x_rays_count_a_day_after_these(release: Release, tmp_path: Path) -> None:
    """Of 23 hours before the prediction they are unknown, and those of 25 hours before known."""
    stays = candidates(release.tables)
    long = stays["outtime"] - stays["intime"] > pd.Timedelta(hours=WINDOW_HOURS + 12)
    stay = stays[long & stays["is_first"]].iloc[0]
    files = [release.cxr / f"mimic-cxr-2.0.0-{name}.csv.gz" for name in ("metadata", "chexpert")]
    metadata, labels = map(pd.read_csv, files)
    is_other = metadata["subject_id"] != stay["subject_id"]
    planted, found = [], []
    for study, hours in enumerate((25, 23)):
        taken = stay["intime"] + pd.Timedelta(hours=WINDOW_HOURS - hours)
        own = {"subject_id": stay["subject_id"], "study_id": study}
        date, time = int(taken.strftime("%Y%m%d")), float(taken.strftime("%H%M%S"))
        planted.append(metadata.iloc[[0]].assign(**own, StudyDate=date, StudyTime=time))
        found.append(labels.iloc[[0]].assign(**own, Edema=float(study)))
    write_table(files[0], pd.concat([metadata[is_other], *planted]))
    write_table(files[1], pd.concat([labels, *found]))
    manifest = prepared(release, tmp_path / "out")
    assert main_table(tmp_path / "out").loc[stay.name, "cxr_edema"] == "absent"
    assert any("24 hours before the prediction or earlier" in note for note in manifest.notes)
