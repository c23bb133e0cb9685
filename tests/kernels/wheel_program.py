"""Uses an installed wheel as a newcomer would, and tells where it came from: python wheel_program.py."""

from __future__ import annotations

import json
import sys

import numpy
import torch

import motive
import motive_kernels as mk


def main() -> None:
    projector = mk.Projector(mk.ProjectionSpec(dim=32), {"w": (40, 50)})
    grads = {"w": numpy.arange(2 * 40 * 50, dtype=numpy.float32).reshape(2, 40, 50) / 4000}
    z = projector.project(grads, impl="cpp")
    torch.testing.assert_close(z, projector.project(grads, impl="torch"), rtol=0, atol=1e-4)
    x, dy = torch.randn(2, 3, 50), torch.randn(2, 3, 40)
    token, flat = projector.zeros(2), torch.einsum("nto,nti->noi", dy, x)
    projector.project_outer_into(token, "w", x, dy, impl="cpp")
    torch.testing.assert_close(token, projector.project({"w": flat}, impl="cpp"), rtol=0, atol=1e-3)
    loss, _ = mk.weighted_loss(torch.ones(1, 2, 2, 3, 4), torch.zeros(1, 2, 2, 3, 4), torch.ones(1, 2, 3, 4))
    facts = {
        "places": [motive.__file__, mk.__file__],
        "identity": projector.identity,
        "loss": loss.item(),
        "implementations": mk.implementations()["tensor_sketch_into"],
        "loaded": sorted(set(sys.modules) & {"triton", "scipy", "cv2", "av", "diffusers", "transformers", "pyarrow"}),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
