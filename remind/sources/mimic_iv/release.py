"""Where the tables of MIMIC-IV and of its modules are, and which version they are of."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from remind.errors import InputError
from remind.sources.manifest import Manifest
from remind.sources.raw import RawTables

TITLE = "MIMIC-IV"
REQUIRED = ("hosp/patients", "hosp/admissions", "icu/icustays")
MODULES = {
    "ed": "MIMIC-IV-ED",
    "note": "MIMIC-IV-Note",
    "cxr": "MIMIC-CXR-JPG",
    "ecg": "MIMIC-IV-ECG",
}
BELOW_ROOT = ("ed", "note")  # looked for there if their option is not given
IS_VERSION = re.compile(r"v?(\d+\.\d+)(?:\.\d+)?")


@dataclass(frozen=True, kw_only=True)
class Release:
    """The tables of a release and of its modules.

    Args:
        tables: of the root; they do the work.
        roots: of the modules ed, note, cxr and ecg; None if the option was not given.
        manifest: takes what is absent.
    """

    tables: RawTables
    roots: Mapping[str, Path | None]
    manifest: Manifest

    def place(self, name: str) -> tuple[str, Path] | None:
        """Name below its root, and this root, of a table that is there, as in "ed/triage"."""
        module, _, short = name.partition("/")
        if module not in MODULES:
            return (name, self.tables.root) if self.tables.find(name) else None
        root = self.roots[module]
        if root is None:
            root = self.tables.root if module in BELOW_ROOT else None
        for candidate in (name, short):
            if root is not None and self.tables.find(candidate, root) is not None:
                return candidate, root
        return None

    def has(self, name: str, meaning: str) -> bool:
        """Whether a table is there; if not, the manifest says what that means.

        Raises:
            InputError: the option of its module was given, so that it should be there.
        """
        if self.place(name) is not None:
            return True
        module, _, short = name.partition("/")
        root = self.roots.get(module)
        if root is not None:
            raise InputError(
                f"{root} has no table {short} (.csv.gz, .csv or .parquet): --{module} must be the "
                f"folder of {MODULES[module]} that holds it"
            )
        self.manifest.absent[f"{MODULES.get(module, TITLE)} {short}"] = meaning
        return False

    def view(self, name: str, columns: Mapping[str, str]) -> str:
        """The name of the typed view of a table (see `RawTables.view`): "raw_hosp_labevents".

        Raises:
            InputError: no such table or column.
        """
        short, root = self.place(name) or (name, self.tables.root)
        as_name = f"raw_{name.replace('/', '_')}"
        return self.tables.view(short, columns, as_name=as_name, root=root)

    @contextmanager
    def reading(self, name: str) -> Iterator[None]:
        """Turn errors while a table is read into one sentence that names its file."""
        short, root = self.place(name) or (name, self.tables.root)
        with self.tables.explained(self.tables.find(short, root)):
            yield


def open_release(
    tables: RawTables, roots: Mapping[str, Path | None], manifest: Manifest
) -> Release:
    """Check that the folders and the required tables are there.

    Raises:
        InputError: one of them is not.
    """
    for module, root in roots.items():
        if root is not None and not root.is_dir():
            raise InputError(
                f"{root} is no folder: give --{module} the folder of {MODULES[module]}"
            )
    for name in REQUIRED:
        if tables.find(name) is None:
            raise InputError(
                f"{tables.root} has no table {name} (.csv.gz, .csv or .parquet): --root must be "
                f"the folder of {TITLE} that holds hosp/ and icu/"
            )
    return Release(tables=tables, roots=roots, manifest=manifest)


def version_of(root: Path) -> str | None:
    """Of the release: by its CHANGELOG.txt, or by the name of its folder."""
    log = root / "CHANGELOG.txt"
    if log.is_file():
        found = re.findall(
            rf"{TITLE} {IS_VERSION.pattern}", log.read_text(encoding="utf-8", errors="replace")
        )
        if found:
            return max(found, key=lambda version: tuple(map(int, version.split("."))))
    for name in (root.name, root.resolve().name):
        if (match := IS_VERSION.search(name)) is not None:
            return match[1]
    return None
