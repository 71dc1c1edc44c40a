"""A small residual network for signals, images and volumes that works from batches of one.

V items, C channels, d width of a feature, P places that are left of the spatial axes, S places of
any stage.
"""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
POOLS = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
NUM_GROUPS = 4
SMALLEST_VARIANCE = 1e-5
PLACE_SCALE = 0.2  # at the start, of what a place says beside what the whole does


class Block(nn.Module):
    """x -> pool(x) W + f(norm(x)), with fewer places (pre-activation, He et al. 2016).

    Only the branch is normalised, so that how bright or how large an input is passes by.

    Args:
        dims: number of spatial axes.
        width, new_width: channels before and after.
        kernel: along each axis, odd.
        stride: along each axis.
    """

    def __init__(self, dims: int, width: int, new_width: int, kernel: int, stride: int) -> None:
        super().__init__()
        convolution = CONVOLUTIONS[dims]
        self.norm1 = nn.GroupNorm(NUM_GROUPS, width)
        self.conv1 = convolution(width, new_width, kernel, stride, kernel // 2)
        self.norm2 = nn.GroupNorm(NUM_GROUPS, new_width)
        self.conv2 = convolution(new_width, new_width, kernel, 1, kernel // 2)
        self.stride = stride
        self.shortcut = convolution(width, new_width, 1)

    def forward(self, x_V: Tensor) -> Tensor:
        """Take an input (V, C, axes) to (V, new C, shorter axes)."""
        branch_V = self.conv1(self.norm1(x_V).relu())
        return self.shortcut(shrink(x_V, self.stride)) + self.conv2(self.norm2(branch_V).relu())


def shrink(x_V: Tensor, stride: int) -> Tensor:
    """Mean of every ``stride`` places along each axis (V, C, axes), of fewer at the end."""
    axes = [min(stride, size) for size in x_V.shape[2:]]
    return POOLS[len(axes)](x_V, axes, ceil_mode=True)


class Statistics(nn.Module):
    """Mean and spread of what each channel detects, over all places: (V, C, axes) -> (V, d).

    A mean of detections is a count, of beats or of spots, and it needs no depth to be found
    (statistics pooling, Snyder et al. 2018).
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(2 * channels)
        self.map = nn.Linear(2 * channels, width)

    def forward(self, x_V: Tensor) -> Tensor:
        """Describe an input as a whole."""
        x_VCS = x_V.flatten(2).relu()
        mean_VC1 = x_VCS.mean(2, keepdim=True)
        std_VC = ((x_VCS - mean_VC1).square().mean(2) + SMALLEST_VARIANCE).sqrt()
        return self.map(self.norm(torch.cat([mean_VC1.squeeze(2), std_VC], dim=1)))


class ResidualNet(nn.Module):
    """Inputs (V, C, axes) to features (V, P, d): of P places, each with what holds of the whole.

    Args:
        shape: C and the axes of an input.
        widths: of the stem and of each block; d is the last.
        kernel: along each axis, odd.
        stride: of the stem and of each block.
    """

    def __init__(
        self, shape: Sequence[int], widths: Sequence[int], kernel: int, stride: int = 2
    ) -> None:
        super().__init__()
        dims, width = len(shape) - 1, widths[-1]
        self.stem = CONVOLUTIONS[dims](shape[0], widths[0], kernel, stride, kernel // 2)
        self.blocks = nn.ModuleList(
            Block(dims, before, after, kernel, stride)
            for before, after in itertools.pairwise(widths)
        )
        self.statistics = nn.ModuleList(Statistics(channels, width) for channels in widths)
        self.norm = nn.LayerNorm(width)
        nn.init.constant_(self.norm.weight, PLACE_SCALE)
        places = list(shape[1:])
        for _ in widths:
            places = [-(-size // stride) for size in places]
        self.place_Pd = nn.Parameter(torch.zeros(torch.Size(places).numel(), width))

    def forward(self, x_V: Tensor) -> Tensor:
        """Features of every place."""
        x_V = self.stem(x_V)
        whole_Vd = self.statistics[0](x_V)
        for block, statistics in zip(self.blocks, self.statistics[1:], strict=True):
            x_V = block(x_V)
            whole_Vd = whole_Vd + statistics(x_V)
        return self.norm(x_V.flatten(2).mT) + self.place_Pd + whole_Vd.unsqueeze(1)
