"""A stage before training, without labels: what hidden modalities hold is told from the others.

Modalities of a patient are hidden, and the representation of the rest must predict random features
of what they hold: the mean of the tokens that the encoders of the random start make of a modality,
normalised. Such targets need no decoder of a kind's own, and cannot collapse, for nothing learns
them (random-projection targets: Chiu et al. 2022, "Self-supervised learning with random-projection
quantizer"; pretraining on tables: Rubachev et al. 2022, "Revisiting pretraining objectives for
tabular deep learning").

B patients of a batch, M modalities, K members, D width of a token, R of a representation, T tokens,
P pairs of a patient and one of its hidden modalities.
"""

import copy
import gc
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remind.cohort import Batch, Encoded
from remind.encoders import TokenEncoder
from remind.errors import InputError
from remind.fusion import FusionModel
from remind.training.batches import Part, cut, deal, tokens_of_patients
from remind.training.config import TrainConfig
from remind.training.dropout import draw, drop_modalities
from remind.training.engine import Engine, share_buffers
from remind.training.loading import Loader
from remind.training.mean import MeanLoss
from remind.training.optimizer import copy_marks
from remind.training.predict import device_of
from remind.training.progress import Progress
from remind.training.ranks import is_first, rank
from remind.training.seeds import seeded, shuffled
from remind.world import num_ranks

HIDDEN = 0.25
"""Mean share of a patient's modalities that are hidden."""

MOST = 100_000
"""Training patients that take part, drawn at random where there are more."""

STREAM = 1 << 20
"""Added to the seed: this stage draws other numbers than training does."""


class Guess(nn.Module):
    """What a hidden modality holds, from the representation of the others: W f((V x)(1 + e) + e).

    Args:
        size: R.
        width: D.
        num_modalities: M.
    """

    def __init__(self, size: int, width: int, num_modalities: int) -> None:
        super().__init__()
        self.representation = nn.Linear(size, width)
        self.modality = nn.Embedding(num_modalities, width)
        self.out = nn.Linear(width, width)
        nn.init.normal_(self.modality.weight, std=0.5)

    def forward(self, x_BR: Tensor, owner_P: Tensor, modality_P: Tensor) -> Tensor:
        """Predict the features (P, D) of some modalities."""
        x_PD = self.representation(x_BR).index_select(0, owner_P)
        modality_PD = self.modality(modality_P)
        return self.out(F.relu(torch.addcmul(x_PD + modality_PD, x_PD, modality_PD)))


def pretrain(
    model: nn.Module,
    encoded: Encoded,
    rows: np.ndarray,
    config: TrainConfig,
    *,
    seed: int,
    tokens_M: np.ndarray | None = None,
    progress: Progress | None = None,
) -> None:
    """Change a model in place, on the device that it is to be trained on, and bring it back.

    All ranks call it alike; the steps are those of one process.

    Args:
        model: a `FusionModel` with an `encoder`.
        encoded: holds the training patients.
        rows: of the training patients.
        config: `pretrain` epochs; batches, learning rate and the like are those of training.
        seed: of the run.
        tokens_M: tokens of each modality where it is observed, for `batch_tokens`; one if None.
        progress: who is told.

    Raises:
        InputError: the model is none of those, or a loss is not finite.
    """
    encoder = getattr(model, "encoder", None)
    if not isinstance(model, FusionModel) or not isinstance(encoder, TokenEncoder):
        raise InputError("this method has no tokens to pretrain: set pretrain=0")
    seed += STREAM
    with seeded(seed, rank()):
        _Stage(model, encoder, encoded, rows, config, seed, tokens_M).run(progress)
    gc.collect()  # the engine refers to itself, and holds a model with its gradients


class _Stage:
    """One run of the stage: a copy of the model learns, the model itself gives the targets."""

    def __init__(
        self,
        model: FusionModel,
        encoder: TokenEncoder,
        encoded: Encoded,
        rows: np.ndarray,
        config: TrainConfig,
        seed: int,
        tokens_M: np.ndarray | None,
    ) -> None:
        self.model, self.encoded, self.config, self.seed = model, encoded, config, seed
        self.rows = shuffled(rows, seed, 0)[:MOST]
        self.tokens_N = tokens_of_patients(encoded.present_NM, tokens_M, config.batch_tokens)
        self.loader = Loader(encoded, config.workers)
        self.learned = copy.deepcopy(model)
        copy_marks(model, self.learned)
        pair = nn.ModuleList([self.learned, self._guess(encoder)])
        self.engine = Engine(pair, config)  # which gives all ranks the weights of the first
        start: Any = copy.deepcopy(self.learned.get_submodule("encoder"))
        self.target = start.to(self.engine.device).eval().requires_grad_(False)

    def run(self, progress: Progress | None) -> None:
        """All epochs; then the model has the weights of its copy."""
        engine, num_epochs = self.engine, self.config.pretrain
        for group in engine.optimizer.param_groups:
            group["lr"] *= group["lr_scale"]
        for epoch in range(num_epochs):
            mean = self._epoch(epoch)
            share_buffers(engine.model)
            if progress is not None and is_first():
                progress.on_pretrain(epoch + 1, num_epochs, mean)
        engine.finish(engine.model.state_dict())
        self.model.load_state_dict(self.learned.state_dict())

    def _guess(self, encoder: TokenEncoder) -> Guess:
        """One that fits the representation, which a patient is asked for."""
        device, was_training = device_of(self.model), self.model.training
        with torch.no_grad():
            x_BKR = self.model.eval().represent(self.encoded.batch(self.rows[:1]).to(device))[0]
        self.model.train(was_training)
        num_modalities, width = encoder.modality_MD.shape
        return Guess(x_BKR.shape[-1], width, num_modalities)

    def _epoch(self, epoch: int) -> float:
        """The mean loss.

        Raises:
            InputError: one is not finite.
        """
        self.engine.model.train()
        rows = shuffled(self.rows, self.seed, epoch + 1)
        tokens_N = None if self.tokens_N is None else self.tokens_N[rows]
        batches = cut(rows, self.config.batch_size, tokens_N, self.config.batch_tokens)
        parts = [deal(batch, rank(), num_ranks()) for batch in batches]
        mean = MeanLoss()
        for index, batch in enumerate(self.loader([part.rows for part in parts])):
            present_BM = torch.from_numpy(self.encoded.present_NM[batches[index]])
            uniform_BX = draw(self.seed, epoch, index, *present_BM.shape)
            shown_BM = drop_modalities(present_BM, HIDDEN, uniform_BX)
            loss, penalty = self._loss(batch, parts[index], present_BM, shown_BM)
            self.engine.step(loss + penalty, self.config.clip)
            mean.add(loss.detach(), parts[index].num_all)
            if mean.strange:
                break
        mean.look()
        if mean.strange:
            raise InputError(
                f"the loss of pretraining became {mean.strange}: lower the learning rate "
                f"(lr={self.config.lr / 10:g}) or set pretrain=0"
            )
        return mean.value

    def _loss(
        self, batch: Batch, part: Part, present_BM: Tensor, shown_BM: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The squared error of the guesses, and what the model adds to every loss.

        Of this rank; the means over ranks are those of the global batch, whose presence is given.
        """
        device = self.engine.device
        hidden_BM = present_BM & ~shown_BM
        num_pairs, num_own = int(hidden_BM.sum()), int(part.of(hidden_BM).sum())
        share = num_own * part.num_ranks / num_pairs if num_pairs and part.num_own else 0.0
        shown = batch.with_present(part.of(shown_BM)).to(device)
        hidden = batch.with_present(part.of(hidden_BM)).to(device)

        def work(pair: Any) -> tuple[Tensor, Tensor]:
            model, guess = pair
            x_BKR, penalty = model.represent(shown)
            with torch.no_grad():
                owner_P, modality_P, target_PD = _means(self.target, hidden)
            guess_PD = guess(x_BKR.mean(dim=1), owner_P, modality_P)
            if not num_own:
                return 0 * guess_PD.sum() + 0 * x_BKR.sum(), part.weight * penalty
            return share * F.mse_loss(guess_PD.float(), target_PD), part.weight * penalty

        return self.engine.train(work)


def _means(target: TokenEncoder, hidden: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Patient and modality of every hidden pair, and the mean of its tokens, normalised (P, D)."""
    tokens = target(hidden)
    num_modalities = hidden.present_BM.shape[1]
    key_T = tokens.owner_T * num_modalities + tokens.modality_T
    key_P, pair_T, num_P = key_T.unique_consecutive(return_inverse=True, return_counts=True)
    x_TD = tokens.x_TD.float()
    sum_PD = x_TD.new_zeros(len(key_P), x_TD.shape[1]).index_add(0, pair_T, x_TD)
    mean_PD = F.layer_norm(sum_PD / num_P.unsqueeze(1), sum_PD.shape[1:])
    return key_P // num_modalities, key_P % num_modalities, mean_PD
