"""The JSON of `remind evaluate`: its keys, its nulls, its groups and its averages."""

import json

import numpy as np
import pytest
from sklearn import metrics as sk

from remind.errors import InputError
from remind.evaluation import METRICS, evaluate, measure
from remind.evaluation.predictions import label_of, prob_of

METRIC_KEYS = ["auroc", "auprc", "accuracy", "f1", "f1_macro", "log_loss", "brier", "ece"]


@pytest.fixture
def judged(make, limits):
    frame = make(300, groups=40)
    return frame, evaluate(frame, cohort="icu", bands=limits, num_boot=50)


def test_the_object_has_the_keys_of_the_contract(judged):
    frame, result = judged
    assert list(result) == [
        *("cohort", "split", "method", "n", "positive", "bands", "bootstrap"),
        *("overall", "head", "medium", "tail", "unseen"),
        *("averages", "worst_group", "groups"),
    ]
    assert result["bands"] == {"head": 100, "medium": 20}
    assert (result["cohort"], result["split"], result["method"]) == ("icu", "test", "default")
    assert result["positive"] == "1"
    for name in ("overall", "head", "medium", "tail", "unseen"):
        assert list(result[name]) == ["n", *METRIC_KEYS, "ci"]
        assert list(result[name]["ci"]) == METRIC_KEYS
        rows = frame if name == "overall" else frame[frame["band"] == name]
        assert result[name]["n"] == len(rows)
        measured = measure(label_of(rows), prob_of(rows))
        assert {metric: result[name][metric] for metric in METRICS} == measured
    for group in result["groups"]:
        assert list(group) == ["group", "n_train", "n", *METRIC_KEYS, "ci"]
    assert list(result["worst_group"]) == [*result["groups"][0], "rule"]


def test_beyond_two_classes_none_is_positive(make, limits):
    result = evaluate(make(30, num_classes=3), cohort="icu", bands=limits, num_boot=5)
    assert result["positive"] is None


def test_the_object_is_strict_json(judged):
    assert json.loads(json.dumps(judged[1], allow_nan=False)) == judged[1]


def test_a_band_without_patients_stays_with_nulls(make, limits):
    frame = make(100)
    result = evaluate(
        frame[frame["band"] == "head"], cohort="icu", bands=limits, num_boot=20, min_worst=1000
    )
    nulls = dict.fromkeys(METRIC_KEYS)
    assert result["tail"] == {"n": 0, **nulls, "ci": nulls}
    assert result["worst_group"] == {
        **{"group": None, "n_train": None, "n": 0, **nulls, "ci": None},
        "rule": "highest log loss among groups of at least 1000 patients",
    }


def test_groups_hold_their_own_patients_most_common_first(judged):
    frame, result = judged
    groups = result["groups"]
    assert sum(group["n"] for group in groups) == len(frame)
    assert [g["n_train"] for g in groups] == sorted((g["n_train"] for g in groups), reverse=True)
    for group in groups:
        rows = frame[frame["group"] == group["group"]]
        expected = measure(label_of(rows), prob_of(rows))
        assert {name: group[name] for name in METRICS} == pytest.approx(expected)
        assert (group["ci"] is not None) == (group["n"] >= 20)
    assert any(group["auroc"] is None for group in groups)


def test_the_worst_group_is_the_large_one_with_the_highest_log_loss(judged):
    result = judged[1]
    large = [group for group in result["groups"] if group["n"] >= 20]
    worst = result["worst_group"]
    assert worst["log_loss"] == max(group["log_loss"] for group in large)
    assert worst["log_loss"] < max(group["log_loss"] for group in result["groups"])
    assert worst["rule"] == "highest log loss among groups of at least 20 patients"


def test_both_averages_are_given(judged):
    result = judged[1]
    averages = result["averages"]
    assert averages["patients"] == result["overall"]
    defined = [g["auroc"] for g in result["groups"] if g["auroc"] is not None]
    assert averages["groups"]["auroc"] == pytest.approx(np.mean(defined))
    assert averages["groups"]["n"] == len(result["groups"])
    ci = averages["groups"]["ci"]
    assert list(ci) == METRIC_KEYS
    for name in ("accuracy", "log_loss", "brier"):
        assert ci[name][0] < averages["groups"][name] < ci[name][1]
    # Some group of this long tail is undefined in nearly every resample.
    assert {ci[name] for name in ("auroc", "auprc", "f1", "f1_macro", "ece")} == {None}


def test_the_average_over_groups_is_that_over_patients_where_groups_are_patients(make, limits):
    frame = make(60)
    frame["group"] = frame["id"]
    averages = evaluate(frame, cohort="icu", bands=limits, num_boot=50)["averages"]
    for name in ("accuracy", "log_loss", "brier"):
        assert averages["groups"]["ci"][name] == pytest.approx(averages["patients"]["ci"][name])


def test_the_average_over_large_groups_has_every_interval(make, limits):
    frame = make(400).assign(group=["a", "b"] * 200)
    average = evaluate(frame, cohort="icu", bands=limits, num_boot=100)["averages"]["groups"]
    assert all(average["ci"][name][0] < average[name] < average["ci"][name][1] for name in METRICS)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_metrics_of_a_group_are_those_of_scikit_learn(make, limits, num_classes):
    frame = make(300, groups=40, num_classes=num_classes)
    is_binary = num_classes == 2
    result = evaluate(frame, cohort="icu", bands=limits, num_boot=5)
    judged = {group["group"]: group for group in result["groups"]}
    whole = 0
    for name, rows in frame.groupby("group"):
        label_N, prob_NC = label_of(rows), prob_of(rows)
        decided_N, one_hot_NC = prob_NC.argmax(axis=1), np.eye(num_classes)[label_N]
        expected = {
            "accuracy": sk.accuracy_score(label_N, decided_N),
            "log_loss": sk.log_loss(label_N, prob_NC, labels=range(num_classes)),
            "brier": ((prob_NC - one_hot_NC) ** 2).sum(axis=1).mean() / (2 if is_binary else 1),
        }
        if len(np.unique(label_N)) == num_classes:
            whole += 1
            score = prob_NC[:, 1] if is_binary else prob_NC
            expected |= {
                "auroc": sk.roc_auc_score(label_N, score, multi_class="ovr"),
                "auprc": sk.average_precision_score(label_N, score),
                "f1": sk.f1_score(label_N, decided_N, average="binary" if is_binary else "macro"),
                "f1_macro": sk.f1_score(label_N, decided_N, average="macro"),
            }
        told = {metric: judged[name][metric] for metric in expected}
        assert told == pytest.approx(expected, abs=1e-12)
    assert 3 < whole < len(judged)


def test_one_patient_can_be_judged(make, limits):
    result = evaluate(make(1), cohort="icu", bands=limits, num_boot=5)
    assert result["groups"][0]["n"] == 1
    assert set(result["overall"]["ci"].values()) == {None}


def test_pooled_folds_give_a_group_its_mean_training_count(make, limits):
    frame = make(40).assign(group="vitals", n_train=[150] * 30 + [90] * 10)
    groups = evaluate(frame, cohort="icu", bands=limits, num_boot=5)["groups"]
    assert [(group["group"], group["n_train"]) for group in groups] == [("vitals", 135)]


@pytest.mark.parametrize("column", ["method", "split", "seed"])
def test_only_one_method_split_and_seed_at_a_time(make, limits, column):
    frame = make(4).assign(**{column: ["a", "a", "b", "b"]})
    with pytest.raises(InputError, match=f"predictions of one {column}, got 2: a, b; select one"):
        evaluate(frame, cohort="icu", bands=limits)


def test_a_group_of_twenty_has_intervals_and_one_of_nineteen_has_none(make, limits):
    frame = make(39).assign(group=["twenty"] * 20 + ["nineteen"] * 19, n_train=5)
    groups = evaluate(frame, cohort="icu", bands=limits, num_boot=5)["groups"]
    assert {group["group"]: group["ci"] is not None for group in groups} == {
        "nineteen": False,
        "twenty": True,
    }
