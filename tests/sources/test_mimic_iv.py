"""MIMIC-IV from generated files with the real columns: who is in it, labels, modalities, splits."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from remind.cohort import read_cohort
from remind.sources.manifest import Manifest, flow_lines
from remind.sources.mimic_iv.tasks import LONG_STAY_DAYS
from tests.commands import remind
from tests.sources.mimic_columns import DIAGNOSES
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

DAYS = {"mortality-30d": 30, "mortality-90d": 90, "mortality-1y": 365}
SERIES = {
    *("blood_count", "chemistry", "liver", "coagulation", "blood_gas", "lactate", "cardiac"),
    *("inflammation", "urine", "vitals", "ventilator", "neurological", "vasopressors", "inputs"),
    *("outputs",),
}
CODES = {"microbiology", "prescriptions", "procedures", "earlier_diagnoses"}
OF_MODULES = {
    *("triage", "chief_complaint", "radiology", "chest_xray", "ecg_waveform", "ecg_measurements"),
}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    out = tmp_path_factory.mktemp("day") / "out"
    return out, prepared(release_of(tmp_path_factory), out, modules=False, window=24, seed=3)


def test_from_raw_files_to_a_fit_on_the_command_line(
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("REMIND_CACHE", str(tmp_path / "cache"))
    release, cohort = release_of(tmp_path_factory, 20), tmp_path / "cohort"
    options = [part for name, path in release.options.items() for part in (f"--{name}", path)]
    assert remind(monkeypatch, "prepare", "mimic-iv", *options, "--out", cohort) == 0
    captured = capsys.readouterr()
    told, progress = captured.out, captured.err.splitlines()
    assert "that last at least 48 hours" in told
    assert f"next: remind describe {cohort}" in told
    charts = release.file("icu/chartevents")
    size = f"({charts.stat().st_size:,} bytes)"
    assert progress.index(f"reading {charts} {size}") < progress.index(
        f"taking the checksum of {charts}"
    )
    assert not any("reading" in line for line in told.splitlines())

    assert remind(monkeypatch, "describe", cohort, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    names = {modality["name"] for modality in facts["modalities"]}
    assert names == {"demographics", "outpatient", *SERIES, *CODES, *OF_MODULES}

    run = tmp_path / "run"
    small = ["epochs=1", "width=8", "hidden=8", "members=1", "experts=2", "batch_size=32"]
    sets = [part for text in small for part in ("--set", text)]
    assert remind(monkeypatch, "fit", cohort, "--out", run, *sets) == 0
    assert remind(monkeypatch, "evaluate", run, "--json") == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["n"] == facts["splits"]["test"]["n"]


def recount(tables: dict[str, pd.DataFrame], task: str) -> tuple[list[int], pd.Series]:
    """The flow and the labels, by pandas: who is left after every step."""
    stays = candidates(tables)
    at = stays["intime"] + pd.Timedelta(hours=WINDOW_HOURS)
    age = stays["anchor_age"] + stays["admittime"].dt.year - stays["anchor_year"]
    end = stays[["dischtime", "deathtime"]].min(axis=1)
    alive = (stays["hospital_expire_flag"] == 0) & stays["deathtime"].isna()
    alive &= ~(stays["dod"] < stays["dischtime"].dt.normalize())
    window = [stays["outtime"] - stays["intime"] >= pd.Timedelta(hours=WINDOW_HOURS), end >= at]
    discharge = [stays["outtime"].notna(), alive]
    is_at_discharge = task in DAYS or task == "readmission-30d"
    steps = [pd.Series(True, index=stays.index)] * 2
    steps += [age >= 18, stays["is_first"], *(discharge if is_at_discharge else window)]
    left = np.logical_and.accumulate([step.fillna(False).to_numpy(bool) for step in steps])
    label = labels(stays, tables, task)
    left = [*left, left[-1] & label.notna().to_numpy()]
    return [int(one.sum()) for one in left], label[left[-1]].astype(int)


def labels(stays: pd.DataFrame, tables: dict[str, pd.DataFrame], task: str) -> pd.Series:
    """The label of every stay, by pandas."""
    if task in DAYS:
        until = stays["dischtime"].dt.normalize() + pd.Timedelta(days=DAYS[task])
        return stays["dod"] <= until
    if task.startswith("length-of-stay"):
        days = float(task.partition(":")[2] or LONG_STAY_DAYS)
        return stays["outtime"] - stays["intime"] > pd.Timedelta(days=days)
    if task == "phenotyping:sepsis":
        codes = tables["hosp/diagnoses_icd"]
        septic = codes["icd_code"].isin(["A419", "0389", "R6521", "78552"])
        return stays["hadm_id"].map(septic.groupby(codes["hadm_id"]).any())
    if task == "readmission-30d":
        pairs = stays.reset_index()[["stay_id", "subject_id", "dischtime"]].merge(
            tables["hosp/admissions"][["subject_id", "admittime"]], on="subject_id"
        )
        after = pairs["admittime"] - pairs["dischtime"]
        soon = (after >= pd.Timedelta(0)) & (after <= pd.Timedelta(days=30))
        return soon.groupby(pairs["stay_id"]).any()
    return stays["hospital_expire_flag"]


@pytest.mark.parametrize(
    "task",
    [
        *("in-hospital-mortality", *DAYS, "readmission-30d", "length-of-stay"),
        *("length-of-stay:4", "phenotyping:sepsis"),
    ],
)
def test_flow_and_labels_are_those_of_a_plain_recount(
    task: str, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    release = release_of(tmp_path_factory)
    manifest = prepared(bare(release, tmp_path), tmp_path / "out", modules=False, task=task)
    flow, label = recount(release.tables, task)
    assert [step.num_left for step in manifest.flow] == flow
    found = main_table(tmp_path / "out")
    assert set(label) == {0, 1}
    assert found.iloc[:, 2].to_dict() == label.to_dict()
    assert read_cohort(tmp_path / "out").spec.cohort.label == found.columns[2]


def bare(release: Release, folder: Path) -> Release:
    """The release with the tables only that labels rest on; they are linked, not copied."""
    root = folder / "root"
    for name in ("hosp/patients", "hosp/admissions", "hosp/diagnoses_icd", "icu/icustays"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{name}.csv.gz").symlink_to(release.file(name))
    return Release(root=root, ed=root, note=root, cxr=root, ecg=root, tables=release.tables)


def test_the_principal_diagnosis_is_one_group_in_both_versions_of_icd(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    release = release_of(tmp_path_factory)
    prepared(bare(release, tmp_path), tmp_path / "out", modules=False, task="phenotyping")
    found = main_table(tmp_path / "out")
    codes = release.tables["hosp/diagnoses_icd"]
    first = codes[codes["seq_num"] == 1].set_index("hadm_id")["icd_code"]
    twin = {code: place // 2 for place, (code, _) in enumerate(DIAGNOSES)}  # I10 and 4019 …
    pairs = pd.DataFrame(
        {"twin": found["hadm_id"].map(first).map(twin), "label": found["principal_diagnosis"]}
    )
    assert pairs.groupby("twin")["label"].nunique().eq(1).all()
    assert pairs["label"].nunique() > 3
    assert set(pairs.loc[pairs["twin"] == twin["J189"], "label"]) == {"respiratory"}


def test_versions_and_formats_give_the_same_cohort(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    kinds = {"3.1": "csv.gz", "2.2": "csv.gz", "3.1 again": "parquet"}
    told, found = {}, {}
    for name, format in kinds.items():
        version = name.split()[0]
        release = release_of(tmp_path_factory, 20, version, format)
        out = tmp_path / name
        told[name] = prepared(release, out, modules=False, ed=release.ed, note=release.note)
        found[name] = features(out, "died_in_hospital")
        assert told[name].version == version
        assert told[name].counts == told["3.1"].counts
        assert found[name] == found["3.1"]


@pytest.mark.parametrize("write_in", [str.lower, str.upper])
def test_names_of_columns_may_be_in_any_case(
    write_in: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """As in copies out of databases; those of images and ECGs are in both cases in the release."""
    release = copy_of(release_of(tmp_path_factory, 20), tmp_path / "release")
    prepared(release, tmp_path / "as released")
    for file in tmp_path.glob("release/**/*.csv*"):
        frame = pd.read_csv(file, dtype=str, keep_default_na=False)
        write_table(file, frame.rename(columns=write_in))
    prepared(release, tmp_path / "out")
    label = "died_in_hospital"
    assert features(tmp_path / "out", label) == features(tmp_path / "as released", label)


def test_persons_never_cross_splits_and_the_sicker_have_worse_values(
    cohort: tuple[Path, Manifest],
) -> None:
    folder, _ = cohort
    split = read_cohort(folder)
    found = main_table(folder)
    persons = found.loc[split.ids, "subject_id"]
    assert persons.duplicated().any()
    assert pd.Series(split.split, index=persons.to_numpy()).groupby(level=0).nunique().max() == 1
    assert set(split.split) == {"train", "val", "test"}
    vitals = pd.read_parquet(folder / "vitals.parquet")
    rate = vitals[vitals["variable"] == "heart_rate"].groupby("stay_id")["value"].mean()
    seen = found.index.intersection(rate.index)
    assert roc_auc_score(found.loc[seen, "died_in_hospital"], rate[seen]) > 0.65


def test_what_is_absent_is_no_modality_and_said(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    release = bare(release_of(tmp_path_factory, 20), tmp_path)
    manifest = prepared(release, tmp_path / "out", modules=False)
    told = "\n".join(flow_lines(manifest))
    for sentence in (
        "MIMIC-IV labevents is absent: laboratory panels are never observed",
        "MIMIC-IV-ED edstays is absent: triage and chief complaint are never observed",
        "MIMIC-IV-Note radiology is absent: ",
        "MIMIC-IV-ECG record_list is absent: ECG waveforms are never observed",
    ):
        assert sentence in told
    names = set(read_cohort(tmp_path / "out").spec.modality_names)
    assert names <= {"demographics", "earlier_diagnoses"}


def test_the_manifest_holds_what_is_needed_to_make_it_again(
    cohort: tuple[Path, Manifest],
) -> None:
    folder, manifest = cohort
    kept = json.loads((folder / "manifest.json").read_text())
    assert kept["version"] == "3.1"
    assert {name: kept["options"][name] for name in ("window", "threads", "seed", "task")} == {
        "window": 24,
        "threads": 1,
        "seed": 3,
        "task": "in-hospital-mortality",
    }
    assert {"hosp/labevents", "icu/chartevents", "hosp/patients"} <= set(kept["tables"])
    assert all(len(table["sha256"]) == 64 for table in kept["tables"].values())
    assert kept["flow"][-1]["num_left"] == len(main_table(folder))
    vitals = pd.read_parquet(folder / "vitals.parquet")
    assert 23 < vitals["time"].max() <= 24
    assert manifest.unit == "ICU stays"
