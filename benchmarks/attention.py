"""Which way of keeping attention inside a patient is fastest, forward and backward.

    OMP_NUM_THREADS=2 python benchmarks/attention.py [--json] [--rounds 20]

Shapes of SUPPORT2: 512 patients, 16 modalities and a readout, about 11 observed, width 128,
8 heads. All contenders share the weights of one ``Attention`` and are checked against each other.

B patients, L tokens of a padded patient, T tokens, D width, h heads, d width of a head.
"""

import argparse
import json
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from remind.fusion import Attention, Packing

B, M, OBSERVED, D, HEADS = 512, 16, 11, 128, 8

Layer = Callable[[Attention, Tensor, Tensor], Tensor]


def heads(x: Tensor) -> Tensor:
    """Move heads forward: (..., n, D) to (..., h, n, d)."""
    return x.unflatten(-1, (HEADS, -1)).transpose(-3, -2)


def projections_only(layer: Attention, x_TD: Tensor, owner_T: Tensor) -> Tensor:
    """The floor: the linear maps, which every way needs, without any attention."""
    return layer.out(layer.qkv(x_TD)[:, :D])


def equal_buckets(layer: Attention, x_TD: Tensor, owner_T: Tensor) -> Tensor:
    """Ours: patients of equal token count are dense buckets."""
    return layer(x_TD, Packing.of(owner_T))


def padded(layer: Attention, x_TD: Tensor, owner_T: Tensor) -> Tensor:
    """Pad to the longest patient and mask."""
    num_B = owner_T.bincount(minlength=B)
    rank_T = torch.arange(len(owner_T)) - (num_B.cumsum(0) - num_B)[owner_T]
    longest = int(num_B.max())
    place_T = owner_T * longest + rank_T
    qkv_PD = x_TD.new_zeros(B * longest, 3 * D).index_copy(0, place_T, layer.qkv(x_TD))
    q, k, v = (heads(z) for z in qkv_PD.view(B, longest, -1).chunk(3, -1))
    keep_BL = torch.arange(longest) < num_B.unsqueeze(1)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=keep_BL[:, None, None, :])
    return layer.out(out.transpose(1, 2).reshape(-1, D).index_select(0, place_T))


def nested(layer: Attention, x_TD: Tensor, owner_T: Tensor) -> Tensor:
    """A jagged nested tensor."""
    ends_B = owner_T.bincount(minlength=B).cumsum(0)
    qkv = torch.nested.nested_tensor_from_jagged(layer.qkv(x_TD), F.pad(ends_B, (1, 0)))
    q, k, v = (z.unflatten(-1, [HEADS, D // HEADS]).transpose(1, 2) for z in qkv.chunk(3, -1))
    out = F.scaled_dot_product_attention(q, k, v)
    return layer.out(out.transpose(1, 2).flatten(-2).values())


def block_mask(layer: Attention, x_TD: Tensor, owner_T: Tensor) -> Tensor:
    """Flex attention over all tokens of the batch with a block mask."""

    def own(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return owner_T[query] == owner_T[key]

    size = len(owner_T)
    mask = create_block_mask(own, None, None, size, size, device=x_TD.device.type)
    q, k, v = (heads(z).unsqueeze(0) for z in layer.qkv(x_TD).chunk(3, -1))
    out = flex_attention(q, k, v, block_mask=mask)
    return layer.out(out.transpose(1, 2).reshape(-1, D))


CONTENDERS: dict[str, Layer] = {
    "projections only (floor)": projections_only,
    "buckets of equal count (ours)": equal_buckets,
    "padded + mask": padded,
    "nested tensor": nested,
    "flex_attention, block mask": block_mask,
}


def step(contender: Layer, layer: Attention, x_TD: Tensor, owner_T: Tensor) -> tuple[float, Tensor]:
    """Time one forward and backward pass; return seconds and the gradient of the tokens."""
    x_TD = x_TD.detach().requires_grad_()
    start = time.perf_counter()
    contender(layer, x_TD, owner_T).square().sum().backward()
    seconds = time.perf_counter() - start
    assert x_TD.grad is not None
    return seconds, x_TD.grad


def measure(rounds: int) -> dict[str, float | str]:
    """Return milliseconds of every contender, best of ``rounds``, or why it does not run."""
    torch.manual_seed(0)
    present_BM = torch.cat([torch.ones(B, 1), torch.rand(B, M) < OBSERVED / M], dim=1)
    owner_T = present_BM.nonzero()[:, 0]
    x_TD, layer = torch.randn(len(owner_T), D), Attention(D, HEADS)
    _, expected = step(equal_buckets, layer, x_TD, owner_T)
    result: dict[str, float | str] = {}
    for name, contender in CONTENDERS.items():
        try:
            _, gradient = step(contender, layer, x_TD, owner_T)
        except (RuntimeError, NotImplementedError) as error:
            result[name] = f"does not run here: {str(error).splitlines()[0]}"
            continue
        if contender is not projections_only:
            torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-4)
        timed = [step(contender, layer, x_TD, owner_T)[0] for _ in range(rounds)]
        result[name] = min(timed) * 1e3
    return result


def main() -> None:
    """Print the table, or one JSON object."""
    parser = argparse.ArgumentParser(description="Ways to keep attention inside a patient.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=20, help="timed passes of each, best counts")
    arguments = parser.parse_args()
    result = measure(arguments.rounds)
    if arguments.json:
        print(json.dumps({"threads": torch.get_num_threads(), "milliseconds": result}))
        return
    for name, value in result.items():
        print(f"{name:32s} {value if isinstance(value, str) else f'{value:.1f} ms'}")


if __name__ == "__main__":
    main()
