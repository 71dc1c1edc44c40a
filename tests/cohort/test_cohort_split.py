"""Laws of the split by fractions."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from remind.cohort import read_cohort
from remind.cohort.split import split_by_fractions
from tests.cohort.make import TOML, small_frame, write_frame


@st.composite
def patients(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """Persons, labels and presence; every class has at least one patient."""
    num = draw(st.integers(3, 80))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    num_persons = draw(st.integers(3, num))
    person = np.concatenate(
        [np.arange(num_persons), rng.integers(0, num_persons, num - num_persons)]
    )
    return {
        "person": person,
        "label_N": rng.integers(0, draw(st.integers(1, 4)), num),
        "present_NM": rng.random((num, 3)) < draw(st.sampled_from([0.02, 0.5])),
    }


fractions = st.sampled_from([(0.15, 0.2), (0.0, 0.5), (0.3, 0.0), (0.45, 0.45), (0.0, 0.0)])


@given(data=patients(), shares=fractions, seed=st.integers(0, 2**32 - 1), order=st.randoms())
def test_split_laws(
    data: dict[str, np.ndarray], shares: tuple[float, float], seed: int, order: object
) -> None:
    val, test = shares
    split = split_by_fractions(**data, val=val, test=test, seed=seed)

    for person in np.unique(data["person"]):
        assert len(set(split[data["person"] == person])) == 1
    is_train = split == "train"
    assert set(data["label_N"][is_train]) == set(data["label_N"])
    assert (data["present_NM"][is_train].any(axis=0) == data["present_NM"].any(axis=0)).all()

    shuffled = np.random.default_rng(seed).permutation(len(split))
    again = split_by_fractions(
        **{name: values[shuffled] for name, values in data.items()}, val=val, test=test, seed=seed
    )
    assert (again == split[shuffled]).all()


@given(seed=st.integers(0, 999), shares=fractions)
def test_fractions_hold_overall_and_in_every_stratum(
    seed: int, shares: tuple[float, float]
) -> None:
    val, test = shares
    rng = np.random.default_rng(seed)
    label_N = (rng.random(1000) < 0.1).astype(np.int64)
    present_NM = rng.random((1000, 4)) < 0.8
    present_NM[:, 0] = True
    split = split_by_fractions(np.arange(1000), label_N, present_NM, val=val, test=test, seed=seed)
    for is_in in (np.full(1000, True), label_N == 0, label_N == 1):
        for name, share in (("val", val), ("test", test)):
            assert abs((split[is_in] == name).sum() - share * is_in.sum()) <= 3


def test_fractions_hold_in_rows_when_persons_have_many() -> None:
    person = np.repeat(np.arange(800), np.random.default_rng(0).geometric(0.3, 800))
    num = len(person)
    split = split_by_fractions(
        person, np.zeros(num, np.int64), np.ones((num, 1), bool), val=0.15, test=0.2, seed=0
    )
    assert abs((split == "val").mean() - 0.15) < 0.01
    assert abs((split == "test").mean() - 0.2) < 0.01


def test_another_seed_is_another_split() -> None:
    ids, label_N, present_NM = np.arange(50), np.arange(50) % 2, np.ones((50, 1), bool)
    splits = {
        "".join(split_by_fractions(ids, label_N, present_NM, val=0.2, test=0.2, seed=seed))
        for seed in range(5)
    }
    assert len(splits) == 5


def test_default_fractions_and_whole_persons_from_disk(tmp_path: Path) -> None:
    toml = TOML.replace('[split]\ncolumn = "split"\n', "")
    cohort = read_cohort(write_frame(tmp_path, small_frame(n=400), toml=toml))
    assert {name: len(cohort.rows(name)) for name in ("train", "val", "test")} == {
        "train": 260,
        "val": 60,
        "test": 80,
    }
    pairs = cohort.split.reshape(-1, 2) if cohort.split is not None else np.empty((0, 2))
    assert (pairs[:, 0] == pairs[:, 1]).all()
