"""What one mixture-of-experts layer costs: forward and backward, against the matmul bound.

    OMP_NUM_THREADS=2 python benchmarks/fusion_step.py [--json] [--rounds 3]

Setting (method section 6): 4,096 patients x 20 modalities, 6 observed on average, width 128,
16 experts, top-2, hidden 512, float32. The bound is the time that the needed multiplications take at
the matmul peak measured in the same run: chosen pairs of observed tokens, two layers, one forward and
two backward products. For the soft form the needed ones are one slot per patient and expert.

B patients, M modalities, T tokens, D width, E experts, K experts per token, P pairs.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from remind.fusion import GroupContext, GroupMoE, MoEConfig, Packing, SoftGroupMoE, SoftMoEConfig
from remind.fusion.moe.router import choose

B, M, OBSERVED, D = 4096, 20, 6, 128
CONFIG = MoEConfig(experts=16, top_k=2, hidden=512)
BLOCK = 512  # tokens at a time where all experts see all tokens, to fit in memory

Layer = Callable[[Tensor], Tensor]


class Cohort(NamedTuple):
    """Observed tokens packed, and the same tokens padded to all modalities."""

    x_TD: Tensor
    packing: Packing
    context: GroupContext
    padded_TD: Tensor


def draw_cohort() -> Cohort:
    """Draw who is observed in what, and tokens; the 100 commonest combinations were in training."""
    present_BM = torch.rand(B, M) < OBSERVED / M
    present_BM[:, 0] |= ~present_BM.any(1)
    context = GroupContext.from_batch(present_BM, torch.full((B,), -1))
    group_U = torch.where(torch.arange(len(context.group_U)) < 100, context.group_U + 1, -1)
    padded = torch.randn(B, M, D) * present_BM.unsqueeze(-1)
    return Cohort(
        x_TD=padded[present_BM],
        packing=Packing.of(present_BM.nonzero()[:, 0]),
        context=GroupContext.from_batch(present_BM, group_U[context.combo_B]),
        padded_TD=padded.flatten(0, 1),
    )


def dense(moe: GroupMoE, x_TD: Tensor) -> Tensor:
    """All experts on all tokens, weighted by gates that are mostly zero."""
    out = []
    for x_ND in x_TD.split(BLOCK):
        gates_NK, index_NK, probs_NE = choose(x_ND @ moe.router.shared_DE, CONFIG.top_k)
        gates_NE = torch.zeros_like(probs_NE).scatter(1, index_NK, gates_NK)
        h_ENF = F.silu(x_ND @ moe.experts.w1_EDF) * gates_NE.T.unsqueeze(-1)
        out.append((h_ENF @ moe.experts.w2_EHD).sum(0))
    return torch.cat(out)


def loop(moe: GroupMoE, x_TD: Tensor) -> Tensor:
    """Each expert in turn on the tokens that chose it."""
    gates_TK, index_TK, _ = choose(x_TD @ moe.router.shared_DE, CONFIG.top_k)
    out_TD = torch.zeros_like(x_TD)
    for expert in range(CONFIG.experts):
        token_N, choice_N = (index_TK == expert).nonzero(as_tuple=True)
        h_NH = F.silu(x_TD[token_N] @ moe.experts.w1_EDF[expert])
        y_ND = (h_NH @ moe.experts.w2_EHD[expert]) * gates_TK[token_N, choice_N].unsqueeze(1)
        out_TD = out_TD.index_add(0, token_N, y_ND)
    return out_TD


def sort_and_multiply(moe: GroupMoE, x_TD: Tensor, *, grouped: bool) -> Tensor:
    """Sort the pairs by expert; one matmul per expert, or one grouped matmul over all."""
    gates_TK, index_TK, _ = choose(x_TD @ moe.router.shared_DE, CONFIG.top_k)
    expert_P, place_P = index_TK.flatten().sort(stable=True)
    x_PD = x_TD[place_P // CONFIG.top_k]
    num_E = expert_P.bincount(minlength=CONFIG.experts)
    ends_E = num_E.cumsum(0, dtype=torch.int32)

    def multiply(x_PX: Tensor, w_EXY: Tensor) -> Tensor:
        if grouped:
            return F.grouped_mm(x_PX, w_EXY, offs=ends_E)
        parts = zip(x_PX.split(num_E.tolist()), w_EXY, strict=True)
        return torch.cat([x @ w for x, w in parts])

    y_PD = multiply(F.silu(multiply(x_PD, moe.experts.w1_EDF)), moe.experts.w2_EHD)
    y_PD = y_PD * gates_TK.flatten()[place_P].unsqueeze(1)
    return torch.zeros_like(x_TD).index_add(0, place_P // CONFIG.top_k, y_PD)


def layers(cohort: Cohort) -> dict[str, tuple[Layer, Tensor]]:
    """Name every contender: what it runs, and on which tokens."""
    context, packing = cohort.context, cohort.packing
    num_groups = int(context.group_U.max()) + 1
    sizes = {"num_modalities": M, "counts_G": torch.ones(num_groups, dtype=torch.int64)}
    moe = GroupMoE(D, CONFIG, **sizes)
    full = GroupMoE(D, MoEConfig(**{**vars(CONFIG), "gate": "shared", "modulation": True}), **sizes)
    config = SoftMoEConfig(experts=CONFIG.experts, hidden=CONFIG.hidden, activation="silu")
    soft = SoftGroupMoE(D, config, num_groups=num_groups)
    soft.set_stage(2)

    def run(layer: GroupMoE | SoftGroupMoE) -> Layer:
        return lambda x_TD: torch.add(*layer(x_TD, packing, context))

    return {
        "dense over all experts, padded": (lambda x: dense(moe, x), cohort.padded_TD),
        "loop over experts, padded": (lambda x: loop(moe, x), cohort.padded_TD),
        "loop over experts, packed": (lambda x: loop(moe, x), cohort.x_TD),
        "sort + matmul per expert, packed": (
            lambda x: sort_and_multiply(moe, x, grouped=False),
            cohort.x_TD,
        ),
        "sort + grouped_mm, packed": (
            lambda x: sort_and_multiply(moe, x, grouped=True),
            cohort.x_TD,
        ),
        "GroupMoE": (run(moe), cohort.x_TD),
        "GroupMoE, entropy gate and modulation": (run(full), cohort.x_TD),
        "SoftGroupMoE": (run(soft), cohort.x_TD),
    }


def step_seconds(layer: Layer, x_TD: Tensor) -> float:
    """Time one forward and backward pass."""
    x_TD = x_TD.detach().requires_grad_()
    start = time.perf_counter()
    out_TD = layer(x_TD)
    out_TD.backward(x_TD.detach())
    return time.perf_counter() - start


def peak_flops(size: int = 2048) -> float:
    """Multiply-adds of a square matmul per second, times two."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    start = time.perf_counter()
    torch.mm(a, b)
    return 2 * size**3 / (time.perf_counter() - start)


def measure(rounds: int) -> dict[str, object]:
    """Time every contender, best of ``rounds`` after a warm-up, peaks measured in between."""
    torch.manual_seed(0)
    cohort = draw_cohort()
    contenders = layers(cohort)
    seconds = dict.fromkeys(contenders, float("inf"))
    peak = 0.0
    for turn in range(rounds + 1):
        for name, (layer, x_TD) in contenders.items():
            peak = max(peak, *(peak_flops() for _ in range(3)))
            now = step_seconds(layer, x_TD)
            seconds[name] = min(seconds[name], now) if turn else float("inf")
    per_row = 3 * 2 * 2 * D * CONFIG.hidden  # passes * layers * multiply and add
    bounds = {name: per_row * len(cohort.x_TD) * CONFIG.top_k / peak for name in contenders}
    bounds["SoftGroupMoE"] = per_row * B * CONFIG.experts / peak
    return {
        "threads": torch.get_num_threads(),
        "tokens": len(cohort.x_TD),
        "combinations": len(cohort.context.group_U),
        "peak_gflops": peak / 1e9,
        "seconds": seconds,
        "ratio": {name: seconds[name] / bounds[name] for name in contenders},
    }


def main() -> None:
    """Print the table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=3, help="timed passes of each, best counts")
    arguments = parser.parse_args()
    result = measure(arguments.rounds)
    if arguments.json:
        print(json.dumps(result))
        return
    print(
        "{tokens} tokens, {threads} threads, {peak_gflops:.0f} GFLOP/s at the peak".format(**result)
    )
    for name, ratio in result["ratio"].items():
        print(f"{name:40s} {result['seconds'][name]:8.3f} s {ratio:6.1f} x bound")


if __name__ == "__main__":
    main()
