"""Tables as people have them: odd numbers, names and types are read right, or refused in words."""

import json
import re
import tracemalloc
import uuid
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from remind.cohort import (
    Cohort,
    Encoding,
    cohort_from_frame,
    load_spec,
    read_cohort,
    read_table_for_prediction,
)
from remind.cohort.columns import read_feature, read_ids, text_of_numbers
from remind.cohort.kinds import KINDS
from remind.cohort.kinds.events import coded_text
from remind.cohort.summary import SUMMARY
from remind.cohort.tables import LazyColumns, Table, read_columns
from remind.errors import InputError, InputWarning
from tests.cohort.make_events import patients, write
from tests.commands import remind

LABS = '[modalities.labs]\nkind = "series"\ntable = "labs.csv"\n'
X = '[modalities.m]\nkind = "tabular"\ncolumns = ["x"]\n'
COMMA = "holds numbers with a decimal comma; write them with a point"
THOUSANDS = "holds numbers with signs between thousands; write them without, and decimals with a p"
DATES = "holds dates; give a number instead, such as hours since admission"
AS_TEXT = "holds numbers as text; store them as numbers (if they are categories, use words for all)"
ELSE = "but its values are otherwise numbers (if they are categories, use words for all): write a"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMIND_CACHE", str(tmp_path / "cache"))


def with_column(folder: Path, cells: list[str]) -> Cohort:
    """The cohort with these cells, again and again, in a column x."""
    return read_cohort(write(folder, X, patients().assign(x=np.resize(cells, 10))))


def with_text(folder: Path, cells: Any) -> Cohort:
    """The same in a Parquet file, whose column x is text, or what the cells are."""
    num = max(len(cells), 10)
    x = pd.Series(cells).iloc[np.arange(num) % len(cells)].reset_index(drop=True)
    write(folder, X)
    toml = (folder / "cohort.toml").read_text().replace("patients.csv", "p.parquet")
    (folder / "cohort.toml").write_text(toml)
    patients(num).assign(x=x).to_parquet(folder / "p.parquet", index=False)
    return read_cohort(folder)


def with_labs(folder: Path, rows: list[tuple], keys: str = "") -> Cohort:
    folder = write(folder, LABS + keys)
    frame = pd.DataFrame(rows, columns=["pid", "time", "variable", "value"])
    frame.to_csv(folder / "labs.csv", index=False)
    return read_cohort(folder)


def with_series(folder: Path, cells: list[str]) -> Cohort:
    """The cohort with these cells, again and again, as values of a variable x."""
    return with_labs(folder, [(p, 1.0, "x", cell) for p, cell in enumerate(np.resize(cells, 10))])


@pytest.mark.parametrize("read", [with_column, with_series])
@pytest.mark.parametrize(
    ("cells", "parts"),
    [
        (["36,8", "37", "37,2"], [COMMA]),
        (["+1,5", "-2", ".", "2,5"], [COMMA]),
        ([".", "36.8"], ["row 1: ", 'holds "."', ELSE]),
        (["5", "N/A", "-", "none"], ["row 2: ", 'holds "N/A"', ELSE]),
        (["2020-01-05", "?"], [DATES]),
        (["16.01.1961", "3.12.2024"], [DATES]),
        (["01/16/1961", "1/2/61 14:30"], [DATES]),
        (["16-01-1961", "2020-01-05T10:00:00Z"], [DATES]),
        (["16JAN1961", "3-Dec-24", "May 5, 2020"], [DATES]),
        (["36,8", "37", "37.2", "<35,5"], [COMMA]),
        (["1.140,0", "36,8", "37"], [THOUSANDS]),
        (["1,140.0", "2,300", "1,500,000"], [THOUSANDS]),
        (["1 140", "<2 300"], [THOUSANDS]),
    ],
)
def test_numbers_in_disguise_are_no_categories(
    read: Any, cells: list[str], parts: list[str], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r'(column|the variable) "x" holds ') as caught:
        read(tmp_path, cells)
    assert all(part in str(caught.value) for part in parts)


@pytest.mark.parametrize("read", [with_column, with_text, with_series])
@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (
            ["<0.37"] * 30 + [f"{n / 10}" for n in range(20)],
            'numbers and limits such as "<0.37"; write a number for each',
        ),
        (
            [f"{n / 10} bpm" for n in range(1, 20)] + [f"<{n}bpm" for n in range(30)],
            'numbers with a unit, such as "0.1 bpm"; write the numbers alone',
        ),
        ([f"{n} %" for n in range(31)] + ["?", "12"], 'numbers with a unit, such as "0 %"'),
        ([f"{n % 24}:{n + 10}" for n in range(31)] + ["?"], "times of day; give a number instead"),
        ([f"0{n % 9 + 1}:00:{n + 10} pm" for n in range(31)], "times of day; give a number"),
        ([f"{1990 + n}-0{n % 9 + 1}" for n in range(31)], "months; give a number instead"),
        ([f"Sep {1990 + n}" for n in range(31)], "months; give a number instead"),
    ],
)
def test_many_numbers_with_limits_or_a_unit_are_no_categories(
    read: Any, cells: list[str], reason: str, tmp_path: Path
) -> None:
    if read is with_series:
        cells = sorted(cells, key=cells.count)
        rows = [(n % 10, float(n), "x", cell) for n, cell in enumerate(cells)]
        with pytest.raises(InputError, match=re.escape(f'the variable "x" holds {reason}')):
            with_labs(tmp_path, rows)
        return
    if read is with_column:
        write(tmp_path, X, patients(len(cells)).assign(x=cells))
    with pytest.raises(InputError, match=re.escape(f'column "x" holds {reason}')):
        read_cohort(tmp_path) if read is with_column else read(tmp_path, cells)


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (["76.7", "80.1"], AS_TEXT),
        (["NA"] * 9 + ["N/A", "76.7"], AS_TEXT),
        (["76.7", "80.1", "<0.37"], AS_TEXT),
        ([f"{n}" for n in range(31)], AS_TEXT),
        (pd.Categorical([f"{n / 2}" for n in range(11)]), AS_TEXT),
        (["16.01.1961"], DATES),
        (["36,8"], COMMA),
        (pd.Categorical(pd.to_datetime(["2020-01-05"])), "holds dates or times; give a number"),
    ],
)
def test_text_of_a_typed_table_is_looked_at_too(cells: Any, reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(f'p.parquet: column "x" {reason}')):
        with_text(tmp_path, cells)


@pytest.mark.parametrize(
    "cells",
    [
        [f"{n}" for n in range(1, 31)],  # wards
        ["1.0", "2.0"],
        [f"{n:04}" for n in range(5, 45)],  # names, for all that they are many
        ["true", "false"],
        ["2.5 mg", "5 mg", "10 mg"],
        ["<65", "65", ">65"],
        [f"{n}{'AB'[n % 2]}" for n in range(40)],
        ["1.1.10", "2.1.13"],
        ["120/80", "1:40"],
        [f"{n}:00" for n in range(24)],  # shifts
        [f"{n}:{n % 6}" for n in range(1, 40)],  # ratios
        pd.Categorical(["0.5", "2.5"]),
    ],
)
def test_few_numbers_and_names_of_digits_stay_categories(cells: Any, tmp_path: Path) -> None:
    x = with_text(tmp_path, cells).values["m"]["x"]
    assert x.cat.categories.tolist() == sorted(set(cells))


def test_a_column_that_names_patients_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not with few values, nor in a table to predict."""
    write(tmp_path, X, patients(60).assign(x=[f"P{min(n, 30)}" for n in range(60)]))
    sentence = (
        'patients.csv: column "x" has 31 categories for 60 values, as identifiers have, and tells '
        'little of other patients: leave it out, or read sentences with kind = "text"'
    )
    with pytest.warns(InputWarning, match=re.escape(sentence)):
        cohort = read_cohort(tmp_path)
    encoding = Encoding.fit(cohort, cohort.rows("train"))
    read_table_for_prediction(cohort.spec, tmp_path / "patients.csv", encoding=encoding)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert remind(monkeypatch, "describe", tmp_path, "--json") == 0
    said = capsys.readouterr()
    assert said.err == f"remind: {tmp_path}/{sentence}\n"
    assert json.loads(said.out)["num_patients"] == 60
    for some, num in (([f"P{n % 30}" for n in range(60)], 60), ([f"P{n}" for n in range(49)], 49)):
        read_cohort(write(tmp_path, X, patients(num).assign(x=some)))


@pytest.mark.parametrize("read", [with_column, with_series])
@pytest.mark.parametrize("cells", [["none", "-"], ["none", "1", "2+"], ["1,a", "2"]])
def test_words_beside_signs_and_numbers_are_categories(
    read: Any, cells: list[str], tmp_path: Path
) -> None:
    encoding = Encoding.fit(cohort := read(tmp_path, cells), cohort.rows("train"))
    if read is with_series:
        assert cohort.values["labs"].categories == (tuple(sorted(cells)),)
    else:
        (column,) = [c for c in encoding.schemas["tabular"].columns if c.name == "x"]
        assert column.categories == tuple(sorted(cells))


def test_big_whole_numbers_stay_apart() -> None:
    codes = pa.chunked_array([[2**53 + 1, 2**53, None], [2**53 + 1]])
    assert text_of_numbers(codes).to_pylist() == [str(2**53 + 1), str(2**53), None, str(2**53 + 1)]
    index_V, names = coded_text(codes)
    assert (index_V.tolist(), names.tolist()) == ([1, 0, -1, 1], [str(2**53), str(2**53 + 1)])


def test_one_long_text_does_not_make_all_texts_long(tmp_path: Path) -> None:
    texts = [*(f"text {n}" for n in range(500, 1000)), "a" * 200_000]
    data = pa.table({"x": texts})
    table = Table(data=data, shards=(("t", 501),), untyped=frozenset(), folder=tmp_path)
    tracemalloc.start()
    categories = read_feature(table, "x").cat.categories.tolist()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert categories == [texts[-1], *texts[:-1]]
    assert peak < 20e6


@pytest.mark.parametrize("way", ["a name with signs", "an absolute glob", "a folder with signs"])
def test_signs_of_a_glob_may_be_part_of_a_name(way: str, tmp_path: Path) -> None:
    folder = tmp_path / ("study [2024]" if way == "a folder with signs" else "study")
    file, table = {
        "a name with signs": ("labs[1].csv", "labs[1].csv"),
        "an absolute glob": ("labs/1.csv", f"{folder.as_posix()}/labs/*.csv"),
        "a folder with signs": ("labs/1.csv", "labs/*.csv"),
    }[way]
    write(folder, LABS.replace("labs.csv", table))
    (folder / file).parent.mkdir(exist_ok=True)
    pd.DataFrame({"pid": range(10), "time": 1.0, "variable": "x", "value": range(10)}).to_csv(
        folder / file, index=False
    )
    cohort = read_cohort(folder)
    encoding = Encoding.fit(cohort, cohort.rows("train"))
    patients().to_csv(folder / "new.csv", index=False)
    new = read_table_for_prediction(cohort.spec, folder / "new.csv", encoding=encoding)
    assert new.present_NM.all()


def test_sodium_is_a_variable_and_no_missing_value(tmp_path: Path) -> None:
    rows = [(p, 1.0, variable, p) for p in range(10) for variable in ("NA", "K")]
    raw = with_labs(tmp_path, [*rows, (0, 2.0, "NA", "NULL"), (1, 2.0, "K", "NA")]).values["labs"]
    assert raw.variables == ("K", "NA")
    assert raw.events.counts_N.tolist() == [2] * 10
    with pytest.raises(InputError, match='row 21: the variable "variable" is missing'):
        with_labs(tmp_path, [*rows, (0, 2.0, "", 1)])


def test_counts_of_notes_are_told_from_words_of_notes(tmp_path: Path) -> None:
    """And the word b_more of the text a from the word more of the text a_b."""
    one = ["notes words" if p % 3 else "b_more" for p in range(40)]
    frame = patients(40).assign(a=one, a_b=["more" if p % 2 else "less less" for p in range(40)])
    sections = [f'[modalities.{name}]\nkind = "text"\ncolumn = "{name}"\n' for name in ("a", "a_b")]
    cohort = read_cohort(write(tmp_path, "".join(sections), frame))
    encoding = Encoding.fit(cohort, cohort.rows("train"))
    flat = KINDS["text"].flat(encoding.schemas["text"], cohort.values)
    assert flat is not None
    cells = encoding.transform(cohort).batch(np.arange(40)).values[SUMMARY]
    columns = {(flat.modality_F[f], name): f for f, name in enumerate(flat.names)}
    assert len(columns) == len(flat.names)
    for column in encoding.schemas[SUMMARY].columns:
        is_its_V = np.isin(cells.row_V, column.first_row + np.arange(column.num_rows))
        x_N = flat.x_NF[:, columns[column.modality, column.name]]
        is_unusual_N = np.isin(np.arange(40), cells.owner_V[is_its_V])
        assert not set(x_N[is_unusual_N]) & set(x_N[~is_unusual_N]), column.name
    assert flat.x_NF[1, columns[1, "a_number of words"]] == 2


def test_text_has_offsets_for_more_than_two_gibibytes(tmp_path: Path) -> None:
    table = pa.table({"s": ["a", None], "l": [["b", "c"], None], "n": [[1.5], None]})
    pq.write_table(table, tmp_path / "t.parquet")
    pd.DataFrame({"s": ["a", None]}).to_csv(tmp_path / "t.csv", index=False)
    read = read_columns([tmp_path / "t.parquet"], ["s", "l", "n"], tmp_path).data
    assert read["s"].type == read_columns([tmp_path / "t.csv"], ["s"], tmp_path).data["s"].type
    assert [read[name].type for name in "sln"] == [
        pa.large_string(),
        pa.list_(pa.large_string()),
        pa.list_(pa.float64()),
    ]
    assert [read[name].to_pylist() for name in "sln"] == [table[name].to_pylist() for name in "sln"]


def test_uuids_are_ids(tmp_path: Path) -> None:
    ids = [uuid.UUID(int=7**n) for n in range(10)]
    frame = patients().assign(pid=ids)
    write(tmp_path, "")
    from_frame = cohort_from_frame(frame, load_spec(tmp_path))
    toml = (tmp_path / "cohort.toml").read_text().replace("patients.csv", "p.parquet")
    (tmp_path / "cohort.toml").write_text(toml)
    pq.write_table(
        pa.table({**frame.drop(columns="pid"), "pid": pa.array([i.bytes for i in ids], pa.uuid())}),
        tmp_path / "p.parquet",
    )
    assert read_cohort(tmp_path).ids.tolist() == [str(i) for i in ids]
    assert from_frame.fingerprint == read_cohort(tmp_path).fingerprint


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary(2)])
def test_bytes_are_no_ids(kind: pa.DataType, tmp_path: Path) -> None:
    data = pa.table({"pid": pa.array([b"\xff\x00", b"ab"], kind)})
    table = Table(data=data, shards=(("t", 2),), untyped=frozenset(), folder=tmp_path)
    with pytest.raises(
        InputError, match=f't: the id "pid" holds values of type {re.escape(str(kind))}'
    ):
        read_ids(table, "pid", "id")


def test_paths_of_vectors_may_be_a_dictionary(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.arange(3.0))
    frame = patients().assign(v=pd.Categorical(["v.npy", None, " ", *["v.npy"] * 7]))
    write(tmp_path, '[modalities.v]\nkind = "vector"\ncolumn = "v"\n')
    cohort = cohort_from_frame(frame, load_spec(tmp_path))
    assert cohort.present_NM[:, 1].tolist() == [True, False, False, *[True] * 7]


@pytest.mark.parametrize("kind", ["codes", "vector"])
def test_a_column_without_any_value_is_of_any_type(kind: str, tmp_path: Path) -> None:
    values = [["I10"], ["I20"]] if kind == "codes" else [[1.0], [2.0]]
    write(tmp_path, f'[modalities.m]\nkind = "{kind}"\ncolumn = "m"\n')
    cohort = cohort_from_frame(patients().assign(m=values * 5), load_spec(tmp_path))
    encoding = Encoding.fit(cohort, cohort.rows("train"))
    new = cohort_from_frame(patients().assign(m=np.nan), cohort.spec, encoding=encoding)
    assert new.present_NM.sum(axis=0).tolist() == [10, 0]


def test_columns_with_a_dot_in_their_name_count_as_big(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remind.cohort.tables.LAZY_BYTES", 30)
    table = pa.table({"a.b": range(10), "l": [[n] for n in range(10)], "l2": [1] * 10})
    pq.write_table(table, tmp_path / "t.parquet")
    for name in ("a.b", "l"):
        data = read_columns([tmp_path / "t.parquet"], [name], tmp_path).data
        assert isinstance(data, LazyColumns)
        assert data[name].to_pylist() == table[name].to_pylist()


def test_a_cohort_toml_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    file = write(tmp_path, "") / "cohort.toml"
    file.write_text(file.read_text(), encoding="utf-8-sig")
    assert read_cohort(tmp_path).spec.cohort.name == "events"


def test_a_cell_that_is_no_number_may_count_as_missing(tmp_path: Path) -> None:
    """In a table to predict too; whoever has another column is observed."""
    cells = ["1.5", "<0.5", "2.5", "inf", *["3.5"] * 6]
    frame = patients().assign(x=cells)
    with pytest.raises(InputError) as error:
        read_cohort(write(tmp_path / "cohort", X, frame))
    assert 'patients.csv, row 2: column "x" holds "<0.5", but most of its' in str(error.value)
    assert str(error.value).endswith('(or set on_invalid = "missing" in [modalities.m])')
    cohort = read_cohort(write(tmp_path / "cohort", X + 'on_invalid = "missing"', frame))
    expected = [1.5, np.nan, 2.5, np.nan, *[3.5] * 6]
    np.testing.assert_array_equal(cohort.values["m"]["x"], expected)
    assert cohort.present_NM[:, 1].tolist() == [cell == cell for cell in expected]
    first, second = cohort.invalid["m"]
    assert 'row 2: column "x" holds "<0.5"' in first
    assert 'row 4: column "x" holds inf, which is not a finite 32-bit number' in second
    encoding = Encoding.fit(cohort, cohort.rows("train"))
    frame.assign(x=["high", *cells[1:]]).to_csv(tmp_path / "new.csv", index=False)
    new = read_table_for_prediction(cohort.spec, tmp_path / "new.csv", encoding=encoding)
    np.testing.assert_array_equal(new.values["m"]["x"], [np.nan, *expected[1:]])
    assert len(new.invalid["m"]) == 3
