"""Several benchmarks in one document: pooled differences, and losses that are computed."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from remind.benchmark import pooled
from remind.benchmark.config import BenchmarkConfig, Origin
from remind.benchmark.folder import BenchmarkFolder
from remind.errors import InputError
from remind.evaluation import METRICS, compare
from remind.evaluation.predictions import label_of, prob_of
from tests.benchmark.make import frame_of

PARTS = (("labs", 2), ("ecg", 3))
COST = {"parameters": 10, "seconds": 1.0, "microseconds": 2.0, "memory_mb": 3.0}


def write(
    folder: Path,
    frames: dict[str, pd.DataFrame],
    *,
    name: str,
    split: str,
    fingerprint: str | None = None,
) -> Path:
    """A finished benchmark of made-up predictions, in blocks of sizes below 5 and from 5 on."""
    config = BenchmarkConfig(
        cohort=Origin(
            name=name, source=name, fingerprint=fingerprint or f"{len(name):08x}", num_patients=60
        ),
        split=split,
        folds=2,
        seeds=2,
        budget=1,
        tune="once",
        edges=(5,),
        contenders={
            c: {"method": c.partition("+")[0], "objective": c.partition("+")[2], "settings": {}}
            for c in frames
        },
        commands=(f"remind benchmark {name}",),
    )
    kept = BenchmarkFolder(folder)
    kept.begin(config)
    for contender, frame in frames.items():
        for (seed, fold), part in frame.groupby(["seed", "fold"]):
            at = kept.fit(contender, f"seed{seed}-fold{fold}", {"seed": seed})
            kept.write_fit(at, part.drop(columns="block"), COST)
    return folder


@pytest.fixture(scope="module")
def frames() -> dict[str, pd.DataFrame]:
    skills = {"default+erm": 1.2, "lightgbm": 1.3, "tabm": 0.3}
    return {name: frame_of(name, skill=skill) for name, skill in skills.items()}


def test_the_pooled_difference_is_the_mean_over_cohorts(
    frames: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    other = {name: frame.assign(**_swapped(frame)) for name, frame in frames.items()}
    other["transformer+erm"] = frames["tabm"]
    paths = [
        write(tmp_path / "a", frames, name="a", split="combinations"),
        write(tmp_path / "b", other, name="bb", split="combinations"),
    ]
    result = pooled.pool(paths, num_boot=200)
    (kind,) = result["pooled"]
    assert kind == "combinations"
    assert result["pooled"][kind]["left_out"] == ["transformer+erm"]
    blocks = result["pooled"][kind]["blocks"]
    assert set(blocks) == {"all", "common", "rare", "unseen"}
    assert blocks["rare"]["where"] == {str(path): "< 5" for path in paths}
    expected = np.mean([_difference(part, "lightgbm", "< 5") for part in (frames, other)])
    value = blocks["rare"]["contenders"]["lightgbm"]["log_loss"]
    assert value["difference"] == pytest.approx(expected)
    assert value["ci"][0] < value["difference"] < value["ci"][1]
    one = pooled.pool(paths[:1], num_boot=200)["pooled"][kind]["blocks"]["rare"]["contenders"]
    alone = np.diff(one["lightgbm"]["log_loss"]["ci"]) / np.diff(value["ci"])
    assert 1.1 < float(alone[0]) < 2  # two cohorts of one size: an interval narrower by √2


def test_cohorts_of_one_name_are_told_apart_by_their_folders(
    frames: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    paths = [
        write(tmp_path / folder, frames, name="icu", split=split, fingerprint=fingerprint)
        for folder, split, fingerprint in (
            ("north", "combinations", "1"),
            ("south", "combinations", "2"),
            ("both", "cross-validation", "1"),
        )
    ]
    result = pooled.pool(paths, num_boot=20)
    text = pooled.markdown(result, "x")
    assert "against the others: combinations, icu (north) and icu (south)\n" in text
    assert "against the others: cross-validation, icu\n" in text
    for title in (
        "icu (north), combinations",
        "icu (south), combinations",
        "icu, cross-validation",
    ):
        assert f"\n## {title}\n" in text
    of_split = {(loss["cohort"], loss["split"]) for loss in result["losses"]}
    assert ("icu (north)", "combinations") in of_split
    assert ("icu", "cross-validation") in of_split


def test_patients_do_not_count_twice(frames: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    path = write(tmp_path / "a", frames, name="a", split="combinations")
    again = write(tmp_path / "b", frames, name="a", split="combinations")
    with pytest.raises(InputError, match="a is named twice: name each benchmark once"):
        pooled.pool([path, path / ".." / "a"])
    with pytest.raises(InputError, match=r"a and .*b have the same patients with the same split"):
        pooled.pool([path, again])


def test_hidden_modalities_have_blocks_of_their_own(
    frames: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    """What is hidden changes no other block, and is pooled over the modalities hidden in turn."""
    plain = pooled.pool([write(tmp_path / "a", frames, name="a", split="combinations")])
    hidden = {
        name: pd.concat(
            [frame, *(frame[::step].assign(split=f"test without {m}") for m, step in PARTS)]
        )
        for name, frame in frames.items()
    }
    more = pooled.pool([write(tmp_path / "b", hidden, name="a", split="combinations")])
    before, after = (result["parts"][0]["blocks"] for result in (plain, more))
    assert set(after) - set(before) == {"hidden", "without labs", "without ecg"}
    assert {name: after[name] for name in before} == before
    auroc = {name: after[name]["contenders"]["tabm"]["auroc"]["mean"] for name in after}
    of_seed = [
        METRICS["auroc"](label_of(part), prob_of(part))
        for _, part in frames["tabm"][::2].groupby("seed")
    ]
    assert auroc["without labs"] == pytest.approx(np.mean(of_seed))
    pooled_blocks = more["pooled"]["combinations"]["blocks"]
    assert "hidden" in pooled_blocks
    text = pooled.markdown(more, "x")
    assert "### The same without labs" in text
    assert "### Patients from whom one modality is hidden" in text


def test_one_cohort_pooled_is_the_comparison(
    frames: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    path = write(tmp_path / "a", frames, name="a", split="cross-validation")
    value = pooled.pool([path], num_boot=100)["pooled"]["cross-validation"]["blocks"]["all"]
    expected = compare(frames["tabm"], frames["default+erm"], num_boot=100, seed=1)
    of_all = expected["blocks"]["overall"]["auroc"]
    shown = value["contenders"]["tabm"]["auroc"]
    assert shown["difference"] == pytest.approx(of_all["difference"])
    assert shown["ci"] == pytest.approx(of_all["ci"])


def test_a_subject_with_fewer_seeds_is_told_in_every_row(
    frames: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    some = {**frames, "default+erm": frames["default+erm"].query("seed == 0")}
    path = write(tmp_path / "a", some, name="a", split="combinations")
    text = pooled.markdown(pooled.pool([path], num_boot=50), "x")
    assert "| lightgbm (1 seed) | +" in text or "| lightgbm (1 seed) | -" in text
    assert "| tabm (1 seed) |" in text
    assert "default+erm: shown with 1 seed, 2 of 4 fits are there" in text


def test_losses_are_found_and_named_with_their_command(
    frames: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    path = write(tmp_path / "a", frames, name="a", split="combinations")
    result = pooled.pool([path], num_boot=50)
    expected = {
        (block, metric): best
        for block, rows in (("all", slice(None)), ("< 5", "< 5"), ("≥ 5", "≥ 5"))
        for metric, sign in (("auroc", 1), ("log_loss", -1))
        for best in [_best(frames, rows, metric, sign)]
        if best != "default+erm"
    }
    found = {(loss["block"], loss["metric"]): loss["best"] for loss in result["losses"]}
    assert {key: name for key, name in found.items() if key[0] != "unseen"} == expected
    assert expected
    text = pooled.markdown(result, "remind results a --out r.md")
    assert "## Where default does not lead" in text
    assert "| a | combinations | all | AUROC | 1 | lightgbm | +" in text
    assert "remind benchmark a" in text
    assert "`remind results a --out r.md`" in text
    winner = pooled.pool([path], subject="lightgbm", num_boot=50)
    assert not [loss for loss in winner["losses"] if loss["block"] == "all"]
    with pytest.raises(InputError, match=r'no contender "paper".* name another one with --subject'):
        pooled.pool([path], subject="paper")


def _swapped(frame: pd.DataFrame) -> dict[str, pd.Series]:
    """The other class is the positive one: other patients, as it were."""
    noise = np.random.default_rng(1).normal(scale=0.05, size=len(frame))
    prob_N = (frame["prob_1"] + noise).clip(0.01, 0.99)
    return {"prob_1": prob_N, "prob_0": 1 - prob_N}


def _difference(frames: dict[str, pd.DataFrame], name: str, block: str) -> float:
    """default's log loss less another's, mean over seeds."""
    ours, theirs = (
        [
            METRICS["log_loss"](label_of(part), prob_of(part))
            for _, part in frame[frame["block"] == block].groupby("seed")
        ]
        for frame in (frames["default+erm"], frames[name])
    )
    return float(np.mean(np.subtract(ours, theirs)))  # pyright: ignore


def _best(frames: dict[str, pd.DataFrame], block: object, metric: str, sign: int) -> str:
    def mean(frame: pd.DataFrame) -> float:
        part = frame if isinstance(block, slice) else frame[frame["block"] == block]
        values = [METRICS[metric](label_of(p), prob_of(p)) for _, p in part.groupby("seed")]
        return sign * float(np.mean(values))  # pyright: ignore

    return max(frames, key=lambda name: mean(frames[name]))
