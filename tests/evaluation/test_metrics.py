"""Laws of the metrics: those of scikit-learn, a weight is a repetition, None when undefined."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from remind.evaluation.metrics import METRICS, ece, measure
from remind.evaluation.weighted import WEIGHTED


@st.composite
def cases(draw, num_classes=None):
    """Labels, probabilities with many ties, and integer weights, some of them 0."""
    C = num_classes or draw(st.integers(2, 4))
    N = draw(st.integers(1, 25))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    label_N = rng.integers(C, size=N)
    # Eighths and sixteenths: exact in binary, so that ties are ties on every path.
    prob_NC = rng.multinomial(draw(st.sampled_from([1, 8, 16])), np.full(C, 1 / C), size=N)
    return label_N, prob_NC / prob_NC.sum(axis=1, keepdims=True), rng.integers(4, size=(3, N))


@settings(max_examples=150, deadline=None)
@given(cases())
def test_a_weight_is_a_repetition(case):
    label_N, prob_NC, weight_RN = case
    for name, weighted in WEIGHTED.items():
        value_R = weighted(label_N, prob_NC, weight_RN.astype(float))
        for value, weight_N in zip(value_R, weight_RN, strict=True):
            rows = np.repeat(np.arange(len(label_N)), weight_N)
            expected = METRICS[name](label_N[rows], prob_NC[rows])
            wanted = np.nan if expected is None else expected
            np.testing.assert_allclose(value, wanted, atol=1e-12, err_msg=name)


@settings(max_examples=100, deadline=None)
@given(cases(num_classes=2))
def test_weighted_binary_metrics_equal_scikit_learn_with_sample_weight(case):
    label_N, prob_NC, weight_RN = case
    score_N, decided_N = prob_NC[:, 1], (prob_NC[:, 1] > 0.5).astype(int)
    value = {name: f(label_N, prob_NC, weight_RN.astype(float)) for name, f in WEIGHTED.items()}
    for r, weight_N in enumerate(weight_RN):
        if len(np.unique(label_N[weight_N > 0])) < 2:
            continue
        expected = {
            "auroc": sk.roc_auc_score(label_N, score_N, sample_weight=weight_N),
            "auprc": sk.average_precision_score(label_N, score_N, sample_weight=weight_N),
            "accuracy": sk.accuracy_score(label_N, decided_N, sample_weight=weight_N),
            "f1": sk.f1_score(label_N, decided_N, sample_weight=weight_N),
            "f1_macro": sk.f1_score(label_N, decided_N, sample_weight=weight_N, average="macro"),
            "log_loss": sk.log_loss(label_N, prob_NC, sample_weight=weight_N),
            "brier": sk.brier_score_loss(label_N, score_N, sample_weight=weight_N),
        }
        for name, wanted in expected.items():
            np.testing.assert_allclose(value[name][r], wanted, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("num_classes", [2, 4])
def test_metrics_equal_scikit_learn(num_classes):
    rng = np.random.default_rng(1)
    label_N = rng.integers(num_classes, size=200)
    prob_NC = rng.dirichlet(np.ones(num_classes), size=200)
    binary = num_classes == 2
    score, decided_N = (prob_NC[:, 1] if binary else prob_NC), prob_NC.argmax(axis=1)
    one_hot_NC = np.eye(num_classes)[label_N]
    expected = {
        "auroc": sk.roc_auc_score(label_N, score, multi_class="ovr"),
        "auprc": sk.average_precision_score(label_N, score),
        "accuracy": sk.accuracy_score(label_N, decided_N),
        "f1": sk.f1_score(label_N, decided_N, average="binary" if binary else "macro"),
        "f1_macro": sk.f1_score(label_N, decided_N, average="macro"),
        "log_loss": sk.log_loss(label_N, prob_NC),
        "brier": ((prob_NC - one_hot_NC) ** 2).sum(axis=1).mean() / (2 if binary else 1),
    }
    values = measure(label_N, prob_NC)
    assert {name: values[name] for name in expected} == pytest.approx(expected, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_patients_does_not_matter(case, random):
    label_N, prob_NC, _ = case
    order = random.sample(range(len(label_N)), len(label_N))
    assert measure(label_N[order], prob_NC[order]) == pytest.approx(
        measure(label_N, prob_NC), nan_ok=False, abs=1e-12
    )


def test_calibration_error_is_the_gap_of_the_bins():
    """Two bins of equal size: said 0.9 and got 1/2, said 0.1 and got 0."""
    prob_N = np.array([0.9, 0.9, 0.1, 0.1])
    prob_NC = np.stack([1 - prob_N, prob_N], axis=1)
    assert ece(np.array([1, 0, 0, 0]), prob_NC) == pytest.approx(0.5 * 0.4 + 0.5 * 0.1)
    sure_NC = np.eye(3)[[0, 1, 2, 2]]
    assert ece(np.array([0, 1, 2, 0]), sure_NC) == pytest.approx(0.25)


def test_one_class_leaves_ranking_undefined_and_errors_defined():
    values = measure(np.zeros(3, dtype=int), np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]]))
    undefined = {name for name, value in values.items() if value is None}
    assert undefined == {"auroc", "auprc", "f1", "f1_macro"}
    assert values["accuracy"] == pytest.approx(2 / 3)


def test_f1_without_positive_patients_is_none_but_missing_all_of_them_is_zero():
    never_NC = np.tile([0.9, 0.1], (4, 1))
    assert METRICS["f1"](np.array([0, 0, 0, 0]), never_NC) is None
    assert METRICS["f1"](np.array([0, 0, 0, 1]), never_NC) == 0.0


def test_no_patient_means_no_figure():
    values = measure(np.zeros(0, dtype=int), np.zeros((0, 2)))
    assert values == dict.fromkeys(METRICS)


def test_a_class_that_nobody_has_is_left_out_of_the_averages():
    label_N = np.array([0, 1, 0, 1])
    prob_NC = np.array([[0.8, 0.1, 0.1], [0.2, 0.5, 0.3], [0.6, 0.3, 0.1], [0.1, 0.2, 0.7]])
    values = measure(label_N, prob_NC)
    of_two = [sk.roc_auc_score(label_N == c, prob_NC[:, c]) for c in (0, 1)]
    assert values["auroc"] == pytest.approx(np.mean(of_two))
    assert values["f1_macro"] == pytest.approx((1 + 2 / 3) / 2)


def test_a_confident_error_costs_36_nats_and_not_infinity():
    assert METRICS["log_loss"](np.array([1]), np.array([[1.0, 0.0]])) == pytest.approx(36.04, 1e-3)
