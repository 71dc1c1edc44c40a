"""Slots: a place for every modality, for the peers that want a fixed number of inputs.

T tokens, D width, B patients, M modalities.
"""

from torch import Tensor

from remind.encoders import Tokens


def slots(tokens: Tokens, present_BM: Tensor) -> Tensor:
    """Return the mean token of every observed modality (B, M, D); zeros where unobserved.

    Args:
        tokens: packed, of a batch.
        present_BM: whether each modality is observed, bool.
    """
    num_patients, num_modalities = present_BM.shape
    place_T = tokens.owner_T * num_modalities + tokens.modality_T
    sum_XD = tokens.x_TD.new_zeros(num_patients * num_modalities, tokens.x_TD.shape[1])
    sum_XD = sum_XD.index_add(0, place_T, tokens.x_TD)
    num_X1 = place_T.bincount(minlength=len(sum_XD)).clamp_min(1).unsqueeze(1)
    return (sum_XD / num_X1).unflatten(0, (num_patients, num_modalities))
