"""What the kinds have in common whose values are files: images, volumes and signals.

Every distinct file is decoded once, into a record of fixed shape in a store on disk under the
digest of its content; a cohort holds places of records only. A killed run goes on where it was, a
second one decodes nothing, and a file that changes is decoded again.
"""

# N patients, V files (items), S distinct records, K numbers of a summary

import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from remind.cohort.formats import FormatError
from remind.cohort.kinds.base import FlatColumns, Kind, ModalitySpec
from remind.cohort.kinds.decoding import FileDecoder
from remind.cohort.kinds.events import check_hours
from remind.cohort.kinds.paths import Paths, paths_of_column, paths_of_table
from remind.cohort.kinds.ragged import Ragged
from remind.cohort.kinds.reading import Reading
from remind.cohort.store import RecordStore

MOST_LISTED = 5
CHUNK_BYTES = 8 << 20


class FileSpec(ModalitySpec):
    """Where the files are: one of `column` and `table`. Paths are relative to the cohort's folder.

    `column`: of the cohort's table: a path per patient, several joined by ";", or a list of them.
    `table`: of its own, with a row per file. `id`: its column of patients, named as the cohort's
    id if left out. `path`: its column of paths. `time`: its column of times, in hours, which
    `since` and `until` need: what is earlier or later is never used. `num_tokens`: of a patient in
    the model.
    """

    column: str | None = None
    table: str | None = None
    id: str | None = None
    path: str = "path"
    time: str | None = None
    since: float | None = None
    until: float | None = None
    num_tokens: int = Field(default=2, ge=1, le=16)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.column is None) == (self.table is None):
            raise ValueError("needs either a column of paths or a table of them: give one of both")
        for key in ("time", "since", "until"):
            if self.column is not None and getattr(self, key) is not None:
                raise ValueError(f"has {key}, which needs a table: remove it")
        check_hours(self.time, self.since, self.until)
        if self.time is not None and self.since is None and self.until is None:
            raise ValueError("has time, which has a meaning with since or until only: give one")
        return self

    @property
    def feature_columns(self) -> tuple[str, ...]:
        """The column of the cohort's table that holds the paths, if one does."""
        return () if self.column is None else (self.column,)


@dataclass(frozen=True, kw_only=True)
class FileModality:
    """What training found of one modality.

    Args:
        name: of the modality.
        index: into the cohort's modalities.
        num_tokens: of a patient in the model.
    """

    name: str
    index: int
    num_tokens: int


@dataclass(frozen=True, kw_only=True)
class FileSchema:
    """All modalities of one kind, in order."""

    modalities: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class FileValues:
    """Raw values: the records of each patient's files, in the order of their digests.

    Args:
        items: columns `place` (in the store, int64) and `key` (digest, bytes).
        store: where the records are.
        folder: of the table that named them, where relative paths start.
    """

    items: Ragged
    store: RecordStore
    folder: Path

    def distinct(self) -> tuple[np.ndarray, np.ndarray]:
        """Places of the distinct records, and which of them each item is."""
        return np.unique(self.items.columns["place"], return_inverse=True)


@dataclass(frozen=True, kw_only=True, eq=False)
class FileEncoded:
    """Where the records of each patient are, and how their numbers become standard ones.

    Args:
        items: column `place`.
        store: where the records are.
        shift, scale: float32 that broadcast with a record: standard = (record - shift) * scale.
    """

    items: Ragged
    store: RecordStore
    shift: np.ndarray
    scale: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class FileBatch:
    """Items of the patients of a batch; tensors once in a Batch.

    Args:
        x_V: float32, the standard numbers of V records.
        owner_V: position of the patient in the batch, int64, ascending.
    """

    x_V: Any
    owner_V: Any


class FileKind(Kind):
    """Raw values are `FileValues`, encoded ones a dict of `FileEncoded`, batches of `FileBatch`."""

    modality: ClassVar[type[FileModality]]

    @abstractmethod
    def decoder(self, spec: Any) -> FileDecoder:
        """What makes records of files."""

    @abstractmethod
    def fit_modality(self, name: str, index: int, raw: FileValues, spec: Any) -> Any:
        """What all patients of `raw` say of a modality."""

    @abstractmethod
    def source(self, item: Any, raw: FileValues) -> FileEncoded:
        """The records that batches are made of; made if need be."""

    @abstractmethod
    def summary(self, item: Any, records_V: np.ndarray) -> tuple[list[str], np.ndarray]:
        """Names of K numbers, and these numbers (V, K) of records, NaN where there is none."""

    def read(self, reading: Reading, spec: FileSpec, schema: FileSchema | None) -> FileValues:
        paths, decoder = _paths(reading, spec), self.decoder(spec)
        if paths is None:
            return self.absent(reading.modality, spec, len(reading.ids), schema)
        files, which_V = paths.distinct()
        keys_U = list(_checked(reading, paths, which_V, decoder.keys(files)))
        key_V = np.array(keys_U, dtype="S32")[which_V]
        is_good_V = key_V != b""
        owner_V, key_V = paths.owner_V[is_good_V], key_V[is_good_V]
        order_V = np.argsort(key_V, kind="stable")
        place_U = dict(zip(keys_U, decoder.store.find(keys_U).tolist(), strict=True))
        place_V = np.array([place_U[key.decode()] for key in key_V[order_V]], dtype=np.int64)
        columns = {"place": place_V, "key": key_V[order_V]}
        items = Ragged.of(owner_V[order_V], len(reading.ids), columns)
        return FileValues(items=items, store=decoder.store, folder=reading.table.folder)

    def absent(
        self, modality: str, spec: FileSpec, num_rows: int, schema: FileSchema | None
    ) -> FileValues:
        nothing = {"place": np.zeros(0, np.int64), "key": np.zeros(0, "S32")}
        items = Ragged.of(np.zeros(0, np.int64), num_rows, nothing)
        return FileValues(items=items, store=self.decoder(spec).store, folder=Path())

    def present(self, raw: FileValues) -> np.ndarray:
        return raw.items.counts_N > 0

    def select(self, raw: FileValues, rows: np.ndarray) -> FileValues:
        return replace(raw, items=raw.items.select(rows))

    def digest(self, raw: FileValues) -> Iterator[bytes]:
        yield raw.store.folder.name.encode()  # says how files become records
        yield raw.items.start_N1.tobytes()
        yield raw.items.columns["key"].tobytes()

    def describe(self, raw: FileValues) -> dict[str, Any]:
        keys = [key.decode() for key in np.unique(raw.items.columns["key"])]
        counts = raw.items.counts_N[self.present(raw)]
        facts = [json.loads(text) for text in raw.store.facts(keys) if text]
        names = dict.fromkeys(name for fact in facts for name in fact)
        return {
            "files": len(raw.items.columns["key"]),
            "distinct": len(keys),
            "per_patient": _range(counts.tolist()),
            "record": list(raw.store.shape),
            **{name: _counted([fact[name] for fact in facts if name in fact]) for name in names},
        }

    def fit(
        self,
        raws: Mapping[str, FileValues],
        specs: Mapping[str, Any],
        indices: Mapping[str, int],
        rows: np.ndarray,
        max_bins: int,
    ) -> FileSchema:
        return FileSchema(
            modalities=tuple(
                self.fit_modality(name, indices[name], self.select(raw, rows), specs[name])
                for name, raw in raws.items()
            )
        )

    def encode(
        self, schema: FileSchema, raws: Mapping[str, FileValues], present_NM: np.ndarray
    ) -> dict[str, FileEncoded]:
        return {
            item.name: self.source(item, _observed(raws[item.name], present_NM[:, item.index]))
            for item in schema.modalities
        }

    def batch(self, encoded: dict[str, FileEncoded], rows: np.ndarray) -> dict[str, FileBatch]:
        return {name: _batch(item, rows) for name, item in encoded.items()}

    def flat(self, schema: FileSchema, raws: Mapping[str, FileValues]) -> FlatColumns:
        tables = [self.table(item, raws[item.name]) for item in schema.modalities]
        return FlatColumns.of([item.index for item in schema.modalities], tables)

    def overview(
        self, schema: FileSchema, raws: Mapping[str, FileValues], rows: np.ndarray
    ) -> FlatColumns:
        """Without the features of a frozen network, which its encoder reads."""
        some = self.some(raws, rows)
        tables = [FileKind.table(self, item, some[item.name]) for item in schema.modalities]
        return FlatColumns.of([item.index for item in schema.modalities], tables)

    def table(self, item: Any, raw: FileValues) -> tuple[list[str], np.ndarray]:
        """Plain columns (N, K) of a modality: number of files, and the mean of their summaries."""
        places_S, which_V = raw.distinct()
        chunks = (self.summary(item, records) for records in read_chunks(raw.store, places_S))
        names, parts = zip(*chunks, strict=True)
        x_NK = mean_of_items(np.concatenate(parts)[which_V], raw.items)
        count_N1 = raw.items.counts_N[:, None].astype(np.float32)
        return (
            [f"{item.name}_{name}" for name in ("files", *names[0])],
            np.concatenate([np.where(count_N1 > 0, count_N1, np.nan), x_NK], axis=1),
        )

    def dump(self, schema: FileSchema) -> dict[str, Any]:
        return {"modalities": [asdict(item) for item in schema.modalities]}

    def load(self, data: Mapping[str, Any]) -> FileSchema:
        items = (
            {key: _frozen(value) for key, value in item.items()} for item in data["modalities"]
        )
        return FileSchema(modalities=tuple(self.modality(**item) for item in items))


def read_chunks(store: RecordStore, places_S: np.ndarray) -> Iterator[np.ndarray]:
    """Records at some places, a few MiB at a time; one empty chunk if there is no place."""
    num = max(1, CHUNK_BYTES // store.record_bytes)
    for start in range(0, max(1, len(places_S)), num):
        yield store.read(places_S[start : start + num])


def mean_of_items(x_VK: np.ndarray, items: Ragged) -> np.ndarray:
    """float32 (N, K): mean over the items of each patient, without NaN; NaN where none is left."""
    owner_V = np.repeat(np.arange(len(items)), items.counts_N)
    is_there_VK = ~np.isnan(x_VK)
    sum_NK, count_NK = np.zeros((2, len(items), x_VK.shape[1]))
    np.add.at(sum_NK, owner_V, np.where(is_there_VK, x_VK, 0.0))
    np.add.at(count_NK, owner_V, is_there_VK)
    return np.where(count_NK > 0, sum_NK / np.maximum(count_NK, 1), np.nan).astype(np.float32)


def _paths(reading: Reading, spec: FileSpec) -> Paths | None:
    if spec.column is not None:
        return paths_of_column(reading, spec.column)
    assert spec.table is not None
    return paths_of_table(
        reading,
        spec.table,
        spec.id or reading.id_column,
        spec.path,
        time=spec.time,
        since=spec.since,
        until=spec.until,
    )


def _checked(
    reading: Reading, paths: Paths, which_V: np.ndarray, keys: Iterator[str | FormatError]
) -> Iterator[str]:
    """The keys of distinct paths, "" for one that is refused."""
    for u, key in enumerate(keys):
        if isinstance(key, FormatError):
            for v in np.flatnonzero(which_V == u):
                reading.reject(f"{paths.where(int(v))}, which {key}", paths.owner_V[v])
            yield ""
        else:
            yield key


def _observed(raw: FileValues, present_N: np.ndarray) -> FileValues:
    """The same patients without the files of those that are not present."""
    owner_V, place_V = raw.items.items(np.flatnonzero(present_N))
    columns = {name: values[place_V] for name, values in raw.items.columns.items()}
    items = Ragged.of(np.flatnonzero(present_N)[owner_V], len(raw.items), columns)
    return replace(raw, items=items)


def _batch(item: FileEncoded, rows: np.ndarray) -> FileBatch:
    owner_V, place_V = item.items.items(rows)
    records_V = item.store.read(item.items.columns["place"][place_V])
    x_V = (records_V.astype(np.float32) - item.shift) * item.scale
    return FileBatch(x_V=x_V, owner_V=owner_V.astype(np.int64))


def _counted(values: list[Any]) -> Any:
    """Text and small whole numbers with their counts, other numbers as a range."""
    counts = Counter(values)
    if all(isinstance(value, (int, float)) for value in counts) and len(counts) > MOST_LISTED:
        return _range(values)
    listed = {str(value): num for value, num in counts.most_common(MOST_LISTED)}
    return listed if len(counts) <= MOST_LISTED else {**listed, "others": len(counts) - MOST_LISTED}


def _range(values: list[Any]) -> dict[str, float | None]:
    low, middle, high = np.quantile(values, [0, 0.5, 1]).tolist() if values else (None,) * 3
    return {"min": low, "median": middle, "max": high}


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
