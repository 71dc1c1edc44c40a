"""Laws that every neural peer keeps, and a check of each.

B patients, K members, C classes.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from remind.cohort import Batch, Cohort
from remind.sources import load_source
from remind.training import Method, NeuralMethod, fit_run, open_run, with_overrides
from tests.baselines.make import select, spoil_unobserved


def check_gradients(model: nn.Module, batch: Batch) -> None:
    """The loss or the penalty of a training step moves every parameter."""
    out = model.train()(batch)
    (out.logits_BKC.square().sum() + out.penalty).backward()
    parameters = dict(model.named_parameters())
    dead = [n for n, p in parameters.items() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []


def check_unobserved_is_untouched(model: nn.Module, batch: Batch) -> None:
    """Rubbish in unobserved modalities changes no prediction, no penalty and no gradient."""
    parameters = list(model.parameters())

    def found(batch: Batch) -> list[Any]:
        out = model(batch)
        result = out.logits_BKC.sin().sum() + out.penalty
        gradients = torch.autograd.grad(result, parameters, materialize_grads=True)
        return [out.logits_BKC, out.penalty, *gradients]

    for spoilt, expected in zip(found(spoil_unobserved(batch)), found(batch), strict=True):
        torch.testing.assert_close(spoilt, expected)


def check_permutes(model: nn.Module, batch: Batch) -> None:
    """Another order of patients gives another order of predictions; the penalty stays."""
    order_B = torch.randperm(len(batch), generator=torch.Generator().manual_seed(0))
    out, moved = model(batch), model(select(batch, order_B))
    torch.testing.assert_close(moved.logits_BKC, out.logits_BKC[order_B])
    torch.testing.assert_close(moved.penalty, out.penalty)


def check_alone(model: nn.Module, batch: Batch) -> None:
    """A patient does not depend on the batch, which may be empty."""
    logits_BKC = model(batch).logits_BKC
    assert logits_BKC.isfinite().all()
    alone = [model(select(batch, torch.tensor([b]))).logits_BKC for b in range(len(batch))]
    torch.testing.assert_close(torch.cat(alone), logits_BKC)
    assert model(select(batch, torch.arange(0))).logits_BKC.shape == (0, *logits_BKC.shape[1:])


def check_labels_are_not_read(model: nn.Module, batch: Batch) -> None:
    """In evaluation mode patients whose label is unknown are predicted alike, penalty and all."""
    unknown = replace(batch, label_B=torch.full_like(batch.label_B, -1))
    torch.testing.assert_close(model(unknown), model(batch))


def check_run(method: NeuralMethod, folder: Path, *overrides: str) -> None:
    """A run under a robust objective, with modality dropout, opens again and predicts the same."""
    cohort = load_source("synthetic", num_patients=200, num_modalities=4, seed=1)
    given = ["epochs=2", "batch_size=64", "objective=group_dro", "modality_dropout=0.2"]
    settings = with_overrides(method.default_settings(), [*given, "device=cpu", *overrides])
    run = fit_run(cohort, method, settings, out=folder)
    again = open_run(folder, {method.name: method})
    pd.testing.assert_frame_equal(run.predict(cohort), again.predict(cohort), check_exact=True)


def check_modality_that_training_lacks(method: Method, cohort: Cohort, *overrides: str) -> None:
    """A vector that no training patient has is no reason not to predict those who have it.

    A network does not read it.

    Args:
        method: to fit.
        cohort: whose training patients lack the modality "ecg".
        overrides: settings that make it quick.
    """
    place = cohort.spec.modality_names.index("ecg")
    assert not cohort.present_NM[cohort.rows("train"), place].any()
    run = fit_run(cohort, method, with_overrides(method.default_settings(), overrides))
    late = cohort.select(np.flatnonzero(cohort.present_NM[:, place]))
    prob_NC = run.predictor.predict_proba(late)
    np.testing.assert_allclose(prob_NC.sum(1), 1, rtol=1e-6)
    if isinstance(method, NeuralMethod):
        other = replace(late, values={**late.values, "ecg": 9 - late.values["ecg"]})
        np.testing.assert_array_equal(run.predictor.predict_proba(other), prob_NC)
