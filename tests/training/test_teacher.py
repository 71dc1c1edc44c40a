"""Learning from trees that have not seen the patient."""

# N patients, B patients of a batch, K members, C classes

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from remind.baselines import teacher
from remind.baselines.lightgbm import fit_lightgbm
from remind.baselines.teacher import out_of_fold_trees
from remind.cohort import Cohort, Encoding, cohort_from_frame, spec_from_dict
from remind.errors import InputError
from remind.training import PlainProgress, fit_run, patient_losses
from remind.training.teacher import ENOUGH, Teacher, taught_losses
from tests.training.toy import same_bytes, small_config, toy_cohort, toy_method

CPU = torch.device("cpu")


def people(*, copies: int, n: int = 300) -> Cohort:
    """Persons with one number each, which says nothing of the label; `copies` rows of each."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"person": np.arange(n), "x": rng.normal(size=n)})
    frame["label"] = rng.permutation(np.arange(n) % 2)
    frame["split"] = np.where(np.arange(n) % 5, "train", "val")
    frame = pd.concat([frame] * copies, ignore_index=True)
    frame["id"] = np.arange(len(frame))
    content = {
        "cohort": {
            "name": "people",
            "table": "p.csv",
            "id": "id",
            "label": "label",
            "task": "binary",
            "group_by": "person",
        },
        "split": {"column": "split"},
        "modalities": {"lab": {"kind": "tabular", "columns": ["x"]}},
    }
    return cohort_from_frame(frame, spec_from_dict(content, root=Path(), source="test"))


@pytest.mark.parametrize("copies", [1, 3])
def test_the_trees_have_not_seen_whom_they_predict_nor_another_row_of_the_person(
    copies: int,
) -> None:
    """Labels that are noise cannot be told; trees that had seen a copy would tell them all."""
    cohort = people(copies=copies)
    rows = cohort.rows("train")
    prob_NC = out_of_fold_trees(cohort, Encoding.fit(cohort, rows), seed=0)
    assert prob_NC is not None
    assert cohort.label_N is not None
    auroc = roc_auc_score(cohort.label_N[rows], prob_NC[rows, 1])
    assert 0.3 < auroc < 0.65
    val = np.concatenate([rows, cohort.rows("val")])
    assert np.allclose(prob_NC[val].sum(axis=1), 1, atol=1e-6)


def test_tables_in_memory_are_bounded_and_everyone_is_predicted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[tuple[int, int]] = []

    def fit(*args: Any, train_rows: np.ndarray, val_rows: np.ndarray, seed: int) -> Any:
        sizes.append((len(train_rows), len(val_rows)))
        return fit_lightgbm(*args, train_rows=train_rows, val_rows=val_rows, seed=seed)

    cohort = people(copies=2)
    monkeypatch.setattr(teacher, "MOST_ROWS", 100)
    monkeypatch.setattr(teacher, "fit_lightgbm", fit)
    prob_NC = out_of_fold_trees(cohort, Encoding.fit(cohort, cohort.rows("train")), seed=0)
    assert sizes == [(100, 100)] * 5
    assert prob_NC is not None
    assert np.isfinite(prob_NC).all()


def test_too_few_patients_have_no_teacher() -> None:
    cohort = people(copies=1, n=5)
    few = cohort.select(cohort.rows("train")[:2])
    labels = replace(few, label_N=np.array([0, 1]))
    assert out_of_fold_trees(labels, Encoding.fit(labels, np.arange(2)), seed=0) is None


def test_three_patients_have_trees_of_one_or_two() -> None:
    cohort = people(copies=1, n=5)
    few = cohort.select(cohort.rows("train")[:3])
    labels = replace(few, label_N=np.array([0, 0, 1]))
    prob_NC = out_of_fold_trees(labels, Encoding.fit(labels, np.arange(3)), seed=0)
    assert prob_NC is not None
    assert np.isfinite(prob_NC).all()


@pytest.mark.parametrize(("persons", "num_folds"), [(1, None), (2, 2), (3, 3), (7, 5)])
def test_few_persons_with_many_rows_are_as_many_folds(
    persons: int, num_folds: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One person alone has no teacher."""
    fits: list[int] = []

    def fit(*args: Any, train_rows: np.ndarray, val_rows: np.ndarray, seed: int) -> Any:
        fits.append(len(train_rows))
        return fit_lightgbm(*args, train_rows=train_rows, val_rows=val_rows, seed=seed)

    monkeypatch.setattr(teacher, "fit_lightgbm", fit)
    cohort = people(copies=30)
    rows = np.flatnonzero(np.isin(cohort.person, cohort.person[cohort.rows("train")][:persons]))
    few = cohort.select(np.concatenate([rows, cohort.rows("val")]))
    prob_NC = out_of_fold_trees(few, Encoding.fit(few, few.rows("train")), seed=0)
    if num_folds is None:
        assert prob_NC is None
    else:
        assert len(fits) == num_folds
        assert prob_NC is not None
        assert np.isfinite(prob_NC).all()


def test_the_loss_is_the_cross_entropy_to_the_mixed_target() -> None:
    torch.manual_seed(0)
    logits_BKC = torch.randn(5, 3, 4, dtype=torch.float64)
    label_B = torch.randint(4, (5,))
    prob_BC = torch.rand(5, 4, dtype=torch.float64).softmax(1)
    own_B = patient_losses(logits_BKC, label_B)
    torch.testing.assert_close(taught_losses(logits_BKC, label_B, prob_BC, 0.0), own_B)
    log_prob_BKC = logits_BKC.log_softmax(2)
    of_teacher_B = -(prob_BC[:, None] * log_prob_BKC).sum(2).mean(1)
    expected_B = 0.7 * own_B + 0.3 * of_teacher_B
    torch.testing.assert_close(taught_losses(logits_BKC, label_B, prob_BC, 0.3), expected_B)


def test_a_teacher_is_heard_as_long_as_it_is_not_behind() -> None:
    prob_NC = np.full((4, 2), 0.5, dtype=np.float32)
    label_N = np.array([0, 1, 1, 0])
    heard = Teacher(prob_NC, label_N, np.array([2, 3]), share=0.5)
    loss = float(np.log(2))
    assert heard.val_loss == pytest.approx(loss)
    assert heard.share(None) == heard.share(2 * loss) == heard.share(loss) == 0.5
    halfway = heard.share(loss / (1 + ENOUGH / 2))
    assert halfway == pytest.approx(0.25)
    assert heard.share(loss / (1 + 2 * ENOUGH)) == 0.0
    alone = Teacher(prob_NC, label_N, np.array([], dtype=int), share=0.5)
    assert alone.share(1e-3) == 0.5
    assert heard.of(np.array([1]), CPU).tolist() == [[0.5, 0.5]]


class _Stopper(PlainProgress):
    """Interrupts after the second epoch."""

    def on_epoch(self, metrics: Any) -> None:
        if metrics["epoch"] == 2:
            raise KeyboardInterrupt


def test_a_taught_run_differs_and_is_resumed_to_the_same_bits(tmp_path: Path) -> None:
    cohort = toy_cohort()
    method = replace(toy_method(small_config(teacher=0.5)), teach=out_of_fold_trees)
    fit_run(cohort, method, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit_run(cohort, method, out=tmp_path / "cut", progress=_Stopper())
    fit_run(cohort, method, out=tmp_path / "cut", resume=True)
    fit_run(cohort, toy_method(small_config()), out=tmp_path / "alone")
    weights = [tmp_path / name / "model.safetensors" for name in ("whole", "cut", "alone")]
    assert same_bytes(weights[0], weights[1])
    assert not same_bytes(weights[0], weights[2])


def test_a_method_without_a_teacher_says_so() -> None:
    with pytest.raises(InputError, match="toy has no teacher: set teacher=0"):
        fit_run(toy_cohort(), toy_method(small_config(teacher=0.5)))
