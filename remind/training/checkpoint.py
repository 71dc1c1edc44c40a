"""Checkpoints: all that training needs to go on as if it had never stopped.

`folder/epoch-0007/` holds the state after seven epochs: `tensors.safetensors` (parameters, buffers,
averages, AdamW, objective, random generators) and `state.json` (counts and metrics). The order of
patients and the learning rate are functions of seed, epoch and step, and need no state. A folder
appears whole, by one rename; nothing is ever unpickled.
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
from remind.training.files import new_folder, read_json, read_tensors, write_json, write_tensors

TENSORS = "tensors.safetensors"
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

    def weights(self) -> dict[str, Tensor]:
        """A copy of the model's state with the averages, if any, for its parameters."""
        weights = dict(self.model.state_dict())
        if self.average is not None:
            weights |= self.average.state_dict()
        return {name: tensor.detach().clone() for name, tensor in weights.items()}


_COUNTS = ("epoch", "step", "bad_epochs", "best_epoch", "best_value", "metrics")


def save_checkpoint(folder: Path, state: TrainState) -> None:
    """Write the checkpoint of the epoch that is done, and remove those no longer needed."""
    with new_folder(_name(folder, state.epoch)) as temporary:
        write_tensors(temporary / TENSORS, _tensors(state))
        write_json(temporary / STATE, {name: getattr(state, name) for name in _COUNTS})
    for epoch in _epochs(folder):
        if epoch <= state.epoch - KEPT and epoch != state.best_epoch:
            shutil.rmtree(_name(folder, epoch))


def load_checkpoint(folder: Path, state: TrainState) -> None:
    """Continue from the latest checkpoint; without one the state stays as it is."""
    epochs = _epochs(folder)
    if not epochs:
        return
    latest = _name(folder, epochs[-1])
    for name, value in read_json(latest / STATE).items():
        setattr(state, name, value)
    tensors = read_tensors(latest / TENSORS)
    state.model.load_state_dict(_part(tensors, "model"))
    state.objective.load_state_dict(_part(tensors, "objective"))
    if state.average is not None:
        state.average.load_state_dict(_part(tensors, "average"))
    _load_optimizer(state, tensors)
    _load_random(_part(tensors, "random"))
    best = read_tensors(_name(folder, state.best_epoch) / TENSORS)
    state.best_weights = _part(best, "model") | _part(best, "average")


def clear_checkpoints(folder: Path) -> None:
    """Remove all checkpoints, finished or not."""
    shutil.rmtree(folder, ignore_errors=True)


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


def _part(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    start = part + "."
    return {name[len(start) :]: value for name, value in tensors.items() if name.startswith(start)}


def _load_optimizer(state: TrainState, tensors: Mapping[str, Tensor]) -> None:
    for name, parameter in state.model.named_parameters():
        saved = {
            key: tensors.get(f"adamw.{name}.{key}") for key in ("step", "exp_avg", "exp_avg_sq")
        }
        if saved["step"] is not None:  # a parameter without a gradient so far has no state
            state.optimizer.state[parameter] = {
                key: value.to(parameter.device) for key, value in saved.items() if value is not None
            }


def _random() -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _load_random(states: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if torch.cuda.is_available() and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])
