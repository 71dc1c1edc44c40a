"""Files that are there whole or not at all: written to a temporary name, flushed, renamed."""

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from remind.errors import InputError

TEMPORARY = ".tmp-"
"""How the names of unfinished files and folders begin."""


def write_text(file: Path, text: str) -> None:
    """Write a text file, UTF-8."""
    temporary = unfinished(file)
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
    """Write tensors of any device as safetensors; those that share memory are written apart.

    Raises:
        OSError: they cannot be written.
    """
    temporary = unfinished(file)
    own = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    temporary.unlink(missing_ok=True)
    temporary.touch()
    mode = temporary.stat().st_mode
    try:
        save_file(own, temporary)
    except SafetensorError as error:
        code = re.search(r"os error (\d+)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(temporary)) from error
    temporary.chmod(mode)  # that of any new file; safetensors would keep it to the owner
    move(temporary, file)


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read safetensors to the CPU."""
    return load_file(file)


@contextmanager
def written(what: str) -> Iterator[None]:
    """Say in a sentence that a part of a run, such as "the model", cannot be written inside.

    Raises:
        InputError: with the system's reason.
    """
    try:
        yield
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "make room" if is_full else "remove the cause"
        raise InputError(
            f"{what} could not be written ({error.strerror or error}): "
            f"{remedy} and continue with --resume"
        ) from error


def move(temporary: Path, target: Path) -> None:
    """Give a file its final name once its content is on the disk."""
    _flush(temporary)
    os.replace(temporary, target)
    _flush(target.parent)


def begin_folder(folder: Path) -> None:
    """Make the temporary folder, empty, that `end_folder` will call `folder`."""
    temporary = unfinished(folder)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)


def end_folder(folder: Path) -> None:
    """Give a folder that was filled its final name, which must be free."""
    for file in unfinished(folder).iterdir():
        _flush(file)
    move(unfinished(folder), folder)


def unfinished(path: Path) -> Path:
    """The temporary name of a file or folder."""
    return path.with_name(TEMPORARY + path.name)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
