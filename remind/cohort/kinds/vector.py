"""Precomputed embeddings: a list column of a Parquet table, or the path of an NPY file per row.

A null, an empty list and a vector of NaN alone are unobserved; NaN or infinity inside a vector,
another length than the others', and a file that is none are invalid. Encoded vectors are
standardised by the mean and standard deviation of training rows.
"""

# N patients, D dimensions

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from remind.cohort.kinds.base import FlatColumns, Kind, ModalitySpec
from remind.cohort.kinds.reading import Reading
from remind.cohort.tables import Table
from remind.errors import InputError

pc: Any = pyarrow.compute  # its functions are made at import time, unknown to type checkers

MOST_Z = 1e6
"""Standard deviations beyond which a number says no more; products with it are still float32."""


class VectorSpec(ModalitySpec):
    """`column`: a list column, or paths of NPY files relative to the table's cohort.toml."""

    column: str

    @property
    def feature_columns(self) -> tuple[str, ...]:
        """The table's column that holds this modality."""
        return (self.column,)


@dataclass(frozen=True, kw_only=True)
class VectorModality:
    """One vector modality.

    Args:
        name: of the modality.
        index: into the cohort's modalities.
        mean, std: of the training rows, D numbers each; a constant dimension has std 1. They are 0
            and 1 if no training row has a vector.
    """

    name: str
    index: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def dim(self) -> int:
        """D."""
        return len(self.mean)


@dataclass(frozen=True, kw_only=True)
class VectorSchema:
    """All vector modalities of a cohort, in order."""

    modalities: tuple[VectorModality, ...]


class Vector(Kind):
    """Raw values are float32 (N, D), a row of NaN where unobserved; encoded ones a dict of them."""

    name = "vector"
    spec = VectorSpec

    def read(self, reading: Reading, spec: VectorSpec, schema: VectorSchema | None) -> np.ndarray:
        table = reading.table
        column = table.data[spec.column].combine_chunks()
        rows, vectors = (
            _from_lists(table, spec.column, column)
            if _is_list(column.type)
            else _from_files(reading, spec.column)
        )
        dim = _find(schema, reading.modality).dim if schema else None
        return _spread(reading, spec.column, rows, vectors, dim)

    def absent(
        self, modality: str, spec: VectorSpec, num_rows: int, schema: VectorSchema
    ) -> np.ndarray:
        return np.full((num_rows, _find(schema, modality).dim), np.nan, np.float32)

    def present(self, raw: np.ndarray) -> np.ndarray:
        return np.asarray(~np.isnan(raw).all(axis=1))

    def select(self, raw: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return raw[rows]

    def digest(self, raw: np.ndarray) -> Iterator[bytes]:
        yield str(raw.shape[1]).encode()
        yield np.where(np.isnan(raw), np.float32(np.nan), raw + np.float32(0)).tobytes()

    def describe(self, raw: np.ndarray) -> dict[str, Any]:
        seen = raw[self.present(raw)]
        low, high = (float(seen.min()), float(seen.max())) if seen.size else (None, None)
        return {"length": raw.shape[1], "min": low, "max": high}

    def fit(
        self,
        raws: Mapping[str, np.ndarray],
        specs: Mapping[str, VectorSpec],
        indices: Mapping[str, int],
        rows: np.ndarray,
        max_bins: int,
    ) -> VectorSchema:
        return VectorSchema(
            modalities=tuple(_fit(name, indices[name], raw[rows]) for name, raw in raws.items())
        )

    def encode(
        self, schema: VectorSchema, raws: Mapping[str, np.ndarray], present_NM: np.ndarray
    ) -> dict[str, np.ndarray]:
        return {
            item.name: _standardise(item, raws[item.name], present_NM[:, item.index])
            for item in schema.modalities
        }

    def batch(self, encoded: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
        return {name: values_ND[rows] for name, values_ND in encoded.items()}

    def flat(self, schema: VectorSchema, raws: Mapping[str, np.ndarray]) -> FlatColumns:
        items = schema.modalities
        return FlatColumns(
            x_NF=np.concatenate([raws[item.name] for item in items], axis=1),
            names=[f"{item.name}_{d}" for item in items for d in range(item.dim)],
            modality_F=np.repeat([item.index for item in items], [item.dim for item in items]),
        )

    def dump(self, schema: VectorSchema) -> dict[str, Any]:
        return {"modalities": [asdict(item) for item in schema.modalities]}

    def load(self, data: Mapping[str, Any]) -> VectorSchema:
        items = (
            {**item, "mean": tuple(item["mean"]), "std": tuple(item["std"])}
            for item in data["modalities"]
        )
        return VectorSchema(modalities=tuple(VectorModality(**item) for item in items))


def _find(schema: VectorSchema, modality: str) -> VectorModality:
    return next(item for item in schema.modalities if item.name == modality)


def _is_list(kind: pa.DataType) -> bool:
    return (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _from_lists(
    table: Table, name: str, column: pa.Array
) -> tuple[np.ndarray, list[np.ndarray] | np.ndarray]:
    """The rows that hold a list, and their vectors, one array if all have one length."""
    length_N = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(length_N)
    try:
        flat = pc.cast(pc.list_flatten(column.take(pa.array(rows))), pa.float32(), safe=False)
    except pa.ArrowException as error:
        raise InputError(
            f'{table.source}: column "{name}" holds {column.type}, expected lists of numbers'
        ) from error
    values = flat.to_numpy(zero_copy_only=False)
    lengths = length_N[rows]
    if len(set(lengths.tolist())) <= 1:
        return rows, values.reshape(len(rows), -1) if len(rows) else np.empty((0, 0), np.float32)
    return rows, np.split(values, np.cumsum(lengths)[:-1])


def _from_files(reading: Reading, name: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """The rows that hold a path, and the vectors read from there."""
    table = reading.table
    column = table.data[name]
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    paths = column.to_pandas().dropna()
    if not all(isinstance(path, str) for path in paths):
        raise InputError(
            f'{table.source}: column "{name}" of kind vector holds neither '
            "lists of numbers nor paths of .npy files"
        )
    found = {}
    for row, path in paths.items():
        if not path.strip():
            continue
        try:
            found[row] = _load(table, int(row), name, path.strip())
        except InputError as error:
            reading.reject(str(error), row)
    return np.array(list(found), dtype=np.int64), list(found.values())


def _load(table: Table, row: int, name: str, path: str) -> np.ndarray:
    file = Path(table.folder) / path
    where = f'{table.where(row)}: column "{name}"'
    try:
        vector = np.load(file, allow_pickle=False)
    except FileNotFoundError as error:
        raise InputError(f"{where} names {file}, which does not exist") from error
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{where} names {file}, which is not an NPY file of numbers") from error
    if not isinstance(vector, np.ndarray) or vector.ndim != 1 or vector.dtype.kind not in "biuf":
        raise InputError(f"{where} names {file}, which does not hold one vector of numbers")
    return vector.astype(np.float32)


def _spread(
    reading: Reading,
    name: str,
    rows: np.ndarray,
    vectors: list[np.ndarray] | np.ndarray,
    dim: int | None,
) -> np.ndarray:
    """float32 (N, D) with NaN where no valid vector is: one of D finite numbers."""
    table = reading.table
    lengths = np.array([len(vector) for vector in vectors], dtype=np.int64)
    expected = _usual(lengths) if dim is None else dim
    for at in np.flatnonzero(lengths != expected):
        reading.reject(
            f'{table.where(int(rows[at]))}: the vector in column "{name}" has '
            f"{lengths[at]} numbers, expected {expected}",
            rows[at],
        )
    raw_ND = np.full((len(table), expected), np.nan, np.float32)
    kept = np.flatnonzero(lengths == expected)
    if len(kept):
        raw_ND[rows[kept]] = (
            np.stack([vectors[at] for at in kept]) if isinstance(vectors, list) else vectors
        )
    is_bad_N = ~np.isfinite(raw_ND).all(axis=1) & ~np.isnan(raw_ND).all(axis=1)
    for row in np.flatnonzero(is_bad_N):
        reading.reject(
            f'{table.where(int(row))}: the vector in column "{name}" holds a number '
            "that is not finite: correct it, or leave the cell empty if it is missing",
            row,
        )
        raw_ND[row] = np.nan
    return raw_ND


def _usual(lengths: np.ndarray) -> int:
    """The most frequent length, the first of equals; 0 without any."""
    if len(lengths) == 0:
        return 0
    values, first, counts = np.unique(lengths, return_index=True, return_counts=True)
    return int(values[np.lexsort([first, -counts])[0]])


def _fit(name: str, index: int, raw_ND: np.ndarray) -> VectorModality:
    seen = raw_ND[~np.isnan(raw_ND).all(axis=1)].astype(np.float64)
    if len(seen) == 0:
        seen = np.zeros((1, raw_ND.shape[1]))
    std = seen.std(axis=0)
    return VectorModality(
        name=name,
        index=index,
        mean=tuple(seen.mean(axis=0).tolist()),
        std=tuple(np.where(std > 0, std, 1.0).tolist()),
    )


def _standardise(item: VectorModality, raw_ND: np.ndarray, present_N: np.ndarray) -> np.ndarray:
    z_ND = (raw_ND - np.array(item.mean)) / np.array(item.std)
    return np.where(present_N[:, None], z_ND.clip(-MOST_Z, MOST_Z), 0.0).astype(np.float32)
