"""Series: what a long table may hold, what becomes of it, and what is refused."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remind.cohort import KINDS, Cohort, Encoding, describe, flat_table, read_cohort
from remind.cohort.kinds.reading import OtherIds
from remind.cohort.kinds.series_events import SeriesEvents
from remind.cohort.kinds.series_schema import SeriesModality
from remind.cohort.kinds.series_summary import STATISTICS, summarise
from remind.cohort.kinds.series_variables import encode_values
from remind.errors import InputError, InputWarning
from tests.cohort.make_events import patients, predicted, write

SECTION = '[modalities.labs]\nkind = "series"\ntable = "labs.csv"\n'
ROWS = [  # unsorted, with a stranger (99) and a duplicate; patient 3 has nothing
    (1, 5.0, "lactate", "2.5"),
    (0, 3.0, "lactate", "1.5"),
    (0, 1.0, "lactate", "1.0"),
    (0, 1.0, "culture", "positive"),
    (0, 2.0, "culture", "negative"),
    (99, 0.0, "other", "7"),
    (1, 5.0, "lactate", "2.5"),
    (2, 7.5, "ventilated", "true"),
    (4, 0.5, "ventilated", "false"),
    (4, 9.0, "culture", ""),
    (8, 1.0, "culture", "positive"),
    (9, 4.0, "lactate", "9.0"),
    (9, 4.0, "sodium", "140"),
]
NAMES = ["pid", "time", "variable", "value"]


def frame(rows: list[tuple] = ROWS) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=NAMES)


def cohort_of(
    folder: Path, rows: list[tuple] = ROWS, keys: str = "", suffix: str = "csv"
) -> Cohort:
    """The cohort with these events."""
    write(folder, SECTION.replace("labs.csv", f"labs.{suffix}") + keys)
    table = frame(rows)
    if suffix == "parquet":
        table.to_parquet(folder / "labs.parquet")
    else:
        table.to_csv(folder / f"labs.{suffix}", index=False)
    return read_cohort(folder)


def fitted(cohort: Cohort) -> tuple[Encoding, SeriesModality]:
    encoding = Encoding.fit(cohort, cohort.rows("train"))
    return encoding, encoding.schemas["series"].modalities[0]


def test_events_are_sorted_typed_and_counted(tmp_path: Path) -> None:
    """Strangers are ignored, a row without a value is no event, true and false are numbers."""
    cohort = cohort_of(tmp_path)
    raw: SeriesEvents = cohort.values["labs"]
    assert raw.variables == ("culture", "lactate", "sodium", "ventilated")
    assert raw.categories == (("negative", "positive"), None, None, None)
    assert raw.events.counts_N.tolist() == [4, 2, 1, 0, 1, 0, 0, 0, 1, 2]
    own = {name: values[:4].tolist() for name, values in raw.events.columns.items()}
    assert own == {"variable": [0, 0, 1, 1], "time": [1, 2, 1, 3], "value": [1, 0, 1, 1.5]}
    assert raw.events.columns["value"][6:8].tolist() == [1, 0]
    assert raw.num_empty_N.tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]
    assert cohort.present_NM[:, 1].tolist() == [c > 0 for c in raw.events.counts_N]


@settings(max_examples=10, deadline=None)
@given(
    order=st.permutations(range(len(ROWS))), suffix=st.sampled_from(["csv", "parquet", "csv.gz"])
)
def test_neither_the_order_of_rows_nor_the_format_matters(
    order: list[int], suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("series")
    first = cohort_of(folder / "a")
    again = cohort_of(folder / "b", [ROWS[i] for i in order], suffix=suffix)
    assert again.fingerprint == first.fingerprint


def test_a_numeric_value_column_and_a_changed_value_are_seen(tmp_path: Path) -> None:
    """Numbers of Parquet are those of text; one other number is another fingerprint."""
    rows = [(i, float(i), "a", 0.1 * i) for i in range(10)]
    text = cohort_of(tmp_path / "a", [(*row[:3], str(row[3])) for row in rows])
    number = cohort_of(tmp_path / "b", rows, suffix="parquet")
    assert number.fingerprint == text.fingerprint
    for changed in ((3, 3.0, "a", 0.4), (3, 3.5, "a", 0.3), (3, 3.0, "b", 0.3)):
        other = cohort_of(tmp_path / "c", [*rows[:3], changed, *rows[4:]], suffix="parquet")
        assert other.fingerprint != number.fingerprint


def test_nothing_outside_of_the_hours_is_read(tmp_path: Path) -> None:
    """Text in a numeric variable, or a new variable, after the cut-off does not even exist."""
    late = [(i, 48.5, "lactate", "high") for i in range(10)] + [(5, 50.0, "new", "1")]
    early = [(0, -1.0, "lactate", "low")]
    bounded = cohort_of(tmp_path / "a", ROWS + late + early, "since = 0\nuntil = 48")
    assert bounded.fingerprint == cohort_of(tmp_path / "b").fingerprint
    assert bounded.values["labs"].num_outside_N.tolist() == [2, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    exact = cohort_of(tmp_path / "c", ROWS, "until = 5.0")
    assert exact.values["labs"].events.counts_N.tolist() == [4, 2, 0, 0, 1, 0, 0, 0, 1, 2]


BAD = [
    (
        (5, 1.0, "lactate", "high"),
        'the variable "lactate" holds "high" in column "value", but most ',
    ),
    (
        (5, 1.0, "lactate", "inf"),
        'the variable "lactate" holds inf in column "value", which is not',
    ),
    ((5, 1.0, "lactate", "1e60"), 'the variable "lactate" holds 1e60 in column "value", which'),
    ((5, "soon", "lactate", "1"), 'the time "time" is "soon", which is not a number of hours: '),
    ((5, "-1e20", "lactate", "1"), 'the time "time" is "-1e20", which is not a number of hours: '),
    ((5, "", "lactate", "1"), 'the time "time" is missing: fill it in or leave the row out'),
    ((5, "inf", "lactate", "1"), 'the time "time" is "inf", which is not a number'),
    ((5, 1.0, "", "1"), 'the variable "variable" is missing: fill it in or leave the row out'),
]


@pytest.mark.parametrize(("row", "sentence"), BAD)
def test_an_invalid_value_is_an_error_or_its_row_is_left_out(
    row: tuple, sentence: str, tmp_path: Path
) -> None:
    """One sentence with file and row; under "missing" the other rows of the patient stay."""
    good = [*ROWS, (5, 2.0, "lactate", "1")]
    rows = [*good, row]
    with pytest.raises(InputError, match=r"labs.csv, row 15: " + re.escape(sentence)) as error:
        cohort_of(tmp_path, rows)
    assert str(error.value).endswith('(or set on_invalid = "missing" in [modalities.labs])')
    cohort = cohort_of(tmp_path, rows, 'on_invalid = "missing"')
    assert cohort.fingerprint == cohort_of(tmp_path / "good", good).fingerprint
    (said,) = cohort.invalid["labs"]
    assert "row 15: " + sentence in said
    only = cohort_of(tmp_path / "only", [*ROWS, row], 'on_invalid = "missing"')
    assert only.fingerprint == cohort_of(tmp_path / "none").fingerprint
    assert not only.present_NM[5, 1]


def test_a_row_without_an_id_is_an_error_or_skipped(tmp_path: Path) -> None:
    rows = [*ROWS[:2], ("", 1.0, "lactate", "7"), *ROWS[2:], (" ", 1.0, "new", "7")]
    sentence = (
        r'labs.csv, row 3: the id "pid" is missing \(and in 1 more\): fill it in or leave the'
    )
    with pytest.raises(InputError, match=sentence) as error:
        cohort_of(tmp_path, rows)
    assert str(error.value).endswith('(or set on_invalid = "missing" in [modalities.labs])')
    cohort = cohort_of(tmp_path, rows, 'on_invalid = "missing"')
    assert cohort.fingerprint == cohort_of(tmp_path / "good").fingerprint
    assert len(cohort.invalid["labs"]) == 1


def test_columns_that_are_not_there_and_dates_are_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r'no column "vlaue", which \[modalities.labs\] names'):
        cohort_of(tmp_path, ROWS, 'value = "vlaue"')
    dates = [(*row[:3], f"2020-01-{i + 1:02}") for i, row in enumerate(ROWS)]
    with pytest.raises(InputError, match=r'the variable "culture" holds dates; give a number'):
        cohort_of(tmp_path, dates)
    stamped = frame([(i, pd.Timestamp(2020, 1, 1), "a", 1.0) for i in range(10)])
    write(tmp_path, SECTION.replace(".csv", ".parquet"))
    stamped.to_parquet(tmp_path / "labs.parquet")
    with pytest.raises(InputError, match='column "time" holds dates or times'):
        read_cohort(tmp_path)
    for keys, sentence in (
        (
            'encoder = "summary"\nnum_tokens = 3',
            'has num_tokens, which encoder = "summary" does not',
        ),
        ("since = 3\nuntil = 2", "has since = 3 after until = 2"),
        ('encoder = "lstm"', "encoder should be 'attention' or 'summary'"),
    ):
        with pytest.raises(InputError, match=sentence):
            cohort_of(tmp_path, ROWS, keys)


event = st.tuples(st.integers(0, 7), st.integers(0, 4), st.sampled_from("abc"), st.integers(-5, 5))


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(event, min_size=1, max_size=40), until=st.sampled_from([None, 6.0]))
def test_statistics_are_those_of_a_plain_loop(
    rows: list[tuple], until: float | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cohort = cohort_of(tmp_path_factory.mktemp("series"), [*rows, (0, 1, "a", 1)])
    _, item = fitted(cohort)
    summary = summarise(cohort.values["labs"], item.variables, until)
    table = frame([*rows, (0, 1, "a", 1)]).sort_values(["time", "value"])
    ends = table.groupby("pid")["time"].max()
    for p in range(len(summary.patient_P)):
        patient, variable = int(summary.patient_P[p]), item.variables[summary.variable_P[p]].name
        own = table[(table["pid"] == patient) & (table["variable"] == variable)]
        time, value = own["time"].to_numpy(float), own["value"].to_numpy(float)
        slope = np.polyfit(time, value, 1)[0] if len(set(time)) > 1 else np.nan
        end = ends[patient] if until is None else until
        expected = {
            "count": len(own),
            "first": value[0],
            "last": value[-1],
            "since": end - time[-1],
            "min": value.min(),
            "max": value.max(),
            "mean": value.mean(),
            "slope": slope,
        }
        for s, name in enumerate(STATISTICS):
            np.testing.assert_allclose(summary.value_PS[p, s], expected[name], atol=1e-5)
    assert len(summary.patient_P) == len(table.groupby(["pid", "variable"]))


def test_a_value_lies_between_the_knots_of_its_variable(tmp_path: Path) -> None:
    """Row and fraction give it back; what training never saw has rows of its own."""
    rng = np.random.default_rng(0)
    rows = [(i % 8, i / 10, f"v{i % 3}", v) for i, v in enumerate(rng.normal(size=600))]
    rows += [(i, 1.0, "word", w) for i, w in enumerate("abcabcab")]
    rows += [(9, 1.0, "word", "z"), (9, 2.0, "new", "1"), (9, 3.0, "v1", "99")]
    _, item = fitted(cohort := cohort_of(tmp_path, rows))
    raw = cohort.values["labs"]
    row_V, frac_V = encode_values(raw, item.variables)
    knots = {v.name: (v.first_row, np.array(v.knots)) for v in item.variables}
    for v in np.flatnonzero(raw.events.columns["variable"] != raw.variables.index("word")):
        name = raw.variables[raw.events.columns["variable"][v]]
        if name == "new":
            assert (row_V[v], frac_V[v]) == (sum(u.num_rows for u in item.variables), 0)
            continue
        first, own = knots[name]
        left, value = row_V[v] - first, raw.events.columns["value"][v]
        back = own[left] + frac_V[v] * (own[left + 1] - own[left])
        np.testing.assert_allclose(back, np.clip(value, own[0], own[-1]), atol=1e-5)
    (word,) = (v for v in item.variables if v.name == "word")
    assert word.categories == ("a", "b", "c")
    is_word_V = raw.events.columns["variable"] == raw.variables.index("word")
    assert row_V[is_word_V].tolist() == [word.first_row + k for k in (0, 1, 2, 0, 1, 2, 0, 1, 3)]


def test_a_variable_is_categorical_if_half_of_its_values_are_words(tmp_path: Path) -> None:
    rows = [
        (0, 1.0, "stage", "2"),
        (0, 2.0, "stage", "b"),
        (8, 1.0, "stage", "a"),
        (9, 1, "stage", 3),
    ]
    raw = cohort_of(tmp_path, rows).values["labs"]
    assert raw.categories == (("2", "3", "a", "b"),)


def test_times_lie_between_the_quantiles_of_training(tmp_path: Path) -> None:
    """Evenly spaced times are evenly placed; so are the hours to the patient's last event."""
    rows = [(0, t, "a", 1.0) for t in (0.0, 1.0, 2.0, 3.0, 4.0)]
    rows += [(8, 2.0, "a", 1.0), (8, 10.0, "a", 1.0)]
    cohort = cohort_of(tmp_path, rows)
    encoding, item = fitted(cohort)
    assert item.time.time_knots == item.time.gap_knots == (0, 1, 2, 3, 4)
    events = encoding.transform(cohort).values["series"]["labs"]
    edge = 3**0.5
    place_V2 = events.columns["place"]
    np.testing.assert_allclose(place_V2[:5, 0], np.linspace(-edge, edge, 5), atol=1e-6)
    np.testing.assert_allclose(place_V2[:5, 1], np.linspace(edge, -edge, 5), atol=1e-6)
    np.testing.assert_allclose(place_V2[5:], [[0, edge], [edge, -edge]], atol=1e-6)


@pytest.mark.parametrize("encoder", ["attention", "summary"])
def test_training_rows_alone_decide_and_json_gives_it_back(encoder: str, tmp_path: Path) -> None:
    keys = f'encoder = "{encoder}"'
    encoding, item = fitted(cohort_of(tmp_path / "a", ROWS, keys))
    assert [variable.name for variable in item.variables] == ["culture", "lactate", "ventilated"]
    other = [row for row in ROWS if row[0] < 8] + [(8, 77.0, "lactate", "777"), (9, 0.0, "x", "y")]
    assert fitted(cohort_of(tmp_path / "b", other, keys))[0].schemas == encoding.schemas
    again = Encoding.from_dict(json.loads(json.dumps(encoding.to_dict())))
    assert again.schemas == encoding.schemas


@pytest.mark.parametrize("encoder", ["attention", "summary"])
def test_select_and_batch_agree_and_what_is_hidden_leaves_no_trace(
    encoder: str, tmp_path: Path
) -> None:
    cohort = cohort_of(tmp_path, ROWS, f'encoder = "{encoder}"')
    encoding, _ = fitted(cohort)
    rows = np.array([9, 0, 3, 4, 0])
    batch = KINDS["series"].batch(encoding.transform(cohort).values["series"], rows)["labs"]
    alone = encoding.transform(cohort.select(rows)).values["series"]
    same = KINDS["series"].batch(alone, np.arange(5))["labs"]
    for name, values in vars(batch).items():
        np.testing.assert_array_equal(values, vars(same)[name])
        assert values.dtype in (np.int32, np.int64, np.float32)
    assert len(batch.owner_V) > 0
    present_NM = cohort.present_NM.copy()
    present_NM[0, 1] = False
    hidden = encoding.transform(replace(cohort, present_NM=present_NM)).values["series"]
    assert KINDS["series"].batch(hidden, np.array([0, 3]))["labs"].owner_V.size == 0
    left = KINDS["series"].batch(hidden, np.array([9]))["labs"]
    np.testing.assert_array_equal(left.row_V, batch.row_V[batch.owner_V == 0])


def test_a_table_to_predict_may_lack_events_or_have_new_ones(tmp_path: Path) -> None:
    encoding, _ = fitted(cohort_of(tmp_path / "cohort"))
    new = tmp_path / "new"
    assert not predicted(new, encoding).present_NM[:, 1].any()
    frame([]).to_csv(new / "labs.csv", index=False)
    assert not predicted(new, encoding).present_NM[:, 1].any()
    frame([(2, 1.0, "culture", "3"), (2, 1.0, "never", "word")]).to_csv(
        new / "labs.csv", index=False
    )
    cohort = predicted(new, encoding)
    assert np.flatnonzero(cohort.present_NM[:, 1]).tolist() == [2]
    x = flat_table(encoding, cohort)
    assert x.x_NF[2, x.names.index("labs.culture.last")] == 2  # unknown
    frame([(77, 1.0, "lactate", "2")]).to_csv(new / "labs.csv", index=False)
    with pytest.raises(InputError, match=r'labs.csv: no id in its column "pid" is that of a pat'):
        predicted(new, encoding)
    frame([(2, 1.0, "lactate", "high")]).to_csv(new / "labs.csv", index=False)
    with pytest.raises(InputError, match='"high" in column "value", but it was numeric in train'):
        predicted(new, encoding)


def test_rows_of_nobody_are_counted(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path)
    assert cohort.others == {"labs": OtherIds(rows=1, of=13, example="99")}
    labs = describe(cohort)["modalities"][1]
    assert labs["other_ids"] == {"rows": 1, "of": 13, "example": "99"}
    assert not cohort_of(tmp_path, [row for row in ROWS if row[0] != 99]).others


@pytest.mark.parametrize("slip", ["007", "7.0", "0007.00"])
def test_ids_that_are_written_otherwise_are_told(slip: str, tmp_path: Path) -> None:
    rows = [*ROWS, (slip, 1.0, "lactate", "3"), (slip, 2.0, "lactate", "3")]
    told = (
        f'labs.csv: 1 id is in the column "pid" that no patient of {tmp_path}/patients.csv has, '
        f'but one would if it were written as there (such as "{slip}" for "7"): their rows were '
        "not read; write the ids of both tables alike"
    )
    with pytest.warns(InputWarning, match=re.escape(told)):
        cohort = cohort_of(tmp_path, rows)
    assert cohort.others["labs"].rows == 3


def test_ids_that_could_be_several_patients_are_left_alone(tmp_path: Path) -> None:
    """Patients "7" and "07" are two; a row of "007" is of neither."""
    people = patients().astype({"pid": str})
    people.loc[6, "pid"] = "07"
    write(tmp_path, SECTION, people)
    frame([(pid, 1.0, "lactate", "3") for pid in ("7", "8", "9", "007")]).to_csv(
        tmp_path / "labs.csv", index=False
    )
    assert read_cohort(tmp_path).others["labs"].example == "007"


def test_a_table_of_nobody_and_one_without_rows_are_refused(tmp_path: Path) -> None:
    write(tmp_path, SECTION)
    for pids, such_as in ((("x1", "x2"), '"x1"; there "0"'), (("003", "00"), '"003" for "3"')):
        frame([(pid, 1.0, "lactate", "3") for pid in pids]).to_csv(
            tmp_path / "labs.csv", index=False
        )
        with pytest.raises(InputError, match=re.escape(f"(such as {such_as}): give both tables")):
            read_cohort(tmp_path)
    frame([]).to_csv(tmp_path / "labs.csv", index=False)
    with pytest.raises(InputError, match=r"labs.csv has no rows: \[modalities.labs\] needs a row"):
        read_cohort(tmp_path)


@pytest.mark.parametrize("encoder", ["attention", "summary"])
def test_an_empty_parquet_file_is_no_events(encoder: str, tmp_path: Path) -> None:
    """Encoded like any other table to predict: nobody has an event."""
    keys = f'encoder = "{encoder}"'
    encoding, _ = fitted(cohort_of(tmp_path / "cohort", ROWS, keys, "parquet"))
    (tmp_path / "new").mkdir()
    types = {"pid": "int64", "time": "float64", "variable": str, "value": str}
    frame([]).astype(types).to_parquet(tmp_path / "new" / "labs.parquet")
    cohort = predicted(tmp_path / "new", encoding)
    batch = KINDS["series"].batch(encoding.transform(cohort).values["series"], np.arange(10))
    assert len(batch["labs"].owner_V) == 0
    assert KINDS["series"].describe(cohort.values["labs"])["events_per_patient"]["max"] is None
    flat = flat_table(encoding, cohort)
    assert np.isnan(flat.x_NF[:, flat.names.index("labs.lactate.count")]).all()


def test_the_flat_view_is_the_summary(tmp_path: Path) -> None:
    """Counts of absent variables are 0, their other statistics and unobserved patients NaN."""
    cohort = cohort_of(tmp_path)
    encoding, _ = fitted(cohort)
    flat = flat_table(encoding, cohort)
    column = {name: flat.x_NF[:, f] for f, name in enumerate(flat.names)}
    assert column["labs.lactate.count"][[0, 1, 2, 9]].tolist() == [2, 2, 0, 1]
    assert column["labs.lactate.slope"][0] == 0.25
    assert np.isnan(column["labs.lactate.mean"][2])
    assert np.isnan(column["labs.lactate.count"][3])
    assert column["labs.culture.last"][[0, 8]].tolist() == [0, 1]
    assert "labs.culture.mean" not in column
    coded = [flat.names[f] for f in flat.categorical]
    assert coded == ["labs.culture.first", "labs.culture.last"]
    assert flat.cardinalities == [3, 3]


def test_describe_says_what_is_there(tmp_path: Path) -> None:
    facts = KINDS["series"].describe(cohort_of(tmp_path, ROWS, "until = 7").values["labs"])
    assert json.loads(json.dumps(facts)) == facts
    assert facts["num_events"] == 10
    assert facts["events_per_patient"] == {"min": 1, "median": 2.0, "max": 4}
    assert facts["time"] == {"min": 0.5, "max": 5.0}
    assert (facts["rows_without_value"], facts["events_outside_hours"]) == (1, 1)
    assert facts["variables"]["lactate"]["observed"] == 0.6
    assert facts["variables"]["lactate"]["max"] == 9.0
    assert facts["variables"]["culture"]["frequent"] == {"positive": 2, "negative": 1}
