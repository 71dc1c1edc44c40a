"""Tables that change by rows: the optimizer and the average against their dense forms."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from remind.fusion import GroupContext
from remind.fusion.moe import code
from remind.fusion.moe.code import GroupCode
from remind.objectives import ERM
from remind.training.average import WeightAverage
from remind.training.checkpoint import TrainState, load_checkpoint, save_checkpoint
from remind.training.rows import RowAdamW

OPTIONS = {"lr": 0.1, "weight_decay": 0.05}


class Table(nn.Module):
    """A table, by rows or not."""

    def __init__(self, *, by_rows: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(6, 3))
        self.weight.by_rows = by_rows  # pyright: ignore[reportAttributeAccessIssue]
        self.by_rows = by_rows

    def forward(self, rows: list[int]) -> torch.Tensor:
        index, to = torch.tensor(rows), torch.arange(3.0)
        return (F.embedding(index, self.weight, sparse=self.by_rows) - to).square().sum()


def test_every_row_is_plain_adamw_of_the_steps_that_touched_it():
    """Rows 1 and 4 as if each had been alone, twice in a batch counting twice; others stay."""
    table = Table(by_rows=True)
    start = table.weight.detach().clone()
    optimizer = RowAdamW(table.parameters(), **OPTIONS)
    for rows in ([1], [1, 4, 4], [4, 4], [1]):
        optimizer.zero_grad()
        table(rows).backward()
        assert table.weight.grad is None  # clipping does not see it
        optimizer.step()
    for row, times in ((1, (1, 1, 1)), (4, (2, 2))):
        alone = nn.Parameter(start[row].clone())
        plain = torch.optim.AdamW([alone], **OPTIONS)
        for number in times:
            plain.zero_grad()
            (number * (alone - torch.arange(3.0)).square().sum()).backward()
            plain.step()
        torch.testing.assert_close(table.weight[row], alone)
    untouched = [0, 2, 3, 5]
    assert torch.equal(table.weight[untouched], start[untouched])


def test_gradients_of_several_batches_are_summed():
    """Rows that both read, and rows of one, step once with the sum."""
    table, other = Table(by_rows=True), Table(by_rows=True)
    optimizer, at_once = (RowAdamW(x.parameters(), **OPTIONS) for x in (table, other))
    for rows in ([1, 4], [4, 5]):
        table(rows).backward()
    other([1, 4, 4, 5]).backward()
    optimizer.step()
    at_once.step()
    torch.testing.assert_close(table.weight, other.weight)


def test_a_second_optimizer_takes_over_from_the_first():
    """Training follows pretraining: a gradient counts once. (Where eps is large, scale tells.)"""
    table, other = Table(by_rows=True), Table(by_rows=True)
    RowAdamW(table.parameters(), **OPTIONS)
    optimizer, alone = (RowAdamW(x.parameters(), **OPTIONS, eps=10.0) for x in (table, other))
    for one, model in ((optimizer, table), (alone, other)):
        model([1, 4]).backward()
        one.step()
    assert torch.equal(table.weight, other.weight)


def test_the_average_by_rows_is_the_dense_average():
    """Also across states read in between, and after one is loaded."""
    table = Table(by_rows=True)
    optimizer = RowAdamW(table.parameters(), **OPTIONS)
    average = WeightAverage(table, 0.9)
    expected = table.weight.detach().clone()
    for step, rows in enumerate(([1], [2, 3], [1], [5], [0], [1, 5])):
        optimizer.zero_grad()
        table(rows).backward()
        optimizer.step()
        average.update(step)
        expected.lerp_(table.weight.detach(), 1 - min(0.9, (1 + step) / (10 + step)))
        if step == 3:
            torch.testing.assert_close(average.state_dict()["weight"], expected)
            fresh = WeightAverage(table, 0.9)
            fresh.load_state_dict({k: v.clone() for k, v in average.state_dict().items()})
            average = fresh
    torch.testing.assert_close(average.state_dict()["weight"], expected)


@pytest.mark.parametrize("by_rows", [False, True])
def test_a_checkpoint_goes_on_where_the_table_is_treated_the_other_way(
    by_rows: bool, tmp_path: Path
):
    """One process changes it by rows, several all of it: alike while each step touches all rows."""

    def state(*, by_rows: bool) -> TrainState:
        table = Table(by_rows=by_rows)
        optimizer = RowAdamW(table.parameters(), fused=True, **OPTIONS)
        return TrainState(model=table, objective=ERM(torch.ones(1)), optimizer=optimizer)

    def take(state: TrainState, num: int, rows: list[int]) -> None:
        for _ in range(num):
            state.optimizer.zero_grad()
            state.model(rows).backward()
            state.optimizer.step()

    every, before, after = [*range(6)], state(by_rows=by_rows), state(by_rows=not by_rows)
    take(before, 3, every)
    before.epoch = before.best_epoch = 1
    save_checkpoint(tmp_path, before)
    load_checkpoint(tmp_path, after)
    for one in (before, after):
        take(one, 3, every)
    torch.testing.assert_close(after.model.weight, before.model.weight)

    take(before, 2, [1])  # rows of different numbers of steps, if they are counted
    before.epoch = 2
    save_checkpoint(tmp_path, before)
    load_checkpoint(tmp_path, after)
    take(after, 1, every)
    assert after.model.weight.isfinite().all()
    steps = after.optimizer.state[after.model.weight]["step"]
    assert steps.shape == (() if by_rows else (6, 1))
    assert (steps == 9).all()


def test_codes_by_rows_are_the_dense_codes(monkeypatch: pytest.MonkeyPatch):
    """With unseen groups, and combinations that share a group; the gradient needs no sorting."""
    present_BM = torch.tensor([[1, 1], [0, 1], [1, 0], [1, 1], [1, 0]], dtype=torch.bool)
    context = GroupContext.from_batch(present_BM, torch.tensor([4, 1, -1, 4, 1]))
    to_UR = torch.randn(len(context.group_U), 4)
    codes, gradients = [], []
    for many in (9, 2):
        monkeypatch.setattr(code, "MANY", many)
        torch.manual_seed(0)
        group_code = GroupCode(2, torch.tensor([30, 8, 2, 5, 9]), 4)
        group_code.delta_GR.data.normal_()
        codes.append(group_code(context).code_UR)
        group_code.delta_GR.register_hook(gradients.append)
        (codes[-1] * to_UR).sum().backward()
    torch.testing.assert_close(codes[1], codes[0])
    assert gradients[1].is_coalesced()
    torch.testing.assert_close(gradients[1].to_dense(), gradients[0])


def test_the_prior_of_many_groups_is_right_on_average(monkeypatch: pytest.MonkeyPatch):
    """The estimate from batches drawn at random has the full sum as its mean."""
    counts_G = torch.tensor([30, 8, 2])
    monkeypatch.setattr(code, "MANY", 2)
    torch.manual_seed(0)
    group_code = GroupCode(2, counts_G, 4)
    group_code.delta_GR.data.normal_()
    full = (group_code.delta_GR.square().sum(1) / counts_G * counts_G.double().mean()).sum()
    estimates = []
    for _ in range(3000):
        group_B = torch.multinomial(counts_G.double(), 5, replacement=True)
        context = GroupContext.from_batch(torch.ones(5, 2, dtype=torch.bool), group_B)
        estimates.append(group_code.shrinkage(group_code(context), context).detach())
    spread = torch.stack(estimates).std() / 3000**0.5
    assert abs(torch.stack(estimates).mean() - full) < 4 * spread
    group_code.shrinkage(group_code(context), context).backward()
    assert group_code.delta_GR.grad is not None
    assert group_code.delta_GR.grad.is_sparse
