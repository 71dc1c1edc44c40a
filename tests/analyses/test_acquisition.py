"""What would help: expected gains are those that come, in order and in size, and chance is not."""

import json
from typing import Any

import numpy as np
import pytest

from remind.analyses.acquisition import acquisition, fit_gains, what_would_help
from remind.analyses.gains import GainModel, Pairs, entropy, hide_each
from remind.analyses.options import Options
from remind.cohort import Cohort
from remind.errors import InputError
from tests.analyses.known import Known, masked_at_random, run_of

WEIGHTS = np.array([1.8, 1.0, 0.5, 0.0])
FAST = Options(num_boot=150)


def even(bits_UM: np.ndarray) -> np.ndarray:
    return np.ones(len(bits_UM))


def sharpened(logit_N: np.ndarray, cohort: Cohort) -> np.ndarray:
    """A run that is too sure of itself."""
    return 2 * logit_N + 0.5


@pytest.fixture(scope="module")
def known() -> tuple[Any, Cohort, dict[str, Any]]:
    """The optimum on patients missing at random: modalities in the order of what they tell."""
    cohort, logits = masked_at_random(5000, WEIGHTS, even)
    run = run_of(cohort, Known(logits))
    return run, cohort, acquisition(run, cohort, FAST)


def test_modalities_are_ranked_by_what_they_tell(known: tuple[Any, Cohort, dict]) -> None:
    result = known[2]
    assert [item["modality"] for item in result["modalities"]] == ["m0", "m1", "m2", "m3"]
    gain = [item["gain"] for item in result["modalities"]]
    assert gain[0] > 1.8 * gain[1] > 1.8 * gain[2] > 0.01
    assert abs(gain[3]) < 1e-9  # it tells nothing, and no gain is made up for it
    for item in result["groups"]:
        assert [some["modality"] for some in item["gains"]] == sorted(
            some["modality"] for some in item["gains"]
        )
        assert not {some["modality"] for some in item["gains"]} & set(item["group"].split("+"))
    json.dumps(result, allow_nan=False)


def test_expected_gains_agree_with_realised_ones(known: tuple[Any, Cohort, dict]) -> None:
    validation = known[2]["validation"]
    assert validation["pearson"]["ci"][0] > 0.1
    assert validation["spearman"]["ci"][0] > 0.1
    assert validation["ceiling"]["value"] > validation["pearson"]["value"]
    assert validation["slope"]["ci"][0] < 1 < validation["slope"]["ci"][1] < 1.3
    assert validation["groups"]["pearson"]["ci"][0] > 0.5
    assert validation["choice"]["difference"]["ci"][0] > 0.02
    inside = [
        some["realised"]["ci"][0] <= some["expected"] <= some["realised"]["ci"][1]
        for some in validation["bins"]
    ]
    assert len(inside) > 5
    assert sum(inside) >= len(inside) - 2
    assert sum(some["n"] for some in validation["bins"]) == validation["n"]


def test_expected_gain_is_the_mutual_information(known: tuple[Any, Cohort, dict]) -> None:
    """For patients who have m1 and m2 only, m0 is worth H(y | m1, m2) - H(y | m0, m1, m2)."""
    run, cohort, result = known
    group = next(item for item in result["groups"] if item["group"] == "m1+m2")
    gain = next(item for item in group["gains"] if item["modality"] == "m0")
    complete = cohort.select(np.flatnonzero(cohort.present_NM[:, :3].all(axis=1)))
    pairs = hide_each(run, complete, np.arange(len(complete)))
    truth = pairs.divergence_N[pairs.modality_N == 0].mean()
    assert gain["ci"][0] <= truth <= gain["ci"][1]
    assert 0.1 < gain["ci"][0] < gain["ci"][1] < 0.35


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_that_is_too_sure_is_not_believed(seed: int) -> None:
    """Its own belief promises more than comes; validation labels put the scale right."""
    cohort, logits = masked_at_random(4000, WEIGHTS, even, seed)
    result = acquisition(run_of(cohort, Known(logits, sharpened)), cohort, FAST)
    assert result["scale"]["ci"][1] < 1
    slope = result["validation"]["slope"]
    assert slope["ci"][0] < 1 < slope["ci"][1]


def test_a_run_that_ignores_a_modality_promises_nothing() -> None:
    cohort, _ = masked_at_random(600, WEIGHTS, even)
    run = run_of(cohort, Known(lambda some: np.full(len(some), -1.0)))
    result = acquisition(run, cohort, FAST)
    assert all(item["gain"] == 0 for group in result["groups"] for item in group["gains"])
    assert result["validation"]["pearson"] == {"value": None, "ci": None}


def test_hiding_is_the_same_as_never_having_had_it(known: tuple[Any, Cohort, dict]) -> None:
    run, cohort, _ = known
    rows = cohort.rows("test")
    pairs = hide_each(run, cohort, rows)
    present_NM = cohort.present_NM[rows]
    several = present_NM.sum(axis=1) > 1
    assert len(pairs) == present_NM[several].sum()
    assert (pairs.left_NM.sum(axis=1) == cohort.present_NM[pairs.row_N].sum(axis=1) - 1).all()
    assert (cohort.present_NM[pairs.row_N, pairs.modality_N]).all()
    unhelpful = pairs.modality_N == 3
    assert np.abs(pairs.gain_N[unhelpful]).max() < 1e-9
    assert pairs.gain_N[pairs.modality_N == 0].mean() > 0.1


def test_a_patients_list_holds_what_is_missing_best_first(known: tuple[Any, Cohort, dict]) -> None:
    run, cohort, _ = known
    patients = cohort.select(cohort.rows("test")[:60])
    table = what_would_help(run, patients, fit_gains(run, cohort, FAST))
    assert len(table) == (~patients.present_NM).sum()
    prob_NC = run.predictor.predict_proba(patients)
    for row, some in table.groupby("id", sort=False):
        at = patients.ids.tolist().index(row)
        assert set(some["modality"]) == {f"m{m}" for m in np.flatnonzero(~patients.present_NM[at])}
        assert some["gain"].is_monotonic_decreasing
        assert (some["low"] <= some["gain"]).all()
        assert (some["gain"] < entropy(prob_NC[at : at + 1])[0]).all()


def test_where_nobody_has_two_modalities_one_sentence_says_so() -> None:
    cohort, logits = masked_at_random(
        300, WEIGHTS, lambda bits_UM: (bits_UM.sum(axis=1) == 1).astype(float)
    )
    with pytest.raises(InputError, match=r'nobody in the split "val" has two modalities'):
        acquisition(run_of(cohort, Known(logits)), cohort, FAST)


@pytest.mark.parametrize(("num_unsure", "has_interval"), [(4, True), (2, False)])
def test_a_resample_in_which_nobody_is_unsure_is_undefined_and_not_divided(
    num_unsure: int, has_interval: bool
) -> None:
    """12 persons have m1, of whom some are unsure without it: 1% or 11% of draws lack them all."""
    entropy_N = np.where(np.arange(12) < num_unsure, 0.5, 0.0)
    pairs = Pairs(
        row_N=np.arange(12),
        person_N=np.arange(12),
        modality_N=np.ones(12, np.int64),
        left_NM=np.tile([True, False], (12, 1)),
        entropy_N=entropy_N,
        divergence_N=entropy_N * np.linspace(0.5, 0.2, 12),
        gain_N=entropy_N * 0.3,
        num_persons=12,
    )
    model = GainModel.fit(pairs, Options())
    known = model.evidence[1]
    assert known is not None
    drawn_R = known.share(np.array([[True, False]]))[1:, 0]
    undefined = np.isnan(drawn_R).mean()
    assert 0 < undefined < 0.05 if has_interval else undefined > 0.05
    factors = model.factors(np.array([[True, False]]))
    assert factors.value[0, 1] > 0
    assert factors.evidence[0, 1] == 12
    ends = [factors.low[0, 1], factors.high[0, 1]]
    assert np.isfinite(ends).all() if has_interval else np.isnan(ends).all()
