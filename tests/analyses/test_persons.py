"""One row of each person: who is kept, and that chance is then what it should be."""

# N rows

import numpy as np
from scipy.special import expit

from remind.analyses import compare_pair
from remind.analyses.persons import one_row_per_person
from remind.analyses.token_features import make_features


def test_every_person_keeps_one_row_drawn_at_random() -> None:
    person_N = np.array(["a", "b", "a", "c", "c", "c", "d", "e"], dtype=object)
    rows = np.array([0, 1, 2, 3, 4, 5, 7])
    kept = [one_row_per_person(person_N, rows, np.random.default_rng(seed)) for seed in range(300)]
    for some in kept:
        assert person_N[some].tolist() in (list("abce"), list("bace"))
        assert (np.diff(some) > 0).all()
    count_N = np.bincount(np.concatenate(kept), minlength=8)
    assert count_N[[1, 6, 7]].tolist() == [300, 0, 300]
    assert min(count_N[[0, 2]]) > 120
    assert min(count_N[[3, 4, 5]]) > 70
    rng = np.random.default_rng(0)
    alone = np.array([7, 1, 0])
    assert one_row_per_person(person_N, alone, rng).tolist() == alone.tolist()
    assert rng.random() == np.random.default_rng(0).random()


def false_findings(*, by_person: bool, seeds: int = 30, num: int = 60) -> float:
    """How often p <= 0.1 between groups of one function whose persons have two like rows each."""
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        value_NM = np.repeat(rng.normal(size=(2 * num, 4)), 2, axis=0)
        label_N = np.repeat(rng.random(2 * num) < expit(value_NM[::2].sum(1)), 2).astype(int)
        value_NM += 0.05 * rng.normal(size=value_NM.shape)
        person_N, rows = np.repeat(np.arange(2 * num), 2), np.arange(4 * num)
        if by_person:
            rows = one_row_per_person(person_N, rows, rng)
        features = make_features(value_NM[:, :, None], np.ones((4 * num, 4), bool), label_N, 2)
        a, b = rows[person_N[rows] < num], rows[person_N[rows] >= num]
        pair = compare_pair(features, label_N, a, b, np.ones(4, bool), permutations=19, rng=rng)
        found.append(pair.p <= 0.1)
    return float(np.mean(found))


def test_like_rows_of_a_person_are_no_concept_shift() -> None:
    assert false_findings(by_person=True) <= 0.2  # 0.1 is expected
    assert false_findings(by_person=False) > 0.3
