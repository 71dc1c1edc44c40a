"""The variables of a series as training found them, and where its values lie among theirs."""

# N patients, V events, U variables of a cohort

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from remind.cohort.columns import ColumnKind, number_text
from remind.cohort.kinds.events import grouped, owners
from remind.cohort.kinds.knots import interpolate, knots_of
from remind.cohort.kinds.series_events import SeriesEvents
from remind.errors import InputError

MAX_CATEGORIES = 256


@dataclass(frozen=True, kw_only=True)
class SeriesVariable:
    """One variable and its rows of the embedding table.

    Args:
        name: of the variable.
        kind: numeric or categorical.
        first_row: its first row of the embedding table.
        num_patients: training patients who have it.
        knots: ascending, of a numeric variable.
        categories: of a categorical variable in alphabetical order, the most frequent of training.
    """

    name: str
    kind: ColumnKind
    first_row: int
    num_patients: int
    knots: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()

    @property
    def num_rows(self) -> int:
        """Knots, or categories and the unknown one, the last."""
        return len(self.knots) if self.kind == "numeric" else len(self.categories) + 1


def fit_variables(raw: SeriesEvents, max_bins: int) -> tuple[SeriesVariable, ...]:
    """The variables of training patients, in alphabetical order."""
    owner_V, value_V = owners(raw.events), raw.events.columns["value"]
    variables: list[SeriesVariable] = []
    first_row = 0
    for u, places in grouped(raw.events.columns["variable"]):
        categories = raw.categories[u]
        values = value_V[places]
        knots = () if categories is not None else knots_of(values.astype(np.float64), max_bins)
        variable = SeriesVariable(
            name=raw.variables[u],
            kind="numeric" if categories is None else "categorical",
            first_row=first_row,
            num_patients=1 + int(np.count_nonzero(np.diff(owner_V[places]))),
            knots=tuple(np.asarray(knots).tolist()),
            categories=() if categories is None else _frequent(categories, values),
        )
        variables.append(variable)
        first_row += variable.num_rows
    return tuple(variables)


def training_values(
    raw: SeriesEvents, variables: Sequence[SeriesVariable]
) -> tuple[np.ndarray, np.ndarray]:
    """Place of each event's variable among those of training, and its value, float64.

    The place is -1 for a variable that training never saw, with value 0. The value of a categorical
    variable is the place of its category, their number for one that training never saw.

    Raises:
        InputError: a variable that was numeric in training holds words.
    """
    names = pd.Index([variable.name for variable in variables], dtype=object)
    place_U = names.get_indexer(pd.Index(raw.variables, dtype=object))
    kind_V = raw.events.columns["variable"]
    place_V = place_U[kind_V] if len(place_U) else np.empty(0, np.int64)
    value_V = np.where(place_V >= 0, raw.events.columns["value"].astype(np.float64), 0.0)
    for u, places in grouped(kind_V):
        if place_U[u] >= 0:
            variable, categories = variables[place_U[u]], raw.categories[u]
            if variable.kind == "categorical":
                value_V[places] = _codes(variable, categories, value_V[places])
            elif categories is not None:
                raise InputError(
                    f'the variable "{variable.name}" holds "{categories[0]}", '
                    "but it was numeric in training: write numbers"
                )
    return place_V, value_V


def encode_values(
    raw: SeriesEvents, variables: Sequence[SeriesVariable]
) -> tuple[np.ndarray, np.ndarray]:
    """Row int32 and fraction float32 (V,) of each event in the embedding table.

    The row of a variable that training never saw is the one after those of all variables.
    """
    place_V, value_V = training_values(raw, variables)
    unknown = variables[-1].first_row + variables[-1].num_rows if variables else 0
    row_V, frac_V = np.full(len(place_V), unknown, np.int32), np.zeros(len(place_V), np.float32)
    for place, places in grouped(place_V + 1):
        if place == 0:
            continue
        variable = variables[place - 1]
        if variable.kind == "categorical":
            row_V[places] = variable.first_row + value_V[places].astype(np.int64)
        else:
            left, frac_V[places] = interpolate(value_V[places], np.array(variable.knots))
            row_V[places] = variable.first_row + left
    return row_V, frac_V


def _frequent(categories: tuple[str, ...], values: np.ndarray) -> tuple[str, ...]:
    counts = np.bincount(values.astype(np.int64), minlength=len(categories))
    chosen = np.argsort(-counts, kind="stable")[:MAX_CATEGORIES]
    return tuple(categories[c] for c in np.sort(chosen).tolist() if counts[c])


def _codes(
    variable: SeriesVariable, categories: tuple[str, ...] | None, value_V: np.ndarray
) -> np.ndarray:
    """Place of each category among those of training; numbers are categories by their text."""
    if categories is None:
        numbers, which_V = np.unique(value_V.astype(np.float32), return_inverse=True)
        categories = tuple(number_text(float(str(number))) for number in numbers)
    else:
        which_V = value_V.astype(np.int64)
    known = pd.Index(variable.categories, dtype=object)
    place = known.get_indexer(pd.Index(categories, dtype=object))
    return np.where(place >= 0, place, len(variable.categories))[which_V]
