"""Eye imaging by layout: sets of several shapes, what is not there, what a layout may not say."""

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from remind.cohort import read_cohort
from remind.errors import InputError
from remind.sources.prepare import prepare
from tests.sources.eye_release import FPRM_LAYOUT, fprm_release, save_fundus, write_csv

DOCS = Path(__file__).parents[2] / "docs" / "eye.md"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMIND_CACHE", str(tmp_path / "cache"))


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


def sentence(call: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        call()
    return str(caught.value)


def test_a_set_with_columns_and_patterns_becomes_a_cohort_that_opens(tmp_path: Path) -> None:
    root, out = fprm_release(tmp_path / "eyes", 20), tmp_path / "out"
    prepare("eye", out, root=root)
    cohort = read_cohort(out)
    assert len(cohort) == 40
    assert cohort.ids[:2].tolist() == ["0000_OD", "0000_OS"]
    assert cohort.classes == ("healthy", "glaucoma")
    assert cohort.present_NM.sum(axis=0).tolist() == [34, 20, 32, 40]
    assert np.unique(cohort.split, return_counts=True)[1].tolist() == [8, 24, 8]
    assert cohort.person[:2].tolist() == ["0000", "0000"]
    per_eye = pd.read_parquet(out / "angiography.parquet").groupby("patient_eye")["path"]
    assert per_eye.size().max() == 3
    assert [Path(path).stem for path in per_eye.get_group("0004_OS")] == ["OS_0", "OS_10", "OS_15"]
    content = tomllib.loads((out / "cohort.toml").read_text())
    assert content["modalities"]["fundus"]["channels"] == 3
    told = manifest(out)
    assert told["counts"]["modalities"]["fundus"] == {"n": 34, "files": 34, "missing files": 0}
    assert told["counts"]["classes"] == {"glaucoma": 27, "healthy": 13}
    assert set(told["tables"]) == {"labels.csv", "layout.toml"}


def test_what_is_not_there_is_counted_listed_and_unobserved(tmp_path: Path) -> None:
    root, out = fprm_release(tmp_path / "eyes", 20), tmp_path / "out"
    (root / "images" / "fundus" / "0001_OD.jpg").unlink()
    for file in (root / "images" / "oct").iterdir():
        file.unlink()
    table = (root / "labels.csv").read_text().splitlines()
    table[1] = table[1].replace("OD,0,", "OD,,")  # no label
    table[4] = table[4].replace("OS,2,", "OS,9,")  # a label that the layout does not name
    table[5] = table[5].replace("training", "extra")
    table.append("0099,OD,1,training,,,,")
    (root / "labels.csv").write_text("\n".join(table))
    layout = tmp_path / "layout.toml"
    layout.write_text(FPRM_LAYOUT.replace(', "eye"]', "]").replace('"age", ', ""))
    layout.write_text(layout.read_text().replace('id = ["patient"]', 'id = ["patient", "eye"]'))
    prepare("eye", out, root=root, layout=layout)
    told = manifest(out)
    assert [(step["num_left"], step["step"]) for step in told["flow"]] == [
        (41, "eyes in labels.csv"),
        (40, "eyes with a label"),
        (39, "eyes with a label that [labels] names (not 9)"),
        (38, "eyes with a split (not extra)"),
        (36, "eyes observed in a modality"),
    ]
    assert told["counts"]["modalities"]["fundus"]["missing files"] == 1
    assert re.fullmatch(
        r"none of the 19 files named for it is there, such as .*/oct/0001_OD\.nii\.gz; "
        "it is no modality of the cohort",
        told["absent"]["oct"],
    )
    missing = pd.read_csv(out / "missing_files.csv")
    assert missing.groupby("modality").size().to_dict() == {"fundus": 1, "oct": 19}
    assert any("not there, which count as unobserved: 20 (" in note for note in told["notes"])
    cohort = read_cohort(out)
    assert cohort.spec.modality_names == ("fundus", "angiography", "clinical")
    row = cohort.ids.tolist().index("0001_OD")
    assert cohort.present_NM[row].tolist() == [False, True, True]


def test_patterns_take_names_as_they_are_and_files_in_natural_order(tmp_path: Path) -> None:
    """[1] in an id is no wildcard, 10 comes after 9, and other eyes' files are not taken."""
    root, rng = tmp_path / "eyes", np.random.default_rng(0)
    rows = [{"id": name, "sick": i % 2, "age": 50} for i, name in enumerate(["a[1]", "a1", "b"])]
    write_csv(root / "t.csv", rows)
    for number in (0, 9, 10, 11):
        save_fundus(root / "a[1]" / f"slice{number}.png", 0.5, rng)
    save_fundus(root / "a1" / "slice3.png", 0.5, rng)
    save_fundus(root / "a1" / "other.png", 0.5, rng)
    (root / "a1" / "slice4.png").mkdir()
    for most, expected in (("", ["3", "0", "9", "10", "11"]), ("most = 2", ["3", "9", "11"])):
        (root / "layout.toml").write_text(f"""
            [cohort]
            name = "e"
            table = "t.csv"
            id = "id"
            label = "sick"
            task = "binary"
            [modalities.oct]
            kind = "image"
            pattern = "{{id}}/slice*.png"
            {most}
            [modalities.age]
            kind = "tabular"
            columns = ["age"]
        """)
        out = tmp_path / f"out{most}"
        prepare("eye", out, root=root)
        table = pd.read_parquet(out / "oct.parquet")
        assert [Path(path).stem.removeprefix("slice") for path in table["path"]] == expected
        assert table["id"].tolist() == ["a1"] + ["a[1]"] * (len(expected) - 1)


def test_both_eyes_of_a_patient_are_in_one_split_without_being_told(tmp_path: Path) -> None:
    """Unless another column is named, the first of the id is who a row is of."""
    root = fprm_release(tmp_path / "eyes", 40)
    table = pd.read_csv(root / "labels.csv", dtype=str)
    table.assign(visit=range(len(table))).to_csv(root / "labels.csv", index=False)
    kept, fold = FPRM_LAYOUT.split("[split]")
    fold = fold[fold.index("[modalities") :]
    for name, group in (("first", ""), ("other", 'group_by = "visit"')):
        layout = tmp_path / "layout.toml"
        layout.write_text(kept.replace('group_by = "patient"', group) + fold)
        told = prepare("eye", tmp_path / name, root=root, layout=layout)
        cohort = read_cohort(tmp_path / name)
        patients = [key.partition("_")[0] for key in cohort.ids]
        num = pd.Series(cohort.split).groupby(patients).nunique()
        assert (num.max() == 1) == (name == "first")
        assert any("no group_by" in note for note in told.notes) == (name == "first")


def docs_layouts() -> list[str]:
    """The layouts of the docs, which are whole files."""
    blocks = re.findall(r"```toml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    return [block for block in blocks if "[cohort]" in block]


@pytest.mark.parametrize("number", range(3))
def test_the_layouts_of_the_docs_hold(number: int, tmp_path: Path) -> None:
    """Each is right for a set of the shape that the docs say it is for."""
    root, rng = tmp_path / "eyes", np.random.default_rng(0)
    layout = docs_layouts()[number]
    if number == 0:
        fprm_release(root, 10)
    elif number == 1:
        rows = []
        for patient in range(1, 9):
            names = [f"{patient}_left.jpg", f"{patient}_right.jpg"]
            rows.append({"ID": patient, "Patient Age": 50 + patient, "Patient Sex": "Male"})
            rows[-1] |= {"Left-Fundus": names[0], "Right-Fundus": names[1], "D": patient % 2}
            for name in names:
                save_fundus(root / "images" / name, 0.5, rng)
        write_csv(root / "odir.csv", rows)
    else:
        rows = [
            {"data": f"{i:04d}", "grade": ("non", "early", "advanced")[i % 3]} for i in range(9)
        ]
        write_csv(root / "grades.csv", rows)
        for row in rows:
            folder = root / "multi-modality_images" / row["data"]
            save_fundus(folder / f"{row['data']}.jpg", 0.5, rng)
            for scan in range(20):
                save_fundus(folder / row["data"] / f"{scan}_image.jpg", 0.3, rng)
    root.mkdir(exist_ok=True)
    (root / "layout.toml").write_text(layout)
    told = prepare("eye", tmp_path / "out", root=root)
    assert told.absent == {}
    assert [step.num_excluded for step in told.flow] == [0] * len(told.flow)
    modalities = told.counts["modalities"]
    if number == 1:
        assert modalities["fundus"] == {"n": 8, "files": 16, "missing files": 0}
    if number == 2:
        assert [modalities[name]["files"] for name in ("fundus", "oct")] == [9, 9 * 16]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('group_by = "patient"', 'group = "patient"', '[cohort] has the unknown key "group"; did'),
        (
            "crop =",
            "corp =",
            '[modalities.fundus] has the unknown key "corp"; did you mean "crop"?',
        ),
        ("most = 3", "table = 3", '[modalities.angiography] has the unknown key "table"'),
        ("size = [8,", "size = [0,", "[modalities.oct] size needs 3 numbers above 0"),
        ('kind = "volume"', 'kind = "volum"', "image, volume, tabular, got 'volum'; did you mean"),
        ('column = "oct"', "", "[modalities.oct]: needs either a column of paths or a pattern"),
        ('column = "oct"', 'column = "octs"', 'has no column "octs", which [modalities.oct] of'),
        ("{patient}", "{patent}", 'has no column "patent", which [modalities.angiography] of'),
        ("ffa/{", "**/{", 'has a pattern with "**"'),
        ('"age", ', '"diagnosis", ', 'claims the column "diagnosis", which is the label'),
        ('id = ["patient", "eye"]', 'id = "patient"', 'the id "0000" in column "patient" is alr'),
        ('"0" = "healthy"', '"0" = 1', '[labels] must say "value" = "class"'),
        ('"0" = "healthy"\n"1"', '"8"', "eyes observed"),
        ("{training", "{traning", "[split] names none of the values (not test, training, valid"),
        ("[modalities.oct]", '[modalities."o c"]', "is no usable name: use letters, digits"),
    ],
)
def test_what_a_layout_may_not_say(old: str, new: str, said: str, tmp_path: Path) -> None:
    root, out = fprm_release(tmp_path / "eyes", 5), tmp_path / "out"
    assert old in FPRM_LAYOUT
    layout = FPRM_LAYOUT.replace(old, new, 1)
    if "traning" in new:
        layout = layout.replace('validation = "val", test = "test"', 'x = "val"')
    if '"8"' in new:
        layout = layout.replace('"2"', '"9"')
        said = "[labels] names none of the values (not 0, 1, 2)"
    (root / "layout.toml").write_text(layout)
    told = sentence(lambda: prepare("eye", out, root=root))
    assert said in told
    assert "\n" not in told
    assert not out.exists()


def test_a_folder_without_layout_or_files_is_said(tmp_path: Path) -> None:
    root, out = fprm_release(tmp_path / "eyes", 3), tmp_path / "out"
    (root / "images").rename(root / "elsewhere")
    without_table = FPRM_LAYOUT[: FPRM_LAYOUT.index("[modalities.clinical]")]
    (root / "layout.toml").write_text(without_table)
    told = sentence(lambda: prepare("eye", out, root=root))
    assert "layout.toml: no file that it names is there, such as" in told
    (root / "layout.toml").unlink()
    assert sentence(lambda: prepare("eye", out, root=root)) == (
        f"{root}/layout.toml does not exist: give a layout as docs/eye.md shows, a TOML file"
    )
    assert "is no folder" in sentence(lambda: prepare("eye", out, root=root / "labels.csv"))
