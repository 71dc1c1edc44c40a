"""The paper's experiments: configs that hold together, a table that says what was found, resume."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from remind.cohort import BAND_NAMES, Bands
from remind.errors import InputError
from remind.evaluation import evaluate
from remind.reproduce import CONFIGS, load_experiment, reproduce, reproduction_table
from remind.reproduce import run as reproduce_run
from remind.reproduce.figures import ShareBands, arm_figures
from remind.sources.manifest import Manifest
from remind.sources.masking import mask_from_dict
from remind.sources.prepare import PREPARE, Preparation, prepare

TINY = ["device=cpu"]
CONFIG = """
title = "Death on the wards"
source = "wards"
seeds = 2
metrics = ["accuracy", "f1"]
notes = ["Nothing of this was published."]

[prepare]
patients = 240
seed = 1

[mask]
patients = "any"
[mask.keep]
vitals = ["vitals", "admission"]
codes = ["diagnoses"]
echo = ["echo"]
[mask.combinations]
"vitals" = 0.3
"vitals+codes" = 0.5

[bands]
tail_share = 0.2

[arms.REMIND]
method = "paper"
set = {width = 16, hidden = 16, heads = 2, experts = 4, epochs = 2, lr = 5e-3}

[arms.trees]
method = "lightgbm"

[[published]]
arm = "REMIND"
metric = "accuracy"
percent = 90.8
origin = "a result page"

[[published]]
arm = "trees"
block = "tail"
metric = "accuracy"
average = "groups"
percent = 80.7
origin = "notes"

[[published]]
arm = "REMIND"
versus = "trees"
metric = "accuracy"
percent = 11.6
origin = "notes"
"""


def write_wards(folder: Path, *, patients: int, seed: int) -> Manifest:
    """A source without a root: numbers and codes that say a little about who dies."""
    rng = np.random.default_rng(seed)
    number, died = np.arange(patients), rng.random(patients) < 0.4
    frame = pd.DataFrame({"id": number, "person": number // 2, "died": died.astype(int)})
    for column in ("pulse", "age", "echo"):
        frame[column] = died + rng.standard_normal(patients)
        frame.loc[rng.random(patients) < 0.1, column] = np.nan
    frame["age"] = frame["age"].fillna(0.0)
    frame.to_parquet(folder / "patients.parquet", index=False)
    code = np.where(died, "I21", "I10")
    codes = pd.DataFrame({"id": number, "code": code})[number % 4 > 0]
    codes.to_parquet(folder / "codes.parquet", index=False)
    (folder / "cohort.toml").write_text(
        '[cohort]\nname = "wards"\ntable = "patients.parquet"\nid = "id"\nlabel = "died"\n'
        'task = "binary"\ngroup_by = "person"\n'
        '[modalities.vitals]\nkind = "tabular"\ncolumns = ["pulse"]\n'
        '[modalities.admission]\nkind = "tabular"\ncolumns = ["age"]\n'
        '[modalities.echo]\nkind = "tabular"\ncolumns = ["echo"]\n'
        '[modalities.diagnoses]\nkind = "codes"\ntable = "codes.parquet"\n'
    )
    manifest = Manifest(source="wards", unit="stays", options={"patients": patients, "seed": seed})
    manifest.step("stays drawn", patients)
    return manifest


@pytest.fixture(autouse=True, scope="module")
def wards() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        made = Preparation(write=write_wards, options=("patients", "seed"))
        patch.setitem(PREPARE, "wards", made)
        yield


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("config") / "toy.toml"
    file.write_text(CONFIG)
    return file


@pytest.fixture(scope="module")
def done(config: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of a reproduction, and its result."""
    out = tmp_path_factory.mktemp("reproduction") / "out"
    return out, reproduce(config, None, out, overrides=TINY, num_boot=100)


def sentence(call) -> str:
    with pytest.raises(InputError) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize("name", ["mimic-iv", "embed", "fprm"])
def test_the_papers_experiments_hold_together(name: str) -> None:
    """Every key is known, published figures are those of method.md, and the rule is by share."""
    experiment = load_experiment(name)
    assert experiment.seeds >= 3
    assert experiment.bands.tail_share == 0.15
    settings = experiment.arms[experiment.main].settings(2).to_dict()
    expected = {"method": "paper", "objective": "paper", "gamma": 0.02, "every": 50, "seed": 2}
    expected |= {"experts": 128, "width": 768, "heads": 8, "lr": 5e-5, "weight_decay": 5e-5}
    expected |= {"batch_size": 32, "epochs": 50, "mixture": "soft", "start": "uniform"}
    assert settings.items() >= expected.items()
    for arm in experiment.arms.values():
        arm.settings(0)
    for figure in experiment.published:
        assert figure.versus is None or figure.versus in experiment.arms
    mask = experiment.mask_spec()
    assert (mask is not None) == (name == "mimic-iv")
    if mask is not None:
        assert set(mask.keep or {}) == {"image", "text", "labs"}
        assert (mask.patients, mask.others) == ("complete", "drop")
    main = [f for f in experiment.published if f.arm == experiment.main and f.versus is None]
    published = {(f.block, f.metric, f.average): f.percent for f in main}
    notes = {("head", "accuracy", "groups"): 75.8, ("tail", "accuracy", "groups"): 82.8}
    notes |= {("all", "accuracy", "groups"): 80.7, ("all", "accuracy", "unstated"): 84.0}
    assert (
        published
        == {
            "mimic-iv": {("all", "accuracy", "unstated"): 90.8, ("all", "f1", "unstated"): 64.5},
            "embed": notes,
            "fprm": {
                ("all", "accuracy", "unstated"): 100.0,
                ("all", "f1_macro", "unstated"): 100.0,
            },
        }[name]
    )


def test_the_head_and_tail_that_were_published_average_over_combinations() -> None:
    """Two head and four tail combinations: the notes' figures agree with one another."""
    assert pytest.approx(80.7, abs=0.3) == (2 * 75.8 + 4 * 82.8) / 6


def test_tail_is_by_share_and_what_training_never_saw_is_tail() -> None:
    bands = ShareBands(share=0.15, num_train=200)
    assert bands.of(np.array([0, 1, 30, 31, 200])).tolist() == ["tail"] * 3 + ["head"] * 2
    assert (bands.head, bands.medium) == (30, 31)


def predictions(num: int, seeds: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    parts = []
    group = rng.choice(["a", "a+b", "b"], num, p=[0.7, 0.2, 0.1])
    label = rng.integers(2, size=num)
    for seed in range(seeds):
        prob = np.clip(0.5 + 0.3 * (label - 0.5) + 0.3 * rng.standard_normal(num), 0.01, 0.99)
        frame = pd.DataFrame({"id": np.arange(num), "person": np.arange(num) // 2})
        frame["label"] = label.astype(str)
        frame["prob_0"], frame["prob_1"], frame["group"] = 1 - prob, prob, group
        frame["n_train"] = pd.Series(group).map({"a": 70, "a+b": 20, "b": 10})
        frame["band"] = ShareBands(share=0.25, num_train=100).of(frame["n_train"].to_numpy())
        parts.append(frame.assign(split="test", method="x", seed=seed))
    return pd.concat(parts, ignore_index=True)


def test_figures_are_those_of_evaluation_averaged_over_seeds() -> None:
    frame, bands = predictions(400, 3), ShareBands(share=0.25, num_train=100)
    blocks = arm_figures(frame, bands, ["accuracy", "auroc"], num_boot=300)
    per_seed = [
        evaluate(rows, cohort="", bands=bands, num_boot=1) for _, rows in frame.groupby("seed")
    ]
    for average in ("patients", "groups"):
        values = [result["averages"][average]["auroc"] for result in per_seed]
        figure = blocks["all"][average]["auroc"]
        assert figure["seeds"] == values
        assert figure["mean"] == pytest.approx(np.mean(values))
        assert figure["sd"] == pytest.approx(np.std(values, ddof=1))
        assert figure["ci"][0] < figure["mean"] < figure["ci"][1]
    tail = [result["tail"]["accuracy"] for result in per_seed]
    assert blocks["tail"]["patients"]["accuracy"]["mean"] == pytest.approx(np.mean(tail))
    assert (blocks["head"]["num_groups"], blocks["tail"]["num_groups"]) == (1, 2)
    one = blocks["head"]  # of one combination, both averages are the same
    assert one["patients"] == one["groups"]
    widths = {
        block: np.diff(blocks[block]["patients"]["accuracy"]["ci"]) for block in ("all", "tail")
    }
    assert widths["tail"] > widths["all"]


@pytest.mark.parametrize("metric", ["accuracy", "ece"])
def test_an_interval_of_one_seed_is_that_of_evaluation(metric: str) -> None:
    frame, bands = predictions(300, 1), ShareBands(share=0.25, num_train=100)
    blocks = arm_figures(frame, bands, [metric], num_boot=400)
    theirs = evaluate(frame, cohort="", bands=bands, num_boot=400)
    for ours, block in ((blocks["all"], "overall"), (blocks["tail"], "tail")):
        assert ours["patients"][metric]["ci"] == pytest.approx(theirs[block]["ci"][metric])
        assert ours["patients"][metric]["sd"] is None
    low, high = blocks["all"]["groups"][metric]["ci"]
    assert 0 <= low < blocks["all"]["groups"][metric]["mean"] < high


def test_a_table_shows_ours_beside_the_published(done: tuple[Path, dict[str, Any]]) -> None:
    out, result = done
    assert json.loads((out / "result.json").read_text()) == json.loads(json.dumps(result))
    text = reproduction_table(result)
    assert text == (out / "table.md").read_text()
    lines = text.splitlines()
    figures = result["arms"]["REMIND"]["all"]
    figure = figures["patients"]["accuracy"]
    low, high = figure["ci"]
    row = next(line for line in lines if line.startswith("| all | accuracy | patients |"))
    assert row.split("|")[5].strip() == (
        f"{100 * figure['mean']:.1f} ± {100 * figure['sd']:.1f} ({100 * low:.1f}, {100 * high:.1f})"
    )
    assert row.endswith("| 90.8, average unstated [1] |")
    tail = next(line for line in lines if line.startswith("| tail | accuracy | combinations |"))
    assert tail.endswith("| trees 80.7 [2] |")
    assert any(
        line.startswith("- REMIND less trees, all, accuracy: ") and "published +11.6 [2]" in line
        for line in lines
    )
    assert lines[-3:] == ["[1] a result page.", "[2] notes.", "Nothing of this was published."]
    assert figures["n"] == result["cohort"]["splits"]["test"]
    assert result["cohort"]["modalities"] == ["vitals", "codes", "echo"]
    assert figures["n"] == sum(result["arms"]["REMIND"][block]["n"] for block in ("head", "tail"))


def test_what_is_done_is_used_again_and_the_rest_is_done(
    config: Path,
    done: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, result = done
    out = tmp_path / "out"
    shutil.copytree(first, out)
    model = out / "runs" / "REMIND" / "seed-0" / "model.safetensors"
    before = model.stat().st_mtime_ns
    shutil.rmtree(out / "runs" / "REMIND" / "seed-1")
    said: list[str] = []

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("prepared again")

    monkeypatch.setattr(reproduce_run, "prepare", refuse)
    again = reproduce(config, None, out, overrides=TINY, num_boot=100, tell=said.append)
    assert again == result
    assert model.stat().st_mtime_ns == before
    assert said[0] == f"the cohort is there: {out / 'cohort'}"


def test_other_settings_or_another_cohort_are_not_mixed_in(
    config: Path, done: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out, _ = done
    told = sentence(lambda: reproduce(config, None, out, overrides=[*TINY, "epochs=3"]))
    assert "was begun with other settings: epochs (2, now 3)" in told
    told = sentence(lambda: reproduce(config, None, out, overrides=TINY, options={"patients": 300}))
    assert told.startswith(f"{out} holds a cohort prepared with another options")
    (tmp_path / "mine.txt").write_text("mine")
    told = sentence(lambda: reproduce(config, None, tmp_path))
    assert told == f"{tmp_path} is not empty and holds no reproduction: name another folder"


def test_a_preparation_that_failed_can_be_asked_for_otherwise(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was asked is compared where there is a cohort only, and never how fast it was made."""

    def write(folder: Path, *, patients: int, seed: int, memory: float = 2.0) -> Manifest:
        if memory < 1:
            raise InputError("too little memory")
        return write_wards(folder, patients=patients, seed=seed)

    options = ("patients", "seed", "memory")
    monkeypatch.setitem(PREPARE, "wards", Preparation(write=write, options=options))
    out = tmp_path / "out"

    def reproduced(**options: Any) -> dict[str, Any]:
        return reproduce(config, None, out, seeds=1, overrides=TINY, options=options, num_boot=2)

    assert sentence(lambda: reproduced(memory=0.5)) == "too little memory"
    result = reproduced(memory=4.0, patients=200)
    assert sum(result["cohort"]["splits"].values()) <= 200
    assert reproduced(memory=8.0, patients=200) == result
    assert reproduced(patients=200) == result
    assert "another options" in sentence(lambda: reproduced(memory=4.0))


def test_the_evaluation_of_a_run_has_the_bands_of_the_run(
    done: tuple[Path, dict[str, Any]],
) -> None:
    out, result = done
    for arm in ("REMIND", "trees"):
        folder = out / "runs" / arm / "seed-0"
        kept = json.loads((folder / "evaluation.json").read_text())
        assert kept["bands"] == {"head": 100, "medium": 20}
        n_train, n = (
            np.array([group[key] for group in kept["groups"]]) for key in ("n_train", "n")
        )
        band = Bands(head=100, medium=20).of(n_train)
        for name in BAND_NAMES:
            assert kept[name]["n"] == n[band == name].sum()
        assert kept["overall"]["n"] == result["arms"][arm]["all"]["n"]
    assert result["bands"]["head"] not in (100, 20)


def test_a_cohort_that_is_prepared_already_can_be_the_root(config: Path, tmp_path: Path) -> None:
    prepare("wards", tmp_path / "raw", patients=240, seed=1)
    result = reproduce(
        config, tmp_path / "raw", tmp_path / "out", seeds=1, overrides=TINY, num_boot=20
    )
    direct = prepare(
        "wards",
        tmp_path / "direct",
        patients=240,
        seed=1,
        mask=mask_from_dict(load_experiment(config).mask or {}),
    )
    made = json.loads((tmp_path / "out" / "cohort" / "manifest.json").read_text())
    assert made["counts"]["mask"] == direct.counts["mask"]
    assert result["num_seeds"] == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('metrics = ["accuracy", "f1"]', 'metrics = ["acc"]'), 'metrics names "acc"'),
        (("width = 16", "widht = 16"), 'no setting "widht"; did you mean "width"?'),
        (('method = "paper"', 'method = "papr"'), 'no method "papr"; did you mean "paper"?'),
        (("tail_share = 0.2", "tail_share = 2.0"), "bands.tail_share should be less than 1"),
        (("[arms.trees]", "[arm.trees]"), 'has the unknown key "arm"; did you mean "arms"?'),
        (('patients = "any"', 'patients = "some"'), "[mask]: patients should be"),
        (('source = "wards"', 'source = "mimic"'), '"mimic" needs --root'),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_made(
    change: tuple[str, str], said: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(CONFIG.replace(*change))
    assert said in sentence(lambda: reproduce(file, None, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_modules_that_are_needed_are_given_or_below_the_root(tmp_path: Path) -> None:
    mimic = load_experiment("mimic-iv")
    (tmp_path / "note").mkdir()
    told = sentence(lambda: reproduce("mimic-iv", tmp_path, tmp_path / "out"))
    assert told == (
        f'"In-hospital death on MIMIC-IV" needs --cxr: give its folder, or put it into '
        f"{tmp_path}/cxr"
    )
    given = {"cxr": Path("/elsewhere")}
    expected = {"task": "in-hospital-mortality", "window": 48.0, "note": tmp_path / "note", **given}
    assert mimic.options(tmp_path, given) == expected
    assert load_experiment("fprm").options(tmp_path, {}) == {"layout": tmp_path / "layout.toml"}


def test_an_unknown_experiment_names_those_there_are() -> None:
    assert sentence(lambda: load_experiment("mimic")).startswith('no experiment "mimic"')
    assert {Path(file.name).stem for file in CONFIGS.iterdir()} == {"mimic-iv", "embed", "fprm"}
