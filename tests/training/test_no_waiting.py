"""A training step asks the device nothing: it runs on a device that has no values to answer with.

On CUDA every answer is a wait for all work before it (a length, a maximum, whether any). The device
`meta` computes shapes only, and refuses such questions. Two things are left out, for there they are
of torch alone: autocast, which does not know the device, and the fused optimizer.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from remind.cohort import Batch, Encoding, read_cohort
from remind.fusion.config import FUSIONS, MIXTURES
from remind.fusion.model import Model
from remind.methods import METHODS
from remind.objectives import OBJECTIVES
from remind.sources import toy_hospital
from remind.training.average import WeightAverage
from remind.training.dropout import draw, drop_modalities
from remind.training.losses import patient_losses
from remind.training.sampling import training_output
from remind.training.settings import with_overrides
from remind.training.teacher import taught_losses

NUM = 40


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Encoding, Batch]]:
    """A cohort of every kind, and a batch of it on the host."""
    folder = tmp_path_factory.mktemp("hospital")
    toy_hospital.write(folder, patients=NUM, seed=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REMIND_CACHE", str(tmp_path_factory.mktemp("cache")))
        cohort = read_cohort(folder)
        rows = cohort.rows("train")
        encoding = Encoding.fit(cohort, rows)
        yield encoding, encoding.transform(cohort).batch(rows)


@pytest.fixture(autouse=True)
def _no_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    known = torch.is_autocast_enabled
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: device != "meta" and known())
    monkeypatch.setattr(
        torch, "autocast", lambda device, **options: torch.enable_grad()
    )  # whose purpose is to be switched off


def step(encoding: Encoding, batch: Batch, objective_name: str, sets: list[str]) -> None:
    """What `Steps` does with a batch, up to the optimizer."""
    settings: Any = with_overrides(METHODS["default"].default_settings(), sets)
    model = Model(encoding, 2, settings.model).train()
    model.on_epoch(1, 2)
    average = WeightAverage(model.to("meta"), 0.99)
    groups, kind = encoding.groups, OBJECTIVES[objective_name]
    counts_G, patterns_GM = (torch.from_numpy(x) for x in (groups.counts_G, groups.patterns_GM))
    objective = kind(counts_G, kind.Config(), patterns_GM=patterns_GM)
    objective.begin(batch.label_B, batch.group_B)
    objective.to("meta").train()
    group_B = batch.group_B.to("meta")
    uniform_BX = draw(0, 0, 0, len(batch), batch.present_BM.shape[1])
    batch = batch.with_present(drop_modalities(batch.present_BM, 0.3, uniform_BX)).to("meta")
    logits_BKC, penalty, added = training_output(
        model, batch, objective, group_B, num_own=len(batch), generator=torch.Generator()
    )
    loss_B = patient_losses(logits_BKC, batch.label_B)
    prob_BC = torch.full((len(batch), 2), 0.5, device="meta")
    loss_B = loss_B + taught_losses(logits_BKC, batch.label_B, prob_BC, 0.5)
    loss = objective(loss_B, group_B).loss + penalty + added
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    average.update(3)
    assert loss.device.type == "meta"
    assert all(p.grad is not None for p in model.encoder.parameters())


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_no_objective_waits(objective: str, hospital: tuple[Encoding, Batch]) -> None:
    step(*hospital, objective, [])


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("mixture", MIXTURES)
def test_no_fusion_and_no_mixture_waits(
    fusion: str, mixture: str, hospital: tuple[Encoding, Batch]
) -> None:
    step(*hospital, "erm", [f"fusion={fusion}", f"mixture={mixture}"])


def test_a_question_to_this_device_is_an_error() -> None:
    """Without that the tests above could not fail."""
    x = torch.ones(3, device="meta")
    for ask in (lambda: x.nonzero(), lambda: bool(x.any()), lambda: x.sum().item(), x.tolist):
        with pytest.raises((RuntimeError, NotImplementedError)):
            ask()
    with pytest.raises(RuntimeError):
        x[x > 0]
