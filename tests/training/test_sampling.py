"""What objectives ask of the loop: whom an epoch draws, and training that starts afresh."""

# N training patients

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from remind.cohort import Encoding
from remind.methods import METHODS
from remind.objectives import ERM, JustTrainTwice, LogitAdjustment, Objective
from remind.training import fit_run, steps, train, with_overrides
from remind.training.sampling import epoch_rows
from remind.training.seeds import shuffled
from tests.training.test_resume import StopError, Stopper, lines
from tests.training.toy import (
    Toy,
    ToyConfig,
    same_bytes,
    small_config,
    toy_cohort,
    toy_method,
)


@given(
    weights=st.lists(st.floats(0, 10), min_size=1, max_size=60).filter(lambda w: sum(w) > 0.1),
    seed=st.integers(0, 10**6),
)
def test_each_row_is_drawn_its_share_rounded_up_or_down(weights: list[float], seed: int) -> None:
    rows = np.arange(len(weights)) + 100
    weight_N = torch.tensor(weights, dtype=torch.float64)
    drawn = epoch_rows(rows, weight_N, seed, 3)
    assert len(drawn) == len(rows)
    assert np.array_equal(drawn, epoch_rows(rows, weight_N, seed, 3))
    number = Counter(drawn.tolist())
    for row, weight in zip(rows.tolist(), weights, strict=True):
        assert abs(number[row] - len(rows) * weight / sum(weights)) < 1 + 1e-9


def test_the_mean_number_of_draws_is_the_share() -> None:
    weights = [0.1, 0.4, 1.0, 2.5]
    weight_N = torch.tensor(weights, dtype=torch.float64)
    drawn = np.concatenate([epoch_rows(np.arange(4), weight_N, 0, e) for e in range(4000)])
    share_N = np.bincount(drawn, minlength=4) / 4000
    assert share_N == pytest.approx(weights, abs=0.04)


def test_equal_weights_draw_each_row_once_and_none_shuffles_as_ever() -> None:
    rows = np.arange(50) * 2
    drawn = epoch_rows(rows, torch.full((50,), 0.3), 1, 0)
    assert np.array_equal(np.sort(drawn), rows)
    assert not np.array_equal(drawn, rows)
    assert np.array_equal(epoch_rows(rows, None, 1, 0), shuffled(rows, 1, 0))


DRAWN = {
    "fair_batch": ["objective=fair_batch", "step=0.2"],
    "jtt": ["objective=jtt", "first_epochs=2", "epochs=3"],
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run of each."""
    folder, cohort, method = tmp_path_factory.mktemp("whole"), toy_cohort(), toy_method()
    for name, overrides in DRAWN.items():
        settings = with_overrides(method.default_settings(), overrides)
        fit_run(cohort, method, settings, folder / name)
    return folder


@pytest.mark.parametrize(("name", "stop"), [("fair_batch", 3), ("jtt", 1), ("jtt", 2), ("jtt", 4)])
def test_resumed_draws_equal_uninterrupted_ones(
    name: str, stop: int, whole: Path, tmp_path: Path
) -> None:
    """Interrupted in the first model of jtt, right after it, and in the second."""
    cohort, method = toy_cohort(), toy_method()
    settings = with_overrides(method.default_settings(), DRAWN[name])
    with pytest.raises(StopError):
        fit_run(cohort, method, settings, tmp_path / "run", progress=Stopper(stop))
    fit_run(cohort, method, settings, tmp_path / "run", resume=True)
    for file in ("model.safetensors", "checkpoints/epoch-0005/tensors.safetensors"):
        assert same_bytes(whole / name / file, tmp_path / "run" / file), file
    assert lines(whole / name) == lines(tmp_path / "run")
    assert len(lines(whole / name)) == 5


class Recorder(Toy):
    """A toy that notes its weights at the start of every epoch."""

    def on_epoch(self, epoch: int, num_epochs: int) -> None:
        super().on_epoch(epoch, num_epochs)
        self.starts = [*getattr(self, "starts", []), self.head.weight.detach().clone()]


def fit_jtt(monkeypatch: pytest.MonkeyPatch, **changes: object):
    """A model that just trained twice, its objective, history, rows of every epoch and cohort."""
    cohort = toy_cohort()
    encoding = Encoding.fit(cohort, cohort.rows("train"))
    torch.manual_seed(0)
    model = Recorder(encoding, 2, ToyConfig())
    config = JustTrainTwice.Config(first_epochs=2, upweight=4.0)
    objective = JustTrainTwice(torch.from_numpy(encoding.groups.counts_G), config)
    drawn: list[np.ndarray] = []

    def record(*args: object) -> np.ndarray:
        drawn.append(epoch_rows(*args))  # pyright: ignore[reportArgumentType]
        return drawn[-1]

    monkeypatch.setattr(steps, "epoch_rows", record)
    rows = cohort.rows("train"), cohort.rows("val")
    history = train(model, objective, encoding.transform(cohort), *rows, small_config(**changes))
    return model, objective, history, drawn, cohort


def test_the_second_model_starts_where_the_first_did(monkeypatch: pytest.MonkeyPatch) -> None:
    model, objective, history, drawn, cohort = fit_jtt(monkeypatch, epochs=3)
    assert model.epochs == [0, 1, 0, 1, 2]
    assert torch.equal(model.starts[0], model.starts[2])
    assert not torch.equal(model.starts[0], model.starts[1])
    rates = [metrics["lr"] for metrics in history.metrics]
    assert rates[:2] == rates[2:4]
    assert history.best_epoch > 2

    train_rows = cohort.rows("train")
    is_wrong_N = objective.is_wrong_N.numpy()
    assert 0.05 < is_wrong_N.mean() < 0.6
    for rows in drawn[:2]:
        assert np.array_equal(np.sort(rows), train_rows)
    share_N = np.where(is_wrong_N, 4, 1) / np.where(is_wrong_N, 4, 1).mean()
    for rows in drawn[2:]:
        number_N = np.bincount(rows, minlength=len(cohort))[train_rows]
        assert (np.abs(number_N - share_N) < 1).all()


def test_the_first_model_never_ends_training_early(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, history, _, _ = fit_jtt(monkeypatch, epochs=4, patience=1, lr=0.5, schedule="constant")
    assert len(history.metrics) > 2
    assert history.best_epoch > 2


class Adjusted(LogitAdjustment):
    """Notes the groups whose logits were adjusted, in training and in validation."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # pyright: ignore[reportArgumentType]
        self.seen: list[Tensor] = []

    def adjust(self, logits_BKC: Tensor, group_B: Tensor) -> Tensor:
        self.seen.append(group_B.clone())
        return super().adjust(logits_BKC, group_B)


def fit_toy(objective: Objective, encoding: Encoding, **changes: object):
    cohort = toy_cohort()
    torch.manual_seed(0)
    model = Toy(encoding, 2, ToyConfig())
    rows = cohort.rows("train"), cohort.rows("val")
    config = small_config(epochs=2, **changes)
    return model, train(model, objective, encoding.transform(cohort), *rows, config)


def test_losses_are_adjusted_in_training_and_validation_and_predictions_are_not() -> None:
    cohort = toy_cohort()
    encoding = Encoding.fit(cohort, cohort.rows("train"))
    counts_G = torch.from_numpy(encoding.groups.counts_G)
    objective = Adjusted(counts_G)
    model, history = fit_toy(objective, encoding, ema=0.0, modality_dropout=0.5)
    encoded = encoding.transform(cohort)
    val_rows = cohort.rows("val")
    per_epoch = len(objective.seen) // 2
    train_groups = torch.cat(objective.seen[: per_epoch - 1])
    assert np.array_equal(
        np.sort(train_groups.numpy()), np.sort(encoded.group_N[cohort.rows("train")])
    )
    assert np.array_equal(objective.seen[per_epoch - 1].numpy(), encoded.group_N[val_rows])

    batch = encoded.batch(val_rows)
    log_prob_BKC = model.eval()(batch).logits_BKC.double().log_softmax(dim=2).logsumexp(dim=1)
    adjusted_BC = (log_prob_BKC + objective.prior(batch.group_B, 2).log()).log_softmax(dim=1)
    expected = -adjusted_BC.gather(1, batch.label_B[:, None]).mean()
    best = history.metrics[history.best_epoch - 1]
    assert best["val_log_loss"] == pytest.approx(expected.item(), abs=1e-6)


def test_tau_0_trains_as_erm_to_rounding() -> None:
    cohort = toy_cohort()
    encoding = Encoding.fit(cohort, cohort.rows("train"))
    counts_G = torch.from_numpy(encoding.groups.counts_G)
    adjusted = LogitAdjustment(counts_G, LogitAdjustment.Config(tau=0.0))
    first, _ = fit_toy(adjusted, encoding)
    second, _ = fit_toy(ERM(counts_G), encoding)
    assert torch.allclose(first.head.weight, second.head.weight, atol=1e-6)


@pytest.mark.parametrize("strength", ["0", "30"])
def test_fair_mixup_reaches_a_fusion_model(strength: str) -> None:
    """Its penalty is part of the loss of a model that represents and classifies apart."""
    cohort, method = toy_cohort(), METHODS["default"]
    small = ["epochs=2", "width=8", "hidden=8", "members=2", "dropout=0", "device=cpu", "ema=0"]
    weights = {}
    for objective in (["objective=erm"], ["objective=fair_mixup", f"strength={strength}"]):
        settings = with_overrides(method.default_settings(), [*small, *objective])
        weights[objective[0]] = fit_run(cohort, method, settings).predict(cohort)["prob_1"]
    difference = (weights["objective=erm"] - weights["objective=fair_mixup"]).abs().max()
    assert (difference > 1e-3) == (strength == "30")
