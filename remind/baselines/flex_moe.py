"""Flex-MoE: a bank fills missing modalities, and sparse experts know the combinations.

    h_m  = the tokens of m where it is observed, else Bank[c, m]
    h    = h + Attention(LN h), over the tokens of all modalities
    h    = h + MoE(LN h), a noisy top-k mixture of experts
    y    = Linear([mean of h_1, ..., mean of h_M])
    penalty = a * CE(router logits, expert of c)      mean over the tokens of incomplete patients
            + b * (balance of complete + balance of incomplete patients' tokens)

c is the combination of the patient; `noisy_top_k` has the router and the balance.

Yun et al. 2024 (NeurIPS), sections 3.2 to 3.4. Left open, or out of reach, and filled here:

- *Many modalities.* Theirs has a row of the bank and an expert for each of 2^M - 1 combinations. So
  has ours while they fit; beyond that the bits of a combination are hashed to one of `experts`
  experts and to one of `bank` rows, of which each holds a token per modality. Combinations then
  share rows and experts, which `hashing` says. All rows start alike, so one that training never met
  says "missing" as the average row did at the start.
- *Warm-up on fuller patients first.* The training loop draws all patients. In epoch e of
  `warmup_epochs` W only the fullest share (e + 1) / (W + 1) of training patients teaches: the
  representations of the others are cut from the gradient, and their tokens do not enter the
  penalty. What is below the classifier thus learns from the fuller patients alone.
- A complete patient is observed in everything; a cohort may have none. Norms come first, and
  tokens are normalized before the first block; a missing modality is one token of the bank.

T tokens, D width, H hidden, E experts, K experts per token, B patients, M modalities, R rows of the
bank, C classes, G groups, N training patients.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remind.baselines.dispatch import DISPATCHES, dispatch
from remind.baselines.noisy_top_k import NoisyRouting, NoisyTopK, imbalance
from remind.baselines.parts import PeerConfig, check_heads, make_encoder
from remind.cohort import Batch, Encoding
from remind.encoders import Tokens
from remind.encoders.tokens import merge
from remind.errors import InputError
from remind.fusion import Attention, FusionModel, Packing, Represented, Routed, mean_slots
from remind.fusion.moe import Experts
from remind.objectives.checks import check_choice, check_number, check_whole
from remind.training import NeuralMethod, TrainConfig
from remind.training.search import NEURAL, Choice, Range

PRIME, BASE = 2**31 - 1, 16807  # of the hash: BASE has full order modulo PRIME


@dataclass(frozen=True, kw_only=True)
class FlexMoEConfig(PeerConfig):
    """Options of Flex-MoE.

    Attributes:
        blocks: of attention and a mixture of experts.
        heads: of attention.
        experts: E.
        top_k: K.
        hidden: width of an expert, H.
        bank: rows of the bank of missing modalities, R.
        balance: weight of the balance, b.
        specialization: weight of the cross-entropy of the router, a.
        warmup_epochs: epochs in which fuller patients come first, W.
        dispatch: how tokens reach the experts, "grouped" or "loop"; the numbers are the same.
    """

    width: int = 96
    blocks: int = 1
    heads: int = 8
    experts: int = 16
    top_k: int = 4
    hidden: int = 192
    bank: int = 128
    balance: float = 0.01
    specialization: float = 0.01
    warmup_epochs: int = 2
    dispatch: str = "grouped"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_heads(self.width, self.heads)
        for name in ("blocks", "experts", "top_k", "hidden", "bank"):
            check_whole(name, getattr(self, name), at_least=1)
        check_number("balance", self.balance, at_least=0)
        check_number("specialization", self.specialization, at_least=0)
        check_whole("warmup_epochs", self.warmup_epochs, at_least=0)
        check_choice("dispatch", self.dispatch, DISPATCHES)
        if self.top_k > self.experts:
            raise InputError(f"top_k must be in 1..{self.experts}, got {self.top_k}")


def combination_index(present_BM: Tensor, size: int) -> Tensor:
    """Return a number below ``size`` for the combination of every patient, int64 (B,).

    Each combination has its own if 2^M numbers fit; else their bits are hashed, as the polynomial
    sum over observed m of BASE^m modulo PRIME.
    """
    num_modalities = present_BM.shape[1]
    has_own = _fits(num_modalities, size)
    key_M = [2**m if has_own else pow(BASE, m, PRIME) for m in range(num_modalities)]
    code_B = (present_BM * torch.tensor(key_M, device=present_BM.device)).sum(1)
    return code_B % PRIME % size


def fewest_observed(present_GM: np.ndarray, counts_G: np.ndarray, num_epochs: int) -> list[int]:
    """Return how many modalities a patient of each warm-up epoch must have.

    Args:
        present_GM: the training combinations.
        counts_G: training patients of each.
        num_epochs: of the warm-up.
    """
    size_N = np.sort(present_GM.sum(1).repeat(counts_G))[::-1]
    shares = [(epoch + 1) / (num_epochs + 1) for epoch in range(num_epochs)]
    return [int(size_N[math.ceil(share * len(size_N)) - 1]) for share in shares]


def hashing(num_modalities: int, config: FlexMoEConfig) -> str:
    """Return what combinations are hashed to, in words; empty if each has what is its own."""
    sizes = {"experts": config.experts, "rows of the bank": config.bank}
    shared = [f"{size} {name}" for name, size in sizes.items() if not _fits(num_modalities, size)]
    if not shared:
        return ""
    return f"the combinations of {num_modalities} modalities are hashed to {' and '.join(shared)}"


def _fits(num_modalities: int, size: int) -> bool:
    return 2**num_modalities <= size


class Roles(NamedTuple):
    """What the tokens of a batch are to a router in training.

    Attributes:
        expert_T: expert of the patient's combination, int64.
        member_2T: whether a token is of a complete, and whether of an incomplete patient, bool;
            neither for one that has to wait in the warm-up.
    """

    expert_T: Tensor
    member_2T: Tensor


class FlexBlock(nn.Module):
    """Attention over all tokens of a patient, then a noisy top-k mixture of experts.

    Args:
        config: options.
    """

    def __init__(self, config: FlexMoEConfig) -> None:
        super().__init__()
        self.config = config
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = Attention(config.width, config.heads, dropout=config.dropout)
        self.mixture_norm = nn.LayerNorm(config.width)
        self.router = NoisyTopK(config.width, config.experts, config.top_k)
        self.experts = Experts(config.width, config.hidden, config.experts, "gelu")
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_TD: Tensor, packing: Packing, roles: Roles) -> Routed:
        """Transform packed tokens (T, D)."""
        x_TD = x_TD + self.dropout(self.attention(self.attention_norm(x_TD), packing))
        h_TD = self.mixture_norm(x_TD)
        routing = self.router(h_TD)
        mixed_TD = dispatch(
            self.experts, h_TD, routing.index_TK, routing.gates_TK, self.config.dispatch
        )
        return Routed(x_TD + self.dropout(mixed_TD), self._penalty(routing, roles))

    def _penalty(self, routing: NoisyRouting, roles: Roles) -> Tensor:
        """Weighted specialization and balance in training; 0 otherwise."""
        if not self.training:
            return routing.clean_TE.new_zeros(())
        loss_T = F.cross_entropy(routing.clean_TE, roles.expert_T, reduction="none")
        _, incomplete_T = roles.member_2T
        loss = (loss_T * incomplete_T).sum() / incomplete_T.sum().clamp_min(1)
        balance = imbalance(routing, roles.member_2T)
        return self.config.specialization * loss + self.config.balance * balance


class FlexMoE(FusionModel):
    """Encoders, the bank of missing modalities, blocks, and a linear map of all modalities.

    Args:
        encoding: of the training rows.
        num_classes: C.
        config: options.

    Attributes:
        note: `hashing`; a benchmark's report says it.
    """

    def __init__(self, encoding: Encoding, num_classes: int, config: FlexMoEConfig) -> None:
        super().__init__()
        num_modalities, groups = len(encoding.modalities), encoding.groups
        self.config = config
        self.note = hashing(num_modalities, config)
        self.encoder = make_encoder(encoding, config)
        self.token_norm = nn.LayerNorm(config.width)
        start_MD = 0.02 * torch.randn(num_modalities, config.width)
        self.bank_RMD = nn.Parameter(start_MD.repeat(config.bank, 1, 1))
        self.blocks = nn.ModuleList(FlexBlock(config) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(num_modalities * config.width, num_classes)
        self.warmup = fewest_observed(groups.patterns_GM, groups.counts_G, config.warmup_epochs)
        self.fewest = 0

    def on_epoch(self, epoch: int, num_epochs: int) -> None:
        """Set how many modalities a patient must have to teach in this epoch."""
        self.fewest = self.warmup[epoch] if epoch < len(self.warmup) else 0

    def represent(self, batch: Batch) -> Represented:
        """Return the mean tokens of all modalities side by side (B, 1, M D)."""
        tokens = self.fill(batch)
        teaches_B = batch.present_BM.sum(1) >= self.fewest
        packing, roles = Packing.of(tokens.owner_T), self._roles(tokens, batch, teaches_B)
        x_TD, penalty = tokens.x_TD, tokens.x_TD.new_zeros(())
        for block in self.blocks:
            x_TD, more = block(x_TD, packing, roles)
            penalty = penalty + more
        x_BMD = mean_slots(tokens._replace(x_TD=self.norm(x_TD)), batch.present_BM)
        x_B1X = self.dropout(x_BMD).flatten(1).unsqueeze(1)
        if self.training and self.fewest:
            x_B1X = torch.where(teaches_B[:, None, None], x_B1X, x_B1X.detach())
        return Represented(x_B1X, penalty)

    def classify(self, x_BKD: Tensor) -> Tensor:
        """Return the logits (B, 1, C)."""
        return self.head(x_BKD)

    def fill(self, batch: Batch) -> Tokens:
        """Return the observed tokens, and one of the bank for every missing modality."""
        tokens = self.encoder(batch)
        owner_X, modality_X = (~batch.present_BM).nonzero(as_tuple=True)
        row_X = combination_index(batch.present_BM, self.config.bank)[owner_X]
        missing = Tokens(self.bank_RMD[row_X, modality_X], owner_X, modality_X)
        return merge([tokens._replace(x_TD=self.token_norm(tokens.x_TD)), missing])

    def _roles(self, tokens: Tokens, batch: Batch, teaches_B: Tensor) -> Roles:
        is_complete_B = batch.present_BM.all(1)
        member_2B = torch.stack([is_complete_B, ~is_complete_B]) & teaches_B
        expert_B = combination_index(batch.present_BM, self.config.experts)
        return Roles(expert_B[tokens.owner_T], member_2B[:, tokens.owner_T])


FLEX_MOE = NeuralMethod(
    name="flex_moe",
    build=FlexMoE,
    model_config=FlexMoEConfig(),
    train_config=TrainConfig(lr=1e-3, weight_decay=1e-2, ema=0.99, selection="mean"),
    space={
        **NEURAL,
        "blocks": Range(low=1, high=2, whole=True),
        "experts": Choice((8, 16, 32)),
        "top_k": Choice((2, 4)),
        "specialization": Range(low=1e-3, high=1e-1, log=True),
        "warmup_epochs": Choice((0, 2, 5)),
    },
)
