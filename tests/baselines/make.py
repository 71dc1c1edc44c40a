"""Small encodings, batches, tokens and models for the tests of the neural peers.

B patients, M modalities, T tokens, D width, C classes.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from remind.cohort import Batch, Encoding, Groups, VectorModality, VectorSchema
from remind.encoders import Tokens
from tests.encoders import make as encoders

NUM_MIXED = len(encoders.MODALITIES)


def small_encoding(num_modalities: int = NUM_MIXED, num_classes: int = 3) -> Encoding:
    """Two tabular and two vector modalities; another number of modalities is all vectors.

    Training knows four combinations: all modalities, every other one, the first and the last.
    """
    is_mixed = num_modalities == NUM_MIXED
    names = encoders.MODALITIES if is_mixed else tuple(f"v{m}" for m in range(num_modalities))
    schemas = {"tabular": encoders.tabular_schema(), "vector": encoders.vector_schema()}
    if not is_mixed:
        schemas = {
            "vector": VectorSchema(
                modalities=tuple(
                    VectorModality(name=name, index=m, mean=(0.0,) * 2, std=(1.0,) * 2)
                    for m, name in enumerate(names)
                )
            )
        }
    groups = Groups.fit(_patterns(num_modalities).repeat([9, 5, 2, 1], axis=0), names)
    classes = tuple(str(c) for c in range(num_classes))
    return Encoding(modalities=names, classes=classes, groups=groups, schemas=schemas)


def random_batch(encoding: Encoding, num_patients: int = 12, seed: int = 0) -> Batch:
    """Patients with float64 values and labels at random, of seen and of unseen combinations.

    The first four have the combinations of training; the fifth, if any, is observed in nothing.
    Unobserved modalities have values as well, which a model must not read.
    """
    random = torch.Generator().manual_seed(seed)
    num_modalities = len(encoding.modalities)
    present_BM = torch.rand(num_patients, num_modalities, generator=random) < 0.6
    present_BM[:4] = torch.from_numpy(_patterns(num_modalities))[:num_patients]
    present_BM[4:5] = False
    if num_modalities == NUM_MIXED:
        batch = encoders.random_batch(present_BM, seed, encoding.groups)
    else:
        size = (num_patients, 2)
        values = {
            name: torch.randn(size, dtype=torch.float64, generator=random)
            for name in encoding.modalities
        }
        group_B = torch.from_numpy(encoding.groups.ids(present_BM.numpy()))
        batch = Batch({"vector": values}, present_BM, torch.zeros_like(group_B), group_B)
    label_B = torch.randint(len(encoding.classes), (num_patients,), generator=random)
    return replace(batch, label_B=label_B, groups=encoding.groups)


def select(batch: Batch, rows: Tensor) -> Batch:
    """Some patients of a batch, in the order given."""
    if "tabular" in batch.values:
        return replace(encoders.select(batch, rows), groups=batch.groups)
    values = {name: x_BF[rows] for name, x_BF in batch.values["vector"].items()}
    return Batch(
        {"vector": values},
        batch.present_BM[rows],
        batch.label_B[rows],
        batch.group_B[rows],
        batch.groups,
    )


def spoil_unobserved(batch: Batch) -> Batch:
    """The same patients with rubbish, NaN and infinity where nothing was observed."""
    if "tabular" in batch.values:
        return encoders.spoil_unobserved(batch)
    values = {
        name: x_BF.masked_fill(~batch.present_BM[:, m : m + 1], torch.nan)
        for m, (name, x_BF) in enumerate(batch.values["vector"].items())
    }
    return replace(batch, values={"vector": values})


def random_tokens(
    present_BM: Tensor, width: int, *, per_modality: Sequence[int] = (1, 3, 2, 1), seed: int = 0
) -> Tokens:
    """Tokens at random, as an encoder gives them: a modality has a number of them of its own.

    Args:
        present_BM: bool.
        width: D.
        per_modality: tokens of each modality where it is observed, M numbers.
        seed: of the tokens.
    """
    owner_X, modality_X = present_BM.nonzero(as_tuple=True)
    num_X = torch.tensor(per_modality)[modality_X]
    owner_T, modality_T = owner_X.repeat_interleave(num_X), modality_X.repeat_interleave(num_X)
    random = torch.Generator().manual_seed(seed)
    x_TD = torch.randn(len(owner_T), width, dtype=torch.float64, generator=random)
    return Tokens(x_TD.requires_grad_(), owner_T, modality_T)


class GivenTokens(nn.Module):
    """An encoder that returns the same tokens whatever the batch: `model.encoder = GivenTokens(…)`.

    Args:
        tokens: of the batch that the model will get.
    """

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self.tokens = tokens

    def forward(self, batch: Batch) -> Tokens:
        """Return the tokens."""
        return self.tokens


def make_model(
    build: Any, config: Any, encoding: Encoding | None = None, *, shaken: bool = True
) -> Any:
    """A float64 model in evaluation mode; if ``shaken``, noise on all parameters fills its zeros.

    Args:
        build: a model's class.
        config: its own.
        encoding: `small_encoding()` if None.
        shaken: whether parameters are moved.
    """
    encoding = encoding or small_encoding()
    torch.manual_seed(0)
    model = build(encoding, len(encoding.classes), config).double().eval()
    if shaken:
        for parameter in model.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
    return model


def _patterns(num_modalities: int) -> np.ndarray:
    """Four combinations of training, bool (4, M)."""
    place_M = np.arange(num_modalities)
    last_M = place_M == num_modalities - 1
    return np.stack([place_M >= 0, place_M % 2 == 0, place_M == 0, last_M])
