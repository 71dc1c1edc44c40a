"""Learning from a teacher beside the labels: soft targets, heard as long as they are worth it.

The target of a patient is (1 - share) label + share * teacher's probabilities (Hinton et al. 2015,
"Distilling the knowledge in a neural network", temperature 1). At that target's optimum a model
predicts the mean of what is true and what the teacher says, so a teacher that knows less than the
model would hold it back: its share falls as the model gets ahead in validation.

N patients, B patients of a batch, K members, C classes.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from remind.evaluation.metrics import log_loss
from remind.transfer import to_device

ENOUGH = 0.1
"""A validation loss of the teacher so much above the model's, relatively, and it is not heard."""


class Teacher:
    """Probabilities of a teacher, and what they are worth.

    Args:
        prob_NC: of training and validation patients, float32 (N, C); NaN of others.
        label_N: class index of each patient.
        val_rows: of the validation patients; may be none.
        share: of the target while the teacher is as good as the model, in [0, 1).
    """

    def __init__(
        self, prob_NC: np.ndarray, label_N: np.ndarray, val_rows: np.ndarray, share: float
    ) -> None:
        self.prob_NC, self.most = prob_NC, share
        self.val_loss = log_loss(label_N[val_rows], prob_NC[val_rows].astype(np.float64))

    def share(self, model_loss: float | None) -> float:
        """The share of the target, given the best validation log loss of the model so far."""
        if self.val_loss is None or model_loss is None:
            return self.most
        behind = self.val_loss / max(model_loss, 1e-12) - 1
        return self.most * min(1.0, max(0.0, 1 - behind / ENOUGH))

    def of(self, rows: np.ndarray, device: torch.device) -> Tensor:
        """Its probabilities of some patients (B, C)."""
        return to_device(torch.from_numpy(self.prob_NC[rows]), device)


def taught_losses(logits_BKC: Tensor, label_B: Tensor, prob_BC: Tensor, share: float) -> Tensor:
    """(B,) mean over members of the cross entropy to labels and teacher, in nats."""
    num_classes = logits_BKC.shape[2]
    target_BC = F.one_hot(label_B, num_classes).to(prob_BC.dtype).lerp(prob_BC, share)
    log_prob_BC = logits_BKC.log_softmax(dim=2).mean(dim=1)
    return -(target_BC * log_prob_BC).sum(dim=1)
