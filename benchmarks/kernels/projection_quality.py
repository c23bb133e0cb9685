"""Error of projected cosines for every projection type, on per-sample gradients of a small transformer.

    python -m benchmarks.kernels.projection_quality [--dims 128 512 2048] [--seeds 3]

A causal transformer is trained for a moment on sequences of a few repeating patterns; the cosines are those of query
gradients with training gradients. Printed: root mean square error and Spearman correlation, averaged over seeds.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

import torch
from torch import Tensor, nn

import motive_kernels as mk

VOCABULARY, WIDTH, TOKENS, SAMPLES, QUERIES = 64, 96, 32, 160, 24


class Block(nn.Module):
    """Attention and a feed-forward layer, both after normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (y.unflatten(-1, (4, -1)).transpose(-3, -2) for y in self.qkv(self.norm1(x)).chunk(3, -1))
        attended = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(attended.transpose(-3, -2).flatten(-2))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


def model_and_data() -> tuple[nn.Module, Tensor]:
    """A briefly trained model, and sequences [SAMPLES + QUERIES, TOKENS + 1]."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(VOCABULARY, WIDTH), *(Block() for _ in range(4)), nn.Linear(WIDTH, VOCABULARY))
    patterns = torch.randint(VOCABULARY, (12, 8), generator=generator)
    count = SAMPLES + QUERIES
    chosen = patterns[torch.randint(12, (count,), generator=generator)]
    data = chosen.repeat(1, TOKENS // 8 + 1)[:, : TOKENS + 1]
    noise = torch.rand(data.shape, generator=generator) < 0.15
    data = torch.where(noise, torch.randint(VOCABULARY, data.shape, generator=generator), data)
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    for step in range(60):
        batch = data[torch.randint(SAMPLES, (16,), generator=generator)]
        optimiser.zero_grad()
        loss_of(model, batch).backward()
        if step < 59:
            optimiser.step()
    return model, data


def loss_of(model: nn.Module, sequences: Tensor) -> Tensor:
    logits = model(sequences[:, :-1])
    return nn.functional.cross_entropy(logits.flatten(0, 1), sequences[:, 1:].flatten())


def gradients(model: nn.Module, data: Tensor) -> dict[str, Tensor]:
    """Per-sample gradients, name -> [n, *shape]."""
    names = [name for name, _ in model.named_parameters()]
    each = [torch.autograd.grad(loss_of(model, sequence[None]), list(model.parameters())) for sequence in data]
    return {name: torch.stack([grads[j] for grads in each]) for j, name in enumerate(names)}


def cosines(vectors: Tensor) -> Tensor:
    """Of queries with samples."""
    unit = nn.functional.normalize(vectors.double(), dim=1)
    return unit[SAMPLES:] @ unit[:SAMPLES].T


def spearman(a: Tensor, b: Tensor) -> float:
    ranks = torch.stack([x.flatten().argsort().argsort().double() for x in (a, b)])
    return float(torch.corrcoef(ranks)[0, 1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", type=int, nargs="+", default=[128, 512, 2048])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    model, data = model_and_data()
    grads = gradients(model, data)
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    exact = cosines(torch.cat([g.flatten(1) for g in grads.values()], 1))
    total = sum(math.prod(shape) for shape in shapes.values())
    print(f"{total} parameters, {SAMPLES} samples, {QUERIES} queries: root mean square error, Spearman correlation")
    for dim in options.dims:
        rows = 2 ** (int(math.log2(dim)) // 2)
        types: list[tuple[str, dict[str, Any]]] = [
            ("tensor_sketch", {}),
            ("rademacher", {}),
            ("gaussian", {}),
            ("sjlt", {}),
            ("sjlt", {"s": 4}),
            ("fastfood", {}),
            ("kronecker", {"rows": rows}),
        ]
        for type_name, extra in types:
            errors, correlations = [], []
            for seed in range(options.seeds):
                projector = mk.Projector(mk.ProjectionSpec(type_name, dim, seed, extra), shapes)
                got = cosines(projector.project(grads))
                errors.append(float((got - exact).square().mean().sqrt()))
                correlations.append(spearman(got, exact))
            label = type_name + "".join(f" {name}={value}" for name, value in extra.items())
            error, correlation = sum(errors) / len(errors), sum(correlations) / len(correlations)
            print(f"k={dim:<5} {label:20} {error:.4f} {correlation:.4f}", flush=True)


if __name__ == "__main__":
    main()
