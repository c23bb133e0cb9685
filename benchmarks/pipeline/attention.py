"""Speed of torch's attention back ends at a model's shape, forward and backward, relative to the ceiling."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.harness.device import Setting, measure
from benchmarks.harness.rows import Record
from benchmarks.pipeline.models import FullModel

BACKENDS = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}


def attention_rows(model: FullModel, tokens: int, setting: Setting) -> Iterator[Record]:
    """A row for each back end: self attention of one clip, forward and backward."""
    config = model.transformer[2]
    heads, width = config["num_attention_heads"], config["attention_head_dim"]
    dtype = torch.float32 if setting.rehearsal else torch.bfloat16
    q, k, v = (setting.random(1, heads, tokens, width, dtype=dtype).requires_grad_(True) for _ in range(3))
    seed = torch.randn_like(q)
    flops = 3.5 * 4 * heads * width * float(tokens) ** 2
    for name, backend in BACKENDS.items():
        about = {"op": "attention", "impl": name, "model": model.name, "dtype": str(dtype).removeprefix("torch."),
                 "shape": [1, heads, tokens, width], "flops": flops, "bytes": 4 * q.nbytes}  # fmt: skip

        def run(backend: SDPBackend = backend) -> None:
            with sdpa_kernel(backend):
                out = scaled_dot_product_attention(q, k, v)
            torch.autograd.grad(out, (q, k, v), seed)

        try:
            run()
        except RuntimeError as error:
            yield {**about, "not_measured": str(error).splitlines()[0][:120]}
            continue
        yield {**about, **measure(run, setting, 1 if setting.rehearsal else 5)}


def fastest(rows: list[Record]) -> SDPBackend | None:
    """The back end with the least time, or None if none was measured."""
    there = [row for row in rows if "ms_median" in row]
    return BACKENDS[min(there, key=lambda row: row["ms_median"])["impl"]] if there else None
