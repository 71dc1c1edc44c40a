"""Gradient consistency: does the average step go the way that each group needs?

    cosine_g = cos(grad L_g, grad L),   L_g the mean loss of the patients of g, L that of all

on the parameters that all groups share, in evaluation mode. The mean gradient of few patients is
noisy, so its cosine is low whatever the group: `expected` is the cosine of equally many patients
drawn from the whole split, with the range of 95% of such draws. What lies below the range is
inconsistency and not chance.

N patients, G groups, F families, P numbers of a gradient, Q of its projection, S sampled patients,
R draws.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from remind.analyses.families import FAMILIES, Family, families_of
from remind.analyses.sketch import Projection

EXACT = 2**26
"""Numbers of gradients that are kept as they are: 256 MiB."""
DIMS = 2048
"""Of the sketch of each family, where there are more."""
SAMPLE = 160
"""Patients whose own gradients say what chance does."""
DRAWS = 400
CHUNK = 1024
"""Patients of one backward pass."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Consistency:
    """Gradients of groups, compared.

    Args:
        group_G: ids of the groups, ascending.
        n_G: patients of each.
        loss_G: mean loss of each, in nats.
        families: names of the families.
        sizes_F: numbers of a gradient in each.
        cosine_G: with the overall gradient; NaN where a gradient is zero.
        cosine_GF: the same within each family.
        expected_G: mean cosine of as many patients drawn at random.
        range_G2: 2.5 and 97.5% of such draws.
        below_G: one-sided p-value: share of draws that are as low, with +1.
        vector_GQ: gradients or their sketches.
        norm_G: exact lengths.
        overall_P: exact overall gradient.
        projection: how vectors were made.
    """

    group_G: np.ndarray
    n_G: np.ndarray
    loss_G: np.ndarray
    families: list[str]
    sizes_F: list[int]
    cosine_G: np.ndarray
    cosine_GF: np.ndarray
    expected_G: np.ndarray
    range_G2: np.ndarray
    below_G: np.ndarray
    vector_GQ: Tensor
    norm_G: np.ndarray
    overall_P: Tensor
    projection: Projection

    def matrix(self, some: np.ndarray | None = None) -> np.ndarray:
        """Cosines between groups, float64 (G, G), or between some of them; the diagonal is 1."""
        some = np.arange(len(self.group_G)) if some is None else some
        vector_GQ, norm_G = self.vector_GQ[torch.from_numpy(some)], self.norm_G[some]
        inner_GG = (vector_GQ @ vector_GQ.T).cpu().numpy().astype(np.float64)
        cosine_GG = _ratio(inner_GG, norm_G[:, None] * norm_G)
        np.fill_diagonal(cosine_GG, np.where(norm_G > 0, 1.0, np.nan))
        return cosine_GG


def gradient_consistency(
    model: nn.Module,
    loss_of_batch: Callable[[Any], Tensor],
    batch_of: Callable[[np.ndarray], Any],
    group_N: np.ndarray,
    *,
    patterns: Mapping[str, Sequence[str]] = FAMILIES,
    dims: int | None = None,
    sample: int = SAMPLE,
    seed: int = 0,
) -> Consistency:
    """Compare the gradients of the groups of N patients.

    One backward pass per group (and per 1,024 patients of it), and one per sampled patient. Exact
    where all gradients fit in 256 MiB, else on sketches; never a (G, P) matrix then.

    Args:
        model: any torch model; it is in evaluation mode meanwhile.
        loss_of_batch: batch to the losses (B,) of its patients.
        batch_of: rows of 0..N-1 to a batch of these patients.
        group_N: group of every patient, int; chance takes patients for different persons.
        patterns: family -> patterns of parameter names.
        dims: of the sketch of each family; None decides by size.
        sample: patients whose own gradients are taken.
        seed: of sketch, sample and draws.

    Raises:
        ValueError: no patients, or no parameter that groups share.
    """
    if not len(group_N):
        raise ValueError("gradient consistency needs at least one patient")
    families = families_of(model, patterns)
    group_G, group_N, n_G = np.unique(group_N, return_inverse=True, return_counts=True)
    rng = np.random.default_rng(seed)
    sampled_S = rng.permutation(len(group_N))[:sample]
    sizes = [family.size for family in families]
    if dims is None and (len(group_G) + len(sampled_S)) * sum(sizes) > EXACT:
        dims = DIMS
    projection = Projection(sizes, dims, seed)
    was_training = model.training
    model.eval()
    try:
        take = _Taker(families, loss_of_batch, batch_of, projection)
        order_N = np.argsort(group_N, kind="stable")
        parts = np.split(order_N, np.cumsum(n_G)[:-1])
        taken, overall_P = _take_groups(take, parts)
        own_SQ = torch.stack([take(np.array([row])).vector_Q for row in sampled_S])
    finally:
        model.train(was_training)
    vector_GQ = torch.stack([group.vector_Q for group in taken])
    norm_GF = np.array([group.norm_F for group in taken])
    overall_Q = projection(overall_P)
    overall_norm_F = _norms(overall_P, families)
    inner_GF = _inner(vector_GQ, overall_Q, projection)
    norm_G, overall_norm = np.linalg.norm(norm_GF, axis=1), float(np.linalg.norm(overall_norm_F))
    cosine_G = _ratio(inner_GF.sum(axis=1), norm_G * overall_norm)
    draws = chance(own_SQ, overall_Q, n_G, rng)
    expected_G, range_G2, below_G = _compare(cosine_G, n_G, draws)
    return Consistency(
        group_G=group_G,
        n_G=n_G,
        loss_G=np.array([group.loss for group in taken]),
        families=[family.name for family in families],
        sizes_F=sizes,
        cosine_G=cosine_G,
        cosine_GF=_ratio(inner_GF, norm_GF * overall_norm_F),
        expected_G=expected_G,
        range_G2=range_G2,
        below_G=below_G,
        vector_GQ=vector_GQ,
        norm_G=norm_G,
        overall_P=overall_P,
        projection=projection,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Taken:
    """The gradient of the mean loss of some patients."""

    gradient_P: Tensor
    vector_Q: Tensor
    norm_F: np.ndarray
    loss: float


@dataclass(frozen=True, eq=False)
class _Taker:
    """Rows to the gradient of their mean loss."""

    families: list[Family]
    loss_of_batch: Callable[[Any], Tensor]
    batch_of: Callable[[np.ndarray], Any]
    projection: Projection

    def __call__(self, rows: np.ndarray) -> _Taken:
        parameters = [p for family in self.families for p in family.parameters]
        gradient_P, loss = None, 0.0
        for start in range(0, len(rows), CHUNK):
            total = self.loss_of_batch(self.batch_of(rows[start : start + CHUNK])).sum() / len(rows)
            grads = torch.autograd.grad(total, parameters, allow_unused=True)
            part_P = torch.cat(
                [
                    torch.zeros_like(p).flatten() if g is None else g.flatten()
                    for p, g in zip(parameters, grads, strict=True)
                ]
            )
            gradient_P = part_P if gradient_P is None else gradient_P + part_P
            loss += float(total.detach())
        assert gradient_P is not None
        norm_F = _norms(gradient_P, self.families)
        return _Taken(
            gradient_P=gradient_P, vector_Q=self.projection(gradient_P), norm_F=norm_F, loss=loss
        )


def _take_groups(take: _Taker, parts: list[np.ndarray]) -> tuple[list[_Taken], Tensor]:
    """Every group without its long gradient, unless that is its vector; and the overall one."""
    taken, overall_P = [], None
    num = sum(len(rows) for rows in parts)
    for rows in parts:
        group = take(rows)
        share_P = group.gradient_P * (len(rows) / num)
        overall_P = share_P if overall_P is None else overall_P.add_(share_P)
        empty = group.gradient_P[:0]
        taken.append(
            _Taken(gradient_P=empty, vector_Q=group.vector_Q, norm_F=group.norm_F, loss=group.loss)
        )
    assert overall_P is not None
    return taken, overall_P


def chance(
    own_SQ: Tensor, overall_Q: Tensor, n_G: np.ndarray, rng: np.random.Generator
) -> dict[int, np.ndarray]:
    """Cosines of n patients drawn at random with all of them: n -> (R,), for every size in n_G.

    Draws with replacement from a sample whose mean is moved to the overall gradient; their scatter
    is narrowed to that of draws without replacement from all patients.
    """
    num, total = len(own_SQ), int(n_G.sum())
    own_SQ = own_SQ.to(torch.float64)
    overall_Q = overall_Q.to(torch.float64)
    away_SQ = (own_SQ - own_SQ.mean(dim=0)) * (num / max(num - 1, 1)) ** 0.5
    gram_SS = (away_SQ @ away_SQ.T).cpu().numpy()
    along_S = (away_SQ @ overall_Q).cpu().numpy()
    square = float(overall_Q @ overall_Q)
    draws = {}
    for n in np.unique(n_G).tolist():
        narrowed = np.sqrt(max(1 - n / total, 0.0))
        weight_RS = narrowed * rng.multinomial(n, np.full(num, 1 / num), size=DRAWS) / n
        inner_R = square + weight_RS @ along_S
        spread_R = np.einsum("rs,rs->r", weight_RS @ gram_SS, weight_RS)
        square_R = np.maximum(2 * inner_R - square + spread_R, 0.0)
        draws[n] = _ratio(inner_R, np.sqrt(square_R * square))
    return draws


def _compare(
    cosine_G: np.ndarray, n_G: np.ndarray, draws: Mapping[int, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What chance expects, its range, and how rarely it is as low as each group."""
    draw_GR = np.stack([draws[n] for n in n_G.tolist()])
    below_G = (1 + (draw_GR <= cosine_G[:, None]).sum(axis=1)) / (1 + draw_GR.shape[1])
    range_G2 = np.quantile(draw_GR, [0.025, 0.975], axis=1).T
    return draw_GR.mean(axis=1), range_G2, np.where(np.isnan(cosine_G), np.nan, below_G)


def _norms(vector_P: Tensor, families: list[Family]) -> np.ndarray:
    """Exact length within each family, float64 (F,)."""
    parts = vector_P.split([family.size for family in families])
    return np.array([float(part.to(torch.float64).norm()) for part in parts])


def _inner(vector_GQ: Tensor, overall_Q: Tensor, projection: Projection) -> np.ndarray:
    """Inner products with the overall gradient within each family, float64 (G, F)."""
    inner = [vector_GQ[:, part] @ overall_Q[part] for part in projection.parts]
    return torch.stack(inner, dim=1).cpu().numpy().astype(np.float64)


def _ratio(inner: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """Cosines, NaN where a length is zero."""
    ratio = np.divide(inner, norms, out=np.full(np.shape(inner), np.nan), where=norms > 0)
    return np.clip(ratio, -1.0, 1.0)
