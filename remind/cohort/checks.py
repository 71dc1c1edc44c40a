"""What must hold of a table as a whole. Each check raises one InputError sentence, or passes."""

# N patients, M modalities

import difflib
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from remind.cohort.columns import find_class
from remind.cohort.schema import CohortSpec
from remind.cohort.tables import Table
from remind.errors import InputError


def unique_ids(table: Table, column: str, ids: np.ndarray) -> None:
    """No id occurs twice."""
    is_repeated_N = pd.Series(ids).duplicated().to_numpy()
    if is_repeated_N.any():
        row = int(is_repeated_N.argmax())
        first = int(np.flatnonzero(ids == ids[row])[0])
        raise InputError(
            f'{table.where(row)}: the id "{ids[row]}" in column "{column}" is already that of '
            f"{table.where(first)}: "
            "give every row its own id (persons with several rows go into group_by)"
        )


def task_fits(spec: CohortSpec, table: Table, classes: tuple[str, ...]) -> None:
    """A binary task has at most two classes."""
    if spec.cohort.task == "binary" and len(classes) > 2:
        raise InputError(
            f'{table.source}: the label "{spec.cohort.label}" has {len(classes)} values '
            f"({_few(classes)}), but the task is binary: "
            'correct the label, or set task = "multiclass"'
        )


def positive_class(spec: CohortSpec, classes: tuple[str, ...]) -> int:
    """Position of the positive one of two classes: the one that cohort.toml names, or the last.

    Raises:
        InputError: it names one where there are more than two, or one that nobody has.
    """
    positive, label = spec.cohort.positive, spec.cohort.label
    if positive is None:
        return len(classes) - 1
    given = f'{spec.source}: [cohort] positive = "{positive}"'
    if len(classes) > 2:
        raise InputError(
            f'{given} is for a label of two classes, but "{label}" has {len(classes)} '
            f"({_few(classes)}): remove the key"
        )
    found = find_class(positive.strip(), classes)
    if found is None:
        raise InputError(f'{given} is no label: "{label}" has {_few(classes)}: name one of them')
    return found


def everyone_is_observed(table: Table, ids: np.ndarray, present_NM: np.ndarray) -> None:
    """Every patient has a modality."""
    rows = np.flatnonzero(~present_NM.any(axis=1))
    if len(rows):
        who = "one patient has" if len(rows) == 1 else f"{len(rows)} patients have"
        raise InputError(
            f"{table.where(int(rows[0]))}: {who} no modality at all "
            f"(id {_few(ids[rows])}): leave such rows out"
        )


def split_is_usable(
    spec: CohortSpec,
    table: Table,
    rows: np.ndarray,
    split: np.ndarray,
    label_N: np.ndarray,
    classes: tuple[str, ...],
    person: np.ndarray,
) -> None:
    """Train has patients of every class, at least two classes, and no person is in two splits.

    Only some rows of the table count.
    """
    split, label_N, person = split[rows], label_N[rows], person[rows]
    is_train_N = split == "train"
    label = spec.cohort.label
    if not is_train_N.any():
        raise InputError(
            f"{table.source}: no row is in the training split: mark some rows as train"
        )
    trained = np.unique(label_N[is_train_N])
    if len(trained) < 2:
        raise InputError(
            f'{table.source}: all training rows have the label "{label}" = {classes[trained[0]]}: '
            "training needs two classes at least"
        )
    is_new_N = ~np.isin(label_N, trained)
    if is_new_N.any():
        at = int(is_new_N.argmax())
        raise InputError(
            f'{table.where(int(rows[at]))}: the label "{label}" = {classes[label_N[at]]} is in '
            f"{split[at]} "
            "but never in train: move a patient of this class to train, or leave the class out"
        )
    _persons_stay(spec, table, rows, split, person)


def modalities_are_trained(spec: CohortSpec, is_trained_M: np.ndarray) -> None:
    """Every modality is observed in a training patient."""
    for name, is_trained in zip(spec.modalities, is_trained_M.tolist(), strict=True):
        if not is_trained:
            raise InputError(
                f"{spec.source}: [modalities.{name}] is never observed in the training split: "
                "remove the section"
            )


def modalities_in(spec: CohortSpec, names: Sequence[str], source: str) -> list[str]:
    """The modalities that a table to predict has, whole.

    Raises:
        InputError: one has only some of its columns, none is there, or a column is a near-miss.
    """
    wanted = {name: modality.feature_columns for name, modality in spec.modalities.items()}
    present = [name for name, columns in wanted.items() if set(columns) <= set(names)]
    for name in [name for name in wanted if name not in present]:
        missing = [column for column in wanted[name] if column not in names]
        near = _near_misses(spec, names, missing)
        hints = "".join(
            f'; it has "{extra}": is that "{column}"?' for column, extra in near.items()
        )
        if len(missing) < len(wanted[name]):
            raise InputError(
                f"{source} has only a part of the modality {name}: {_quoted(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} missing"
                f"{hints or ': add the columns, or remove all of it'}"
            )
        if near:
            raise InputError(f"{source} lacks the modality {name} ({_quoted(missing)}){hints}")
    if not present:
        columns = [column for columns in wanted.values() for column in columns]
        raise InputError(f"{source} has no column of any modality: expected {_quoted(columns)}")
    return present


def unread_columns(spec: CohortSpec, names: Sequence[str]) -> list[str]:
    """The columns of a table to predict that no modality reads; id, label and split aside."""
    expected = {
        column for modality in spec.modalities.values() for column in modality.feature_columns
    }
    return [name for name in names if name not in expected | set(spec.role_columns.values())]


def _near_misses(spec: CohortSpec, names: Sequence[str], missing: Sequence[str]) -> dict[str, str]:
    """Missing column -> a column that is not expected and is probably meant to be it."""
    extras = {_plain(name): name for name in unread_columns(spec, names)}
    near: dict[str, str] = {}
    for column in missing:
        plain = _plain(column)
        for match in difflib.get_close_matches(plain, extras, n=1, cutoff=0.88):
            if re.sub(r"\D", "", match) == re.sub(r"\D", "", plain):  # x_1 is not a misspelt x_2
                near[column] = extras[match]
    return near


def _plain(name: str) -> str:
    return re.sub(r"[\s_\-.]+", "", name).casefold()


def _persons_stay(
    spec: CohortSpec, table: Table, rows: np.ndarray, split: np.ndarray, person: np.ndarray
) -> None:
    if spec.cohort.group_by is None:
        return
    frame = pd.DataFrame({"person": person, "split": split})
    crosses_N = (frame["split"] != frame.groupby("person")["split"].transform("first")).to_numpy()
    if crosses_N.any():
        at = int(crosses_N.argmax())
        raise InputError(
            f"{table.where(int(rows[at]))}: the person {person[at]} "
            f'("{spec.cohort.group_by}") is in {split[at]} '
            "and in another split too: keep all rows of a person in one split"
        )


def _few(values: Sequence[object] | np.ndarray, limit: int = 5) -> str:
    shown = ", ".join(str(value) for value in values[:limit])
    return shown if len(values) <= limit else f"{shown} and {len(values) - limit} more"


def _quoted(names: Sequence[str], limit: int = 20) -> str:
    return _few([f'"{name}"' for name in names], limit)
