"""How a rank ends."""

import time
from collections.abc import Iterator

import pytest
import torch
from torch import distributed as dist

from remind.training import ranks
from tests.distributed.start import free_port


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The place of the only rank."""
    place = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "LOCAL_WORLD_SIZE": 1}
    for name, value in {**place, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}.items():
        monkeypatch.setenv(name, str(value))
    yield
    assert not dist.is_initialized()


def test_a_rank_waits_for_the_threads_of_gloo(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that holds a tensor while the interpreter ends would abort the process."""
    looks = iter([True, True, False, True, False, False, False])
    monkeypatch.setattr(ranks, "_is_gloo_busy", lambda: next(looks))
    with ranks.joined():
        dist.init_process_group("gloo", rank=0, world_size=1)
        dist.all_reduce(torch.zeros(1))
    assert not list(looks)


def test_a_rank_does_not_wait_for_ever(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "_is_gloo_busy", lambda: True)
    monkeypatch.setattr(ranks, "SETTLE_SECONDS", 0.05)
    start = time.monotonic()
    with ranks.joined():
        dist.init_process_group("gloo", rank=0, world_size=1)
    assert time.monotonic() - start < 30
