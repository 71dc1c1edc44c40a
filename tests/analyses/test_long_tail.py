"""The long tail: the unseen share is estimated without bias, and its interval covers."""

from types import SimpleNamespace

import numpy as np
import pytest

from remind.analyses.long_tail import long_tail, missing_mass, rank_size
from remind.analyses.options import Options
from remind.evaluation.proportions import wilson
from tests.analyses.known import Known, run_of, synthetic


def zipf(num: int, exponent: float) -> np.ndarray:
    share_G = np.arange(1, num + 1) ** -exponent
    return share_G / share_G.sum()


@pytest.mark.parametrize(
    ("num_groups", "exponent", "num"), [(2000, 1.0, 500), (2000, 1.0, 3000), (50, 1.5, 500)]
)
def test_interval_covers_the_missing_mass(num_groups: int, exponent: float, num: int) -> None:
    """Good-Turing is right on average, and 95% intervals miss in about 5% of 300 samples."""
    rng = np.random.default_rng(0)
    share_G = zipf(num_groups, exponent)
    expected, truth, covered = [], [], 0
    for _ in range(300):
        group_N = rng.choice(num_groups, num, p=share_G)
        unseen = share_G[np.bincount(group_N, minlength=num_groups) == 0].sum()
        estimate, (low, high) = missing_mass(group_N, np.arange(num))
        expected.append(estimate)
        truth.append(unseen)
        covered += low <= unseen <= high
    assert np.mean(expected) == pytest.approx(np.mean(truth), rel=0.06)
    assert 274 <= covered <= 297


def rows_of_persons(rng: np.random.Generator, share_G: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """400 persons with 1 to 4 rows, most of them in the person's own combination."""
    person_N = np.repeat(np.arange(400), rng.integers(1, 5, 400))
    own_P = rng.choice(len(share_G), 400, p=share_G)
    other_N = rng.choice(len(share_G), len(person_N), p=share_G)
    return np.where(rng.random(len(person_N)) < 0.6, own_P[person_N], other_N), person_N


def test_interval_covers_for_new_persons_where_persons_have_several_rows() -> None:
    """Counting rows would call a combination seen that only one person ever had."""
    rng = np.random.default_rng(0)
    share_G = zipf(2000, 1.0)
    covered, by_rows, unseen = 0, [], []
    for _ in range(200):
        group_N, person_N = rows_of_persons(rng, share_G)
        unseen.append(share_G[np.bincount(group_N, minlength=2000) == 0].sum())
        low, high = missing_mass(group_N, person_N)[1]
        covered += low <= unseen[-1] <= high
        by_rows.append(missing_mass(group_N, np.arange(len(group_N)))[0])
    assert covered >= 181
    assert np.mean(by_rows) < 0.8 * np.mean(unseen)


def test_estimate_is_what_leaving_each_person_out_counts() -> None:
    group_N, person_N = rows_of_persons(np.random.default_rng(1), zipf(300, 1.0))
    alone = [
        group not in group_N[person_N != person]
        for group, person in zip(group_N, person_N, strict=True)
    ]
    assert missing_mass(group_N, person_N)[0] == pytest.approx(np.mean(alone))


def test_no_singleton_still_leaves_room_for_the_unseen() -> None:
    share, (low, high) = missing_mass(np.repeat([0, 1], 100), np.arange(200))
    assert (share, low) == (0.0, 0.0)
    assert high == pytest.approx(3.84 / 203.84, rel=0.01)


def test_rank_size_lists_every_group_once() -> None:
    assert rank_size(np.array([9, 4, 4, 1, 1, 1])) == [
        {"n": 9, "first": 1, "last": 1},
        {"n": 4, "first": 2, "last": 3},
        {"n": 1, "first": 4, "last": 6},
    ]


def test_observed_shares_are_of_persons() -> None:
    """Five alike rows of everyone are no more patients than one."""
    drawn, logits = synthetic(num_patients=600, num_modalities=6, tail=1.0)
    cohort = drawn.cohort.select(drawn.cohort.rows("test"))
    run = run_of(drawn.cohort, Known(logits))
    rows = np.repeat(np.arange(len(cohort)), 5)
    widths = []
    for some in (cohort, cohort.select(rows)):
        whole = SimpleNamespace(
            rows=lambda split, some=some: np.arange(len(some)),
            present_NM=some.present_NM,
            person=some.person,
        )
        bands = long_tail(run, whole, Options())["bands"]
        widths.append([np.diff(bands[band]["ci"])[0] for band in ("medium", "tail")])
    alone = wilson(round(len(cohort) * bands["tail"]["observed"]), len(cohort))
    assert widths[0][1] == pytest.approx(alone[1] - alone[0])
    assert widths[1] == pytest.approx(widths[0], rel=0.15)


def test_a_cohort_as_a_whole() -> None:
    drawn, logits = synthetic(num_patients=3000, num_modalities=8, tail=1.0)
    result = long_tail(run_of(drawn.cohort, Known(logits)), drawn.cohort, Options())
    unseen = result["unseen"]
    assert unseen["ci"][0] <= unseen["observed"] <= unseen["ci"][1]
    assert 0 < unseen["ci"][0] < unseen["expected"] < unseen["ci"][1]
    assert sum(band["n"] for band in result["bands"].values()) == result["n"] == 1950
    assert result["rank_size"][-1]["last"] == result["num_groups"]
    assert 1 < result["inverse_simpson"] < result["effective_groups"] < result["num_groups"]
