"""The model: a batch to logits, from tokens of the observed modalities only.

B patients, K ensemble members, D width of a representation, C classes, G training groups.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from remind.cohort import Batch, Encoding
from remind.encoders import TokenEncoder, trained
from remind.fusion.config import ModelConfig
from remind.fusion.context import GroupContext
from remind.fusion.ensemble import EnsembleFusion
from remind.fusion.layout import Layout
from remind.fusion.moe import SoftGroupMoE
from remind.fusion.transformer import TransformerFusion
from remind.transfer import to_device


class Output(NamedTuple):
    """What a model returns.

    Attributes:
        logits_BKC: of every ensemble member; K is 1 without an ensemble.
        penalty: what training adds to the loss, a scalar, already weighted; 0 where no gradient
            follows.
    """

    logits_BKC: Tensor
    penalty: Tensor


class Represented(NamedTuple):
    """What a model knows of its patients before it classifies them.

    Attributes:
        x_BKD: of every ensemble member; K is 1 without an ensemble.
        penalty: as in ``Output``.
    """

    x_BKD: Tensor
    penalty: Tensor


class FusionModel(nn.Module):
    """Base of our model and of every neural peer: a representation, then a classifier.

    Whatever works on representations (mixup between groups, say) works on all of them. A model
    whose representation is of no use to others leaves both methods as they are and defines
    ``forward``: its logits are then its representation.

    Raises:
        TypeError: a subclass defines neither; each would call the other without end.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.represent is FusionModel.represent and cls.forward is FusionModel.forward:
            raise TypeError(f"{cls.__name__} must define represent or forward, it has neither")

    def represent(self, batch: Batch) -> Represented:
        """Return the representation of every patient, before the classifier."""
        return Represented(*self(batch))

    def classify(self, x_BKD: Tensor) -> Tensor:
        """Return the logits (B, K, C) of representations."""
        return x_BKD

    def forward(self, batch: Batch) -> Output:
        """Return the logits (B, K, C) of a batch."""
        represented = self.represent(batch)
        return Output(self.classify(represented.x_BKD), represented.penalty)


class Model(FusionModel):
    """Encoders and fusion.

    Args:
        encoding: of the training rows.
        num_classes: C.
        config: sizes and parts.
    """

    def __init__(self, encoding: Encoding, num_classes: int, config: ModelConfig) -> None:
        super().__init__()
        num_modalities = len(encoding.modalities)
        self.config = config
        counts_G, patterns_GM = (
            torch.from_numpy(x) for x in (encoding.groups.counts_G, encoding.groups.patterns_GM)
        )
        share_M = (patterns_GM * counts_G.unsqueeze(1)).sum(0) / counts_G.sum()
        self.encoder = TokenEncoder(
            trained(encoding.schemas, share_M.numpy() > 0),
            width=config.width,
            num_modalities=num_modalities,
            rank=config.embedding_rank,
        )
        sizes = {"num_modalities": num_modalities, "num_classes": num_classes}
        self.fusion = (
            EnsembleFusion(config, counts_G=counts_G, share_M=share_M, **sizes)
            if config.fusion == "ensemble"
            else TransformerFusion(config, counts_G=counts_G, **sizes)
        )

    def represent(self, batch: Batch) -> Represented:
        """Return what the members know of every patient (B, K, D)."""
        return self._represent(batch, self.layout(batch))

    def layout(self, batch: Batch) -> Layout:
        """Find on the host what follows from presence, and send it where the batch is."""
        host, device = batch.on_host(), batch.present_BM.device
        plan = self.encoder.plan(host)
        layout = Layout(
            plan=plan,
            context=GroupContext.from_batch(host.present_BM, host.group_B),
            fusion=self.fusion.layout(plan.owner_T, plan.modality_T, len(batch)),
        )
        return to_device(layout, device)

    def compile(self, **options: Any) -> None:
        """Compile what runs on the device, once for all batches (``torch.compile``)."""
        self._represent = torch.compile(self._represent, dynamic=True, **options)

    def _represent(self, batch: Batch, layout: Layout) -> Represented:
        tokens = self.encoder(batch, layout.plan)
        return Represented(*self.fusion(tokens, layout.context, layout.fusion))

    def classify(self, x_BKD: Tensor) -> Tensor:
        """Return the logits (B, K, C) of representations."""
        return self.fusion.classify(x_BKD)

    def on_epoch(self, epoch: int, num_epochs: int) -> None:
        """Switch the groups' residuals of the paper's mixture on in the second half of training."""
        for module in self.modules():
            if isinstance(module, SoftGroupMoE):
                module.set_stage(2 if 2 * epoch >= num_epochs else 1)
