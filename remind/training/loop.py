"""The training loop: epochs to the best weights."""

# N patients, B patients of a batch, C classes

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from remind.cohort import Encoded
from remind.errors import InputError
from remind.objectives import AdaptiveObjective, Objective, diagnose, group_mean
from remind.run_files import CHECKPOINTS, METRICS
from remind.training.average import WeightAverage
from remind.training.batches import own_slice
from remind.training.checkpoint import (
    TrainState,
    clear_checkpoints,
    first_weights,
    has_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from remind.training.config import TrainConfig
from remind.training.engine import Engine, share_buffers
from remind.training.files import write_json_lines, written
from remind.training.predict import predict_in_parts, predict_log_probabilities
from remind.training.pretrain import pretrain
from remind.training.progress import Progress
from remind.training.ranks import anywhere, is_first, on_first, rank, wait
from remind.training.sampling import (
    mark_wrong,
    start_afresh,
    validation_losses,
)
from remind.training.seeds import seeded
from remind.training.selection import Criterion, criterion
from remind.training.steps import Steps
from remind.training.teacher import Teacher
from remind.world import num_ranks


@dataclass(frozen=True, kw_only=True, eq=False)
class History:
    """How training went.

    Args:
        metrics: a dict per epoch, the lines of metrics.jsonl.
        best_epoch: whose weights the model has now, counted from 1.
        health: what the objective's weights did, in words; None if they are fixed.
    """

    metrics: list[dict[str, Any]]
    best_epoch: int
    health: str | None


def train(
    model: nn.Module,
    objective: Objective,
    encoded: Encoded,
    train_rows: np.ndarray,
    val_rows: np.ndarray,
    config: TrainConfig,
    *,
    seed: int = 0,
    folder: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    tokens_M: np.ndarray | None = None,
    teacher: Teacher | None = None,
) -> History:
    """Train a model in place; at the end it has the weights of its best epoch.

    Without validation patients every epoch is run and the last one counts as the best.

    All ranks call it alike (`ranks.joined`); the steps are those of one process, and the first rank
    alone writes files and tells `progress`.

    Args:
        model: `model(batch)` returns `logits_BKC` and `penalty`; its method
            `on_epoch(epoch, num_epochs)`, if any, is called before each epoch, counted from 0.
        objective: of the groups of `encoded`.
        encoded: holds the training and the validation patients.
        train_rows, val_rows: their rows; the latter may be empty.
        config: options.
        seed: of the order of patients, dropout and modality dropout.
        folder: where `checkpoints/` and `metrics.jsonl` go; nowhere if None.
        resume: go on from the latest checkpoint in `folder`, to the same bits.
        progress: who is told.
        tokens_M: tokens of each modality where it is observed, for `batch_tokens`; one if None.
        teacher: of the patients of `encoded`.

    Raises:
        InputError: a loss is not finite, or the objective needs validation patients.
    """
    is_adaptive = isinstance(objective, AdaptiveObjective)
    if is_adaptive and objective.held_out and len(val_rows) == 0:
        raise InputError(
            "held_out needs validation patients, but there are none: "
            "give the cohort a validation split, or set held_out=false"
        )
    is_begun = resume and folder is not None and has_checkpoint(folder / CHECKPOINTS)
    is_pretrained = bool(config.pretrain) and not anywhere(is_begun)
    if is_pretrained:
        pretrain(
            model, encoded, train_rows, config, seed=seed, tokens_M=tokens_M, progress=progress
        )
    with seeded(seed, rank()):
        trainer = _Trainer(
            model,
            objective,
            encoded,
            train_rows,
            val_rows,
            config,
            seed=seed,
            folder=folder,
            tokens_M=tokens_M,
            teacher=teacher,
        )
        trainer.run(resume, progress, is_pretrained=is_pretrained)
    return trainer.history()


class _Trainer:
    """One training run: what does not change, and the state that does."""

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        encoded: Encoded,
        train_rows: np.ndarray,
        val_rows: np.ndarray,
        config: TrainConfig,
        *,
        seed: int,
        folder: Path | None,
        tokens_M: np.ndarray | None,
        teacher: Teacher | None,
    ) -> None:
        self.encoded, self.train_rows, self.val_rows = encoded, train_rows, val_rows
        self.config, self.folder = config, folder
        self.val_band_N = encoded.groups.band(encoded.present_NM[val_rows])
        self.val_label_N = torch.from_numpy(encoded.label_N[val_rows])
        self.val_group_N = torch.from_numpy(encoded.group_N[val_rows])
        self.train_label_N = torch.from_numpy(encoded.label_N[train_rows])
        train_group_N = torch.from_numpy(encoded.group_N[train_rows])

        self.engine = Engine(model, config)
        self.model, self.objective = self.engine.model, objective.to(self.engine.device)
        objective.begin(self.train_label_N, train_group_N)
        average = WeightAverage(self.model, config.ema) if config.ema else None
        self.steps = Steps(
            engine=self.engine,
            objective=objective,
            encoded=encoded,
            rows=train_rows,
            config=config,
            seed=seed,
            tokens_M=tokens_M,
            teacher=teacher,
        )
        self.state = TrainState(
            model=self.model,
            objective=objective,
            optimizer=self.engine.optimizer,
            average=average,
            restart_after=objective.restart_after,
        )
        self.first_weights = self.state.weights() if objective.restart_after else {}

    def run(self, resume: bool, progress: Progress | None, *, is_pretrained: bool) -> None:
        """All epochs that are left; then the best weights.

        What was pretrained just now is kept as the checkpoint of epoch 0.
        """
        state, progress = self.state, progress if is_first() else None
        self._begin(resume)
        if is_pretrained:
            self._save()
        if progress:
            progress.start(self.num_epochs, state.epoch)
        try:
            while state.epoch < self.num_epochs and not self._is_over():
                self._epoch()
                self._save()
                if progress:
                    progress.on_epoch(state.metrics[-1])
        finally:
            if progress:
                progress.finish()
        self.engine.finish(state.best_weights)

    @property
    def num_epochs(self) -> int:
        """Most epochs, those before a fresh start included."""
        return self.config.epochs + self.objective.restart_after

    def history(self) -> History:
        """What there is to tell at the end."""
        objective, groups = self.objective, self.encoded.groups
        health = None
        if isinstance(objective, AdaptiveObjective):
            names = groups.names(groups.patterns_GM)
            health = diagnose(objective.trajectory, objective.counts_G, names)
        return History(metrics=self.state.metrics, best_epoch=self.state.best_epoch, health=health)

    def _begin(self, resume: bool) -> None:
        if self.folder is None:
            return
        if resume:
            if self.first_weights:
                self.first_weights = first_weights(self.folder / CHECKPOINTS, self.state)
            load_checkpoint(self.folder / CHECKPOINTS, self.state)
            self._write_metrics()
        elif is_first():
            clear_checkpoints(self.folder / CHECKPOINTS)
        wait()

    def _is_over(self) -> bool:
        is_first = self.state.epoch < self.objective.restart_after
        return not is_first and 0 < self.config.patience <= self.state.bad_epochs

    def _save(self) -> None:
        if self.folder is not None:
            save_checkpoint(self.folder / CHECKPOINTS, self.state)
            self._write_metrics()

    def _write_metrics(self) -> None:
        if self.folder is not None:
            file, metrics = self.folder / METRICS, self.state.metrics
            on_first(written(METRICS)(lambda: write_json_lines(file, metrics)))

    def _epoch(self) -> None:
        start = time.perf_counter()
        self.steps.loader.waited = 0.0
        state, num_done = self.state, self._epochs_since_start()
        on_epoch = getattr(self.model, "on_epoch", None)
        if on_epoch is not None:
            on_epoch(num_done, self.config.epochs)
        mean = self.steps.epoch(state, num_done, self._best_val_loss())
        self._check_finite(mean.strange, "training")
        share_buffers(self.model)
        self.objective.end_epoch()
        result = self._validate()
        self._select(result)
        state.epoch += 1
        seconds = time.perf_counter() - start
        times = {
            "seconds": round(seconds, 3),
            "waiting": round(self.steps.loader.waited / seconds, 4),
        }
        state.metrics.append({**self._metrics(mean.value, result), **times})
        if state.epoch == self.objective.restart_after:
            mark_wrong(self.objective, self._predict(self.train_rows), self.train_label_N)
            start_afresh(state, self.first_weights)

    def _best_val_loss(self) -> float | None:
        """The lowest validation log loss since the first step, or since the fresh start."""
        since = self.state.metrics[self.state.epoch - self._epochs_since_start() :]
        values = [metrics["val_log_loss"] for metrics in since]
        return min((value for value in values if value is not None), default=None)

    def _epochs_since_start(self) -> int:
        """Epochs that are done since the first step, or since the fresh start."""
        epoch, restart_after = self.state.epoch, self.objective.restart_after
        return epoch - restart_after if epoch >= restart_after else epoch

    def _metrics(self, train_loss: float, result: Criterion | None) -> dict[str, Any]:
        weights = None
        if isinstance(self.objective, AdaptiveObjective):
            weights = self.objective.trajectory.summary()
        return {
            "epoch": self.state.epoch,
            "train_loss": train_loss,
            "val_log_loss": result and result.mean,
            "val_bands": result and result.bands,
            "criterion": result and result.value,
            "lr": self.state.optimizer.param_groups[0]["lr"],
            "weights": weights,
        }

    def _validate(self) -> Criterion | None:
        """The criterion of the weights that would be kept; lets the objective observe."""
        if len(self.val_rows) == 0:
            return None
        log_prob_NC = self._predict(self.val_rows)
        label_N, group_N = (x.to(log_prob_NC.device) for x in (self.val_label_N, self.val_group_N))
        loss_N = validation_losses(self.objective, log_prob_NC, label_N, group_N)
        self._check_finite(float(loss_N.mean()), "validation")
        if isinstance(self.objective, AdaptiveObjective) and self.objective.held_out:
            own = own_slice(len(loss_N), rank(), num_ranks())  # their sum over ranks is taken
            means = group_mean(loss_N[own], group_N[own], self.objective.num_groups)
            self.objective.observe(*means)
        weight = self.config.band_weight if self.config.selection == "bands" else 0.0
        return criterion(loss_N.cpu().numpy(), self.val_band_N, weight)

    def _predict(self, rows: np.ndarray) -> Tensor:
        """(N, C) log probabilities of the weights that would be kept."""
        if self.state.average is None:
            return self._predict_as_it_is(rows)
        with self.state.average.applied():
            return self._predict_as_it_is(rows)

    def _predict_as_it_is(self, rows: np.ndarray) -> Tensor:
        if num_ranks() == 1:
            return predict_log_probabilities(self.model, self.encoded, rows)
        return predict_in_parts(self.engine.predict, self.encoded, rows, self.engine.device)

    def _select(self, result: Criterion | None) -> None:
        state = self.state
        is_best = result is None or state.best_value is None or result.value < state.best_value
        state.bad_epochs = 0 if is_best else state.bad_epochs + 1
        if is_best:
            state.best_epoch = state.epoch + 1
            state.best_value = result and result.value
            state.best_weights = state.weights()

    def _check_finite(self, value: float, name: str) -> None:
        if math.isfinite(value):
            return
        has_any = self.folder is not None and self.state.epoch > 0
        kept = f"; checkpoints so far are in {self.folder}" if has_any else ""
        clip = "" if self.config.clip else " or clip gradients (clip=1)"
        raise InputError(
            f"the {name} loss became {value} in epoch {self.state.epoch + 1}: "
            f"lower the learning rate (lr={self.config.lr / 10:g}){clip}{kept}"
        )
