"""Eye imaging by layout: a table of eyes or patients, and files per modality wherever they lie.

FPRM, the eye-imaging set of the paper (arXiv:2603.00046), has no public loader or description: a
layout file says where its table and files are, as for any other set (docs/eye.md).
"""

import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import tomli_w

from remind.cohort.columns import read_feature
from remind.errors import InputError
from remind.sources.checks import check_seed
from remind.sources.eye.files import FilesOfRows, find_files_of_rows
from remind.sources.eye.layout import LAYOUT, Layout, load_layout
from remind.sources.eye.rows import Rows, read_rows
from remind.sources.manifest import Manifest, sha256_of

OPTIONS = ("root", "layout", "seed")
MISSING_FILES = "missing_files.csv"
LOG = logging.getLogger(__name__)


def write(folder: Path, *, root: Path, layout: Path | None = None, seed: int = 0) -> Manifest:
    """Fill an empty folder with the cohort; the files stay where they are.

    Args:
        folder: that exists.
        root: where the paths of the layout start.
        layout: a TOML file; by default layout.toml in the root.
        seed: of the split, where the layout names no column for it.

    Returns:
        What was done.

    Raises:
        InputError: the layout, the table or what it holds cannot be used, or nobody is left.
    """
    if not root.is_dir():
        raise InputError(f"{root} is no folder: give --root the folder of the images")
    check_seed("eye", seed)
    root, file = root.absolute(), layout or root / LAYOUT
    plan = load_layout(file, root)
    manifest = Manifest(
        source="eye",
        unit=plan.cohort.unit,
        options={"root": str(root), "layout": str(file), "seed": seed},
    )
    rows = read_rows(plan, root, manifest)
    if plan.cohort.person != plan.cohort.group_by:
        manifest.notes.append(
            f'the layout has no group_by: rows of one "{plan.cohort.person}", the first column of '
            "its id, never cross splits"
        )
    files = {}
    for name, part in plan.files.items():
        LOG.info("looking for the files of %s", name)
        files[name] = find_files_of_rows(part, plan.modalities[name]["kind"], root, rows)
    rows = _observed_rows(plan, rows, files, manifest)
    counts = {name: _write_paths(folder, plan, name, rows, files[name]) for name in files}
    counts |= _tabular(plan, rows)
    manifest.counts = {"modalities": counts, "classes": rows.classes()}
    manifest.tables[LAYOUT] = {"path": str(file), "sha256": sha256_of(file)}
    manifest.absent |= _absent(counts, files)
    _write_missing(folder, plan, rows, files, manifest)
    _write_table(folder, plan, rows)
    _write_toml(folder, plan, manifest.absent, seed)
    return manifest


def _observed_rows(
    plan: Layout, rows: Rows, files: dict[str, FilesOfRows], manifest: Manifest
) -> Rows:
    """The rows that are observed in a modality."""
    is_observed = rows.with_tabular.union(
        row for found in files.values() for row, paths in found.paths.items() if paths
    )
    keep = [row for row in rows.order if row in is_observed]
    manifest.step(f"{plan.cohort.unit} observed in a modality", len(keep))
    if not keep:
        first = next((path for found in files.values() for _, path in found.missing), None)
        example = "" if first is None else f", such as {first}"
        raise InputError(
            f"{plan.source}: no file that it names is there{example}: "
            "correct --root, or the paths and folders of the layout"
        )
    return rows.only(keep)


def _write_paths(
    folder: Path, plan: Layout, name: str, rows: Rows, found: FilesOfRows
) -> dict[str, int]:
    """Write the table of a modality's files, if it has any; return its counts."""
    ids, paths = [], []
    for row in rows.order:
        ids += [rows.ids[row]] * len(found.paths[row])
        paths += map(str, found.paths[row])
    if paths:
        pq.write_table(
            pa.table({plan.cohort.id_name: ids, "path": paths}), folder / f"{name}.parquet"
        )
    return {"n": len(set(ids)), "files": len(paths), "missing files": len(found.missing)}


def _tabular(plan: Layout, rows: Rows) -> dict[str, dict[str, int]]:
    names = [name for name in plan.modalities if name not in plan.files]
    return {name: {"n": sum(map(rows.has_values[name].__contains__, rows.order))} for name in names}


def _absent(counts: dict[str, dict[str, int]], files: dict[str, FilesOfRows]) -> dict[str, str]:
    """Modalities that no row is observed in, and why."""
    absent = {}
    for name in (name for name, count in counts.items() if not count["n"]):
        missing = files[name].missing if name in files else []
        if name not in files:
            why = "no row has a value in its columns"
        elif files[name].is_pattern:
            why = "no file matches its pattern"
        elif missing:
            why = f"none of the {len(missing):,} files named for it is there, such as"
            why += f" {missing[0][1]}"
        else:
            why = "no row names a file for it"
        absent[name] = f"{why}; it is no modality of the cohort"
    return absent


def _write_missing(
    folder: Path, plan: Layout, rows: Rows, files: dict[str, FilesOfRows], manifest: Manifest
) -> None:
    """List the files that are named and not there."""
    missing = [
        (rows.ids[row], name, path) for name, found in files.items() for row, path in found.missing
    ]
    if not missing:
        return
    columns = [list(column) for column in zip(*missing, strict=True)]
    table = pa.table(dict(zip((plan.cohort.id_name, "modality", "path"), columns, strict=True)))
    pa_csv.write_csv(table, folder / MISSING_FILES)
    manifest.notes.append(
        f"files that are named and not there, which count as unobserved: {len(missing):,}"
        f" ({MISSING_FILES} lists them)"
    )


def _write_table(folder: Path, plan: Layout, rows: Rows) -> None:
    """Write patients.parquet: the roles, and the columns of tabular modalities."""
    part = plan.cohort
    roles = {part.label: rows.labels, part.person: rows.persons, plan.split.column: rows.splits}
    data: dict[str, Any] = {
        name: [values[row] for row in rows.order]
        for name, values in {**roles, part.id_name: rows.ids}.items()
        if name is not None and values is not None
    }
    for column in plan.tabular_columns:
        values = read_feature(rows.table, column).iloc[rows.order]
        data[column] = pa.array(values, from_pandas=True)
    pq.write_table(pa.table(data), folder / "patients.parquet")


def _write_toml(folder: Path, plan: Layout, absent: dict[str, str], seed: int) -> None:
    content = plan.content(seed)
    content["modalities"] = {
        name: keys for name, keys in content["modalities"].items() if name not in absent
    }
    (folder / "cohort.toml").write_text(tomli_w.dumps(content), encoding="utf-8")
