"""Fits that ranks do together; called as `cases.py FOLDER CASE...` by every rank.

Each case writes a run folder, and each rank the digest of the weights it ended with.
"""

# B patients of a batch, M modalities

import hashlib
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from remind.cohort import Batch, Cohort, Encoding
from remind.fusion import Model, ModelConfig
from remind.training import NeuralMethod, Run, TrainConfig, fit_run, with_overrides
from remind.training.ranks import joined, leave, rank
from tests.training.toy import ToyConfig, ToyOutput, toy_cohort

TRAIN = TrainConfig(epochs=2, batch_size=37, ema=0.9, modality_dropout=0.2, device="cpu", lr=1e-3)
"""260 patients: the last batch is one patient, so all ranks but one have none."""

SMALL = ModelConfig(width=16, hidden=16, experts=4, members=4, layers=1, dropout=0.0)


class Rare(nn.Module):
    """A parameter per modality, which has a gradient only where a batch holds a patient without it.

    The scale is a number, which cannot be sharded.
    """

    def __init__(self, encoding: Encoding, num_classes: int, config: ToyConfig) -> None:
        super().__init__()
        num_modalities = len(encoding.modalities)
        self.absent = nn.ParameterList(torch.randn(num_classes) for _ in range(num_modalities))
        self.never = nn.Parameter(torch.randn(3))
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, batch: Batch) -> ToyOutput:
        logits_BC = torch.zeros(len(batch), len(self.absent[0]))
        for m, weight_C in enumerate(self.absent):
            index_B = (~batch.present_BM[:, m]).nonzero().squeeze(1)
            if len(index_B):
                logits_BC = logits_BC.index_add(0, index_B, weight_C.expand(len(index_B), -1))
        return ToyOutput((self.scale * logits_BC)[:, None], 0.01 * self.scale.square())


def build(encoding: Encoding, num_classes: int, config: ModelConfig) -> nn.Module:
    return Model(encoding, num_classes, config)


def teach(cohort: Cohort, encoding: Encoding, seed: int) -> np.ndarray:
    """Made-up probabilities; only the first rank is asked."""
    assert rank() == 0
    prob_NC = np.random.default_rng(seed).random((len(cohort), len(encoding.classes)))
    return (prob_NC / prob_NC.sum(1, keepdims=True)).astype(np.float32)


def method_of(name: str) -> NeuralMethod:
    if name == "rare":
        return NeuralMethod("rare", Rare, ToyConfig(), TRAIN)
    parts: dict[str, object] = {}
    if name == "soft":
        parts = {"fusion": "transformer", "mixture": "soft", "gate": "shared", "blocks": 1}
    return NeuralMethod(name, build, ModelConfig(**{**vars(SMALL), **parts}), TRAIN, teach=teach)


CASES: dict[str, tuple[str, list[str]]] = {
    "ensemble": ("ensemble", []),
    "held_out": ("ensemble", ["objective=long_tail_dro", "held_out=true"]),
    "patients": ("ensemble", ["objective=chi2", "over=patients", "radius=0.5"]),
    "mixup": ("ensemble", ["objective=fair_mixup", "strength=20"]),
    "fair": ("ensemble", ["objective=fair_batch", "step=0.2"]),
    "twice": ("ensemble", ["objective=jtt", "first_epochs=1", "epochs=2"]),
    "tokens": ("soft", ["objective=group_dro", "batch_tokens=150", "schedule=cosine"]),
    "taught": ("ensemble", ["teacher=0.5"]),
    "pretrained": ("ensemble", ["pretrain=2"]),
    "rare": ("rare", ["objective=cvar", "lr=0.1"]),
}
"""Name -> method and settings."""


def fit(case: str, out: Path, cohort: Cohort, *, resume: bool = False) -> Run:
    """Fit a case; "fsdp " before its name shards it."""
    strategy, _, name = case.rpartition(" ")
    method, overrides = CASES[name]
    chosen = method_of(method)
    overrides = [*overrides, f"strategy={strategy or 'ddp'}"]
    settings = with_overrides(chosen.default_settings(), overrides)
    return fit_run(cohort, chosen, settings, out, resume=resume)


def digest(run: Run) -> str:
    """Of the weights, bit for bit."""
    weights = run.predictor.model.state_dict().values()  # pyright: ignore
    return hashlib.sha256(b"".join(w.numpy().tobytes() for w in weights)).hexdigest()


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    with joined():
        shared = toy_cohort()
        for case in sys.argv[2:]:
            run = fit(case, folder / case, shared, resume=True)  # goes on from what is there
            (folder / f"{case}.{rank()}").write_text(digest(run))
    leave(0)
