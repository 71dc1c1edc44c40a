"""Predictions: the one table that evaluation knows of a model, anyone's model.

One row per patient, with the columns

    id, person   who it is, and whose rows are resampled together
    label        the true class, by name
    prob_<class> a probability per class, in the order of the classes; the last is the positive one
    group        the patient's combination of modalities, by name
    n_train      training patients of that combination in the model's training set
    band         head, medium, tail or unseen
    split        the split it was predicted in
    method, seed which model, and which repetition of it

Other columns may follow. Folds of a cross-validation pool to one table per seed.
"""

# N rows, C classes

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from remind.errors import InputError

BANDS = ("head", "medium", "tail", "unseen")
COLUMNS = ("id", "person", "label", "group", "n_train", "band", "split", "method", "seed")
PROB = "prob_"
SUM_TOLERANCE = 1e-3


def classes_of(frame: pd.DataFrame) -> tuple[str, ...]:
    """Return the class names in the order of the ``prob_<class>`` columns."""
    names = (str(column) for column in frame.columns)
    return tuple(name.removeprefix(PROB) for name in names if name.startswith(PROB))


def positive_of(classes: Sequence[str]) -> str | None:
    """Return the class that F1, AUPRC and calibration are of: the last of two, None beyond two."""
    return classes[-1] if len(classes) == 2 else None


def label_of(frame: pd.DataFrame) -> np.ndarray:
    """Return the true class of each row as a position in `classes_of`, int64 (N,); -1 if none."""
    return pd.Index(classes_of(frame)).get_indexer(pd.Index(frame["label"])).astype(np.int64)


def prob_of(frame: pd.DataFrame) -> np.ndarray:
    """Return the probabilities, float64 (N, C)."""
    return frame[[PROB + name for name in classes_of(frame)]].to_numpy(dtype=np.float64)


def check_predictions(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table if it keeps the contract of this module.

    Raises:
        InputError: a column is missing, the table is empty, a label is none of the classes, a
            probability is outside 0..1, a row does not sum to 1, a band or a count is impossible, a
            cell is empty, or a patient comes twice under one method, split and seed.
    """
    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        raise InputError(f"predictions lack {_listed(missing)}; they need {_listed(COLUMNS)}")
    if len(classes_of(frame)) < 2:
        raise InputError(
            f"predictions need a prob_<class> column for each of at least two classes, got "
            f"{_listed(classes_of(frame)) or 'none'}"
        )
    if not len(frame):
        raise InputError("predictions hold no patient; give a table with at least one row")
    _check_cells(frame)
    _check_probabilities(frame)
    return frame


def _check_cells(frame: pd.DataFrame) -> None:
    for column in COLUMNS:
        _refuse(frame, frame[column].isna(), lambda _, name=column: f"{name} is empty; fill it in")
    _refuse(
        frame,
        label_of(frame) < 0,
        lambda row: (
            f'label "{frame["label"].iloc[row]}" is none of the classes '
            f"{_listed(classes_of(frame))}; labels are class names, as text"
        ),
    )
    _refuse(
        frame,
        ~frame["band"].isin(BANDS),
        lambda row: f'band "{frame["band"].iloc[row]}" is none of {_listed(BANDS)}',
    )
    _refuse(
        frame,
        ~(frame["n_train"] >= 0),
        lambda row: f"n_train must be at least 0, got {frame['n_train'].iloc[row]}",
    )
    _refuse(
        frame,
        frame.duplicated(["id", "method", "split", "seed"]),
        lambda _: "the patient comes twice under one method, split and seed; keep one row",
    )


def _check_probabilities(frame: pd.DataFrame) -> None:
    prob_NC = prob_of(frame)
    sum_N = prob_NC.sum(axis=1)
    _refuse(
        frame,
        ~np.logical_and(prob_NC >= 0, prob_NC <= 1).all(axis=1),
        lambda row: f"probabilities must lie in 0..1, got {_listed(prob_NC[row].tolist())}",
    )
    _refuse(
        frame,
        np.abs(sum_N - 1) > SUM_TOLERANCE,
        lambda row: f"probabilities must sum to 1, got {sum_N[row]:.6g}",
    )


def _refuse(frame: pd.DataFrame, bad: Any, reason: Callable[[int], str]) -> None:
    """Raise for the first row that is bad (N,), named by its position and its id."""
    bad_N = np.asarray(bad, dtype=bool)
    if bad_N.any():
        row = int(np.argmax(bad_N))
        raise InputError(f"predictions row {row} (id {frame['id'].iloc[row]}): {reason(row)}")


def _listed(names: Sequence[object]) -> str:
    return ", ".join(str(name) for name in names)


def write_predictions(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a checked table as Parquet; a file under this name is whole or not there.

    Raises:
        InputError: of `check_predictions` and of `write_whole`.
    """
    check_predictions(frame)
    write_whole(path, lambda temporary: frame.to_parquet(temporary, index=False))


def read_predictions(path: str | Path) -> pd.DataFrame:
    """Read and check a Parquet table of predictions.

    Raises:
        InputError: no such file, not Parquet, or not a table of predictions.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} is not there; give a file that write_predictions wrote")
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a Parquet file that can be read ({error})") from error
    return check_predictions(frame)


def check_place(path: Path, what: str) -> None:
    """Before the work is done: a file can be written there.

    Args:
        path: of the file.
        what: it is to hold, as in "the predictions".

    Raises:
        InputError: its folder is not there, or it is a folder itself.
    """
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path.parent} is no folder: make it, or write elsewhere")
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a file for {what}")


def write_whole(path: str | Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file next to `path`, then rename it to `path`.

    Who may read it is as for any new file, by the umask.

    Raises:
        InputError: the file cannot be written there.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    with _placed_at(path):
        temporary.touch(exist_ok=False)
    try:
        write(temporary)
        with _placed_at(path):
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _placed_at(path: Path) -> Iterator[None]:
    """Turn what is wrong with the place of a file into one sentence."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}): write elsewhere") from error
