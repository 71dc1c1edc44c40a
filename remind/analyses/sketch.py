"""Random projection of long vectors, a number at a time: what cosines of gradients need."""

# P numbers of a vector, Q of its projection, F parts, S blocks

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

BLOCKS = 4
"""Numbers of a sketch that every number of the vector goes to."""


class Projection:
    """Vectors as they are, or a sparse Johnson-Lindenstrauss sketch of every part of them.

    A number of the vector is added, with a random sign, to one random place in each of 4 blocks of
    k / 4 places (Kane & Nelson 2014): O(P) time, no matrix. For u, v of length 1

        E <Su, Sv> = <u, v>,    var <Su, Sv> <= (1 + <u, v>^2) / k <= 2 / k,

    so |<Su, Sv> - <u, v>| <= sqrt(2 / (k delta)) with probability 1 - delta by Chebyshev. The
    Johnson-Lindenstrauss lemma says more, of many pairs at once: with k of the order of
    log(pairs / delta) / epsilon^2 all are within epsilon. Cosines divide by the exact lengths.

    Args:
        sizes: numbers in each part; their sum is P.
        dims: k of every part, a multiple of 4; None keeps the vectors as they are.
        seed: of the places and signs.

    Raises:
        ValueError: dims below 4 or no multiple of it.
    """

    def __init__(self, sizes: Sequence[int], dims: int | None, seed: int) -> None:
        if dims is not None and (dims < BLOCKS or dims % BLOCKS):
            raise ValueError(f"dims must be a positive multiple of {BLOCKS}, got {dims}")
        self.sizes, self.dims = list(sizes), dims
        self.places_SP: Tensor | None = None
        if dims is not None:
            self.places_SP = self._places(dims // BLOCKS, seed)

    @property
    def parts(self) -> list[slice]:
        """Where each part is in a projection."""
        lengths = self.sizes if self.dims is None else [self.dims] * len(self.sizes)
        ends = np.cumsum(lengths).tolist()
        return [slice(end - length, end) for end, length in zip(ends, lengths, strict=True)]

    @property
    def standard_error(self) -> float:
        """Largest standard error of a cosine, sqrt(2 / k); 0 without a sketch."""
        return 0.0 if self.dims is None else float(np.sqrt(2 / self.dims))

    def bound(self, delta: float = 0.05) -> float:
        """Error of one cosine that is exceeded with probability `delta` at most."""
        return 0.0 if self.dims is None else float(np.sqrt(2 / (self.dims * delta)))

    def __call__(self, vector_P: Tensor) -> Tensor:
        """Project: (P,) to (Q,), float32."""
        if self.places_SP is None or self.dims is None:
            return vector_P
        half = len(self.sizes) * self.dims // BLOCKS
        places_SP = self.places_SP.to(vector_P.device)
        sums_SX = vector_P.new_zeros(BLOCKS, 2 * half)  # X: places for +, then places for -
        for sums_X, places_P in zip(sums_SX, places_SP, strict=True):
            sums_X.index_add_(0, places_P, vector_P)
        block_SH = (sums_SX[:, :half] - sums_SX[:, half:]) / BLOCKS**0.5
        return block_SH.view(BLOCKS, len(self.sizes), -1).transpose(0, 1).flatten()

    def _places(self, width: int, seed: int) -> Tensor:
        """Place of every number in every block, int32 (S, P); the second half means minus."""
        generator = torch.Generator().manual_seed(seed)
        half = len(self.sizes) * width
        offset_P = torch.arange(len(self.sizes), dtype=torch.int32).repeat_interleave(
            torch.tensor(self.sizes)
        )
        shape = (BLOCKS, sum(self.sizes))
        places_SP = torch.randint(2 * width, shape, generator=generator, dtype=torch.int32)
        is_minus_SP = places_SP >= width
        return places_SP % width + offset_P * width + is_minus_SP.to(torch.int32) * half
