"""Threads that do parts of the work: their order, their errors, and how many PyTorch has after."""

import os
from collections.abc import Iterator

import pytest
import torch

from remind.threads import side_by_side


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    """PyTorch with three threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_results_keep_the_order_of_the_parts_and_each_has_one_thread() -> None:
    found = side_by_side(lambda part: (part, torch.get_num_threads()), range(20))
    assert found == [(part, 1) for part in range(20)]
    assert torch.get_num_threads() == 3


def test_work_inside_of_work_is_done_by_the_same_thread() -> None:
    found = side_by_side(lambda part: sum(side_by_side(lambda x: x * part, [1, 2])), range(9))
    assert found == [3 * part for part in range(9)]


def test_an_error_ends_the_work_and_leaves_the_threads_as_they_were() -> None:
    def work(part: int) -> int:
        if part == 2:
            raise ValueError("part two")
        return part

    with pytest.raises(ValueError, match="part two"):
        side_by_side(work, range(50))
    assert torch.get_num_threads() == 3
    assert side_by_side(abs, [-1, -2]) == [1, 2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own() -> None:
    side_by_side(abs, [-1, -2])
    child = os.fork()
    if child == 0:
        os._exit(0 if side_by_side(str, [1, 2]) == ["1", "2"] else 1)
    assert os.waitpid(child, 0)[1] == 0
