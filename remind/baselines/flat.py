"""Peers that learn from the flattened table, behind the interface of methods."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from remind.cohort import Cohort, Encoding
from remind.training import Predictor, Progress, Settings
from remind.training.search import Space


@dataclass(frozen=True, kw_only=True)
class FlatMethod:
    """A peer on the flattened table.

    Args:
        name: as on the command line.
        config: default, a frozen dataclass.
        fit_flat: (cohort, encoding, config, train_rows, val_rows, seed) to a predictor.
        load_flat: (folder, encoding, config) to a predictor.
        space: what a tuner may try.
    """

    name: str
    config: Any
    fit_flat: Callable[..., Predictor]
    load_flat: Callable[[Path, Encoding, Any], Predictor]
    space: Space = field(default_factory=dict)

    def default_settings(self) -> Settings:
        """What holds unless the user says otherwise."""
        return Settings(method=self.name, model=self.config)

    def fit(
        self,
        cohort: Cohort,
        encoding: Encoding,
        settings: Settings,
        *,
        folder: Path | None = None,
        resume: bool = False,
        progress: Progress | None = None,
    ) -> Predictor:
        """Learn from the split "train", select on "val"; too quick to checkpoint or to report."""
        return self.fit_flat(
            cohort,
            encoding,
            settings.model,
            train_rows=cohort.rows("train"),
            val_rows=cohort.rows("val"),
            seed=settings.seed,
        )

    def load(self, folder: Path, encoding: Encoding, settings: Settings) -> Predictor:
        """Read what the predictor wrote."""
        return self.load_flat(folder, encoding, settings.model)
