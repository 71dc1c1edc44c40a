"""Figures, differences, adjusted p and ranks agree with their definitions."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from remind.benchmark.ranks import cliques, critical_difference, draw, ranks
from remind.benchmark.statistics import figures, holm, make_panel, measure
from remind.errors import InputError
from remind.evaluation import METRICS, compare, intervals
from remind.evaluation.predictions import label_of, prob_of
from tests.benchmark.make import frame_of

FRAMES = {name: frame_of(name, skill=skill) for name, skill in (("a", 1.0), ("b", 1.4), ("c", 0.2))}


def test_differences_are_those_of_compare_in_every_block() -> None:
    panel = make_panel(FRAMES, ["< 5", "≥ 5"])
    measured = measure(panel, ("auroc", "log_loss"), num_boot=200, seed=3)
    shown = figures(measured, "a")
    for column, own in (
        ("block", {"≥ 5": "≥ 5", "< 5": "< 5", "overall": "all"}),
        ("band", {"unseen": "unseen"}),
    ):
        compared = compare(FRAMES["a"], FRAMES["b"], block=column, num_boot=200, seed=3)["blocks"]
        for theirs, ours in own.items():
            for metric in ("auroc", "log_loss"):
                value, expected = shown[ours]["b"][metric], compared[theirs][metric]
                assert value["mean"] == pytest.approx(expected["other"])
                assert value["difference"] == pytest.approx(expected["difference"])
                assert value["difference_ci"] == pytest.approx(expected["ci"])
                assert value["p"] == pytest.approx(expected["p"])
                assert value["p_holm"] >= value["p"]
    assert shown["all"]["a"]["auroc"]["difference"] is None


def test_the_interval_of_one_seed_is_that_of_the_bootstrap() -> None:
    frame = FRAMES["a"].query("seed == 0").sort_values("id")
    measured = measure(make_panel({"a": frame}, []), ("log_loss",), num_boot=100, seed=5)
    expected = intervals(
        label_of(frame), prob_of(frame), frame["person"].to_numpy(), num_boot=100, seed=5
    )
    assert measured["all"]["log_loss"]["a"].mean().ci == pytest.approx(expected["log_loss"])


def test_a_rare_class_that_resamples_lose_leaves_no_interval_of_a_mean_over_classes() -> None:
    frame = FRAMES["a"].query("seed == 0").sort_values("id", ignore_index=True)
    three = frame.assign(prob_0=0.9 * frame["prob_0"], prob_1=0.9 * frame["prob_1"], prob_2=0.1)
    three["label"] = three["label"].where(three.index > 0, "2")
    measured = measure(make_panel({"a": three}, []), ("auroc", "brier"), num_boot=100, seed=5)
    auroc, brier = (measured["all"][metric]["a"].mean() for metric in ("auroc", "brier"))
    assert (auroc.point is None, auroc.ci, brier.ci is None) == (False, None, False)


def test_contenders_on_other_patients_are_refused() -> None:
    other = FRAMES["b"].iloc[1:]
    with pytest.raises(InputError, match="b and a were not predicted for the same patients"):
        make_panel({"a": FRAMES["a"], "b": other}, [])
    with pytest.raises(InputError, match='no metric "auc"; did you mean "auroc"'):
        measure(make_panel(FRAMES, []), ("auc",), num_boot=10, seed=0)


def test_a_contender_with_fewer_seeds_is_compared_on_those_that_both_have() -> None:
    of_seed_1 = {name: frame.query("seed == 1") for name, frame in FRAMES.items()}
    some = make_panel({**FRAMES, "b": of_seed_1["b"]}, ["< 5", "≥ 5"])
    alone = make_panel(of_seed_1, ["< 5", "≥ 5"])
    panels = {"some": some, "alone": alone, "all": make_panel(FRAMES, ["< 5", "≥ 5"])}
    shown = {
        key: figures(measure(panel, ("auroc", "log_loss"), num_boot=100, seed=3), "a")
        for key, panel in panels.items()
    }
    for block in ("all", "< 5", "≥ 5"):
        for metric in ("auroc", "log_loss"):
            value, expected = (shown[key][block]["b"][metric] for key in ("some", "alone"))
            assert value["mean"] == expected["mean"]
            assert value["difference"] == expected["difference"]
            assert shown["some"][block]["c"][metric]["mean"] == pytest.approx(
                shown["all"][block]["c"][metric]["mean"]
            )
    assert shown["some"]["all"]["a"] == shown["all"]["all"]["a"]


def test_few_persons_have_no_interval_whatever_seeds_others_have() -> None:
    few = FRAMES["b"].query("seed == 0 and person < 9")
    everyone = FRAMES["a"].query("seed == 1 or person < 9")
    value = figures(
        measure(make_panel({"a": everyone, "b": few}, []), ("auroc",), num_boot=10, seed=0), "a"
    )["all"]
    assert value["a"]["auroc"]["ci"] is not None
    assert value["b"]["auroc"]["difference"] is not None
    assert value["b"]["auroc"]["ci"] is value["b"]["auroc"]["difference_ci"] is None


def test_too_few_persons_have_figures_but_no_interval() -> None:
    frames = {name: frame[frame["person"] < 9] for name, frame in FRAMES.items()}
    shown = figures(measure(make_panel(frames, []), ("auroc",), num_boot=10, seed=0), "a")
    value = shown["all"]["b"]["auroc"]
    assert value["difference"] is not None
    assert value["difference_ci"] is value["p"] is value["p_holm"] is None


def test_holm_on_the_numbers_by_hand() -> None:
    """Sorted .01 .02 .03 .04 times 4 3 2 1, and none below the one before."""
    p = {"w": 0.03, "x": 0.01, "undefined": None, "y": 0.02, "z": 0.04}
    adjusted = holm(p)
    assert adjusted.pop("undefined") is None
    assert adjusted == pytest.approx({"w": 0.06, "x": 0.04, "y": 0.06, "z": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}


def test_the_critical_difference_is_that_of_the_published_table() -> None:
    """Demšar 2006, table 5a: q at 5% for 2 to 10 classifiers; section 3.2.2's example, 14 sets."""
    table = [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]
    for k, q in enumerate(table, start=2):
        scale = np.sqrt(k * (k + 1) / (6 * 14))
        assert critical_difference(k, 14) / scale == pytest.approx(q, abs=1.1e-3)
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=5e-3)


def test_cliques_are_the_longest_runs_within_the_difference() -> None:
    assert cliques(np.array([1.0, 1.5, 2.4, 4.0]), 1.2) == [(0, 2), (1, 3)]
    assert cliques(np.array([1.0, 1.1, 1.2]), 1.0) == [(0, 3)]
    assert cliques(np.array([1.0, 3.0]), 1.0) == []


def test_ranks_are_per_fold_and_seed_and_best_is_first(tmp_path: Path) -> None:
    result = ranks(FRAMES, "log_loss")
    assert result is not None
    assert result["num_folds"] == 4
    cells = [(seed, fold) for seed in (0, 1) for fold in (0, 1)]
    loss = pd.DataFrame(
        {
            name: [
                METRICS["log_loss"](label_of(part), prob_of(part))
                for seed, fold in cells
                for part in [frame[(frame["seed"] == seed) & (frame["fold"] == fold)]]
            ]
            for name, frame in FRAMES.items()
        }
    )
    expected = loss.rank(axis=1).mean().sort_values()
    assert result["mean_ranks"] == pytest.approx(expected.to_dict())
    assert list(result["mean_ranks"]) == list(expected.index)
    draw(result, tmp_path / "cd.svg")
    picture = (tmp_path / "cd.svg").read_text(encoding="utf-8")
    assert all(f"{name} ({rank:.2f})" in picture for name, rank in expected.items())
    draw(result, tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_text(encoding="utf-8") == picture
    assert ranks({name: FRAMES[name] for name in "ab"}, "auroc") is None


def test_equal_contenders_have_equal_ranks_and_no_finding() -> None:
    result = ranks(dict.fromkeys("abc", FRAMES["a"]), "auroc")
    assert result is not None
    assert set(result["mean_ranks"].values()) == {2.0}
    assert (result["p"], result["cliques"]) == (1.0, [["a", "b", "c"]])


def test_statistics_need_no_torch() -> None:
    code = "import sys, remind.benchmark.statistics, remind.benchmark.tables; "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
