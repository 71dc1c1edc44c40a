"""A benchmark is fair, resumable to the bit, and refuses what it cannot be."""

import json
import platform
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from remind.baselines.lightgbm import LightGBMPredictor
from remind.benchmark import folder
from remind.benchmark.contenders import make_contenders
from remind.benchmark.fitting import Fitted, Task, perform
from remind.benchmark.report import make_report
from remind.benchmark.run import run_benchmark
from remind.benchmark.splits import SplitPlan, cross_validation
from remind.benchmark.tuning import Trial
from remind.cohort import Cohort, read_cohort
from remind.errors import InputError
from remind.evaluation import read_predictions
from remind.methods import METHODS
from remind.objectives import LogitAdjustment
from remind.training import Settings, fit_run
from tests.benchmark.make import QUICK, content, inline, request
from tests.cohort.make import write_cohort

FILES = ("predictions.parquet", "results.csv", "results.tex", "cd.svg")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As in the processes of a benchmark."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return read_cohort(write_cohort(tmp_path_factory.mktemp("cohort"), n=120))


def test_two_at_once_in_one_folder_do_not_collide(cohort: Cohort, tmp_path: Path) -> None:
    """The second is refused in a sentence, and the first goes on."""
    out, refusals = tmp_path / "out", []

    def try_again(line: str) -> None:
        with pytest.raises(InputError) as caught:
            run_benchmark(cohort, request(), out, inline())
        refusals.append(str(caught.value))

    assert run_benchmark(cohort, request(), out, inline(), tell=try_again) == []
    assert set(refusals) == {
        f"another remind benchmark is filling {out}: wait until it is done, "
        "or give --out another folder"
    }
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_killed_at_any_moment_and_resumed_gives_the_same_bits(
    cohort: Cohort, tmp_path: Path
) -> None:
    asked = request(objectives=["erm", "reweight"], budget=2, tune="fold")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run_benchmark(cohort, asked, whole, inline()) == []
    result = make_report(whole, num_boot=20)
    for most in (0, 1, 3, 4):
        with pytest.raises(KeyboardInterrupt):
            run_benchmark(cohort, asked, killed, inline(most))
        (killed / "trials" / ".tmp-0001.json").parent.mkdir(exist_ok=True)
        (killed / "trials" / ".tmp-0001.json").write_text("half")
        make_report(killed, num_boot=20)
    assert run_benchmark(cohort, asked, killed, inline()) == []
    again = make_report(killed, num_boot=20)
    assert content(killed, *FILES) == content(whole, *FILES)
    assert (again["blocks"], again["found"]) == (result["blocks"], result["found"])
    lines: list[str] = []
    assert run_benchmark(cohort, asked, killed, inline(0), lines.append) == []
    assert lines == ["lightgbm: takes no objective, and so takes part once"]


def test_every_contender_has_the_same_patients_folds_and_number_of_trials(
    cohort: Cohort, tmp_path: Path
) -> None:
    asked = request(budget=3, seeds=2)
    run_benchmark(cohort, asked, tmp_path, inline())
    result = make_report(tmp_path, num_boot=10)
    assert list(result["cost"]) == ["lightgbm", "transformer+erm"]
    assert {cost["trials"] for cost in result["cost"].values()} == {3}
    frame = pd.read_parquet(tmp_path / "predictions.parquet")
    keys = ["seed", "fold", "id"]
    own = [part[keys].reset_index(drop=True) for _, part in frame.groupby("contender")]
    pd.testing.assert_frame_equal(*(part.sort_values(keys, ignore_index=True) for part in own))
    assert (frame.groupby(["contender", "seed"])["id"].nunique() == len(cohort)).all()
    for seed in (0, 1):
        for fold, dealt in enumerate(cross_validation(cohort, 2, seed)):
            part = frame.query(f"seed == {seed} and fold == {fold} and method == 'lightgbm'")
            assert sorted(part["id"]) == sorted(dealt.ids[dealt.rows("test")])
    trials = [
        Trial(**json.loads(file.read_text()))
        for file in sorted((tmp_path / "trials" / "lightgbm" / "seed0-fold0").iterdir())
    ]
    values = [trial.value for trial in trials if trial.value is not None]
    assert result["found"]["lightgbm"]["seed0-fold0"] == dict(trials[int(np.argmin(values))].params)


def test_a_trial_never_looks_at_test_patients(cohort: Cohort) -> None:
    """Other labels of the test patients leave the criterion as it is."""
    (fold, _) = cross_validation(cohort, 2, 0)
    assert fold.split is not None
    assert fold.label_N is not None
    task = Task(name="t", settings=_settings("lightgbm"), params={"leaves": 7}, split=fold.split)
    values = []
    for changed in ("none", "test", "val"):
        label_N = np.where(fold.split == changed, 1 - fold.label_N, fold.label_N)
        trial = perform(replace(fold, label_N=label_N), task)
        assert isinstance(trial, Trial)
        values.append(trial.value)
    assert values[0] == values[1] != values[2]


def test_a_fit_counts_what_it_costs(cohort: Cohort) -> None:
    (fold, _) = cross_validation(cohort, 2, 0)
    assert fold.split is not None
    plan = SplitPlan(hide=("vitals", "labs"))
    task = Task(name="t", settings=_settings("transformer"), params={}, split=fold.split, plan=plan)
    fitted = perform(fold, task)
    assert isinstance(fitted, Fitted)
    assert set(fitted.frame["split"]) == {"test", "test without vitals", "test without labs"}
    gone = fitted.frame[fitted.frame["split"] == "test without labs"]
    assert not gone["group"].str.contains("labs").any()
    _, position_N, num_U = np.unique(
        cohort.present_NM, axis=0, return_inverse=True, return_counts=True
    )
    size = dict(zip(cohort.ids, num_U[position_N], strict=True))
    assert list(gone["size"]) == [size[one] for one in gone["id"]]
    assert all(value is not None and value > 0 for value in fitted.cost.values())
    assert 50 < (fitted.cost["memory_mb"] or 0) < 50_000


def test_more_methods_objectives_and_seeds_extend_a_benchmark(
    cohort: Cohort, tmp_path: Path
) -> None:
    run_benchmark(cohort, request(("lightgbm",)), tmp_path, inline())
    first = make_report(tmp_path, num_boot=10)
    more = request(objectives=["erm", "reweight"], seeds=2)
    run_benchmark(cohort, more, tmp_path, inline(2 + 8))
    second = make_report(tmp_path, num_boot=10)
    assert list(second["cost"]) == ["lightgbm", "transformer+erm", "transformer+reweight"]
    assert first["blocks"]["all"]["n"] == second["blocks"]["all"]["n"] == len(cohort)
    with (tmp_path / "benchmark.toml").open("rb") as file:
        kept = tomllib.load(file)
    assert kept["seeds"] == 2
    assert kept["cohort"]["fingerprint"] == cohort.fingerprint
    assert kept["contenders"]["transformer+reweight"]["settings"]["epochs"] == 1
    assert "torch" in kept["versions"]

    run_benchmark(cohort, request(("lightgbm",), seeds=3), tmp_path, inline(2))
    third = make_report(tmp_path, reference="lightgbm", num_boot=10)
    assert third["incomplete"] == {"transformer+erm": [4, 6], "transformer+reweight": [4, 6]}
    assert r"\textbf{transformer" not in (tmp_path / "results.tex").read_text()
    assert third["ranks"]["num_folds"] == second["ranks"]["num_folds"] == 4
    for name in ("transformer+erm", "lightgbm"):  # means of others do not change those of its own
        mean = [r["blocks"]["all"]["contenders"][name]["log_loss"]["mean"] for r in (second, third)]
        assert (mean[0] == mean[1]) == (name == "transformer+erm")
    text = (tmp_path / "results.md").read_text()
    assert "| transformer+erm (2 seeds) |" in text
    assert "transformer+erm: shown with 2 seeds, 4 of 6 fits are there" in text


def test_a_seed_that_cannot_be_split_is_refused_before_anything_is_written(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def folds(plan: SplitPlan, cohort: Cohort, num: int, seed: int) -> list[Cohort]:
        if seed == 2:
            raise InputError("too few of seed 2")
        return cross_validation(cohort, num, seed)

    monkeypatch.setattr(SplitPlan, "folds", folds)
    with pytest.raises(InputError, match="too few of seed 2"):
        run_benchmark(cohort, request(("lightgbm",), seeds=3), tmp_path / "b", inline(0))
    assert not list(tmp_path.iterdir())


def test_fits_of_several_versions_are_told(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_benchmark(cohort, request(("lightgbm",)), tmp_path, inline())
    assert make_report(tmp_path, num_boot=10)["versions_differ"] == {}
    monkeypatch.setattr(folder, "versions", lambda: {"python": "3.99"})
    run_benchmark(cohort, request(("lightgbm",), seeds=2), tmp_path, inline())
    result = make_report(tmp_path, num_boot=10)
    assert result["versions_differ"] == {"python": [platform.python_version(), "3.99"]}
    assert "python: fits of several versions" in (tmp_path / "results.md").read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"folds": 3}, "it was begun with --folds 2, now 3; ask for the same again, or name"),
        ({"split": "combinations"}, "begun with --split cross-validation, now combinations"),
        ({"budget": 5}, "it was begun with --budget 1, now 5"),
        ({"sets": ("lightgbm:trees=5",)}, r"lightgbm had other settings: trees \(4, now 5\)"),
    ],
)
def test_another_benchmark_in_the_same_folder_is_refused(
    cohort: Cohort, tmp_path: Path, options: dict[str, object], said: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_benchmark(cohort, request(("lightgbm",)), tmp_path, inline(0))
    with pytest.raises(InputError, match=said):
        run_benchmark(cohort, request(("lightgbm",), **options), tmp_path, inline(0))


def test_another_cohort_or_another_folder_is_refused(cohort: Cohort, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_benchmark(cohort, request(("lightgbm",)), tmp_path / "b", inline(0))
    smaller = cohort.select(np.arange(100))
    with pytest.raises(InputError, match='"small" is not the one it was begun on'):
        run_benchmark(smaller, request(("lightgbm",)), tmp_path / "b", inline(0))
    with pytest.raises(InputError, match="is not empty and holds no benchmark"):
        run_benchmark(cohort, request(("lightgbm",)), tmp_path, inline(0))
    with pytest.raises(InputError, match="is no folder of a benchmark"):
        make_report(tmp_path)


def test_what_one_contender_cannot_does_not_stop_the_others(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search whose trials are all refused, and a method that breaks, are told and left out."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("out of luck")

    def refusing(*_: object, **__: object) -> None:
        raise InputError("never")

    monkeypatch.setattr(type(METHODS["lightgbm"]), "fit", refusing)
    errors = run_benchmark(cohort, request(budget=2), tmp_path, inline())
    assert errors == ["lightgbm: every trial was refused, the last: never"]
    result = make_report(tmp_path, reference="lightgbm", num_boot=10)
    assert result["incomplete"] == {"lightgbm": [0, 2]}
    assert result["reference"] == "transformer+erm"
    assert "lightgbm: not shown, 0 of 2 fits are there" in (tmp_path / "results.md").read_text()

    monkeypatch.setattr(type(METHODS["lightgbm"]), "fit", broken)
    errors = run_benchmark(cohort, request(("lightgbm", "tabm")), tmp_path / "b", inline())
    assert len(errors) == 4
    assert errors[0] == "lightgbm, seed 0, fold 0: RuntimeError: out of luck"


@pytest.mark.parametrize("budget", [1, 2])
def test_predictions_that_are_refused_fail_their_contender_alone(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    """In a fit as in a trial; the others go on, and the benchmark can be finished."""
    monkeypatch.setattr(
        LightGBMPredictor, "predict_proba", lambda _, cohort: np.full((len(cohort), 2), np.nan)
    )
    errors = run_benchmark(cohort, request(budget=budget), tmp_path, inline())
    assert len(errors) == (2 if budget == 1 else 1)
    start = "lightgbm, seed 0, fold 0: " if budget == 1 else "lightgbm: every trial was refused"
    assert errors[0].startswith(start)
    assert errors[0].endswith("probabilities must lie in 0..1, got nan, nan")
    result = make_report(tmp_path, num_boot=10)
    assert result["incomplete"] == {"lightgbm": [0, 2]}
    assert list(result["cost"]) == ["transformer+erm"]


@pytest.mark.parametrize("objective", ["erm", "logit_adjustment"])
def test_a_trial_is_judged_by_the_loss_of_early_stopping(cohort: Cohort, objective: str) -> None:
    """That of what the objective makes of the logits, the log prior added where it adds it."""
    (fold, _) = cross_validation(cohort, 2, 0)
    assert fold.split is not None
    assert fold.label_N is not None
    settings = _settings("transformer", objective)
    trial = perform(fold, Task(name="t", settings=settings, params={}, split=fold.split))
    assert isinstance(trial, Trial)
    run = fit_run(fold, METHODS["transformer"], settings)
    val, groups = fold.rows("val"), run.encoding.groups
    logits_NC = torch.from_numpy(run.predictor.predict_proba(fold.select(val))).log()
    label_N, group_N = torch.from_numpy(fold.label_N), torch.from_numpy(groups.ids(fold.present_NM))
    raw = float(F.cross_entropy(logits_NC, label_N[val]))
    if objective == "logit_adjustment":
        prior = LogitAdjustment(torch.from_numpy(groups.counts_G))
        train = fold.rows("train")
        prior.begin(label_N[train], group_N[train])
        logits_NC = logits_NC + prior.prior(group_N[val], 2).log()
    loss = float(F.cross_entropy(logits_NC, label_N[val]))
    assert trial.value == pytest.approx(loss, rel=1e-9)
    assert (loss == raw) == (objective == "erm")


def test_a_report_says_that_combinations_were_hashed(cohort: Cohort, tmp_path: Path) -> None:
    """Under the tables; a folder of an older version says nothing."""
    sets = ["epochs=1", "width=8", "hidden=8", "heads=2", "top_k=2", "experts=4"]
    asked = request(("flex_moe",), sets=sets)
    assert run_benchmark(cohort, asked, tmp_path, inline()) == []
    said = "the combinations of 3 modalities are hashed to 4 experts"
    assert make_report(tmp_path, num_boot=10)["notes"] == {"flex_moe+erm": said}
    assert f"flex_moe+erm: {said}" in (tmp_path / "results.md").read_text()
    for file in (tmp_path / "fits").rglob("*.json"):
        about = json.loads(file.read_text())
        del about["note"]
        file.write_text(json.dumps(about))
    assert make_report(tmp_path, num_boot=10)["notes"] == {}
    assert "hashed" not in (tmp_path / "results.md").read_text()


def test_contenders_are_methods_by_objectives() -> None:
    names = ["transformer", "lightgbm"]
    every = make_contenders(METHODS, names, ["erm", "group_dro"], ["transformer:width=16"])
    assert [c.name for c in every] == ["transformer+erm", "transformer+group_dro", "lightgbm"]
    assert {c.settings.model.width for c in every[:2]} == {16}
    assert [c.name for c in make_contenders(METHODS, ["paper"])] == ["paper+paper"]
    with pytest.raises(InputError, match='no objective "dro"'):
        make_contenders(METHODS, names, ["dro"])


def test_progress_says_what_is_left_and_how_long(cohort: Cohort, tmp_path: Path) -> None:
    lines: list[str] = []
    run_benchmark(cohort, request(("lightgbm",), budget=2), tmp_path, inline(), lines.append)
    assert lines[0] == "4 trials and fits to do, 1 at a time"
    assert lines[1].startswith("[1/4] lightgbm, seed 0, fold 0, trial 1: ")
    assert "validation log loss" in lines[1]
    assert "; 3 left, about " in lines[1]
    assert lines[3].startswith("[3/4] lightgbm, seed 0, fold 0: ")
    assert "test log loss" in lines[-1]
    assert "left" not in lines[-1]
    kept = next((tmp_path / "fits" / "lightgbm").glob("seed0-fold0-*.parquet"))
    assert set(read_predictions(kept)["method"]) == {"lightgbm"}


def _settings(name: str, objective: str | None = None) -> Settings:
    own = [pair for pair in QUICK if pair.startswith(name)]
    objectives = None if objective is None else [objective]
    return make_contenders(METHODS, [name], objectives, own)[0].settings
