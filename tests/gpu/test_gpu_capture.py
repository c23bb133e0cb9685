"""Projected gradients of a model on a GPU: those of the CPU to rounding, whatever shares the batch, with graphs and all."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

import motive_kernels as mk

diffusers = pytest.importorskip("diffusers")
TRANSFORMER = pytest.importorskip("tests.tiny_wan").TRANSFORMER
LATENTS = (16, 3, 4, 8)


@pytest.fixture(autouse=True)
def full_float32() -> Iterator[None]:
    """No tf32, which convolutions take by default, and plain attention: what is left is the order of sums."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    with sdpa_kernel(SDPBackend.MATH):
        yield
    torch.backends.cudnn.allow_tf32 = before


def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return diffusers.WanTransformer3DModel(**TRANSFORMER).eval()


def clips(count: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(count, *LATENTS, generator=generator),
        torch.linspace(100, 900, count),
        torch.randn(count, 7, TRANSFORMER["text_dim"], generator=generator),
    )


def vectors(device: str, dtype: torch.dtype, route: str, batches: tuple[int, ...], impl: str | None = None) -> Tensor:
    """Vectors of five clips, taken in batches of these sizes, in float64 on the CPU."""
    transformer = model().to(device, dtype)
    shapes = {name: tuple(p.shape) for name, p in transformer.named_parameters()}
    projector = mk.Projector(mk.ProjectionSpec(), shapes)
    capture = mk.GradientCapture(transformer, projector, route=route, impl=impl)
    latents, time, text = (part.to(device) for part in clips(sum(batches)))
    found, start = [], 0
    for count in batches:
        rows = slice(start, start + count)
        start += count

        def losses(rows: slice = rows) -> Tensor:
            prediction = transformer(latents[rows].to(dtype), time[rows], text[rows].to(dtype), return_dict=False)[0]
            return mk.weighted_loss(prediction.float(), latents[rows])[0]

        found.append(capture(losses).cpu().double())
    return torch.cat(found)


@cache
def on_cpu() -> Tensor:
    return vectors("cpu", torch.float32, "auto", (1, 1, 1, 1, 1))


def error(found: Tensor, wanted: Tensor) -> float:
    return float(((found - wanted).norm(dim=1) / wanted.norm(dim=1)).max())


@pytest.mark.parametrize("batches", [(1, 1, 1, 1, 1), (5,), (2, 3)], ids=str)
@pytest.mark.parametrize("route", ["auto", "factorized", "stream"])
def test_vectors_are_those_of_the_cpu(route: str, batches: tuple[int, ...]) -> None:
    """Every route and batch size; what is left is the rounding of float32 products in another order."""
    assert error(vectors("cuda", torch.float32, route, batches), on_cpu()) < 1e-4


@pytest.mark.parametrize("impl", ["cuda", "triton"])
def test_languages_agree(impl: str) -> None:
    assert error(vectors("cuda", torch.float32, "auto", (5,), impl), on_cpu()) < 1e-4


def test_16_bit_vectors_are_near() -> None:
    """A model in bfloat16 loses what bfloat16 loses, and no more with one batch size than with another."""
    alone, together = (vectors("cuda", torch.bfloat16, "auto", batches) for batches in ((1, 1, 1, 1, 1), (5,)))
    assert error(alone, on_cpu()) < 0.15
    assert error(together, alone) < 0.1


def test_a_pass_in_a_graph_gives_the_same_vectors() -> None:
    transformer = model().cuda()
    projector = mk.Projector(mk.ProjectionSpec(), {name: tuple(p.shape) for name, p in transformer.named_parameters()})
    capture = mk.GradientCapture(transformer, projector)
    latents, time, text = (part.cuda() for part in clips(3))

    def losses() -> Tensor:
        return mk.weighted_loss(transformer(latents, time, text, return_dict=False)[0].float(), latents)[0]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            wanted = capture(losses)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = capture(losses)
    graph.replay()
    torch.cuda.synchronize()
    assert error(found.cpu().double(), wanted.cpu().double()) < 1e-4
