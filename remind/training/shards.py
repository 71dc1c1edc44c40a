"""Tensors of which each rank holds some rows: a file per rank, read by any number of ranks.

`tensors.safetensors` holds what all ranks have alike, and `shard-00001-of-00004.safetensors` the
rows that rank 1 of 4 has of every other tensor; those of rank 0 come first. The names of the files
are the index: a reader finds the rows it needs by counting those of the files before.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from torch.distributed.tensor import DTensor

from remind.training.files import read_tensors, write_tensors
from remind.training.ranks import is_first, rank
from remind.world import num_ranks

TENSORS = "tensors.safetensors"


def write_part(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write what this rank has: its rows, and what all have alike if it is the first."""
    own = {name: t.to_local() for name, t in tensors.items() if isinstance(t, DTensor)}
    if is_first():
        write_tensors(folder / TENSORS, {name: t for name, t in tensors.items() if name not in own})
    if own:
        write_tensors(folder / f"shard-{rank():05d}-of-{num_ranks():05d}.safetensors", own)


class Saved:
    """The tensors of a folder, however many ranks wrote it."""

    def __init__(self, folder: Path) -> None:
        self.alike = read_tensors(folder / TENSORS)
        files = sorted(folder.glob("shard-*.safetensors"))
        self.shards = [safe_open(file, framework="pt") for file in files]
        self.names = {*self.alike, *(self.shards[0].keys() if self.shards else ())}

    def get(self, name: str, like: Tensor | None = None) -> Tensor:
        """A tensor; this rank's rows of it if `like` is sharded."""
        if not isinstance(like, DTensor):
            return self.alike[name] if name in self.alike else self._rows(name, 0, None)
        own = like.to_local()
        most = -(-len(like) // like.device_mesh.size())  # rows of every rank but the last ones
        start = min(rank() * most, len(like))
        rows = self._rows(name, start, start + len(own)).to(own.device)
        return DTensor.from_local(
            rows, like.device_mesh, like.placements, shape=like.shape, stride=like.stride()
        )

    def part(self, start: str, like: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """What is named `start.name`, by name."""
        like = like or {}
        names = [
            name.removeprefix(f"{start}.") for name in self.names if name.startswith(f"{start}.")
        ]
        return {name: self.get(f"{start}.{name}", like.get(name)) for name in sorted(names)}

    def _rows(self, name: str, start: int, stop: int | None) -> Tensor:
        if name in self.alike:
            return self.alike[name][start:stop]
        parts, before = [], 0
        for shard in self.shards:
            rows = shard.get_slice(name)
            num_rows = rows.get_shape()[0]
            end = num_rows if stop is None else min(max(stop - before, 0), num_rows)
            begin = min(max(start - before, 0), end)
            parts.append(rows[begin:end])
            before += num_rows
        return torch.cat(parts)
