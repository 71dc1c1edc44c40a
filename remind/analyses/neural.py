"""What the analyses of a network need of a run."""

from collections.abc import Callable

import numpy as np
from torch import Tensor, nn

from remind.cohort import Batch, Cohort, Encoded
from remind.errors import InputError
from remind.training import NeuralPredictor, Run, patient_losses


def network_of(run: Run, what: str) -> nn.Module:
    """The network of a run.

    Args:
        run: any method's.
        what: that it is needed for, as in "gradients".

    Raises:
        InputError: the method is no network that is trained by our loop.
    """
    if not isinstance(run.predictor, NeuralPredictor):
        raise InputError(
            f"the method {run.settings.method} has no {what}: only networks that remind trains do"
        )
    return run.predictor.model


def encoded_rows(run: Run, cohort: Cohort, rows: np.ndarray) -> Encoded:
    """Some rows of a cohort as the run reads them.

    Raises:
        InputError: there are none.
    """
    if not len(rows):
        raise InputError("nobody is in the split: choose another one")
    return run.encoding.transform(cohort.select(rows))


def loss_of(model: nn.Module) -> Callable[[Batch], Tensor]:
    """Batch to the losses of its patients, as training defines them, without penalties."""
    device = next(model.parameters()).device

    def loss(batch: Batch) -> Tensor:
        batch = batch.to(device)
        return patient_losses(model(batch).logits_BKC, batch.label_B)

    return loss
