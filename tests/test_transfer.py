"""From the host to a device: structure, values, and one copy."""

from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from remind import transfer
from remind.transfer import ALIGNED, map_tensors, pack, to_device, unpack


class Pair(NamedTuple):
    first: Tensor
    second: Tensor | None


@dataclass(frozen=True, kw_only=True)
class Sheet:
    pair: Pair
    rows: tuple[Tensor, ...]
    shape: tuple[int, int]
    by_name: dict[str, Tensor]


def sheet() -> Sheet:
    """Tensors of several types and shapes, one of them twice and one transposed."""
    shared = torch.arange(6, dtype=torch.int64).view(2, 3)
    return Sheet(
        pair=Pair(shared, None),
        rows=(torch.tensor([True, False, True]), torch.zeros(0, 4), shared),
        shape=(2, 3),
        by_name={"x": torch.randn(3, 5).T, "n": torch.tensor(7, dtype=torch.int32)},
    )


def tensors_of(tree: Sheet) -> list[Tensor]:
    found: list[Tensor] = []
    map_tensors(lambda tensor: found.append(tensor) or tensor, tree)
    return found


def test_packed_tensors_come_out_as_they_went_in() -> None:
    tensors = tensors_of(sheet())
    memory = pack(tensors)
    assert memory.dtype == torch.uint8
    for found, tensor in zip(unpack(memory.clone(), tensors), tensors, strict=True):
        assert found.dtype == tensor.dtype
        assert torch.equal(found, tensor)
    for found in unpack(memory, tensors):
        assert (found.data_ptr() - memory.data_ptr()) % ALIGNED == 0


def test_a_tree_keeps_its_structure_and_its_types_on_a_device() -> None:
    """Here a device without values: what is twice in the tree is one tensor there as well."""
    tree = sheet()
    moved = to_device(tree, "meta")
    assert isinstance(moved.pair, Pair)
    assert moved.pair.second is None
    assert moved.shape == (2, 3)
    assert moved.rows[2] is moved.pair.first
    for found, tensor in zip(tensors_of(moved), tensors_of(tree), strict=True):
        assert found.device.type == "meta"
        assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)


def test_every_tensor_gets_its_own_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a memory that stays on the host, for no other device here has values."""
    plain = Tensor.to
    monkeypatch.setattr(Tensor, "to", lambda x, device, **_: plain(x, "cpu", copy=True))
    tree = sheet()
    moved = to_device(tree, "meta")
    for found, tensor in zip(tensors_of(moved), tensors_of(tree), strict=True):
        assert torch.equal(found, tensor)
        assert found.data_ptr() != tensor.data_ptr() or not tensor.numel()


def test_all_tensors_but_large_ones_are_one_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    copies = []
    plain = Tensor.to

    def to(tensor: Tensor, *args: object, **options: object) -> Tensor:
        copies.append(tensor)
        return plain(tensor, *args, **options)  # pyright: ignore

    monkeypatch.setattr(Tensor, "to", to)
    to_device(sheet(), "meta")
    assert len(copies) == 1
    monkeypatch.setattr(transfer, "LARGEST", 4 * 3 * 5 - 1)
    to_device(sheet(), "meta")
    assert len(copies) == 3


def test_what_is_there_already_stays_the_same_object() -> None:
    tree = sheet()
    assert to_device(tree, "cpu") is tree
