"""What objectives may ask of the loop: whom an epoch draws, what a loss is taken of, a fresh start.

All of it is a function of the seed, the epoch and the objective's state, hence alike on all ranks
and after a resume.
"""

# N training or validation patients, B patients of a batch, K members, D width, C classes

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributed as dist

from remind.cohort import Batch
from remind.fusion import FusionModel
from remind.objectives import Objective
from remind.training.checkpoint import TrainState
from remind.training.seeds import shuffled
from remind.world import num_ranks


def epoch_rows(rows: np.ndarray, weight_N: Tensor | None, seed: int, epoch: int) -> np.ndarray:
    """The training rows of an epoch, in order; as many as there are.

    A row is drawn N w / sum(w) times, rounded down or up at random so that this is the mean:
    systematic sampling, which has the least variance, and draws each row once if all weigh alike.

    Args:
        rows: all training rows.
        weight_N: how often each is drawn, up to a factor, >= 0; None is each once.
        seed: of the run.
        epoch: counted from 0.
    """
    if weight_N is None:
        return shuffled(rows, seed, epoch)
    random = np.random.default_rng([seed, epoch])
    order_N = random.permutation(len(rows))
    share_N = weight_N.to("cpu", torch.float64).numpy()[order_N]
    end_N = share_N.cumsum() * (len(rows) / share_N.sum())
    end_N[-1] = len(rows)
    num_N = np.diff(np.floor(end_N + random.random()), prepend=0).astype(np.int64)
    return random.permutation(np.repeat(rows[order_N], num_N))


class TrainingOutput(NamedTuple):
    """What is minimized.

    Attributes:
        logits_BKC: whose loss is.
        penalty: of the model, for the patients it was given.
        added: by the objective, for the patients of all ranks.
    """

    logits_BKC: Tensor
    penalty: Tensor
    added: Tensor | float


def training_output(
    model: nn.Module,
    batch: Batch,
    objective: Objective,
    group_B: Tensor,
    *,
    num_own: int,
    generator: torch.Generator,
) -> TrainingOutput:
    """The output whose loss and penalties are minimized: the model's, and what the objective adds.

    A model that is no `FusionModel` has its logits for a representation.

    Args:
        model: `model(batch)` returns `logits_BKC` and `penalty`.
        batch: of training patients.
        objective: whose hooks are called.
        group_B: the patients' groups before modality dropout.
        num_own: patients that count, the first of the batch.
        generator: of what the objective draws.
    """
    if not objective.reads_representations:
        logits_BKC, penalty = model(batch)
        return TrainingOutput(objective.adjust(logits_BKC, group_B), penalty, 0.0)
    is_fusion = isinstance(model, FusionModel)
    x_BKD, penalty = model.represent(batch) if is_fusion else model(batch)
    classify = model.classify if is_fusion else _identity
    own = slice(num_own)
    added = objective.penalty(
        x_BKD[own], classify, batch.label_B[own], group_B[own], generator=generator
    )
    return TrainingOutput(objective.adjust(classify(x_BKD), group_B), penalty, added)


def validation_losses(
    objective: Objective, log_prob_NC: Tensor, label_N: Tensor, group_N: Tensor
) -> Tensor:
    """(N,) loss of each validation patient, taken of what the objective takes losses of.

    Args:
        objective: whose `adjust` is called.
        log_prob_NC: of the validation patients.
        label_N: class of each.
        group_N: training group of each, -1 unseen.
    """
    logits_N1C = log_prob_NC.unsqueeze(1)
    adjusted_N1C = objective.adjust(logits_N1C, group_N)
    if adjusted_N1C is not logits_N1C:
        log_prob_NC = adjusted_N1C.squeeze(1).log_softmax(dim=1)
    return -log_prob_NC.gather(1, label_N[:, None])[:, 0]


def mark_wrong(objective: Objective, log_prob_NC: Tensor, label_N: Tensor) -> None:
    """Tell an objective whom of the training patients the model gets wrong.

    Args:
        objective: whose `restart_after` epochs are over.
        log_prob_NC: of the training patients.
        label_N: class of each.
    """
    is_wrong_N = log_prob_NC.argmax(dim=1) != label_N.to(log_prob_NC.device)
    if num_ranks() > 1:  # a tie in a last bit must not make the ranks disagree
        dist.broadcast(is_wrong_N, src=0)
    objective.mark(is_wrong_N)


def start_afresh(state: TrainState, weights: Mapping[str, Tensor]) -> None:
    """The model, its average, the optimizer and the best are as before the first step.

    Args:
        state: of the epochs that are done, which still count.
        weights: of the model before the first step.
    """
    state.model.load_state_dict(weights)
    state.optimizer.state.clear()
    if state.average is not None:
        state.average.load_state_dict(dict(state.model.named_parameters(remove_duplicate=False)))
    state.step = state.bad_epochs = 0
    state.best_epoch, state.best_value = state.epoch, None
    state.best_weights = state.weights()


def _identity(x_BKD: Tensor) -> Tensor:
    return x_BKD
