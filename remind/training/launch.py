"""Starting ranks: torchrun's elastic agent on every host, from within `remind fit`."""

import logging
import os
import socket
import struct
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous.api import RendezvousError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from remind.errors import InputError
from remind.objectives.checks import check_whole
from remind.training.ranks import FAILURE, environment

SIOCGIFADDR = 0x8915  # of Linux: the address of an interface

PORT = 29500
"""Of the rendezvous, where none is given."""

FRESH_STORE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
"""Ranks that are started again must not find the addresses of those that died."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """Which ranks a fit is to have.

    Args:
        devices: ranks on this host, >= 1: one per GPU, or processes on a CPU.
        nodes: hosts, >= 1; the same command is given on each.
        rendezvous: HOST:PORT where the hosts meet, HOST being one of them; found out under SLURM.
        restarts: how often all ranks are started again, from the last checkpoint, when one dies.

    Raises:
        InputError: a number out of its range, or hosts without a place to meet.
    """

    devices: int | None = None
    nodes: int = 1
    rendezvous: str | None = None
    restarts: int = 0

    def __post_init__(self) -> None:
        if self.devices is not None:
            check_whole("devices", self.devices, at_least=1)
        check_whole("nodes", self.nodes, at_least=1)
        check_whole("restarts", self.restarts, at_least=0)

    def is_to_start(self) -> bool:
        """Whether this process is to start ranks, not to be one.

        Raises:
            InputError: it is one of another number of ranks than was asked for.
        """
        asked = (self.devices or 1) * self.nodes
        place = environment()
        if place is None:
            return self.devices is not None or self.nodes > 1
        size = place.world_size()
        if isinstance(place, SLURMEnvironment) and size == self.nodes:  # one task per host
            return size != asked or self.restarts > 0  # SLURM itself starts no rank again
        if self.devices is not None and size != asked:
            raise InputError(
                f"{size} processes were started for {self.nodes} nodes of {self.devices} devices: "
                "start as many as there are devices, or leave out --devices and --nodes"
            )
        return False


def launch(plan: Launch, arguments: Sequence[str]) -> int:
    """Start the ranks of this host and wait for them; 0 when all are done.

    Args:
        plan: how many.
        arguments: of the command line that each rank is given.

    Raises:
        InputError: a rank said so, or the hosts did not meet.
        KeyboardInterrupt: a signal ended this process, and with it its ranks.
    """
    for name in ("torch.distributed", "torch.distributed.elastic.agent.server.api"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # we say it in one sentence
    devices, endpoint = plan.devices or 1, _endpoint(plan)
    address = _own_address(endpoint)
    if plan.nodes > 1 and address.startswith("127."):
        host = endpoint.rpartition(":")[0]
        raise InputError(
            f'"{host}" is {socket.gethostbyname(host)} on this host, where no other finds it: '
            "give its address in the network as --rendezvous"
        )
    with tempfile.TemporaryDirectory() as name:
        failure = Path(name) / "failure"
        os.environ |= {FAILURE: str(failure), **FRESH_STORE, **_threads(devices, os.environ)}
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # DDP's advice on unused parameters
        if plan.nodes > 1 and (interface := _interface(address)):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        config = LaunchConfig(
            min_nodes=plan.nodes,
            max_nodes=plan.nodes,
            nproc_per_node=devices,
            run_id=os.environ.get("SLURM_JOB_ID", "remind"),
            rdzv_backend="c10d",
            rdzv_endpoint=endpoint,
            rdzv_configs={"is_host": _is_at(endpoint, address)},
            local_addr=address,
            max_restarts=plan.restarts,
        )
        try:
            elastic_launch(config, sys.executable)("-m", "remind.cli", *arguments)
        except ChildFailedError as error:
            if not failure.exists():
                print(f"remind: {_told(error, plan.restarts)}", file=sys.stderr)
                return 1
        except SignalException as error:
            raise KeyboardInterrupt from error
        except RendezvousError as error:
            raise InputError(
                f"{plan.nodes} hosts did not meet at {endpoint}: start the same command on each, "
                "with the address of one of them as --rendezvous"
            ) from error
        if failure.exists():
            raise InputError(failure.read_text(encoding="utf-8"))
    return 0


def _endpoint(plan: Launch) -> str:
    if plan.rendezvous is not None:
        host, sign, port = plan.rendezvous.rpartition(":")
        if not sign:
            host, port = plan.rendezvous, str(PORT)
        if not host or not port.isdigit():
            raise InputError(f'--rendezvous is HOST:PORT, got "{plan.rendezvous}"')
        return f"{host}:{port}"
    if plan.nodes == 1:
        return "localhost:0"
    if "SLURM_JOB_NODELIST" in os.environ:
        root = SLURMEnvironment.resolve_root_node_address(os.environ["SLURM_JOB_NODELIST"])
        return f"{root}:{_slurm_port(os.environ['SLURM_JOB_ID'])}"
    raise InputError(
        f"{plan.nodes} nodes need a place to meet: add --rendezvous HOST:PORT, "
        "HOST being one of them, on all of them"
    )


def _slurm_port(job: str) -> int:
    """A port of its own for each job: two of them may share a host."""
    return 20000 + int(job) % 10000


def _own_address(endpoint: str) -> str:
    """The address of this host in the network that leads to the rendezvous; nothing is sent."""
    host, _, port = endpoint.rpartition(":")
    if host == "localhost":
        return "127.0.0.1"
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, int(port)))
            return probe.getsockname()[0]
    except OSError as error:
        raise InputError(f'no way from here to "{host}": {error.strerror}') from error


def _is_at(endpoint: str, address: str) -> bool:
    """Whether the hosts meet at this one."""
    host = endpoint.rpartition(":")[0]
    return host == "localhost" or socket.gethostbyname(host) == address


def _interface(address: str) -> str | None:
    """The network interface of an address; gloo would take that of the host's name, often 127.*."""
    import fcntl  # absent on Windows, where hosts do not meet

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                reply = fcntl.ioctl(probe, SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:  # it has no address
                continue
            if socket.inet_ntoa(reply[20:24]) == address:
                return name
    return None


def _threads(devices: int, environ: Mapping[str, str]) -> dict[str, str]:
    """The cores of this host shared out among its ranks, unless the user has."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return (
        {} if "OMP_NUM_THREADS" in environ else {"OMP_NUM_THREADS": str(max(1, cores // devices))}
    )


def _told(error: ChildFailedError, restarts: int) -> str:
    place, failure = error.get_first_failure()
    end = f"ended with status {failure.exitcode}"
    if failure.exitcode < 0:
        end = f"was killed by signal {-failure.exitcode} ({failure.signal_name()})"
    again = f" after {restarts} restarts" if restarts else ""
    return (
        f"rank {place} {end}{again}, and all others were stopped: "
        "continue from the last checkpoint with --resume"
    )
