"""The toy hospital: the same bytes from a seed, all kinds, a signal of its own in each modality."""

import hashlib
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from benchmarks.toy_optimum import optimum
from remind.cohort import Cohort, Encoding, load_spec, read_cohort, read_table_for_prediction
from remind.cohort.describe import long_tail
from remind.cohort.flat import flat_table
from remind.cohort.groups import Groups
from remind.cohort.kinds import KINDS
from remind.errors import InputError
from remind.sources import toy_hospital
from remind.sources.toy_hospital.files import write_wfdb
from remind.sources.toy_hospital.latent import NAMES, WEIGHTS_M, Stays, draw_stays

PATIENTS, NEW = 400, 20
ALL_KINDS = {"tabular", "series", "codes", "text", "image", "volume", "signal", "vector"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("hospital")
    toy_hospital.write(place, patients=PATIENTS, seed=3)
    return place


@pytest.fixture(scope="module")
def cohort(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REMIND_CACHE", str(tmp_path_factory.mktemp("cache")))
        return read_cohort(folder)


@pytest.fixture(scope="module")
def stays() -> Stays:
    return draw_stays(PATIENTS + NEW, seed=3)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }


def test_a_seed_gives_the_same_bytes_and_another_one_others(tmp_path: Path) -> None:
    made = []
    for number, seed in enumerate((0, 0, 1)):
        place = tmp_path / str(number)
        place.mkdir()
        toy_hospital.write(place, patients=40, seed=seed)
        made.append(digests(place))
    assert made[0] == made[1]
    assert made[0]["patients.parquet"] != made[2]["patients.parquet"]
    shared = made[0].keys() & made[2].keys() - {"cohort.toml"}
    assert all(made[0][name] != made[2][name] for name in shared)


def test_it_has_every_kind_there_is(folder: Path) -> None:
    assert {modality.kind for modality in load_spec(folder).modalities.values()} == set(KINDS)
    assert set(KINDS) == ALL_KINDS


def test_it_reads_as_it_was_drawn(cohort: Cohort, stays: Stays) -> None:
    assert cohort.spec.modality_names == NAMES
    assert len(cohort) == PATIENTS
    np.testing.assert_array_equal(cohort.label_N, stays.died_N[:PATIENTS])
    np.testing.assert_array_equal(cohort.present_NM, stays.present_NM[:PATIENTS])
    assert not cohort.invalid
    assert len(np.unique(cohort.person)) < 0.9 * PATIENTS


def test_the_sicker_are_measured_more_and_combinations_are_long_tailed() -> None:
    stays = draw_stays(5000, seed=0)
    assert stays.died_N.mean() == pytest.approx(0.25, abs=0.02)
    num_N = stays.present_NM.sum(axis=1)
    assert spearmanr(stays.z_NM @ WEIGHTS_M, num_N).statistic > 0.3
    assert np.corrcoef(stays.present("ecg"), stays.present("echo"))[0, 1] > 0.2
    assert long_tail(Groups.fit(stays.present_NM, NAMES).counts_G)["gini"] > 0.7
    assert np.abs(np.corrcoef(stays.z_NM.T) - np.eye(len(NAMES))).max() < 0.06


def test_every_modality_tells_its_own_illness_and_that_of_no_other(
    cohort: Cohort, stays: Stays
) -> None:
    """Of each illness, cross-validated regression on the files of its modality finds the most."""
    encoding = Encoding.fit(cohort, np.arange(PATIENTS))
    flat = flat_table(encoding, cohort)
    kinds = [KINDS[kind].flat for kind in encoding.schemas if kind in KINDS]
    assert len(kinds) == len(ALL_KINDS)
    modality_F = modality_of_columns(encoding, cohort)
    for m, name in enumerate(NAMES):
        rows = np.flatnonzero(cohort.present_NM[:, m])
        z = stays.z_NM[:PATIENTS][rows, m]
        assert explained(flat.x_NF[rows][:, modality_F == m], z) > 0.25, name
        assert explained(flat.x_NF[rows][:, modality_F != m], z) < 0.15, name


def test_no_kind_is_decoration() -> None:
    """At best, all kinds are worth about the same, and none of them little."""
    result = optimum(draw_stays(20_000, seed=5))
    best = result.pop("all")["without"]
    assert result.keys() == ALL_KINDS
    lost = {kind: best - values["without"] for kind, values in result.items()}
    assert min(lost.values()) > 0.02, lost
    assert max(lost.values()) < 0.04, lost


def modality_of_columns(encoding: Encoding, cohort: Cohort) -> np.ndarray:
    from remind.cohort.encoding import raws_by_kind

    raws = raws_by_kind(cohort)
    parts = [KINDS[kind].flat(encoding.schemas[kind], raw) for kind, raw in raws.items()]
    return np.concatenate([part.modality_F for part in parts])


def explained(x_NF: np.ndarray, z_N: np.ndarray) -> float:
    """The squared rank correlation of out-of-fold predictions of boosted trees with z."""
    from lightgbm import LGBMRegressor
    from sklearn.model_selection import cross_val_predict

    options = {"num_leaves": 7, "min_child_samples": 5, "colsample_bytree": 0.5, "verbose": -1}
    trees = LGBMRegressor(n_estimators=60, n_jobs=1, random_state=0, **options)
    predicted = cross_val_predict(trees, x_NF, z_N, cv=3)
    return max(0.0, float(spearmanr(predicted, z_N).statistic)) ** 2


def test_new_stays_have_no_outcome_and_are_none_of_the_old(
    folder: Path, cohort: Cohort, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REMIND_CACHE", str(tmp_path))
    table = folder / "new" / "patients.parquet"
    assert "died" not in pd.read_parquet(table)
    encoding = Encoding.fit(cohort, cohort.rows("train"))
    new = read_table_for_prediction(cohort.spec, table, encoding=encoding)
    assert len(new) == NEW
    assert not set(new.ids) & set(cohort.ids)
    stays = draw_stays(PATIENTS + NEW, seed=3)
    np.testing.assert_array_equal(new.present_NM, stays.present_NM[PATIENTS:])


def test_records_are_what_wfdb_writes_itself(tmp_path: Path) -> None:
    wave_LS = np.random.default_rng(0).normal(size=(2, 300)).astype(np.float32)
    write_wfdb(tmp_path / "ours", wave_LS, rate_hz=100, leads=("II", "V5"))
    with warnings.catch_warnings():  # of pandas, about how wfdb uses it
        warnings.simplefilter("ignore")
        import wfdb
    read = wfdb.rdrecord(str(tmp_path / "ours"), physical=False)
    assert (read.fs, read.sig_name, read.units) == (100, ["II", "V5"], ["mV", "mV"])
    assert [value % 2**16 for value in read.checksum] == read.calc_checksum()
    assert read.init_value == read.d_signal[0].tolist()
    physical = wfdb.rdrecord(str(tmp_path / "ours")).p_signal
    np.testing.assert_allclose(physical.T, wave_LS, atol=0.00051)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"patients": 39}, "toy-hospital: patients must be at least 40, got 39"),
        ({"seed": -1}, "toy-hospital: seed must be at least 0, got -1"),
    ],
)
def test_options_out_of_range_are_refused(
    options: dict[str, int], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        toy_hospital.write(tmp_path, **options)
    assert str(caught.value) == sentence
