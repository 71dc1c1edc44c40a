"""Laws that the encoders of series and codes share, on cohorts that are made for the purpose."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from remind.cohort import Cohort, Encoded, Encoding, read_cohort
from remind.encoders import TokenEncoder, Tokens
from remind.methods import METHODS
from remind.training import fit_run, with_overrides

SMALL = ("epochs=12", "width=32", "members=4", "hidden=16", "experts=2", "batch_size=64", "lr=0.01")


def setting(cohort: Cohort, kind: str) -> tuple[nn.Module, Encoded]:
    """A float64 encoder of one kind, all of its zeros filled, and the encoded cohort."""
    encoding = Encoding.fit(cohort, cohort.rows("train"))
    torch.manual_seed(0)
    schemas = {kind: encoding.schemas[kind]}
    encoder = TokenEncoder(schemas, width=6, num_modalities=len(encoding.modalities), rank=3)
    for parameter in encoder.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return encoder.double().kinds[kind], encoding.transform(cohort)


def tokens_of(encoder: nn.Module, encoded: Encoded, kind: str, rows: list[int]) -> Tokens:
    """Tokens of some patients, from numbers of double precision."""
    batch = encoded.batch(np.array(rows, dtype=np.int64))
    return encoder(doubled(batch.values[kind]), batch.present_BM)


def doubled(values: dict[str, Any]) -> dict[str, Any]:
    """The same batch in double precision."""

    def double(tensor: Tensor) -> Tensor:
        return tensor.double() if tensor.is_floating_point() else tensor

    return {name: changed(batch, double) for name, batch in values.items()}


def changed(batch: Any, function: Any) -> Any:
    """A function of every tensor of a batch of one modality."""
    return replace(batch, **{name: function(value) for name, value in vars(batch).items()})


def by_patient(tokens: Tokens, patient: int) -> Tensor:
    """The tokens of one patient of a batch."""
    return tokens.x_TD[tokens.owner_T == patient]


def check_batch_composition(
    encoder: nn.Module, encoded: Encoded, kind: str, rows: list[int]
) -> None:
    """A patient's tokens are the same in any company, in the order of modalities."""
    together = tokens_of(encoder, encoded, kind, rows)
    order = together.owner_T * 100 + together.modality_T
    assert (order.diff() >= 0).all()
    for position, row in enumerate(rows):
        alone = tokens_of(encoder, encoded, kind, [row])
        torch.testing.assert_close(by_patient(together, position), alone.x_TD)
        torch.testing.assert_close(
            alone.modality_T, together.modality_T[together.owner_T == position]
        )


def check_hidden_items_are_not_read(
    encoder: nn.Module, encoded: Encoded, kind: str, rows: list[int]
) -> None:
    """NaN and nonsense in modalities that are switched off change no token and no gradient."""
    batch = encoded.batch(np.array(rows))
    present_BM = batch.present_BM.clone()
    present_BM[::2, 1:] = False
    values = doubled(batch.values[kind])

    def gradients(values: dict[str, Any]) -> tuple[Tensor, list[Tensor]]:
        x_TD = encoder(values, present_BM).x_TD
        wanted = list(encoder.parameters())
        found = torch.autograd.grad(x_TD.sin().sum(), wanted, materialize_grads=True)
        return x_TD, list(found)

    x_TD, expected = gradients(values)
    spoilt = {name: spoil(item, present_BM) for name, item in values.items()}
    assert any((vars(a)["owner_V"] % 2 == 0).any() for a in values.values())
    spoilt_TD, found = gradients(spoilt)
    torch.testing.assert_close(spoilt_TD, x_TD, rtol=0, atol=0)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def spoil(batch: Any, present_BM: Tensor) -> Any:
    """The batch with rubbish in the items of patients of even position, who are switched off."""
    hidden_V = batch.owner_V % 2 == 0

    def rubbish(values: Tensor) -> Tensor:
        if values is batch.owner_V or (hasattr(batch, "num_V") and values is batch.num_V):
            return values
        hidden = hidden_V
        if len(values) != len(hidden_V):  # parts of codes
            hidden = hidden_V.repeat_interleave(batch.num_V)
        fill = torch.nan if values.is_floating_point() else 10**6
        shape = (-1,) + (1,) * (values.dim() - 1)
        return torch.where(hidden.view(shape), torch.full_like(values, fill), values)

    return changed(batch, rubbish)


def check_gradients(encoder: nn.Module, encoded: Encoded, kind: str) -> None:
    """Every parameter has a gradient."""
    rows = list(range(len(encoded)))
    tokens_of(encoder, encoded, kind, rows).x_TD.sin().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def auroc_of_a_short_fit(folder: Path) -> float:
    """Of test patients, after a few epochs of the default method from the files on."""
    cohort = read_cohort(folder)
    method = METHODS["default"]
    run = fit_run(cohort, method, with_overrides(method.default_settings(), [*SMALL, "device=cpu"]))
    predictions = run.predictions("test", cohort)
    return float(roc_auc_score(cohort.label_N[cohort.rows("test")], predictions["prob_1"]))
