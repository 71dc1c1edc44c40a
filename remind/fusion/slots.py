"""Slots: a place for every modality of a patient, into which its tokens are summed.

T tokens, D width, B patients, M modalities, S slots of a patient, X = B S.
"""

from torch import Tensor

from remind.encoders import Tokens


def sum_slots(
    x_TD: Tensor, owner_T: Tensor, slot_T: Tensor, *, num_patients: int, num_slots: int
) -> Tensor:
    """Return the sum of the tokens of every slot (B, S, D); zeros in one without a token.

    Args:
        x_TD: tokens, in any order.
        owner_T, slot_T: whose each is, and into which slot it goes, int64.
        num_patients, num_slots: B and S.
    """
    sum_XD = x_TD.new_zeros(num_patients * num_slots, x_TD.shape[1])
    sum_XD = sum_XD.index_add(0, owner_T * num_slots + slot_T, x_TD)
    return sum_XD.unflatten(0, (num_patients, num_slots))


def mean_slots(tokens: Tokens, present_BM: Tensor) -> Tensor:
    """Return the mean token of every observed modality (B, M, D); zeros where unobserved.

    Args:
        tokens: of a batch.
        present_BM: whether each modality is observed, bool.
    """
    num_patients, num_modalities = present_BM.shape
    sum_BMD = sum_slots(*tokens, num_patients=num_patients, num_slots=num_modalities)
    slot_T = tokens.owner_T * num_modalities + tokens.modality_T
    num_X = slot_T.bincount(minlength=present_BM.numel()).clamp_min(1)
    return sum_BMD / num_X.unflatten(0, present_BM.shape).unsqueeze(2)
