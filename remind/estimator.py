"""RemindClassifier: the front door for whoever has a table in memory and knows scikit-learn."""

# N rows, C classes

import numbers
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from remind.cohort import Cohort, CohortSpec, cohort_from_frame, spec_from_dict
from remind.errors import InputError, did_you_mean
from remind.methods import METHODS
from remind.training import NeuralPredictor, Run, Settings, fit_run, with_overrides

PRESETS = ("default", "paper", "transformer")
FEWEST_VALIDATED = 20
"""Rows below which a validation set is noise, so that none is held out."""


class RemindClassifier(ClassifierMixin, BaseEstimator):
    """A group-robust classifier of rows with missing modalities.

    A modality of a row is missing when all of its columns are; a row needs one at least. Which
    modalities a row has is its group: robust objectives are robust to these, and a combination that
    training never saw can be predicted as well. Text is a category; an array is all numbers.

    Args:
        modalities: name -> its columns; columns of none are not used. The columns of an array are
            x0, x1 and so on. None makes every column a modality of its own. One that no row to
            train on has, as in a fold without the patients of a rare test, is left out with a
            warning, and not used by `predict_proba` either.
        objective: key of `remind.objectives.OBJECTIVES`; None takes the preset's own.
        preset: "default", "paper" (SoftMoE by groups) or "transformer".
        settings: other settings, as `remind fit --set` takes them: ``{"epochs": 5}``.
        val: share of rows (of persons, with groups) that the best epoch is chosen by, in [0, 1),
            alike in class and frequency of combination. Where it comes to fewer than 20, none are
            held out, all epochs run and the last one counts.
        seed: fixes everything that is random: a whole number, a RandomState, or None.

    Attributes:
        classes_: (C,) labels in order.
        n_features_in_: number of columns.
        feature_names_in_: their names, if they had any.
        run_: what was fitted; ``run_.predictor.model`` is the torch module.
    """

    def __init__(
        self,
        modalities: Mapping[str, Sequence[str]] | None = None,
        objective: str | None = None,
        preset: str = "default",
        settings: Mapping[str, Any] | None = None,
        val: float = 0.15,
        seed: int | np.random.RandomState | None = 0,
    ) -> None:
        self.modalities = modalities
        self.objective = objective
        self.preset = preset
        self.settings = settings
        self.val = val
        self.seed = seed

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Learn from labelled rows.

        Args:
            X: pandas or polars frame, or array; NaN and null are missing.
            y: (N,) labels.
            groups: (N,) persons, whose rows stay on one side of the validation split; None for one
                row per person.

        Raises:
            ValueError: parameters, columns or values that do not fit; one sentence.
        """
        seed = _whole(self.seed)
        settings = self._settings(seed)
        y = validate_data(self, "no_validation", y)
        frame = self._frame(X, reset=True)
        check_consistent_length(frame, y, groups)
        check_classification_targets(y)
        self.classes_, label_N = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(
                f"{type(self).__name__} needs rows of two classes at least, but y has one class, "
                f'"{self.classes_[0]}"'
            )
        cohort = self._cohort(frame, label_N, groups, seed)
        self.run_ = fit_run(cohort, METHODS[self.preset], settings)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """(N, C) probabilities, in the order of `classes_`.

        Raises:
            ValueError: other columns than in training, or a row without any modality.
        """
        check_is_fitted(self)
        frame = self._frame(X, reset=False)
        spec = self.run_.spec
        table = frame.assign(**{spec.cohort.id: np.arange(len(frame))})
        cohort = cohort_from_frame(table, spec, encoding=self.run_.encoding)
        return self.run_.predictor.predict_proba(cohort)

    def predict(self, X: Any) -> np.ndarray:
        """(N,) the most probable class of each row."""
        prob_NC = self.predict_proba(X)
        return self.classes_[prob_NC.argmax(axis=1)]

    def __getstate__(self) -> dict[str, Any]:
        """A pickle holds the weights as a run folder does, not the model's code."""
        state = self.__dict__.copy()
        if "run_" in state:
            state["run_"] = _packed(state["run_"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "run_" in state:
            self.run_ = _unpacked(state["run_"])

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _settings(self, seed: int) -> Settings:
        if self.preset not in PRESETS:
            near = did_you_mean(str(self.preset), PRESETS)
            raise InputError(f'no preset "{self.preset}"{near} (there are {", ".join(PRESETS)})')
        settings = dict(self.settings or {})
        for key in ("objective", "seed"):
            if key in settings:
                raise InputError(
                    f'settings hold "{key}", which is a parameter of its own: '
                    f"give {key}=... instead"
                )
        values = {**settings, "seed": seed}
        if self.objective is not None:  # first, for it brings its own options
            values = {"objective": self.objective, **values}
        pairs = [f"{key}={_text(value)}" for key, value in values.items()]
        return with_overrides(METHODS[self.preset].default_settings(), pairs)

    def _frame(self, X: Any, *, reset: bool) -> pd.DataFrame:
        """The columns of X under the names that they had in training."""
        if _is_frame(X):
            validate_data(self, X, skip_check_array=True, reset=reset)
            frame = X if isinstance(X, pd.DataFrame) else _from_polars(X)
        else:
            x_NF = validate_data(
                self, X, reset=reset, dtype=[np.float64, np.float32], ensure_all_finite="allow-nan"
            )
            frame = pd.DataFrame(x_NF)
        return frame.set_axis(self._names(frame.shape[1]), axis=1)

    def _names(self, num_columns: int) -> list[str]:
        names = getattr(self, "feature_names_in_", None)
        return [f"x{i}" for i in range(num_columns)] if names is None else names.tolist()

    def _cohort(self, frame: pd.DataFrame, label_N: np.ndarray, groups: Any, seed: int) -> Cohort:
        names = frame.columns.tolist()
        roles = {_free("id", names): np.arange(len(frame)), _free("label", names): label_N}
        if groups is not None:
            roles[_free("groups", names)] = np.asarray(groups)
        num_units = len(frame) if groups is None else pd.Series(np.asarray(groups)).nunique()
        val = 0.0 if 0 < self.val * num_units < FEWEST_VALIDATED else self.val
        split = {"val": val, "test": 0.0, "seed": seed}
        spec = self._spec(names, list(roles), split)
        cohort = cohort_from_frame(frame.assign(**roles), spec, leave_out_untrained=True)
        for name in spec.modalities:
            if name not in cohort.spec.modalities:
                warnings.warn(
                    f'no row to train on has the modality "{name}": it is left out', stacklevel=3
                )
        return cohort

    def _spec(self, names: list[str], roles: list[str], split: dict[str, Any]) -> CohortSpec:
        modalities = {name: [name] for name in names}
        if self.modalities is not None:
            modalities = _columns_by_name(self.modalities)
        source = type(self).__name__
        cohort = {
            **dict(zip(("id", "label", "group_by"), roles, strict=False)),
            "name": source,
            "table": source,  # there is none
            "task": "binary" if len(self.classes_) == 2 else "multiclass",
        }
        sections = {
            name: {"kind": "tabular", "columns": columns} for name, columns in modalities.items()
        }
        content = {"cohort": cohort, "split": split, "modalities": sections}
        return spec_from_dict(content, root=Path(), source=source)


def _columns_by_name(modalities: Any) -> dict[str, list[str]]:
    if isinstance(modalities, Mapping) and all(
        isinstance(name, str) and isinstance(columns, Iterable) and not isinstance(columns, str)
        for name, columns in modalities.items()
    ):
        return {name: list(columns) for name, columns in modalities.items()}
    raise InputError(
        'modalities must be names with lists of columns, such as {"vitals": ["hr", "map"]}, '
        f"got {modalities!r}"
    )


def _packed(run: Run) -> dict[str, Any]:
    """The run, with the files of its model in place of the model."""
    with tempfile.TemporaryDirectory() as name:
        run.predictor.save(Path(name))
        files = {file.name: file.read_bytes() for file in Path(name).iterdir()}
    parts = {item.name: getattr(run, item.name) for item in fields(run) if item.name != "predictor"}
    return {"parts": parts, "files": files, "history": run.history}


def _unpacked(packed: dict[str, Any]) -> Run:
    parts = packed["parts"]
    settings, encoding = parts["settings"], parts["encoding"]
    with tempfile.TemporaryDirectory() as name:
        for file, content in packed["files"].items():
            (Path(name) / file).write_bytes(content)
        predictor = METHODS[settings.method].load(Path(name), encoding, settings)
    assert isinstance(predictor, NeuralPredictor)
    predictor.history = packed["history"]
    return Run(**parts, predictor=predictor)


def _whole(seed: Any) -> int:
    if isinstance(seed, numbers.Integral):
        return int(seed)
    return int(check_random_state(seed).randint(2**31 - 1))


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool | np.bool_) else str(value)


def _free(name: str, taken: Iterable[str]) -> str:
    """The name, or a longer one if a column has it."""
    while name in taken:
        name += "_"
    return name


def _is_frame(X: Any) -> bool:
    return isinstance(X, pd.DataFrame) or (hasattr(X, "to_pandas") and hasattr(X, "columns"))


def _from_polars(X: Any) -> pd.DataFrame:
    return X.to_pandas(use_pyarrow_extension_array=True)
