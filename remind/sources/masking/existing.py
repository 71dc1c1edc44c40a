"""A cohort folder that is there already, as a source: its tables are copied, its files named."""

import json
import logging
from importlib import resources
from pathlib import Path
from typing import Any

from remind.cohort import CohortSpec, load_spec
from remind.cohort.kinds.files import FileSpec
from remind.cohort.kinds.vector import VectorSpec
from remind.cohort.tables import Table, find_files, read_columns
from remind.errors import InputError
from remind.sources.manifest import MANIFEST, Manifest, sha256_of
from remind.sources.masking.layout import places, read_content, write_content
from remind.sources.masking.tables import rewrite, with_whole_paths

OPTIONS = ("root",)
BUILT_IN = {"support2": "support2.toml"}  # in the package
LOG = logging.getLogger(__name__)
PATH_KEYS = ("model", "weights")  # of a modality: files relative to the cohort


def write(folder: Path, *, root: Path) -> Manifest:
    """Fill an empty folder with the cohort of another.

    Its tables are copied, so that they can change; images and other files stay where they are, and
    the copied tables name them by absolute paths.

    Args:
        folder: that exists.
        root: a cohort.toml, its folder, or the name of a built-in cohort with tables (support2).

    Returns:
        What was copied, with the manifest of the original, if it has one.

    Raises:
        InputError: there is no such cohort, or a table of it is not there.
    """
    spec = _find(root)
    content = read_content(spec)
    manifest = Manifest(source="cohort", unit="patients", options={"root": str(root)})
    content["cohort"]["table"] = _copy(
        spec, spec.cohort.table, folder, "patients", _path_columns(spec), manifest
    )
    for table, owners in spec.long_tables.items():
        columns = [
            modality.path
            for modality in (spec.modalities[owner] for owner in owners)
            if isinstance(modality, FileSpec)
        ]
        pattern = _copy(spec, table, folder, owners[0], columns, manifest)
        for owner in owners:
            content["modalities"][owner]["table"] = pattern
    for section in content["modalities"].values():
        _with_whole_keys(section, spec.root.absolute())
    write_content(folder, content)
    manifest.step("patients of the cohort", _num_patients(spec))
    original = spec.root / MANIFEST
    if original.is_file():
        manifest.code_lists["original"] = json.loads(original.read_text(encoding="utf-8"))
    return manifest


def _find(root: Path) -> CohortSpec:
    if str(root) in BUILT_IN and not root.exists():
        file = resources.files("remind.sources") / "data" / BUILT_IN[str(root)]
        return load_spec(Path(str(file)))
    if not root.exists():
        built_in = ", ".join(BUILT_IN)
        raise InputError(
            f"{root} does not exist: give --root a cohort.toml, its folder, or {built_in}"
        )
    return load_spec(root)


def _path_columns(spec: CohortSpec) -> list[str]:
    """Columns of the cohort's table that may hold paths."""
    with_paths = (FileSpec, VectorSpec)
    return [
        modality.column
        for modality in spec.modalities.values()
        if isinstance(modality, with_paths) and modality.column is not None
    ]


def _copy(
    spec: CohortSpec,
    pattern: str,
    folder: Path,
    name: str,
    path_columns: list[str],
    manifest: Manifest,
) -> str:
    """Copy the files of a table; the pattern of the copies."""
    files, copied = places(spec, pattern, folder, name)
    edit = with_whole_paths(path_columns, spec.root.absolute()) if path_columns else None
    for file, target in files.items():
        if not file.is_file():
            raise InputError(f"{file} does not exist: the cohort {spec.source} names it")
        LOG.info("copying %s", file)
        rewrite(file, target, edit)
        facts: dict[str, Any] = {"path": str(file), "bytes": file.stat().st_size}
        manifest.tables[str(target.relative_to(folder))] = {**facts, "sha256": sha256_of(file)}
    return copied


def _with_whole_keys(section: dict[str, Any], root: Path) -> None:
    for key in PATH_KEYS:
        value = section.get(key)
        if isinstance(value, str) and (root / value).exists():
            section[key] = str(root / value)


def _num_patients(spec: CohortSpec) -> int:
    table: Table = read_columns(
        find_files(spec.cohort.table, spec.root), [spec.cohort.id], spec.root
    )
    return len(table)
