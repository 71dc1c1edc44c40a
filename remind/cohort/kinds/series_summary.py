"""A series as numbers per variable: count, first, last, least, most, mean, slope, time since last.

The least-squares slope is per hour. The time since the last event counts from the end of the hours
that are read, or from the patient's last event if these have no end. A categorical variable has its
count, first and last category and the time since.
"""

# N patients, P observed pairs of patient and variable, V events, F flat columns

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from remind.cohort.kinds.events import grouped, owners
from remind.cohort.kinds.knots import interpolate, knots_of
from remind.cohort.kinds.ragged import Ragged
from remind.cohort.kinds.series_events import SeriesEvents
from remind.cohort.kinds.series_variables import SeriesVariable, training_values
from remind.cohort.kinds.tabular import TabularColumn

STATISTICS = ("count", "first", "last", "since", "min", "max", "mean", "slope")
NUM_OF_CATEGORIES = 4  # the first four make sense of categories too
CODED = ("first", "last")


@dataclass(frozen=True, kw_only=True, eq=False)
class Summary:
    """Statistics of observed variables, pair by pair in the order of patients.

    Args:
        patient_P: row of the patient, int64.
        variable_P: place among the variables of the schema, -1 for one that training never saw.
        value_PS: by `STATISTICS`, float32; NaN for those that are not defined.
    """

    patient_P: np.ndarray
    variable_P: np.ndarray
    value_PS: np.ndarray


def summarise(
    raw: SeriesEvents, variables: Sequence[SeriesVariable], until: float | None
) -> Summary:
    """The statistics of all patients.

    Args:
        raw: the events.
        variables: of the schema; categories get their codes.
        until: end of the hours that are read, if they have one.

    Raises:
        InputError: a variable that was numeric in training holds words.
    """
    events = raw.events
    time_V, kind_V = events.columns["time"].astype(np.float64), events.columns["variable"]
    owner_V = owners(events)
    place_V, value_V = training_values(raw, variables)
    is_first_V = np.diff(owner_V, prepend=-1) != 0
    is_first_V[1:] |= np.diff(kind_V) != 0
    starts = np.flatnonzero(is_first_V)
    if len(starts) == 0:
        empty = np.empty(0, np.int64)
        return Summary(
            patient_P=empty,
            variable_P=empty,
            value_PS=np.empty((0, len(STATISTICS)), np.float32),
        )
    num_P = np.diff(np.append(starts, len(time_V)))
    lasts = starts + num_P - 1
    patient_P, variable_P = owner_V[starts], place_V[starts]
    end_N = np.full(len(events), -np.inf if until is None else until)
    if until is None:
        np.maximum.at(end_N, patient_P, time_V[lasts])
    columns = {
        "count": num_P,
        "first": value_V[starts],
        "last": value_V[lasts],
        "since": end_N[patient_P] - time_V[lasts],
        "min": np.minimum.reduceat(value_V, starts),
        "max": np.maximum.reduceat(value_V, starts),
        "mean": np.add.reduceat(value_V, starts) / num_P,
        "slope": _slopes(time_V, value_V, starts, num_P),
    }
    most = np.finfo(np.float32).max
    value_PS = np.stack([columns[name] for name in STATISTICS], axis=1)
    value_PS = value_PS.clip(-most, most).astype(np.float32)
    is_category_U = np.array([item.kind == "categorical" for item in variables] + [False])
    value_PS[is_category_U[variable_P], NUM_OF_CATEGORIES:] = np.nan
    return Summary(patient_P=patient_P, variable_P=variable_P, value_PS=value_PS)


def _slopes(
    time_V: np.ndarray, value_V: np.ndarray, starts: np.ndarray, num_P: np.ndarray
) -> np.ndarray:
    """Least-squares slope of every run of events, NaN where all are at one time."""
    time_V, value_V = (
        x_V - np.repeat(np.add.reduceat(x_V, starts) / num_P, num_P) for x_V in (time_V, value_V)
    )
    spread_P = np.add.reduceat(time_V * time_V, starts)
    together_P = np.add.reduceat(time_V * value_V, starts)
    is_defined_P = spread_P > 1e-12 * num_P
    return np.where(is_defined_P, together_P / np.where(is_defined_P, spread_P, 1.0), np.nan)


def statistics_of(variable: SeriesVariable) -> tuple[str, ...]:
    """The statistics that a variable has."""
    return STATISTICS if variable.kind == "numeric" else STATISTICS[:NUM_OF_CATEGORIES]


def fit_columns(
    name: str,
    modality: int,
    summary: Summary,
    variables: Sequence[SeriesVariable],
    max_bins: int,
) -> list[TabularColumn]:
    """A column per variable and statistic, from the summary of training patients."""
    places = dict(grouped(summary.variable_P))
    columns: list[TabularColumn] = []
    first_row = 0
    for u, variable in enumerate(variables):
        for s, statistic in enumerate(statistics_of(variable)):
            is_coded = variable.kind == "categorical" and statistic in CODED
            values = summary.value_PS[places[u], s].astype(np.float64)
            values = values[~np.isnan(values)]
            knots = knots_of(values, max_bins).tolist() if len(values) and not is_coded else ()
            column = TabularColumn(
                name=f"{name}.{variable.name}.{statistic}",
                modality=modality,
                kind="categorical" if is_coded else "numeric",
                first_row=first_row,
                knots=tuple(knots),
                categories=variable.categories if is_coded else (),
            )
            columns.append(column)
            first_row += column.num_rows
    return columns


def encode_summary(
    summary: Summary,
    variables: Sequence[SeriesVariable],
    columns: Sequence[TabularColumn],
    num_patients: int,
) -> Ragged:
    """The statistics that there are, as `row` (int32) and `frac` (float32) of a tabular table."""
    shape = summary.value_PS.shape
    row_PS, frac_PS = np.full(shape, -1, np.int32), np.zeros(shape, np.float32)
    first_U = np.cumsum([0, *(len(statistics_of(variable)) for variable in variables)])
    for u, places in _known(summary):
        for s, column in enumerate(columns[first_U[u] : first_U[u + 1]]):
            values = summary.value_PS[places, s]
            seen = ~np.isnan(values)
            if column.kind == "categorical":
                row_PS[places, s] = column.first_row + values.astype(np.int64)
            elif column.knots and seen.any():
                left, frac = interpolate(values[seen], np.array(column.knots))
                row_PS[places[seen], s] = column.first_row + left
                frac_PS[places[seen], s] = frac
    is_there_PS = row_PS >= 0
    counts_N = np.bincount(
        summary.patient_P, weights=is_there_PS.sum(axis=1), minlength=num_patients
    )
    start_N1 = np.concatenate([[0], np.cumsum(counts_N)]).astype(np.int64)
    cells = {"row": row_PS[is_there_PS], "frac": frac_PS[is_there_PS]}
    return Ragged(start_N1=start_N1, columns=cells)


def flat_summary(
    name: str,
    summary: Summary,
    variables: Sequence[SeriesVariable],
    num_patients: int,
    max_variables: int,
) -> tuple[np.ndarray, list[str], Mapping[int, int]]:
    """The statistics of the most frequent variables as plain columns.

    Returns:
        float32 (N, F), with NaN for a variable that is not there, whose count is 0; the names; and
        the number of codes of columns of categories, by place.
    """
    frequent = sorted(range(len(variables)), key=lambda u: -variables[u].num_patients)
    chosen = sorted(frequent[:max_variables])
    names: list[str] = []
    cardinalities: dict[int, int] = {}
    first = {}
    for u in chosen:
        first[u] = len(names)
        for statistic in statistics_of(variables[u]):
            if variables[u].kind == "categorical" and statistic in CODED:
                cardinalities[len(names)] = len(variables[u].categories) + 1
            names.append(f"{name}.{variables[u].name}.{statistic}")
    x_NF = np.full((num_patients, len(names)), np.nan, np.float32)
    x_NF[:, list(first.values())] = 0.0
    for u, places in _known(summary):
        if u in first:
            num = len(statistics_of(variables[u]))
            columns = np.arange(first[u], first[u] + num)
            x_NF[summary.patient_P[places, None], columns] = summary.value_PS[places, :num]
    return x_NF, names, cardinalities


def _known(summary: Summary) -> list[tuple[int, np.ndarray]]:
    """Every variable that training saw, and the places of its pairs."""
    return [(u - 1, places) for u, places in grouped(summary.variable_P + 1) if u]
