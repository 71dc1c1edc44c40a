"""Irregular time series in long form: a row per measurement, in any order and number.

Numbers are encoded by their place between knots, as in `tabular`, with knots per variable; times by
their place between quantiles. Or, by option, each variable is encoded by summary statistics.
"""

# N patients, M modalities, V events or statistics of a batch

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from remind.cohort.kinds.base import FlatColumns, Kind, ModalitySpec
from remind.cohort.kinds.events import check_hours, hide
from remind.cohort.kinds.ragged import Ragged
from remind.cohort.kinds.reading import Reading
from remind.cohort.kinds.series_events import SeriesEvents
from remind.cohort.kinds.series_read import SeriesColumns, read_series
from remind.cohort.kinds.series_schema import SeriesEncoding, SeriesModality, SeriesSchema
from remind.cohort.kinds.series_summary import encode_summary, flat_summary, summarise
from remind.cohort.kinds.series_variables import encode_values
from remind.cohort.kinds.tabular import CellBatch

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
        check_hours(self.time, self.since, self.until)
        return self

    @property
    def feature_columns(self) -> tuple[str, ...]:
        """None of the cohort's table."""
        return ()


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


class Series(Kind):
    """Raw values are `SeriesEvents`, encoded ones and batches have an entry per series."""

    name = "series"
    spec = SeriesSpec

    def read(self, reading: Reading, spec: SeriesSpec, schema: SeriesSchema | None) -> SeriesEvents:
        known: dict[str, bool] = {}
        if schema is not None:
            variables = schema.find(reading.modality).variables
            known = {variable.name: variable.kind == "numeric" for variable in variables}
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
        items = (
            SeriesModality.fit(
                raw.select(rows),
                name=name,
                index=indices[name],
                encoder=specs[name].encoder,
                num_tokens=specs[name].num_tokens or NUM_TOKENS,
                until=specs[name].until,
                max_bins=max_bins,
            )
            for name, raw in raws.items()
        )
        return SeriesSchema(modalities=tuple(items))

    def encode(
        self, schema: SeriesSchema, raws: Mapping[str, SeriesEvents], present_NM: np.ndarray
    ) -> dict[str, Ragged]:
        return {
            item.name: hide(_encode(item, raws[item.name]), present_NM[:, item.index])
            for item in schema.modalities
        }

    def batch(
        self, encoded: dict[str, Ragged], rows: np.ndarray
    ) -> dict[str, EventBatch | CellBatch]:
        return {name: _batch(items, rows) for name, items in encoded.items()}

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

    def overview(
        self, schema: SeriesSchema, raws: Mapping[str, SeriesEvents], rows: np.ndarray
    ) -> FlatColumns | None:
        """Of the series that are not summarised anyway."""
        others = tuple(item for item in schema.modalities if item.encoder != "summary")
        if not others:
            return None
        return self.flat(SeriesSchema(modalities=others), self.some(raws, rows))

    def dump(self, schema: SeriesSchema) -> dict[str, Any]:
        return {"modalities": [item.dump() for item in schema.modalities]}

    def load(self, data: Mapping[str, Any]) -> SeriesSchema:
        return SeriesSchema(
            modalities=tuple(SeriesModality.load(item) for item in data["modalities"])
        )


def _encode(item: SeriesModality, raw: SeriesEvents) -> Ragged:
    if item.encoder == "summary":
        summary = summarise(raw, item.variables, item.until)
        return encode_summary(summary, item.variables, item.summary, len(raw.events))
    row_V, frac_V = encode_values(raw, item.variables)
    columns = {"row": row_V, "frac": frac_V, "place": item.time.places(raw.events)}
    return Ragged(start_N1=raw.events.start_N1, columns=columns)


def _batch(items: Ragged, rows: np.ndarray) -> EventBatch | CellBatch:
    if "place" not in items.columns:
        return CellBatch.of(items, rows)
    owner_V, place_V = items.items(rows)
    columns = {name: values[place_V] for name, values in items.columns.items()}
    return EventBatch(
        owner_V=owner_V,
        row_V=columns["row"],
        frac_V=columns["frac"],
        place_V2=columns["place"],
    )
