"""What runs on the device: no graph breaks, no program for every batch, and bfloat16."""

from dataclasses import replace

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from remind.cohort import Batch
from remind.fusion.model import Model
from tests.encoders.make import select
from tests.fusion.test_model import GROUPS, SMALL, encoding, make, patients

KINDS = [("ensemble", "group"), ("transformer", "soft")]


def trained(model: Model, batch: Batch) -> list[torch.Tensor]:
    """Logits, and the gradients of all parameters."""
    model.zero_grad()
    out = model(batch)
    (out.logits_BKC.square().mean() + out.penalty).backward()
    return [out.logits_BKC, *(p.grad for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize(("fusion", "mixture"), KINDS)
def test_one_program_serves_all_batches(fusion, mixture):
    """``fullgraph`` forbids graph breaks; other patients and counts compile nothing new."""
    torch._dynamo.reset()
    config = replace(SMALL, fusion=fusion, mixture=mixture, blocks=1, dropout=0.0)
    compiled, eager = make(config), make(config)
    counter = CompileCounterWithBackend("eager")
    compiled.compile(backend=counter, fullgraph=True)
    for seed, num_patients in enumerate((30, 30, 40, 25, 33)):
        batch = patients(num_patients, seed)
        for got, want in zip(trained(compiled, batch), trained(eager, batch), strict=True):
            torch.testing.assert_close(got, want)
        if seed == 1:
            settled = counter.frame_count
    assert counter.frame_count <= settled + 1 <= 3


@pytest.mark.parametrize(("fusion", "mixture"), [*KINDS, ("transformer", "group")])
def test_bfloat16_is_near_float32(fusion, mixture):
    """Under autocast, predictions and gradients differ by the rounding of bfloat16."""
    model = make(replace(SMALL, fusion=fusion, mixture=mixture), shaken=False).float()
    batch = patients(40)
    tabular, vector = batch.values["tabular"], batch.values["vector"]
    values = {
        "tabular": replace(tabular, frac_BC=tabular.frac_BC.float()),
        "vector": {name: value.float() for name, value in vector.items()},
    }
    batch = replace(batch, values=values)
    exact = model(batch).logits_BKC
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(batch).logits_BKC
    torch.testing.assert_close(rounded.float(), exact, rtol=0.1, atol=0.1)
    rounded.float().square().mean().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_a_batch_of_nobody_gives_no_rows():
    """Logits of every member for no patient."""
    model, batch = make(SMALL), patients()
    with torch.no_grad():
        empty = model(select(batch, torch.arange(0))).logits_BKC
    assert empty.shape == (0, *model(batch).logits_BKC.shape[1:])


@pytest.mark.parametrize("fusion", ["ensemble", "transformer"])
def test_a_modality_that_training_never_saw_says_nothing_and_costs_nothing(fusion):
    """It has no weights, and no tokens: whatever its values are, the prediction is the same."""
    seen = replace(GROUPS, patterns_GM=GROUPS.patterns_GM[:2] & [True, True, True, False])
    seen = replace(seen, counts_G=GROUPS.counts_G[:2])
    model = make(replace(SMALL, fusion=fusion), of=encoding(seen))
    assert not any("mri" in name for name in model.encoder.kinds["vector"].names)
    assert fusion == "transformer" or model.fusion.pool.factor_MKD.shape[0] == 3
    batch = patients()
    batch = replace(batch, group_B=torch.full_like(batch.group_B, -1))
    assert batch.present_BM[:, 3].any()
    changed = dict(batch.values["vector"], mri=batch.values["vector"]["mri"] + 1)
    other = replace(batch, values={**batch.values, "vector": changed})
    torch.testing.assert_close(model(other).logits_BKC, model(batch).logits_BKC)
