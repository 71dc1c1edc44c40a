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
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remind.cohort import Batch, Encoded
from remind.encoders import TokenEncoder
from remind.errors import InputError
from remind.fusion import FusionModel
from remind.training.batches import cut, tokens_of_patients
from remind.training.config import TrainConfig
from remind.training.dropout import draw, drop_modalities
from remind.training.loading import Loader
from remind.training.optimizer import make_optimizer
from remind.training.predict import pick_device
from remind.training.progress import Progress
from remind.training.seeds import seeded, shuffled
from remind.world import alone

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

    One of several ranks does it for all, alone; they start with its weights.

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
    with seeded(seed + STREAM), alone():
        _Stage(model, encoder, encoded, rows, config, seed + STREAM, tokens_M).run(progress)


class _Stage:
    """One run of the stage."""

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
        self.model, self.encoder, self.encoded, self.config = model, encoder, encoded, config
        self.seed = seed
        self.rows = shuffled(rows, seed, 0)[:MOST]
        self.tokens_N = tokens_of_patients(encoded.present_NM, tokens_M, config.batch_tokens)
        self.loader = Loader(encoded, config.workers)

    def run(self, progress: Progress | None) -> None:
        """All epochs."""
        device, before = pick_device(self.config.device), next(self.model.parameters()).device
        self.model.to(device).train()
        target = copy.deepcopy(self.encoder).eval().requires_grad_(False)
        guess = self._guess(device)
        optimizer = make_optimizer(nn.ModuleList([self.model, guess]), self.config)
        for group in optimizer.param_groups:
            group["lr"] *= group["lr_scale"]
        for epoch in range(self.config.pretrain):
            losses = []
            for batch, shown in self._batches(epoch):
                optimizer.zero_grad()
                loss, penalty = self._loss(batch.to(device), shown.to(device), target, guess)
                (loss + penalty).backward()
                if self.config.clip:
                    parameters = [*self.model.parameters(), *guess.parameters()]
                    nn.utils.clip_grad_norm_(parameters, self.config.clip)
                optimizer.step()
                losses.append(loss.detach())
            mean = float(torch.stack(losses).mean())
            self._check_finite(mean)
            if progress is not None:
                progress.on_pretrain(epoch + 1, self.config.pretrain, mean)
        optimizer.zero_grad()
        self.model.to(before)

    def _guess(self, device: torch.device) -> Guess:
        """One that fits the representation, which a patient is asked for."""
        with torch.no_grad():
            x_BKR = self.model.eval().represent(self.encoded.batch(self.rows[:1]).to(device))[0]
        self.model.train()
        num_modalities, width = self.encoder.modality_MD.shape
        return Guess(x_BKR.shape[-1], width, num_modalities).to(device)

    def _batches(self, epoch: int) -> Iterator[tuple[Batch, Batch]]:
        """Batches as they are, and with modalities hidden."""
        rows = shuffled(self.rows, self.seed, epoch + 1)
        config = self.config
        tokens_N = None if self.tokens_N is None else self.tokens_N[rows]
        parts = cut(rows, config.batch_size, tokens_N, config.batch_tokens)
        for index, batch in enumerate(self.loader(parts)):
            uniform_BX = draw(self.seed, epoch, index, *batch.present_BM.shape)
            yield batch, batch.with_present(drop_modalities(batch.present_BM, HIDDEN, uniform_BX))

    def _loss(
        self, batch: Batch, shown: Batch, target: TokenEncoder, guess: Guess
    ) -> tuple[Tensor, Tensor]:
        """The mean squared error of the guesses, and what the model adds to every loss."""
        hidden = batch.with_present(batch.present_BM & ~shown.present_BM)
        is_16 = self.config.precision == "bf16-mixed"
        with torch.autocast(batch.present_BM.device.type, torch.bfloat16, enabled=is_16):
            x_BKR, penalty = self.model.represent(shown)
            with torch.no_grad():
                owner_P, modality_P, target_PD = _means(target, hidden)
            guess_PD = guess(x_BKR.mean(dim=1), owner_P, modality_P)
        if not len(owner_P):  # nobody of the batch has two modalities
            return 0 * guess_PD.sum() + 0 * x_BKR.sum(), penalty
        return F.mse_loss(guess_PD.float(), target_PD), penalty

    def _check_finite(self, loss: float) -> None:
        if not np.isfinite(loss):
            raise InputError(
                f"the loss of pretraining became {loss}: lower the learning rate "
                f"(lr={self.config.lr / 10:g}) or set pretrain=0"
            )


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
