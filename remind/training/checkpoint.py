"""Checkpoints: all that training needs to go on as if it had never stopped.

`folder/epoch-0007/` holds the state after seven epochs: `tensors.safetensors` (parameters, buffers,
averages, AdamW, objective, random generators) and `state.json` (counts and metrics); under FSDP the
parameters and what is kept of each are in a file per rank (`shards`). The order of patients,
modality dropout and the learning rate are functions of seed, epoch and step, and need no state. A
folder appears whole, by one rename; nothing is ever unpickled. Any number of ranks can go on from
it.
"""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from remind.objectives import Objective
from remind.training.average import WeightAverage
from remind.training.files import (
    begin_folder,
    end_folder,
    read_json,
    unfinished,
    write_json,
    written,
)
from remind.training.ranks import check_alike, gather, on_first, rank, together
from remind.training.shards import TENSORS as TENSORS
from remind.training.shards import Saved, write_part
from remind.world import num_ranks

STATE = "state.json"
KEPT = 2
"""Latest checkpoints that are kept, beside the best."""


@dataclass(kw_only=True, eq=False)
class TrainState:
    """What changes during training.

    Args:
        model, objective, optimizer: whose states are saved.
        average: of the model's parameters, or None.
        epoch: epochs that are done.
        step: optimizer steps that are done.
        bad_epochs: epochs since the best.
        best_epoch: the best so far, counted from 1; 0 before the first.
        best_value: its criterion; None without validation patients.
        best_weights: its parameters (or their averages) and buffers.
        metrics: a dict per epoch.
        restart_after: epochs after which training starts afresh, from the checkpoint of epoch 0 if
            there is one, which is kept until then; 0 never.
    """

    model: nn.Module
    objective: Objective
    optimizer: torch.optim.Optimizer
    average: WeightAverage | None = None
    epoch: int = 0
    step: int = 0
    bad_epochs: int = 0
    best_epoch: int = 0
    best_value: float | None = None
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    restart_after: int = 0

    def weights(self) -> dict[str, Tensor]:
        """A copy of the model's state with the averages, if any, for its parameters."""
        weights = dict(self.model.state_dict())
        if self.average is not None:
            weights |= self.average.state_dict()
        return {name: tensor.detach().clone() for name, tensor in weights.items()}


_COUNTS = ("epoch", "step", "bad_epochs", "best_epoch", "best_value", "metrics")


def save_checkpoint(folder: Path, state: TrainState) -> None:
    """Write the checkpoint of the epoch that is done, and remove those no longer needed.

    All ranks call it.

    Raises:
        InputError: it cannot be written.
    """
    tensors, target = _tensors(state), _name(folder, state.epoch)

    def finish() -> None:
        counts = {name: getattr(state, name) for name in _COUNTS}
        write_json(unfinished(target) / STATE, counts)
        end_folder(target)
        for epoch in _epochs(folder):
            is_start = epoch == 0 and state.epoch < state.restart_after
            if epoch <= state.epoch - KEPT and epoch != state.best_epoch and not is_start:
                shutil.rmtree(_name(folder, epoch))

    or_told = written(f"the checkpoint of epoch {state.epoch}")
    on_first(or_told(lambda: begin_folder(target)))
    together(or_told(lambda: write_part(unfinished(target), tensors)))
    on_first(or_told(finish))


def load_checkpoint(folder: Path, state: TrainState) -> None:
    """Continue from the latest checkpoint; without one the state stays as it is.

    All ranks call it.

    Raises:
        InputError: ranks do not see the same checkpoints.
    """
    epochs = _epochs(folder)
    check_alike(
        str(epochs[-1:]),
        f"the hosts see different checkpoints in {folder}: "
        "put the run on a file system that all of them share",
    )
    if not epochs:
        return
    latest = _name(folder, epochs[-1])
    for name, value in read_json(latest / STATE).items():
        setattr(state, name, value)
    saved, weights = Saved(latest), state.model.state_dict()
    state.model.load_state_dict(saved.part("model", weights))
    state.objective.load_state_dict(saved.part("objective"))
    if state.average is not None:
        state.average.load_state_dict(saved.part("average", weights))
    _load_optimizer(state, saved)
    _load_random(saved, state.epoch)
    state.best_weights = _weights(folder, state.best_epoch, state)


def first_weights(folder: Path, state: TrainState) -> dict[str, Tensor]:
    """Those of the checkpoint of epoch 0; those that the model has now if there is none.

    All ranks call it.
    """
    return _weights(folder, 0, state) if 0 in _epochs(folder) else state.weights()


def has_checkpoint(folder: Path) -> bool:
    """Whether there is one to continue from."""
    return bool(_epochs(folder))


def clear_checkpoints(folder: Path) -> None:
    """Remove all checkpoints, finished or not."""
    shutil.rmtree(folder, ignore_errors=True)


def _weights(folder: Path, epoch: int, state: TrainState) -> dict[str, Tensor]:
    """The parameters (or their averages) and buffers that a checkpoint holds."""
    saved, weights = Saved(_name(folder, epoch)), state.model.state_dict()
    return saved.part("model", weights) | saved.part("average", weights)


def _name(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch:04d}"


def _epochs(folder: Path) -> list[int]:
    """Epochs with a whole checkpoint, ascending."""
    if not folder.is_dir():
        return []
    matches = [re.fullmatch(r"epoch-(\d+)", path.name) for path in folder.iterdir()]
    return sorted(int(match[1]) for match in matches if match)


def _tensors(state: TrainState) -> dict[str, Tensor]:
    parts: dict[str, Mapping[str, Tensor]] = {
        "model": state.model.state_dict(),
        "average": {} if state.average is None else state.average.state_dict(),
        "objective": state.objective.state_dict(),
        "random": _random(),
    }
    for name, parameter in state.model.named_parameters():
        parts[f"adamw.{name}"] = state.optimizer.state.get(parameter, {})
    return {
        f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()
    }


def _load_optimizer(state: TrainState, saved: Saved) -> None:
    for name, parameter in state.model.named_parameters():
        start = f"adamw.{name}"
        if f"{start}.step" not in saved.names:
            continue  # a parameter without a gradient so far has no state
        kept = {
            key: saved.get(f"{start}.{key}", parameter) for key in ("exp_avg", "exp_avg_sq")
        } | {"step": _steps(saved.get(f"{start}.step"), parameter)}
        state.optimizer.state[parameter] = {
            key: value.to(parameter.device) for key, value in kept.items()
        }


def _steps(step: Tensor, parameter: nn.Parameter) -> Tensor:
    """How often AdamW has changed a parameter: each row if it is `by_rows`, or all of it.

    One process may have saved what several go on from, or the other way about.
    """
    if getattr(parameter, "by_rows", False):
        return step.expand(len(parameter), 1).clone()
    return step.max()


def _random() -> dict[str, Tensor]:
    """The state of the generators: of each rank if there are several."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    if num_ranks() == 1:
        return states
    return {
        f"{name}.{place}": value
        for name, own in states.items()
        for place, value in enumerate(gather(own))
    }


def _load_random(saved: Saved, epoch: int) -> None:
    """Go on drawing; with another number of ranks no generator has a past, so all start anew."""
    states = saved.part("random")
    same = len([name for name in states if name.startswith("cpu")]) == num_ranks()
    end = f".{rank()}" if num_ranks() > 1 else ""
    if not same or f"cpu{end}" not in states:
        torch.manual_seed(torch.initial_seed() + epoch)
        return
    torch.set_rng_state(states[f"cpu{end}"])
    if torch.cuda.is_available() and f"cuda{end}" in states:
        torch.cuda.set_rng_state(states[f"cuda{end}"])
