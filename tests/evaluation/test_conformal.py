"""Conformal sets: the promise holds where it is made, and pools are the nearest combinations."""

import sys

import numpy as np
import pandas as pd
import pytest

from remind.errors import InputError
from remind.evaluation.conformal import conformal, jaccard, make_pools, prediction_sets
from remind.evaluation.proportions import clopper_pearson


def served_unequally(num: int, seed: int) -> pd.DataFrame:
    """Three classes; the model knows the head and guesses with confidence in the tail."""
    rng = np.random.default_rng(seed)
    rare_N = rng.random(num) < 0.15
    truth_NC = 2 * rng.normal(size=(num, 3))
    label_N = (truth_NC + rng.gumbel(size=(num, 3))).argmax(axis=1)
    guess_NC = 2 * rng.normal(size=(num, 3))
    prob_NC = np.exp(np.where(rare_N[:, None], guess_NC, truth_NC))
    prob_NC /= prob_NC.sum(axis=1, keepdims=True)
    return pd.DataFrame(
        {
            "id": np.arange(num),
            "person": np.arange(num),
            "label": label_N.astype(str),
            **{f"prob_{c}": prob_NC[:, c] for c in range(3)},
            "group": np.where(rare_N, "ecg+labs", "labs"),
            "n_train": np.where(rare_N, 10, 500),
            "band": np.where(rare_N, "tail", "head"),
            "split": "test",
            "method": "toy",
            "seed": 0,
        }
    )


@pytest.fixture(scope="module")
def repeated() -> list[dict]:
    """25 calibration sets of 400, each judged on 400 others."""
    return [
        conformal(
            served_unequally(400, 2 * seed),
            served_unequally(400, 2 * seed + 1),
            ways=("plain", "band"),
            min_calibration=20,
        )
        for seed in range(25)
    ]


def coverage(repeated: list[dict], way: str, block: str) -> float:
    return float(np.mean([result["ways"][way][block]["coverage"] for result in repeated]))


def test_coverage_holds_on_average_and_by_band_where_it_is_promised(repeated: list[dict]) -> None:
    assert coverage(repeated, "plain", "overall") == pytest.approx(0.9, abs=0.015)
    assert coverage(repeated, "plain", "tail") < 0.8  # what plain sets do to the rare
    assert coverage(repeated, "band", "tail") == pytest.approx(0.91, abs=0.025)
    assert coverage(repeated, "band", "head") == pytest.approx(0.9, abs=0.015)
    assert coverage(repeated, "band", "overall") == pytest.approx(0.9, abs=0.015)


def test_coverage_falls_into_its_expected_range_as_often_as_said(repeated: list[dict]) -> None:
    for way, block in (("plain", "overall"), ("band", "head"), ("band", "tail")):
        blocks = [result["ways"][way][block] for result in repeated]
        inside = [b["expected"][0] <= b["coverage"] <= b["expected"][1] for b in blocks]
        assert sum(inside) >= 21  # of 25 at 95%: fewer has probability 0.007
    assert repeated[0]["ways"]["plain"]["tail"]["expected"] is None
    assert repeated[0]["ways"]["band"]["unseen"]["coverage"] is None


def test_sets_are_those_of_the_conformal_quantile() -> None:
    """The oracle: scores up to the ceil((1 - alpha)(n + 1))-th of the calibration patients."""
    calibration, frame = served_unequally(150, 0), served_unequally(80, 1)
    set_NC = prediction_sets(calibration, frame.assign(label="0"), alpha=0.2, way="plain")
    prob_VC = calibration[["prob_0", "prob_1", "prob_2"]].to_numpy()
    score_V = 1 - prob_VC[np.arange(150), calibration["label"].astype(int)]
    threshold = np.sort(score_V)[int(np.ceil(0.8 * 151)) - 1]
    assert (set_NC == (1 - frame[["prob_0", "prob_1", "prob_2"]].to_numpy() <= threshold)).all()


def several_rows(num_persons: int, rows: int, seed: int) -> pd.DataFrame:
    """Rows of a person have one outcome, and nearly one probability."""
    rng = np.random.default_rng(seed)
    label_P = rng.integers(2, size=num_persons)
    logit_N = np.repeat(2 * label_P - 1 + 1.5 * rng.normal(size=num_persons), rows)
    prob_N = 1 / (1 + np.exp(-logit_N - 0.3 * rng.normal(size=len(logit_N))))
    frame = served_unequally(len(prob_N), seed).drop(columns="prob_2").assign(band="head")
    return frame.assign(
        person=np.repeat(np.arange(num_persons), rows),
        label=np.repeat(label_P, rows).astype(str),
        prob_0=1 - prob_N,
        prob_1=prob_N,
    )


def test_intervals_cover_where_persons_have_several_like_rows() -> None:
    """50 times 60 persons with 8 rows: the interval holds the true coverage, which is 0.9.

    That of 480 independent patients would about 26 times.
    """
    calibration = several_rows(3000, 1, 0)
    blocks = [
        conformal(calibration, several_rows(60, 8, seed), ways=("plain",), num_boot=200)
        for seed in range(1, 51)
    ]
    blocks = [result["ways"]["plain"]["overall"] for result in blocks]
    assert sum(block["ci"][0] <= 0.9 <= block["ci"][1] for block in blocks) >= 43
    assert {block["expected"] for block in blocks} == {None}


def test_what_is_expected_needs_one_row_of_each_person() -> None:
    one, two = several_rows(300, 1, 0), several_rows(150, 2, 1)
    found = {
        name: conformal(calibration, frame, ways=("plain",))["ways"]["plain"]["overall"]
        for name, calibration, frame in (("own", one, one), ("left", two, one), ("right", one, two))
    }
    assert [name for name, block in found.items() if block["expected"]] == ["own"]
    for name in ("own", "left"):
        hits = round(300 * found[name]["coverage"])
        assert found[name]["ci"] == clopper_pearson(hits, 300)


def with_groups(groups: list[str]) -> pd.DataFrame:
    return served_unequally(len(groups), 0).assign(group=groups)


def test_a_small_group_is_calibrated_by_its_nearest_combinations() -> None:
    """Own patients if they are enough; else the next nearest, ties together; in the end all."""
    calibration = with_groups(["a+b+c"] * 5 + ["a+b"] * 4 + ["b+c"] * 3 + ["d"] * 2)
    frame = with_groups(["a+b+c", "a+b", "c", "a+b+c"])
    pools = make_pools(calibration, frame, "group", 5)
    rows = [pools.rows[pool].tolist() for pool in pools.pool_N]
    assert rows[0] == rows[3] == list(range(5))
    assert rows[1] == list(range(9))  # a+b and a+b+c, at 1 and 2/3
    assert rows[2] == [*range(5), *range(9, 12)]  # c: b+c at 1/2, then a+b+c at 1/3
    assert [pools.source_P[pool] for pool in pools.pool_N] == [
        "own",
        "neighbours",
        "neighbours",
        "own",
    ]
    everyone = make_pools(calibration, frame, "group", 15)
    assert all(len(some) == 14 for some in everyone.rows)
    assert set(everyone.source_P) == {"all"}


def test_a_band_that_validation_lacks_is_calibrated_by_all() -> None:
    calibration = served_unequally(200, 0)
    frame = served_unequally(50, 1).assign(band="unseen")
    block = conformal(calibration, frame, ways=("band",))["ways"]["band"]["unseen"]
    assert block["calibrated_by"] == {"own": 0, "neighbours": 0, "all": 50}
    assert block["expected"] is None


def test_jaccard_of_names() -> None:
    near = jaccard(["a+b", "c"], ["a+b", "a", "b+c", "d"])
    np.testing.assert_allclose(near, [[1, 1 / 2, 1 / 3, 0], [0, 0, 1 / 2, 0]])


def test_without_crepes_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "crepes", None)
    frame = served_unequally(30, 0)
    with pytest.raises(InputError, match=r"need crepes.*pip install 'remind-med\[report\]'"):
        prediction_sets(frame, frame)


def test_tables_of_two_models_are_refused() -> None:
    frame = served_unequally(30, 0)
    other = frame.rename(columns={"prob_2": "prob_3"}).replace({"label": {"2": "3"}})
    with pytest.raises(InputError, match="the same classes in calibration and predictions"):
        prediction_sets(frame, other)
