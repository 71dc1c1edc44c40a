"""The run folder: everything needed to repeat, continue and use a fit."""

import importlib.metadata
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
import torch

from remind.cohort import CohortSpec, Encoding, spec_from_dict
from remind.errors import InputError
from remind.run_files import (
    CHECKPOINTS,
    CONFIG,
    DIAGNOSIS,
    ENCODING,
    EVALUATION,
    METRICS,
    MODEL,
    OF_A_RUN,
    PREDICTIONS,
    VALIDATION,
    read_config,
)
from remind.training.files import TEMPORARY, move, read_json, write_json, write_text
from remind.training.settings import Settings

T = TypeVar("T")

NOT_DAMAGE = (InputError, ImportError, MemoryError, torch.OutOfMemoryError)
"""What opening a model may end in though its file is whole."""

MOST_SAID = 200  # characters of a library's own message

PACKAGES = (
    "remind-med",
    "torch",
    "numpy",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "lightning-fabric",
    "lightgbm",
    "xgboost",
    "catboost",
    "tabm",
    "rtdl-num-embeddings",
)


@dataclass(frozen=True, kw_only=True)
class CohortOrigin:
    """Which cohort a run was fitted on.

    Args:
        name: of its cohort.toml.
        source: the built-in source or path that was given; empty for a cohort in memory.
        path: the absolute path; empty for a built-in source or a cohort in memory.
        fingerprint: of its content.
    """

    name: str
    source: str
    path: str
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The content of config.toml.

    Args:
        settings: flat, the keys of `--set`.
        cohort: what it was fitted on.
    """

    settings: dict[str, Any]
    cohort: CohortOrigin


class RunFolder:
    """A folder that holds one run.

    Args:
        path: it need not exist.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._is_new = False  # `begin` began a run here
        self._made: list[Path] = []  # and made these folders, the innermost first

    @property
    def is_run(self) -> bool:
        """Whether a fit was begun here."""
        return (self.path / CONFIG).is_file()

    @property
    def is_finished(self) -> bool:
        """Whether the fit is done."""
        return self.is_run and any(self.path.glob(f"{MODEL}.*"))

    def begin(self, settings: Settings, cohort: CohortOrigin, *, resume: bool) -> None:
        """Write config.toml, or check that it says the same.

        Raises:
            InputError: the folder cannot be made or holds something else, a run that is not to be
                resumed, or one with other settings or patients.
        """
        if self.is_run:
            if not resume:
                raise InputError(self._taken())
            self._check_same(settings, cohort)
            return
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file: name a folder for the run")
        data = {**settings.to_dict(), "cohort": asdict(cohort), "versions": versions()}
        try:
            if self.path.is_dir() and any(
                not f.name.startswith(TEMPORARY) for f in self.path.iterdir()
            ):
                raise InputError(
                    f"{self.path} is not empty and holds no run: name another folder for the run"
                )
            self._made = [p for p in (self.path, *self.path.parents) if not p.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
            write_text(self.path / CONFIG, tomli_w.dumps(data))
            self._is_new = True
        except OSError as error:
            raise InputError(
                f"{self.path} cannot be written ({error.strerror}): name another folder for the run"
            ) from error

    @contextmanager
    def undone_if_refused(self) -> Iterator[None]:
        """A run that began here and is refused before its first checkpoint leaves its name free."""
        try:
            yield
        except InputError:
            metrics = self.path / METRICS  # a line for each checkpoint
            if self._is_new and not (metrics.exists() and metrics.stat().st_size):
                self.clear()
                with suppress(OSError):  # somebody else's file is in it
                    for folder in self._made:
                        folder.rmdir()
            raise

    @contextmanager
    def replaced(self) -> Iterator[None]:
        """Fit another run here, inside; the one before, if any, comes back unless that is done.

        Raises:
            InputError: the run before is damaged.
        """
        if not self.is_run:
            yield
            return
        with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=self.path) as name:
            before = RunFolder(name)
            self._move_to(before)
            try:
                yield
            finally:
                if not self.is_finished:
                    if self.is_run:
                        self.clear()
                    before._move_to(self)

    def config(self) -> RunConfig:
        """Read config.toml.

        Raises:
            InputError: there is none, or it is damaged.
        """
        data = read_config(self.path)
        try:
            cohort = CohortOrigin(**data.pop("cohort"))
        except (KeyError, TypeError) as error:
            raise InputError(f"{self.path / CONFIG} is damaged: {error}") from error
        data.pop("versions", None)
        return RunConfig(settings=data, cohort=cohort)

    def write_encoding(self, spec: CohortSpec, encoding: Encoding) -> None:
        """Write what is needed to read and encode more patients."""
        origin = {"source": spec.source, "root": str(spec.root)}
        data = {"spec": spec.to_dict(), **origin, "encoding": encoding.to_dict()}
        write_json(self.path / ENCODING, data)

    def read_encoding(self) -> tuple[CohortSpec, Encoding]:
        """Read what `write_encoding` wrote.

        Raises:
            InputError: it is absent or damaged.
        """
        file = self.path / ENCODING
        try:
            data = read_json(file)
            spec = spec_from_dict(data["spec"], root=Path(data["root"]), source=data["source"])
            return spec, Encoding.from_dict(data["encoding"])
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise damaged(file, error) from error

    def read_model(self, load: Callable[[Path], T]) -> T:
        """Let `load` read what `write_model` wrote.

        Raises:
            InputError: it is damaged, or cannot be used here.
        """
        try:
            return load(self.path)
        except NOT_DAMAGE:
            raise
        except Exception as error:  # every library has its own
            raise damaged(next(self.path.glob(f"{MODEL}.*")), error) from error

    def write_model(self, save: Callable[[Path], None]) -> None:
        """Let `save` write into a temporary folder; then its files appear here, model.* last."""
        with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=self.path) as name:
            save(Path(name))
            files = sorted(Path(name).iterdir(), key=lambda file: file.stem == MODEL)
            assert [file.stem for file in files][-1:] == [MODEL]
            for file in files:
                move(file, self.path / file.name)

    def write_evaluation(self, evaluation: dict[str, Any]) -> None:
        """Write evaluation.json."""
        write_json(self.path / EVALUATION, evaluation)

    def write_diagnosis(self, diagnosis: dict[str, Any]) -> None:
        """Write diagnosis.json."""
        write_json(self.path / DIAGNOSIS, diagnosis)

    @property
    def predictions(self) -> Path:
        """Where the predictions that were evaluated are kept."""
        return self.path / PREDICTIONS

    @property
    def validation(self) -> Path:
        """Where the predictions of validation patients are kept."""
        return self.path / VALIDATION

    def clear(self) -> None:
        """Remove the run, so that another one can begin here; nothing but its own files.

        Raises:
            InputError: the folder holds no run.
        """
        self.config()
        shutil.rmtree(self.path / CHECKPOINTS, ignore_errors=True)
        for file in self._files():
            file.unlink()

    def _files(self) -> list[Path]:
        return [file for name in OF_A_RUN for file in self.path.glob(name)]

    def _move_to(self, other: "RunFolder") -> None:
        checkpoints = self.path / CHECKPOINTS
        for path in [*([checkpoints] if checkpoints.exists() else []), *self._files()]:
            path.rename(other.path / path.name)

    def _taken(self) -> str:
        if self.is_finished:
            return f"{self.path} holds a finished run: name another folder for this one"
        return (
            f"{self.path} holds an unfinished run: continue it with --resume, "
            "or name another folder for this one"
        )

    def _check_same(self, settings: Settings, cohort: CohortOrigin) -> None:
        before, now = self.config(), settings.to_dict()
        keys = [*before.settings, *(key for key in now if key not in before.settings)]
        differing = [key for key in keys if before.settings.get(key) != now.get(key)]
        if differing:
            changes = ", ".join(
                f"{key} ({before.settings.get(key)}, now {now.get(key)})" for key in differing
            )
            raise InputError(
                f"{self.path} was begun with other settings: {changes}: "
                "resume with the same ones, or name another folder"
            )
        if before.cohort.fingerprint != cohort.fingerprint:
            raise InputError(
                f"{self.path} was begun on other patients or values of the cohort "
                f'"{before.cohort.name}": bring the cohort back as it was, or name another folder'
            )


def damaged(file: Path, error: Exception) -> InputError:
    """What to say of a file of a run that cannot be read."""
    what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
    if isinstance(error, FileNotFoundError):
        what = "it is not there"
    return InputError(f"{file} is damaged: {' '.join(what.split())[:MOST_SAID]}; fit again")


def versions() -> dict[str, str]:
    """Of Python and of the packages that are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
