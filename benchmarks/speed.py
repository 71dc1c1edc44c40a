"""What the benchmarks of speed share: patients without files, whole steps, and clocks.

B patients, M modalities, G groups, F values of a vector.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from remind.allocation import keep_pages
from remind.cohort import Batch, Encoding, Groups, VectorModality, VectorSchema
from remind.objectives import Objective, make_objective
from remind.training import TrainConfig
from remind.training.average import WeightAverage
from remind.training.losses import patient_losses
from remind.training.optimizer import make_optimizer

LENGTH = 16  # values of a vector
EMA = 0.99
RARE = 0.01  # share of patients that are observed in a rare modality


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """An encoding, and batches of its training patients."""

    encoding: Encoding
    batches: list[Batch]


def draw(
    *,
    num_modalities: int,
    num_patients: int,
    observed: float,
    num_groups: int | None = None,
    num_unobserved: int = 0,
    num_rare: int = 0,
    num_batches: int = 4,
    seed: int = 0,
) -> Drawn:
    """Draw vectors of M modalities, each observed with the same probability.

    Args:
        num_modalities: M that are observed at times.
        num_patients: of a batch.
        observed: share of them that are observed.
        num_groups: combinations in training, patients drawn evenly among them; all those of the
            batches if None.
        num_unobserved: modalities more, that nobody is observed in.
        num_rare: modalities more, each observed with probability ``RARE``.
        num_batches: batches.
        seed: of everything.
    """
    random = np.random.default_rng(seed)
    num_rows = num_patients * num_batches if num_groups is None else num_groups
    present_GM = random.random((num_rows, num_modalities)) < observed
    present_GM[~present_GM.any(axis=1), 0] = True
    rare_GM = random.random((num_rows, num_rare)) < RARE
    nobody_GM = np.zeros((num_rows, num_unobserved), dtype=bool)
    present_GM = np.concatenate([present_GM, rare_GM, nobody_GM], axis=1)
    names = tuple(f"m{m}" for m in range(present_GM.shape[1]))
    groups = Groups.fit(present_GM, names)
    vectors = tuple(
        VectorModality(name=name, index=m, mean=(0.0,) * LENGTH, std=(1.0,) * LENGTH)
        for m, name in enumerate(names)
    )
    encoding = Encoding(
        modalities=names,
        classes=("0", "1"),
        groups=groups,
        schemas={"vector": VectorSchema(modalities=vectors)},
    )
    batches = []
    for _ in range(num_batches):
        present_BM = present_GM[random.integers(num_rows, size=num_patients)]
        values = {
            name: torch.randn(num_patients, LENGTH) * torch.from_numpy(present_BM[:, m : m + 1])
            for m, name in enumerate(names)
        }
        batches.append(
            Batch(
                values={"vector": values},
                present_BM=torch.from_numpy(present_BM),
                label_B=torch.from_numpy(random.integers(2, size=num_patients)),
                group_B=torch.from_numpy(groups.ids(present_BM)),
                groups=groups,
            )
        )
    return Drawn(encoding=encoding, batches=batches)


class Trainee:
    """A model with all that a step of training does: loss, backward, clipping, AdamW, average.

    Args:
        model: as ``train`` expects it.
        objective: of its groups.
    """

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        config = TrainConfig(ema=EMA)
        self.model, self.objective = model.train(), objective
        self.optimizer = make_optimizer(model, config)
        self.average, self.clip, self.steps = WeightAverage(model, EMA), config.clip, 0

    def step(self, batch: Batch) -> Tensor:
        """Train on a batch; returns its loss."""
        output = self.model(batch)
        loss_B = patient_losses(output.logits_BKC, batch.label_B)
        loss = self.objective(loss_B, batch.group_B).loss + output.penalty
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        self.average.update(self.steps)
        self.steps += 1
        return loss.detach()


def trainee(model: nn.Module, encoding: Encoding) -> Trainee:
    """A model with the objective of `default`."""
    counts_G = torch.from_numpy(encoding.groups.counts_G)
    return Trainee(model, make_objective("erm", counts_G=counts_G))


def side_by_side(
    work: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    warm: int = 2,
    seconds: float = float("inf"),
) -> dict[str, float]:
    """Least seconds of every piece of work, taken in turn so that noise meets all alike.

    Args:
        work: name -> work.
        rounds: in which every piece is timed once.
        warm: runs of every piece before.
        seconds: after which no other round begins; there is one at least.
    """
    for run in work.values():
        for _ in range(warm):
            run()
    least = dict.fromkeys(work, float("inf"))
    begin = time.perf_counter()
    for _ in range(rounds):
        for name, run in work.items():
            start = time.perf_counter()
            run()
            least[name] = min(least[name], time.perf_counter() - start)
        if time.perf_counter() - begin > seconds:
            break
    return least


def in_turn(batches: list[Batch], run: Callable[[Batch], object]) -> Callable[[], object]:
    """Run on one batch after the other, from the first again after the last."""
    place = -1

    def next_one() -> object:
        nonlocal place
        place = (place + 1) % len(batches)
        return run(batches[place])

    return next_one


def arguments(description: str, rounds: int, **options: Any) -> argparse.Namespace:
    """Parse --json, --rounds, and options given by their defaults; memory is kept as by remind."""
    keep_pages()
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=rounds, help="timed passes, best counts")
    for name, default in options.items():
        kind = "store_true" if default is False else "store"
        extra = {} if default is False else {"default": default, "type": type(default)}
        parser.add_argument(f"--{name}", action=kind, **extra)
    return parser.parse_args()


def show(result: Any, as_json: bool, lines: Callable[[Any], list[str]]) -> None:
    """Print a result: one JSON object, or lines."""
    if as_json:
        print(json.dumps({"threads": torch.get_num_threads(), **asdict(result)}))
        return
    print(f"{torch.get_num_threads()} threads")
    for line in lines(result):
        print(line)
