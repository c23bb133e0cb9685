"""Cost of encoding a clip and a caption: the video encoders and text encoders of full-size models, random weights.

    python -m benchmarks.pipeline.encoders [--models wan2.1-1.3b,ltx-2b] [--quick] [--rehearse] [--out DIR] [--again]

Both are done once a clip and cached, so they are timed apart from the gradient pass.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

import torch

from benchmarks.harness.device import Meter, Setting, measure, memory_of, parse
from benchmarks.harness.rows import Record, Sink
from benchmarks.pipeline.models import MODELS, FullModel, random_component, small


def video_rows(model: FullModel, setting: Setting) -> Iterator[Record]:
    """A row for each clip size and type of weights."""
    for dtype in (torch.float32, torch.bfloat16):
        vae: Any = random_component(model.vae, setting.device, dtype).requires_grad_(False)
        for clip in ("preview", "full"):
            clip_spec = model.clips[clip]
            shape = (1, 3, clip_spec.frames, clip_spec.height, clip_spec.width)
            frames = setting.random(*shape, dtype=dtype).clamp_(-1, 1)
            about = {"op": "encode", "impl": model.vae[1], "model": model.name, "clip": clip,
                     "dtype": str(dtype).removeprefix("torch."), "shape": list(shape)}  # fmt: skip

            @torch.no_grad()
            def run(vae: Any = vae, frames: torch.Tensor = frames) -> None:
                vae.encode(frames)

            yield {**about, **_timed(run, setting)}
        del vae


def text_rows(model: FullModel, setting: Setting) -> Iterator[Record]:
    """A row for one caption, and one for eight."""
    dtype = torch.float32 if setting.rehearsal else torch.bfloat16
    encoder: Any = random_component(model.text_encoder, setting.device, dtype).requires_grad_(False)
    for captions in (1, 8):
        shape = (captions, model.text[0])
        ids = torch.randint(2, model.text_encoder[2]["vocab_size"], shape, device=setting.device)
        mask = torch.ones_like(ids)

        @torch.no_grad()
        def run(ids: torch.Tensor = ids, mask: torch.Tensor = mask) -> None:
            encoder(ids, mask)

        about = {"op": "encode", "impl": model.text_encoder[1], "model": model.name, "clip": f"{captions} captions",
                 "dtype": str(dtype).removeprefix("torch."), "shape": list(shape)}  # fmt: skip
        yield {**about, **_timed(run, setting)}


def _timed(run: Any, setting: Setting) -> Record:
    try:
        with memory_of(setting.device) as memory:
            times = measure(run, setting, 1 if setting.rehearsal else 3)
    except torch.OutOfMemoryError as error:
        return {"not_measured": str(error).splitlines()[0][:160]}
    return {**times, **memory, **Meter(setting.device).clocks()}


def show(row: Record) -> None:
    figure = f"{row['ms_median']:10.2f} ms" if "ms_median" in row else row["not_measured"]
    print(f"{row['model']:16} {row['impl']:24} {row['clip']:12} {row['dtype']:9} {figure}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    def extend(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--models", default=",".join(MODELS), help="which, with commas between them")

    setting, options = parse(__doc__ or "", arguments, extend)
    if setting is None:
        return 0
    sink = Sink(options.out, setting.common("pipeline"), show, options.again)
    for name in options.models.split(","):
        model = small(MODELS[name]) if setting.rehearsal else MODELS[name]
        sink.take(f"encode/{name}/video", video_rows(model, setting))
        # The 2.2 model has the text encoder of 2.1.
        if name != "wan2.2-ti2v-5b":
            sink.take(f"encode/{name}/text", text_rows(model, setting))
    return 0


if __name__ == "__main__":
    sys.exit(main())
