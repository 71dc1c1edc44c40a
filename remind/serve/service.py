"""A fitted run that answers requests: predictions, each with what speaks for and against it."""

# N patients, C classes

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pandas as pd

from remind.cohort.outside import outside
from remind.errors import InputError
from remind.evaluation import read_predictions, write_predictions
from remind.evaluation.conformal import prediction_sets
from remind.run_files import EVALUATION
from remind.serve.card import model_card
from remind.serve.depth import (
    classes_held,
    found_of,
    judge,
    measured,
    outside_reasons,
    unseen_reason,
)
from remind.serve.request import RequestReader, request_folder
from remind.training import Run
from remind.training.files import read_json

ALPHA = 0.1
"""Share of patients whose prediction set may miss the true class."""


class Service:
    """A run that predicts patients as they come; one request at a time.

    Args:
        run: opened from its folder.
        tell: is told, a sentence each, what the service cannot do with this run.
    """

    def __init__(self, run: Run, tell: Callable[[str], object]) -> None:
        self.run = run
        self.reader = RequestReader(run.spec, run.encoding)
        self._lock = Lock()
        self._evaluation = _evaluation(run, tell)
        self._calibration = _calibration(run, tell)
        self.card = model_card(run, self._evaluation, has_sets=self._calibration is not None)

    def predict(self, request: Any) -> dict[str, Any]:
        """Predict the patients of a request, in their order.

        Args:
            request: of `self.reader.model`.

        Returns:
            JSON: ``predictions``, with id, probabilities by class, group, n_train, band, verdict,
            reasons, prediction_set and measured (see `remind.serve.depth`); ``notes``, what was
            passed over.

        Raises:
            InputError: the patients cannot be read.
        """
        with self._lock, request_folder() as name, _cache(Path(name) / "cache"):
            folder = Path(name) / "tables"
            folder.mkdir()
            received = self.reader.read(request, folder)
            frame = self.run.predict(received.cohort)
            found = found_of(
                outside(self.run.encoding, received.cohort).found, len(received.cohort)
            )
        sets = self._sets(frame)
        predictions = [
            {"id": sent, **self._prediction(row, one, outside_reasons(found[row]), present_M, sets)}
            for row, (sent, one, present_M) in enumerate(
                zip(received.ids, frame.to_dict("records"), received.cohort.present_NM, strict=True)
            )
        ]
        return {"predictions": predictions, "notes": received.notes}

    def _sets(self, frame: pd.DataFrame) -> np.ndarray | None:
        if self._calibration is None:
            return None
        return prediction_sets(self._calibration, frame, alpha=ALPHA)

    def _prediction(
        self,
        row: int,
        found: Mapping[Any, Any],
        reasons: list[str],
        present_M: np.ndarray,
        sets: np.ndarray | None,
    ) -> dict[str, Any]:
        classes, groups = self.run.encoding.classes, self.run.encoding.groups
        band = str(found["band"])
        figures = measured(self._evaluation, band)
        held = classes_held(sets, classes, row)
        verdict, reasons = judge(
            {"n_train": found["n_train"], "band": band},
            outside=reasons,
            unseen=unseen_reason(groups, present_M) if band == "unseen" else "",
            figures=figures,
            held=held,
            level=1 - ALPHA,
        )
        return {
            "probabilities": {name: float(found[f"prob_{name}"]) for name in classes},
            "verdict": verdict,
            "reasons": reasons,
            "prediction_set": held,
            "group": str(found["group"]),
            "n_train": int(found["n_train"]),
            "band": band,
            "measured": figures,
        }


def _evaluation(run: Run, tell: Callable[[str], object]) -> dict[str, Any] | None:
    """What `remind evaluate` found."""
    assert run.folder is not None
    file = run.folder.path / EVALUATION
    try:
        return read_json(file)
    except FileNotFoundError:
        tell(
            f"{run.folder.path} was not evaluated, so predictions come without how such patients "
            "were served: run remind evaluate first"
        )
    except (OSError, ValueError) as error:
        raise InputError(f"{file} is damaged: {error}; run remind evaluate again") from error
    return None


def _calibration(run: Run, tell: Callable[[str], object]) -> pd.DataFrame | None:
    """Predictions of the validation patients, which prediction sets are calibrated by.

    They are kept in the run's folder, so that it can be served where the cohort is not.
    """
    assert run.folder is not None
    without = "so predictions come without prediction sets"
    if find_spec("crepes") is None:
        tell(f"crepes is not installed, {without}: pip install 'remind-med[serve]'")
        return None
    if run.folder.validation.is_file():
        return read_predictions(run.folder.validation)
    try:
        predictions = run.predictions("val", run.cohort())
    except InputError as error:
        tell(f"there are no validation patients to calibrate by, {without}: {error}")
        return None
    with suppress(InputError, OSError):  # a folder that may only be read
        write_predictions(predictions, run.folder.validation)
    return predictions


@contextmanager
def _cache(folder: Path) -> Iterator[None]:
    """What is decoded of patients' files goes into this folder meanwhile, not into the user's."""
    before = os.environ.get("REMIND_CACHE")
    os.environ["REMIND_CACHE"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["REMIND_CACHE"]
        else:
            os.environ["REMIND_CACHE"] = before
