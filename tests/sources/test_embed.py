"""EMBED from a generated release: who is in, which image is taken, what a model then sees."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from remind.cohort import read_cohort
from remind.errors import InputError
from remind.sources.prepare import prepare
from tests.sources.embed_release import ENCODINGS, PREFIX, Release, typical_release

EXAM = (10_000_001, 8_099_128_854_014_801)
NAME = f"{EXAM[0]}_{EXAM[1]}"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMIND_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """One exam with a digital CC view of the left breast, density C."""
    release = Release(tmp_path / "embed")
    release.image(EXAM, name="first")
    release.finding(EXAM, "3.0")
    return release


def flow(folder: Path) -> list[int]:
    return [step["num_left"] for step in manifest(folder)["flow"]]


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


def paths(folder: Path, modality: str) -> list[str]:
    """Names of the files of a modality."""
    return [Path(path).stem for path in pd.read_parquet(folder / f"{modality}.parquet")["path"]]


def sentence(call: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize(("per", "num"), [("exam", 15), ("breast", 30)])
def test_a_release_becomes_a_cohort_that_opens(per: str, num: int, tmp_path: Path) -> None:
    root, out = typical_release(tmp_path / "embed", 10), tmp_path / "out"
    prepare("embed", out, root=root, per=per, threads=1)
    cohort = read_cohort(out)
    assert len(cohort) == num
    assert cohort.classes == ("A", "B", "C", "D")
    assert not cohort.invalid
    persons = pd.DataFrame({"person": cohort.person, "split": cohort.split})
    assert persons.groupby("person")["split"].nunique().max() == 1
    counts = manifest(out)["counts"]
    assert counts[f"{per}s"]["n"] == num
    assert counts["observed"] == dict(
        zip(cohort.spec.modality_names, cohort.present_NM.sum(axis=0).tolist(), strict=True)
    )
    assert sum(item["n"] for item in counts["combinations"].values()) == num
    assert counts["classes"]["B"]["published"] == "41.9"
    per_patient = {len(set(group["side"])) for group in rows_per_patient(out, per)}
    assert per_patient == ({2} if per == "exam" else {1})
    table = pd.read_parquet(out / "patients.parquet")
    assert table[f"{per}_id"].is_monotonic_increasing
    assert not list(out.glob(".work*"))


def rows_per_patient(folder: Path, per: str) -> list[pd.DataFrame]:
    rows = pd.read_parquet(folder / "ffdm_cc.parquet")
    assert rows[f"{per}_id"].is_monotonic_increasing
    return [group for _, group in rows.groupby(f"{per}_id")]


def test_burned_in_text_and_the_encoding_of_a_file_leave_no_trace(tmp_path: Path) -> None:
    """One breast in every encoding, with text and a frame, gives one and the same record."""
    release = Release(tmp_path / "embed")
    exams = [(100 + i, 1000 + i) for i in range(2 * len(ENCODINGS))]
    for i, exam in enumerate(exams):
        light = 0.5 if i % 8 == i else 0.8  # eight encodings of each
        release.image(exam, light=light, view="CC")
        release.finding(exam, 2.0 if light == 0.5 else 4.0)
    prepare("embed", tmp_path / "out", root=release.write(), threads=1)
    raw = read_cohort(tmp_path / "out").values["ffdm_cc"]
    kinds = {item["photometric"] + str(item["bits"]) + item["syntax"] for item in facts(raw)}
    assert len(kinds) == len(ENCODINGS)
    records_V = raw.store.read(raw.items.columns["place"])[:, 0] / 65535
    assert records_V.max() < 0.95  # text and frame are white
    breast_V = records_V[:, 100:124, 60:164].mean(axis=(1, 2))
    light_V = np.where(np.arange(len(exams)) < 8, 0.5, 0.8)
    np.testing.assert_allclose(breast_V, light_V, atol=0.01)
    assert np.ptp((records_V > 0.2).mean(axis=(1, 2))) < 0.01


def facts(raw) -> list[dict]:
    keys = [key.decode() for key in raw.items.columns["key"]]
    return [json.loads(text) for text in raw.store.facts(keys)]


def test_density_is_of_the_exam_and_male_or_missing_ones_are_dropped(
    release: Release, tmp_path: Path
) -> None:
    exams = {name: (20 + i, 200 + i) for i, name in enumerate(("male", "none", "text", "two"))}
    for exam in exams.values():
        release.image(exam, side="R")
    for name, density in (("male", 5.0), ("none", ""), ("text", "n/a"), ("two", 2.0), ("two", 4)):
        release.finding(exams[name], density, side="L")
    release.image((30, 300))  # no clinical row
    release.image((31, EXAM[1]))  # the accession of someone else
    release.finding((32, 302), 1.0)  # no image
    prepare("embed", tmp_path / "out", root=release.write(), threads=1)
    table = pd.read_parquet(tmp_path / "out" / "patients.parquet").set_index("exam_id")
    assert table["density"].to_dict() == {NAME: "C", "23_203": "D"}
    assert flow(tmp_path / "out") == [7, 5, 3, 2, 2, 2]
    assert manifest(tmp_path / "out")["counts"]["exams whose rows disagree on density"] == 1
    assert table.loc[NAME, "study_date_anon"] == "2014-03-09"


def test_one_image_is_taken_per_view_by_the_rule(release: Release, tmp_path: Path) -> None:
    release.image(EXAM, name="spot", spot_mag=1.0, AcquisitionTime=80000.0)
    release.image(EXAM, name="earlier", AcquisitionTime=90000.0)
    release.image(EXAM, name="no_time", AcquisitionTime="", SeriesTime="")
    release.image(EXAM, name="gone", AcquisitionTime=85000.0, is_there=False)
    release.image(EXAM, name="right", side="R", spot_mag=1.0)
    release.metadata.append(release.metadata[0])
    prepare("embed", tmp_path / "out", root=release.write(), threads=1)
    assert paths(tmp_path / "out", "ffdm_cc") == ["earlier", "right"]
    told = manifest(tmp_path / "out")
    assert told["counts"]["images"] == {
        **dict.fromkeys(("of other types", "of other views", "of no or both sides"), 0),
        **dict.fromkeys(("rows without patient or accession", "without a path"), 0),
        "rows": 7,
        "listed twice": 1,
        "files sought": 6,
        "files absent": 1,
        "further images of a view": 3,
        "in the cohort": 2,
        "in the cohort, of spot or magnification views": 1,
        "rows published": 480_323,
    }
    absent = pd.read_csv(tmp_path / "out" / "absent_files.csv")
    assert [Path(path).stem for path in absent["anon_dicom_path"]] == ["gone"]
    assert absent["anon_dicom_path"][0].startswith(PREFIX)
    assert any("unobserved: 1 of 6 (absent_files.csv lists them)" in note for note in told["notes"])
    assert any(note.startswith("one image is taken per exam") for note in told["notes"])


def test_only_the_four_kinds_of_images_count_and_a_kind_without_any_is_said(
    release: Release, tmp_path: Path
) -> None:
    for kind, view, side in (
        *(("3D", "CC", "L"), ("ROI_SSC", "MLO", "L"), ("other", "CC", "R"), ("2D", "", "L")),
        *(("2D", "XCCL", "L"), ("2D", "ML", "R"), ("2D", "MLO", "B"), ("cview", "MLO", "R")),
    ):
        release.image(EXAM, kind, view, side, name=f"{kind}{view}{side}")
    prepare("embed", tmp_path / "out", root=release.write(), threads=1)
    told = manifest(tmp_path / "out")
    images = told["counts"]["images"]
    assert [images[f"of other {what}"] for what in ("types", "views")] == [3, 3]
    assert images["of no or both sides"] == 1
    assert paths(tmp_path / "out", "ffdm_cc") == ["first"]
    assert paths(tmp_path / "out", "cview_mlo") == ["cviewMLOR"]
    assert set(told["absent"]) == {"cview_cc", "ffdm_mlo"}
    assert told["counts"]["combinations"]["cview_mlo+ffdm_cc"]["n"] == 1
    assert "[modalities.cview_cc]" not in (tmp_path / "out" / "cohort.toml").read_text()


def test_copies_of_the_release_in_other_forms_give_the_same_cohort(tmp_path: Path) -> None:
    """Tables beside cohort_1, gzip or Parquet, a bucket's prefix, ids and densities as floats."""
    root, usual = typical_release(tmp_path / "embed", 8), tmp_path / "usual"
    prepare("embed", usual, root=root, threads=1)
    other = tmp_path / "other"
    (root / "images").rename(other)
    metadata, clinical = (
        pd.read_csv(root / "tables" / f"EMBED_OpenData_{name}.csv", index_col=0)
        for name in ("metadata", "clinical")
    )
    metadata["anon_dicom_path"] = metadata["anon_dicom_path"].str.replace(PREFIX, "s3://b/images/")
    metadata = metadata.drop(columns=["spot_mag", "SeriesTime"])
    metadata.to_csv(other / "EMBED_OpenData_metadata.csv.gz", float_format="%.17g")
    clinical["acc_anon"] = [f"{number:.17e}" for number in clinical["acc_anon"]]
    clinical.to_parquet(other / "EMBED_OpenData_clinical.parquet")
    prepare("embed", tmp_path / "out", root=other, threads=1)
    for name in ("patients", "ffdm_cc", "cview_mlo"):
        found, expected = (
            pd.read_parquet(folder / f"{name}.parquet") for folder in (tmp_path / "out", usual)
        )
        if "path" in found:
            expected["path"] = expected["path"].str.replace(str(root / "images"), str(other))
        pd.testing.assert_frame_equal(found, expected)


def test_a_table_that_is_cut_short_leaves_nothing(release: Release, tmp_path: Path) -> None:
    root = release.write()
    file = root / "tables" / "EMBED_OpenData_clinical.csv"
    packed = gzip.compress(file.read_bytes() * 50)
    file.unlink()
    file.with_name(file.name + ".gz").write_bytes(packed[: len(packed) // 2])
    said = sentence(lambda: prepare("embed", tmp_path / "out", root=root, threads=1))
    assert "EMBED_OpenData_clinical.csv.gz" in said
    assert "download the file again" in said
    assert not (tmp_path / "out").exists()


def test_what_is_wrong_is_said_in_a_sentence(release: Release, tmp_path: Path) -> None:
    root, out = release.write(), tmp_path / "out"

    def run(**options: object) -> str:
        said = sentence(lambda: prepare("embed", out, **{"root": root, "threads": 1, **options}))
        assert not out.exists()
        return said

    assert run(per="exma") == (
        'embed: --per must be exam or breast, got "exma"; did you mean "exam"?'
    )
    assert "neither" in run(root=root / "images")
    (root / "images").rename(root / "elsewhere")
    assert "has no folder images/cohort_1" in run()
    (root / "images" / "cohort_2").mkdir(parents=True)
    assert "none of the 1 images that EMBED_OpenData_metadata names is below" in run()
    (root / "images" / "cohort_2").rmdir()
    (root / "images").rmdir()
    (root / "elsewhere").rename(root / "images")
    file = next((root / "images").rglob("*.dcm"))
    whole = file.read_bytes()
    file.write_bytes(whole[:-500])
    assert f"{file} is " in run()
    file.write_bytes(whole)
    clinical = root / "tables" / "EMBED_OpenData_clinical.csv"
    text = clinical.read_text()
    clinical.write_text(text.replace("tissueden", "tissue_den"))
    assert 'has no column "tissueden"; did you mean "tissue_den"?' in run()
    clinical.write_text(text.replace("3.0", "5.0"))
    assert "hold no exams with a density of A to D" in run()
    clinical.unlink()
    assert "has EMBED_OpenData_clinical (.csv, .csv.gz or .parquet)" in run()
