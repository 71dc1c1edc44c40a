"""eICU-CRD: values in their units and within their limits, against a plain reading."""

import json
from pathlib import Path

import pandas as pd
import pytest

from remind.sources.limits import load_rules
from tests.sources.eicu_release import Release
from tests.sources.eicu_shared import OFFSETS, WINDOW, copy_of, main_table, prepared, release_of


@pytest.fixture
def release(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Release:
    return copy_of(release_of(tmp_path_factory), tmp_path / "root")


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


def planted(release: Release, table: str, rows: list[dict[str, object]], out: Path) -> pd.DataFrame:
    """The values of rows of one stay, a minute after each other, where nothing else is recorded.

    Returns:
        Quantity and value by the number of the row; those that were left out are not there.
    """
    for name in set(release.tables) - {"patient", table}:
        release.file(name).unlink()
    stays = release.tables["patient"].set_index("patientunitstayid")
    is_good = (stays["unitvisitnumber"] == 1) & (stays["unitdischargeoffset"] > WINDOW * 60)
    own = {"patientunitstayid": stays.index[is_good & (stays["age"].str.len() == 2)][5]}
    first = release.tables[table].iloc[0]
    release.tables[table] = pd.DataFrame(
        {**first, **own, **dict.fromkeys(OFFSETS[table], minute), **row}
        for minute, row in enumerate(rows)
    )
    release.write(table)
    prepared(release, out)
    series = (pd.read_parquet(file) for file in out.glob("*.parquet"))
    found = pd.concat(frame for frame in series if "variable" in frame)
    number = (found["time"] * 60).round().astype(int)
    return found.assign(number=number).set_index("number")[["variable", "value"]]


OUTPUTS = {
    "Urine": "urine_output",
    "Urine Output-Foley": "urine_output",
    "L Nephrostomy": "urine_output",
    "Left nephrostomy tube": "urine_output",
    "Urostomy": "urine_output",
    "Gastrostomy": "gastric_output",
    "PEG tube": "gastric_output",
    "Ventriculostomy": "drain_output",
    "Colostomy": "stool_output",
    "Stool": "stool_output",
    **dict.fromkeys(("Urine Count", "incontinent urine counts", "Urine Occurrence")),
    **dict.fromkeys(
        ("inc. of urine", "Unmeasured Urine", "Mixed Urine/Stool Volume", "Stool/Urine")
    ),
}
"""Last part of cellpath → what it is a volume of, None for counts, guesses and mixtures."""


def test_outputs_are_volumes_of_their_kind(release: Release, tmp_path: Path) -> None:
    path = "flowsheet|Flowsheet Cell Labels|I&O|Output (ml)|"
    rows: list[dict[str, object]] = [
        {"cellpath": path + name, "cellvaluenumeric": "3.0"} for name in OUTPUTS
    ]
    found = planted(release, "intakeOutput", rows, tmp_path / "out")
    names = found["variable"].to_dict()
    assert {name: names.get(number) for number, name in enumerate(OUTPUTS)} == OUTPUTS
    counts = json.loads((tmp_path / "out" / "manifest.json").read_text())["counts"]
    left_out = counts["items that quantities.csv does not list or leaves out"]["intakeoutput"]
    assert left_out["rows"] == list(OUTPUTS.values()).count(None)
    assert "output (ml)|urine count" in left_out["most frequent"]


def test_ionized_calcium_is_in_one_unit_whatever_a_hospital_writes(
    release: Release, tmp_path: Path
) -> None:
    cases = [
        *(("4.5", "mg/dL", 4.5), ("1.12", "mg/dL", 4.489), ("1.12", "mmol/L", 4.489)),
        *(("1.12", "", 4.489), ("4.6", "", 4.6), ("4.7", "mEq/L", None), ("0.1", "mg/dL", None)),
    ]
    rows: list[dict[str, object]] = [
        {"labname": "ionized calcium", "labresult": written, "labmeasurenamesystem": unit}
        for written, unit, _ in cases
    ]
    found = planted(release, "lab", rows, tmp_path / "out")
    expected = {number: value for number, (*_, value) in enumerate(cases) if value is not None}
    assert found["value"].round(3).to_dict() == pytest.approx(expected, rel=1e-4)
    counts = json.loads((tmp_path / "out" / "manifest.json").read_text())["counts"]
    fates = {"kept": 5, "another unit": 1, "outside the limits": 1}
    assert counts["quantities"]["calcium_ionized"] == fates
