"""What reading makes of tables: the same cohort from every format, and no silent surprises."""

from pathlib import Path

import numpy as np
import pandas as pd
import polars
import pytest

from remind.cohort import (
    Cohort,
    Encoding,
    cohort_from_frame,
    describe,
    load_spec,
    long_tail,
    read_cohort,
    read_table_for_prediction,
    spec_from_dict,
)
from remind.errors import InputError
from tests.cohort.make import TOML, small_frame, write_cohort, write_frame, write_table


def table_cohort(
    folder: Path,
    csv: str,
    columns: str = '"x"',
    task: str = "multiclass",
    positive: str | None = None,
) -> Cohort:
    """A cohort of the columns i (id), y (label), always and the given ones, from CSV text."""
    key = "" if positive is None else f"positive = {positive}\n"
    (folder / "t.csv").write_text(csv)
    (folder / "cohort.toml").write_text(
        f'[cohort]\nname = "t"\ntable = "t.csv"\nid = "i"\nlabel = "y"\ntask = "{task}"\n{key}'
        "[split]\nval = 0\ntest = 0\n"
        f'[modalities.m]\nkind = "tabular"\ncolumns = [{columns}]\n'
    )
    return read_cohort(folder)


def test_every_format_gives_the_same_cohort(tmp_path: Path) -> None:
    frame = small_frame()
    spec = load_spec(write_cohort(tmp_path / "parquet"))
    shards = write_frame(
        tmp_path / "glob", frame, toml=TOML.replace("patients.{suffix}", "part*.parquet")
    )
    frame[:25].to_parquet(shards / "part1.parquet")
    frame[25:].to_parquet(shards / "part2.parquet")
    cohorts = [
        read_cohort(spec),
        read_cohort(write_cohort(tmp_path / "csv", suffix="csv") / "cohort.toml"),
        read_cohort(write_cohort(tmp_path / "gz", suffix="csv.gz")),
        read_cohort(shards),
        cohort_from_frame(frame, spec),
        cohort_from_frame(polars.read_parquet(tmp_path / "parquet" / "patients.parquet"), spec),
    ]
    as_text = [f"{i:04d}" for i in range(60)]
    assert all(cohort.ids.tolist() == as_text for cohort in cohorts)
    assert len({cohort.fingerprint for cohort in cohorts}) == 1
    assert len({cohort.present_NM.tobytes() for cohort in cohorts}) == 1


def test_presence_is_any_non_null_value(tmp_path: Path) -> None:
    frame = small_frame()
    present_NM = read_cohort(write_cohort(tmp_path)).present_NM
    there = frame.notna()
    np.testing.assert_array_equal(present_NM[:, 0], there["hr"] | there["ward"])
    np.testing.assert_array_equal(
        present_NM[:, 1], there["lactate"] | there["crp"] | there["ventilated"]
    )
    np.testing.assert_array_equal(present_NM[:, 2], there["ecg"])
    assert 0 < present_NM.mean() < 1


@pytest.mark.parametrize("column", ["hr", "ward", "ecg", "pid", "person", "died", "split"])
def test_the_fingerprint_sees_every_change(column: str, tmp_path: Path) -> None:
    spec = load_spec(write_cohort(tmp_path)).to_dict()
    del spec["cohort"]["group_by"]
    if column == "person":
        spec["cohort"]["group_by"] = "person"
    frame = small_frame()
    changed = frame.copy()
    values = frame[column].tolist()
    values[1] = {"hr": 1e-9, "ward": "hall", "pid": "x", "person": 777, "split": "val"}.get(
        column, values[0]
    )
    changed[column] = pd.Series(values, dtype=frame[column].dtype)
    prints = [
        cohort_from_frame(f, spec_from_dict(spec, root=tmp_path)).fingerprint
        for f in (frame, frame.copy(), changed)
    ]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ("7 8 9", [7, 8, 9]),
        ("007 8 9", ["007", "8", "9"]),
        ("a 1 2", ["a", "1", "2"]),
        ("1.0 2 3", ["1.0", "2", "3"]),
    ],
)
def test_ids_are_whole_numbers_only_if_nothing_is_lost(
    ids: str, expected: list[object], tmp_path: Path
) -> None:
    rows = "".join(f"{i},{n % 2},{n}\n" for n, i in enumerate(ids.split()))
    assert table_cohort(tmp_path, "i,y,x\n" + rows).ids.tolist() == expected


@pytest.mark.parametrize(
    ("labels", "classes", "index"),
    [
        ("10 9 9 10", ("9", "10"), [1, 0, 0, 1]),
        ("1.0 0.0 1 0", ("0", "1"), [1, 0, 1, 0]),
        ("True False true False", ("0", "1"), [1, 0, 1, 0]),
        ("yes no yes 1", ("1", "no", "yes"), [2, 1, 2, 0]),
    ],
)
def test_classes_are_named_and_ordered(
    labels: str, classes: tuple[str, ...], index: list[int], tmp_path: Path
) -> None:
    rows = "".join(f"{n},{label},{n}\n" for n, label in enumerate(labels.split()))
    cohort = table_cohort(tmp_path, "i,y,x\n" + rows)
    assert cohort.classes == classes
    assert cohort.label_N is not None
    assert cohort.label_N.tolist() == index


@pytest.mark.parametrize(
    ("labels", "positive", "classes", "index"),
    [
        ("ja nein nein ja", '"ja"', ("nein", "ja"), [1, 0, 0, 1]),
        ("ja nein nein ja", '"nein"', ("ja", "nein"), [0, 1, 1, 0]),
        ("0 1 1 0", "0", ("1", "0"), [1, 0, 0, 1]),
        ("0 1 1.0 0", '"0"', ("1", "0"), [1, 0, 0, 1]),
        ("0.5 1 1 0.5", "0.50", ("1", "0.5"), [1, 0, 0, 1]),
        ("0 1 1 0", "1", ("0", "1"), [0, 1, 1, 0]),
        ("True False False True", "false", ("1", "0"), [0, 1, 1, 0]),
    ],
)
def test_the_positive_class_is_the_last_of_two(
    labels: str, positive: str, classes: tuple[str, ...], index: list[int], tmp_path: Path
) -> None:
    """A cohort that names the one it had anyway is the same cohort, any other is another."""
    rows = "".join(f"{n},{label},{n}\n" for n, label in enumerate(labels.split()))
    cohort = table_cohort(tmp_path, "i,y,x\n" + rows, task="binary", positive=positive)
    assert (cohort.classes, cohort.positive) == (classes, classes[1])
    assert cohort.label_N is not None
    assert cohort.label_N.tolist() == index
    assert spec_from_dict(cohort.spec.to_dict(), root=tmp_path).cohort == cohort.spec.cohort
    without = table_cohort(tmp_path, "i,y,x\n" + rows, task="binary")
    assert "positive" not in without.spec.to_dict()["cohort"]
    assert (without.fingerprint == cohort.fingerprint) == (without.classes == classes)


def test_of_three_classes_none_is_positive(tmp_path: Path) -> None:
    csv = "i,y,x\n0,a,1\n1,b,2\n2,c,3\n"
    assert table_cohort(tmp_path, csv).positive is None
    with pytest.raises(InputError) as refused:
        table_cohort(tmp_path, csv, positive='"b"')
    assert str(refused.value) == (
        f'{tmp_path / "cohort.toml"}: [cohort] positive = "b" is for a label of two classes, '
        'but "y" has 3 (a, b, c): remove the key'
    )


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ("1 2 -3e2 .5", [1.0, 2.0, -300.0, 0.5]),
        ("+1 2. NA NaN", [1.0, 2.0, None, None]),
        ("True False TRUE NULL", [1.0, 0.0, 1.0, None]),
        ("007 8 9 10", [7.0, 8.0, 9.0, 10.0]),
        ("1 a 2 b", ["1", "a", "2", "b"]),
        ("NA NA NA NA", [None] * 4),
        ("a b NA a", ["a", "b", None, "a"]),
        ("Yes No Yes No", ["Yes", "No", "Yes", "No"]),
    ],
)
def test_csv_cells_become_numbers_or_categories(
    cells: str, expected: list[object], tmp_path: Path
) -> None:
    rows = "".join(f"{n},{n % 2},{cell}, 1 \n" for n, cell in enumerate(cells.split()))
    series = table_cohort(tmp_path, "\ufeffi,y,x,z\n" + rows, '"x", "z"').values["m"]["x"]
    assert [None if pd.isna(value) else value for value in series] == expected


def test_typed_columns_keep_their_meaning(tmp_path: Path) -> None:
    spec = spec_from_dict(
        load_spec(write_cohort(tmp_path)).to_dict()
        | {
            "split": {"val": 0.0, "test": 0.0},
            "modalities": {"m": {"kind": "tabular", "columns": list("abcdef")}},
        },
        root=tmp_path,
    )
    n = 4
    frame = pd.DataFrame(
        {
            "pid": [1.0, 2.0, 3.0, 4.0],
            "person": list("pqrs"),
            "died": [True, False, True, False],
            "a": pd.Categorical([3, 10, 3, None]),
            "b": ["1", "2", " ", "3"],
            "c": pd.array([1, None, 2, 3], dtype="Int64"),
            "d": pd.Series([1, 2.5, None, True], dtype=object),
            "e": [None] * n,
            "f": pd.Series(["x", 1, None, "y"], dtype=object),
        }
    )
    cohort = cohort_from_frame(frame, spec)
    values = cohort.values["m"]
    assert cohort.ids.tolist() == [1, 2, 3, 4]
    assert cohort.classes == ("0", "1")
    assert values["a"].cat.categories.tolist() == ["10", "3"]
    assert values["b"].cat.categories.tolist() == ["1", "2", "3"]
    assert values["b"].isna().tolist() == [False, False, True, False]
    np.testing.assert_array_equal(values["c"], [1, np.nan, 2, 3])
    np.testing.assert_array_equal(values["d"], [1, 2.5, np.nan, 1])
    assert values["e"].isna().all()
    assert values["f"].cat.categories.tolist() == ["1", "x", "y"]


def test_selecting_rows_keeps_their_values(tmp_path: Path) -> None:
    cohort = read_cohort(write_cohort(tmp_path))
    rows = np.array([7, 0, 3])
    part = cohort.select(rows)
    assert part.ids.tolist() == ["0007", "0000", "0003"]
    assert part.values["vitals"]["hr"].tolist() == cohort.values["vitals"]["hr"][rows].tolist()
    np.testing.assert_array_equal(part.values["ecg"], cohort.values["ecg"][rows])
    assert part.fingerprint != cohort.fingerprint


def test_describe_counts_what_is_there(tmp_path: Path) -> None:
    cohort = read_cohort(write_cohort(tmp_path))
    told = describe(cohort)
    train = cohort.rows("train")
    assert (told["name"], told["num_patients"], told["num_persons"]) == ("small", 60, 30)
    assert sum(split["n"] for split in told["splits"].values()) == 60
    assert [item["columns"] for item in told["modalities"]] == [
        ["hr", "ward"],
        ["lactate", "crp", "ventilated"],
        ["ecg"],
    ]
    assert told["modalities"][2]["observed"] == cohort.present_NM[:, 2].mean()
    distinct = {tuple(row) for row in cohort.present_NM[train].tolist()}
    assert told["groups"]["num_train"] == len(distinct)
    assert sum(band["patients"] for band in told["groups"]["bands"].values()) == 60
    first = told["groups"]["most_frequent"][0]
    assert first["n_train"] == max(item["n_train"] for item in told["groups"]["most_frequent"])
    assert told["groups"]["rarest"][0]["n_train"] <= first["n_train"]


def test_the_long_tail_of_equal_and_of_unequal_groups() -> None:
    assert long_tail(np.array([5, 5, 5, 5])) == pytest.approx(
        {"gini": 0, "effective_groups": 4, "inverse_simpson": 4}
    )
    told = long_tail(np.array([1, 3]))
    assert told["gini"] == pytest.approx(0.25)
    assert told["inverse_simpson"] == pytest.approx(1.6)
    assert told["effective_groups"] == pytest.approx(
        np.exp(-0.25 * np.log(0.25) - 0.75 * np.log(0.75))
    )


# A table to predict


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cohort, Encoding]:
    cohort = read_cohort(write_cohort(tmp_path_factory.mktemp("trained")))
    return cohort, Encoding.fit(cohort, cohort.rows("train"))


def read_back(
    trained: tuple[Cohort, Encoding], folder: Path, frame: pd.DataFrame, name: str = "new.parquet"
) -> Cohort:
    cohort, encoding = trained
    return read_table_for_prediction(
        cohort.spec, write_table(folder / name, frame), encoding=encoding
    )


@pytest.mark.parametrize("name", ["new.parquet", "new.csv"])
def test_a_table_to_predict_needs_neither_label_nor_split(
    name: str, trained: tuple[Cohort, Encoding], tmp_path: Path
) -> None:
    cohort, encoding = trained
    frame = small_frame().drop(columns=["died", "split", "person"]).assign(extra="x")
    new = read_back(trained, tmp_path, frame, name)
    assert (new.label_N, new.split) == (None, None)
    old, again = encoding.transform(cohort), encoding.transform(new)
    assert (again.values["tabular"].row_NC == old.values["tabular"].row_NC).all()
    assert (again.values["vector"]["ecg"] == old.values["vector"]["ecg"]).all()
    assert set(again.label_N) == {-1}
    assert (again.ids == old.ids).all()


def test_labels_and_splits_are_not_read(trained: tuple[Cohort, Encoding], tmp_path: Path) -> None:
    frame = small_frame().assign(died=[["junk"]] * 60, split="nonsense")
    assert read_back(trained, tmp_path, frame).label_N is None


def test_an_absent_modality_is_unobserved(trained: tuple[Cohort, Encoding], tmp_path: Path) -> None:
    _, encoding = trained
    new = read_back(trained, tmp_path, small_frame().loc[:, ["pid", "hr", "ward"]].dropna())
    assert new.present_NM.tolist() == [[True, False, False]] * len(new)
    encoded = encoding.transform(new)
    columns = encoding.schemas["tabular"].columns
    assert (encoded.values["tabular"].row_NC[:, 2:] == [c.missing_row for c in columns[2:]]).all()
    assert encoded.values["vector"]["ecg"].shape == (len(new), 4)


def test_what_training_found_decides_what_a_column_is(
    trained: tuple[Cohort, Encoding], tmp_path: Path
) -> None:
    _, encoding = trained
    frame = pd.DataFrame({"pid": [1, 2], "hr": ["81", "79.5"], "ward": [3, 4]})
    new = read_back(trained, tmp_path, frame)
    assert new.values["vitals"]["hr"].tolist() == [81.0, 79.5]
    ward = encoding.schemas["tabular"].columns[1]
    assert set(encoding.transform(new).values["tabular"].row_NC[:, 1]) == {ward.unknown_row}


MISFITS = {
    "part of a modality": (
        ["pid", "hr", "ward", "lactate"],
        {},
        [
            'only a part of the modality labs: "crp", "ventilated" are missing',
            "add the columns, or remove",
        ],
    ),
    "part, misspelt": (
        ["pid", "hr", "ward", "lactate", "ventilated", "CRP "],
        {},
        ['"crp" is missing; it has "CRP ": is that "crp"?'],
    ),
    "whole, misspelt": (
        ["pid", "lactate", "crp", "ventilated", "ecgs", "ECG"],
        {},
        ['lacks the modality ecg ("ecg")', 'is that "ecg"?'],
    ),
    "no modality": (
        ["pid", "other"],
        {},
        ['has no column of any modality: expected "hr", "ward", "lactate"'],
    ),
    "no id": (["hr", "ward"], {}, ['has no column "pid"', 'the key "id"']),
    "text in a numeric column": (
        ["pid", "hr", "ward"],
        {"hr": "fast"},
        ['row 1: column "hr" holds "fast"', "numeric column"],
    ),
    "infinite": (["pid", "hr", "ward"], {"hr": np.inf}, ['row 1: column "hr" holds inf']),
    "repeated id": (["pid", "hr", "ward"], {"pid": 4}, ['row 2: the id "4"', "row 1"]),
    "nobody observed": (
        ["pid", "hr", "ward"],
        {"hr": np.nan, "ward": None},
        ["row 1: 4 patients have no modality at all (id 0000, 0001, 0002, 0003)"],
    ),
    "shorter vector": (
        ["pid", "ecg"],
        {},
        ['row 1: the vector in column "ecg" has 2 numbers, expected 4'],
    ),
}


@pytest.mark.parametrize("name", MISFITS)
def test_a_table_that_does_not_fit_is_refused_by_its_difference(
    name: str, trained: tuple[Cohort, Encoding], tmp_path: Path
) -> None:
    columns, values, fragments = MISFITS[name]
    frame = small_frame()[:4].reindex(columns, axis=1)
    if name == "shorter vector":
        frame["ecg"] = [vector[:2] for vector in frame["ecg"]]
    with pytest.raises(InputError) as caught:
        read_back(trained, tmp_path, frame.assign(**values))
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_a_frame_is_predicted_by_the_same_rules(trained: tuple[Cohort, Encoding]) -> None:
    cohort, encoding = trained
    new = cohort_from_frame(small_frame()[["pid", "ecg"]].dropna(), cohort.spec, encoding=encoding)
    assert new.present_NM.sum(axis=0).tolist() == [0, 0, len(new)]
    with pytest.raises(InputError, match="the frame has only a part of the modality vitals"):
        cohort_from_frame(small_frame()[["pid", "hr"]], cohort.spec, encoding=encoding)


def test_invalid_vectors_may_count_as_missing(tmp_path: Path) -> None:
    """The modality is unobserved in these patients, and a sentence says why for each of them."""
    frame = small_frame()
    vectors = list(frame["ecg"])
    vectors[0], vectors[1] = vectors[0][:3], np.array([1, np.nan, 0, 0], np.float32)
    toml = TOML.replace('column = "ecg"', 'column = "ecg"\non_invalid = "missing"')
    folder = write_frame(tmp_path, frame.assign(ecg=vectors), toml=toml)
    cohort = read_cohort(folder)
    assert not cohort.present_NM[:2, 2].any()
    expected = frame["ecg"].notna().to_numpy()[2:]
    np.testing.assert_array_equal(cohort.present_NM[2:, 2], expected)
    short, not_finite = cohort.invalid["ecg"]
    assert "row 1" in short
    assert "has 3 numbers, expected 4" in short
    assert "row 2" in not_finite
    assert describe(cohort)["modalities"][2]["invalid"] == [short, not_finite]
