"""A cohort in memory: who is observed in what. Read once, validated, never changed."""

# N patients, M modalities

import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from remind.cohort import checks
from remind.cohort.arrays import chunks
from remind.cohort.columns import as_text, read_ids, read_labels, read_splits
from remind.cohort.kinds import KINDS
from remind.cohort.kinds.reading import OtherIds, Reading
from remind.cohort.schema import CohortSpec, load_spec
from remind.cohort.split import split_by_fractions
from remind.cohort.tables import (
    Table,
    column_names,
    find_files,
    frame_columns,
    read_columns,
    require_columns,
    source_name,
    table_from_frame,
)
from remind.errors import InputWarning

if TYPE_CHECKING:
    from remind.cohort.encoding import Encoding


@dataclass(frozen=True, kw_only=True, eq=False)
class Cohort:
    """Raw, validated values of N patients.

    Args:
        spec: the cohort.toml it came from.
        ids: (N,) unique.
        label_N: class index int64, or None for a table to predict.
        classes: class names, in numeric order when numeric; the positive one of two is the last.
        split: (N,) 'train', 'val' or 'test', or None for a table to predict.
        person: (N,) rows of one person share a value.
        values: modality -> raw values of its kind.
        present_NM: whether each modality is observed, bool.
        invalid: modality -> a sentence for each of its values that was invalid and counts as
            missing, for cohorts whose cohort.toml says so.
        left_out: ids of the patients to train on that are not here, for all that they have is
            invalid, or of modalities that were left out.
        others: modality -> what its long table has of nobody in the cohort, if anything.
    """

    spec: CohortSpec
    ids: np.ndarray
    label_N: np.ndarray | None
    classes: tuple[str, ...]
    split: np.ndarray | None
    person: np.ndarray
    values: dict[str, Any]
    present_NM: np.ndarray
    invalid: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    others: Mapping[str, OtherIds] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def positive(self) -> str | None:
        """The class that F1, AUPRC and calibration are of; None beyond two classes."""
        return self.classes[-1] if len(self.classes) == 2 else None

    def rows(self, split_name: str) -> np.ndarray:
        """int64 indices of the rows of one split.

        Raises:
            ValueError: the cohort is a table to predict.
        """
        if self.split is None:
            raise ValueError(f'a table to predict has no split "{split_name}"')
        return np.flatnonzero(self.split == split_name)

    def select(self, rows: np.ndarray) -> "Cohort":
        """The cohort of some rows, in the order given."""
        kinds = {name: KINDS[modality.kind] for name, modality in self.spec.modalities.items()}
        return replace(
            self,
            ids=self.ids[rows],
            label_N=None if self.label_N is None else self.label_N[rows],
            split=None if self.split is None else self.split[rows],
            person=self.person[rows],
            values={name: kinds[name].select(raw, rows) for name, raw in self.values.items()},
            present_NM=self.present_NM[rows],
        )

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over ids, persons, labels, splits, modalities, values and presence."""
        digest = hashlib.sha256()
        for part in self._content():
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
        return digest.hexdigest()

    def _content(self) -> Iterator[bytes]:
        for texts in (
            self.ids,
            self.person,
            self.classes,
            () if self.split is None else self.split,
        ):
            texts = np.asarray(texts)
            for chunk in chunks(len(texts)) or [slice(0)]:
                yield "\x1f".join(as_text(texts[chunk])).encode()
        yield b"" if self.label_N is None else self.label_N.tobytes()
        yield np.packbits(self.present_NM).tobytes()
        for name, modality in self.spec.modalities.items():
            yield f"{name}:{modality.kind}".encode()
            yield from KINDS[modality.kind].digest(self.values[name])


def read_cohort(spec: CohortSpec | str | Path) -> Cohort:
    """Read the table of a cohort.toml, given as a spec, a file or a folder.

    Raises:
        InputError: the table cannot be read or does not hold what the cohort says.
    """
    spec = spec if isinstance(spec, CohortSpec) else load_spec(spec)
    files = find_files(spec.cohort.table, spec.root)
    names = column_names(files)
    columns = _labelled_columns(spec, names, source_name([str(file) for file in files]))
    return _labelled(spec, read_columns(files, columns, spec.root))


def read_table_for_prediction(
    spec: CohortSpec, table: str | Path, *, encoding: "Encoding"
) -> Cohort:
    """Read patients to predict: the id and whatever modality columns the table has.

    Args:
        spec: the training cohort's.
        table: a path or glob, relative to the working folder; paths in its cells are
            relative to the folder it lies in.
        encoding: the training cohort's; it knows which columns are numeric.

    Raises:
        InputError: the table cannot be read or its columns do not fit.
    """
    files = find_files(str(table), Path())
    names = column_names(files)
    source = source_name([str(file) for file in files])
    modalities = checks.modalities_in(spec, names, source)
    columns = _unlabelled_columns(spec, modalities, names, source)
    return _unlabelled(spec, read_columns(files, columns, files[0].parent), modalities, encoding)


def cohort_from_frame(
    frame: Any,
    spec: CohortSpec,
    *,
    encoding: "Encoding | None" = None,
    leave_out_untrained: bool = False,
    source: str = "the frame",
) -> Cohort:
    """A cohort from a pandas or polars frame; with an encoding, a table to predict.

    Args:
        frame: a row per patient.
        spec: of the cohort.
        encoding: the training cohort's.
        leave_out_untrained: a modality that no training patient has is left out of the cohort and
            its spec, with the patients who have nothing else; otherwise it is an error.
        source: what it is called in errors.

    Raises:
        InputError: the frame does not hold what the spec says.
    """
    names = frame_columns(frame, source)
    if encoding is None:
        columns = _labelled_columns(spec, names, source)
        table = table_from_frame(frame, columns, spec.root, source)
        return _labelled(spec, table, leave_out_untrained=leave_out_untrained)
    modalities = checks.modalities_in(spec, names, source)
    columns = _unlabelled_columns(spec, modalities, names, source)
    table = table_from_frame(frame, columns, spec.root, source)
    return _unlabelled(spec, table, modalities, encoding)


def _labelled_columns(spec: CohortSpec, names: Sequence[str], source: str) -> list[str]:
    for role, column in spec.role_columns.items():
        require_columns(names, [column], source, f'the key "{role}" of {spec.source}')
    for name, modality in spec.modalities.items():
        require_columns(
            names, modality.feature_columns, source, f"[modalities.{name}] of {spec.source}"
        )
    return [
        *spec.role_columns.values(),
        *(c for m in spec.modalities.values() for c in m.feature_columns),
    ]


def _unlabelled_columns(
    spec: CohortSpec, modalities: Sequence[str], names: Sequence[str], source: str
) -> list[str]:
    require_columns(names, [spec.cohort.id], source, f'the key "id" of {spec.source}')
    return [
        spec.cohort.id,
        *(column for name in modalities for column in spec.modalities[name].feature_columns),
    ]


def _labelled(spec: CohortSpec, table: Table, *, leave_out_untrained: bool = False) -> Cohort:
    """Everything that a cohort to train on must hold."""
    ids = read_ids(table, spec.cohort.id, "id")
    checks.unique_ids(table, spec.cohort.id, ids)
    label_N, classes = read_labels(table, spec.cohort.label, ids)
    checks.task_fits(spec, table, classes)
    if checks.positive_class(spec, classes) < len(classes) - 1:
        label_N, classes = 1 - label_N, classes[::-1]
    person = (
        ids if spec.cohort.group_by is None else read_ids(table, spec.cohort.group_by, "group_by")
    )
    read = _read(spec, table, ids, list(spec.modalities), None)
    values, present_NM = read.values, _present(spec, read.values)
    is_kept_N = present_NM.any(axis=1) | ~read.is_rejected_N
    if not is_kept_N.any():
        is_kept_N[:] = True
    checks.everyone_is_observed(table, ids, present_NM | ~is_kept_N[:, None])
    split = _split(spec, table, person, label_N, present_NM)
    checks.split_is_usable(spec, table, np.flatnonzero(is_kept_N), split, label_N, classes, person)
    is_trained_M = np.asarray(present_NM[split == "train"].any(axis=0))
    if leave_out_untrained:
        kept = [name for m, name in enumerate(spec.modalities) if is_trained_M[m]]
        spec = replace(spec, modalities={name: spec.modalities[name] for name in kept})
        values = {name: values[name] for name in kept}
        present_NM = present_NM[:, is_trained_M]
        is_kept_N = is_kept_N & present_NM.any(axis=1)
    else:
        checks.modalities_are_trained(spec, is_trained_M)
    cohort = Cohort(
        spec=spec,
        ids=ids,
        label_N=label_N,
        classes=classes,
        split=split,
        person=person,
        values=values,
        present_NM=present_NM,
        invalid=read.invalid,
        left_out=tuple(as_text(ids[~is_kept_N])),
        others=read.others,
    )
    return cohort if is_kept_N.all() else cohort.select(np.flatnonzero(is_kept_N))


def _unlabelled(
    spec: CohortSpec, table: Table, modalities: Sequence[str], encoding: "Encoding"
) -> Cohort:
    ids = read_ids(table, spec.cohort.id, "id")
    checks.unique_ids(table, spec.cohort.id, ids)
    read = _read(spec, table, ids, modalities, encoding)
    present_NM = _present(spec, read.values)
    checks.everyone_is_observed(table, ids, present_NM)
    return Cohort(
        spec=spec,
        ids=ids,
        label_N=None,
        classes=encoding.classes,
        split=None,
        person=ids,
        values=read.values,
        present_NM=present_NM,
        invalid=read.invalid,
        others=read.others,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Read:
    """What was read of every modality.

    Args:
        values, invalid, others: as in `Cohort`.
        is_rejected_N: whether a patient had an invalid value, bool.
    """

    values: dict[str, Any]
    invalid: dict[str, tuple[str, ...]]
    others: dict[str, OtherIds]
    is_rejected_N: np.ndarray


def _read(
    spec: CohortSpec,
    table: Table,
    ids: np.ndarray,
    modalities: Sequence[str],
    encoding: "Encoding | None",
) -> _Read:
    """Values of every modality, unobserved where the table lacks it."""
    values: dict[str, Any] = {}
    invalid: dict[str, tuple[str, ...]] = {}
    others: dict[str, OtherIds] = {}
    is_rejected_N = np.zeros(len(table), dtype=bool)
    for name, modality in spec.modalities.items():
        kind = KINDS[modality.kind]
        schema = None if encoding is None else encoding.schemas[modality.kind]
        if name not in modalities:
            values[name] = kind.absent(name, modality, len(table), schema)
            continue
        reading = Reading(
            modality=name,
            table=table,
            ids=ids,
            id_column=spec.cohort.id,
            is_training=encoding is None,
            policy=modality.on_invalid,
            has_toml=spec.is_file,
        )
        values[name] = kind.read(reading, modality, schema)
        for sentence in reading.remarks:
            warnings.warn(sentence, InputWarning, stacklevel=2)
        if reading.invalid:
            invalid[name] = tuple(reading.invalid)
            is_rejected_N[list(reading.rejected)] = True
        if reading.others:
            (others[name],) = reading.others
    return _Read(values=values, invalid=invalid, others=others, is_rejected_N=is_rejected_N)


def _present(spec: CohortSpec, values: dict[str, Any]) -> np.ndarray:
    return np.column_stack(
        [KINDS[spec.modalities[name].kind].present(raw) for name, raw in values.items()]
    )


def _split(
    spec: CohortSpec, table: Table, person: np.ndarray, label_N: np.ndarray, present_NM: np.ndarray
) -> np.ndarray:
    section = spec.split
    if section.column is not None:
        return read_splits(table, section.column)
    return split_by_fractions(
        person, label_N, present_NM, val=section.val, test=section.test, seed=section.seed
    )
