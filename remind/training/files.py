"""Files that are there whole or not at all: written to a temporary name, flushed, renamed."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

TEMPORARY = ".tmp-"
"""How the names of unfinished files and folders begin."""


def write_text(file: Path, text: str) -> None:
    """Write a text file, UTF-8."""
    temporary = file.with_name(TEMPORARY + file.name)
    temporary.write_text(text, encoding="utf-8")
    move(temporary, file)


def write_json(file: Path, data: Any) -> None:
    """Write JSON; numbers must be finite."""
    write_text(file, json.dumps(data, indent=1, allow_nan=False) + "\n")


def write_json_lines(file: Path, records: Sequence[Any]) -> None:
    """Write one line of JSON per record; numbers must be finite."""
    write_text(file, "".join(json.dumps(record, allow_nan=False) + "\n" for record in records))


def read_json(file: Path) -> Any:
    """Read what `write_json` wrote; floats come back exactly."""
    return json.loads(file.read_text(encoding="utf-8"))


def write_tensors(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors of any device as safetensors; those that share memory are written apart."""
    temporary = file.with_name(TEMPORARY + file.name)
    own = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    save_file(own, temporary)
    move(temporary, file)


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read safetensors to the CPU."""
    return load_file(file)


def move(temporary: Path, target: Path) -> None:
    """Give a file its final name once its content is on the disk."""
    _flush(temporary)
    os.replace(temporary, target)
    _flush(target.parent)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder to fill; it becomes `folder`, which must not exist, at the end."""
    temporary = folder.with_name(TEMPORARY + folder.name)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    yield temporary
    for file in temporary.iterdir():
        _flush(file)
    move(temporary, folder)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
