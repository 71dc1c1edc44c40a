"""Small benchmarks for the tests, and an executor that runs in this process."""

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from remind.benchmark.executors import Outcome, call
from remind.benchmark.run import MakeExecutor, Request

QUICK = (
    "lightgbm:trees=4",
    "transformer:epochs=1",
    "transformer:width=8",
    "transformer:hidden=8",
    "transformer:heads=2",
)


class Inline:
    """Runs calls in this process, one at a time; dies after some, as if killed."""

    slots = 1

    def __init__(self, function: Callable[..., Any], shared: Any, most: int | None) -> None:
        self.shared, self.left = (function, shared), most
        self.queue: list[tuple[Hashable, Any]] = []

    def submit(self, key: Hashable, *arguments: Any) -> None:
        self.queue.append((key, arguments))

    def wait(self) -> tuple[Hashable, Outcome]:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left = None if self.left is None else self.left - 1
        key, arguments = self.queue.pop(0)
        return key, call(self.shared, *arguments)

    def close(self) -> None:
        self.queue.clear()


def inline(most: int | None = None) -> MakeExecutor:
    """An executor that ends after `most` calls."""
    return lambda function, shared: Inline(function, shared, most)


def request(methods: Sequence[str] = ("lightgbm", "transformer"), **options: Any) -> Request:
    """A benchmark of seconds."""
    small: dict[str, Any] = {"seeds": 1, "folds": 2, "edges": (5, 20), "sets": _sets(methods)}
    return Request(methods=methods, **{**small, **options})


def _sets(methods: Sequence[str]) -> tuple[str, ...]:
    return tuple(pair for pair in QUICK if pair.partition(":")[0] in methods)


def content(folder: Path, *names: str) -> dict[str, bytes]:
    """The bytes of some files."""
    return {name: (folder / name).read_bytes() for name in names}


def frame_of(name: str, *, seeds: int = 2, n: int = 60, skill: float = 1.0) -> pd.DataFrame:
    """Predictions of a made-up contender: two rows per person, two folds, three blocks."""
    rng = np.random.default_rng([7, *name.encode()])
    label_n = np.arange(n) % 2
    parts = []
    for seed in range(seeds):
        logit_n = skill * (2 * label_n - 1) + rng.normal(size=n)
        prob_n = 1 / (1 + np.exp(-logit_n))
        parts.append(
            pd.DataFrame(
                {
                    "id": [f"p{i:03d}" for i in range(n)],
                    "person": np.arange(n) // 2,
                    "label": label_n.astype(str),
                    "prob_0": 1 - prob_n,
                    "prob_1": prob_n,
                    "group": "vitals",
                    "n_train": 5,
                    "band": np.where(np.arange(n) % 3 == 0, "unseen", "tail"),
                    "split": "test",
                    "method": name,
                    "seed": seed,
                    "fold": np.arange(n) // 2 % 2,
                    "size": np.where(np.arange(n) < n // 2, 3, 30),
                    "block": np.where(np.arange(n) < n // 2, "< 5", "≥ 5"),
                }
            ).sample(frac=1, random_state=seed)
        )
    return pd.concat(parts, ignore_index=True)
