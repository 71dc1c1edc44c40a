"""Steps of training on a cohort of every kind: they wait for no device, and work in bfloat16.

On CUDA whatever a step asks of a tensor is a wait for all work before it (a length, a maximum,
whether any). The device `meta` computes shapes only, and refuses such questions. Three things are
left out there: autocast, which does not know the device, fusing the optimizer, which is torch's
own, and the mean loss, which is read once in 64 steps.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from remind.cohort import Encoded, Encoding, read_cohort
from remind.fusion import ensemble
from remind.fusion.config import FUSIONS, MIXTURES
from remind.fusion.model import Model
from remind.fusion.moe import code
from remind.methods import METHODS
from remind.objectives import OBJECTIVES
from remind.sources import toy_hospital
from remind.training.average import WeightAverage
from remind.training.checkpoint import TrainState
from remind.training.mean import MeanLoss
from remind.training.rows import RowAdamW
from remind.training.settings import with_overrides
from remind.training.steps import Steps
from remind.training.teacher import Teacher

NUM = 40
Hospital = tuple[Encoding, Encoded, np.ndarray]


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    """A cohort of every kind, and its training rows."""
    folder = tmp_path_factory.mktemp("hospital")
    toy_hospital.write(folder, patients=NUM, seed=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REMIND_CACHE", str(tmp_path_factory.mktemp("cache")))
        cohort = read_cohort(folder)
        rows = cohort.rows("train")
        encoding = Encoding.fit(cohort, rows)
        yield encoding, encoding.transform(cohort), rows


class MetaEngine:
    """What `Steps` asks of an engine, on a device without values."""

    def __init__(self, model: nn.Module) -> None:
        marked = [name for name, x in model.named_parameters() if hasattr(x, "by_rows")]
        self.model, self.device = model.to("meta"), torch.device("meta")
        for name in marked:  # this device gets parameters of its own, which are not marked
            self.model.get_parameter(name).by_rows = True  # pyright: ignore[reportAttributeAccessIssue]
        groups = [{"params": list(model.parameters()), "lr_scale": 1.0}]
        self.optimizer = RowAdamW(groups, lr=0.1)

    def train(self, work: Callable[[nn.Module], Any]) -> Any:
        return work(self.model)

    def step(self, loss: Tensor, clip: float) -> None:
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), clip)
        self.optimizer.step()
        assert loss.device == self.device


@pytest.fixture
def meta(monkeypatch: pytest.MonkeyPatch) -> None:
    known = torch.is_autocast_enabled
    monkeypatch.setattr(
        torch, "is_autocast_enabled", lambda device: device != "meta" and known(device)
    )
    monkeypatch.setattr(  # whose purpose here is to be switched off
        torch, "autocast", lambda device, **options: torch.enable_grad()
    )
    monkeypatch.setattr(MeanLoss, "look", lambda mean: None)


def train(hospital: Hospital, objective_name: str, sets: list[str]) -> Model:
    """An epoch of two batches, with a teacher, modalities hidden and an average."""
    encoding, encoded, rows = hospital
    settings: Any = with_overrides(METHODS["default"].default_settings(), sets)
    model = Model(encoding, 2, settings.model)
    model.on_epoch(1, 2)
    engine: Any = MetaEngine(model)
    groups, kind = encoding.groups, OBJECTIVES[objective_name]
    counts_G, patterns_GM = (torch.from_numpy(x) for x in (groups.counts_G, groups.patterns_GM))
    objective: Any = kind(counts_G, kind.Config(), patterns_GM=patterns_GM)
    objective.draws = lambda group_N: None  # whom an epoch draws is asked before its first step
    label_N, group_N = (torch.from_numpy(x[rows]) for x in (encoded.label_N, encoded.group_N))
    objective.begin(label_N, group_N)
    prob_NC = np.full((len(encoded.label_N), 2), 0.5, np.float32)
    train = with_overrides(settings, ["modality_dropout=0.3", "batch_size=16"]).train
    steps = Steps(
        engine=engine,
        objective=objective.to("meta"),
        encoded=encoded,
        rows=rows,
        config=train,
        seed=0,
        teacher=Teacher(prob_NC, encoded.label_N, rows[:0], 0.5),
    )
    state = TrainState(
        model=engine.model,
        objective=objective,
        optimizer=engine.optimizer,
        average=WeightAverage(model, 0.99),
    )
    steps.epoch(state, 0)
    assert state.step == -(-len(rows) // 16)
    return model


@pytest.mark.usefixtures("meta")
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_no_objective_waits(objective: str, hospital: Hospital) -> None:
    train(hospital, objective, [])


@pytest.mark.usefixtures("meta")
@pytest.mark.parametrize("rare", [0.0, 0.7])
@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("mixture", MIXTURES)
def test_no_fusion_and_no_mixture_waits(
    fusion: str, mixture: str, rare: float, hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether there are rare modalities or none; and every encoder is taught."""
    monkeypatch.setattr(ensemble, "RARE", rare)
    model = train(hospital, "erm", [f"fusion={fusion}", f"mixture={mixture}"])
    if fusion == "ensemble":
        assert model.fusion.pool.is_dense == (not rare)
    assert all(parameter.grad is not None for parameter in model.encoder.parameters())


@pytest.mark.usefixtures("meta")
def test_many_combinations_do_not_wait(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their residuals change by rows."""
    monkeypatch.setattr(code, "MANY", 0)
    model = train(hospital, "erm", [])
    tables = [x for x in model.parameters() if getattr(x, "by_rows", False)]
    assert len(tables) == 2
    assert all(hasattr(table, "kept_rows") for table in tables)


def test_a_question_to_this_device_is_an_error() -> None:
    """Without that the tests above could not fail."""
    x = torch.ones(3, device="meta")
    for ask in (x.nonzero, lambda: bool(x.any()), lambda: x.sum().item(), x.tolist):
        with pytest.raises((RuntimeError, NotImplementedError)):
            ask()
    with pytest.raises(RuntimeError):
        x[x > 0]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_kind_trains_in_bfloat16(fusion: str, hospital: Hospital) -> None:
    """As under `precision=bf16-mixed`: logits and gradients are near those of 32 bits."""
    encoding, encoded, rows = hospital
    torch.manual_seed(0)
    config = with_overrides(METHODS["default"].default_settings(), [f"fusion={fusion}"]).model
    model = Model(encoding, 2, config).eval()
    batch = encoded.batch(rows)
    exact = model(batch).logits_BKC
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(batch).logits_BKC
    torch.testing.assert_close(rounded.float(), exact, rtol=0.1, atol=0.1)
    rounded.float().square().mean().backward()
    for name, parameter in model.encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
