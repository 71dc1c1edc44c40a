"""Raw values to tokens: one file per modality kind."""

from remind.encoders.encoder import ENCODERS, TokenEncoder, trained
from remind.encoders.tabular import TabularEncoder
from remind.encoders.tokens import Tokens
from remind.encoders.vector import VectorEncoder

__all__ = ["ENCODERS", "TabularEncoder", "TokenEncoder", "Tokens", "VectorEncoder", "trained"]
