"""Notes: from cells, lists and long tables; refused where blank; as weights of hashed n-grams."""

import itertools
import json
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer

from remind.cohort import KINDS, Cohort, Encoding, flat_table, read_cohort
from remind.cohort import read_table_for_prediction as read_new
from remind.cohort.kinds.text_facts import facts_of
from remind.cohort.kinds.text_ngrams import Vocabulary, encode_ngrams, fit_vocabulary
from remind.cohort.kinds.text_notes import Notes
from remind.cohort.kinds.text_words import ngrams, words_of
from remind.errors import InputError
from tests.cohort.make_texts import notes_of

TOML = """\
[cohort]
name = "wards"
table = "{table}"
id = "pid"
label = "died"
task = "binary"

[split]
column = "split"

[modalities.vitals]
kind = "tabular"
columns = ["hr"]

[modalities.note]
kind = "text"
"""
WORDS = ("pain", "painful", "no", "chest", "fever", "stable", "Œdème", "3.5", "发热")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMIND_CACHE", str(tmp_path / "cache"))


def write(
    folder: Path, keys: str, notes: Any = None, *, long: pd.DataFrame | None = None, n: int = 8
) -> Path:
    """A cohort of n patients; in Parquet where its notes are lists, else in CSV."""
    frame = pd.DataFrame(
        {"pid": np.arange(n), "died": np.arange(n) % 2, "hr": np.arange(n) + 0.5}
    ).assign(split=np.array(["train", "train", "val", "test"])[np.arange(n) // 2 % 4])
    suffix = "csv"
    if notes is not None:
        frame["note"] = notes
        suffix = "parquet" if any(isinstance(note, list) for note in notes) else "csv"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cohort.toml").write_text(TOML.format(table=f"p.{suffix}") + keys)
    frame.to_csv(folder / "p.csv", index=False) if suffix == "csv" else frame.to_parquet(
        folder / "p.parquet"
    )
    if long is not None:
        long.to_csv(folder / "notes.csv", index=False)
    return folder


def texts(cohort: Cohort) -> list[list[str]]:
    """The notes of each patient."""
    raw = cohort.values["note"]
    starts = raw.items.start_N1
    return [raw.text_V[a:b].tolist() for a, b in itertools.pairwise(starts)]


def dense(vocabulary: Vocabulary, notes: Notes) -> np.ndarray:
    """Weights (V, K) of the items of all patients."""
    ngrams = encode_ngrams(vocabulary, notes).ngrams
    shape = (len(ngrams), len(vocabulary.buckets))
    data = (ngrams.columns["weight"].astype(np.float64), ngrams.columns["row"], ngrams.start_N1)
    return csr_matrix(data, shape=shape).toarray()


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_cohort(folder)
    return str(caught.value)


def test_a_cell_holds_a_note_and_a_blank_cell_none(tmp_path: Path) -> None:
    notes = ["Fever, no pain.", "", None, "  \t", "NA", ' a "quoted"\n\nnote ', "x", "-"]
    cohort = read_cohort(write(tmp_path, 'column = "note"', notes))
    expected = [["Fever, no pain."], [], [], [], [], [' a "quoted"\n\nnote '], ["x"], ["-"]]
    assert texts(cohort) == expected
    assert cohort.present_NM[:, 1].tolist() == [bool(notes) for notes in expected]


def test_a_cell_of_parquet_holds_several_notes(tmp_path: Path) -> None:
    notes = [["b", "a"], [], None, ["c"], ["d"], None, None, ["e"]]
    cohort = read_cohort(write(tmp_path, 'column = "note"', notes))
    assert texts(cohort) == [note or [] for note in notes]
    assert texts(cohort.select(np.array([7, 0]))) == [["e"], ["b", "a"]]


LONG = pd.DataFrame(
    {
        "who": [0, 3, 99, 0, 3, 0],
        "hours": [9, 1.5, 1, -2, 48, 50],
        "words": ["late", "first", "a stranger's", "early", "second", "after"],
    }
)
LONG_KEYS = 'table = "notes.csv"\nid = "who"\ntext = "words"\n'


def test_a_long_table_holds_notes_in_any_order_and_nothing_after_the_cut_is_read(
    tmp_path: Path,
) -> None:
    cohort = read_cohort(write(tmp_path / "all", LONG_KEYS, long=LONG))
    assert texts(cohort) == [["late", "early", "after"], [], [], ["first", "second"], *[[]] * 4]
    keys = LONG_KEYS + 'time = "hours"\nuntil = 48'
    cohort = read_cohort(write(tmp_path / "cut", keys, long=LONG))
    assert texts(cohort) == [["early", "late"], [], [], ["first", "second"], *[[]] * 4]
    later = LONG.assign(words=LONG["words"].replace({"after": "changed"}))
    changed = read_cohort(write(tmp_path / "later", keys, long=later))
    assert changed.fingerprint == cohort.fingerprint
    first = LONG.assign(words=LONG["words"].replace({"early": "changed"}))
    changed = read_cohort(write(tmp_path / "first", keys, long=first))
    assert changed.fingerprint != cohort.fingerprint


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("noon", 'notes.csv, row 4: the time "hours" is "noon", which is not a number of hours: '),
        ("inf", 'notes.csv, row 4: the time "hours" is "inf", which is not a number'),
        (None, 'notes.csv, row 4: the time "hours" is missing: fill it in or leave the row out'),
    ],
)
def test_a_bad_time_is_an_error_or_its_note_is_left_out(
    tmp_path: Path, value: Any, sentence: str
) -> None:
    bad = LONG.astype({"hours": object})
    bad.loc[3, "hours"] = value
    keys = LONG_KEYS + 'time = "hours"\n'
    said = refusal(write(tmp_path / "error", keys, long=bad))
    assert sentence in said
    assert said.endswith('(or set on_invalid = "missing" in [modalities.note])')
    keys += 'on_invalid = "missing"'
    cohort = read_cohort(write(tmp_path / "missing", keys, long=pd.concat([bad, LONG[4:5]])))
    assert texts(cohort) == [["late", "after"], [], [], ["first", "second", "second"], *[[]] * 4]
    (listed,) = cohort.invalid["note"]
    assert sentence in listed


def test_a_blank_note_is_no_note_wherever_it_is(tmp_path: Path) -> None:
    """Nor does its time matter."""
    lists = [["a", " "], [""], ["b"], None, ["", "c", None], None, None, None]
    cohort = read_cohort(write(tmp_path / "list", 'column = "note"', lists))
    assert texts(cohort) == [["a"], [], ["b"], [], ["c"], [], [], []]
    blank = pd.DataFrame({"who": [0, 1, 3], "hours": [1, "noon", None], "words": ["  ", None, ""]})
    long = pd.concat([blank, LONG])
    keys = LONG_KEYS + 'time = "hours"\n'
    cohort = read_cohort(write(tmp_path / "long", keys, long=long))
    assert cohort.fingerprint == read_cohort(write(tmp_path, keys, long=LONG)).fingerprint


def test_times_may_be_nanoseconds(tmp_path: Path) -> None:
    start = 1_700_000_000_000_000_000
    long = pd.DataFrame({"who": [0, 0, 2], "hours": [start + 10**9, start + 1, start]})
    folder = write(tmp_path, LONG_KEYS.replace("csv", "parquet") + 'time = "hours"\n')
    long.assign(words=["b", "a", "c"]).to_parquet(folder / "notes.parquet")
    assert texts(read_cohort(folder)) == [["a", "b"], [], ["c"], *[[]] * 5]


def test_notes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "list", 'column = "note"', [["a"], ["b"], *[None] * 6])
    frame = pd.read_parquet(tmp_path / "list" / "p.parquet").assign(note=1.5)
    frame.to_parquet(tmp_path / "list" / "p.parquet")
    said = refusal(tmp_path / "list")
    assert 'column "note" holds values of type double, expected notes as text' in said


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ("", "needs either a column of notes or a table of them: give one of both"),
        ('column = "note"\ntable = "t.csv"', "needs either a column of notes or a table of them"),
        ('column = "note"\ntext = "words"', "gives text, which has a meaning with a table only"),
        ('table = "t.csv"\nuntil = 3', "gives until without time: name the column of times"),
        ('column = "note"\nencoder = "transformer"', "needs the key model for a transformer"),
        ('column = "note"\nmodel = "m"', 'meaning with encoder = "transformer" only'),
    ],
)
def test_keys_that_do_not_fit_together(tmp_path: Path, keys: str, sentence: str) -> None:
    assert sentence in refusal(write(tmp_path, keys, ["a"] * 8))


def test_buckets_are_the_same_in_every_process() -> None:
    code = "from remind.cohort.kinds.text_words import *; print(ngrams([words_of('No pain, ok')]))"
    outputs = {
        subprocess.check_output([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed})
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert outputs.pop().decode().strip() == str(ngrams([words_of("No pain, ok")]))
    text_F, bucket_F, count_F = ngrams([["no", "no"], []])
    assert text_F.tolist() == [0] * 5  # no, no no, <no, no>, <no>
    assert sorted(count_F.tolist()) == [1, 2, 2, 2, 2]
    assert bucket_F.tolist() == [100567, 192008, 800259, 887580, 1010472]


def test_marks_are_part_of_the_letter_that_they_stand_at() -> None:
    """In Hindi, Thai, pointed Hebrew and Arabic; Latin letters with a sign are letters anyway."""
    assert words_of("हिन्दी में रोगी") == ["हिन्दी", "में", "रोगी"]
    assert words_of("ผู้ป่วย มีไข้สูง") == ["ผู้ป่วย", "มีไข้สูง"]
    assert words_of("רָפוּאָה") == ["רָפוּאָה"]
    assert words_of("حُمَّى شديدة") == ["حُمَّى", "شديدة"]
    latin = "Fièvre, São João; ÖDEM über İstanbul 3.5 x"
    assert words_of(latin) == re.findall(r"\w+", latin.lower())
    assert words_of(unicodedata.normalize("NFD", "Fièvre São")) == ["fièvre", "são"]


note = st.lists(st.sampled_from(WORDS), min_size=1, max_size=30).map(" ".join)


@settings(deadline=None, max_examples=40)
@given(st.lists(note, min_size=2, max_size=6), st.lists(note, min_size=1, max_size=3))
def test_weights_are_the_tf_idf_of_scikit_learn(train: list[str], new: list[str]) -> None:
    """Hashed n-grams of words and of characters have the products that unhashed ones have."""

    def parts(text: str) -> list[str]:
        marked = [f"<{word}>" for word in words_of(text)]
        return [w[i : i + n] for w in marked for n in (3, 4, 5) for i in range(len(w) - n + 1)]

    def pairs(text: str) -> list[str]:
        words = words_of(text)
        return [*words, *(" ".join(pair) for pair in itertools.pairwise(words))]

    texts, products = [*train, *new], np.zeros((len(train) + len(new),) * 2)
    for analyzer in (parts, pairs):
        plain = TfidfVectorizer(analyzer=analyzer, sublinear_tf=True, min_df=2)
        try:
            x_VK = hstack([plain.fit(train).transform(texts)])
        except ValueError:  # no n-gram is in two notes
            continue
        products += (x_VK @ x_VK.T).toarray()
    vocabulary = fit_vocabulary(notes_of([[text] for text in train]))
    x_VK = dense(vocabulary, notes_of([[text] for text in texts]))
    np.testing.assert_allclose(x_VK @ x_VK.T, products, atol=5e-3)


def test_a_frequency_counts_patients_not_their_notes() -> None:
    """A note that is copied from day to day does not make its words common."""
    vocabulary = fit_vocabulary(notes_of([["rare fever", "rare fever"], ["fever fever"], ["ok"]]))
    fever, rare = (ngrams([[word]])[1].tolist() for word in ("fever", "rare"))
    assert set(fever) <= set(vocabulary.buckets)
    assert not set(rare) & set(vocabulary.buckets)
    assert set(vocabulary.counts) == {2}
    assert vocabulary.num_patients == 3


def test_long_notes_are_cut_and_the_last_parts_are_kept() -> None:
    words = [f"w{i}x" for i in range(700)]
    patients = [[" ".join(words[:300]), " ".join(words[300:])], [" ".join(words)], ["w1x"]]
    vocabulary = fit_vocabulary(notes_of(patients))
    notes = notes_of(patients, max_chunks=3)
    values = encode_ngrams(vocabulary, notes)
    assert values.items.counts_N.tolist() == [3, 3, 1]  # of 2 + 2, 3 and 1

    def has(item: int, word: str) -> bool:
        (row,) = np.flatnonzero(np.array(vocabulary.buckets) == word_bucket(word))
        start, stop = values.ngrams.start_N1[item : item + 2]
        return row in values.ngrams.columns["row"][start:stop]

    assert [has(item, "w299x") for item in range(7)] == [True, *[False] * 3, True, False, False]
    assert [has(item, "w255x") for item in range(7)] == [*[False] * 3, True, *[False] * 3]
    assert [has(item, "w699x") for item in range(7)] == [
        *[False] * 2,
        True,
        *[False] * 2,
        True,
        False,
    ]
    assert facts_of(notes)["truncated"] == 1


def word_bucket(word: str) -> int:
    """Bucket of a word itself."""
    return min(ngrams([[word]])[1])  # those of its parts are in the upper half


def cohort_of(tmp_path: Path, notes: list[str | None]) -> Cohort:
    return read_cohort(write(tmp_path, 'column = "note"', notes, n=len(notes)))


NOTES = [
    "fever and pain",
    "no fever",
    "no pain at all",
    None,
    "stable now",
    "stable, ok",
    "fever",
    "x",
]


def test_a_schema_knows_training_only_and_survives_json(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path, NOTES)
    train = cohort.rows("train")
    encoding = Encoding.fit(cohort, train)
    changed = cohort_of(tmp_path / "b", [*NOTES[:4], "quux", "quux", "quux", "quux"])
    assert Encoding.fit(changed, train).schemas["text"] == encoding.schemas["text"]
    again = Encoding.from_dict(json.loads(json.dumps(encoding.to_dict())))
    assert again.schemas["text"] == encoding.schemas["text"]
    (item,) = encoding.schemas["text"].modalities
    assert (item.index, item.num_tokens, item.vocabulary.num_patients) == (1, 2, 3)
    unseen = encoding.transform(changed).values["text"]["note"]
    assert unseen.ngrams.counts_N[-4:].tolist() == [0] * 4
    assert unseen.items.counts_N.tolist() == [1, 1, 1, 0, 1, 1, 1, 1]


@settings(deadline=None, max_examples=20)
@given(
    st.lists(st.lists(note, max_size=3), min_size=1, max_size=6),
    st.lists(st.integers(0, 5), max_size=8),
)
def test_batches_and_selections_agree(patients: list[list[str]], rows: list[int]) -> None:
    row_B = np.array([row for row in rows if row < len(patients)], dtype=np.int64)
    kind, notes = KINDS["text"], notes_of(patients)
    schema = kind.fit({"note": notes}, {"note": notes.spec}, {"note": 0}, np.arange(len(notes)), 8)
    present_N1 = kind.present(notes)[:, None]
    batch = kind.batch(kind.encode(schema, {"note": notes}, present_N1), row_B)["note"]
    some = kind.select(notes, row_B)
    encoded = kind.encode(schema, {"note": some}, present_N1[row_B])
    again = kind.batch(encoded, np.arange(len(row_B)))["note"]
    for name, values in vars(batch).items():
        np.testing.assert_array_equal(values, getattr(again, name), err_msg=name)
    plain = [b for b, row in enumerate(row_B.tolist()) for _ in patients[row]]
    assert batch.owner_V.tolist() == plain
    hidden = kind.encode(schema, {"note": notes}, np.zeros_like(present_N1))
    assert len(kind.batch(hidden, row_B)["note"].owner_V) == 0


def test_a_table_to_predict_may_lack_the_notes(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path / "a", NOTES)
    encoding = Encoding.fit(cohort, cohort.rows("train"))
    pd.DataFrame({"pid": [1, 2], "hr": [60, 70]}).to_csv(tmp_path / "new.csv", index=False)
    new = read_new(cohort.spec, tmp_path / "new.csv", encoding=encoding)
    assert new.present_NM.tolist() == [[True, False]] * 2
    assert len(encoding.transform(new).batch(np.arange(2)).values["text"]["note"].owner_V) == 0
    cohort = read_cohort(write(tmp_path / "long", LONG_KEYS, long=LONG))
    encoding = Encoding.fit(cohort, cohort.rows("train"))
    new = read_new(cohort.spec, tmp_path / "new.csv", encoding=encoding)
    assert not new.present_NM[:, 1].any()


def test_the_flat_table_says_which_of_the_telling_words_are_there(tmp_path: Path) -> None:
    train = [f"the patient {'has' if i % 2 else 'denies'} pain {i}" for i in range(32)]
    notes = [*train, "has the flu", None, "Denies, denies all.", "nothing"]
    frame_split = ["train"] * 32 + ["val", "val", "test", "test"]
    folder = write(tmp_path, 'column = "note"', notes, n=36)
    table = pd.read_csv(folder / "p.csv").assign(split=frame_split)
    table.to_csv(folder / "p.csv", index=False)
    cohort = read_cohort(folder)
    flat = flat_table(Encoding.fit(cohort, cohort.rows("train")), cohort)
    counts = ["note_number of notes", "note_number of words"]
    assert flat.names == ["hr", *counts, "note_denies", "note_has"]
    np.testing.assert_array_equal(
        flat.x_NF[32:, 1:], [[1, 3, 0, 1], [np.nan] * 4, [1, 3, 1, 0], [1, 1, 0, 0]]
    )


def test_what_describe_tells() -> None:
    facts = facts_of(
        notes_of([["no pain", "no fever no"], [], ["pain " * 600], ["odd"]], max_chunks=2)
    )
    assert facts == {
        "notes": 4,
        "per_patient": {"min": 1, "median": 1, "max": 2},
        "words": {"min": 1, "median": 2.5, "max": 600},
        "distinct_words": 4,
        "coverage": pytest.approx(601 / 606),
        "encoder": "ngrams",
        "truncated": 1,
    }
    assert facts_of(notes_of([[]]))["coverage"] is None
