"""Where the tables of eICU-CRD are, and which version they are of."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from remind.errors import InputError
from remind.sources.manifest import Manifest
from remind.sources.raw import SUFFIXES, RawTables

TITLE = "eICU-CRD"
IS_VERSION = re.compile(r"\d+\.\d+(?:\.\d+)?")
ID = "patientunitstayid"


@dataclass(frozen=True, kw_only=True)
class Release:
    """The tables of a release, whatever the case of their file names.

    Args:
        tables: of the root; they do the work.
        names: lower case → the name of the file without suffix.
        manifest: takes what is absent.
    """

    tables: RawTables
    names: Mapping[str, str]
    manifest: Manifest

    def has(self, name: str, meaning: str) -> bool:
        """Whether a table is there; if not, the manifest says what that means."""
        if self._path(name) is not None:
            return True
        self.manifest.absent[f"{TITLE} {name}"] = meaning
        return False

    def view(self, name: str, columns: Mapping[str, str]) -> str:
        """The name of the typed view of a table (see `RawTables.view`).

        Raises:
            InputError: no such table or column.
        """
        return self.tables.view(self._name(name), columns, as_name=f"raw_{name.lower()}")

    @contextmanager
    def reading(self, name: str) -> Iterator[None]:
        """Turn errors while a table is read into one sentence that names its file."""
        with self.tables.explained(self._path(name)):
            yield

    def _name(self, name: str) -> str:
        return self.names.get(name.lower(), name)

    def _path(self, name: str) -> Path | None:
        return self.tables.find(self._name(name))


def open_release(tables: RawTables, manifest: Manifest) -> Release:
    """List the files of the root; patient must be there.

    Raises:
        InputError: it is not.
    """
    release = Release(tables=tables, names=_names(tables.root), manifest=manifest)
    if tables.find(release.names.get("patient", "patient")) is None:
        raise InputError(
            f"{tables.root} has no table patient (.csv.gz, .csv or .parquet): --root must be the "
            f"folder of {TITLE} that holds patient.csv.gz"
        )
    return release


def version_of(root: Path) -> str | None:
    """Of the release, by the name of its folder, as in "eicu-crd-demo-2.0.1"."""
    for name in (root.name, root.resolve().name):
        if (match := IS_VERSION.search(name)) is not None:
            return match[0]
    return None


def _names(root: Path) -> dict[str, str]:
    names: dict[str, str] = {}
    for path in sorted(root.iterdir()):
        suffix = next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), "")
        if suffix or path.is_dir():
            name = path.name.removesuffix(suffix)
            names.setdefault(name.lower(), name)
    return names
