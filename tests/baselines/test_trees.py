"""Boosted trees of every library keep the same promises."""

# N patients, F flat columns, C classes

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss

from remind.baselines import BASELINES
from remind.cohort import Cohort, CohortSpec, cohort_from_frame, spec_from_dict
from remind.errors import InputError
from remind.training import Run, fit_run, open_run, with_overrides

FILES = {"lightgbm": "model.txt", "xgboost": "model.ubj", "catboost": "model.cbm"}
NAMES = tuple(FILES)
ONE_SPLIT = {
    "lightgbm": ("leaves=2", "min_leaf=5"),
    "xgboost": ("depth=1", "min_child_weight=1"),
    "catboost": ("depth=1",),
}


def wards(
    label_of: str, num_classes: int = 2, num_patients: int = 600, noise: float = 0.05
) -> Cohort:
    """Patients of eight wards, some unknown, with a number x that is often missing.

    Args:
        label_of: "ward" (its number modulo the classes) or "missing" (whether x is).
        num_classes: C.
        num_patients: N; a fifth each in val and test, where alone `stray` may be missing.
        noise: share of labels that are drawn at random.
    """
    random = np.random.default_rng(0)
    ward = random.integers(0, 8, num_patients)
    missing = random.random(num_patients) < 0.4
    split = np.array(["train", "train", "train", "val", "test"])[np.arange(num_patients) % 5]
    stray = random.normal(size=num_patients)
    stray[(split != "train") & (random.random(num_patients) < 0.5)] = np.nan
    label = ward % num_classes if label_of == "ward" else missing.astype(int)
    wrong = random.random(num_patients) < noise
    label = np.where(wrong, random.integers(0, num_classes, num_patients), label)
    frame = pd.DataFrame(
        {
            "id": np.arange(num_patients),
            "ward": [f"w{w}" for w in ward],
            "x": np.where(missing, np.nan, random.normal(size=num_patients)),
            "stray": stray,
            "label": [f"c{c}" for c in label],
            "split": split,
        }
    )
    if label_of == "missing":
        frame.loc[random.random(num_patients) < 0.1, "ward"] = None
    frame.loc[frame["split"] == "test", "ward"] = frame["ward"].replace("w7", "new")
    return cohort_from_frame(frame.dropna(how="all", subset=["ward", "x", "stray"]), _spec())


def _spec() -> CohortSpec:
    cohort = {"name": "wards", "table": "wards.csv", "id": "id", "label": "label"}
    columns = {"where": ["ward"], "what": ["x", "stray"]}
    modalities = {name: {"kind": "tabular", "columns": names} for name, names in columns.items()}
    data = {
        "cohort": {**cohort, "task": "multiclass"},
        "split": {"column": "split"},
        "modalities": modalities,
    }
    return spec_from_dict(data, root=Path())


def fit(name: str, cohort: Cohort, *overrides: str, out: Path | None = None) -> Run:
    method = BASELINES[name]
    return fit_run(cohort, method, with_overrides(method.default_settings(), overrides), out=out)


def num_trees(run: Run) -> int:
    booster = run.predictor.booster  # pyright: ignore[reportAttributeAccessIssue]
    counts = {
        "lightgbm": lambda: booster.best_iteration or booster.num_trees(),
        "xgboost": lambda: booster.num_boosted_rounds(),
        "catboost": lambda: booster.tree_count_,
    }
    return max(counts[run.settings.method](), 0)


def accuracy(run: Run, cohort: Cohort, split: str) -> float:
    """Share of patients on the right side of the mean prediction."""
    found = run.predictions(split, cohort)
    prob_N, label_N = found["prob_c1"].to_numpy(), found["label"].to_numpy()
    return float(np.mean((prob_N > prob_N.mean()) == (label_N == "c1")))


def loss(run: Run, cohort: Cohort, split: str = "val") -> float:
    found = run.predictions(split, cohort)
    names = [f"prob_{name}" for name in cohort.classes]
    return float(log_loss(found["label"], found[names].to_numpy(), labels=list(cohort.classes)))


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_a_run_opens_again_and_predicts_to_the_same_bits(
    name: str, num_classes: int, tmp_path: Path
) -> None:
    """One file in the library's own format; an unknown ward and a new gap are predicted too."""
    cohort = wards("ward", num_classes)
    run = fit(name, cohort, "trees=100", "learning_rate=0.1", out=tmp_path / "run")
    assert (tmp_path / "run" / FILES[name]).is_file()
    found = run.predictions("test", cohort)
    again = open_run(tmp_path / "run", BASELINES).predictions("test", cohort)
    pd.testing.assert_frame_equal(again, found, check_exact=True)
    prob_NC = found[[f"prob_c{c}" for c in range(num_classes)]].to_numpy()
    assert np.isfinite(prob_NC).all()
    assert prob_NC.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert loss(run, cohort) < 0.4


@pytest.mark.parametrize("name", NAMES)
def test_one_split_takes_any_set_of_categories(name: str) -> None:
    """Odd wards against even ones: a threshold on a code would do little better than chance."""
    cohort = wards("ward")
    run = fit(name, cohort, "trees=1", "subsample=1", "column_subsample=1", *ONE_SPLIT[name])
    assert accuracy(run, cohort, "val") > 0.8


@pytest.mark.parametrize("name", NAMES)
def test_one_split_tells_a_missing_number(name: str) -> None:
    cohort = wards("missing")
    run = fit(name, cohort, "trees=1", "subsample=1", "column_subsample=1", *ONE_SPLIT[name])
    assert accuracy(run, cohort, "test") > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_validation_chooses_the_number_of_trees(name: str) -> None:
    """Stopping early beats growing on; without validation 250 trees are grown."""
    cohort = wards("ward", noise=0.5)
    early = fit(name, cohort, "learning_rate=0.1", "stopping_rounds=10")
    assert 1 < num_trees(early) < 250
    train = cohort.select(cohort.rows("train"))
    longer = fit(name, train, "learning_rate=0.1")
    assert num_trees(longer) == 250
    assert loss(early, cohort) < loss(longer, cohort)


@pytest.mark.parametrize("name", ["xgboost", "catboost"])
def test_an_absent_library_is_asked_for_by_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = wards("ward", num_patients=100)
    fit(name, cohort, "trees=2", out=tmp_path / "run")
    monkeypatch.setitem(sys.modules, name, None)
    says = (
        f"the method {name} needs {name}, which is not installed: pip install 'remind-med[trees]'"
    )
    with pytest.raises(InputError) as fitting:
        fit(name, cohort)
    with pytest.raises(InputError) as opening:
        open_run(tmp_path / "run", BASELINES)
    assert str(fitting.value) == str(opening.value) == says


def test_catboost_cannot_learn_from_one_class() -> None:
    cohort = wards("ward", num_patients=100)
    assert cohort.label_N is not None
    rows = np.flatnonzero((cohort.label_N == 0) | (cohort.split != "train"))
    with pytest.raises(InputError) as caught:
        fit("catboost", cohort.select(rows))
    assert str(caught.value) == (
        "catboost cannot learn from these training patients: Target contains only one unique value"
    )


@pytest.mark.parametrize(
    ("name", "override", "says"),
    [
        ("lightgbm", "leaves=1", "leaves must be a whole number >= 2, got 1"),
        ("xgboost", "trees=0", "trees must be a whole number >= 1, got 0"),
        ("xgboost", "l2=-1", "l2 must be a number >= 0, got -1.0"),
        ("catboost", "depth=17", "depth must be a number >= 1 and <= 16, got 17"),
        ("catboost", "subsample=0", "subsample must be a number > 0 and <= 1, got 0.0"),
    ],
)
def test_a_setting_out_of_range_is_one_sentence(name: str, override: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        with_overrides(BASELINES[name].default_settings(), [override])
    assert str(caught.value) == says
