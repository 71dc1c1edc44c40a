"""Run folders, settings, and runs that are opened again."""

import errno
import json
import os
import resource
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from remind.cohort import read_cohort
from remind.errors import InputError
from remind.evaluation import write_predictions
from remind.training import (
    PlainProgress,
    RichProgress,
    RunFolder,
    api,
    fit_run,
    open_run,
    settings_from_dict,
    with_overrides,
)
from remind.training.method import NeuralPredictor
from tests.cohort.make import write_cohort
from tests.training.toy import ToyConfig, same_bytes, small_config, toy_cohort, toy_method

METHODS = {"toy": toy_method(small_config(epochs=2))}
DEFAULT = METHODS["toy"].default_settings()


def refusal(call) -> str:
    with pytest.raises(InputError) as caught:
        call()
    return str(caught.value)


def test_opened_run_predicts_as_the_fitted_one(tmp_path: Path) -> None:
    cohort = toy_cohort()
    run = fit_run(cohort, METHODS["toy"], out=tmp_path / "run")
    again = open_run(tmp_path / "run", METHODS)
    pd.testing.assert_frame_equal(run.predict(cohort), again.predict(cohort), check_exact=True)
    assert again.settings == run.settings
    assert again.spec.to_dict() == cohort.spec.to_dict()
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        "config.toml",
        "encoding.json",
        "metrics.jsonl",
        "model.safetensors",
        "checkpoints",
    }


def test_predictions_table(tmp_path: Path) -> None:
    cohort = toy_cohort()
    run = fit_run(cohort, METHODS["toy"])
    frame = run.predictions("test", cohort)
    assert list(frame.columns) == [
        *("id", "person", "label", "prob_0", "prob_1", "group", "n_train", "band", "split"),
        *("method", "seed"),
    ]
    rows = cohort.rows("test")
    assert frame["label"].tolist() == [cohort.classes[i] for i in cohort.label_N[rows]]
    assert np.allclose(frame["prob_0"] + frame["prob_1"], 1, atol=1e-12)
    assert set(frame["split"]) == {"test"}
    assert set(frame["method"]) == {"toy"}
    alone = run.predict(cohort.select(rows[:1]))
    assert alone["prob_1"][0] == pytest.approx(frame["prob_1"][0], abs=1e-6)
    unlabelled = replace(cohort.select(rows[:3]), label_N=None, split=None)
    assert run.predict(unlabelled)[["label", "split"]].isna().all(axis=None)
    assert len(run.predict(unlabelled.select(rows[:0]))) == 0
    no_test = replace(cohort, split=np.where(cohort.split == "test", "train", cohort.split))
    text = refusal(lambda: run.predictions("test", no_test))
    assert text == (
        'no patient is in the split "test": the cohort has train, val; ask for one of these, or '
        "give it patients in [split] of the cohort and fit again"
    )


def test_cohort_on_disk_is_read_again_and_checked(tmp_path: Path, monkeypatch) -> None:
    write_cohort(tmp_path / "data", n=200)
    monkeypatch.chdir(tmp_path)
    run = fit_run("data", METHODS["toy"], out="run")
    monkeypatch.chdir("/")
    again = open_run(tmp_path / "run", METHODS)
    assert again.cohort().fingerprint == read_cohort(tmp_path / "data").fingerprint
    assert again.predict(again.cohort()).equals(run.predict(run.cohort()))
    write_cohort(tmp_path / "data", n=200, seed=1)
    assert refusal(again.cohort) == (
        'the cohort "small" (data) has changed since the run was fitted: '
        "bring it back as it was, or fit again"
    )
    (tmp_path / "data").rename(tmp_path / "moved")
    assert 'no cohort "data"' in refusal(again.cohort)
    in_memory = fit_run(read_cohort(tmp_path / "moved"), METHODS["toy"])
    assert "in memory, which cannot be read again" in refusal(in_memory.cohort)


def test_config_says_what_is_needed_to_repeat(tmp_path: Path) -> None:
    fit_run("synthetic", METHODS["toy"], with_overrides(DEFAULT, ["epochs=1"]), tmp_path / "run")
    config = tomllib.loads((tmp_path / "run/config.toml").read_text())
    assert (config["method"], config["epochs"], config["objective"]) == ("toy", 1, "group_dro")
    assert (config["cohort"]["source"], config["cohort"]["path"]) == ("synthetic", "")
    assert len(config["cohort"]["fingerprint"]) == 64
    assert {"python", "torch", "numpy"} <= set(config["versions"])
    run = open_run(tmp_path / "run", METHODS)
    assert run.cohort().fingerprint == config["cohort"]["fingerprint"]


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    cohort, toy = toy_cohort(), METHODS["toy"]

    def fit(folder: Path) -> str:
        return refusal(lambda: fit_run(cohort, toy, out=folder))

    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/cat.png").write_text("")
    assert fit(tmp_path / "photos") == (
        f"{tmp_path / 'photos'} is not empty and holds no run: name another folder for the run"
    )
    assert "is a file: name a folder" in fit(tmp_path / "photos/cat.png")
    fit_run(cohort, toy, out=tmp_path / "run")
    assert "holds a finished run: name another folder" in fit(tmp_path / "run")
    (tmp_path / "run/model.safetensors").unlink()
    assert "holds an unfinished run: continue it with --resume" in fit(tmp_path / "run")

    (tmp_path / "run/notes.txt").write_text("mine")
    RunFolder(tmp_path / "run").clear()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["notes.txt"]
    assert "is no run folder: it has no config.toml" in refusal(RunFolder(tmp_path / "run").clear)


class Hook(PlainProgress):
    """Does something after the first epoch."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(StringIO())
        self.work = work

    def on_epoch(self, metrics: dict) -> None:
        if metrics["epoch"] == 1:
            self.work()


def test_a_run_is_filled_by_one_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another that is to go on with it is refused, and the first ends as if it had been alone."""
    monkeypatch.setattr(api, "PATIENCE", 0.01)
    cohort, toy, said = toy_cohort(), METHODS["toy"], []

    def another() -> None:
        said.append(refusal(lambda: fit_run(cohort, toy, out=tmp_path / "run", resume=True)))

    fit_run(cohort, toy, out=tmp_path / "run", progress=Hook(another))
    assert said == [
        f"another remind fit is filling {tmp_path / 'run'}: wait until it is done, "
        "or give --out another folder"
    ]
    fit_run(cohort, toy, out=tmp_path / "alone")
    assert same_bytes(*(tmp_path / name / "model.safetensors" for name in ("run", "alone")))
    assert [path.name for path in tmp_path.rglob(".*")] == []


def test_a_full_disk_is_one_sentence_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the library that writes the tensors has errors of its own."""
    cohort, toy, before = toy_cohort(), METHODS["toy"], resource.getrlimit(resource.RLIMIT_FSIZE)
    fill = Hook(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1])))
    try:
        text = refusal(lambda: fit_run(cohort, toy, out=tmp_path / "run", progress=fill))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert text == (
        "the checkpoint of epoch 2 could not be written (File too large): "
        "remove the cause and continue with --resume"
    )

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(NeuralPredictor, "save", full)
        text = refusal(lambda: fit_run(cohort, toy, out=tmp_path / "run", resume=True))
    assert text == (
        "the model could not be written (No space left on device): "
        "make room and continue with --resume"
    )
    fit_run(cohort, toy, out=tmp_path / "run", resume=True)
    fit_run(cohort, toy, out=tmp_path / "alone")
    assert same_bytes(*(tmp_path / name / "model.safetensors" for name in ("run", "alone")))


def test_a_refused_run_leaves_its_name_free(tmp_path: Path) -> None:
    """Also a folder that was there before; a run with a checkpoint, and one to resume, stay."""
    toy, cohort = METHODS["toy"], toy_cohort()
    no_val = replace(cohort, split=np.where(cohort.split == "val", "train", cohort.split))
    wrong = with_overrides(DEFAULT, ["held_out=true"])
    (tmp_path / "mine").mkdir()
    for place in ("new/run", "mine"):
        text = refusal(lambda p=place: fit_run(no_val, toy, wrong, tmp_path / p))
        assert text.startswith("held_out needs validation patients")
        assert [path.name for path in tmp_path.rglob("*")] == ["mine"]
    fit_run(no_val, toy, out=tmp_path / "new/run")
    fit_run(no_val, toy, out=tmp_path / "mine")
    (tmp_path / "mine/model.safetensors").unlink()
    config = tmp_path / "mine/config.toml"
    config.write_text(config.read_text().replace("held_out = false", "held_out = true"))
    refusal(lambda: fit_run(no_val, toy, wrong, tmp_path / "mine", resume=True))
    assert config.exists()


def test_who_may_read_a_run_goes_by_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        run = fit_run(toy_cohort(), METHODS["toy"], out=tmp_path / "run")
        write_predictions(run.predictions("test", toy_cohort()), run.folder.predictions)
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert {path.name for path in files} > {"model.safetensors", "predictions.parquet"}
    assert {oct(path.stat().st_mode & 0o777) for path in files} == {"0o640"}


def test_what_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    def text(methods=METHODS) -> str:
        return refusal(lambda: open_run(tmp_path / "run", methods))

    assert text() == f"{tmp_path / 'run'} is no run folder: it does not exist"
    fit_run(toy_cohort(), METHODS["toy"], out=tmp_path / "run")
    assert text({"toys": METHODS["toy"]}) == (
        f'{tmp_path / "run"} is a run of the method "toy", which is not known; did you mean "toys"?'
    )
    config = tmp_path / "run/config.toml"
    content = config.read_text()
    config.write_text(content.replace("epochs = 2\n", "", 1))
    assert text() == 'config.toml lacks the key "epochs": another version wrote it'
    config.write_text(content.replace("epochs = 2\n", 'epochs = "2"\n', 1))
    assert text() == 'epochs must be a whole number, got "2"'
    config.write_text(content.replace("[cohort]", "[cohort"))
    assert f"{config} is damaged" in text()
    config.write_text(content.replace("width = 8", "width = 16", 1))
    assert text().startswith(
        f"{tmp_path / 'run/model.safetensors'} is damaged: Error(s) in loading"
    )
    assert text().endswith("; fit again")
    config.write_text(content)
    (tmp_path / "run/model.safetensors").unlink()
    assert "holds an unfinished run: finish it" in text()


def test_overrides_reach_their_parts() -> None:
    changed = with_overrides(
        DEFAULT,
        ["epochs=7", "lr = 1e-4", "width=16", "deep=true", "flavor=spicy", "step=1", "seed=3"],
    )
    assert (changed.train.epochs, changed.train.lr) == (7, 1e-4)
    assert changed.model == ToyConfig(width=16, deep=True, flavor="spicy")
    assert changed.objective_options == {
        "held_out": False,
        "balanced": False,
        "step": 1.0,
        "adjustment": 0.0,
    }
    assert changed.seed == 3
    assert changed.train.batch_size == DEFAULT.train.batch_size


def test_another_objective_brings_its_own_options() -> None:
    stepped = with_overrides(DEFAULT, ["step=0.5"])
    changed = with_overrides(stepped, ["radius=0.3", "objective=long_tail_dro", "radius=0.4"])
    assert changed.objective_options["radius"] == 0.4
    assert "step" not in changed.to_dict()
    assert with_overrides(stepped, ["objective=group_dro"]) == stepped
    paper = ["objective=paper", "start=proportions"]
    assert with_overrides(stepped, paper).objective_options["start"] == "proportions"
    paper = ["objective=paper", "start=one"]
    text = refusal(lambda: with_overrides(stepped, paper))
    assert text == 'start must be uniform or proportions, got "one"'


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("epoch=3", 'no setting "epoch"; did you mean "epochs"'),
        ("epochs", 'a setting is given as key=value, got "epochs"'),
        ("epochs=3.5", 'epochs must be a whole number, got "3.5"'),
        ("lr=fast", 'lr must be a number, got "fast"'),
        ("deep=yes", 'deep must be true or false, got "yes"'),
        ("epochs=0", "epochs must be a whole number >= 1, got 0"),
        ("objective=groupdro", 'no objective "groupdro"; did you mean "group_dro"'),
        ("radius=0.1", 'no setting "radius"'),
        ("seed=4294967296", "seed must be a whole number >= 0 and <= 4294967295, got 4294967296"),
        ("bands_head=10", "bands_head must be a whole number >= 20, got 10"),
    ],
)
def test_wrong_overrides(override: str, sentence: str) -> None:
    assert refusal(lambda: with_overrides(DEFAULT, [override])).startswith(sentence)


def test_method_without_training_has_no_training_keys() -> None:
    trees = replace(DEFAULT, method="trees", train=None, objective="erm", objective_options={})
    assert "epochs" not in trees.to_dict()
    assert refusal(lambda: with_overrides(trees, ["objective=cvar"])).startswith("no setting")
    assert settings_from_dict(trees.to_dict(), trees) == trees


def test_ambiguous_keys_cannot_be() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Clash:
        lr: float = 1.0

    with pytest.raises(AssertionError, match="lr"):
        with_overrides(replace(DEFAULT, model=Clash()), [])


@given(
    st.floats(1e-12, 1e3),
    st.integers(1, 10**6),
    st.floats(0, 1),
    st.text("ab ü\"'\\\n", max_size=9),
)
def test_settings_come_back_exactly(lr: float, width: int, mix: float, flavor: str) -> None:
    import tomli_w

    base = with_overrides(DEFAULT, ["objective=long_tail_dro", "tau=inf"])
    settings = replace(
        base,
        model=ToyConfig(width=width, flavor=flavor),
        train=replace(base.train, lr=lr),
        objective_options={**base.objective_options, "mix": mix},
    )
    text = tomli_w.dumps(settings.to_dict())
    assert settings_from_dict(tomllib.loads(text), DEFAULT) == settings


def test_progress_in_lines_and_as_a_bar() -> None:
    metrics = {"epoch": 2, "train_loss": 0.5, "val_log_loss": 0.25, "seconds": 1.26}
    stream = StringIO()
    for progress in (
        PlainProgress(stream),
        RichProgress("fit toy", Console(file=stream, force_terminal=True, width=120)),
    ):
        progress.start(4, 1)
        progress.on_epoch(metrics)
        progress.finish()
    plain, _, bar = stream.getvalue().partition("1.3 s\n")
    assert plain == (
        "continuing after epoch 1 of 4\n"
        "epoch 2/4: training loss 0.5000, validation log loss 0.2500, "
    )
    assert "fit toy" in bar
    assert "2/4" in bar


def test_metrics_are_a_line_per_epoch(tmp_path: Path) -> None:
    run = fit_run(toy_cohort(), METHODS["toy"], out=tmp_path / "run")
    records = [
        json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().split("\n")[:-1]
    ]
    assert records == run.history.metrics
    assert [record["epoch"] for record in records] == [1, 2]
    assert records[0]["weights"]["updates"] == 5
    assert "frozen: the weights never moved" in run.history.health
