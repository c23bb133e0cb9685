"""Projected gradients of every family equal the loop of backward passes: every route, dtype and batch, ragged captions,
with checkpointing and compilation; they repeat to the bit, and one bad sample spoils no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

import motive_kernels as mk
from motive.adapters import Adapter, batch_conditioning, load_adapter
from motive.adapters.base import Conditioning
from motive_kernels.capture import scope
from motive_kernels.capture.loop import per_sample_gradients
from tests.tiny_pipelines import FAMILIES, shorten_captions

CASES = ("toy", "wan", *FAMILIES, "beside, embedded", "inside")
CAPTIONS = ("a red disc before a wall", "", "the blue square and a floor in soft light", "a", "the " * 30)
SIGMAS = (0.1, 0.3, 0.5, 0.7, 0.9)
DIM = 32
ROUTES = {"factorized": "factorized", "materialized": "auto", "stream": "stream"}
"""Name -> the capture's route; for the second, forming every gradient is made the cheaper form."""
ERROR = {"float32": 1e-4, "bfloat16": 0.06}
"""Of a vector, relative to its length: bfloat16 rounds every gradient of the loop's too."""


class Model:
    """One family's tiny transformer in one dtype, with five samples.

    Args:
        adapter: of that dtype.
        conditioning: of the captions.
    """

    def __init__(self, adapter: Adapter, conditioning: list[Conditioning], seed: int) -> None:
        self.adapter = adapter
        frames, side = (13 if adapter.family == "mochi" else 9), (64 if adapter.clip_spec.height == 704 else 32)
        shape = adapter.latent_shape(replace(adapter.clip_spec, frames=frames, height=side, width=side))
        generator = torch.Generator().manual_seed(seed)
        self.noisy = torch.randn(len(CAPTIONS), *shape, generator=generator)
        self.conditioning = [dict(one) for one in conditioning]
        first = adapter.settings().get("first_frame")
        for one in self.conditioning if first else []:
            frames = shape[1] if first == "beside" else 1
            one["first"] = torch.randn(shape[0], frames, *shape[2:], generator=generator)
            if first == "beside":
                one["image"] = torch.randn(5, 8, generator=generator)
        for one in self.conditioning if adapter.family == "wan-vace" else []:
            one["control"] = torch.randn(shape, generator=generator)
        self.transformer = adapter.load_transformer(adapter.experts[0])
        for name, parameter in self.transformer.named_parameters():
            if not parameter.any():  # fresh models end in zeros, which hide gradients
                torch.manual_seed(len(name))
                nn.init.normal_(parameter, std=0.1)
        # No caption here has a quotation for HunyuanVideo 1.5: four million parameters whose gradient is zero.
        able = (n for n, _ in self.transformer.named_parameters() if adapter.has_gradient(n))
        self.attributed = {
            n: self.transformer.get_parameter(n) for n in able if not n.startswith("context_embedder_2.")
        }
        shapes = {name: tuple(p.shape) for name, p in self.attributed.items()}
        self.projector = mk.Projector(mk.ProjectionSpec(dim=DIM), shapes)

    def losses(self, rows: slice = slice(None), model: nn.Module | None = None) -> Callable[[], Tensor]:
        batch = batch_conditioning(self.conditioning[rows])
        noisy, sigma = self.noisy[rows], torch.tensor(SIGMAS[rows])
        transformer = self.transformer if model is None else model
        return lambda: self.adapter.predict(transformer, noisy, sigma, batch).square().mean((1, 2, 3, 4))

    def taken(self, route: str, losses: Callable[[], Tensor], passes: int = 1) -> tuple[Tensor, dict[str, str]]:
        capture = mk.GradientCapture(self.transformer, self.projector, route=ROUTES[route])
        with mock.patch.object(scope, "factorized_is_cheaper", return_value=route == "factorized"):
            for _ in range(passes):
                z = capture(losses)
        return z, capture.routes

    @cached_property
    def oracle(self) -> Tensor:
        exact = per_sample_gradients(self.transformer, self.losses(), self.attributed)
        return self.projector.project({name: g.double() for name, g in exact.items()}, impl="torch")

    @cached_property
    def tokens(self) -> Tensor:
        """Vectors by the factorized route."""
        return self.taken("factorized", self.losses())[0]

    def close(self, z: Tensor, rows: slice = slice(None)) -> None:
        want = self.oracle[rows]
        error = (z - want).norm(dim=1) / want.norm(dim=1)
        allowed = ERROR[str(self.adapter.settings()["dtype"])]
        assert (error < allowed).all(), f"{self.adapter.family}: {error.tolist()}"


@pytest.fixture(scope="module", params=CASES)
def family(request: pytest.FixtureRequest, tiny_folder: Callable[[str], Path]) -> dict[str, Model]:
    """dtype -> model."""
    model = "toy" if request.param == "toy" else tiny_folder(request.param)
    adapter = load_adapter(model)
    shorten_captions(adapter)
    with adapter.text_encoder() as encode:
        conditioning = encode(CAPTIONS)
    return {dtype: Model(load_adapter(model, dtype=dtype), conditioning, 0) for dtype in ERROR}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("dtype", ERROR)
def test_a_batch_equals_the_loop(family: dict[str, Model], dtype: str, route: str) -> None:
    model = family[dtype]
    z, routes = model.taken(route, model.losses(), passes=2 if route == "factorized" else 1)
    model.close(z)
    kinds = set(routes.values())
    assert kinds == {"stream"} if route == "stream" else route in kinds and "stream" not in kinds


@pytest.mark.parametrize("dtype", ERROR)
def test_a_sample_does_not_depend_on_its_mates(family: dict[str, Model], dtype: str) -> None:
    model = family[dtype]
    for route in ("factorized", "materialized") if dtype == "float32" else ("factorized",):
        model.close(model.taken(route, model.losses(slice(2, 3)))[0], slice(2, 3))


def test_checkpointing_changes_nothing(family: dict[str, Model]) -> None:
    model = family["float32"]
    model.adapter.enable_checkpointing(model.transformer)
    blocks = getattr(model.transformer, "transformer_blocks", None) or model.transformer.get_submodule("blocks")
    passes: list[int] = []
    handle = next(blocks.children()).register_forward_pre_hook(lambda *_: passes.append(1))
    try:
        z = model.tokens
        passes.clear()
        again, _ = model.taken("factorized", model.losses())
        assert len(passes) >= 4, "each forward pass, of the checks and of the vectors, must be done again"
        torch.testing.assert_close(again, z, rtol=1e-5, atol=1e-6 * float(z.abs().max()))
        model.close(again)
    finally:
        handle.remove()
        model.transformer.disable_gradient_checkpointing()


def test_the_backend_of_attention_changes_nothing(family: dict[str, Model]) -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    model = family["float32"]
    with sdpa_kernel([SDPBackend.MATH]):
        z, _ = model.taken("factorized", model.losses(slice(1, 3)))
    model.close(z, slice(1, 3))


def test_vectors_repeat_to_the_bit(family: dict[str, Model]) -> None:
    model = family["float32"]
    assert torch.equal(model.taken("factorized", model.losses())[0], model.tokens)
    rows = slice(2, 4)
    assert torch.equal(*(model.taken("materialized", model.losses(rows))[0] for _ in range(2)))


def test_one_bad_sample_spoils_no_other(family: dict[str, Model]) -> None:
    model = family["float32"]
    kept = model.noisy
    model.noisy = kept.clone()
    model.noisy[1, 0, 1, 0, 0] = torch.nan
    try:
        z, routes = model.taken("factorized", model.losses())
    finally:
        model.noisy = kept
    assert torch.isfinite(z).all(1).tolist() == [True, False, True, True, True]
    good = torch.tensor([0, 2, 3, 4])
    error = (z[good] - model.oracle[good]).norm(dim=1) / model.oracle[good].norm(dim=1)
    assert (error < 1e-4).all()
    assert "stream" not in routes.values()


def test_a_compiled_transformer_gives_the_same(tiny_folder: Callable[[str], Path]) -> None:
    adapter = load_adapter(tiny_folder("wan"))
    with adapter.text_encoder() as encode:
        model = Model(adapter, encode(CAPTIONS), 0)
    _, routes = model.taken("factorized", model.losses())
    compiled = torch.compile(model.transformer, backend="eager")
    with torch.no_grad():
        model.losses(model=compiled)()  # compiled before the capture, as in use
    capture = mk.GradientCapture(compiled, model.projector, route="factorized")
    assert torch.equal(capture(model.losses(model=compiled)), model.tokens)
    assert capture.routes == routes
    torch._dynamo.reset()


def test_inputs_on_another_device_and_of_wrong_shapes_end_in_errors_and_leave_the_model(
    family: dict[str, Model],
) -> None:
    model = family["float32"]
    before = [(p.requires_grad, p.grad) for p in model.transformer.parameters()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.transformer.modules()]
    kept = model.noisy
    try:
        for wrong in (kept.to("meta"), kept[:, :-1], kept[:, :, :, 0]):
            model.noisy = wrong
            with pytest.raises((RuntimeError, ValueError, IndexError)):
                model.taken("factorized", model.losses())
    finally:
        model.noisy = kept
    sigma = torch.full((5,), 0.5)
    for latents, noise in ((kept.to("meta"), kept), (kept, kept[:, :-1])):
        with pytest.raises((RuntimeError, ValueError)):
            model.adapter.add_noise(latents, noise, sigma)
    assert before == [(p.requires_grad, p.grad) for p in model.transformer.parameters()]
    assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.transformer.modules()]
    model.close(model.taken("factorized", model.losses(slice(1, 3)))[0], slice(1, 3))
