"""Two ranks take the steps of one."""

# B patients of a batch

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch import distributed as dist
from torch.multiprocessing.spawn import spawn

from remind.objectives import make_objective
from tests.objectives.reference import COUNTS, PATTERNS, batch

NUM_RANKS = 2
OPTIONS: dict[str, dict[str, object]] = {
    "erm": {},
    "paper": {"every": 2},
    "group_dro": {},
    "cvar": {},
    "long_tail_dro": {},
    "chi2": {},
    "chi2 of patients": {"over": "patients", "radius": 0.5},
    "fair_batch": {},
}


def train(name: str, rank: int, num_ranks: int) -> dict[str, Tensor]:
    """Three steps on this rank's part of each batch; the last loss, gradient and weights."""
    objective = make_objective(
        name.partition(" ")[0],
        counts_G=torch.tensor(COUNTS),
        patterns_GM=torch.tensor(PATTERNS, dtype=torch.bool),
        **OPTIONS[name],
    )
    theta = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    part = slice(None) if num_ranks == 1 else (slice(0, 11), slice(11, None))[rank]
    steps = []
    for seed in range(3):
        loss_B, group_B = batch(seed)
        loss, weight_G = objective(theta * loss_B[part], group_B[part])
        objective.end_epoch()
        (gradient,) = torch.autograd.grad(loss, theta)
        steps.append({"loss": loss.detach(), "gradient": gradient, "weight_G": weight_G})
    return steps[-1]


def run_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=NUM_RANKS)
    results = {name: train(name, rank, NUM_RANKS) for name in OPTIONS}
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_ranks_equal_one(tmp_path: Path) -> None:
    """Equal weights on all ranks; the mean over ranks of loss and gradient is that of one."""
    spawn(run_rank, args=(str(tmp_path),), nprocs=NUM_RANKS)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(NUM_RANKS))
    for name in OPTIONS:
        alone = train(name, rank=0, num_ranks=1)
        assert torch.equal(first[name]["weight_G"], second[name]["weight_G"])
        assert first[name]["weight_G"].tolist() == pytest.approx(alone["weight_G"].tolist())
        for key in ("loss", "gradient"):
            mean = float(first[name][key] + second[name][key]) / NUM_RANKS
            assert mean == pytest.approx(float(alone[key]), rel=1e-9)
