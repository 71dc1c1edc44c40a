"""Fit a run, open it again, predict with it."""

# N patients, C classes

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from remind.cohort import Bands, Cohort, CohortSpec, Encoding, taken_for_granted
from remind.errors import InputError, did_you_mean
from remind.lock import alone
from remind.run_files import ENCODING
from remind.sources import SOURCES, open_cohort
from remind.training.engine import check_devices
from remind.training.files import TEMPORARY, written
from remind.training.loop import History
from remind.training.method import Method, NeuralMethod, NeuralPredictor, Predictor
from remind.training.progress import Progress
from remind.training.ranks import anywhere, check_alike, is_first, on_first, together
from remind.training.run import CohortOrigin, RunFolder
from remind.training.settings import Settings, settings_from_dict
from remind.world import num_ranks

PATIENCE = 10.0
"""Seconds that a run waits for a fit in its folder to end."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """A fitted method, in memory.

    Args:
        folder: where it is kept; None if nowhere.
        settings: that it was fitted with.
        spec: of the cohort that it was fitted on.
        origin: of that cohort.
        encoding: of the training patients.
        predictor: what was fitted.
    """

    folder: RunFolder | None
    settings: Settings
    spec: CohortSpec
    origin: CohortOrigin
    encoding: Encoding
    predictor: Predictor

    @property
    def history(self) -> History | None:
        """Of the training that just ended; None for a run that was opened, and for trees."""
        return self.predictor.history if isinstance(self.predictor, NeuralPredictor) else None

    def predict(self, cohort: Cohort) -> pd.DataFrame:
        """Predictions, a row per patient.

        Columns: id, person, label (name of the class, None where unknown), prob_<class> for each
        class, group, n_train, band, split (None for a table to predict), method, seed.
        """
        prob_NC = self.predictor.predict_proba(cohort)
        groups = self.encoding.groups
        frame = pd.DataFrame({"id": cohort.ids, "person": cohort.person, "label": _labels(cohort)})
        for c, name in enumerate(self.encoding.classes):
            frame[f"prob_{name}"] = prob_NC[:, c]
        frame["group"] = groups.names(cohort.present_NM)
        frame["n_train"] = groups.n_train(cohort.present_NM)
        frame["band"] = groups.band(cohort.present_NM)
        frame["split"] = cohort.split
        return frame.assign(method=self.settings.method, seed=self.settings.seed)

    def predictions(self, split: str, cohort: Cohort) -> pd.DataFrame:
        """Predictions for one split of a cohort.

        Raises:
            InputError: nobody is in it.
        """
        rows = cohort.rows(split)
        if len(rows) == 0:
            assert cohort.split is not None
            has = ", ".join(dict.fromkeys(cohort.split.tolist()))
            raise InputError(
                f'no patient is in the split "{split}": the cohort has {has}; ask for one of '
                "these, or give it patients in [split] of the cohort and fit again"
            )
        return self.predict(cohort.select(rows))

    def cohort(self, reader: Callable[[str | Path], Cohort] = open_cohort) -> Cohort:
        """Read the cohort that it was fitted on again.

        Raises:
            InputError: it is gone, it has changed, or it was never on disk.
        """
        origin = self.origin
        if not origin.source:
            raise InputError(
                f'the run was fitted on the cohort "{origin.name}" in memory, '
                "which cannot be read again: pass the cohort"
            )
        cohort = reader(_where(origin))
        if cohort.fingerprint != origin.fingerprint:
            raise InputError(
                f'the cohort "{origin.name}" ({origin.source}) has changed since the run was '
                "fitted: bring it back as it was, or fit again"
            )
        return cohort


def fit_run(
    cohort: Cohort | str | Path,
    method: Method,
    settings: Settings | None = None,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    source: str | Path | None = None,
    tell: Callable[[str], object] | None = None,
) -> Run:
    """Fit a method to a cohort, and write the run folder.

    A finished run that is resumed is opened. A new one that is refused before its first checkpoint
    leaves nothing behind. Inside `ranks.joined` all ranks call this alike: they train one model
    together, all return it, and the first alone writes the folder.

    Args:
        cohort: in memory, or what `open_cohort` takes.
        method: what to fit.
        settings: the method's defaults if None.
        out: run folder; None keeps the run in memory only.
        resume: continue the run in `out`, if there is one.
        progress: who is told.
        source: where a cohort in memory came from, as `open_cohort` takes it.
        tell: is told what was taken for granted: the positive class, invalid values as missing.

    Raises:
        InputError: the cohort, the folder or the settings do not fit, or training diverged.
    """
    settings = method.default_settings() if settings is None else settings
    assert settings.method == method.name
    source, cohort = together(lambda: _read(cohort, source))
    origin = _origin(cohort, source)
    _check_ranks(method, settings, origin)
    resume = anywhere(resume)
    folder, held = None if out is None else RunFolder(out), ExitStack()
    if folder is not None:
        on_first(lambda: folder.begin(settings, origin, resume=resume))
        if anywhere(is_first() and folder.is_finished):
            return together(lambda: open_run(folder.path, {method.name: method}))
        on_first(lambda: held.enter_context(_alone(folder)))
    if tell is not None and is_first():
        for note in taken_for_granted(cohort):
            tell(note)
    with nullcontext() if folder is None else folder.undone_if_refused(), held:
        encoding = together(lambda: _encoding(cohort, settings))
        if folder is not None:
            on_first(written(ENCODING)(lambda: folder.write_encoding(cohort.spec, encoding)))
        predictor = method.fit(
            cohort,
            encoding,
            settings,
            folder=None if folder is None else folder.path,
            resume=resume,
            progress=progress,
        )
        if folder is not None:
            on_first(written("the model")(lambda: folder.write_model(predictor.save)))
    return Run(
        folder=folder,
        settings=settings,
        spec=cohort.spec,
        origin=origin,
        encoding=encoding,
        predictor=predictor,
    )


def open_run(path: str | Path, methods: Mapping[str, Method]) -> Run:
    """Open a finished run; it predicts as it did.

    Args:
        path: its folder.
        methods: by name.

    Raises:
        InputError: no run, an unfinished or damaged one, or one of a method or version that is
            not known.
    """
    folder = RunFolder(path)
    config = folder.config()
    if not folder.is_finished:
        raise InputError(f"{path} holds an unfinished run: finish it with remind fit --resume")
    name = str(config.settings.get("method"))
    if name not in methods:
        near = did_you_mean(name, methods) or f" (there are {', '.join(methods)})"
        raise InputError(f'{path} is a run of the method "{name}", which is not known{near}')
    method = methods[name]
    settings = settings_from_dict(config.settings, method.default_settings())
    spec, encoding = folder.read_encoding()
    return Run(
        folder=folder,
        settings=settings,
        spec=spec,
        origin=config.cohort,
        encoding=encoding,
        predictor=folder.read_model(lambda path: method.load(path, encoding, settings)),
    )


def _read(
    cohort: Cohort | str | Path, source: str | Path | None
) -> tuple[str | Path | None, Cohort]:
    return (source, cohort) if isinstance(cohort, Cohort) else (cohort, open_cohort(cohort))


def _encoding(cohort: Cohort, settings: Settings) -> Encoding:
    return Encoding.fit(
        cohort,
        cohort.rows("train"),
        max_bins=settings.max_bins,
        bands=Bands(head=settings.bands_head, medium=settings.bands_medium),
        summaries=settings.summaries and settings.train is not None,
    )


def _alone(folder: RunFolder) -> AbstractContextManager[None]:
    """No other fit goes on with the run; the lock lies in its folder, whose parent may be closed.

    Workers of a rank that was killed hold it for some seconds.
    """
    lock = folder.path / f"{TEMPORARY}lock"
    return alone(folder.path, "remind fit", "--out", file=lock, seconds=PATIENCE)


def _check_ranks(method: Method, settings: Settings, origin: CohortOrigin) -> None:
    """Refuse what several ranks cannot do together."""
    if settings.train is None and num_ranks() > 1:
        raise InputError(
            f"{settings.method} has no training loop to share among {num_ranks()} processes: "
            "fit it with one"
        )
    if isinstance(method, NeuralMethod) and method.is_of_batches and num_ranks() > 1:
        raise InputError(
            f"{method.name} compares the patients of a batch with each other, which "
            f"{num_ranks()} processes share out: fit it with one"
        )
    if settings.train is not None:
        check_devices(settings.train)
    check_alike(
        origin.fingerprint,
        f'the hosts read different patients or values in the cohort "{origin.name}": '
        "give all of them the same files",
    )


def _origin(cohort: Cohort, source: str | Path | None) -> CohortOrigin:
    is_path = source is not None and not (isinstance(source, str) and source in SOURCES)
    return CohortOrigin(
        name=cohort.spec.cohort.name,
        source="" if source is None else str(source),
        path=str(Path(source).resolve()) if source is not None and is_path else "",
        fingerprint=cohort.fingerprint,
    )


def _where(origin: CohortOrigin) -> str | Path:
    """The absolute path, or what was given: a source's name, or a path that moved with the run."""
    if origin.path and Path(origin.path).exists():
        return Path(origin.path)
    return Path(origin.source) if origin.path else origin.source


def _labels(cohort: Cohort) -> np.ndarray | None:
    if cohort.label_N is None:
        return None
    return np.array(cohort.classes, dtype=object)[cohort.label_N]
