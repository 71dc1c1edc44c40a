"""Two hosts in tests: network namespaces that see each other through one cable."""

import os
import subprocess
from collections.abc import Iterator

import pytest

ADDRESS = ("10.231.77.1", "10.231.77.2")


def ip(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def hosts() -> Iterator[list[str]]:
    """Two namespaces, named after this process."""
    names = [f"remind{os.getpid()}{end}" for end in "ab"]
    try:
        added = [ip("netns", "add", name) for name in names]
    except FileNotFoundError:
        pytest.skip("two hosts are two network namespaces, and there is no program ip")
    try:
        if failed := [done.stderr for done in added if done.returncode]:
            pytest.skip(f"two hosts are two network namespaces, which need root: {failed[0]}")
        ends = [f"r{os.getpid()}{end}" for end in "ab"]
        cable = ["link", "add", ends[0], "netns", names[0], "type", "veth"]
        assert not ip(*cable, "peer", "name", ends[1], "netns", names[1]).returncode
        for name, end, address in zip(names, ends, ADDRESS, strict=True):
            for line in (
                f"addr add {address}/24 dev {end}",
                f"link set {end} up",
                "link set lo up",
            ):
                assert not ip("-n", name, *line.split()).returncode
        yield names
    finally:
        for name in names:
            ip("netns", "del", name)
