"""The modality combinations of a batch, found once and used by every layer.

B patients, M modalities, U distinct combinations of the batch, S distinct training groups of them,
W 63-bit words of a row.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

WORD_BITS = 63  # a packed word stays a non-negative int64


@dataclass(frozen=True, kw_only=True)
class GroupContext:
    """Who is observed in what, once per distinct combination.

    Rows are distinct pairs of combination and group id, so a group id that was kept while
    modalities were dropped stays with the patients it belongs to.

    Attributes:
        present_UM: bool, True where the modality is observed.
        group_U: training group id, int64, -1 for a combination never seen in training.
        combo_B: row of ``present_UM`` of every patient, int64.
        seen_S: the training groups among ``group_U``, each once.
        place_U: place of every combination's group in ``seen_S``, int64; S where it has none.
    """

    present_UM: Tensor
    group_U: Tensor
    combo_B: Tensor
    seen_S: Tensor
    place_U: Tensor

    @classmethod
    def from_batch(cls, present_BM: Tensor, group_B: Tensor) -> Self:
        """Find the distinct combinations of a batch, for any number of modalities.

        Their number depends on the batch, so this waits for the device: better on the host.
        """
        combo_B, num_combos = _distinct_rows([group_B, *_pack_bits(present_BM)])
        some_U = combo_B.new_empty(num_combos)
        some_U[combo_B] = torch.arange(len(combo_B), device=combo_B.device)  # any of its patients
        group_U = group_B[some_U]
        found, place_U = group_U.unique(return_inverse=True)
        seen_S = found[found >= 0]
        place_U = place_U - (len(found) - len(seen_S))
        return cls(
            present_UM=present_BM[some_U],
            group_U=group_U,
            combo_B=combo_B,
            seen_S=seen_S,
            place_U=torch.where(group_U < 0, len(seen_S), place_U),
        )

    def combo_of(self, owner_T: Tensor) -> Tensor:
        """Return the combination of every token from its patient."""
        return self.combo_B.index_select(0, owner_T)


def _pack_bits(present_BM: Tensor) -> list[Tensor]:
    """Return the rows as W words of bits, each int64 (B,)."""
    power = 2 ** torch.arange(WORD_BITS, device=present_BM.device)
    return [(bits * power[: bits.shape[1]]).sum(1) for bits in present_BM.split(WORD_BITS, dim=1)]


def _distinct_rows(columns: list[Tensor]) -> tuple[Tensor, int]:
    """Rank the rows of int64 columns (B,): equal rows, equal rank. Ranks are 0..U-1.

    One column at a time, so keys stay below B^2; ``torch.unique(dim=0)`` sorts wide rows slowly.
    """
    rank_B, num_ranks = torch.zeros_like(columns[0]), 1
    for column_B in columns:
        values, value_B = column_B.unique(return_inverse=True)
        ranks, rank_B = (rank_B * len(values) + value_B).unique(return_inverse=True)
        num_ranks = len(ranks)
    return rank_B, num_ranks
