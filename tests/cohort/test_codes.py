"""Codes: where they may be, what is above them, and which are common enough to be known."""

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remind.cohort import (
    KINDS,
    Cohort,
    Encoding,
    flat_table,
    read_cohort,
    read_table_for_prediction,
)
from remind.cohort.kinds.codes_events import CodeEvents
from remind.cohort.kinds.codes_vocabulary import CodesModality, patients_of
from remind.cohort.kinds.event_scales import CountScale
from remind.cohort.kinds.hierarchy import normal_form, path
from remind.cohort.kinds.ragged import Ragged
from remind.errors import InputError
from tests.cohort.make_events import patients, predicted, write

SECTION = '[modalities.dx]\nkind = "codes"\ntable = "codes.csv"\n'
ROWS = [
    (0, "I21.4", 5.0),
    (0, "i21.0", 1.0),
    (0, " E11.9 ", 2.0),
    (1, "I214", 3.0),
    (1, "I21.4", 3.0),
    (2, "E11.65", 9.0),
    (4, "Q99.9", 4.0),
    (99, "Z00", 0.0),
    (8, "I25.10", 1.0),
    (9, "E10.1", 1.0),
]


def cohort_of(
    folder: Path, rows: list[tuple] = ROWS, keys: str = 'system = "icd10"', suffix: str = "csv"
) -> Cohort:
    """The cohort with these codes."""
    write(folder, SECTION.replace(".csv", f".{suffix}") + keys)
    table = pd.DataFrame(rows, columns=["pid", "code", "time", "version"][: len(rows[0])])
    if suffix == "parquet":
        table.to_parquet(folder / "codes.parquet")
    else:
        table.to_csv(folder / f"codes.{suffix}", index=False)
    return read_cohort(folder)


def fitted(cohort: Cohort) -> tuple[Encoding, CodesModality]:
    encoding = Encoding.fit(cohort, cohort.rows("train"))
    return encoding, encoding.schemas["codes"].modalities[0]


def names_of(item: CodesModality, raw: CodeEvents) -> dict[str, list[str]]:
    """The parts of each distinct code, by name."""
    names = [*item.vocabulary, "unknown"]
    parts = item.parts(raw)
    return {
        code: [names[row] for row in parts.columns["row"][slice(*parts.start_N1[c : c + 2])]]
        for c, code in enumerate(raw.codes)
    }


@pytest.mark.parametrize(
    ("system", "written", "ancestors"),
    [
        ("icd9", "250.02", ["240-279", "250", "2500", "25002"]),
        ("icd9", "0041", ["001-139", "004", "0041"]),
        ("icd9", "428", ["390-459", "428"]),
        ("icd9", "v45.81", ["V01-V91", "V45", "V458", "V4581"]),
        ("icd9", "E849.0", ["E000-E999", "E849", "E8490"]),
        ("icd9", "NoDx", ["NODX"]),
        ("icd10", "i21.4", ["I00-I99", "I21", "I214"]),
        ("icd10", "C78.01", ["C00-D49", "C78", "C780", "C7801"]),
        ("icd10", "D62", ["D50-D89", "D62"]),
        ("icd10", "H90.3", ["H60-H95", "H90", "H903"]),
        ("icd10", "S72.001A", ["S00-T88", "S72", "S720", "S7200", "S72001", "S72001A"]),
        ("atc", "A10BA02", ["A", "A10", "A10B", "A10BA", "A10BA02"]),
        ("atc", "c09 aa", ["C", "C09", "C09A", "C09AA"]),
        ("atc", "A10BA0", ["A10BA0"]),
        ("none", " Aspirin 1.5 mg", ["ASPIRIN 1.5 MG"]),
    ],
)
def test_a_code_lies_below_its_prefixes(system: str, written: str, ancestors: list[str]) -> None:
    assert [level for level in path(normal_form(written, system), system) if level] == ancestors


def test_one_code_is_written_in_many_ways(tmp_path: Path) -> None:
    """Case, dots and blanks do not matter, nor the order of rows, nor the format."""
    cohort = cohort_of(tmp_path / "a")
    raw: CodeEvents = cohort.values["dx"]
    assert raw.codes == ("E101", "E1165", "E119", "I210", "I214", "I2510", "Q999")
    assert raw.events.counts_N.tolist() == [3, 2, 1, 0, 1, 0, 0, 0, 1, 1]
    again = cohort_of(tmp_path / "b", ROWS[::-1], suffix="parquet")
    assert again.fingerprint == cohort.fingerprint
    changed = cohort_of(tmp_path / "c", [(0, "I21.9", 5.0), *ROWS[1:]])
    assert changed.fingerprint != cohort.fingerprint


def test_versions_of_icd_are_told_apart(tmp_path: Path) -> None:
    """E84.9 of ICD-10 and E849 of ICD-9 are two codes with ancestors of their own."""
    keys = 'system = "icd"\nversion = "version"\nmin_count = 1'
    rows = [
        (0, "E849", 1.0, 9),
        (1, "E84.9", 1.0, "10"),
        (2, "E84.9", 1.0, "ICD-10"),
        (8, "I10", 1, 9),
    ]
    _, item = fitted(cohort := cohort_of(tmp_path, rows[:3], keys))
    assert cohort.values["dx"].codes == ("10:E849", "9:E849")
    assert names_of(item, cohort.values["dx"]) == {
        "10:E849": ["10:E00-E89", "10:E84", "10:E849"],
        "9:E849": ["9:E000-E999", "9:E849"],
    }
    with pytest.raises(InputError, match=r'row 4: the version of ICD in column "version" is "11"'):
        cohort_of(tmp_path, [*rows[:3], (8, "I10", 1.0, 11)], keys)


@pytest.mark.parametrize("form", ["text", "parquet"])
def test_lists_in_a_column_are_the_same_codes(form: str, tmp_path: Path) -> None:
    expected = cohort_of(tmp_path / "table")
    lists = {p: [row[1] for row in ROWS if row[0] == p] for p in range(10)}
    frame = patients()
    section = '[modalities.dx]\nkind = "codes"\ncolumn = "codes"\nsystem = "icd10"'
    folder = tmp_path / "lists"
    if form == "text":
        frame["codes"] = [";".join(lists[p]) for p in range(10)]
        write(folder, section, frame)
    else:
        frame["codes"] = [lists[p] or (None if p == 3 else []) for p in range(10)]
        write(folder, section)
        frame.to_parquet(folder / "patients.parquet")
        toml = (folder / "cohort.toml").read_text().replace("patients.csv", "patients.parquet")
        (folder / "cohort.toml").write_text(toml)
    cohort = read_cohort(folder)
    assert cohort.fingerprint == expected.fingerprint
    encoding, _ = fitted(cohort)
    patients()[["pid", "hr"]].to_csv(tmp_path / "new.csv", index=False)
    new = read_table_for_prediction(cohort.spec, tmp_path / "new.csv", encoding=encoding)
    assert not new.present_NM[:, 1].any()


@pytest.mark.parametrize("form", ["text", "parquet"])
def test_an_empty_code_in_a_list_is_none(form: str, tmp_path: Path) -> None:
    """Neither behind the last separator nor between two; a sign that is no code is invalid."""
    section = '[modalities.dx]\nkind = "codes"\ncolumn = "codes"\nsystem = "icd10"\n'
    frame = patients()
    texts = ["I10;E11;", "I10; ;E11", ";", ". ; I10", *["I10"] * 6]
    frame["codes"] = [cell.split(";") for cell in texts] if form == "parquet" else texts
    write(tmp_path, f'{section}on_invalid = "missing"', frame)
    if form == "parquet":
        frame.to_parquet(tmp_path / "patients.parquet")
        toml = (tmp_path / "cohort.toml").read_text()
        (tmp_path / "cohort.toml").write_text(toml.replace(".csv", ".parquet"))
    cohort = read_cohort(tmp_path)
    raw = cohort.values["dx"]
    assert raw.codes == ("E11", "I10")
    assert raw.events.counts_N.tolist() == [2, 2, 0, 1, *[1] * 6]
    (said,) = cohort.invalid["dx"]
    assert 'row 4: the list of codes in column "codes" holds ".' in said
    toml = (tmp_path / "cohort.toml").read_text()
    (tmp_path / "cohort.toml").write_text(toml.replace('on_invalid = "missing"', ""))
    with pytest.raises(InputError, match="row 4: the list of codes"):
        read_cohort(tmp_path)


def test_sodium_is_a_code_but_none_of_icd(tmp_path: Path) -> None:
    rows = [(0, "NA", 1.0), (0, "K", 2.0), (1, "NA", 1.0)]
    raw = cohort_of(tmp_path, rows, "").values["dx"]
    assert (raw.codes, raw.events.counts_N.tolist()) == (("K", "NA"), [2, 1, *[0] * 8])
    with pytest.raises(InputError, match=r'row 1: the code "code" is missing'):
        cohort_of(tmp_path, rows, 'system = "icd10"')


@pytest.mark.parametrize("num", [1, 3])
def test_equally_many_codes_of_all_are_of_no_scale(num: int, tmp_path: Path) -> None:
    """Another number of codes is another patient, not one of 10^15 standard deviations."""
    rows = [(p, f"c{c}", 0.0) for p in range(9) for c in range(num)]
    cohort = cohort_of(tmp_path, [*rows, *[(9, f"c{c}", 0.0) for c in range(num + 1)]])
    _, item = fitted(cohort)
    assert item.count.std == 1.0
    assert item.count.mean == pytest.approx(np.log1p(num))
    for most in range(1, 60):  # the rounding of a mean depends on both numbers
        start_N1 = np.arange(0, 1001 * most, most)
        assert CountScale.fit(Ragged(start_N1=start_N1, columns={})).std == 1.0


@pytest.mark.parametrize(
    ("row", "keys", "sentence"),
    [
        ((5, "", 1.0), "", 'the code "code" is missing: fill it in or leave the row out'),
        ((5, " . ", 1.0), "", 'the code "code" is missing: fill it in or leave the row out'),
        ((5, "I10", "soon"), 'time = "time"', 'the time "time" is "soon", which is not a number'),
        ((5, "I10", ""), 'time = "time"', 'the time "time" is missing: fill it in or'),
    ],
)
def test_an_invalid_row_is_an_error_or_left_out(
    row: tuple, keys: str, sentence: str, tmp_path: Path
) -> None:
    keys = f'system = "icd10"\n{keys}\n'
    good = [*ROWS, (5, "I10", 2.0)]
    rows = [*good, row]
    with pytest.raises(InputError, match="codes.csv, row 12: " + re.escape(sentence)):
        cohort_of(tmp_path, rows, keys)
    cohort = cohort_of(tmp_path, rows, keys + 'on_invalid = "missing"')
    assert cohort.fingerprint == cohort_of(tmp_path / "good", good, keys).fingerprint
    assert len(cohort.invalid["dx"]) == 1


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ('column = "codes"', "needs either table or column: give one of them"),
        ('system = "icd"', 'needs version with system = "icd", and only there'),
        ('version = "version"', 'needs version with system = "icd", and only there'),
        ("until = 3.0", "has since or until, which needs time"),
        ('time = "time"\nsince = 3.0\nuntil = 2.0', "has since = 3 after until = 2: swap them"),
        ('ordered = true\ntime = "time"', "gives both ordered and time: keep one of them"),
        ('system = "icd11"', "system should be 'none', 'icd9', 'icd10', 'icd' or 'atc'"),
    ],
)
def test_a_section_that_cannot_be_is_an_error(keys: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        cohort_of(tmp_path, ROWS, keys)


def test_numbers_are_no_icd_codes(tmp_path: Path) -> None:
    """Leading and trailing zeros are gone; but without a system a number is a code."""
    rows = [(p, 41.0, 1.0) for p in range(10)]
    with pytest.raises(InputError, match=r'column "code" holds numbers, but codes of the system'):
        cohort_of(tmp_path, rows, 'system = "icd9"', "parquet")
    cohort = cohort_of(tmp_path, rows, "", "parquet")
    assert cohort.values["dx"].codes == ("41",)


def test_nothing_after_the_cut_off_is_read(tmp_path: Path) -> None:
    keys = 'system = "icd10"\ntime = "time"\n'
    late = [(5, "", 10.0), (0, "Z99", 9.5)]
    cohort = cohort_of(tmp_path / "a", ROWS + late, keys + "until = 9")
    assert cohort.fingerprint == cohort_of(tmp_path / "b", ROWS, keys).fingerprint
    assert cohort.values["dx"].num_outside_N.tolist() == [1, 0, 0, 0, 0, 1, 0, 0, 0, 0]


def test_the_order_of_codes_is_their_time_if_it_counts(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path, ROWS, 'system = "icd10"\nordered = true')
    raw = cohort.values["dx"]
    assert [raw.codes[c] for c in raw.events.columns["code"][:3]] == ["E119", "I210", "I214"]
    assert raw.events.columns["time"][:3].tolist() == [2, 1, 0]
    assert fitted(cohort)[1].time is not None
    assert fitted(cohort_of(tmp_path, ROWS))[1].time is None


codes = st.sampled_from(
    ["4019", "401", "4010", "40110", "4029", "V458", "V4581", "E8490", "X", "X1"]
)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(codes, max_size=6), min_size=1, max_size=6))
def test_ancestors_count_patients_as_plain_sets_do(bags: list[list[str]]) -> None:
    """Whoever has a code has all of its ancestors, once."""
    expected = Counter(
        node for bag in bags for node in {n for code in bag for n in path(code, "icd9") if n}
    )
    distinct = tuple(sorted({code for bag in bags for code in bag}))
    code = [np.sort([distinct.index(c) for c in bag]).astype(np.int32) for bag in bags]
    start_N1 = np.cumsum([0, *map(len, bags)])
    events = Ragged(start_N1=start_N1, columns={"code": np.concatenate(code).astype(np.int32)})
    raw = CodeEvents(
        codes=distinct, system="icd9", min_count=1, events=events, num_outside_N=np.zeros(len(bags))
    )
    names, num = patients_of(raw)
    assert dict(zip(names.tolist(), num.tolist(), strict=True)) == dict(expected)


def test_a_rare_code_shares_with_its_parents_and_an_unseen_one_uses_them(tmp_path: Path) -> None:
    """Cut at two training patients; codes of validation and test patients do not count."""
    encoding, item = fitted(cohort := cohort_of(tmp_path, ROWS, 'system = "icd10"\nmin_count = 2'))
    assert item.vocabulary == ("E00-E89", "E11", "I00-I99", "I21", "I214")
    assert names_of(item, cohort.values["dx"]) == {
        "E101": ["E00-E89"],
        "E1165": ["E00-E89", "E11"],
        "E119": ["E00-E89", "E11"],
        "I210": ["I00-I99", "I21"],
        "I214": ["I00-I99", "I21", "I214"],
        "I2510": ["I00-I99"],
        "Q999": ["unknown"],
    }
    other = [row for row in ROWS if row[0] < 8] + [(8, "Q99.9", 0.0), (9, "Q99.9", 0.0)]
    again = fitted(cohort_of(tmp_path, other, 'system = "icd10"\nmin_count = 2'))[0]
    assert again.schemas == encoding.schemas


@pytest.mark.parametrize("keys", ["min_count = 2", 'min_count = 1\ntime = "time"'])
def test_json_gives_the_schema_back(keys: str, tmp_path: Path) -> None:
    encoding, _ = fitted(cohort_of(tmp_path, ROWS, f'system = "icd10"\n{keys}'))
    again = Encoding.from_dict(json.loads(json.dumps(encoding.to_dict())))
    assert again.schemas == encoding.schemas


def test_select_and_batch_agree_and_what_is_hidden_leaves_no_trace(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path, ROWS, 'system = "icd10"\ntime = "time"\nmin_count = 1')
    encoding, item = fitted(cohort)
    rows = np.array([9, 0, 3, 4, 0])
    batch = KINDS["codes"].batch(encoding.transform(cohort).values["codes"], rows)["dx"]
    alone = encoding.transform(cohort.select(rows)).values["codes"]
    same = KINDS["codes"].batch(alone, np.arange(5))["dx"]
    for name, values in vars(batch).items():
        np.testing.assert_array_equal(values, vars(same)[name])
        assert values.dtype in (np.int32, np.int64, np.float32)
    assert batch.owner_V.tolist() == [0, 1, 1, 1, 3, 4, 4, 4]
    names = [*item.vocabulary, "unknown"]
    assert [names[row] for row in batch.row_W[: batch.num_V[0]]] == ["E00-E89"]
    present_NM = cohort.present_NM.copy()
    present_NM[0, 1] = False
    hidden = encoding.transform(replace(cohort, present_NM=present_NM)).values["codes"]
    left = KINDS["codes"].batch(hidden, rows)["dx"]
    assert left.owner_V.tolist() == [0, 3]
    assert left.row_W[0] == names.index("E00-E89")
    np.testing.assert_array_equal(left.place_V2, batch.place_V2[[0, 4]])


def test_a_table_to_predict_may_lack_codes_or_have_new_ones(tmp_path: Path) -> None:
    encoding, _ = fitted(cohort_of(tmp_path / "cohort", ROWS, 'system = "icd10"\nmin_count = 2'))
    new = tmp_path / "new"
    assert not predicted(new, encoding).present_NM[:, 1].any()
    (new / "codes.csv").write_text("pid,code\n")
    assert not predicted(new, encoding).present_NM[:, 1].any()
    (new / "codes.csv").write_text("pid,code\n2,I21.9\n3,ZZZ\n3,ZZZ\n")
    cohort = predicted(new, encoding)
    flat = flat_table(encoding, cohort)
    column = {name: flat.x_NF[:, f] for f, name in enumerate(flat.names)}
    assert column["dx.I21"][[2, 3]].tolist() == [1, 0]
    assert column["dx.unknown codes"][[2, 3]].tolist() == [0, 2]
    assert column["dx.all codes"][[2, 3]].tolist() == [1, 2]
    assert np.isnan(column["dx.I21"][4])


def test_describe_says_what_is_there_and_known(tmp_path: Path) -> None:
    raw = cohort_of(tmp_path, ROWS, 'system = "icd10"\nmin_count = 2\ntime = "time"').values["dx"]
    facts = KINDS["codes"].describe(raw)
    assert json.loads(json.dumps(facts)) == facts
    assert (facts["num_codes"], facts["num_distinct"]) == (9, 7)
    assert facts["codes_per_patient"] == {"min": 1, "median": 1.0, "max": 3}
    assert facts["time"] == {"min": 1.0, "max": 9.0}
    assert next(iter(facts["frequent"].items())) == ("I214", 2)
    shares = facts["vocabulary"]
    assert shares["size"] == 5
    assert [round(9 * shares[key]) for key in ("own_embedding", "only_ancestors", "unknown")] == [
        3,
        5,
        1,
    ]
