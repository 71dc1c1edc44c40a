"""Training: the loop, checkpoints, run folders, and the seam behind which every method stands."""

from remind.training.api import Run, fit_run, open_run
from remind.training.config import TrainConfig
from remind.training.dropout import drop_modalities
from remind.training.loop import History, train
from remind.training.losses import log_probabilities, patient_losses, probabilities
from remind.training.method import Method, NeuralMethod, NeuralPredictor, Predictor
from remind.training.predict import predict_log_probabilities
from remind.training.progress import PlainProgress, Progress, RichProgress, make_progress
from remind.training.run import CohortOrigin, RunFolder
from remind.training.selection import Criterion, criterion
from remind.training.settings import Settings, settings_from_dict, with_overrides

__all__ = [
    "CohortOrigin",
    "Criterion",
    "History",
    "Method",
    "NeuralMethod",
    "NeuralPredictor",
    "PlainProgress",
    "Predictor",
    "Progress",
    "RichProgress",
    "Run",
    "RunFolder",
    "Settings",
    "TrainConfig",
    "criterion",
    "drop_modalities",
    "fit_run",
    "log_probabilities",
    "make_progress",
    "open_run",
    "patient_losses",
    "predict_log_probabilities",
    "probabilities",
    "settings_from_dict",
    "train",
    "with_overrides",
]
