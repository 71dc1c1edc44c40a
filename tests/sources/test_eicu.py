"""eICU-CRD from generated files with the real columns: who is in it, values, leakage, errors."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from remind.cohort import read_cohort
from remind.errors import InputError
from remind.sources.limits import load_rules
from remind.sources.manifest import Manifest, flow_lines
from remind.sources.prepare import prepare
from tests.commands import remind
from tests.sources.eicu_release import Release, write_release

WINDOW = 24
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
LABEL = "died_in_hospital"
CODED = (
    *("medication", "admissionDrug", "treatment", "diagnosis", "admissionDx", "pastHistory"),
    *("note", "microLab"),
)
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


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return write_release(tmp_path_factory.mktemp("eicu") / "root", num_persons=30)


@pytest.fixture
def release(original: Release, tmp_path: Path) -> Release:
    """A copy that a test may change."""
    root = shutil.copytree(original.root, tmp_path / "root")
    tables = {name: table.copy() for name, table in original.tables.items()}
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


def test_values_are_those_of_a_plain_reading(release: Release, tmp_path: Path) -> None:
    """A row known by the window counts once, in its unit and within its limits."""
    manifest = prepared(release, tmp_path / "out")
    ids = main_table(tmp_path / "out").index
    patient = release.tables["patient"].set_index("patientunitstayid")
    lab = release.tables["lab"].drop(columns="labid").drop_duplicates()
    lab = lab[lab["patientunitstayid"].isin(ids)]
    lab = lab[lab[["labresultoffset", "labresultrevisedoffset"]].max(axis=1) <= WINDOW * 60]
    since = patient["hospitaladmitoffset"].clip(upper=0)
    lab = lab[lab["labresultoffset"] >= lab["patientunitstayid"].map(since)]
    expected = lab[lab["labname"] == "creatinine"].set_index("patientunitstayid")
    found = pd.read_parquet(tmp_path / "out" / "chemistry.parquet")
    found = found[found["variable"] == "creatinine"].set_index("patientunitstayid")
    assert len(found) == len(expected) == manifest.counts["quantities"]["creatinine"]["kept"] > 20
    by_stay = found["value"].groupby(level=0).sum()
    wanted = expected["labresult"].astype(float).groupby(level=0).sum()
    pd.testing.assert_series_equal(by_stay.astype(float), wanted, check_names=False, rtol=1e-5)
    assert found["time"].max() <= WINDOW


def test_the_monitor_is_read_as_means_of_hours(release: Release, tmp_path: Path) -> None:
    table = release.tables["vitalPeriodic"]
    table.loc[table.index[3], "heartrate"] = "0"  # a lost signal
    release.write("vitalPeriodic")
    manifest = prepared(release, tmp_path / "out")
    assert manifest.counts["quantities"]["heart_rate"]["outside the limits"] == 1
    raw = table[table["patientunitstayid"].isin(main_table(tmp_path / "out").index)]
    raw = raw[raw["observationoffset"] <= WINDOW * 60].assign(rate=raw["heartrate"].astype(float))
    raw = raw[raw["rate"] > 0]
    keys = [raw["patientunitstayid"], raw["observationoffset"] // 60]
    expected = raw.groupby(keys).agg(minute=("observationoffset", "max"), rate=("rate", "mean"))
    found = pd.read_parquet(tmp_path / "out" / "vitals_periodic.parquet")
    found = found[found["variable"] == "heart_rate"]
    assert len(found) < len(raw)
    assert found["value"].tolist() == pytest.approx(expected["rate"].tolist())
    assert found["time"].tolist() == pytest.approx((expected["minute"] / 60).tolist())


CASES = (
    *(("lab", "FiO2", "0.4", 40.0), ("lab", "FiO2", "40", 40.0), ("lab", "pH", "74", None)),
    *(("lab", "lactate", "", None), ("lab", "lactate", "<0.5", 0.5), ("lab", "sodium", "12", None)),
    ("nurseCharting", "Temperature|Temperature (F)", "98.6", 37.0),
    ("nurseCharting", "Temperature|Temperature (F)", "37", 37.0),
    ("nurseCharting", "Temperature|Temperature (C)", "98.6", 37.0),
    ("nurseCharting", "Glasgow coma score|GCS Total", "Unable to score due to medication", None),
    ("nurseCharting", "O2 L/%|O2 L/%", "4", 4.0),
    ("respiratoryCharting", "FIO2 (%)", "50%", 50.0),
    ("infusionDrug", "LEVOPHED  (mcg/min)", "7", 7.0),
    ("infusionDrug", "Norepinephrine (mcg/min)", "OFF", 0.0),
    ("intakeOutput", "flowsheet|Flowsheet Cell Labels|I&O|Output (ml)|Urine, void:", "80", 80.0),
    ("intakeOutput", "flowsheet|Flowsheet Cell Labels|I&O|Output (ml)|Other", "90", 90.0),
)


def test_names_and_units_are_those_of_the_reviewed_table(release: Release, tmp_path: Path) -> None:
    stays = release.tables["patient"]
    good = stays[(stays["unitvisitnumber"] == 1) & (stays["unitdischargeoffset"] >= WINDOW * 60)]
    good = good[good["age"].str.len() == 2]
    cases = dict(zip(good["patientunitstayid"].iloc[5:], CASES, strict=False))
    assert len(cases) == len(CASES)
    item = {
        "lab": ("labname", "labresult"),
        "respiratoryCharting": ("respchartvaluelabel", "respchartvalue"),
        "infusionDrug": ("drugname", "drugrate"),
        "intakeOutput": ("cellpath", "cellvaluenumeric"),
    }
    for table in {table for table, *_ in CASES}:
        row = release.tables[table].iloc[0]
        rows = []
        for stay, (_, name, written, _) in (c for c in cases.items() if c[1][0] == table):
            values = {"patientunitstayid": stay, **dict.fromkeys(OFFSETS[table], 60)}
            if table == "nurseCharting":
                label, _, value = name.partition("|")
                values |= {"nursingchartcelltypevallabel": label, "nursingchartvalue": written}
                values |= {"nursingchartcelltypevalname": value}
            else:
                values |= dict(zip(item[table], (name, written), strict=True))
            if table == "lab":
                values |= {"labresulttext": written, "labmeasurenamesystem": ""}
            rows.append({**row, **values})
        release.tables[table] = pd.DataFrame(rows)
        release.write(table)
    prepared(release, tmp_path / "out")
    for stay, (table, name, written, expected) in cases.items():
        names = {
            rule.modality
            for rule in load_rules("remind.sources.eicu")
            if rule.table == table.lower()
        }
        files = [tmp_path / "out" / f"{modality}.parquet" for modality in names]
        found = pd.concat(
            [pd.DataFrame({"patientunitstayid": [], "value": []})]
            + [pd.read_parquet(file) for file in files if file.exists()]
        )
        values = found[found["patientunitstayid"] == stay]["value"].tolist()
        wanted = [] if expected is None else [pytest.approx(expected)]
        assert values == wanted, (table, name, written)


def test_another_unit_is_left_out_and_counted(release: Release, tmp_path: Path) -> None:
    for name in set(release.tables) - {"patient", "lab"}:
        release.file(name).unlink()
    lab = release.tables["lab"]
    is_other = (lab["labname"] == "creatinine") & (lab["labresultoffset"] % 2 == 0)
    lab.loc[is_other, "labmeasurenamesystem"] = "umol/L"
    release.write("lab")
    fates = prepared(release, tmp_path / "out").counts["quantities"]["creatinine"]
    assert set(fates) == {"kept", "another unit"}
    chemistry = pd.read_parquet(tmp_path / "out" / "chemistry.parquet")
    assert (chemistry["variable"] == "creatinine").sum() == fates["kept"] > 0


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


def cut(release: Release, name: str) -> None:
    content = release.file(name).read_bytes()
    release.file(name).write_bytes(content[: len(content) // 2])


def rename(release: Release, name: str, old: str, new: str) -> None:
    release.tables[name] = release.tables[name].rename(columns={old: new})
    release.write(name)


@pytest.mark.parametrize(
    ("name", "break_it", "sentence"),
    [
        ("patient", lambda r: r.file("patient").unlink(), r"has no table patient \(\.csv\.gz,"),
        ("lab", lambda r: cut(r, "lab"), r"lab\.csv\.gz.*download the file again"),
        (
            "lab",
            lambda r: rename(r, "lab", "labresult", "labresults"),
            r'lab\.csv\.gz has no column "labresult"; did you mean "labresults"',
        ),
        (
            "medication",
            lambda r: rename(r, "medication", "drughiclseqno", "hicl"),
            r'medication\.csv\.gz has no column "drughiclseqno"',
        ),
    ],
)
def test_what_cannot_be_read_is_one_sentence(
    name: str, break_it: object, sentence: str, release: Release, tmp_path: Path
) -> None:
    for other in set(release.tables) - {"patient", name}:
        release.file(other).unlink()
    assert callable(break_it)
    break_it(release)
    with pytest.raises(InputError, match=sentence) as caught:
        prepared(release, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"task": "unit-mortalty"}, r"none of in-hospital-mortality, .*; did you mean"),
        ({"task": "length-of-stay:1"}, "stays longer than 1 days, which --window 24 hours knows"),
        ({"task": "length-of-stay:x"}, r'needs days, as in "length-of-stay:5"'),
        ({"task": "unit-mortality:2"}, 'takes nothing after a colon, got "2"'),
        ({"window": 0}, "--window must be above 0 hours, got 0"),
        ({"window": 1000}, "no stay is left at the step 'that last at least 1000 hours'"),
    ],
)
def test_options_out_of_range_are_one_sentence(
    options: dict[str, object], sentence: str, release: Release, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=sentence):
        prepared(release, tmp_path / "out", **options)
