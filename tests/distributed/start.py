"""Starting ranks in tests."""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
QUIET = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "TORCH_CPP_LOG_LEVEL": "ERROR"}


def free_port() -> int:
    """A port that nobody listens to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_ranks(
    arguments: Sequence[str], num: int, env: Mapping[str, str] | None = None
) -> list[tuple[int, str]]:
    """Run Python as `num` ranks; status and output of each."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(num)}
    place["LOCAL_WORLD_SIZE"] = str(num)
    ranks = [
        subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={
                **os.environ,
                **QUIET,
                **place,
                "RANK": str(r),
                "LOCAL_RANK": str(r),
                **(env or {}),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for r in range(num)
    ]
    outputs = [process.communicate(timeout=200)[0] for process in ranks]
    return [(process.returncode, out) for process, out in zip(ranks, outputs, strict=True)]
