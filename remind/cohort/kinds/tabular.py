"""Numbers and categories. Numbers are encoded by their place between knots.

A numeric column with knots k_0 < ... < k_J (training quantiles) owns the rows of an embedding table
T for its knots; a value v between k_j and k_j+1 has row = first_row + j and
frac = (v - k_j) / (k_j+1 - k_j), and its embedding is (1 - frac) T[row] + frac T[row + 1]: a
piecewise-linear embedding (Gorishniy et al. 2022) at the cost of two rows. Values beyond the
training range saturate. A categorical column owns a row per training category and one for unknown
categories. Every column owns one more row, its last, for a missing value.
"""

# N patients, B patients of a batch, C tabular columns, M modalities, F flat columns

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd
from pydantic import Field, field_validator

from remind.cohort.arrays import chunks, gather, keep, new_array, release
from remind.cohort.columns import ColumnKind, number_text, read_feature, text_hash
from remind.cohort.kinds.base import FlatColumns, Kind, ModalitySpec
from remind.cohort.kinds.knots import interpolate, knots_of
from remind.cohort.kinds.ragged import Ragged
from remind.cohort.kinds.reading import Reading
from remind.errors import InputError

NUM_FREQUENT = 5
FEWEST_JUDGED = 50
"""Values below which a category each is no sign of an identifier."""


class TabularSpec(ModalitySpec):
    """`columns`: numeric and categorical alike; observed if any is non-null."""

    columns: list[str] = Field(min_length=1)

    @field_validator("columns")
    @classmethod
    def _no_duplicate(cls, columns: list[str]) -> list[str]:
        for position, column in enumerate(columns):
            if column in columns[:position]:
                raise ValueError(f'names the column "{column}" twice: remove one of them')
        return columns

    @property
    def feature_columns(self) -> tuple[str, ...]:
        """The table's columns that hold this modality."""
        return tuple(self.columns)


@dataclass(frozen=True, kw_only=True)
class TabularColumn:
    """One column and its rows of the embedding table.

    Args:
        name: column of the cohort's table.
        modality: index into the cohort's modalities.
        kind: numeric or categorical.
        first_row: its first row of the embedding table.
        knots: ascending, for a numeric column; empty if training never saw a value.
        categories: training categories in alphabetical order, for a categorical column.
    """

    name: str
    modality: int
    kind: ColumnKind
    first_row: int
    knots: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()

    @property
    def num_rows(self) -> int:
        """Rows of the embedding table: knots or categories, unknown (categorical only), missing."""
        return len(self.knots) + 1 if self.kind == "numeric" else len(self.categories) + 2

    @property
    def unknown_row(self) -> int:
        """The row of a category that training never saw."""
        return self.first_row + len(self.categories)

    @property
    def missing_row(self) -> int:
        """The row of a missing value: the column's last."""
        return self.first_row + self.num_rows - 1


@dataclass(frozen=True, kw_only=True)
class TabularSchema:
    """All tabular columns of a cohort, in order; their rows are consecutive."""

    columns: tuple[TabularColumn, ...]

    @property
    def num_rows(self) -> int:
        """Rows of the embedding table. The last one is spare, so that row + 1 always exists."""
        return self.columns[-1].missing_row + 2

    @cached_property
    def column_modality_C(self) -> np.ndarray:
        """int64 (C,): index into the cohort's modalities."""
        return np.array([column.modality for column in self.columns], dtype=np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class TabularValues:
    """Row int32 (N, C) of the embedding table, and frac float32 (N, C) in [0, 1]."""

    row_NC: np.ndarray
    frac_NC: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class TabularBatch:
    """Rows int32 (B, C) and fractions float32 (B, C); tensors once in a Batch."""

    row_BC: Any
    frac_BC: Any


@dataclass(frozen=True, kw_only=True, eq=False)
class CellBatch:
    """Cells of a table of which most are left out; tensors once in a Batch.

    Args:
        owner_V: position of the patient in the batch, int64, ascending; there by column.
        row_V, frac_V: int32 and float32, place of the value in the table of its column.
    """

    owner_V: Any
    row_V: Any
    frac_V: Any

    @classmethod
    def of(cls, cells: Ragged, rows: np.ndarray) -> Self:
        """The cells of some patients, of columns `row` and `frac`."""
        owner_V, place_V = cells.items(rows)
        row_V, frac_V = (cells.columns[name][place_V] for name in ("row", "frac"))
        return cls(owner_V=owner_V, row_V=row_V, frac_V=frac_V)


class Tabular(Kind):
    """Numeric and categorical columns; raw values are a DataFrame of float64 and categoricals."""

    name = "tabular"
    spec = TabularSpec

    def read(
        self, reading: Reading, spec: TabularSpec, schema: TabularSchema | None
    ) -> pd.DataFrame:
        known: dict[str, ColumnKind] = {}
        if schema is not None:
            known = {column.name: column.kind for column in schema.columns}
        columns = {
            name: _kept(read_feature(reading.table, name, known.get(name), reading.reject))
            for name in spec.columns
        }
        if schema is None:
            for name, series in columns.items():
                _remark_on_identifiers(reading, name, series)
        return pd.DataFrame(columns, copy=False)

    def absent(
        self, modality: str, spec: TabularSpec, num_rows: int, schema: TabularSchema
    ) -> pd.DataFrame:
        return pd.DataFrame(np.nan, index=range(num_rows), columns=pd.Index(spec.columns))

    def present(self, raw: pd.DataFrame) -> np.ndarray:
        present_N = np.zeros(len(raw), dtype=bool)
        for name in raw.columns:
            present_N |= raw[name].notna().to_numpy()
        release()
        return present_N

    def select(self, raw: pd.DataFrame, rows: np.ndarray) -> pd.DataFrame:
        return raw.iloc[rows].reset_index(drop=True)

    def digest(self, raw: pd.DataFrame) -> Iterator[bytes]:
        for name in raw.columns:
            yield name.encode()
            yield _digest_column(_column(raw, name))
            release()

    def describe(self, raw: pd.DataFrame) -> dict[str, Any]:
        facts = {name: _facts(_column(raw, name)) for name in raw.columns}
        release()
        return {"columns": facts}

    def fit(
        self,
        raws: Mapping[str, pd.DataFrame],
        specs: Mapping[str, TabularSpec],
        indices: Mapping[str, int],
        rows: np.ndarray,
        max_bins: int,
    ) -> TabularSchema:
        columns: list[TabularColumn] = []
        first_row = 0
        for modality, raw in raws.items():
            for name in raw.columns:
                column = _fit_column(
                    raw[name].iloc[rows], name, indices[modality], first_row, max_bins
                )
                columns.append(column)
                first_row += column.num_rows
            release()
        return TabularSchema(columns=tuple(columns))

    def encode(
        self, schema: TabularSchema, raws: Mapping[str, pd.DataFrame], present_NM: np.ndarray
    ) -> TabularValues:
        shape = (len(present_NM), len(schema.columns))
        row_NC, frac_NC = new_array(shape, np.int32), new_array(shape, np.float32)
        pairs = list(_pairs(schema, raws))
        for chunk in chunks(len(present_NM)):
            for c, (column, series) in enumerate(pairs):
                row_N, frac_N = _encode_column(column, series.iloc[chunk])
                is_seen_N = present_NM[chunk, column.modality]
                row_NC[chunk, c] = np.where(is_seen_N, row_N, column.missing_row)
                frac_NC[chunk, c] = np.where(is_seen_N, frac_N, 0.0)
            release()
        return TabularValues(row_NC=row_NC, frac_NC=frac_NC)

    def batch(self, encoded: TabularValues, rows: np.ndarray) -> TabularBatch:
        return TabularBatch(
            row_BC=gather(encoded.row_NC, rows), frac_BC=gather(encoded.frac_NC, rows)
        )

    def flat(self, schema: TabularSchema, raws: Mapping[str, pd.DataFrame]) -> FlatColumns:
        columns = [_flat_column(column, series) for column, series in _pairs(schema, raws)]
        is_category = [column.kind == "categorical" for column in schema.columns]
        return FlatColumns(
            x_NF=np.column_stack(columns),
            names=[column.name for column in schema.columns],
            modality_F=schema.column_modality_C,
            cardinalities={
                c: len(schema.columns[c].categories) + 1
                for c in np.flatnonzero(is_category).tolist()
            },
        )

    def dump(self, schema: TabularSchema) -> dict[str, Any]:
        return {"columns": [asdict(column) for column in schema.columns]}

    def load(self, data: Mapping[str, Any]) -> TabularSchema:
        as_tuples = (
            {**item, "knots": tuple(item["knots"]), "categories": tuple(item["categories"])}
            for item in data["columns"]
        )
        return TabularSchema(columns=tuple(TabularColumn(**item) for item in as_tuples))


def _kept(series: pd.Series) -> pd.Series:
    """The same column, in a file if it is big."""
    if not _is_numeric(series):
        return series
    return pd.Series(keep(series.to_numpy()), name=series.name, copy=False)


def _remark_on_identifiers(reading: Reading, name: str, series: pd.Series) -> None:
    """Say if most values have a category to themselves, of which no other patient can profit."""
    if _is_numeric(series):
        return
    num, num_values = len(series.cat.categories), int(series.notna().sum())
    if num_values >= FEWEST_JUDGED and 2 * num > num_values:
        or_text = ', or read sentences with kind = "text"' if reading.has_toml else ""
        reading.remarks.append(
            f'{reading.table.source}: column "{name}" has {num} categories for {num_values} '
            "values, as identifiers have, and tells little of other patients: "
            f"leave it out{or_text}"
        )


def _facts(series: pd.Series) -> dict[str, Any]:
    """Kind, share of missing values, and range or most frequent categories of a column."""
    facts: dict[str, Any] = {"missing": float(series.isna().mean())}
    if _is_numeric(series):
        seen = series.dropna()
        low, middle, high = seen.quantile([0, 0.5, 1]).tolist() if len(seen) else (None,) * 3
        return {"type": "numeric", **facts, "min": low, "median": middle, "max": high}
    counts = {str(name): int(num) for name, num in series.value_counts().items() if num}
    frequent = dict(list(counts.items())[:NUM_FREQUENT])
    return {"type": "categorical", **facts, "num_categories": len(counts), "frequent": frequent}


def _column(raw: pd.DataFrame, name: str) -> pd.Series:
    series = raw[name]
    assert isinstance(series, pd.Series)
    return series


def _pairs(
    schema: TabularSchema, raws: Mapping[str, pd.DataFrame]
) -> Iterator[tuple[TabularColumn, pd.Series]]:
    series = {name: _column(raw, name) for raw in raws.values() for name in raw.columns}
    return ((column, series[column.name]) for column in schema.columns)


def _fit_column(
    series: pd.Series, name: str, modality: int, first_row: int, max_bins: int
) -> TabularColumn:
    if _is_numeric(series):
        values = series.dropna().to_numpy()
        knots = knots_of(values, max_bins).tolist() if len(values) else ()
        return TabularColumn(
            name=name, modality=modality, kind="numeric", first_row=first_row, knots=tuple(knots)
        )
    seen = series.cat.remove_unused_categories().cat.categories
    return TabularColumn(
        name=name,
        modality=modality,
        kind="categorical",
        first_row=first_row,
        categories=tuple(sorted(seen)),
    )


def _encode_column(column: TabularColumn, series: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Row (N,) and fraction (N,)."""
    if column.kind == "categorical":
        codes_N = _codes(column, series)
        row_N = np.where(codes_N >= 0, column.first_row + codes_N, column.missing_row)
        return row_N, np.zeros(len(series))
    return encode_numbers(column, _require_numbers(column, series))


def encode_numbers(column: TabularColumn, values_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row (N,) and fraction (N,) of the values of a numeric column, NaN where missing."""
    row_N, frac_N = np.full(len(values_N), column.missing_row), np.zeros(len(values_N))
    seen_N = ~np.isnan(values_N)
    if column.knots:
        left, frac_N[seen_N] = interpolate(values_N[seen_N], np.array(column.knots))
        row_N[seen_N] = column.first_row + left
    return row_N, frac_N


def _flat_column(column: TabularColumn, series: pd.Series) -> np.ndarray:
    if column.kind == "numeric":
        return _require_numbers(column, series).astype(np.float32)
    codes_N = _codes(column, series)
    return np.where(codes_N >= 0, codes_N, np.nan).astype(np.float32)


def _codes(column: TabularColumn, series: pd.Series) -> np.ndarray:
    """Training code (N,): position of the category, their number if unknown, -1 if missing."""
    if _is_numeric(series):
        series = series.map(number_text, na_action="ignore").astype("category")
    position = pd.Index(column.categories, dtype=object).get_indexer(series.cat.categories)
    code = np.append(np.where(position >= 0, position, len(column.categories)), -1)
    return code[series.cat.codes.to_numpy()]


def _require_numbers(column: TabularColumn, series: pd.Series) -> np.ndarray:
    if _is_numeric(series):
        return series.to_numpy()
    if series.isna().all():
        return np.full(len(series), np.nan)
    example = series.dropna().iloc[0]
    raise InputError(
        f'column "{column.name}" holds "{example}", but it was numeric in training: write numbers'
    )


def _is_numeric(series: pd.Series) -> bool:
    return not isinstance(series.dtype, pd.CategoricalDtype)


def _digest_column(series: pd.Series) -> bytes:
    if _is_numeric(series):
        return np.where(series.isna(), np.nan, series.to_numpy() + 0.0).tobytes()
    hashes = text_hash(series.cat.categories.to_numpy(dtype=object))
    return np.append(hashes, np.uint64(0))[series.cat.codes.to_numpy()].tobytes()
