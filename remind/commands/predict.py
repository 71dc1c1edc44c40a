"""`remind predict`: predictions for a table of patients, and how far they are from training."""

# N patients, M modalities

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from remind.cohort import Cohort, CohortSpec, invalid_lines, read_table_for_prediction
from remind.cohort.arrays import chunks
from remind.cohort.checks import unread_columns
from remind.cohort.outside import empty_columns, outside
from remind.cohort.tables import column_names, find_files, matching
from remind.errors import InputError
from remind.evaluation.predictions import check_place, write_whole
from remind.run_files import OF_A_RUN
from remind.training import Run

PREDICTED_AT_ONCE = 1 << 18  # patients
NUM_NAMED = 10  # columns in a line


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """What was predicted, and how far it is from what training saw.

    Args:
        num_patients: of the table.
        num_unseen: of them with a combination of modalities that training never saw.
        absent: modalities that training had and nobody here has.
        empty: columns of other tabular modalities, of which the same holds.
        unread: columns of the table that no modality reads; none where it has the columns of all.
        unknown, beyond: as in `remind.cohort.outside.Outside`, of all patients.
        renamed: columns of the predictions that the id has the name of -> what they are called.
        invalid: a line for each modality with values that were invalid and count as missing.
    """

    num_patients: int
    num_unseen: int
    absent: tuple[str, ...]
    empty: tuple[str, ...]
    unread: tuple[str, ...]
    unknown: Mapping[str, int]
    beyond: Mapping[str, int]
    renamed: Mapping[str, str]
    invalid: tuple[str, ...]


def predict_table(run: Run, table: str, out: Path) -> Predicted:
    """Predict for a table of patients and write the predictions.

    Columns: the id, prob_<class> for each class, group, n_train, band, and outside: how many
    observed values of the patient are outside of training (`remind.cohort.outside`). One that is
    named like the id has an underscore behind it.

    Raises:
        InputError: the table does not fit the run, or the output has another suffix, cannot be
            written, or is a file that is read or one of the run.
    """
    files = find_files(table, Path())
    _check_output(run, files, out)
    cohort = read_table_for_prediction(run.spec, table, encoding=run.encoding)
    parts = _Parts(run, cohort)
    is_parquet = out.name.lower().endswith(".parquet")
    write_whole(out, lambda path: _write(iter(parts), path, is_parquet=is_parquet))
    groups, names = run.encoding.groups, column_names(files)
    is_lost_M = groups.patterns_GM.any(axis=0) & ~cohort.present_NM.any(axis=0)
    columns = {c for modality in run.spec.modalities.values() for c in modality.feature_columns}
    return Predicted(
        num_patients=len(cohort),
        num_unseen=int(np.count_nonzero(groups.ids(cohort.present_NM) < 0)),
        absent=tuple(np.array(groups.modalities, dtype=object)[is_lost_M].tolist()),
        empty=empty_columns(run.encoding, cohort),
        unread=() if columns <= set(names) else tuple(unread_columns(run.spec, names)),
        unknown=parts.unknown,
        beyond=parts.beyond,
        renamed=parts.renamed,
        invalid=tuple(invalid_lines(cohort)),
    )


def predicted_lines(predicted: Predicted) -> list[str]:
    """What a reader of the predictions must know, a line each; none if nothing is unusual."""
    lines = [
        f'the column "{old}" is the id: what it is of the predictions is "{new}"'
        for old, new in predicted.renamed.items()
    ]
    lines += predicted.invalid
    if predicted.absent:
        lines.append(f"nobody has {_few(predicted.absent)}, which training had")
    if predicted.empty:
        columns = _few([f'"{name}"' for name in predicted.empty])
        lines.append(f"nobody has a value of {columns}, which training had")
    if predicted.unread:
        columns = _few([f'"{name}"' for name in predicted.unread])
        lines.append(f"columns that no modality reads: {columns}")
    for what, counts in (
        ("a category, variable or code that training does not know", predicted.unknown),
        ("a value beyond the range of training", predicted.beyond),
    ):
        if counts:
            most = sorted(counts, key=lambda name: (-counts[name], name))
            named = _few([f"{name} {counts[name]}" for name in most])
            lines.append(f"patients of {predicted.num_patients} with {what}: {named}")
    return lines


class _Parts:
    """Tables of some patients after the other; what is outside of training is counted meanwhile."""

    def __init__(self, run: Run, cohort: Cohort) -> None:
        self.run, self.cohort = run, cohort
        self.unknown: Counter[str] = Counter()
        self.beyond: Counter[str] = Counter()
        self.renamed: dict[str, str] = {}

    def __iter__(self) -> Iterator[pd.DataFrame]:
        for rows in chunks(len(self.cohort), PREDICTED_AT_ONCE):
            yield self._part(self.cohort.select(np.arange(rows.start, rows.stop)))

    def _part(self, cohort: Cohort) -> pd.DataFrame:
        frame, found = self.run.predict(cohort), outside(self.run.encoding, cohort)
        self.unknown.update(found.unknown)
        self.beyond.update(found.beyond)
        frame["outside"] = found.num_N
        probabilities = [str(column) for column in frame if str(column).startswith("prob_")]
        kept = [*probabilities, "group", "n_train", "band", "outside"]
        id_column = self.run.spec.cohort.id
        self.renamed = {name: f"{name}_" for name in kept if name == id_column}
        columns = {id_column: frame["id"]}
        return pd.DataFrame(columns | {self.renamed.get(c, c): frame[c] for c in kept})


def _check_output(run: Run, files: list[Path], out: Path) -> None:
    """Before anything is read: the file can be there, and takes the place of nothing that is read.

    Raises:
        InputError: it cannot, or does.
    """
    if not out.name.lower().endswith((".csv", ".csv.gz", ".parquet")):
        raise InputError(f"{out}: predictions are written as .csv, .csv.gz or .parquet: rename it")
    check_place(out, "the predictions")
    is_in_run = run.folder is not None and out.parent.resolve() == run.folder.path.resolve()
    if is_in_run and any(fnmatch(out.name, pattern) for pattern in OF_A_RUN):
        raise InputError(f"{out} is a file of the run: write the predictions elsewhere")
    read = [*files, *_tables(run.spec, files[0].parent)]
    root = _root(run)
    read += [*matching(run.spec.cohort.table, root), *_tables(run.spec, root)]
    if out.exists() and any(file.exists() and out.samefile(file) for file in read):
        raise InputError(f"{out} holds patients: write the predictions elsewhere")


def _root(run: Run) -> Path:
    """The folder of the cohort that it was fitted on."""
    path = Path(run.origin.path)
    if not run.origin.path:
        return run.spec.root
    return path if path.is_dir() else path.parent


def _tables(spec: CohortSpec, folder: Path) -> list[Path]:
    """The tables of their own that modalities have in a folder."""
    return [file for pattern in spec.long_tables for file in matching(pattern, folder)]


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - NUM_NAMED} more" if len(names) > NUM_NAMED else ""
    return ", ".join(names[:NUM_NAMED]) + more


def _write(parts: Iterator[pd.DataFrame], path: Path, *, is_parquet: bool) -> None:
    """Write the parts of a table one after the other; none is kept."""
    if not is_parquet:
        for number, part in enumerate(parts):
            part.to_csv(path, index=False, header=number == 0, mode="a" if number else "w")
        return
    first = pa.Table.from_pandas(next(parts), preserve_index=False)
    with pq.ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        for part in parts:
            writer.write_table(pa.Table.from_pandas(part, first.schema, preserve_index=False))
