"""Laws of the intervals: by person, deterministic, of the right width, None where data is thin."""

import numpy as np
import pytest
from scipy.stats import norm

from remind.evaluation import intervals, measure
from remind.evaluation.bootstrap import (
    centered,
    interval,
    person_codes,
    resampled_over_groups,
    resamples,
)
from remind.evaluation.metrics import log_loss_of_rows
from remind.evaluation.predictions import label_of, prob_of
from remind.evaluation.weighted import WEIGHTED


def arrays(frame):
    return label_of(frame), prob_of(frame), frame["person"].to_numpy()


def test_a_seed_fixes_the_intervals_and_another_changes_them(make):
    data = arrays(make(100))
    first = intervals(*data, num_boot=50, seed=1)
    assert intervals(*data, num_boot=50, seed=1) == first
    assert intervals(*data, num_boot=50, seed=2) != first


@pytest.mark.parametrize("num_classes", [2, 3])
def test_every_interval_holds_its_point(make, num_classes):
    label_N, prob_NC, person_N = arrays(make(400, num_classes=num_classes))
    bounds = intervals(label_N, prob_NC, person_N, num_boot=200)
    for name, value in measure(label_N, prob_NC).items():
        assert bounds[name][0] < value < bounds[name][1], name


def test_rows_of_a_person_stay_together(make):
    """Every row written twice under its person says nothing new: same intervals."""
    label_N, prob_NC, person_N = arrays(make(80))
    twice = np.repeat(np.arange(80), 2)
    once = intervals(label_N, prob_NC, person_N, num_boot=100)
    repeated = intervals(label_N[twice], prob_NC[twice], person_N[twice], num_boot=100)
    assert {name: pytest.approx(bounds) for name, bounds in once.items()} == repeated


def test_the_order_of_rows_does_not_matter(make):
    label_N, prob_NC, person_N = arrays(make(80))
    order = np.random.default_rng(0).permutation(80)
    shuffled = intervals(label_N[order], prob_NC[order], person_N[order], num_boot=50)
    once = intervals(label_N, prob_NC, person_N, num_boot=50)
    assert {name: pytest.approx(bounds) for name, bounds in once.items()} == shuffled


def test_a_resample_draws_as_many_persons_as_there_are(monkeypatch):
    """Each resample has P draws; small pieces of memory give the same resamples as one."""
    person_N, num_persons = person_codes(np.array(["b", "a", "b", "c"]))
    whole = np.concatenate(list(resamples(person_N, num_persons, num_boot=20, seed=0)))
    monkeypatch.setattr("remind.evaluation.bootstrap.CHUNK_CELLS", 12)
    pieces = list(resamples(person_N, num_persons, num_boot=20, seed=0))
    assert len(pieces) == 7
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    np.testing.assert_array_equal(whole[:, 0], whole[:, 2])
    np.testing.assert_array_equal(whole[:, [0, 1, 3]].sum(axis=1), np.full(20, 3.0))


def test_the_auroc_interval_covers_the_truth_about_95_times_in_100():
    """Two normal populations one apart have AUROC Phi(1 / sqrt 2)."""
    rng = np.random.default_rng(0)
    truth, trials, hits = norm.cdf(1 / np.sqrt(2)), 200, 0
    for trial in range(trials):
        label_N = rng.integers(2, size=150)
        prob_N = norm.cdf(rng.normal(size=150) + label_N)
        prob_NC = np.stack([1 - prob_N, prob_N], axis=1)
        low, high = intervals(label_N, prob_NC, np.arange(150), num_boot=200, seed=trial)["auroc"]
        hits += low <= truth <= high
    assert 0.90 <= hits / trials <= 0.985


def test_fewer_than_ten_persons_have_no_interval(make):
    label_N, prob_NC, person_N = arrays(make(60))
    assert set(intervals(label_N, prob_NC, np.arange(60) % 9, num_boot=20).values()) == {None}
    assert intervals(label_N, prob_NC, person_N, num_boot=20)["accuracy"] is not None


def test_a_metric_that_most_resamples_leave_undefined_has_no_interval(make):
    """One positive among sixty is missed by 37% of the resamples."""
    _, prob_NC, person_N = arrays(make(60))
    bounds = intervals(np.eye(60, dtype=int)[0], prob_NC, person_N, num_boot=200)
    undefined = {name for name, value in bounds.items() if value is None}
    assert undefined == {"auroc", "auprc", "f1", "f1_macro"}


def test_an_interval_is_of_the_classes_of_its_figure(make):
    """Two patients of a fourth class: 13% of the resamples lose it, and are no mean over four."""
    rng = np.random.default_rng(0)
    label_N = np.r_[3, 3, rng.integers(3, size=298)]
    prob_NC = rng.dirichlet(np.ones(4), 300) + 0.5 * np.eye(4)[label_N]
    prob_NC[:2] = [0.6, 0.5, 0.3, 0.1]
    prob_NC /= prob_NC.sum(axis=1, keepdims=True)
    bounds = intervals(label_N, prob_NC, np.arange(300), num_boot=200)
    undefined = {name for name, value in bounds.items() if value is None}
    assert undefined == {"auroc", "auprc", "f1", "f1_macro"}
    # Four of them are lost by 1 of 55 resamples, which are left out.
    more_N = np.where(np.arange(300) < 4, 3, label_N)
    bounds = intervals(more_N, prob_NC, np.arange(300), num_boot=200)
    weight_RN = next(resamples(*person_codes(np.arange(300)), num_boot=200, seed=0))
    value_R = WEIGHTED["auroc"](more_N, prob_NC, weight_RN)
    kept_R = weight_RN[:, :4].any(axis=1)
    assert 190 < kept_R.sum() < 200
    assert bounds["auroc"] == pytest.approx(np.quantile(value_R[kept_R], [0.025, 0.975]))


def test_a_mean_over_groups_keeps_the_groups(make):
    """Groups of one patient are no rarer in a resample than in the sample."""
    label_N, prob_NC, _ = arrays(make(60))
    loss_N = log_loss_of_rows(label_N, prob_NC)
    groups = [np.arange(40), *np.arange(40, 60)[:, None]]
    weight_RN = next(resamples(np.arange(60), 60, num_boot=400, seed=0))
    value_R = resampled_over_groups("log_loss", label_N, prob_NC, weight_RN, groups)
    point = (loss_N[:40].mean() + loss_N[40:].sum()) / 21
    assert value_R.mean() == pytest.approx(point, abs=0.02)
    r, total, drawn = 7, 0.0, 0.0
    for rows in groups:
        total += weight_RN[r, rows] @ loss_N[rows] / len(rows)
        drawn += weight_RN[r, rows].sum() / len(rows)
    assert value_R[r] == pytest.approx(total / drawn)
    ranked_R = resampled_over_groups("auroc", label_N, prob_NC, weight_RN, groups[:1])
    assert ranked_R == pytest.approx(
        WEIGHTED["auroc"](label_N[:40], prob_NC[:40], weight_RN[:, :40])
    )
    error_R = resampled_over_groups("ece", label_N, prob_NC, weight_RN, groups)
    assert np.isnan(error_R).all()
    nobody_R = resampled_over_groups("auroc", label_N, prob_NC, weight_RN, [])
    assert np.isnan(nobody_R).all()


def test_percentiles_are_over_the_defined_resamples():
    value_R = np.r_[np.arange(101.0), [np.nan] * 5]
    assert np.nanmean(centered("ece", value_R, 7.0)) == pytest.approx(7.0)
    assert interval(value_R, level=0.9) == pytest.approx([5, 95])
    assert interval(np.r_[value_R, np.nan], level=0.9) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [({"num_boot": 0}, "num_boot must be at least 1, got 0"), ({"level": 95}, "level .* got 95")],
)
def test_options_out_of_range_are_refused(make, options, message):
    with pytest.raises(ValueError, match=message):
        intervals(*arrays(make(20)), **options)
