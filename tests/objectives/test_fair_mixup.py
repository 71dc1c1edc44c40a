"""Fair mixup: the slope of the mean prediction on the way from group to group."""

# B patients of a batch, K members, D width, C classes

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from remind.objectives import FairMixup
from remind.objectives.fair_mixup import partners, path_penalty, slopes

LABEL_B = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
GROUP_B = torch.tensor([0, 1, 0, 1, 1, 1, 0, 2])
PARTNER_B = torch.tensor([1, 0, 3, 2, 5, 6, 7, 4])


def classifier(num_classes: int, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.GELU(), nn.Linear(7, num_classes))
    return layers.double()


def representation(seed: int = 1) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(8, 2, 5, dtype=torch.float64, generator=random)


def slope(classify: nn.Module, from_KD: Tensor, to_KD: Tensor, time: float, c: int) -> float:
    """<gradient of the mean over members of p_c at the point, way>."""
    point_KD = (from_KD + time * (to_KD - from_KD)).requires_grad_()
    prob_KC = classify(point_KD).softmax(dim=1)
    (gradient_KD,) = torch.autograd.grad(prob_KC[:, c].mean(), point_KD)
    return float((gradient_KD * (to_KD - from_KD)).sum())


@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_penalty_equals_its_definition(num_classes: int) -> None:
    """Per group and class |mean slope|, weighted by pairs; pairs of one group count nothing."""
    classify, x_BKD, time = classifier(num_classes), representation(), 0.3
    cells: dict[tuple[int, int], list[list[float]]] = {}
    for i, j in enumerate(PARTNER_B.tolist()):
        if GROUP_B[i] != GROUP_B[j]:
            found = [slope(classify, x_BKD[j], x_BKD[i], time, c) for c in range(num_classes)]
            cells.setdefault((int(GROUP_B[i]), int(LABEL_B[i])), []).append(found)
    num_pairs = sum(map(len, cells.values()))
    assert num_pairs == 7
    expected = 0.0
    for rows in cells.values():
        means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
        size = abs(means[1]) if num_classes == 2 else sum(map(abs, means)) / 2
        expected += len(rows) / num_pairs * size

    at = torch.tensor(time, dtype=torch.float64)
    slope_BC = slopes(x_BKD[PARTNER_B], x_BKD, at, classify)
    found = path_penalty(slope_BC, GROUP_B[PARTNER_B] != GROUP_B, LABEL_B, GROUP_B)
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_slopes_add_up_to_the_difference_between_the_ends() -> None:
    """The integral over the path is what the prediction changes from one patient to the other."""
    classify, x_BKD = classifier(2), representation()
    times = (torch.arange(400, dtype=torch.float64) + 0.5) / 400
    integral_BC = sum(slopes(x_BKD[PARTNER_B], x_BKD, t, classify).detach() for t in times) / 400
    prob_BC = classify(x_BKD).softmax(dim=2).mean(dim=1)
    torch.testing.assert_close(integral_BC, prob_BC - prob_BC[PARTNER_B], atol=1e-5, rtol=0)


@given(
    labels=st.lists(st.integers(0, 2), min_size=1, max_size=30),
    seed=st.integers(0, 1000),
)
def test_partners_stand_in_a_ring_per_class(labels: list[int], seed: int) -> None:
    label_B = torch.tensor(labels)
    order_B = torch.rand(len(labels), generator=torch.Generator().manual_seed(seed))
    partner_B = partners(label_B, order_B)
    assert sorted(partner_B.tolist()) == list(range(len(labels)))
    for b, partner in enumerate(partner_B.tolist()):
        assert labels[partner] == labels[b]
        assert (partner == b) == (labels.count(labels[b]) == 1)


def test_the_gradient_reaches_the_classifier_and_the_representation() -> None:
    classify, x_BKD = classifier(2).float(), representation().float().requires_grad_()
    objective = FairMixup(torch.tensor([5, 2, 1]), FairMixup.Config(strength=2.0))
    penalty = objective.penalty(x_BKD, classify, LABEL_B, GROUP_B)
    gradients = torch.autograd.grad(penalty, [x_BKD, *classify.parameters()], allow_unused=True)
    last_bias = gradients[-1]
    assert last_bias is not None  # moves the point of the softmax, though no slope of the logits
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)


def test_strength_scales_and_one_group_has_no_paths() -> None:
    classify, x_BKD = classifier(2), representation()

    def penalty(strength: float, group_B: Tensor) -> float:
        torch.manual_seed(3)
        objective = FairMixup(torch.tensor([5, 2, 1]), FairMixup.Config(strength=strength))
        return objective.penalty(x_BKD, classify, LABEL_B, group_B).item()

    assert penalty(2.0, GROUP_B) == pytest.approx(2 * penalty(1.0, GROUP_B))
    assert penalty(1.0, GROUP_B) > 0
    assert penalty(1.0, torch.zeros_like(GROUP_B)) == 0


def test_half_precision_is_raised_inside_autocast() -> None:
    classify, x_BKD = classifier(2).float(), representation().to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        slope_BC = slopes(x_BKD[PARTNER_B], x_BKD, torch.tensor(0.5), classify)
    assert slope_BC.dtype == torch.float32
