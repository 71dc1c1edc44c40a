"""Records are found again by their key, whatever happens between."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from remind.cohort.store import ContentKeys, RecordStore


def test_records_come_back_by_key_in_another_process_life(tmp_path: Path) -> None:
    first = np.arange(6, dtype=np.float32).reshape(2, 3)
    RecordStore("a", (3,), np.float32, tmp_path).add(["x", "y"], list(first))
    store = RecordStore("a", (3,), np.float32, tmp_path)
    store.add(["y", "z"], [np.full(3, 9), np.full(3, 7)])
    places = store.find(["z", "x", "nobody", "y"])
    assert places[2] == -1
    np.testing.assert_array_equal(
        store.read(places[[0, 1, 3]]), np.stack([np.full(3, 7), first[0], first[1]])
    )
    assert (RecordStore("b", (3,), np.float32, tmp_path).find(["x"]) == -1).all()
    assert store.read(np.zeros(0, np.int64)).shape == (0, 3)


def test_a_writer_that_is_killed_leaves_a_store_that_works(tmp_path: Path) -> None:
    code = f"""
import numpy as np, itertools
from pathlib import Path
from remind.cohort.store import RecordStore
store = RecordStore("a", (1000,), np.int64, Path({str(tmp_path)!r}))
for i in itertools.count():
    store.add([str(i)], [np.full(1000, i)])
    print(i, flush=True)
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for _ in range(20):
        child.stdout.readline()
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    store = RecordStore("a", (1000,), np.int64, tmp_path)
    store.add(["new"], [np.full(1000, -5)])
    keys = [str(i) for i in range(20)]
    expected = [*range(20), -5]
    np.testing.assert_array_equal(store.read(store.find([*keys, "new"]))[:, 0], expected)


def test_a_file_that_changes_has_another_key(tmp_path: Path) -> None:
    file, other = tmp_path / "a.bin", tmp_path / "b.bin"
    file.write_bytes(b"one")
    other.write_bytes(b"one")
    keys = ContentKeys(tmp_path / "cache")
    before = keys.of([file, other])
    assert before[0] == before[1]
    file.write_bytes(b"other")
    assert keys.of([file, other])[0] != before[0]
    with pytest.raises(FileNotFoundError):
        keys.of([tmp_path / "absent"])
