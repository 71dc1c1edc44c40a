"""The weights of the groups during training: how they moved, and whether that was healthy."""

# G groups

import json
import re
from pathlib import Path
from typing import Any

import torch

from remind.analyses.options import Options
from remind.cohort import Cohort
from remind.errors import InputError
from remind.objectives import AdaptiveObjective, Objective, diagnose, make_objective
from remind.run_files import CHECKPOINTS, METRICS
from remind.training import Run
from remind.training.checkpoint import TENSORS
from remind.training.files import read_tensors

SHOWN = 20
"""Groups that are listed: those with the most weight for each of their patients."""
STATE = "objective."


def group_weights(run: Run, cohort: Cohort, options: Options) -> dict[str, Any]:
    """Trajectory and health of the group weights q of a run.

    Returns:
        JSON: ``objective``, ``moves`` (whether q can move at all), ``health`` (a sentence whose
        first word is frozen, one-hot, abandoned tail, healthy or fixed), ``verdict`` (that word);
        ``epochs``: per epoch ``epoch``, ``entropy`` (nats), ``effective_groups``, ``max_weight``,
        ``max_group``, ``tail_mass``, ``moved`` (total variation from the start); ``updates``: the
        same by update, as columns, None where no checkpoint is left; ``groups``: ``group``,
        ``n_train``, ``share`` of the patients, ``weight`` and their ``ratio``, by ratio.

    Raises:
        InputError: the method is not trained with an objective, or its record is gone.
    """
    if run.settings.train is None:
        raise InputError(f"the method {run.settings.method} is not trained with group weights")
    groups = run.encoding.groups
    names = groups.names(groups.patterns_GM)
    objective = make_objective(
        run.settings.objective,
        counts_G=torch.from_numpy(groups.counts_G),
        patterns_GM=torch.from_numpy(groups.patterns_GM),
        **run.settings.objective_options,
    )
    has_state = _restore(objective, run)
    facts = {"objective": run.settings.objective, "num_groups": len(groups)}
    if not isinstance(objective, AdaptiveObjective):
        health = f"fixed: the objective {run.settings.objective} never moves its weights"
        moves = {"moves": False, "health": health, "verdict": "fixed", "epochs": []}
        return {**facts, **moves, "updates": None, "groups": _groups(objective, names)}
    health = _health(objective, run, names, has_state=has_state)
    return {
        **facts,
        "moves": True,
        "health": health,
        "verdict": health.split(":")[0],
        "epochs": [_epoch(line, names) for line in _metrics(run)],
        "updates": objective.trajectory.to_dict() if has_state else None,
        "groups": _groups(objective, names) if has_state else None,
    }


def _health(objective: AdaptiveObjective, run: Run, names: list[str], *, has_state: bool) -> str:
    if run.history is not None and run.history.health is not None:
        return run.history.health
    if has_state:
        return diagnose(objective.trajectory, objective.counts_G, names)
    raise InputError(
        "the run keeps no checkpoint of its objective, so how its weights moved is not known: "
        "fit it again and leave the checkpoints in its folder"
    )


def _restore(objective: Objective, run: Run) -> bool:
    """Give an objective the state of the latest checkpoint; whether there is one."""
    folder = None if run.folder is None else run.folder.path / CHECKPOINTS
    latest = None if folder is None else _latest(folder)
    if latest is None:
        return False
    tensors = read_tensors(latest / TENSORS)
    objective.load_state_dict(
        {k.removeprefix(STATE): v for k, v in tensors.items() if k.startswith(STATE)}
    )
    return True


def _latest(folder: Path) -> Path | None:
    if not folder.is_dir():
        return None
    epochs = sorted(path for path in folder.iterdir() if re.fullmatch(r"epoch-\d+", path.name))
    return epochs[-1] if epochs else None


def _metrics(run: Run) -> list[dict[str, Any]]:
    """The line of every epoch, from memory or from metrics.jsonl."""
    if run.history is not None:
        return run.history.metrics
    file = None if run.folder is None else run.folder.path / METRICS
    if file is None or not file.is_file():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def _epoch(line: dict[str, Any], names: list[str]) -> dict[str, Any]:
    weights = line["weights"]
    return {
        "epoch": line["epoch"],
        "entropy": weights["entropy"],
        "effective_groups": float(torch.tensor(weights["entropy"], dtype=torch.float64).exp()),
        "max_weight": weights["max_weight"],
        "max_group": names[weights["max_group"]],
        "tail_mass": weights["tail_mass"],
        "moved": weights["moved"],
    }


def _groups(objective: Objective, names: list[str]) -> list[dict[str, Any]]:
    """Groups by weight over share, the largest first."""
    share_G = objective.counts_G / objective.counts_G.sum()
    ratio_G = objective.weight_G / share_G
    order = ratio_G.argsort(descending=True, stable=True)[:SHOWN].tolist()
    return [
        {
            "group": names[g],
            "n_train": int(objective.counts_G[g]),
            "share": float(share_G[g]),
            "weight": float(objective.weight_G[g]),
            "ratio": float(ratio_G[g]),
        }
        for g in order
    ]
