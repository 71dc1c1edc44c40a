"""Signals of every format become records of one rate, length and order of leads."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remind.cohort import KINDS, Cohort, Encoding, describe, flat_table, load_spec, read_cohort
from remind.cohort.formats import FormatError
from remind.cohort.formats.wfdb import record_files
from remind.cohort.kinds import signal
from remind.cohort.kinds.signal import SignalSpec, decode_signal
from remind.errors import InputError
from tests.cohort.make_files import (
    beating_signals,
    save_frames,
    save_npy,
    save_wfdb,
    write_files_cohort,
)

SECTION = 'kind = "signal"\nleads = ["I", "II"]\nseconds = 4.0\n'


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMIND_CACHE", str(tmp_path / "cache"))


def record(file: Path, **keys: object) -> np.ndarray:
    spec = SignalSpec.model_validate({"kind": "signal", "column": "x", "leads": ["I"], **keys})
    return decode_signal(spec, file)[0]


def beats(folder: Path, num: int = 10, section: str = SECTION) -> Cohort:
    return read_cohort(write_files_cohort(folder, beating_signals(folder, num), section))


def test_leads_are_found_by_name_and_units_are_millivolts(tmp_path: Path) -> None:
    values_LS = np.random.default_rng(0).normal(size=(3, 200))
    save_wfdb(tmp_path, "a", values_LS, ["aVR", "II", "I"], 100)
    save_wfdb(tmp_path, "b", 1000 * values_LS, ["AVR", "ii", "i"], 100, unit="uV")
    for name in ("a", "a.hea", "a.dat", "b"):
        found = record(tmp_path / name, leads=["I", "V6", "AVR"], seconds=2.0)
        np.testing.assert_allclose(found[0], values_LS[2], atol=1e-3)
        np.testing.assert_allclose(found[2], values_LS[0], atol=1e-3)
        assert np.isnan(found[1]).all()  # the record has no V6


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_microvolts_are_read_from_a_header_in_any_encoding(encoding: str, tmp_path: Path) -> None:
    """wfdb leaves out what is beyond ASCII, and V is a million times more."""
    values_LS = np.random.default_rng(0).normal(size=(2, 200))
    save_wfdb(tmp_path, "a", [[1000.0], [1e-3]] * values_LS, ["I", "II"], 100)
    header = (tmp_path / "a.hea").read_text()
    first, second = (line for line in header.splitlines() if "/mV" in line)
    header = header.replace(first, first.replace("/mV", "/µV"))
    header = header.replace(second, second.replace("/mV", "/V"))
    (tmp_path / "a.hea").write_bytes(f"# µV\n{header}".encode(encoding))
    found = record(tmp_path / "a", leads=["I", "II"], seconds=2.0)
    np.testing.assert_allclose(found, values_LS, atol=1e-3)


def test_leads_of_several_rates_keep_their_own(tmp_path: Path) -> None:
    """A 40 Hz wave of four samples per frame of 62.5 Hz, beside a slow one of one sample."""
    second_S = np.arange(5000) / 250
    fast_S, slow_S = np.sin(2 * np.pi * 40 * second_S), np.sin(2 * np.pi * 0.3 * second_S[::4])
    save_frames(tmp_path, "multi", {"II": fast_S, "resp": slow_S}, 62.5)
    found = record(tmp_path / "multi", leads=["resp", "II"], rate=250.0, seconds=10.0)
    np.testing.assert_allclose(found[1], fast_S[1250:3750], atol=2e-3)
    middle = slice(250, -250)  # apart from the ends, where a filter has one side only
    expected = np.sin(2 * np.pi * 0.3 * second_S[1250:3750])
    np.testing.assert_allclose(found[0][middle], expected[middle], atol=0.01)
    facts = decode_signal(
        SignalSpec.model_validate({"kind": "signal", "column": "x", "leads": ["II"]}),
        tmp_path / "multi",
    )[1]
    assert (facts["rate_hz"], facts["seconds"]) == (250.0, 20.0)


def test_a_matlab_file_of_a_record_names_it(tmp_path: Path) -> None:
    """As in the challenges of PhysioNet: A0001.hea beside A0001.mat."""
    values_LS = np.random.default_rng(0).normal(size=(1, 200))
    save_wfdb(tmp_path, "A0001", values_LS, ["I"], 100)
    (tmp_path / "A0001.dat").rename(tmp_path / "A0001.mat")
    header = tmp_path / "A0001.hea"
    header.write_text(header.read_text().replace("A0001.dat", "A0001.mat"))
    assert record_files(tmp_path / "A0001.mat") == [header, tmp_path / "A0001.mat"]
    found = record(tmp_path / "A0001.mat", seconds=2.0)
    np.testing.assert_allclose(found, values_LS, atol=1e-3)


@settings(deadline=None, max_examples=20)
@given(
    source_hz=st.sampled_from([50.0, 100.0, 250.0, 360.0, 1000.0]),
    rate=st.sampled_from([50.0, 100.0, 128.0]),
    seconds=st.sampled_from([1.0, 2.0, 3.0]),
)
def test_resampling_keeps_a_wave_and_the_middle_of_it(
    source_hz: float, rate: float, seconds: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A 3 Hz wave of 2 s, cut to its middle or padded on both sides."""
    file = tmp_path_factory.mktemp("wave") / "w.npy"
    time = np.arange(int(2 * source_hz)) / source_hz
    save_npy(file, 5 + np.sin(2 * np.pi * 3 * time)[None])
    found = record(file, rate=rate, seconds=seconds, source_rate=source_hz)[0]
    assert len(found) == rate * seconds
    time = np.arange(len(found)) / rate + (2 - seconds) / 2
    inside = (time > 0.2) & (time < 1.8)
    expected = 5 + np.sin(2 * np.pi * 3 * time)
    np.testing.assert_allclose(found[inside], expected[inside], atol=0.05)
    outside = (time < -1 / rate) | (time > 2 + 1 / rate)
    assert np.isnan(found[outside]).all()
    assert not np.isnan(found[inside]).any()


def test_only_the_middle_of_a_long_record_is_read(tmp_path: Path) -> None:
    slope_LS = np.arange(100_000.0)[None] / 1000
    save_wfdb(tmp_path, "long", slope_LS, ["I"], 100)
    found = record(tmp_path / "long", seconds=2.0)[0]
    np.testing.assert_allclose(found, slope_LS[0, 49_900:50_100], atol=0.01)
    waves = signal.read_wfdb(tmp_path / "long", 2.0)
    assert [values_S.shape for values_S in waves.values] == [(400,)]
    assert waves.facts["seconds"] == 1000.0


def test_gaps_stay_gaps_and_do_not_spread(tmp_path: Path) -> None:
    values_LS = np.ones((2, 500))
    values_LS[0, 200:300] = np.nan
    save_npy(tmp_path / "gap.npy", values_LS.T)
    keys = {"source_rate": 250.0, "layout": "samples x leads", "leads": ["a", "b"], "seconds": 2.0}
    found = record(tmp_path / "gap.npy", **keys)
    is_gap = np.isnan(found[0])
    assert np.flatnonzero(is_gap)[[0, -1]].tolist() == [80, 119]
    assert is_gap.sum() == 40
    np.testing.assert_allclose(found[~np.isnan(found)], 1.0, atol=1e-3)


def wfdb_without(suffix: str) -> Callable[[Path], object]:
    return lambda folder: (folder / f"bad.{suffix}").unlink()


def wfdb_header(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "bad.hea").write_text(text)


BAD: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "absent": ("nobody", lambda folder: None, "which is no WFDB record: nobody.hea does not exist"),
    "no signal file": (
        "bad",
        wfdb_without("dat"),
        "which is a WFDB record whose signal file bad.dat does not exist",
    ),
    "no samples": ("bad", wfdb_header("bad 0 100 0\n"), "which has no samples"),
    "damaged header": ("bad", wfdb_header("bad x y z\n"), "which is damaged or truncated ("),
    "truncated": (
        "bad",
        lambda folder: (folder / "bad.dat").write_bytes(b"\0" * 10),
        "which is damaged or truncated (",
    ),
    "other leads": (
        "bad",
        lambda folder: save_wfdb(folder, "bad", np.ones((2, 50)), ["V1", "V2"], 100),
        "which has the leads V1, V2, none of which is named: check leads",
    ),
    "NaN": (
        "bad.npy",
        lambda folder: save_npy(folder / "bad.npy", np.full((2, 50), np.nan)),
        "which holds no sample of the named leads but NaN",
    ),
    "infinite": (
        "bad.npy",
        lambda folder: save_npy(folder / "bad.npy", np.full((2, 50), np.inf)),
        "which holds an infinite number",
    ),
    "zero length": (
        "bad.npy",
        lambda folder: save_npy(folder / "bad.npy", np.zeros((2, 0))),
        "which holds an empty array (2 x 0)",
    ),
    "other layout": (
        "bad.npy",
        lambda folder: save_npy(folder / "bad.npy", np.zeros((50, 2))),
        "which has 50 leads, but 2 are named: check leads and layout",
    ),
    "three axes": (
        "bad.npy",
        lambda folder: save_npy(folder / "bad.npy", np.zeros((2, 2, 50))),
        "which holds an array of 2 x 2 x 50, expected leads and samples",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_signal_is_named_or_counts_as_missing(name: str, tmp_path: Path) -> None:
    path, change, reason = BAD[name]
    names = beating_signals(tmp_path, 5)
    save_wfdb(tmp_path, "bad", np.ones((2, 50)), ["I", "II"], 100)
    change(tmp_path)
    section = SECTION + "source_rate = 100.0\n"
    folder = write_files_cohort(tmp_path, [*names[:4], path], section)
    with pytest.raises(InputError) as caught:
        read_cohort(folder)
    sentence = f'{folder / "patients.parquet"}, row 5: column "path" names {path}, {reason}'
    assert str(caught.value).startswith(sentence)
    lenient = (folder / "cohort.toml").read_text() + 'on_invalid = "missing"\n'
    (folder / "cohort.toml").write_text(lenient)
    assert read_cohort(folder).present_NM[:, 1].tolist() == [True] * 4 + [False]


@pytest.mark.parametrize("rate", [0.1, 1e6])
def test_a_rate_too_far_from_that_of_the_file_is_refused(rate: float, tmp_path: Path) -> None:
    save_npy(tmp_path / "w.npy", np.zeros((1, 50_000)))
    sentence = re.escape(f"has 500 samples per second, from which rate = {rate:g} is too far: cho")
    with pytest.raises(FormatError, match=sentence):
        record(tmp_path / "w.npy", rate=rate, source_rate=500.0)


def test_an_npy_file_needs_its_rate_whatever_the_policy(tmp_path: Path) -> None:
    for i in range(5):
        save_npy(tmp_path / f"{i}.npy", np.ones((2, 50)))
    section = SECTION + 'on_invalid = "missing"\n'
    folder = write_files_cohort(tmp_path, [f"{i}.npy" for i in range(5)], section)
    with pytest.raises(InputError, match=r"does not say its rate: add source_rate"):
        read_cohort(folder)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ('leads = ["I", "i"]', "leads names a lead twice: I, i"),
        ('leads = ["I"]\nrate = 0.1', "4 seconds at 0.1 Hz have no sample"),
        ('leads = ["I"]\nsource_rate = 0.0', "source_rate should be greater than 0, got 0.0"),
        ("", '[modalities.pictures] needs the key "leads": add it'),
    ],
)
def test_a_mistake_in_the_section_is_named(keys: str, message: str, tmp_path: Path) -> None:
    section = SECTION.replace('leads = ["I", "II"]', keys)
    folder = write_files_cohort(tmp_path, ["a"] * 5, section)
    with pytest.raises(InputError) as caught:
        read_cohort(folder)
    assert message in str(caught.value)


def test_scaling_is_robust_and_that_of_training_rows(tmp_path: Path) -> None:
    cohort = beats(tmp_path)
    train = cohort.rows("train")
    encoding = Encoding.fit(cohort, train)
    (item,) = encoding.schemas["signal"].modalities
    raw = cohort.select(train).values["pictures"]
    seen = raw.store.read(raw.items.columns["place"])[:, 1]
    low, middle, high = np.percentile(seen, [1, 50, 99])
    assert (item.center[1], item.scale[1]) == pytest.approx((middle, (high - low) / 4.652))
    again = Encoding.from_dict(json.loads(json.dumps(encoding.to_dict())))
    assert again.schemas == encoding.schemas
    test = int(cohort.rows("test")[0])
    save_wfdb(tmp_path, f"r{test}", np.ones((2, 400)), ["I", "II"], 100)
    other = read_cohort(tmp_path)
    assert other.fingerprint != cohort.fingerprint
    assert Encoding.fit(other, train).to_dict() == encoding.to_dict()
    batch = encoding.transform(other).batch(np.array([test])).values["signal"]["pictures"]
    expected = (1 - np.array(item.center)) / np.array(item.scale)
    np.testing.assert_allclose(batch.x_V[0].mean(1), expected, rtol=1e-3)


def test_scaling_depends_on_the_signals_and_not_on_what_was_read_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more records than scaling looks at, the same ones are looked at in any cache."""
    monkeypatch.setattr(signal, "MOST_FIT", 3)
    schemas = []
    for order in (range(20), reversed(range(20))):
        monkeypatch.setenv("REMIND_CACHE", str(tmp_path / f"cache{len(schemas)}"))
        folder = write_files_cohort(tmp_path, beating_signals(tmp_path, 20), SECTION)
        decoder = KINDS["signal"].decoder(load_spec(folder).modalities["pictures"])
        list(decoder.keys([tmp_path / f"r{i}" for i in order]))
        cohort = read_cohort(folder)
        schemas.append(Encoding.fit(cohort, cohort.rows("train")).schemas)
    assert schemas[0] == schemas[1]


def test_plain_columns_know_rhythm_and_missing_leads(tmp_path: Path) -> None:
    time = np.arange(400) / 100
    for i in range(5):
        wave_LS = np.sin(2 * np.pi * (i + 2) * time)[None]
        save_wfdb(tmp_path, f"s{i}", wave_LS, ["II"], 100)
    folder = write_files_cohort(tmp_path, [f"s{i}" for i in range(5)], SECTION)
    cohort = read_cohort(folder)
    flat = flat_table(Encoding.fit(cohort, cohort.rows("train")), cohort)

    def column(name: str) -> np.ndarray:
        return flat.x_NF[:, flat.names.index(f"pictures_{name}")]

    np.testing.assert_allclose(column("II_peak_hz"), [2, 3, 4, 5, 6], atol=0.01)
    np.testing.assert_allclose(column("II_crossings_hz"), [4, 6, 8, 10, 12], atol=0.6)
    np.testing.assert_allclose(column("II_std"), 0.5**0.5, atol=0.01)
    assert column("I_present").tolist() == [0] * 5
    assert np.isnan(column("I_std")).all()
    facts = describe(cohort)["modalities"][1]["facts"]
    assert (facts["type"], facts["seconds"]) == ({"wfdb": 5}, {"4.0": 5})
    assert (facts["rate_hz"], facts["leads"]) == ({"100.0": 5}, {"1": 5})
