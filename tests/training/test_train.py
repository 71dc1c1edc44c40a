"""What the loop promises: seeds, selection, early stopping, what the objective sees, divergence."""

# B patients of a batch, M modalities

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from remind.cohort import BAND_NAMES, Encoding
from remind.errors import InputError
from remind.fusion import ModelConfig
from remind.methods import DEFAULT
from remind.objectives import ERM, Robust
from remind.training import (
    Criterion,
    TrainConfig,
    criterion,
    drop_modalities,
    fit_run,
    log_probabilities,
    loop,
    patient_losses,
    predict_log_probabilities,
    probabilities,
    train,
    with_overrides,
)
from remind.training.average import WeightAverage
from remind.training.optimizer import make_optimizer
from remind.training.schedule import learning_rate
from tests.training.toy import Toy, ToyConfig, small_config, toy_cohort, toy_method


class Watcher(ERM):
    """ERM that notes the groups it is given."""

    seen: list[Tensor]

    def forward(self, loss_B: Tensor, group_B: Tensor) -> Robust:
        self.seen.append(group_B.clone())
        return super().forward(loss_B, group_B)


def fit_toy(config: TrainConfig, seed: int = 0, val: bool = True):
    """A trained toy, what its objective saw, its history and its encoded cohort."""
    cohort = toy_cohort()
    encoding = Encoding.fit(cohort, cohort.rows("train"))
    torch.manual_seed(seed)
    model = Toy(encoding, 2, ToyConfig())
    objective = Watcher(torch.from_numpy(encoding.groups.counts_G))
    objective.seen = []
    encoded = encoding.transform(cohort)
    val_rows = cohort.rows("val") if val else np.array([], dtype=np.int64)
    history = train(model, objective, encoded, cohort.rows("train"), val_rows, config, seed=seed)
    return model, objective, history, encoded


def test_seed_fixes_everything_and_leaves_the_generator_alone() -> None:
    cohort, method = toy_cohort(), toy_method()
    default = method.default_settings()
    torch.manual_seed(7)
    first = fit_run(cohort, method).predict(cohort)["prob_1"]
    after = torch.get_rng_state()
    torch.manual_seed(7)
    assert torch.equal(after, torch.get_rng_state())
    torch.manual_seed(8)
    assert fit_run(cohort, method).predict(cohort)["prob_1"].equals(first)
    other = with_overrides(default, ["seed=1"])
    assert not fit_run(cohort, method, other).predict(cohort)["prob_1"].equals(first)


def test_objective_sees_every_patient_in_the_undropped_group() -> None:
    config = small_config(modality_dropout=0.5, epochs=2)
    _, objective, _, encoded = fit_toy(config)
    seen = torch.cat(objective.seen)
    train_groups = np.sort(encoded.group_N[toy_cohort().rows("train")])
    for epoch in seen.view(2, -1):
        assert np.array_equal(np.sort(epoch.numpy()), train_groups)
    assert not torch.equal(*seen.view(2, -1))  # epochs differ in their order
    assert [len(group_B) for group_B in objective.seen[:5]] == [64, 64, 64, 64, 4]


def test_last_batch_of_one_patient_trains() -> None:
    _, objective, history, _ = fit_toy(small_config(batch_size=37, epochs=1))
    assert len(objective.seen[-1]) == 1
    assert np.isfinite(history.metrics[0]["train_loss"])


@pytest.mark.parametrize("selection", ["bands", "mean"])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_best_epoch_is_kept_and_patience_ends_training(selection: str, ema: float) -> None:
    config = small_config(epochs=30, lr=0.2, patience=3, schedule="constant", ema=ema)
    model, _, history, encoded = fit_toy(replace(config, selection=selection))
    values = [metrics["criterion"] for metrics in history.metrics]
    assert history.best_epoch == int(np.argmin(values)) + 1
    assert len(values) == history.best_epoch + 3 < 30
    assert model.epochs == list(range(len(values)))

    val_rows = toy_cohort().rows("val")
    batch = encoded.batch(val_rows)
    log_prob_BC = log_probabilities(model.eval()(batch).logits_BKC)
    loss_N = -log_prob_BC.gather(1, batch.label_B[:, None])[:, 0].detach().numpy()
    best = history.metrics[history.best_epoch - 1]
    assert loss_N.mean() == pytest.approx(best["val_log_loss"], abs=1e-12)
    band_N = encoded.groups.band(encoded.present_NM[val_rows])
    weight = 0.2 if selection == "bands" else 0.0
    assert criterion(loss_N, band_N, weight).value == pytest.approx(best["criterion"], abs=1e-12)


def test_the_criterion_alone_selects_and_ties_go_to_the_earlier(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = iter([3.0, 1.0, 2.0, 1.0, 1.5, 0.0])
    means = iter([6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    script = lambda *_: Criterion(next(values), next(means), {})  # noqa: E731
    monkeypatch.setattr(loop, "criterion", script)
    _, _, history, _ = fit_toy(small_config(epochs=6, patience=3))
    assert (history.best_epoch, len(history.metrics)) == (2, 5)


def test_no_validation_patients_runs_every_epoch() -> None:
    _, _, history, _ = fit_toy(small_config(patience=1), val=False)
    assert history.best_epoch == len(history.metrics) == 5
    assert history.metrics[0]["criterion"] is None


@given(
    st.lists(st.tuples(st.floats(0, 5), st.sampled_from(BAND_NAMES)), min_size=1, max_size=40),
    st.floats(0, 1),
)
def test_criterion_is_its_formula(patients: list[tuple[float, str]], weight: float) -> None:
    loss_N = np.array([loss for loss, _ in patients])
    band_N = np.array([band for _, band in patients])
    result = criterion(loss_N, band_N, weight)
    mean, terms = loss_N.mean(), []
    for band in set(band_N.tolist()):
        own = loss_N[band_N == band]
        terms.append((len(own) * own.mean() + 50 * mean) / (len(own) + 50))
    assert result.value == pytest.approx((1 - weight) * mean + weight * sum(terms) / len(terms))
    assert set(result.bands) == set(band_N.tolist())
    assert result.mean == pytest.approx(mean)


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 9), st.floats(0, 0.5))
def test_modality_dropout_hides_some_and_never_all(
    seed: int, num_patients: int, num_modalities: int, rate: float
) -> None:
    rng = np.random.default_rng(seed)
    present_BM = torch.from_numpy(rng.random((num_patients, num_modalities)) < 0.5)
    present_BM[:, 0] = True
    dropped_BM = drop_modalities(present_BM, rate)
    assert not (dropped_BM & ~present_BM).any()
    assert dropped_BM.any(dim=1).all()
    if rate == 0:
        assert torch.equal(dropped_BM, present_BM)


def test_modality_dropout_hides_its_rate() -> None:
    torch.manual_seed(0)
    present_BM = torch.ones(20_000, 12, dtype=torch.bool)
    hidden_B = 1 - drop_modalities(present_BM, 0.2).float().mean(dim=1)
    assert float(hidden_B.mean()) == pytest.approx(0.2, abs=0.005)
    assert float(hidden_B.std()) > 0.15  # rates differ between patients: binomial alone has 0.115


def test_loss_is_the_members_mean_and_probability_their_mean() -> None:
    logits_BKC = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0))
    label_B = torch.tensor([0, 1, 2, 3, 0])
    prob_BKC = logits_BKC.double().softmax(2)
    members_BK = torch.stack([-prob_BKC[b, :, label].log() for b, label in enumerate(label_B)])
    torch.testing.assert_close(patient_losses(logits_BKC, label_B), members_BK.mean(1).float())
    torch.testing.assert_close(probabilities(logits_BKC), prob_BKC.mean(1))
    torch.testing.assert_close(log_probabilities(logits_BKC).exp(), prob_BKC.mean(1))


def test_schedules() -> None:
    def rates(schedule: str, steps: list[int], **changes: int) -> list[float]:
        config = TrainConfig(lr=1.0, epochs=10, schedule=schedule, **changes)
        return [learning_rate(config, step, 4) for step in steps]

    assert rates("constant", [0, 1, 2, 39], warmup_steps=2) == [0.5, 1.0, 1.0, 1.0]
    assert rates("cosine", [0, 20, 39]) == pytest.approx([1, 0.5, 0.00154], abs=1e-5)
    assert rates("step", [0, 7, 8, 16], step_epochs=2) == pytest.approx([1, 1, 0.1, 0.01])


def test_average_starts_fast_and_gives_the_weights_back() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
    average = WeightAverage(model, 0.5)
    expected = 0.0
    for step, value in enumerate([1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 34.0, 55.0, 89.0]):
        with torch.no_grad():
            model.weight.fill_(value)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    with average.applied():
        assert model.weight.item() == pytest.approx(expected)
    assert model.weight.item() == 89.0


def test_weight_decay_spares_biases_and_norms() -> None:
    """With a learning rate that moves nothing but the decay, only matrices shrink."""
    cohort = toy_cohort()
    model = Toy(Encoding.fit(cohort, cohort.rows("train")), 2, ToyConfig())
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    make_optimizer(model, TrainConfig(lr=0.1, weight_decay=0.5)).step()
    for name, parameter in model.named_parameters():
        factor = 0.95 if parameter.dim() >= 2 else 1.0
        torch.testing.assert_close(parameter.detach(), factor * before[name])


def test_divergence_is_one_sentence_and_keeps_the_checkpoints(tmp_path: Path) -> None:
    num_good = 2

    class Exploding(Toy):
        def forward(self, batch):
            output = super().forward(batch)
            scale = float("inf") if len(self.epochs) > num_good else 1.0
            return output._replace(penalty=output.penalty * scale)

    method = replace(toy_method(), build=Exploding)
    with pytest.raises(InputError) as caught:
        fit_run(toy_cohort(), method, out=tmp_path / "run")
    assert str(caught.value) == (
        "the training loss became inf in epoch 3: lower the learning rate (lr=0.0002); "
        f"checkpoints so far are in {tmp_path / 'run'}"
    )
    kept = sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir())
    assert kept == ["epoch-0001", "epoch-0002"]
    num_good = 0
    with pytest.raises(InputError, match=r"in epoch 1: lower the learning rate \(lr=0.0002\)$"):
        fit_run(toy_cohort(), method, out=tmp_path / "other")


def test_one_process_trains_among_the_tasks_of_a_batch_script(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the shell of `sbatch --ntasks=4` itself, where srun would start four."""
    for name, value in {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "fit", "SLURM_JOB_ID": "7"}.items():
        monkeypatch.setenv(name, value)
    assert len(fit_toy(small_config(epochs=1))[2].metrics) == 1


def test_held_out_weights_need_validation_patients() -> None:
    cohort, method = toy_cohort(), toy_method()
    no_val = replace(cohort, split=np.where(cohort.split == "val", "train", cohort.split))
    settings = with_overrides(method.default_settings(), ["held_out=true"])
    with pytest.raises(InputError, match="held_out needs validation patients, but there are none"):
        fit_run(no_val, method, settings)


def test_mixed_precision_trains_and_predicts_in_32_bits() -> None:
    config = small_config(precision="bf16-mixed")
    model, _, history, _ = fit_toy(config)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    plain = fit_toy(small_config())[2].metrics[-1]["val_log_loss"]
    mixed = history.metrics[-1]["val_log_loss"]
    assert mixed != plain
    assert mixed == pytest.approx(plain, abs=0.02)


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("epochs", 0, "epochs must be a whole number >= 1, got 0"),
        ("lr", 0.0, "lr must be a finite number > 0, got 0.0"),
        ("lr", float("inf"), "lr must be a finite number > 0, got inf"),
        ("clip", float("inf"), "clip must be a finite number >= 0, got inf"),
        ("modality_dropout", 0.6, "modality_dropout must be a number >= 0 and <= 0.5, got 0.6"),
        ("schedule", "cosin", 'schedule must be "constant" or "cosine" or "step", got \'cosin\''),
        ("device", "tpu", 'device must be "auto" or "cpu" or "cuda", got \'tpu\''),
    ],
)
def test_options_out_of_range(option: str, value: object, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        TrainConfig(**{option: value})
    assert str(caught.value).startswith(sentence)


def test_batches_made_by_workers_train_the_same_model() -> None:
    """Workers change who makes a batch, not what is in it; the share spent waiting is told."""
    alone, beside = (fit_toy(small_config(epochs=2, workers=workers))[2] for workers in (0, 2))
    losses = [[line["train_loss"] for line in history.metrics] for history in (alone, beside)]
    assert losses[0] == losses[1]
    assert all(0 <= line["waiting"] <= 1 for line in alone.metrics + beside.metrics)


def test_prediction_in_chunks_equals_prediction_at_once(monkeypatch) -> None:
    """Their size moves nothing but rounding."""
    model, _, _, encoded = fit_toy(small_config())
    rows = np.arange(len(encoded))
    at_once = predict_log_probabilities(model, encoded, rows)
    monkeypatch.setattr("remind.training.predict.CHUNK_CPU", 7)
    assert len(rows) > 7
    torch.testing.assert_close(predict_log_probabilities(model, encoded, rows), at_once)


def test_threads_predict_the_same_bits_and_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks side by side, in any number of threads, also after one of them failed."""
    cohort = toy_cohort()
    encoding = Encoding.fit(cohort, cohort.rows("train"))
    encoded, rows = encoding.transform(cohort), np.arange(len(cohort))
    model = DEFAULT.build(
        encoding, len(cohort.classes), ModelConfig(width=16, hidden=16, members=2)
    )
    monkeypatch.setattr("remind.training.predict.CHUNK_CPU", 16)
    before = torch.get_num_threads()
    try:
        predicted = []
        for num in (1, 2, 3):
            torch.set_num_threads(num)
            predicted.append(predict_log_probabilities(model, encoded, rows))
            with pytest.raises(IndexError):
                predict_log_probabilities(model, encoded, np.append(rows, len(rows)))
            assert torch.get_num_threads() == num
            assert model.training
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(other, predicted[0]) for other in predicted[1:])
