"""Logit adjustment: cross entropy of f_y + tau log of the group's prior."""

# B patients of a batch, K members, C classes, G groups

import math

import pytest
import torch
import torch.nn.functional as F

from remind.objectives import LogitAdjustment, make_objective

LABELS = [0, 0, 0, 1, 0, 1, 1, 1, 0]
GROUPS = [0, 0, 0, 0, 0, 1, 1, 1, 2]
COUNTS_G = torch.tensor([5, 3, 1])


def build(**options: float) -> LogitAdjustment:
    objective = LogitAdjustment(COUNTS_G, LogitAdjustment.Config(**options))
    objective.begin(torch.tensor(LABELS), torch.tensor(GROUPS))
    return objective


def prior(group: int, label: int, worth: float, num_classes: int) -> float:
    """(n_gy + m pi_y) / (n_g + m), pi_y = (n_y + 1) / (N + C)."""
    overall = (LABELS.count(label) + 1) / (len(LABELS) + num_classes)
    members = [y for y, g in zip(LABELS, GROUPS, strict=True) if g == group]
    return (members.count(label) + worth * overall) / (len(members) + worth)


@pytest.mark.parametrize("tau", [1.0, 0.4])
@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_loss_equals_its_definition(tau: float, num_classes: int) -> None:
    """For every member, a class that training does not have and an unseen group included."""
    objective = build(tau=tau, prior_patients=2.0)
    groups, labels = [0, 1, 2, -1], [0, 1, 1, 0]
    logits_BKC = torch.randn(4, 2, num_classes, dtype=torch.float64)
    adjusted_BKC = objective.adjust(logits_BKC, torch.tensor(groups))
    for b, (group, label) in enumerate(zip(groups, labels, strict=True)):
        priors = [prior(group, y, 2.0, num_classes) for y in range(num_classes)]
        assert sum(priors) == pytest.approx(1)
        for logits_C, found_C in zip(logits_BKC[b], adjusted_BKC[b], strict=True):
            raised = [
                math.exp(float(logit)) * p**tau for logit, p in zip(logits_C, priors, strict=True)
            ]
            expected = -math.log(raised[label] / sum(raised))
            loss = F.cross_entropy(found_C, torch.tensor(label))
            assert float(loss) == pytest.approx(expected, rel=1e-9)


def test_a_model_that_knows_the_group_alone_learns_that_classes_are_equally_common() -> None:
    """The minimum over a free logit per group and class is uniform, however common a class is."""
    objective = build(prior_patients=1e-9)
    label_B, group_B = torch.tensor(LABELS[:5]), torch.tensor(GROUPS[:5])
    logits_BKC = torch.zeros(5, 1, 2, dtype=torch.float64, requires_grad=True)
    loss = F.cross_entropy(objective.adjust(logits_BKC, group_B)[:, 0], label_B)
    (gradient_BKC,) = torch.autograd.grad(loss, logits_BKC)
    assert gradient_BKC.sum(dim=0).abs().max() < 1e-9
    assert gradient_BKC.abs().max() > 0.01


def test_tau_0_is_erm_and_precision_is_kept() -> None:
    logits_BKC = torch.randn(9, 2, 2).to(torch.bfloat16)
    adjusted_BKC = build(tau=0.0).adjust(logits_BKC, torch.tensor(GROUPS))
    assert torch.equal(adjusted_BKC, logits_BKC)
    assert adjusted_BKC.dtype == torch.bfloat16


def test_labels_must_be_told_first() -> None:
    objective = make_objective("logit_adjustment", counts_G=COUNTS_G)
    with pytest.raises(ValueError, match=r"needs labels: call begin\(label_N, group_N\) first"):
        objective.adjust(torch.zeros(1, 1, 2), torch.tensor([0]))
