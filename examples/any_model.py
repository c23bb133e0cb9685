"""Find the training samples that shape an answer: the kernels alone, for a model that has nothing to do with video.

    python examples/any_model.py

A small classifier learns four kinds of waves. Each training sample's gradient becomes 256 numbers as it is computed, the
test samples' likewise, and a fused search finds the training samples that would lower a test sample's loss the most.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

import motive_kernels as mk

KINDS, STEPS = 4, 64


def waves(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noisy sines of one, two, three or four periods at any phase: [count, STEPS], and which [count]."""
    labels = torch.arange(count) % KINDS
    phases = 2 * torch.pi * torch.rand(count, 1, generator=generator)
    time = torch.linspace(0, 2 * torch.pi, STEPS)
    clean = torch.sin((labels[:, None] + 1) * time + phases)
    return clean + 0.5 * torch.randn(count, STEPS, generator=generator), labels


def trained(x: Tensor, labels: Tensor) -> nn.Module:
    """A classifier after two hundred steps."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(STEPS, 128), nn.GELU(), nn.LayerNorm(128), nn.Linear(128, KINDS))
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(200):
        optimiser.zero_grad()
        functional.cross_entropy(model(x), labels).backward()
        optimiser.step()
    return model


def main() -> float:
    """Print what was found; returns precision@10: how many of the best ten are of the test sample's kind."""
    generator = torch.Generator().manual_seed(0)
    x, labels = waves(2000, generator)
    asked, asked_labels = waves(40, generator)
    model = trained(x, labels)

    projector = mk.Projector(mk.ProjectionSpec(dim=256), {name: p.shape for name, p in model.named_parameters()})
    capture = mk.GradientCapture(model, projector)

    def vectors(inputs: Tensor, targets: Tensor) -> Tensor:
        return capture(lambda: functional.cross_entropy(model(inputs), targets, reduction="none"))

    store = torch.cat([vectors(x[start : start + 500], labels[start : start + 500]) for start in range(0, 2000, 500)])
    queries = functional.normalize(vectors(asked, asked_labels), dim=1)

    # As bytes, a quarter of the memory: the length of each vector is folded into its scale, so scores are cosines.
    values, scales = mk.quantize_rows(store)
    scores, best = mk.topk_dot(queries, values, 10, scales=scales)

    share = float((labels[best] == asked_labels[:, None]).float().mean())
    count = sum(p.numel() for p in model.parameters())
    print(
        f"{len(store)} gradients of {count} parameters, kept as {values.shape[1]} bytes each; {projector.identity[:60]}"
    )
    print(f"best for the first test sample: {best[0].tolist()}, cosines {scores[0, 0]:.2f} to {scores[0, -1]:.2f}")
    print(f"of the same kind among the best ten: {share:.0%} (by chance {1 / KINDS:.0%})")
    return share


if __name__ == "__main__":
    main()
