"""ModelConfig: the size and the parts of a model."""

from dataclasses import dataclass

from remind.errors import InputError
from remind.fusion.checks import check_at_least, check_one_of
from remind.fusion.moe import MoEConfig, SoftMoEConfig

FUSIONS = ("ensemble", "transformer")
MIXTURES = ("none", "group", "soft")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Size and parts of a model.

    Attributes:
        fusion: "ensemble" (member readouts over pooled tokens) or "transformer" (attention).
        width: of tokens, D.
        embedding_rank: width of the embedding of one number before it enters its token, r.
        members: implicit ensemble members of fusion "ensemble", K.
        group_pooling: whether a combination weighs the tokens of its modalities in its own way
            before fusion "ensemble" sums them.
        layers: dense layers of fusion "ensemble" before its blocks.
        blocks: blocks of fusion; each has one mixture of experts.
        heads: attention heads of fusion "transformer".
        dropout: share of activations dropped in training, in [0, 1).
        mixture: "group" (GroupMoE), "soft" (SoftGroupMoE, the paper's) or "none" (one plain
            feed-forward network per block).
        experts: number of experts, E.
        top_k: experts per token of mixture "group".
        hidden: hidden width of an expert, or of the plain feed-forward network.
        activation: of the experts: "silu", "gelu", "relu" or "swiglu".
        rank: width of the group code of mixture "group"; 0 makes it blind to groups.
        gate: entropy gate of the group's routing: "none", "shared" or "group".
        modulation: whether a group also scales the hidden activations (mixture "group").
        shared_expert: whether one more expert serves every token (mixture "group").
        balance: weight of the imbalance of the experts.
        information: weight of the reward for I(combination; expert), per nat.
        shrinkage: weight of the prior that draws the residuals of small groups to zero.
    """

    fusion: str = "ensemble"
    width: int = 256
    embedding_rank: int = 16
    members: int = 8
    group_pooling: bool = True
    layers: int = 1
    blocks: int = 1
    heads: int = 8
    dropout: float = 0.1
    mixture: str = "group"
    experts: int = 8
    top_k: int = 2
    hidden: int = 128
    activation: str = "relu"
    rank: int = 8
    gate: str = "none"
    modulation: bool = False
    shared_expert: bool = False
    balance: float = 0.01
    information: float = 0.0
    shrinkage: float = 1e-3

    def __post_init__(self) -> None:
        check_one_of(FUSIONS, fusion=self.fusion)
        check_one_of(MIXTURES, mixture=self.mixture)
        if self.fusion == "ensemble" and self.group_pooling and not self.rank:
            raise InputError("group_pooling needs a group code: set rank to at least 1, got 0")
        check_at_least(1, width=self.width, embedding_rank=self.embedding_rank)
        check_at_least(1, members=self.members, heads=self.heads)
        check_at_least(0, layers=self.layers, blocks=self.blocks)
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout must be in [0, 1), got {self.dropout}")
        if self.fusion == "transformer" and self.width % self.heads:
            raise InputError(f"heads must divide width {self.width}, got {self.heads}")
        self.moe()
        self.soft_moe()

    def moe(self) -> MoEConfig:
        """The part of mixture "group"."""
        names = ("experts", "top_k", "hidden", "activation", "rank", "gate", "modulation")
        names += ("shared_expert", "balance", "information", "shrinkage")
        return MoEConfig(**{name: getattr(self, name) for name in names})

    def soft_moe(self) -> SoftMoEConfig:
        """The part of mixture "soft"."""
        names = ("experts", "hidden", "activation", "gate")
        return SoftMoEConfig(**{name: getattr(self, name) for name in names})
