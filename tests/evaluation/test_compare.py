"""Laws of the paired comparison."""

import numpy as np
import pandas as pd
import pytest

from remind.errors import InputError
from remind.evaluation import compare, measure
from remind.evaluation.predictions import label_of, prob_of

BOOT = {"num_boot": 200}


def test_a_method_differs_from_itself_by_exactly_nothing(make):
    frame = make(120)
    result = compare(frame, frame.sample(frac=1, random_state=0), **BOOT)
    for name in measure(label_of(frame), prob_of(frame)):
        told = result["blocks"]["overall"][name]
        assert (told["difference"], told["ci"], told["p"]) == (0.0, [0.0, 0.0], 1.0)


def test_swapping_the_methods_flips_the_signs(make):
    left, right = make(150), make(150, noise=1.0, method="noisy")
    there, back = compare(left, right, **BOOT), compare(right, left, **BOOT)
    assert (there["reference"], there["other"]) == ("default", "noisy")
    for name in ("auroc", "log_loss", "f1", "ece"):
        one, two = there["blocks"]["overall"][name], back["blocks"]["overall"][name]
        assert one["difference"] == -two["difference"]
        assert one["ci"] == pytest.approx([-two["ci"][1], -two["ci"][0]], abs=1e-12)
        assert one["p"] == two["p"]


def test_a_worse_model_is_found_and_pairing_makes_the_interval_narrow(make):
    """The paired interval is far narrower than that of the reference's own AUROC."""
    good, poor = make(300), make(300, noise=0.7, method="noisy")
    told = compare(good, poor, metrics=("log_loss",), **BOOT)["blocks"]["overall"]["log_loss"]
    assert told["difference"] == pytest.approx(told["other"] - told["reference"])
    assert told["ci"][0] > 0
    assert told["p"] == pytest.approx(2 / 201)


def test_the_p_value_is_uniform_enough_under_no_difference(make):
    """Two equally noisy models on 100 data sets: some 5 in 100 fall below 0.05."""
    p = [
        compare(
            make(80, noise=0.5, model_seed=2 * trial + 1, data_seed=trial),
            make(80, noise=0.5, model_seed=2 * trial + 2, data_seed=trial, method="b"),
            metrics=("log_loss",),
            num_boot=100,
        )["blocks"]["overall"]["log_loss"]["p"]
        for trial in range(100)
    ]
    assert np.mean(np.array(p) < 0.05) <= 0.12
    assert 0.3 <= np.mean(np.array(p) < 0.5) <= 0.7


def test_seeds_are_averaged_on_the_same_patients(make):
    def seeds(noise):
        return [make(100, noise=noise, model_seed=seed) for seed in (1, 2, 3)]

    left, right = seeds(0.2), seeds(0.8)
    result = compare(pd.concat(left), pd.concat(right).sample(frac=1, random_state=0), **BOOT)
    assert result["num_seeds"] == 3
    assert result["blocks"]["overall"]["n"] == 100
    told = result["blocks"]["overall"]["auroc"]
    for side, frames in (("reference", left), ("other", right)):
        mean = np.mean([measure(label_of(f), prob_of(f))["auroc"] for f in frames])
        assert told[side] == pytest.approx(mean)


def test_repeating_a_seed_changes_nothing(make):
    """The same predictions under two seeds are resampled together: the interval stays as wide."""
    left, right = make(100), make(100, noise=0.5)
    once = compare(left, right.assign(seed=0), metrics=("brier",), **BOOT)
    twice = compare(
        pd.concat([left, left.assign(seed=1)]),
        pd.concat([right.assign(seed=1), right.assign(seed=0)]),
        metrics=("brier",),
        **BOOT,
    )
    told, expected = twice["blocks"]["overall"]["brier"], once["blocks"]["overall"]["brier"]
    assert told["ci"] == pytest.approx(expected["ci"])
    assert told["difference"] == pytest.approx(expected["difference"])


def test_blocks_are_cut_by_a_column(make):
    frame, other = make(300), make(300, noise=0.5, method="b")
    by_band = compare(frame, other, metrics=("brier",), block="band", num_boot=20)["blocks"]
    assert list(by_band) == ["overall", "head", "medium", "tail", "unseen"]
    assert by_band["overall"]["n"] == sum(by_band[band]["n"] for band in list(by_band)[1:])
    by_size = compare(
        frame.assign(size=np.where(frame["n_train"] >= 50, ">=50", "<50")),
        other,
        metrics=("brier",),
        block="size",
        num_boot=20,
    )["blocks"]
    rows = frame[frame["n_train"] < 50]
    assert by_size["<50"]["brier"]["reference"] == measure(label_of(rows), prob_of(rows))["brier"]


def test_an_undefined_metric_has_no_difference(make):
    frame = make(40)
    frame = frame.assign(label="0")
    told = compare(frame, frame, metrics=("auroc",), **BOOT)["blocks"]["overall"]["auroc"]
    assert told == dict.fromkeys(["reference", "other", "difference", "ci", "p"])
    few = frame.iloc[:9]
    told = compare(few, few, metrics=("brier",), **BOOT)["blocks"]["overall"]["brier"]
    assert (told["difference"], told["ci"], told["p"]) == (0.0, None, None)


def test_a_rare_class_that_resamples_lose_leaves_no_interval_of_a_mean_over_classes(make):
    frame = make(200, num_classes=4)
    frame["label"] = np.where(frame.index < 2, "3", frame["label"].replace("3", "0"))
    other = make(200, num_classes=4, noise=0.5, method="b").assign(label=frame["label"])
    told = compare(frame, other, metrics=("auroc", "log_loss"), **BOOT)["blocks"]["overall"]
    assert told["auroc"]["difference"] is not None
    assert (told["auroc"]["ci"], told["auroc"]["p"]) == (None, None)
    assert told["log_loss"]["ci"] is not None


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda f: f.iloc[1:], {}, "needs the same id in both tables: 1 of 30"),
        (lambda f: pd.concat([f, f.assign(seed=1)]), {}, "needs the same id and seed in both"),
        (lambda f: f.assign(label=f["label"].map({"0": "1", "1": "0"})), {}, "same labels: 30"),
        (lambda f: f.rename(columns={"prob_0": "prob_2"}).assign(label="1"), {}, "same classes"),
        (lambda f: f.assign(method=["a", "b"] * 15), {}, "takes one method per table, but other"),
        (lambda f: f, {"metrics": ("aurok",)}, 'no metric "aurok"; did you mean "auroc"'),
        (lambda f: f, {"block": "bands"}, 'no column "bands" .*; did you mean "band"'),
    ],
)
def test_what_cannot_be_paired_is_refused(make, change, options, message):
    frame = make(30)
    with pytest.raises(InputError, match=message):
        compare(frame, change(frame), num_boot=5, **options)
