"""The table of eyes or patients: who is in, and what each row says."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from remind.cohort.checks import unique_ids
from remind.cohort.columns import as_text, clean_text, is_text, missing_values, read_ids
from remind.cohort.columns import text_of_numbers as numbers_as_text
from remind.cohort.tables import Table, column_names, find_files, read_columns, require_columns
from remind.errors import InputError
from remind.sources.eye.layout import Layout
from remind.sources.manifest import Manifest, sha256_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Rows of the table. Everything is by position in the table; `order` says who is in.

    Args:
        table: all columns that the layout names.
        order: positions of the rows that are in, sorted by id.
        ids: text.
        labels: the class, None where there is none.
        persons, splits: None if there is no column for them.
        has_values: tabular modality → positions of the rows with a value in one of its columns.
    """

    table: Table
    order: list[int]
    ids: Sequence[str]
    labels: Sequence[str | None]
    persons: Sequence[str] | None
    splits: Sequence[str | None] | None
    has_values: dict[str, set[int]]

    @property
    def with_tabular(self) -> set[int]:
        """Positions of the rows with a tabular modality."""
        return set().union(*self.has_values.values())

    def only(self, order: list[int]) -> "Rows":
        """These rows alone."""
        return replace(self, order=order)

    def text(self, column: str) -> list[str | None]:
        """The cells of a column as text, None where empty."""
        return text_of(self.table, column)

    def classes(self) -> dict[str, int]:
        """Class → number of rows that are in."""
        return dict(sorted(Counter(str(self.labels[row]) for row in self.order).items()))


def read_rows(plan: Layout, root: Path, manifest: Manifest) -> Rows:
    """Read the table; rows without a label or split are left out, in steps of the flow.

    Raises:
        InputError: it cannot be read, lacks a column, repeats an id, or no row is left.
    """
    files = find_files(plan.cohort.table, root)
    names, wanted = column_names(files), plan.columns()
    for column, where in wanted.items():
        require_columns(names, [column], str(files[0]), f"{where} of {plan.source}")
    table = read_columns(files, list(wanted), root)
    for file, (_, num_rows) in zip(files, table.shards, strict=True):
        facts = {"bytes": file.stat().st_size, "sha256": sha256_of(file), "rows": num_rows}
        manifest.tables[file.name] = {"path": str(file), **facts}
    ids = _ids(table, plan.cohort.id_columns)
    unique_ids(table, plan.cohort.id_name, np.array(ids, dtype=object))
    person, split = plan.cohort.person, plan.split.column
    rows = Rows(
        table=table,
        order=sorted(range(len(table)), key=ids.__getitem__),
        ids=ids,
        labels=text_of(table, plan.cohort.label),
        persons=None if person is None else as_text(read_ids(table, person, "group_by")).tolist(),
        splits=None if split is None else text_of(table, split),
        has_values={
            name: _with_a_value(table, keys["columns"])
            for name, keys in plan.modalities.items()
            if name not in plan.files
        },
    )
    manifest.step(f"{plan.cohort.unit} in {plan.cohort.table}", len(table))
    return _with_split(plan, _with_label(plan, rows, manifest), manifest)


def text_of(table: Table, column: str) -> list[str | None]:
    """The cells of a column as text, None where empty; whole numbers have no decimal point."""
    values = table.data[column]
    if is_text(values.type):
        return clean_text(values).to_pylist()
    if column in table.untyped:
        return clean_text(values).to_pylist()
    return numbers_as_text(values).to_pylist()


def _with_label(plan: Layout, rows: Rows, manifest: Manifest) -> Rows:
    rows = rows.only([row for row in rows.order if rows.labels[row] is not None])
    manifest.step(f"{plan.cohort.unit} with a label", len(rows.order))
    if not plan.labels:
        return _not_empty(rows, plan, f'no row has a value in the column "{plan.cohort.label}"')
    labels = [None if text is None else plan.labels.get(text) for text in rows.labels]
    others = sorted({str(rows.labels[row]) for row in rows.order if labels[row] is None})
    rows = replace(rows, labels=labels, order=[row for row in rows.order if labels[row]])
    what = f"{plan.cohort.unit} with a label that [labels] names"
    manifest.step(what + _others(others), len(rows.order))
    return _not_empty(rows, plan, f"[labels] names none of the values{_others(others)}")


def _with_split(plan: Layout, rows: Rows, manifest: Manifest) -> Rows:
    if rows.splits is None:
        return rows
    names = plan.split.values
    splits = rows.splits
    if names is not None:
        splits = [None if text is None else names.get(text) for text in rows.splits]
    others = sorted({str(rows.splits[row]) for row in rows.order if splits[row] is None})
    rows = replace(rows, splits=splits, order=[row for row in rows.order if splits[row]])
    manifest.step(f"{plan.cohort.unit} with a split{_others(others)}", len(rows.order))
    return _not_empty(rows, plan, f"[split] names none of the values{_others(others)}")


def _not_empty(rows: Rows, plan: Layout, why: str) -> Rows:
    if not rows.order:
        raise InputError(f"{plan.source}: {why}: correct the layout or the table")
    return rows


def _others(others: list[str], limit: int = 5) -> str:
    """Values that are not named, in words."""
    if not others:
        return ""
    more = f" and {len(others) - limit} more" if len(others) > limit else ""
    return f" (not {', '.join(others[:limit])}{more})"


def _ids(table: Table, columns: list[str]) -> list[str]:
    parts = [as_text(read_ids(table, column, "id")).tolist() for column in columns]
    return ["_".join(part) for part in zip(*parts, strict=True)]


def _with_a_value(table: Table, columns: list[str]) -> set[int]:
    is_missing_N = np.all([missing_values(table.data[column]) for column in columns], axis=0)
    return set(np.flatnonzero(~is_missing_N).tolist())
