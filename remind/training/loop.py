"""The training loop: batches to an objective's loss, epochs to the best weights."""

# N patients, B patients of a batch, C classes

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from remind.cohort import Batch, Encoded
from remind.errors import InputError
from remind.objectives import AdaptiveObjective, Objective, diagnose, group_mean
from remind.training.average import WeightAverage
from remind.training.checkpoint import (
    TrainState,
    clear_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from remind.training.config import TrainConfig
from remind.training.dropout import drop_modalities
from remind.training.files import write_json_lines
from remind.training.loading import Loader
from remind.training.losses import patient_losses
from remind.training.predict import pick_device, predict_log_probabilities
from remind.training.progress import Progress
from remind.training.schedule import learning_rate
from remind.training.seeds import seeded, shuffled
from remind.training.selection import Criterion, criterion

CHECKPOINTS = "checkpoints"
METRICS = "metrics.jsonl"


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
) -> History:
    """Train a model in place; at the end it has the weights of its best epoch.

    Without validation patients every epoch is run and the last one counts as the best.

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

    Raises:
        InputError: a loss is not finite, or the objective needs validation patients.
    """
    is_adaptive = isinstance(objective, AdaptiveObjective)
    if is_adaptive and objective.held_out and len(val_rows) == 0:
        raise InputError(
            "held_out needs validation patients, but there are none: "
            "give the cohort a validation split, or set held_out=false"
        )
    with seeded(seed):
        trainer = _Trainer(
            model, objective, encoded, train_rows, val_rows, config, seed=seed, folder=folder
        )
        trainer.run(resume, progress)
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
    ) -> None:
        self.encoded, self.train_rows, self.val_rows = encoded, train_rows, val_rows
        self.config, self.seed, self.folder = config, seed, folder
        self.val_band_N = encoded.groups.band(encoded.present_NM[val_rows])
        self.val_label_N = torch.from_numpy(encoded.label_N[val_rows])
        self.val_group_N = torch.from_numpy(encoded.group_N[val_rows])

        device = pick_device(config.device)
        precision = "bf16-mixed" if config.precision == "bf16-mixed" else "32-true"
        self.fabric = Fabric(accelerator=device.type, devices=1, precision=precision)
        self.model, self.objective = model.to(device), objective.to(device)
        optimizer = make_optimizer(model, config)
        self.wrapped, self.stepper = self.fabric.setup(model, optimizer)
        average = WeightAverage(model, config.ema) if config.ema else None
        self.loader = Loader(encoded, config.workers)
        self.state = TrainState(
            model=model, objective=objective, optimizer=optimizer, average=average
        )

    def run(self, resume: bool, progress: Progress | None) -> None:
        """All epochs that are left; then the best weights."""
        state, config = self.state, self.config
        self._begin(resume)
        if progress:
            progress.start(config.epochs, state.epoch)
        try:
            while state.epoch < config.epochs and not self._is_over():
                self._epoch()
                self._save()
                if progress:
                    progress.on_epoch(state.metrics[-1])
        finally:
            if progress:
                progress.finish()
        self.model.load_state_dict(state.best_weights)

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
        if not resume:
            clear_checkpoints(self.folder / CHECKPOINTS)
            return
        load_checkpoint(self.folder / CHECKPOINTS, self.state)
        write_json_lines(self.folder / METRICS, self.state.metrics)

    def _is_over(self) -> bool:
        return 0 < self.config.patience <= self.state.bad_epochs

    def _save(self) -> None:
        if self.folder is not None:
            save_checkpoint(self.folder / CHECKPOINTS, self.state)
            write_json_lines(self.folder / METRICS, self.state.metrics)

    def _epoch(self) -> None:
        start = time.perf_counter()
        self.loader.waited = 0.0
        state, config = self.state, self.config
        on_epoch = getattr(self.model, "on_epoch", None)
        if on_epoch is not None:
            on_epoch(state.epoch, config.epochs)
        train_loss = self._pass()
        result = self._validate()
        self._select(result)
        state.epoch += 1
        seconds = time.perf_counter() - start
        times = {"seconds": round(seconds, 3), "waiting": round(self.loader.waited / seconds, 4)}
        state.metrics.append({**self._metrics(train_loss, result), **times})

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

    def _pass(self) -> float:
        """Every training patient once; returns the mean of the minimized loss."""
        self.model.train()
        self.objective.train()
        rows = shuffled(self.train_rows, self.seed, self.state.epoch)
        size = self.config.batch_size
        steps_per_epoch = math.ceil(len(rows) / size)
        total = 0.0
        for batch in self.loader([rows[i : i + size] for i in range(0, len(rows), size)]):
            for group in self.state.optimizer.param_groups:
                rate = learning_rate(self.config, self.state.step, steps_per_epoch)
                group["lr"] = group["lr_scale"] * rate
            total += self._step(batch) * len(batch)
        return total / len(rows)

    def _step(self, batch: Batch) -> float:
        """One step of the optimizer; the objective sees the groups before modality dropout."""
        state, config, device = self.state, self.config, self.fabric.device
        group_B = batch.group_B.to(device)
        if config.modality_dropout:
            batch = batch.with_present(drop_modalities(batch.present_BM, config.modality_dropout))
        loss = self._loss(batch.to(device), group_B)
        value = self._finite(float(loss.detach()), "training")
        state.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        if config.clip:
            self.fabric.clip_gradients(
                self.wrapped, self.stepper, max_norm=config.clip, error_if_nonfinite=False
            )
        self.stepper.step()
        if state.average is not None:
            state.average.update(state.step)
        state.step += 1
        return value

    def _loss(self, batch: Batch, group_B: Tensor) -> Tensor:
        # Not through Fabric's wrapper: it refuses frozen dataclasses, which batches are.
        with self.fabric.autocast():
            output = self.model(batch)
            loss_B = patient_losses(output.logits_BKC, batch.label_B)
        return self.objective(loss_B, group_B).loss + output.penalty

    def _validate(self) -> Criterion | None:
        """The criterion of the weights that would be kept; lets the objective observe."""
        if len(self.val_rows) == 0:
            return None
        loss_N = self._validation_losses()
        self._finite(float(loss_N.mean()), "validation")
        if isinstance(self.objective, AdaptiveObjective) and self.objective.held_out:
            group_N = self.val_group_N.to(loss_N.device)
            self.objective.observe(*group_mean(loss_N, group_N, self.objective.num_groups))
        weight = self.config.band_weight if self.config.selection == "bands" else 0.0
        return criterion(loss_N.cpu().numpy(), self.val_band_N, weight)

    def _validation_losses(self) -> Tensor:
        args = (self.model, self.encoded, self.val_rows)
        if self.state.average is None:
            log_prob_NC = predict_log_probabilities(*args)
        else:
            with self.state.average.applied():
                log_prob_NC = predict_log_probabilities(*args)
        label_N = self.val_label_N.to(log_prob_NC.device)
        return -log_prob_NC.gather(1, label_N[:, None])[:, 0]

    def _select(self, result: Criterion | None) -> None:
        state = self.state
        is_best = result is None or state.best_value is None or result.value < state.best_value
        state.bad_epochs = 0 if is_best else state.bad_epochs + 1
        if is_best:
            state.best_epoch = state.epoch + 1
            state.best_value = result and result.value
            state.best_weights = state.weights()

    def _finite(self, value: float, name: str) -> float:
        if math.isfinite(value):
            return value
        kept = "" if self.folder is None else f"; checkpoints so far are in {self.folder}"
        clip = "" if self.config.clip else " or clip gradients (clip=1)"
        raise InputError(
            f"the {name} loss became {value} in epoch {self.state.epoch + 1}: "
            f"lower the learning rate (lr={self.config.lr / 10:g}){clip}{kept}"
        )


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW with weight decay on parameters of two axes or more only.

    A parameter may have an attribute `lr_scale`, a factor of its learning rate: weights that were
    trained before have one below 1.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            key = (getattr(parameter, "lr_scale", 1.0), parameter.dim() >= 2)
            groups.setdefault(key, []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": groups[scale, is_matrix],
                "weight_decay": config.weight_decay if is_matrix else 0.0,
                "lr_scale": scale,
            }
            for scale, is_matrix in sorted(groups, reverse=True)
        ],
        lr=config.lr,
        fused=True,
    )
