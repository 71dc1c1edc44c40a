"""Calibration: known miscalibration is found, intervals cover, and nothing is invented."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression

from remind.evaluation.calibration import calibration, slope_and_intercept
from remind.evaluation.metrics import ece
from remind.evaluation.predictions import label_of, prob_of
from remind.evaluation.proportions import clopper_pearson, share_interval, wilson

Make = Callable[..., pd.DataFrame]


@pytest.mark.parametrize(("hits", "num"), [(0, 7), (7, 7), (3, 40), (160, 200)])
def test_intervals_of_a_share_are_those_of_scipy(hits: int, num: int) -> None:
    test = binomtest(hits, num)
    exact, score = test.proportion_ci(method="exact"), test.proportion_ci(method="wilson")
    assert clopper_pearson(hits, num) == pytest.approx([exact.low, exact.high])
    assert wilson(hits, num) == pytest.approx([score.low, score.high])
    assert wilson(0, 0) is None
    assert clopper_pearson(0, 0) is None


def test_rows_of_a_person_are_resampled_together_in_the_interval_of_a_share() -> None:
    """Rows written again say nothing new, and the alike rows of few persons are few persons."""
    hit_P = np.arange(50) % 5 == 0
    once = share_interval(hit_P, np.arange(50), wilson)
    assert once == wilson(10, 50)
    twice, thrice = (
        share_interval(np.repeat(hit_P, k), np.repeat(np.arange(50), k), wilson) for k in (2, 3)
    )
    assert twice == thrice
    assert twice == pytest.approx(once, abs=0.04)
    for hit in (False, True):
        alike = share_interval(np.full(40, hit), np.arange(40) % 8, clopper_pearson)
        assert alike == clopper_pearson(8 * hit, 8)
    assert share_interval(np.arange(40) > 20, np.arange(40) % 9, wilson) is None


def test_a_curve_of_persons_with_several_rows_has_wider_intervals(make: Make) -> None:
    frame = make(400)
    again = pd.concat([frame.assign(id=frame["id"] + f"-{k}") for k in range(4)])
    once, four = (
        calibration(f, num_boot=200)["blocks"]["overall"]["curve"] for f in (frame, again)
    )
    for alone, repeated in zip(once, four, strict=True):
        assert repeated["n"] == 4 * alone["n"]
        assert alone["ci"] == wilson(round(alone["n"] * alone["observed"]), alone["n"])
        assert np.diff(repeated["ci"]) == pytest.approx(np.diff(alone["ci"]), rel=0.3)


def overconfident(frame: pd.DataFrame, slope: float, shift: float = 0.0) -> pd.DataFrame:
    """The truth's log odds divided by the slope that is to be found, minus the shift."""
    prob_N = expit((logit(frame["prob_1"]) - shift) / slope)
    return frame.assign(prob_0=1 - prob_N, prob_1=prob_N)


def test_a_known_slope_and_shift_are_found(make: Make) -> None:
    frame = make(6000)
    figures = calibration(overconfident(frame, slope=0.5), num_boot=100)["blocks"]["overall"]
    low, high = figures["ci"]["slope"]
    assert low < 0.5 < high < 0.7
    figures = calibration(overconfident(frame, 1.0, shift=0.8), num_boot=100)["blocks"]["overall"]
    low, high = figures["ci"]["intercept"]
    assert 0.6 < low < 0.8 < high
    assert figures["ci"]["slope"][0] < 1 < figures["ci"]["slope"][1]


def test_slope_is_the_maximum_likelihood_and_weights_are_repetitions() -> None:
    rng = np.random.default_rng(0)
    logit_N = rng.normal(size=400)
    hit_N = rng.random(400) < expit(0.3 + 0.6 * logit_N)
    weight_RN = rng.integers(0, 3, size=(2, 400)).astype(float)
    slope_R, intercept_R = slope_and_intercept(expit(logit_N), hit_N, weight_RN)
    for weight_N, slope, intercept in zip(weight_RN, slope_R, intercept_R, strict=True):
        rows = np.repeat(np.arange(400), weight_N.astype(int))
        oracle = LogisticRegression(C=np.inf, tol=1e-10).fit(logit_N[rows, None], hit_N[rows])
        assert slope == pytest.approx(oracle.coef_[0, 0], abs=1e-4)
        moved = expit(logit_N + intercept)
        assert (weight_N @ moved) == pytest.approx(weight_N @ hit_N, rel=1e-6)


def test_intervals_of_slope_and_intercept_cover_the_truth(make: Make) -> None:
    """40 models that are the truth: 95% intervals of 1 and 0 miss rarely."""
    missed = {"slope": 0, "intercept": 0}
    for seed in range(40):
        frame = make(300, data_seed=seed)
        ci = calibration(frame, num_boot=100)["blocks"]["overall"]["ci"]
        for name, truth in (("slope", 1.0), ("intercept", 0.0)):
            missed[name] += not ci[name][0] <= truth <= ci[name][1]
    assert max(missed.values()) <= 6  # of 40 at 5%: more than 6 has probability 0.01


def test_curve_holds_everyone_and_ece_is_that_of_metrics(make: Make) -> None:
    frame = make(900, num_classes=3, noise=0.7)
    blocks = calibration(frame, num_boot=50)["blocks"]
    for name, block in blocks.items():
        some = frame if name == "overall" else frame[frame["band"] == name]
        assert sum(point["n"] for point in block["curve"]) == block["n"] == len(some)
        assert block["ece"] == pytest.approx(ece(label_of(some), prob_of(some)))
        assert all(p["ci"][0] <= p["observed"] <= p["ci"][1] for p in block["curve"])
    predicted = [point["predicted"] for point in blocks["overall"]["curve"]]
    assert len(predicted) == 10
    assert predicted == sorted(predicted)


def test_what_patients_cannot_define_is_null(make: Make) -> None:
    frame = make(200)
    head = frame[frame["band"] == "head"].assign(label="1")
    blocks = calibration(head, num_boot=20)["blocks"]
    assert blocks["overall"]["slope"] is None
    assert blocks["overall"]["ci"]["intercept"] is None
    assert blocks["tail"]["n"] == 0
    assert blocks["tail"]["curve"] == []
    assert blocks["tail"]["ece"] is None
    separated = frame.assign(prob_1=np.where(frame["label"] == "1", 0.9, 0.1))
    separated = separated.assign(prob_0=1 - separated["prob_1"])
    assert calibration(separated, num_boot=20)["blocks"]["overall"]["slope"] is None
