"""A robust objective in one's own training loop: per-patient losses and groups in, a scalar out."""

import torch
import torch.nn.functional as F

from remind.objectives import make_objective

torch.manual_seed(0)
x = torch.randn(600, 5)
present = torch.rand(600, 5) < torch.tensor([0.95, 0.9, 0.9, 0.5, 0.2])
label = (x[:, 0] + x[:, 3] * present[:, 3] > 0).long()

patterns, group, counts = present.unique(dim=0, return_inverse=True, return_counts=True)
objective = make_objective("long_tail_dro", counts_G=counts, patterns_GM=patterns)
model = torch.nn.Linear(10, 2)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)

for _ in range(30):
    for rows in torch.randperm(600).split(100):
        inputs = torch.cat([x[rows] * present[rows], present[rows].float()], dim=1)
        losses = F.cross_entropy(model(inputs), label[rows], reduction="none")
        robust = objective(losses, group[rows])
        optimizer.zero_grad()
        robust.loss.backward()
        optimizer.step()

print(f"{len(counts)} combinations, loss {robust.loss.item():.3f}")
print(f"largest weight {robust.weight_G.max().item():.3f}")
