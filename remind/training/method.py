"""Methods: anything that learns from a cohort and predicts for another, ours and the peers."""

# N patients, C classes

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from remind.cohort import Cohort, Encoding
from remind.errors import InputError
from remind.objectives import make_objective
from remind.run_files import WEIGHTS
from remind.training.batches import tokens_of_modalities
from remind.training.config import TrainConfig
from remind.training.files import read_tensors, write_tensors
from remind.training.loop import History, train
from remind.training.predict import pick_device, predict_log_probabilities
from remind.training.progress import Progress
from remind.training.ranks import from_first
from remind.training.search import NEURAL, Space
from remind.training.seeds import seeded
from remind.training.settings import Settings
from remind.training.teacher import Teacher

Teach = Callable[[Cohort, Encoding, int], np.ndarray | None]
"""Cohort, encoding and seed to float32 (N, C), defined for training and validation patients."""


class Predictor(Protocol):
    """Something that was fitted."""

    def predict_proba(self, cohort: Cohort) -> np.ndarray:
        """(N, C) probabilities, in the order of the encoding's classes."""
        ...

    def save(self, folder: Path) -> None:
        """Write one file named `model.<suffix>`, and others if need be; unpickle nothing."""
        ...


class Method(Protocol):
    """Something that can be fitted."""

    @property
    def name(self) -> str:
        """As on the command line."""
        ...

    @property
    def space(self) -> Space:
        """What a tuner may try."""
        ...

    def default_settings(self) -> Settings:
        """What holds unless the user says otherwise."""
        ...

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
        """Learn from the split "train" of the cohort, and select on its split "val".

        Args:
            cohort: labelled.
            encoding: of its training patients.
            settings: of this method.
            folder: of the run, for checkpoints and metrics; the model is saved by the caller.
            resume: continue from what is there.
            progress: who is told.
        """
        ...

    def load(self, folder: Path, encoding: Encoding, settings: Settings) -> Predictor:
        """Read what `Predictor.save` wrote; it predicts as before."""
        ...


class NeuralPredictor:
    """A trained model and the encoding that it reads through.

    Args:
        model: trained.
        encoding: of the training patients.
        history: of its training; None for a model that was loaded.
    """

    def __init__(
        self, model: nn.Module, encoding: Encoding, history: History | None = None
    ) -> None:
        self.model = model.eval()
        self.encoding = encoding
        self.history = history

    def predict_proba(self, cohort: Cohort) -> np.ndarray:
        """(N, C) float64; no patients give no rows."""
        if len(cohort) == 0:
            return np.zeros((0, len(self.encoding.classes)))
        encoded = self.encoding.transform(cohort)
        log_prob_NC = predict_log_probabilities(self.model, encoded, np.arange(len(cohort)))
        return log_prob_NC.exp().cpu().numpy()

    def save(self, folder: Path) -> None:
        """Write model.safetensors."""
        write_tensors(folder / WEIGHTS, self.model.state_dict())


@dataclass(frozen=True)
class NeuralMethod:
    """Any torch model behind the interface of methods.

    Args:
        name: as on the command line.
        build: encoding, number of classes and model config to a model, as `train` expects it.
        model_config: default, a frozen dataclass.
        train_config: default.
        objective: default, a key of `OBJECTIVES`.
        objective_options: defaults that differ from those of the objective.
        space: what a tuner may try.
        teach: gives the probabilities that `TrainConfig.teacher` asks for; the first rank calls it.
        is_of_batches: whether the model compares the patients of a batch, and keeps what it saw, so
            that several ranks would fit another one.
    """

    name: str
    build: Callable[[Encoding, int, Any], nn.Module]
    model_config: Any
    train_config: TrainConfig = field(default_factory=TrainConfig)
    objective: str = "erm"
    objective_options: Mapping[str, Any] = field(default_factory=dict)
    space: Space = field(default_factory=lambda: NEURAL)
    teach: Teach | None = None
    is_of_batches: bool = False

    def default_settings(self) -> Settings:
        """What holds unless the user says otherwise."""
        return Settings(
            method=self.name,
            model=self.model_config,
            train=self.train_config,
            objective=self.objective,
            objective_options=self.objective_options,
        )

    def fit(
        self,
        cohort: Cohort,
        encoding: Encoding,
        settings: Settings,
        *,
        folder: Path | None = None,
        resume: bool = False,
        progress: Progress | None = None,
    ) -> NeuralPredictor:
        """Train on the split "train", select on "val"."""
        assert settings.train is not None
        teacher = self._teacher(cohort, encoding, settings)
        model = self._model(encoding, settings)
        objective = make_objective(
            settings.objective,
            counts_G=torch.from_numpy(encoding.groups.counts_G),
            patterns_GM=torch.from_numpy(encoding.groups.patterns_GM),
            **settings.objective_options,
        )
        history = train(
            model,
            objective,
            encoding.transform(cohort),
            cohort.rows("train"),
            cohort.rows("val"),
            settings.train,
            seed=settings.seed,
            folder=folder,
            resume=resume,
            progress=progress,
            tokens_M=tokens_of_modalities(encoding),
            teacher=teacher,
        )
        return NeuralPredictor(model, encoding, history)

    def load(self, folder: Path, encoding: Encoding, settings: Settings) -> NeuralPredictor:
        """Read model.safetensors."""
        assert settings.train is not None
        model = self._model(encoding, settings)
        model.load_state_dict(read_tensors(folder / WEIGHTS))
        return NeuralPredictor(model.to(pick_device(settings.train.device)), encoding)

    def _teacher(self, cohort: Cohort, encoding: Encoding, settings: Settings) -> Teacher | None:
        assert settings.train is not None
        share = settings.train.teacher
        if not share:
            return None
        if self.teach is None:
            raise InputError(f"{self.name} has no teacher: set teacher=0")
        teach = self.teach
        prob_NC = from_first(lambda: teach(cohort, encoding, settings.seed))
        if prob_NC is None:
            return None
        assert cohort.label_N is not None
        return Teacher(prob_NC, cohort.label_N, cohort.rows("val"), share)

    def _model(self, encoding: Encoding, settings: Settings) -> nn.Module:
        with seeded(settings.seed):
            return self.build(encoding, len(encoding.classes), settings.model)
