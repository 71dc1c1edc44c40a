"""RemindClassifier does what scikit-learn expects of a classifier, with missing modalities."""

import pickle
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import remind
from remind import RemindClassifier

SMALL = {
    "epochs": 15,
    "width": 16,
    "embedding_rank": 4,
    "members": 2,
    "hidden": 16,
    "experts": 2,
    "batch_size": 32,
    "lr": 0.02,
    "device": "cpu",
}
MODALITIES = {"vitals": ["hr", "map"], "labs": ["lactate"], "ward": ["unit"]}

# A check that does not hold -> why; scikit-learn's parameter of the same name.
expected_failed_checks = {
    "check_methods_subset_invariance": "it allows 1e-7, which products in float32 round beyond; "
    "see test_company_does_not_matter"
}


def small(**params: Any) -> RemindClassifier:
    """A classifier that trains in a blink; its `settings` are on top of the small ones."""
    settings = {**SMALL, "epochs": 4, **params.pop("settings", {})}
    return RemindClassifier(settings=settings, **params)


def patients(num: int = 240) -> tuple[pd.DataFrame, np.ndarray]:
    """Numbers and text in three modalities; rows lack labs, or ward, never both, or neither."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(num, 3)), columns=["hr", "map", "lactate"])
    frame["unit"] = rng.choice(["icu", "stroke"], num)
    label_N = np.where(frame["hr"] + (frame["unit"] == "icu") > 0.5, "died", "alive")
    frame.loc[rng.random(num) < 0.1, "map"] = np.nan
    lacks_N = rng.integers(0, 3, num)
    frame.loc[lacks_N == 0, "lactate"] = np.nan
    frame.loc[lacks_N == 1, "unit"] = None
    return frame, label_N


@parametrize_with_checks(
    [RemindClassifier(settings=SMALL)],
    expected_failed_checks=lambda _: expected_failed_checks,
    xfail_strict=False,  # how products round goes by the threads that there are
)
def test_scikit_learn(estimator: RemindClassifier, check: Any) -> None:
    check(estimator)


def test_company_does_not_matter() -> None:
    """A patient has the same probability alone as among others, to the rounding of float32."""
    X, y = patients()
    classifier = small().fit(X, y)
    together = classifier.predict_proba(X)
    alone = np.concatenate([classifier.predict_proba(X.iloc[[i]]) for i in range(30)])
    np.testing.assert_allclose(alone, together[:30], rtol=0, atol=1e-6)
    order = np.random.default_rng(1).permutation(len(X))
    shuffled = classifier.predict_proba(X.iloc[order])
    np.testing.assert_allclose(shuffled, together[order], rtol=0, atol=1e-6)


@pytest.mark.parametrize("preset", ["default", "paper", "transformer"])
def test_presets_survive_pickle(preset: str) -> None:
    """Every preset predicts the same probabilities after a pickle, and keeps its history."""
    X, y = patients()
    settings = {"epochs": 2, "experts": 4, "width": 16, "hidden": 16, "device": "cpu"}
    classifier = RemindClassifier(preset=preset, settings=settings).fit(X, y)
    again = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(again.predict_proba(X), classifier.predict_proba(X))
    assert again.run_.history.metrics == classifier.run_.history.metrics


@pytest.mark.parametrize(
    ("preset", "objective"), [("default", "long_tail_dro"), ("paper", "paper")]
)
def test_objectives_see_the_combinations(preset: str, objective: str) -> None:
    """The groups of a robust objective are the combinations of the modalities given."""
    X, y = patients()
    classifier = small(preset=preset, modalities=MODALITIES, objective=objective).fit(X, y)
    assert classifier.run_.settings.objective == objective
    names = classifier.run_.encoding.groups.names(classifier.run_.encoding.groups.patterns_GM)
    assert set(names) == {"vitals+labs", "vitals+ward", "vitals+labs+ward"}


def test_learns_numbers_and_text() -> None:
    X, y = patients(600)
    is_train_N = np.arange(600) < 400
    classifier = RemindClassifier(modalities=MODALITIES, settings=SMALL)
    classifier.fit(X[is_train_N], y[is_train_N])
    assert classifier.classes_.tolist() == ["alive", "died"]
    assert classifier.feature_names_in_.tolist() == ["hr", "map", "lactate", "unit"]
    assert classifier.score(X[~is_train_N], y[~is_train_N]) > 0.8


def test_polars_as_pandas() -> None:
    """polars frames, nulls and text included, train and predict the same to the bit."""
    X, y = patients()
    as_polars = pl.from_pandas(X)
    expected = small(modalities=MODALITIES).fit(X, y).predict_proba(X)
    classifier = small(modalities=MODALITIES).fit(as_polars, pl.Series(y))
    np.testing.assert_array_equal(classifier.predict_proba(as_polars), expected)
    np.testing.assert_array_equal(classifier.predict_proba(X), expected)


def test_array_as_frame() -> None:
    """An array's columns are x0, x1, …; NaN is missing."""
    X = patients()[0][["hr", "map", "lactate"]].to_numpy()
    y = X[:, 0] > 0
    modalities = {"vitals": ["x0", "x1"], "labs": ["x2"]}
    from_array = small(modalities=modalities).fit(X, y)
    frame = pd.DataFrame(X, columns=["x0", "x1", "x2"])
    from_frame = small(modalities=modalities).fit(frame, y)
    np.testing.assert_array_equal(from_array.predict_proba(X), from_frame.predict_proba(frame))
    assert from_array.predict(X).dtype == bool


def test_categories_that_are_no_text() -> None:
    """Intervals, numbers and mixed objects are the categories that their text is."""
    X, y = patients()
    X["bin"] = pd.cut(X["hr"].where(X.index % 5 > 0), [-9.0, 0.0, 1.0, 9.0])
    X["interval"] = X["bin"].astype(X["bin"].cat.categories.dtype)
    X["score"] = (X.index % 40 / 2).astype("category")
    X["mixed"] = pd.Series(np.resize(np.array([1, "a", None], dtype=object), 240)).astype(
        "category"
    )
    text = X["bin"].astype(object).map(str, na_action="ignore")
    classifier = small().fit(X, y)
    columns = {c.name: c for c in classifier.run_.encoding.schemas["tabular"].columns}
    bins = ("(-9.0, 0.0]", "(0.0, 1.0]", "(1.0, 9.0]")
    assert columns["bin"].categories == columns["interval"].categories == bins
    assert len(columns["score"].categories) == 40
    assert columns["mixed"].categories == ("1", "a")
    as_text = classifier.predict_proba(X.assign(bin=text, interval=text))
    np.testing.assert_array_equal(as_text, classifier.predict_proba(X))


def test_sparse_columns_are_read_as_dense_ones() -> None:
    X, y = patients()
    X = X[["hr", "lactate"]].assign(on=(X.index % 4 == 0).astype(float))
    sparse = X.assign(
        on=X["on"].astype(pd.SparseDtype(float, 0.0)),
        lactate=X["lactate"].astype(pd.SparseDtype(float, np.nan)),
    )
    expected = small().fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(small().fit(sparse, y).predict_proba(sparse), expected)


def test_unseen_combination() -> None:
    """A combination that training never saw is predicted, and the rest does not notice."""
    X, y = patients()
    classifier = small(modalities=MODALITIES).fit(X, y)
    unseen = X.assign(hr=np.nan, map=np.nan)[X["lactate"].notna() & X["unit"].notna()]
    prob_NC = classifier.predict_proba(unseen)
    assert classifier.run_.encoding.groups.ids(np.array([[False, True, True]])) == [-1]
    np.testing.assert_allclose(prob_NC.sum(axis=1), 1)
    both = classifier.predict_proba(pd.concat([unseen, X]))
    np.testing.assert_allclose(both[len(unseen) :], classifier.predict_proba(X), atol=1e-6)


def test_pipeline() -> None:
    """In a pipeline whose steps hand frames on, the names of the columns stay known."""
    X, y = patients()
    X = X[["hr", "map", "lactate"]]
    modalities = {"vitals": ["hr", "map"], "labs": ["lactate"]}
    pipeline = make_pipeline(StandardScaler(), small(modalities=modalities))
    pipeline.set_output(transform="pandas").fit(X, y)
    assert pipeline.predict(X).shape == (240,)
    assert pipeline[-1].feature_names_in_.tolist() == list(X.columns)


def test_cross_validation() -> None:
    """In other processes the scores are those of this one."""
    X, y = patients()
    classifier = small(modalities=MODALITIES)
    here, there = (
        cross_val_score(classifier, X, y, cv=2, scoring="neg_log_loss", n_jobs=jobs)
        for jobs in (1, 2)
    )
    np.testing.assert_allclose(there, here, rtol=1e-4)


def test_a_modality_that_no_row_to_train_on_has() -> None:
    """It is left out of the fit, and of predictions as if it were unobserved."""
    X, y = patients()
    modalities = {**MODALITIES, "heart": ["troponin"]}
    X["troponin"] = np.nan
    with pytest.warns(UserWarning, match='no row to train on has the modality "heart"'):
        classifier = small(modalities=modalities).fit(X, y)
    assert classifier.run_.encoding.modalities == ("vitals", "labs", "ward")
    expected = classifier.predict_proba(X)
    np.testing.assert_array_equal(classifier.predict_proba(X.assign(troponin=9.0)), expected)
    np.testing.assert_array_equal(small(modalities=MODALITIES).fit(X, y).predict_proba(X), expected)

    X.loc[0, "troponin"] = 1.0  # in no fold but those that train on the first row
    with pytest.warns(UserWarning, match="heart"):
        scores = cross_val_score(small(modalities=modalities), X, y, cv=3, error_score="raise")
    assert np.isfinite(scores).all()


def test_seed() -> None:
    """The seed fixes the fit; global generators are neither read nor moved."""
    X, y = patients()
    prob_NC = small(seed=1).fit(X, y).predict_proba(X)
    np.random.seed(5)
    torch.manual_seed(5)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    again = clone(small(seed=np.int64(1))).fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(X), prob_NC)
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])
    assert torch.equal(torch.get_rng_state(), before[1])
    assert (small(seed=2).fit(X, y).predict_proba(X) != prob_NC).any()
    drawn = small(seed=np.random.RandomState(3)).fit(X, y).run_.settings.seed
    assert drawn == np.random.RandomState(3).randint(2**31 - 1)


@pytest.mark.parametrize(
    ("num", "val", "num_val"), [(240, 0.15, 36), (240, 0.0, 0), (100, 0.15, 0), (100, 0.2, 20)]
)
def test_validation(num: int, val: float, num_val: int) -> None:
    """The share is held out, unless it comes to fewer than 20 rows: then nobody is."""
    X, y = patients(num)
    classifier = small(val=val).fit(X, y)
    assert classifier.run_.encoding.groups.counts_G.sum() == num - num_val
    measured = [line["val_log_loss"] is not None for line in classifier.run_.history.metrics]
    assert all(measured) if num_val else not any(measured)


def test_persons_stay_together() -> None:
    """With groups, whole persons are held out: 15 % of 160 persons with two rows each."""
    X, y = patients(320)
    classifier = small().fit(X, y, groups=np.repeat(np.arange(160), 2))
    assert classifier.run_.encoding.groups.counts_G.sum() == 320 - 2 * 24


def test_columns_named_like_roles() -> None:
    X, y = patients()
    X.columns = ["id", "label", "groups", "id_"]
    assert small().fit(X, y, groups=np.arange(240)).predict(X).shape == (240,)


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        (
            {"preset": "defualt"},
            'no preset "defualt"; did you mean "default"? (there are default, paper, transformer)',
        ),
        ({"objective": "group_dor"}, 'no objective "group_dor"; did you mean "group_dro"'),
        ({"settings": {"epoch": 3}}, 'no setting "epoch"; did you mean "epochs"'),
        (
            {"settings": {"seed": 3}},
            'settings hold "seed", which is a parameter of its own: give seed=... instead',
        ),
        ({"modalities": {"vitals": ["hr", "mapp"]}}, 'the frame has no column "mapp"'),
        ({"modalities": [["hr"]]}, "modalities must be names with lists of columns"),
        ({"modalities": {"vitals": "hr"}}, "got {'vitals': 'hr'}"),
        ({"val": -0.5}, "RemindClassifier: [split] val should be greater than or equal to 0"),
        ({"val": 1.5}, "RemindClassifier: [split] val should be less than 1, got 1.5"),
    ],
)
def test_wrong_parameters(params: dict[str, Any], sentence: str) -> None:
    X, y = patients()
    with pytest.raises(ValueError, match=re.escape(sentence)):
        small(**params).fit(X, y)


def test_wrong_rows() -> None:
    X, y = patients()
    classifier = small(modalities=MODALITIES).fit(X, y)
    empty = X.assign(hr=np.nan, map=np.nan, lactate=np.nan, unit=None)
    with pytest.raises(ValueError, match=r"patients have no modality at all .*: leave such rows"):
        classifier.predict_proba(empty)
    with pytest.raises(ValueError, match='but y has one class, "alive"'):
        classifier.fit(X, np.full(len(X), "alive"))
    with pytest.raises(ValueError, match='row 1: column "hr" holds "high", but it is a') as caught:
        classifier.predict(X.assign(hr="high"))
    assert str(caught.value).endswith("or leave the cell empty if it is missing")  # no cohort.toml


@pytest.mark.parametrize("is_category", [False, True])
def test_periods_are_dates(is_category: bool) -> None:
    X, y = patients()
    X["month"] = pd.Series(pd.period_range("2020-01", periods=240, freq="M"))
    if is_category:
        X["month"] = X["month"].astype("category")
    with pytest.raises(ValueError, match='column "month" holds dates or times; give a number'):
        small().fit(X, y)


def test_identifiers_are_told() -> None:
    X, y = patients()
    with pytest.warns(UserWarning, match="240 categories for 240 .* of other patients: leave it o"):
        small().fit(X.assign(unit=[f"bed {n}" for n in range(240)]), y)


def test_import_is_lazy() -> None:
    """The package alone, and the evaluation of predictions, load no torch."""
    code = "import sys, remind, remind.evaluation; print(remind.__all__, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{remind.__all__} False"
    with pytest.raises(AttributeError, match="no attribute 'RemindClasifier'"):
        _ = remind.RemindClasifier
