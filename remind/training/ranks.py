"""Ranks: processes that train one model together, each with its part of every batch.

Whoever starts them (torchrun, srun, or `remind fit --devices`) tells each its place by environment
variables; `joined` takes it, and inside it the functions below speak to all ranks. With one process
they do nothing. What passes between ranks is tensors; nothing is pickled.
"""

import atexit
import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, TypeVar

import numpy as np
import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch import Tensor
from torch import distributed as dist

from remind.errors import INTERRUPTED, InputError
from remind.world import num_ranks

FAILURE = "REMIND_FAILURE"
"""Environment variable: where a rank writes the sentence of an InputError for who started it."""

SETTLE_SECONDS = 1.0
"""Longest wait at the end for the threads of gloo."""

T = TypeVar("T")


def rank() -> int:
    """Of this process, from 0."""
    return dist.get_rank() if num_ranks() > 1 else 0


def is_first() -> bool:
    """Whether this process speaks and writes for all."""
    return rank() == 0


def environment() -> ClusterEnvironment | None:
    """Who says which rank this is; None for a process by itself.

    Raises:
        InputError: SLURM does not say how many tasks a host has.
    """
    if {"RANK", "WORLD_SIZE", "LOCAL_RANK"} <= os.environ.keys():
        return TorchElasticEnvironment()
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))  # absent in a batch script's own shell
    if tasks == 1:
        return None
    if "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise InputError(
            f"SLURM started {tasks} tasks without saying how many a host has: "
            "add --ntasks-per-node to sbatch or srun"
        )
    return SLURMEnvironment(auto_requeue=False)


def num_local_ranks() -> int:
    """Ranks on this host."""
    if "LOCAL_WORLD_SIZE" in os.environ:
        return int(os.environ["LOCAL_WORLD_SIZE"])
    return num_ranks() // int(os.environ.get("SLURM_STEP_NUM_NODES", 1))


def num_restarts() -> int:
    """How often torchrun has started the ranks of this host again."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))


@contextmanager
def joined() -> Iterator[None]:
    """Be one of the ranks inside; nothing happens in a process that was not started as one.

    An `InputError` is said once, and then all ranks end. When a rank is lost the others say so in a
    line each and end with status 1. Of an interruption speaks who started them.
    """
    place = environment()
    if place is None:
        yield
        return
    try:
        if place.world_size() > 1:
            _meet(place)
        yield
    except InputError as error:
        _say(error, place)
        raise
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except RuntimeError as error:
        if not _is_lost(error):
            raise
        print(f"remind: rank {place.global_rank()} lost the other ranks", file=sys.stderr)
        sys.exit(1)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
            _settle()


def leave(status: int) -> NoReturn:
    """End this rank once its work is done, without taking the interpreter apart.

    A thread of gloo that needs the interpreter at its end would abort the process (`_settle`). What
    was registered with atexit is run; `multiprocessing` ends its processes in the same way.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def together(work: Callable[[], T]) -> T:
    """What `work` returns; if it fails on one rank it fails on all, with the same sentence.

    Raises:
        InputError: of the first rank that has one.
    """
    if num_ranks() == 1:
        return work()
    result, sentence = None, ""
    try:
        result = work()
    except InputError as error:
        sentence = str(error)
    if failed := [text for text in gather_texts(sentence) if text]:
        raise InputError(failed[0])
    return result  # pyright: ignore[reportReturnType]


def on_first(work: Callable[[], None]) -> None:
    """Let the first rank do something for all, which wait; they fail as it does."""
    together(work if is_first() else lambda: None)


def from_first(work: Callable[[], np.ndarray | None]) -> np.ndarray | None:
    """The float32 array, or None, that `work` returns on the first rank; no other calls it.

    Raises:
        InputError: of the first rank.
    """
    own_X = together(work if is_first() else lambda: None)
    if num_ranks() == 1:
        return own_X
    shape = gather_texts("" if own_X is None else " ".join(map(str, own_X.shape)))[0]
    if not shape:
        return None
    tensor = torch.empty([int(size) for size in shape.split()], dtype=torch.float32)
    if own_X is not None:
        tensor.copy_(torch.from_numpy(own_X))
    dist.broadcast(tensor, src=0)
    return tensor.numpy()


def anywhere(flag: bool) -> bool:
    """Whether it holds on some rank."""
    return "1" in gather_texts("1" if flag else "0")


def check_alike(value: str, sentence: str) -> None:
    """Refuse to go on where ranks differ.

    Raises:
        InputError: with the sentence.
    """
    if len(set(gather_texts(value))) > 1:
        raise InputError(sentence)


def gather_texts(text: str) -> list[str]:
    """The text of every rank."""
    if num_ranks() == 1:
        return [text]
    data = torch.tensor(list(text.encode()), dtype=torch.uint8)
    sizes = [int(size) for size in gather(torch.tensor([len(data)]))]
    padded = torch.zeros(max(*sizes, 1), dtype=torch.uint8)
    padded[: len(data)] = data
    parts = gather(padded)
    return [bytes(part[:size].tolist()).decode() for part, size in zip(parts, sizes, strict=True)]


def gather(tensor: Tensor) -> list[Tensor]:
    """The tensor of every rank; all have the same shape."""
    if num_ranks() == 1:
        return [tensor]
    parts = [torch.empty_like(tensor) for _ in range(num_ranks())]
    dist.all_gather(parts, tensor.contiguous())
    return parts


def mean_over_ranks(tensor: Tensor) -> Tensor:
    """The mean of a tensor over all ranks."""
    if num_ranks() == 1:
        return tensor
    tensor = tensor.clone()
    dist.all_reduce(tensor)
    return tensor / num_ranks()


def wait() -> None:
    """Until all ranks are here."""
    gather(torch.zeros(1))


def _meet(place: ClusterEnvironment) -> None:
    has_cuda = torch.cuda.is_available()
    if has_cuda:
        torch.cuda.set_device(place.local_rank() % torch.cuda.device_count())
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = place.main_address, str(place.main_port)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if has_cuda else "gloo",
        rank=place.global_rank(),
        world_size=place.world_size(),
    )


def _say(error: InputError, place: ClusterEnvironment) -> None:
    """Leave a sentence to who started the ranks; without one the first rank says it."""
    if FAILURE in os.environ:
        Path(os.environ[FAILURE]).write_text(str(error), encoding="utf-8")
        sys.exit(0)  # any other status would have the ranks started again
    if place.global_rank() != 0:
        sys.exit(2)


def _settle() -> None:
    """Let the threads of gloo put down the tensors of what is done.

    They need the interpreter for it. A group that FSDP's meshes or DDP still hold is not gone when
    it was destroyed, and nothing waits for its threads; one that is late finds the interpreter at
    its end, and aborts: "terminate called without an active exception" (pytorch issue 190489).
    """
    gc.collect()
    end, num_idle = time.monotonic() + SETTLE_SECONDS, 0
    while num_idle < 3 and time.monotonic() < end:
        time.sleep(0.002)  # which leaves the interpreter to them
        num_idle = 0 if _is_gloo_busy() else num_idle + 1


def _is_gloo_busy() -> bool:
    """Whether a thread of gloo runs or is about to; False where the system does not tell."""
    for thread in Path("/proc/self/task").glob("*"):
        try:
            name, _, rest = (thread / "stat").read_text().rpartition(")")
        except OSError:  # it has ended
            continue
        if name.endswith("(pt_gloo_runloop") and rest.split()[0] == "R":
            return True
    return False


def _is_lost(error: RuntimeError) -> bool:
    text = str(error).lower()
    return isinstance(error, dist.DistError) or "gloo" in text or "connection" in text
