"""Irregular time series in long form: a row per measurement, in any order and number.

Numbers are encoded by their place between knots, as in `tabular`, with knots per variable; times by
their place between quantiles. Or, by option, each variable is encoded by summary statistics.
"""

# N patients, M modalities, V events or statistics of a batch

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from remind.cohort.kinds.base import FlatColumns, Kind, ModalitySpec
from remind.cohort.kinds.events import CountScale, TimeScale, hide
from remind.cohort.kinds.ragged import Ragged
from remind.cohort.kinds.reading import Reading
from remind.cohort.kinds.series_events import SeriesEvents
from remind.cohort.kinds.series_read import SeriesColumns, read_series
from remind.cohort.kinds.series_summary import (
    encode_summary,
    fit_columns,
    flat_summary,
    summarise,
)
from remind.cohort.kinds.series_variables import SeriesVariable, encode_values, fit_variables
from remind.cohort.kinds.tabular import TabularColumn, TabularSchema

SeriesEncoding = Literal["attention", "summary"]

NUM_TOKENS = 2
MAX_FLAT_VARIABLES = 128


class SeriesSpec(ModalitySpec):
    """A long table.

    `table`: a path or glob beside the cohort's table.
    `id`: its column of patients; by default named like the cohort's.
    `time`, `variable`, `value`: its other columns; times are hours.
    `since`, `until`: hours; what is earlier or later is never used.
    `encoder`: attention over all events, or summary statistics of each variable.
    `num_tokens`: of attention, 2 by default; a summary has one.
    """

    table: str = Field(min_length=1)
    id: str | None = None
    time: str = "time"
    variable: str = "variable"
    value: str = "value"
    since: float | None = None
    until: float | None = None
    encoder: SeriesEncoding = "attention"
    num_tokens: int | None = Field(default=None, ge=1, le=16)

    @model_validator(mode="after")
    def _consistent(self) -> "SeriesSpec":
        if self.encoder == "summary" and self.num_tokens is not None:
            raise ValueError('has num_tokens, which encoder = "summary" does not use: remove it')
        if self.since is not None and self.until is not None and self.since > self.until:
            raise ValueError(f"has since = {self.since:g} after until = {self.until:g}: swap them")
        return self

    @property
    def feature_columns(self) -> tuple[str, ...]:
        """None of the cohort's table."""
        return ()


@dataclass(frozen=True, kw_only=True)
class SeriesModality:
    """One series.

    Args:
        name: of the modality.
        index: into the cohort's modalities.
        encoder: attention or summary.
        num_tokens: per patient.
        until: end of the hours that are read, if they have one.
        variables: of training patients.
        time: quantiles of training events.
        count: of training patients' events.
        summary: a column per variable and statistic; empty for attention.
    """

    name: str
    index: int
    encoder: SeriesEncoding
    num_tokens: int
    until: float | None
    variables: tuple[SeriesVariable, ...]
    time: TimeScale
    count: CountScale
    summary: tuple[TabularColumn, ...] = ()

    @property
    def num_rows(self) -> int:
        """Rows of the table of values: of all variables, and one for an unknown variable."""
        return sum(variable.num_rows for variable in self.variables) + 1


@dataclass(frozen=True, kw_only=True)
class SeriesSchema:
    """All series of a cohort, in order."""

    modalities: tuple[SeriesModality, ...]

    @cached_property
    def attention(self) -> tuple[SeriesModality, ...]:
        """Those whose events are encoded."""
        return tuple(item for item in self.modalities if item.encoder == "attention")

    @cached_property
    def summary(self) -> TabularSchema | None:
        """The columns of all those that are summarised; their rows are consecutive."""
        columns = tuple(column for item in self.modalities for column in item.summary)
        return TabularSchema(columns=columns) if columns else None


@dataclass(frozen=True, kw_only=True, eq=False)
class EventBatch:
    """Events of one series; tensors once in a Batch.

    Args:
        owner_V: position of the patient in the batch, int64, ascending.
        row_V, frac_V: int32 and float32, place of the value in the table of values.
        place_V2: place of the time and of the time until the patient's last event, float32.
    """

    owner_V: Any
    row_V: Any
    frac_V: Any
    place_V2: Any


@dataclass(frozen=True, kw_only=True, eq=False)
class SummaryBatch:
    """Statistics of all summarised series; tensors once in a Batch.

    Args:
        owner_V: position of the patient in the batch, int64, ascending within a modality.
        modality_V: int64, ascending.
        row_V, frac_V: int32 and float32, place of the value in the tabular table.
    """

    owner_V: Any
    modality_V: Any
    row_V: Any
    frac_V: Any


@dataclass(frozen=True, kw_only=True, eq=False)
class SeriesValues:
    """Events of each series by its name, and statistics by index of the modality."""

    events: Mapping[str, Ragged]
    statistics: Mapping[int, Ragged]


class Series(Kind):
    """Raw values are `SeriesEvents`; a batch has one entry per attended series, one for the rest.

    The latter's key is "", which no modality can have as its name.
    """

    name = "series"
    spec = SeriesSpec

    def read(self, reading: Reading, spec: SeriesSpec, schema: SeriesSchema | None) -> SeriesEvents:
        known: dict[str, bool] = {}
        if schema is not None:
            (item,) = (item for item in schema.modalities if item.name == reading.modality)
            known = {variable.name: variable.kind == "numeric" for variable in item.variables}
        columns = SeriesColumns(
            table=spec.table,
            id=spec.id or reading.id_column,
            time=spec.time,
            variable=spec.variable,
            value=spec.value,
            since=spec.since,
            until=spec.until,
        )
        return read_series(reading, columns, known) or SeriesEvents.none(len(reading.ids))

    def absent(
        self, modality: str, spec: SeriesSpec, num_rows: int, schema: SeriesSchema
    ) -> SeriesEvents:
        return SeriesEvents.none(num_rows)

    def present(self, raw: SeriesEvents) -> np.ndarray:
        return raw.events.counts_N > 0

    def select(self, raw: SeriesEvents, rows: np.ndarray) -> SeriesEvents:
        return raw.select(rows)

    def digest(self, raw: SeriesEvents) -> Iterator[bytes]:
        yield from raw.digest()

    def describe(self, raw: SeriesEvents) -> dict[str, Any]:
        return raw.describe()

    def fit(
        self,
        raws: Mapping[str, SeriesEvents],
        specs: Mapping[str, SeriesSpec],
        indices: Mapping[str, int],
        rows: np.ndarray,
        max_bins: int,
    ) -> SeriesSchema:
        items: list[SeriesModality] = []
        first_row = 0  # of the next summary
        for name, raw in raws.items():
            item = _fit(name, indices[name], specs[name], raw.select(rows), first_row, max_bins)
            first_row += sum(column.num_rows for column in item.summary)
            items.append(item)
        return SeriesSchema(modalities=tuple(items))

    def encode(
        self, schema: SeriesSchema, raws: Mapping[str, SeriesEvents], present_NM: np.ndarray
    ) -> SeriesValues:
        events, statistics = {}, {}
        for item in schema.modalities:
            raw, present_N = raws[item.name], present_NM[:, item.index]
            if item.encoder == "attention":
                events[item.name] = hide(_encode_events(item, raw), present_N)
            else:
                summary = summarise(raw, item.variables, item.until)
                cells = encode_summary(summary, item.variables, item.summary, len(raw.events))
                statistics[item.index] = hide(cells, present_N)
        return SeriesValues(events=events, statistics=statistics)

    def batch(
        self, encoded: SeriesValues, rows: np.ndarray
    ) -> dict[str, EventBatch | SummaryBatch]:
        batches: dict[str, EventBatch | SummaryBatch] = {}
        for name, events in encoded.events.items():
            owner_V, place_V = events.items(rows)
            columns = {column: values[place_V] for column, values in events.columns.items()}
            batches[name] = EventBatch(
                owner_V=owner_V,
                row_V=columns["row"],
                frac_V=columns["frac"],
                place_V2=columns["place"],
            )
        if encoded.statistics:
            batches[""] = _batch_statistics(encoded.statistics, rows)
        return batches

    def flat(self, schema: SeriesSchema, raws: Mapping[str, SeriesEvents]) -> FlatColumns:
        parts, names, modality, cardinalities = [], [], [], {}
        for item in schema.modalities:
            raw = raws[item.name]
            x_NF, new, categories = flat_summary(
                item.name,
                summarise(raw, item.variables, item.until),
                item.variables,
                len(raw.events),
                MAX_FLAT_VARIABLES,
            )
            cardinalities |= {len(names) + place: num for place, num in categories.items()}
            parts.append(x_NF)
            names += new
            modality += [item.index] * len(new)
        return FlatColumns(
            x_NF=np.concatenate(parts, axis=1),
            names=names,
            modality_F=np.array(modality, dtype=np.int64),
            cardinalities=cardinalities,
        )

    def dump(self, schema: SeriesSchema) -> dict[str, Any]:
        return {"modalities": [asdict(item) for item in schema.modalities]}

    def load(self, data: Mapping[str, Any]) -> SeriesSchema:
        return SeriesSchema(modalities=tuple(_load(item) for item in data["modalities"]))


def _fit(
    name: str, index: int, spec: SeriesSpec, raw: SeriesEvents, first_row: int, max_bins: int
) -> SeriesModality:
    variables = fit_variables(raw, max_bins)
    summary: list[TabularColumn] = []
    if spec.encoder == "summary":
        statistics = summarise(raw, variables, spec.until)
        summary = fit_columns(name, index, statistics, variables, first_row, max_bins)
    return SeriesModality(
        name=name,
        index=index,
        encoder=spec.encoder,
        num_tokens=1 if spec.encoder == "summary" else spec.num_tokens or NUM_TOKENS,
        until=spec.until,
        variables=variables,
        time=TimeScale.fit(raw.events, max_bins),
        count=CountScale.fit(raw.events),
        summary=tuple(summary),
    )


def _encode_events(item: SeriesModality, raw: SeriesEvents) -> Ragged:
    row_V, frac_V = encode_values(raw, item.variables)
    columns = {"row": row_V, "frac": frac_V, "place": item.time.places(raw.events)}
    return Ragged(start_N1=raw.events.start_N1, columns=columns)


def _batch_statistics(statistics: Mapping[int, Ragged], rows: np.ndarray) -> SummaryBatch:
    owners, modalities, row, frac = [], [], [], []
    for modality, cells in sorted(statistics.items()):
        owner_V, place_V = cells.items(rows)
        owners.append(owner_V)
        modalities.append(np.full(len(owner_V), modality))
        row.append(cells.columns["row"][place_V])
        frac.append(cells.columns["frac"][place_V])
    return SummaryBatch(
        owner_V=np.concatenate(owners),
        modality_V=np.concatenate(modalities),
        row_V=np.concatenate(row),
        frac_V=np.concatenate(frac),
    )


def _load(data: Mapping[str, Any]) -> SeriesModality:
    def variable(item: Mapping[str, Any]) -> dict[str, Any]:
        lists = {key: tuple(item[key]) for key in ("knots", "categories")}
        return {**item, **lists}

    time = {key: tuple(knots) for key, knots in data["time"].items()}
    return SeriesModality(
        **{
            **data,
            "variables": tuple(SeriesVariable(**variable(item)) for item in data["variables"]),
            "summary": tuple(TabularColumn(**variable(item)) for item in data["summary"]),
            "time": TimeScale(**time),
            "count": CountScale(**data["count"]),
        }
    )
