"""Images and volumes to tokens: a network per modality, then attention over all that it saw.

T tokens, D width, B patients, M modalities, V images of a modality in a batch, C channels, P places
of an image that the network describes, d width of an item, F features of a frozen network.
"""

from pathlib import Path

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from remind.cohort.features.image import build_network, load_weights
from remind.cohort.kinds.pixels import PixelModality
from remind.encoders.augment import augment
from remind.encoders.convolution import ResidualNet
from remind.encoders.files import FileModalityEncoder
from remind.encoders.modalities import ModalityEncoders

SMALL_WIDTHS = {2: (16, 32, 64, 96), 3: (8, 16, 32, 64)}  # by number of spatial axes
KERNEL = 3
MOST_ITEM_WIDTH = 128


class PixelModalityEncoder(FileModalityEncoder):
    """Tokens of one modality, of images in training turned and shifted if it says so.

    Args:
        item: what training found of it.
        width: D.
    """

    def __init__(self, item: PixelModality, *, width: int) -> None:
        network, item_width = _network(item)
        super().__init__(item, network, item_width=item_width, width=width)
        self.is_augmented = item.augment and item.train
        self.flips = item.flips

    def look(self, x_V: Tensor) -> Tensor:
        """What is at the places (V, P, d) of images."""
        if self.training and self.is_augmented and len(x_V):
            x_V = augment(x_V, flips=self.flips)
        return self.network(x_V)


class PixelEncoder(ModalityEncoders):
    """Encoders of the modalities of images or of volumes.

    Every place of every image of a patient is an item, and attention pools them, so that a finding
    in one corner of one image of ten is not averaged away. A network of MONAI gives one item per
    image, and a frozen one is not here at all: its features come with the batch.
    """

    def make_part(
        self, item: PixelModality, *, width: int, num_modalities: int, rank: int
    ) -> PixelModalityEncoder:
        """Make the encoder of one modality."""
        return PixelModalityEncoder(item, width=width)


class Backbone(nn.Module):
    """A network of MONAI (V, C, axes) and a linear map of its features: one item (V, 1, d).

    Batch normalisation, which only a network with weights has, keeps the statistics of the weights:
    batches of a few images would give worse ones.
    """

    def __init__(self, item: PixelModality) -> None:
        super().__init__()
        self.network, num_features = build_network(
            item.network,
            dims=len(item.shape) - 1,
            channels=item.shape[0],
            has_weights=item.weights is not None,
        )
        # A trained model brings its own weights, and need not find those that it started from.
        if item.weights is not None and Path(item.weights).is_file():
            load_weights(self.network, Path(item.weights))
        self.norm = nn.LayerNorm(num_features)
        self.head = FeatureMap(num_features)

    def train(self, mode: bool = True) -> "Backbone":
        """Switch between training and evaluation; batch normalisation always evaluates."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    def forward(self, x_V: Tensor) -> Tensor:
        """One item per image."""
        if len(x_V) == 0:
            return x_V.new_zeros(0, 1, self.head.width)
        return self.head(self.norm(self.network(x_V)))


class FeatureMap(nn.Module):
    """Features (V, F) of unit variance to an item (V, 1, d)."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.width = min(num_features, MOST_ITEM_WIDTH)
        self.map = nn.Linear(num_features, self.width)

    def forward(self, x_VF: Tensor) -> Tensor:
        """One item per image."""
        return self.map(x_VF).unsqueeze(1)


def _network(item: PixelModality) -> tuple[nn.Module, int]:
    """What makes items of a modality's images or features, and their width d."""
    if not item.train:
        features = FeatureMap(len(item.feature_mean))
        return features, features.width
    if item.network == "small":
        widths = SMALL_WIDTHS[len(item.shape) - 1]
        return ResidualNet(item.shape, widths, KERNEL), widths[-1]
    backbone = Backbone(item)
    return backbone, backbone.head.width
