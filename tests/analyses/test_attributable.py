"""The attributable gap: where the optimum is known, the model's part is the excess over it."""

from typing import Any

import numpy as np
import pytest
from scipy.optimize import check_grad

from remind.analyses import reference
from remind.analyses.attributable import attributable_gap
from remind.analyses.masked import draw_combinations, draw_donors, observed_in
from remind.analyses.matching import match
from remind.analyses.options import Options
from remind.cohort import Bands, Cohort
from remind.errors import InputError
from remind.evaluation.metrics import log_loss_of_rows
from tests.analyses.known import Known, masked_at_random, run_of, synthetic

FAST = Options(num_boot=200)
PARTS = ("information", "patients", "function", "model", "common_excess")


def parts(block: dict[str, Any], loss: str = "log_loss") -> dict[str, Any]:
    return block[loss]["parts"]


def head_heavy(bits_UM: np.ndarray) -> np.ndarray:
    """Half of the patients are complete, the other combinations are equally rare."""
    return np.where(bits_UM.all(axis=1), 0.5, 0.5 / (len(bits_UM) - 1))


@pytest.fixture(scope="module")
def at_random() -> tuple[Cohort, dict[str, Any]]:
    """Missing at random, one function, and a run that is the optimum."""
    cohort, logits = masked_at_random(6000, np.array([1.6, 1.2, 0.8, 0.4]), head_heavy, seed=1)
    run = run_of(cohort, Known(logits), Bands(head=300, medium=20))
    return cohort, attributable_gap(run, cohort, FAST)


def test_missing_at_random_and_an_optimal_run_leave_only_information(
    at_random: tuple[Cohort, dict[str, Any]],
) -> None:
    """The gap is there, less is known, and nothing is blamed on the model or on a function."""
    figures = parts(at_random[1]["bands"]["medium"])
    assert figures["gap"]["ci"][0] > 0.04
    assert figures["information"]["ci"][0] > 0.04
    for name in ("model", "common_excess"):
        assert abs(figures[name]["value"]) < 0.006
    for name in ("function", "difference"):
        assert figures[name]["ci"][0] < 0 < figures[name]["ci"][1]
    assert abs(figures["patients"]["value"]) < 0.015


def test_the_split_is_exact_and_balanced(at_random: tuple[Cohort, dict[str, Any]]) -> None:
    cohort, result = at_random
    blocks = [result["bands"]["medium"], *result["groups"]]
    assert len(blocks) > 5
    for block in blocks:
        assert block["covered"] == 1.0  # the complete can be masked to anything
        assert block["balance"]["after"] < 0.1
        for loss in ("log_loss", "error"):
            figures = parts(block, loss)
            total = sum(figures[name]["value"] for name in PARTS)
            assert total == pytest.approx(figures["gap"]["value"])
    assert result["bands"]["tail"] is None
    assert result["common"] + result["rare"] == len(cohort.rows("test"))


@pytest.mark.parametrize("kappa", [0.0, 1.0])
def test_the_models_part_tracks_the_true_excess_of_a_run_that_fails_the_rare(kappa: float) -> None:
    """The synthetic optimum, shrunk towards a constant for rare combinations only.

    The excess is counted on the labels that the patients have, so that their luck is in both.
    """
    drawn, logits = synthetic(
        num_patients=4000, num_modalities=5, num_latents=2, tail=1.6, kappa=kappa, val=0.2, test=0.4
    )
    cohort = drawn.cohort
    assert cohort.label_N is not None
    groups = run_of(cohort, Known(logits)).encoding.groups
    test = cohort.rows("test")
    rare = test[groups.band(cohort.present_NM[test]) == "medium"]
    label_N = cohort.label_N[rare]
    best = log_loss_of_rows(label_N, Known(logits).predict_proba(cohort)[rare]).mean()
    found, excess = [], []
    for keep in (1.0, 0.7, 0.4):

        def worse(logit_N: np.ndarray, some: Cohort, keep: float = keep) -> np.ndarray:
            is_rare_N = groups.band(some.present_NM) != "head"
            return np.where(is_rare_N, keep * (logit_N + 1) - 1, logit_N)

        run = run_of(cohort, Known(logits, worse))
        found.append(parts(attributable_gap(run, cohort, FAST)["bands"]["medium"])["all_model"])
        loss_N = log_loss_of_rows(label_N, run.predictor.predict_proba(cohort)[rare])
        excess.append(loss_N.mean() - best)
    assert excess[0] < 1e-9 < 0.01 < excess[1] < 0.05 < excess[2]
    for figure, true in zip(found, excess, strict=True):
        assert figure["value"] == pytest.approx(true, abs=0.01)
    assert found[2]["ci"][0] > 0.02


def test_hidden_severity_is_not_blamed_on_the_model() -> None:
    """Rare patients whose labels are coin flips: no model could know, and `function` says so."""
    cohort, logits = masked_at_random(4000, np.array([2.0, 1.0, 0.5]), head_heavy, seed=1)
    assert cohort.label_N is not None
    coin = np.random.default_rng(0).integers(0, 2, len(cohort))
    cohort.label_N[:] = np.where(cohort.present_NM.all(axis=1), cohort.label_N, coin)

    def knows(logit_N: np.ndarray, some: Cohort) -> np.ndarray:
        return np.where(some.present_NM.all(axis=1), logit_N, 0.0)

    run = run_of(cohort, Known(logits, knows), Bands(head=500, medium=20))
    figures = parts(attributable_gap(run, cohort, FAST)["bands"]["medium"])
    assert abs(figures["model"]["value"]) < 0.01
    assert figures["function"]["ci"][0] > 0.03


def test_without_common_or_rare_patients_one_sentence_says_so() -> None:
    cohort, logits = masked_at_random(400, np.array([1.0, 1.0]), head_heavy)
    with pytest.raises(InputError, match="nobody to compare with: fit with a lower bands_head"):
        attributable_gap(run_of(cohort, Known(logits), Bands(head=300)), cohort, FAST)
    with pytest.raises(InputError, match="there is no gap: fit with a higher bands_head"):
        attributable_gap(run_of(cohort, Known(logits), Bands(head=1, medium=1)), cohort, FAST)


def test_donors_and_copies_can_be_masked_to_what_they_get() -> None:
    rng = np.random.default_rng(0)
    present_NM, patterns_UM = rng.random((200, 6)) < 0.7, rng.random((9, 6)) < 0.4
    fits_NU = ~(patterns_UM[None] & ~present_NM[:, None]).any(axis=2)
    donor_D, pattern_D = draw_donors(present_NM, patterns_UM, 20, rng)
    assert fits_NU[donor_D, pattern_D].all()
    assert len(set(zip(donor_D.tolist(), pattern_D.tolist(), strict=True))) == len(donor_D)
    most_U = np.minimum(fits_NU.sum(axis=0), 20)
    np.testing.assert_array_equal(np.bincount(pattern_D, minlength=9), most_U)
    drawn_N = draw_combinations(present_NM, patterns_UM, np.ones(9), rng)
    assert (drawn_N[~fits_NU.any(axis=1)] == -1).all()
    some = drawn_N >= 0
    assert fits_NU[some, drawn_N[some]].all()
    assert len(np.unique(drawn_N)) > 5


def test_nobody_gains_a_modality_or_loses_all() -> None:
    cohort, _ = masked_at_random(50, np.array([1.0, 1.0]), head_heavy)
    rows = np.flatnonzero(~cohort.present_NM.all(axis=1))[:1]
    with pytest.raises(ValueError, match="a subset of the true one"):
        observed_in(cohort, rows, np.ones((1, 2), dtype=bool))
    with pytest.raises(ValueError, match="at least one modality"):
        observed_in(cohort, rows, np.zeros((1, 2), dtype=bool))


def test_weights_make_donors_resemble_rare_patients() -> None:
    """Donors at N(0, 1) and rare ones at N(1, 0.8): the weighted mean of x^2 becomes theirs."""
    rng = np.random.default_rng(0)
    donor_D1, rare_N1 = rng.normal(size=(6000, 1)), 1 + 0.8 * rng.normal(size=(3000, 1))
    donor_pattern_D, rare_pattern_N = (
        rng.integers(0, 2, 6000),
        rng.choice(3, 3000, p=[0.6, 0.2, 0.2]),
    )
    weights = match(donor_D1, donor_pattern_D, rare_N1, rare_pattern_N)
    assert weights is not None
    by_pattern = np.bincount(donor_pattern_D, weights=weights.base_D)
    np.testing.assert_allclose(by_pattern, np.bincount(rare_pattern_N)[:2])
    assert weights.before > 0.9
    assert weights.after < 0.05
    squares = np.average(donor_D1[:, 0] ** 2, weights=weights.matched_D)
    assert squares == pytest.approx((rare_N1**2).mean(), rel=0.05)
    assert match(donor_D1, donor_pattern_D, rare_N1, np.full(3000, 2)) is None


def test_the_gradient_of_the_stack_is_that_of_its_loss() -> None:
    rng = np.random.default_rng(0)
    start = np.array([0.0, 0.0, 1.0, 0.0])
    own_NC, trees_NC = np.log(rng.dirichlet(np.ones(3), (2, 40)))
    known = reference.Known(own_NC, trees_NC, rng.integers(0, 3, 40), np.arange(40))
    for _ in range(3):
        error = check_grad(
            lambda stack: reference._penalised(stack, start, known, 3.0)[0],
            lambda stack: reference._penalised(stack, start, known, 3.0)[1],
            start + rng.normal(size=4) / 2,
        )
        assert error < 1e-4
