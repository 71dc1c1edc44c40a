"""What one mixture-of-experts layer costs: forward and backward, against the matmul bound.

    OMP_NUM_THREADS=2 python benchmarks/fusion_step.py [--json] [--rounds 3] [--widths 256,512,1024]

Setting (method section 6): 4,096 patients x 20 modalities, 6 observed on average, width 128,
16 experts, top-2, hidden 512, SiLU, float32. The bound is the time that the needed multiplications
take at the matmul peak measured in the same run: chosen pairs of observed tokens, two layers, one
forward and two backward products. For the soft form they are one slot per patient and expert.
On a machine shared with other work set OMP_WAIT_POLICY=passive, or threads spin at each barrier.

--widths adds GroupMoE at other widths with hidden 4 D, 512 patients, and its share of the peak.

B patients, M modalities, T tokens, D width, E experts, K experts per token, P pairs.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from remind.fusion import GroupContext, GroupMoE, MoEConfig, Packing, SoftGroupMoE, SoftMoEConfig
from remind.fusion.moe.router import choose

B, M, OBSERVED, D = 4096, 20, 6, 128
NUM_GROUPS = 100
CONFIG = MoEConfig(experts=16, top_k=2, hidden=512)
DENSE_SHARE = 8  # all experts on all tokens is timed on one of 8 parts, to fit in memory

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
    rank_U = context.combo_B.bincount().argsort(descending=True, stable=True).argsort()
    group_U = torch.where(rank_U < NUM_GROUPS, rank_U, -1)
    padded = torch.randn(B, M, D) * present_BM.unsqueeze(-1)
    return Cohort(
        x_TD=padded[present_BM],
        packing=Packing.of(present_BM.nonzero()[:, 0]),
        context=GroupContext.from_batch(present_BM, group_U[context.combo_B]),
        padded_TD=padded.flatten(0, 1),
    )


def dense(moe: GroupMoE, x_TD: Tensor) -> Tensor:
    """All experts on all tokens, weighted by gates that are mostly zero."""
    gates_TK, index_TK, probs_TE = choose(x_TD @ moe.router.shared_DE, CONFIG.top_k)
    gates_TE = torch.zeros_like(probs_TE).scatter(1, index_TK, gates_TK)
    h_ETH = F.silu(x_TD @ moe.experts.w1_EDF) * gates_TE.T.unsqueeze(-1)
    return (h_ETH @ moe.experts.w2_EHD).sum(0)


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


class Contender(NamedTuple):
    """A layer, the tokens it runs on, and how many times that is the whole batch's work."""

    layer: Layer
    x_TD: Tensor
    times: int = 1


def make_contenders(cohort: Cohort) -> dict[str, Contender]:
    """Name everything that is timed."""
    counts_G = torch.ones(NUM_GROUPS, dtype=torch.int64)
    moe = GroupMoE(D, CONFIG, num_modalities=M, counts_G=counts_G)
    config = replace(CONFIG, activation="relu")
    relu = GroupMoE(D, config, num_modalities=M, counts_G=counts_G)
    config = replace(CONFIG, gate="shared", modulation=True)
    full = GroupMoE(D, config, num_modalities=M, counts_G=counts_G)
    config = SoftMoEConfig(experts=CONFIG.experts, hidden=CONFIG.hidden, activation="silu")
    soft = SoftGroupMoE(D, config, num_groups=NUM_GROUPS)
    soft.set_stage(2)

    def whole(layer: GroupMoE | SoftGroupMoE) -> Layer:
        return lambda x_TD: torch.add(*layer(x_TD, cohort.packing, cohort.context))

    x_TD, padded_TD = cohort.x_TD, cohort.padded_TD
    part_TD = padded_TD[: len(padded_TD) // DENSE_SHARE]
    return {
        "dense over all experts, padded": Contender(partial(dense, moe), part_TD, DENSE_SHARE),
        "loop over experts, padded": Contender(partial(loop, moe), padded_TD),
        "loop over experts, packed": Contender(partial(loop, moe), x_TD),
        "sort + matmul per expert, packed": Contender(
            partial(sort_and_multiply, moe, grouped=False), x_TD
        ),
        "sort + grouped_mm, packed": Contender(partial(sort_and_multiply, moe, grouped=True), x_TD),
        "GroupMoE": Contender(whole(moe), x_TD),
        "GroupMoE, relu as in default": Contender(whole(relu), x_TD),
        "GroupMoE, entropy gate and modulation": Contender(whole(full), x_TD),
        "SoftGroupMoE": Contender(whole(soft), x_TD),
    }


def step_seconds(contender: Contender) -> float:
    """Time one forward and backward pass."""
    x_TD = contender.x_TD.clone().requires_grad_()
    start = time.perf_counter()
    out_TD = contender.layer(x_TD)
    out_TD.backward(contender.x_TD)
    return (time.perf_counter() - start) * contender.times


def peak_flops(size: int = 2048) -> float:
    """Multiply-adds of a square matmul per second, times two."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    start = time.perf_counter()
    torch.mm(a, b)
    return 2 * size**3 / (time.perf_counter() - start)


@dataclass(frozen=True, kw_only=True)
class Result:
    """Seconds of every contender, and the ratio to the bound of its own multiplications."""

    threads: int
    tokens: int
    peak_gflops: float
    seconds: dict[str, float]
    ratio: dict[str, float]
    share_of_peak: dict[str, float]


def summed(moe: GroupMoE, packing: Packing, context: GroupContext, x_TD: Tensor) -> Tensor:
    """Run the layer; its penalty is added, so that it has a gradient as well."""
    return torch.add(*moe(x_TD, packing, context))


def shares_of_peak(widths: list[int], rounds: int) -> dict[str, float]:
    """Measure the multiplications that GroupMoE needs per second, as a share of the peak."""
    shares = {}
    for width in widths:
        present_BM = torch.rand(512, M) < OBSERVED / M
        context = GroupContext.from_batch(present_BM, torch.full((512,), -1))
        packing = Packing.of(present_BM.nonzero()[:, 0])
        config = replace(CONFIG, hidden=4 * width)
        counts_G = torch.ones(NUM_GROUPS, dtype=torch.int64)
        moe = GroupMoE(width, config, num_modalities=M, counts_G=counts_G)
        x_TD = torch.randn(len(packing.owner_T), width)
        contender = Contender(partial(summed, moe, packing, context), x_TD)
        peak, seconds = 0.0, float("inf")
        for _ in range(rounds + 1):
            peak = max(peak, *(peak_flops() for _ in range(3)))
            seconds = min(seconds, step_seconds(contender))
        flops = len(x_TD) * config.top_k * 3 * 2 * 2 * width * config.hidden
        shares[str(width)] = flops / seconds / peak
    return shares


def measure(rounds: int, widths: list[int]) -> Result:
    """Time every contender, best of ``rounds`` after a warm-up, peaks measured in between."""
    torch.manual_seed(0)
    cohort = draw_cohort()
    contenders = make_contenders(cohort)
    times: dict[str, list[float]] = {name: [] for name in contenders}
    peaks = []
    for _ in range(rounds + 1):
        for name, contender in contenders.items():
            peaks += [peak_flops() for _ in range(3)]
            times[name].append(step_seconds(contender))
    seconds = {name: min(all_times[1:]) for name, all_times in times.items()}
    pairs = dict.fromkeys(contenders, len(cohort.x_TD) * CONFIG.top_k)
    pairs["SoftGroupMoE"] = B * CONFIG.experts
    flops = 3 * 2 * 2 * D * CONFIG.hidden  # of a pair: passes * layers * multiply and add
    return Result(
        threads=torch.get_num_threads(),
        tokens=len(cohort.x_TD),
        peak_gflops=max(peaks) / 1e9,
        seconds=seconds,
        ratio={name: seconds[name] * max(peaks) / (pairs[name] * flops) for name in contenders},
        share_of_peak=shares_of_peak(widths, rounds),
    )


def main() -> None:
    """Print the table, or one JSON object."""
    parser = argparse.ArgumentParser(description="Cost of one mixture-of-experts layer.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=3, help="timed passes of each, best counts")
    parser.add_argument("--widths", default="", help="widths of the share of peak, by commas")
    arguments = parser.parse_args()
    widths = [int(width) for width in arguments.widths.split(",") if width]
    result = measure(arguments.rounds, widths)
    if arguments.json:
        print(json.dumps(asdict(result)))
        return
    print(
        f"{result.tokens} tokens, {result.threads} threads, peak {result.peak_gflops:.0f} GFLOP/s"
    )
    for name, ratio in result.ratio.items():
        print(f"{name:40s} {result.seconds[name]:8.3f} s {ratio:6.1f} x bound")
    for width, share in result.share_of_peak.items():
        print(f"GroupMoE at width {width}: {share:.0%} of the peak")


if __name__ == "__main__":
    main()
