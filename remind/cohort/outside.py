"""What patients to predict have that training never saw: a model can only guess what it means.

Numbers beyond the range of training, and categories, variables and codes that it does not know (a
code that too few training patients had is one of these). Text, pictures, waves and vectors have no
range that could be told.
"""

# N patients, V values

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from remind.cohort.cohort import Cohort
from remind.cohort.encoding import Encoding, raws_by_kind
from remind.cohort.kinds.codes_events import CodeEvents
from remind.cohort.kinds.codes_vocabulary import CodesSchema
from remind.cohort.kinds.events import grouped, owners
from remind.cohort.kinds.series_events import SeriesEvents
from remind.cohort.kinds.series_schema import SeriesSchema
from remind.cohort.kinds.series_variables import training_values
from remind.cohort.kinds.tabular import TabularColumn, TabularSchema


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """Values of one name that are outside of training.

    Args:
        name: column, "modality.variable", or modality of codes.
        is_number: whether they are beyond the range of training, and not unknown categories,
            variables or codes.
        row_V: of their patients, int64.
    """

    name: str
    is_number: bool
    row_V: np.ndarray

    @property
    def num_patients(self) -> int:
        """Patients with such a value."""
        return len(np.unique(self.row_V))


@dataclass(frozen=True, kw_only=True, eq=False)
class Outside:
    """Observed values outside of training.

    Args:
        num_patients: of the cohort.
        found: by name; every one has a value.
    """

    num_patients: int
    found: tuple[Found, ...]

    @property
    def num_N(self) -> np.ndarray:
        """How many each patient has, int64."""
        rows = np.concatenate([np.empty(0, np.int64), *(item.row_V for item in self.found)])
        return np.bincount(rows, minlength=self.num_patients)

    @property
    def unknown(self) -> dict[str, int]:
        """Name -> patients with a category, variable or code that training does not know."""
        return {item.name: item.num_patients for item in self.found if not item.is_number}

    @property
    def beyond(self) -> dict[str, int]:
        """Name -> patients with a number beyond the range of training."""
        return {item.name: item.num_patients for item in self.found if item.is_number}


def outside(encoding: Encoding, cohort: Cohort) -> Outside:
    """Count the observed values of a cohort that are outside of an encoding's training rows."""
    return Outside(
        num_patients=len(cohort),
        found=tuple(
            item
            for kind, raws in raws_by_kind(cohort).items()
            if kind in LOOKS
            for item in LOOKS[kind](encoding.schemas[kind], raws)
            if len(item.row_V)
        ),
    )


def empty_columns(encoding: Encoding, cohort: Cohort) -> tuple[str, ...]:
    """Columns of tables that training had values of and nobody here has, though they have others.

    Those of modalities that nobody is observed in are not among them.
    """
    raws = raws_by_kind(cohort).get("tabular", {})
    schema = encoding.schemas.get("tabular")
    if schema is None:
        return ()
    known = {column.name for column in schema.columns if column.knots or column.categories}
    return tuple(
        name
        for raw in raws.values()
        if raw.notna().to_numpy().any()
        for name, values in raw.items()
        if name in known and not values.notna().any()
    )


def _tabular(schema: TabularSchema, raws: Mapping[str, pd.DataFrame]) -> Iterator[Found]:
    series = {name: values for raw in raws.values() for name, values in raw.items()}
    for column in schema.columns:
        values = series[column.name]
        is_number = column.kind == "numeric"
        is_outside_N = (
            _beyond(values.to_numpy(dtype=np.float64), column.knots)
            if is_number
            else _unknown(column, values)
        )
        yield Found(name=column.name, is_number=is_number, row_V=np.flatnonzero(is_outside_N))


def _series(schema: SeriesSchema, raws: Mapping[str, SeriesEvents]) -> Iterator[Found]:
    for item in schema.modalities:
        raw = raws[item.name]
        owner_V = owners(raw.events)
        place_V, value_V = training_values(raw, item.variables)
        for u, places in grouped(raw.events.columns["variable"]):
            place = int(place_V[places[0]])
            variable = item.variables[place] if place >= 0 else None
            is_number = variable is not None and variable.kind == "numeric"
            if variable is None:
                is_outside = np.ones(len(places), bool)
            elif is_number:
                is_outside = _beyond(value_V[places], variable.knots)
            else:
                is_outside = value_V[places] == len(variable.categories)
            yield Found(
                name=f"{item.name}.{raw.variables[u]}",
                is_number=is_number,
                row_V=owner_V[places[is_outside]],
            )


def _codes(schema: CodesSchema, raws: Mapping[str, CodeEvents]) -> Iterator[Found]:
    for item in schema.modalities:
        raw = raws[item.name]
        parts = item.parts(raw)
        is_unknown_C = parts.columns["row"][parts.start_N1[:-1]] == len(item.vocabulary)
        is_unknown_V = is_unknown_C[raw.events.columns["code"]]
        yield Found(name=item.name, is_number=False, row_V=owners(raw.events)[is_unknown_V])


LOOKS: dict[str, Callable[[Any, Any], Iterator[Found]]] = {
    "tabular": _tabular,
    "series": _series,
    "codes": _codes,
}
"""Kind -> what looks through its raw values."""


def _beyond(value_V: np.ndarray, knots: tuple[float, ...]) -> np.ndarray:
    """Whether each number is beyond the knots, bool (V,); as float32, in which models see them."""
    if not knots:
        return ~np.isnan(value_V)
    low, high = np.float32(knots[0]), np.float32(knots[-1])
    value_V = value_V.astype(np.float32)
    return (value_V < low) | (value_V > high)


def _unknown(column: TabularColumn, values: pd.Series) -> np.ndarray:
    """Whether each category is none of training, bool (N,)."""
    if not isinstance(values.dtype, pd.CategoricalDtype):  # of a modality that is not there
        return np.zeros(len(values), bool)
    is_known = values.cat.categories.isin(column.categories)
    return ~np.append(is_known, True)[values.cat.codes.to_numpy()]
