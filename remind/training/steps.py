"""The optimizer steps of an epoch: global batches, of which this rank takes its part."""

# N training patients, M modalities, B patients of a batch, X = M + 1

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from remind.cohort import Batch, Encoded
from remind.objectives import Objective
from remind.training.batches import Part, cut, deal, tokens_of_patients
from remind.training.checkpoint import TrainState
from remind.training.config import TrainConfig
from remind.training.dropout import draw, drop_modalities
from remind.training.engine import Engine
from remind.training.loading import Loader
from remind.training.losses import patient_losses
from remind.training.mean import MeanLoss
from remind.training.ranks import rank
from remind.training.sampling import epoch_rows, training_output
from remind.training.schedule import learning_rate
from remind.training.seeds import step_generator
from remind.training.teacher import Teacher, taught_losses
from remind.transfer import to_device
from remind.world import num_ranks

OBJECTIVE = 1
"""The stream of random numbers that the objective draws from."""


@dataclass(kw_only=True, eq=False)
class Steps:
    """What takes the steps.

    Args:
        engine: of the model.
        objective: what is minimized.
        encoded: holds the training patients.
        rows: of the training patients.
        config: options.
        seed: of the order of patients and of modality dropout.
        tokens_M: tokens of each modality where it is observed; one if None.
        teacher: of the patients of `encoded`.
    """

    engine: Engine
    objective: Objective
    encoded: Encoded
    rows: np.ndarray
    config: TrainConfig
    seed: int
    tokens_M: np.ndarray | None = None
    teacher: Teacher | None = None

    def __post_init__(self) -> None:
        self.share = 0.0  # of the teacher in the targets of an epoch
        self.loader = Loader(self.encoded, self.config.workers)
        self.group_N = torch.from_numpy(self.encoded.group_N[self.rows])
        budget = self.config.batch_tokens
        self.tokens_N = tokens_of_patients(self.encoded.present_NM, self.tokens_M, budget)

    def epoch(self, state: TrainState, num_done: int, best_loss: float | None = None) -> MeanLoss:
        """Train on as many patients as there are, or until a loss is not finite.

        Args:
            state: moved by the steps.
            num_done: epochs since the first step, by which the learning rate goes.
            best_loss: of the model in validation so far, by which the teacher is heard.
        """
        self.share = self.teacher.share(best_loss) if self.teacher else 0.0
        self.engine.model.train()
        self.objective.train()
        rows = epoch_rows(self.rows, self.objective.draws(self.group_N), self.seed, state.epoch)
        tokens_N = None if self.tokens_N is None else self.tokens_N[rows]
        batches = cut(rows, self.config.batch_size, tokens_N, self.config.batch_tokens)
        parts = [deal(batch, rank(), num_ranks()) for batch in batches]
        mean = MeanLoss()
        for index, batch in enumerate(self.loader([part.rows for part in parts])):
            for group in state.optimizer.param_groups:
                rate = learning_rate(self.config, num_done * len(parts) + index, len(parts))
                group["lr"] = group["lr_scale"] * rate
            mean.add(self._step(state, batch, parts[index], index), parts[index].num_all)
            if mean.strange:
                return mean
        mean.look()
        return mean

    def _step(self, state: TrainState, batch: Batch, part: Part, index: int) -> Tensor:
        """One step of the optimizer; the objective sees the groups before modality dropout."""
        config, device = self.config, self.engine.device
        group_B = to_device(batch.group_B, device)
        if config.modality_dropout:
            num_modalities = batch.present_BM.shape[1]
            uniform_BX = draw(self.seed, state.epoch, index, part.num_all, num_modalities)
            rate, own_BX = config.modality_dropout, part.of(uniform_BX)
            batch = batch.with_present(drop_modalities(batch.present_BM, rate, own_BX))
        generator = step_generator(self.seed, state.epoch, index, OBJECTIVE)
        loss = self._loss(batch.to(device), group_B, part, generator)
        self.engine.step(loss, config.clip)
        if state.average is not None:
            state.average.update(state.step)
        state.step += 1
        return loss.detach()

    def _loss(
        self, batch: Batch, group_B: Tensor, part: Part, generator: torch.Generator
    ) -> Tensor:
        """Of this rank; the mean over ranks is that of the global batch."""

        def work(model: nn.Module) -> tuple[Tensor, Tensor]:
            output = training_output(
                model, batch, self.objective, group_B, num_own=part.num_own, generator=generator
            )
            loss_B = self._patient_losses(output.logits_BKC, batch.label_B, part)
            return loss_B, part.weight * output.penalty + output.added

        loss_B, penalty = self.engine.train(work)
        own = slice(part.num_own)
        loss = self.objective(loss_B[own], group_B[own]).loss + penalty
        return loss if part.num_own else loss + 0 * loss_B.sum()

    def _patient_losses(self, logits_BKC: Tensor, label_B: Tensor, part: Part) -> Tensor:
        if self.teacher is None or not self.share:
            return patient_losses(logits_BKC, label_B)
        prob_BC = self.teacher.of(part.rows, label_B.device)
        return taught_losses(logits_BKC, label_B, prob_BC, self.share)
