"""PhysioNet Challenge 2012 from generated files: units, limits, leakage, splits, errors."""

import json
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from remind.cohort import read_cohort
from remind.errors import InputError
from remind.sources.limits import load_rules
from remind.sources.manifest import Manifest, flow_lines
from remind.sources.prepare import prepare
from tests.commands import remind
from tests.sources.physionet2012_release import PARAMETERS, Release, write_release

SERIES = {
    *("heart_rate", "arterial_pressure", "cuff_pressure", "respiration", "oximetry"),
    *("temperature", "neurological", "glucose", "electrolytes", "renal", "liver", "albumin"),
    *("lipids", "blood_gas", "blood_count", "lactate", "troponin_i", "troponin_t"),
    *("ventilation", "urine", "weight"),
}
TABULAR = {"demographics", "anthropometry", "unit"}


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return write_release(tmp_path / "root", num_records=24)


def prepared(release: Release, out: Path, **options: object) -> Manifest:
    return prepare("physionet2012", out, root=release.root, threads=1, **options)


def features(cohort: Path) -> dict[str, object]:
    """All that a model is given: the main table without its label, the bytes of other tables."""
    files = {path.name: path.read_bytes() for path in cohort.iterdir()}
    del files["manifest.json"], files["patients.parquet"]
    main_table = pd.read_parquet(cohort / "patients.parquet").drop(columns="died_in_hospital")
    return {**files, "patients": main_table.to_csv()}


def test_from_raw_files_to_a_fit_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    release, cohort = write_release(tmp_path / "root"), tmp_path / "cohort"
    options = ("--root", release.root, "--out", cohort, "--threads", 1)
    assert remind(monkeypatch, "prepare", "physionet2012", *options) == 0
    told = capsys.readouterr().out
    assert "60  whose outcome is known" in told
    assert "set-c is absent" in told

    assert remind(monkeypatch, "describe", cohort, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert {modality["name"] for modality in facts["modalities"]} == SERIES | TABULAR

    run = tmp_path / "run"
    small = ["epochs=1", "width=8", "hidden=8", "members=1", "experts=2", "batch_size=32"]
    sets = [part for text in small for part in ("--set", text)]
    assert remind(monkeypatch, "fit", cohort, "--out", run, *sets) == 0


def test_series_and_labels_are_those_of_a_plain_reading(release: Release, tmp_path: Path) -> None:
    prepared(release, tmp_path / "out")
    table = pd.read_parquet(tmp_path / "out" / "patients.parquet").set_index("record_id")
    assert table["died_in_hospital"].to_dict() == release.died
    assert table["set"].to_dict() == release.sets
    found = pd.concat(pd.read_parquet(tmp_path / "out" / f"{name}.parquet") for name in SERIES)
    rows = [(r, *row.split(",")) for r, own in release.rows.items() for row in own[6:]]
    expected = pd.DataFrame(rows, columns=["record_id", "time", "variable", "value"])
    hours = expected["time"].str.split(":", expand=True).astype(float)
    expected["time"] = hours[0] + hours[1] / 60
    rules = {rule.item: rule for rule in load_rules("remind.sources.physionet2012")}
    assert {name.lower() for name in PARAMETERS} < set(rules)
    limits = {name.lower(): (rules[name.lower()].low, 1e9) for name in PARAMETERS}
    value = expected["value"].astype(float)
    low = expected["variable"].str.lower().map(lambda name: limits[name][0])
    expected = expected[value >= low].drop_duplicates()
    assert len(found) == len(expected)
    for frame in (found, expected):
        frame["value"] = frame["value"].astype(float).round(2)
    by = ["record_id", "time"]
    for record in list(release.rows)[:5]:
        own = [frame[frame["record_id"] == record] for frame in (found, expected)]
        own = [frame.sort_values([*by, "value"])[["time", "value"]] for frame in own]
        np.testing.assert_allclose(own[0].to_numpy(float), own[1].to_numpy(float), atol=1e-6)


CASES = (
    *(("pH", "7.4", 7.4), ("pH", "74", 7.4), ("pH", "735", 7.35), ("pH", "0.74", 7.4)),
    *(("pH", "1.2", None), ("Temp", "98.6", 37.0), ("Temp", "0", None), ("Temp", "-17.8", None)),
    *(("Temp", "37.2", 37.2), ("FiO2", "40", 0.4), ("FiO2", "0.4", 0.4), ("GCS", "2", None)),
    *(("RespRate", "0", None), ("HR", "0", None), ("MAP", "-1", None), ("NIMAP", "0", None)),
    *(("Weight", "-1", None), ("Weight", "0", None), ("Lactate", "<0.5", 0.5)),
    *(("Na", "nan", None), ("Na", "", None), ("WBC", "1e3", 1000.0), ("SaO2", "97%", 97.0)),
)


def test_units_are_mended_and_what_nobody_survives_is_missing(tmp_path: Path) -> None:
    release = write_release(tmp_path / "root", num_records=2 * len(CASES))
    for record, (parameter, written, _) in zip(release.rows, CASES, strict=False):
        release.rows[record] = [*release.rows[record][:6], f"05:00,{parameter},{written}"]
        release.write_record(record)
    prepared(release, tmp_path / "out")
    parts = [pd.read_parquet(tmp_path / "out" / f"{name}.parquet") for name in SERIES]
    found = pd.concat(parts).set_index("record_id")["value"]
    for record, (parameter, written, expected) in zip(release.rows, CASES, strict=False):
        own = found[found.index == record].tolist()
        wanted = [] if expected is None else [pytest.approx(expected)]
        assert own == wanted, (parameter, written)


def test_what_is_left_out_is_counted(release: Release, tmp_path: Path) -> None:
    first, second, third, fourth, *_ = release.rows
    release.rows[first] = [f"00:00,RecordID,{first}", "00:00,Weight,70.4", "00:00,Weight,70.8"]
    release.rows[second] += ["10:00,HR,400", "10:00,HR,400", "11:00,HR,high", "12:00,Novel,1"]
    for record in (first, second):
        release.write_record(record)
    release.file(third).write_text("")
    del release.died[fourth]
    release.write_outcomes()
    manifest = prepared(release, tmp_path / "out")
    assert [(step.num_left, step.num_excluded) for step in manifest.flow] == [
        *((24, 0), (23, 1), (22, 1)),
    ]
    fates = manifest.counts["quantities"]["heart_rate"]
    assert (fates["outside the limits"], fates["no number"], fates["duplicate row"]) == (1, 1, 1)
    others = manifest.counts["items that quantities.csv does not list or leaves out"]["series"]
    assert others == {"rows": 1, "items": 1, "most frequent": {"novel": 1}}
    table = pd.read_parquet(tmp_path / "out" / "patients.parquet").set_index("record_id")
    assert table.loc[first, "weight_kg"] == pytest.approx(70.4)  # the second row is of the series
    assert pd.isna(table.loc[first, "sex"])
    weights = pd.read_parquet(tmp_path / "out" / "weight.parquet")
    assert weights[weights["record_id"] == first]["value"].tolist() == pytest.approx([70.8])


def test_nothing_known_later_reaches_a_feature(release: Release, tmp_path: Path) -> None:
    prepared(release, tmp_path / "before", window=24)
    before = pd.read_parquet(tmp_path / "before" / "patients.parquet")
    for record, rows in release.rows.items():
        early = [row for row in rows if row < "24:01"]
        release.rows[record] = [*early, "24:01,HR,250", "47:59,Albumin,1", "48:00,Lactate,20"]
        release.write_record(record)
        release.died[record] = 1 - release.died[record]
    release.write_outcomes(seed=1)  # SAPS-I, SOFA, length of stay and survival change as well
    prepared(release, tmp_path / "after", window=24)
    assert features(tmp_path / "before") == features(tmp_path / "after")
    after = pd.read_parquet(tmp_path / "after" / "patients.parquet")
    assert (before["died_in_hospital"] + after["died_in_hospital"] == 1).all()
    changed = release.rows[next(iter(release.rows))]
    changed.insert(6, "12:00,HR,111")
    release.write_record(next(iter(release.rows)))
    prepared(release, tmp_path / "early", window=24)
    assert features(tmp_path / "before") != features(tmp_path / "early")


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_archives_give_the_same_cohort_and_cut_ones_a_sentence(
    suffix: str, release: Release, tmp_path: Path
) -> None:
    prepared(release, tmp_path / "folders")
    for name in ("set-a", "set-b"):
        file = release.root / f"{name}{suffix}"
        if suffix == ".zip":
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                for path in sorted((release.root / name).iterdir()):
                    archive.write(path, f"{name}/{path.name}")
        else:
            with tarfile.open(file, "w:gz") as archive:
                archive.add(release.root / name, f"./{name}")
        shutil.rmtree(release.root / name)
    prepared(release, tmp_path / "archives")
    assert features(tmp_path / "folders") == features(tmp_path / "archives")
    file = release.root / f"set-b{suffix}"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(InputError, match=f"set-b{suffix} is cut short or damaged: download it"):
        prepared(release, tmp_path / "cut")
    assert not (tmp_path / "cut").exists()


def test_splits_by_fractions_or_by_set(release: Release, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepared(release, out)
    assert set(read_cohort(out).split) == {"train", "val", "test"}
    toml = (out / "cohort.toml").read_text()
    by_set = toml.replace("val = 0.1\ntest = 0.2\nseed = 0", 'column = "split_by_set"')
    assert by_set != toml
    (out / "cohort.toml").write_text(by_set)
    cohort = read_cohort(out)
    sets = pd.Series(release.sets)[cohort.ids].to_numpy()
    assert ((cohort.split == "test") == (sets == "b")).all()
    assert (cohort.split == "val").sum() == 1


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (
            lambda r: shutil.rmtree(r.root / "set-a") or shutil.rmtree(r.root / "set-b"),
            r"root has no set-a, set-b or set-c \(a folder of text files, \.zip or \.tar\.gz\)",
        ),
        (
            lambda r: [file.unlink() for file in r.root.glob("Outcomes*")],
            r"root has no Outcomes-a\.txt: download the outcomes beside the sets",
        ),
        (
            lambda r: (r.root / "Outcomes-a.txt").write_text("RecordID,In-hospital_deaths\n1,0\n"),
            r'Outcomes-a\.txt has no column "In-hospital_death"; did you mean "In-hospital_d',
        ),
        (
            lambda r: r.file(132546).write_text("Time,Param,Value\n"),
            r'set-a/132546\.txt: line 1 is "Time,Param,Value", expected Time,Parameter,Value',
        ),
        (
            lambda r: r.file(132546).write_text("Time,Parameter,Value\n00:00,Age,54\n10:3"),
            r'set-a/132546\.txt: line 3 is "10:3", expected a time, a parameter and a value',
        ),
        (
            lambda r: r.file(132546).write_text("Time,Parameter,Value\n00:00,Age,54\n10:3,HR,80"),
            r'set-a/132546\.txt: row 2 is at the time "10:3", expected hh:mm',
        ),
    ],
)
def test_what_cannot_be_read_is_one_sentence(
    break_it: object, sentence: str, release: Release, tmp_path: Path
) -> None:
    assert callable(break_it)
    break_it(release)
    with pytest.raises(InputError, match=sentence):
        prepared(release, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_options_out_of_range_and_the_flow_that_is_told(release: Release, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--window must be above 0 and at most 48 hours, got 72"):
        prepared(release, tmp_path / "out", window=72)
    manifest = prepared(release, tmp_path / "out")
    told = list(flow_lines(manifest))
    assert told[0] == "24  records"
    assert any("SAPS-I, SOFA, length of stay and survival are never features" in t for t in told)
    kept = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert kept["tables"]["set-a"]["files"] == 12
    assert all(len(table["sha256"]) == 64 for table in kept["tables"].values())
