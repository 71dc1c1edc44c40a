"""Executors: the same pure function on this machine's processes, or on a Ray cluster.

Each call has a process of its own with one thread of arithmetic, so that calls do not disturb each
other, the peak of memory is that of the call, and a call that dies takes nothing along.
"""

import multiprocessing
import os
import signal
import socket
import threading
import traceback
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from remind.allocation import keep_pages
from remind.cohort.extras import require
from remind.errors import InputError

PRELOADED = ("remind.methods", "remind.benchmark.fitting")
"""What the server of processes imports once, so that each process starts in milliseconds."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a call ended.

    Args:
        value: what the function returned; None if it did not.
        error: why it did not, in a sentence; empty if it did.
        is_refusal: whether the function itself refused its input, as it would again.
    """

    value: Any = None
    error: str = ""
    is_refusal: bool = False


class Executor(Protocol):
    """Who calls a function."""

    @property
    def slots(self) -> int:
        """Calls that can run at a time."""
        ...

    def submit(self, key: Hashable, *arguments: Any) -> None:
        """Begin a call; not more than `slots` at a time."""
        ...

    def wait(self) -> tuple[Hashable, Outcome]:
        """The next call that ends."""
        ...

    def close(self) -> None:
        """End what still runs."""
        ...


class Processes:
    """A process per call on this machine.

    Args:
        function: of a module, so that a process can import it.
        shared: its first argument in every call.
        jobs: processes at a time.
    """

    def __init__(self, function: Callable[..., Any], shared: Any, jobs: int) -> None:
        self.function, self.shared, self.slots = function, shared, jobs
        self.running: dict[Any, tuple[Hashable, Any]] = {}  # by the connection that answers
        one_thread()
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(list(PRELOADED))

    def submit(self, key: Hashable, *arguments: Any) -> None:
        """Begin a call."""
        ours, theirs = self.context.Pipe(duplex=False)
        process = self.context.Process(
            target=_answer, args=(theirs, self.function, self.shared, *arguments)
        )
        process.start()
        theirs.close()
        self.running[ours] = (key, process)

    def wait(self) -> tuple[Hashable, Outcome]:
        """The next call that ends."""
        connection: Any = wait(list(self.running))[0]
        key, process = self.running.pop(connection)
        try:
            outcome = connection.recv()
        except (EOFError, OSError):  # it ended before its answer, or in the middle of it
            process.join()
            outcome = Outcome(error=f"its process died (exit status {process.exitcode})")
        connection.close()
        process.join()
        return key, outcome

    def close(self) -> None:
        """End the processes that still run."""
        for connection, (_, process) in self.running.items():
            process.terminate()
            process.join()
            connection.close()
        self.running.clear()


class Ray:
    """A process per call on a Ray cluster; `shared` goes once to each machine.

    Args:
        function: of an importable module.
        shared: its first argument in every call.
        jobs: calls at a time; all processors of the cluster if None.
        address: of the cluster; None for $RAY_ADDRESS, or else a new one on this machine.

    Raises:
        InputError: Ray is not installed, or there is no cluster at this address.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        shared: Any,
        jobs: int | None = None,
        address: str | None = None,
    ) -> None:
        self.ray = require("ray", "ray", "--executor ray")
        self.is_ours = not self.ray.is_initialized()
        if self.is_ours:
            self._connect(jobs, address)
        self.slots = jobs or max(1, int(self.ray.cluster_resources().get("CPU", 1)))
        # max_calls=1: the process ends with the call, and with it the memory that it held.
        self.remote = self.ray.remote(num_cpus=1, max_calls=1, max_retries=1)(call)
        self.shared = self.ray.put((function, shared))
        self.running: dict[Any, Hashable] = {}

    def submit(self, key: Hashable, *arguments: Any) -> None:
        """Begin a call."""
        self.running[self.remote.remote(self.shared, *arguments)] = key

    def wait(self) -> tuple[Hashable, Outcome]:
        """The next call that ends."""
        (reference, *_), _ = self.ray.wait(list(self.running), num_returns=1)
        key = self.running.pop(reference)
        try:
            return key, self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            return key, Outcome(error=f"its process died ({type(error).__name__})")

    def close(self) -> None:
        """Cancel what still runs; leave the cluster, if it was joined here."""
        for reference in self.running:
            self.ray.cancel(reference, force=True)
        self.running.clear()
        if self.is_ours:
            self.ray.shutdown()

    def _connect(self, jobs: int | None, address: str | None) -> None:
        address = address or os.environ.get("RAY_ADDRESS")
        quiet = {"log_to_driver": False, "logging_level": "ERROR"}
        if address is None:
            self.ray.init(num_cpus=jobs, include_dashboard=False, **quiet)
            return
        _check_answers(address)
        self.ray.init(address=address, **quiet)


def call(shared: tuple[Callable[..., Any], Any], *arguments: Any) -> Outcome:
    """Call a function with what is shared; an error is an outcome."""
    function, first = shared
    try:
        return Outcome(value=function(first, *arguments))
    except InputError as error:
        return Outcome(error=str(error), is_refusal=True)
    except Exception as error:
        traceback.print_exc()
        return Outcome(error=f"{type(error).__name__}: {error}")


def one_thread() -> None:
    """Processes that start from here on compute with one thread; libraries read it as they load."""
    os.environ["OMP_NUM_THREADS"] = "1"


def _check_answers(address: str) -> None:
    """Refuse in seconds what Ray would wait minutes for."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        raise InputError(
            f"--address {address}: no Ray cluster answers there ({error}): start one with "
            "ray start --head, or leave --address out"
        ) from error


def _answer(connection: Connection, function: Callable[..., Any], *arguments: Any) -> None:
    """What a process does: call, send the outcome; end with the parent, even if that is killed."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    torch.set_num_threads(1)
    keep_pages()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    connection.send(call((function, arguments[0]), *arguments[1:]))
    connection.close()
