"""Every mistake in a cohort is one sentence that says what, where and what to do."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from remind.cohort import cohort_from_frame, load_spec, read_cohort
from remind.errors import InputError
from tests.cohort.make import TOML, small_frame, write_frame

Edit = Callable[[pd.DataFrame], pd.DataFrame]


def put(column: str, row: int, value: object) -> Edit:
    def edit(frame: pd.DataFrame) -> pd.DataFrame:
        values = frame[column].astype(object)
        values.iloc[row] = value
        return frame.assign(**{column: values})

    return edit


def assign(**columns: object) -> Edit:
    return lambda frame: frame.assign(**columns)


def empty_patients(frame: pd.DataFrame) -> pd.DataFrame:
    columns = ["hr", "ward", "lactate", "crp", "ventilated", "ecg"]
    empty = frame.astype(dict.fromkeys(columns, object))
    empty.loc[[7, 9], columns] = None
    return empty


def unsplit(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(person=range(len(frame)))


TABLE_ERRORS = {
    "unknown column": (
        lambda f: f.rename(columns={"crp": "crpp"}),
        ['patients.csv has no column "crp"', "[modalities.labs]", 'did you mean "crpp"'],
    ),
    "unknown label": (lambda f: f.drop(columns="died"), ['no column "died"', 'the key "label"']),
    "duplicate column": (
        lambda f: pd.concat([f, f[["hr"]]], axis=1),
        ['has the column "hr" twice', "rename or remove"],
    ),
    "duplicate id": (
        put("pid", 5, "0002"),
        ["row 6", 'the id "0002"', "already that of", "row 3", "group_by"],
    ),
    "missing id": (put("pid", 5, " "), ['row 6: the id "pid" is missing', "fill it in"]),
    "missing label": (
        put("died", 5, None),
        ['row 6: the label "died" is missing (id 0005)', "leave the row out"],
    ),
    "infinite label": (put("died", 5, "inf"), ['row 6: column "died" holds inf']),
    "missing person": (put("person", 5, None), ['row 6: the group_by "person" is missing']),
    "three classes": (
        put("died", 5, 2),
        ['the label "died" has 3 values (0, 1, 2)', "binary", "multiclass"],
    ),
    "one class": (
        lambda f: f.assign(died=np.where(f["split"] == "train", 0, f["died"])),
        ['"died" = 0', "two classes"],
    ),
    "one class in all": (assign(died=1), ['"died" = 1', "two classes"]),
    "infinite number": (put("hr", 5, "inf"), ['row 6: column "hr" holds inf', "not a finite"]),
    "huge number": (put("hr", 5, "-1e300"), ['row 6: column "hr" holds -1e+300', "not a finite"]),
    "other split": (
        put("split", 5, "valid"),
        ['row 6: the split "split" is "valid", expected train, val or test'],
    ),
    "missing split": (put("split", 5, ""), ['row 6: the split "split" is missing']),
    "no training": (assign(split="test"), ["no row is in the training split"]),
    "person in two splits": (
        lambda f: put("split", 1, "test")(f),
        ["row 2: the person 0", '"person"', "one split"],
    ),
    "nobody observed": (
        empty_patients,
        ["row 8: 2 patients have no modality at all (id 0007, 0009)"],
    ),
    "empty table": (lambda f: f.iloc[:0], ["patients.csv has no rows"]),
    "modality never observed": (
        assign(lactate=None, crp=None, ventilated=None, hr=70.5),
        ["[modalities.labs] is never observed in the training split", "remove"],
    ),
    "text among numbers": (
        put("lactate", 5, "<0.1"),
        ['row 6: column "lactate" holds "<0.1"', "most of its values are numbers"],
    ),
    "n/a among numbers": (
        put("crp", 5, "n/a"),
        ['row 6: column "crp" holds "n/a"', "leave the cell empty"],
    ),
    "dates as text": (assign(hr="2020-01-05"), ['column "hr" holds dates']),
    "decimal comma": (assign(hr="81,5"), ['column "hr" holds numbers with a decimal comma']),
    "absent vector file": (put("ecg", 0, np.zeros(0)), ["has 0 numbers, expected 4"]),
}


@pytest.mark.parametrize("name", TABLE_ERRORS)
def test_a_table_mistake_is_named(name: str, tmp_path: Path) -> None:
    edit, fragments = TABLE_ERRORS[name]
    folder = write_frame(tmp_path, edit(small_frame()), suffix="csv")
    message = error_of(folder)
    for fragment in fragments:
        assert fragment in message


PARQUET_ERRORS = {
    "datetime": (
        assign(hr=pd.Timestamp("2020-01-05")),
        ['column "hr" holds dates or times', "hours since"],
    ),
    "list as feature": (
        lambda f: f.assign(hr=f["ecg"]),
        ['column "hr" holds values of type list', 'kind "vector"'],
    ),
    "uneven vectors": (
        put("ecg", 2, np.zeros(3, np.float32)),
        ['row 3: the vector in column "ecg" has 3 numbers, expected 4'],
    ),
    "infinite vector": (
        put("ecg", 2, np.array([0, np.inf, 0, 0], np.float32)),
        ['row 3: the vector in column "ecg"', "not finite"],
    ),
    "part of a vector": (
        put("ecg", 2, np.array([0, np.nan, 0, 0], np.float32)),
        ['row 3: the vector in column "ecg"', "not finite"],
    ),
    "vector of numbers": (assign(ecg=1.0), ['column "ecg" of kind vector holds neither']),
    "vector of text lists": (
        lambda f: f.assign(ecg=[["a"]] * len(f)),
        ['column "ecg" holds list', "lists of numbers"],
    ),
    "vector file absent": (
        assign(ecg="no.npy"),
        ['row 1: column "ecg" names', "no.npy, which does not exist"],
    ),
    "unseen class": (
        lambda f: unsplit(put("died", -1, 2)(f).astype({"died": int})),
        ["task is binary"],
    ),
}


@pytest.mark.parametrize("name", PARQUET_ERRORS)
def test_a_typed_mistake_is_named(name: str, tmp_path: Path) -> None:
    edit, fragments = PARQUET_ERRORS[name]
    message = error_of(write_frame(tmp_path, edit(small_frame())))
    for fragment in fragments:
        assert fragment in message


def test_a_class_that_training_lacks_is_named(tmp_path: Path) -> None:
    frame = unsplit(put("died", -1, 2)(small_frame()).astype({"died": int}))
    message = error_of(write_frame(tmp_path, frame, toml=TOML.replace("binary", "multiclass")))
    assert 'row 60: the label "died" = 2 is in val but never in train' in message


TOML_ERRORS = {
    "unknown key": (
        'label = "died"',
        'label = "died"\nidd = "pid"',
        ['[cohort] has the unknown key "idd"; did you mean "id"?'],
    ),
    "unknown section": ("[split]", "[splits]", ['the unknown key "splits"; did you mean "split"']),
    "missing key": ('label = "died"\n', "", ['[cohort] needs the key "label"']),
    "wrong type": (
        'label = "died"',
        "label = 5",
        ["[cohort] label should be a valid string, got 5"],
    ),
    "positive class that nobody has": (
        'label = "died"',
        'label = "died"\npositive = "yes"',
        ['[cohort] positive = "yes" is no label: "died" has 0, 1: name one of them'],
    ),
    "several positive classes": (
        'label = "died"',
        'label = "died"\npositive = [0, 1]',
        ["[cohort] positive should be a valid string, got [0, 1]"],
    ),
    "wrong task": (
        '"binary"',
        '"binry"',
        ["[cohort] task should be 'binary', 'multiclass'", "got 'binry'"],
    ),
    "later task": (
        '"binary"',
        '"regression"',
        ['task = "regression" is not supported yet', "use binary or multiclass"],
    ),
    "two ways to split": (
        'column = "split"',
        'column = "split"\nval = 0.1',
        ["[split] gives both column and val"],
    ),
    "nothing to train on": (
        'column = "split"',
        "val = 0.5\ntest = 0.5",
        ["[split] leaves nothing to train on", "val + test is 1"],
    ),
    "fraction out of range": (
        'column = "split"',
        "val = 1.5",
        ["[split] val should be less than 1, got 1.5"],
    ),
    "duplicate column": (
        '"hr", "ward"',
        '"hr", "hr"',
        ['[modalities.vitals] columns names the column "hr" twice'],
    ),
    "two modalities": (
        '"hr", "ward"',
        '"hr", "crp"',
        ['[modalities.labs] claims the column "crp"', "[modalities.vitals] has too"],
    ),
    "label as feature": (
        '"hr", "ward"',
        '"hr", "died"',
        ['claims the column "died", which is the label: remove it'],
    ),
    "split as feature": (
        '"hr", "ward"',
        '"hr", "split"',
        ['claims the column "split", which is the split'],
    ),
    "person as feature": (
        '"hr", "ward"',
        '"hr", "person"',
        ['claims the column "person", which is the group_by'],
    ),
    "id as vector": (
        'column = "ecg"',
        'column = "pid"',
        ['claims the column "pid", which is the id'],
    ),
    "id and label": ('label = "died"', 'label = "pid"', ['the column "pid" is both id and label']),
    "no columns": ('["hr", "ward"]', "[]", ["[modalities.vitals] columns", "at least 1 item"]),
    "unknown kind": (
        'kind = "vector"',
        'kind = "vectors"',
        [
            "[modalities.ecg] has the kind 'vectors', which is none of tabular, vector, ",
            'did you mean "vector"',
        ],
    ),
    "no kind": ('kind = "vector"', "", ["[modalities.ecg] needs a kind"]),
    "unusable name": (
        "[modalities.ecg]",
        '[modalities."a+b"]',
        ['must not be empty or hold a "+"'],
    ),
    "not TOML": ("[cohort]", "[cohort", ["is not valid TOML", "line 1"]),
    "absent table": (
        "patients.{suffix}",
        "patient.parquet",
        ["patient.parquet does not exist", 'did you mean "patients.parquet"'],
    ),
    "empty glob": ("patients.{suffix}", "shard*.parquet", ["no file matches", "shard*.parquet"]),
    "other format": ("patients.{suffix}", "cohort.toml", ["is neither .csv, .csv.gz nor .parquet"]),
    "mixed glob": ("patients.{suffix}", "*", ["cohort.toml is neither"]),
}


@pytest.mark.parametrize("name", TOML_ERRORS)
def test_a_mistake_in_cohort_toml_is_named(name: str, tmp_path: Path) -> None:
    old, new, fragments = TOML_ERRORS[name]
    assert old in TOML
    message = error_of(write_frame(tmp_path, small_frame(), toml=TOML.replace(old, new)))
    assert message.startswith(str(tmp_path)) or message.startswith("no file")
    for fragment in fragments:
        assert fragment in message


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (b"", "is empty: its first line must hold the column names"),
        (b"pid;died\n1;0\n", "separates its columns by semicolons: save it with commas"),
        (b"pid,died\n\xff\xfe,0\n", "is not UTF-8 text"),
        (b"p\xe9d,died\n1,0\n", "is not UTF-8 text"),
        (b"pid,died,person,split,hr,ward,lactate,crp,ventilated,ecg\n1,2\n", "cannot be read"),
    ],
)
def test_a_damaged_csv_is_named(content: bytes, fragment: str, tmp_path: Path) -> None:
    write_frame(tmp_path, small_frame(), suffix="csv")
    (tmp_path / "patients.csv").write_bytes(content)
    message = error_of(tmp_path)
    assert fragment in message
    assert "patients.csv" in message


@pytest.mark.parametrize("suffix", ["csv.gz", "parquet"])
def test_a_truncated_file_is_named(suffix: str, tmp_path: Path) -> None:
    folder = write_frame(tmp_path, small_frame(), suffix=suffix)
    file = folder / f"patients.{suffix}"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert f"patients.{suffix} cannot be read" in error_of(folder)


def test_shards_must_share_their_columns_and_rows_are_named_by_shard(tmp_path: Path) -> None:
    frame = small_frame().drop(columns="ecg")
    toml = TOML[: TOML.index("[modalities.ecg]")].replace("patients.{suffix}", "part*.csv")
    write_frame(tmp_path, frame, toml=toml)
    frame[:40].to_csv(tmp_path / "part1.csv", index=False)
    put("lactate", 5, "high")(frame.iloc[40:]).to_csv(tmp_path / "part2.csv", index=False)
    assert f'{tmp_path / "part2.csv"}, row 6: column "lactate" holds "high"' in error_of(tmp_path)
    frame[40:].drop(columns="hr").to_csv(tmp_path / "part2.csv", index=False)
    assert 'part1.csv differ in "hr"' in error_of(tmp_path)


def test_a_folder_without_cohort_toml_is_named(tmp_path: Path) -> None:
    assert f"{tmp_path / 'cohort.toml'} does not exist" in error_of(tmp_path)


def error_of(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_cohort(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_what_training_never_sees_may_be_left_out(tmp_path: Path) -> None:
    """A modality that is observed in val alone, with the one patient who has nothing else."""
    frame = small_frame().dropna(subset=["hr", "ward"]).reset_index(drop=True)
    is_val_N = frame["split"] == "val"
    frame.loc[~is_val_N, ["lactate", "crp", "ventilated"]] = np.nan
    only = int(np.flatnonzero(is_val_N & frame["lactate"].notna())[0])
    frame.loc[only, ["hr", "ward"]] = None
    frame["ecg"] = frame["ecg"].where(frame.index != only, None)
    spec = load_spec(write_frame(tmp_path, frame))
    with pytest.raises(InputError, match="never observed in the training split"):
        cohort_from_frame(frame, spec)
    cohort = cohort_from_frame(frame, spec, leave_out_untrained=True)
    assert cohort.spec.modality_names == tuple(cohort.values) == ("vitals", "ecg")
    assert cohort.left_out == (frame["pid"][only],)
    assert cohort.ids.tolist() == frame["pid"].drop(only).tolist()
    assert cohort.present_NM.shape == (len(frame) - 1, 2)
    assert cohort.present_NM.any(axis=1).all()
