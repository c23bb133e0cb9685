"""Every CUDA kernel once on small and odd shapes: what compute-sanitizer and ncu run.

    compute-sanitizer --tool memcheck python -m benchmarks.kernels.gpu_small

--rehearse runs the C++ kernels on the same shapes instead.
"""

from __future__ import annotations

import argparse
import sys

import torch

import motive_kernels as mk

DTYPES = (torch.float32, torch.bfloat16, torch.float16)

CASES = [
    ("tensor_sketch", 37, {}, (41, 67)),
    ("tensor_sketch", 512, {}, (70, 2600)),
    ("tensor_sketch", 512, {}, (1100, 40)),
    ("tensor_sketch", 1000, {}, (9, 1200)),
    ("tensor_sketch", 2048, {}, (9, 2400)),
    ("tensor_sketch", 4096, {}, (5, 4200)),
    ("tensor_sketch", 5000, {}, (5, 64)),
    ("fastfood", 64, {"tile": 256}, (9, 67)),
    ("rademacher", 70, {}, (9, 67)),
    ("gaussian", 70, {}, (9, 67)),
    ("sjlt", 70, {"s": 3}, (9, 67)),
    ("sjlt", 13000, {}, (9, 67)),
]
"""Kind, dim, options, shape."""


def projections(device: str, impl: str) -> None:
    """Flat and token route of every kind and width."""
    for kind, dim, options, shape in CASES:
        projector = mk.Projector(mk.ProjectionSpec(kind, dim, 0, options), {"w": shape, "b": shape[1:]})
        for dtype in DTYPES:
            grad = torch.randn(2, *shape, device=device).to(dtype)
            z = projector.project({"w": grad, "b": grad[:, 0]}, impl=impl)
            require_finite(z, kind, dim, dtype)
            if kind == "tensor_sketch":
                x, dy = (torch.randn(2, 19, width, device=device).to(dtype) for width in (shape[1], shape[0]))
                lengths = torch.tensor([19, 3], device=device)
                projector.project_outer_into(z, "w", x, dy, lengths, impl=impl)
                projector.project_outer_into(z, "w", x[:, 1:, :], dy[:, 1:, :], impl=impl)
                require_finite(z, kind, dim, dtype)


def require_finite(z: torch.Tensor, *case: object) -> None:
    if not z.isfinite().all():
        raise RuntimeError(f"benchmarks: vectors must be finite, got {z} for {case}; run tests/gpu")


def weighting(device: str, impl: str) -> None:
    """Loss, noise and motion weights, with and without wide loads."""
    for dtype in DTYPES:
        for cells in ((3, 8, 16), (3, 5, 7)):
            prediction, target = (torch.randn(2, 4, *cells, device=device).to(dtype) for _ in range(2))
            mk.weighted_loss(prediction, target, torch.rand(2, *cells, device=device), impl=impl)
            mk.noise_latents(prediction, target[0], torch.rand(2, device=device), impl=impl)
        for flow in (torch.randn(2, 5, 24, 40, 2, device=device), torch.randn(2, 5, 13, 7, 2, device=device)):
            for order, spatial in (("normalise_first", "bilinear"), ("resize_first", "area")):
                mk.motion_weights(flow.to(dtype), (3, 6, 5), order=order, spatial=spatial, impl=impl)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rehearse", action="store_true", help="the C++ kernels, on the CPU")
    where = ("cpu", "cpp") if parser.parse_args(arguments).rehearse else ("cuda", "cuda")
    projections(*where)
    weighting(*where)
    if where[0] == "cuda":
        torch.cuda.synchronize()
    print(f"every {where[1]} kernel ran")
    return 0


if __name__ == "__main__":
    sys.exit(main())
