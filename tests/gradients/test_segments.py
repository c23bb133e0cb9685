"""Segments: their vectors add up to the clip's, each is that of its weights, and regions lie where they are."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import nn

import motive_kernels as mk
from motive.adapters.base import Adapter
from motive.adapters.toy import ToyAdapter, toy_transformer
from motive.data.video.clip_spec import ClipSpec
from motive.errors import ClipError, OptionError
from motive.gradients.clips import ClipGradients, EncodedClip
from motive.gradients.draws import DrawConfig
from motive.gradients.segments import Segments, check_segments, clip_segments, time_windows

SHAPE = (28, 3, 4, 4)
GRID = SHAPE[1:]


@pytest.fixture(scope="module")
def adapter() -> Adapter:
    return ToyAdapter()


@pytest.fixture(scope="module")
def transformer() -> nn.Module:
    model = toy_transformer(0).eval()
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    return model


def clip(seed: int, segments: Segments | None) -> EncodedClip:
    generator = torch.Generator().manual_seed(seed)
    return EncodedClip(
        torch.randn(SHAPE, generator=generator),
        torch.rand(GRID, generator=generator),
        {"text": torch.randn(32, 64, generator=generator)},
        segments,
    )


def soft(count: int) -> Segments:
    shares = np.random.default_rng(count).random((count, *GRID)).astype(np.float32)
    return Segments(tuple(f"r{j}" for j in range(count)), shares / shares.sum(0))


def gradients(
    adapter: Adapter, model: nn.Module, combine: Literal["mean", "normalized-mean", "concat"]
) -> ClipGradients:
    shapes = {f"transformer.{name}": p.shape for name, p in model.named_parameters()}
    projector = mk.Projector(mk.ProjectionSpec(dim=32), shapes)
    draws = DrawConfig("uniform", count=2, combine=combine)
    return ClipGradients(adapter, model, projector, draws, micro_batch_draws=2)


@pytest.mark.parametrize("combine", ["mean", "normalized-mean", "concat"])
def test_vectors_of_segments_add_up_to_the_clips(
    adapter: Adapter, transformer: nn.Module, combine: Literal["mean", "normalized-mean", "concat"]
) -> None:
    """In a batch of clips with two windows, three soft regions and none; also the losses."""
    take = gradients(adapter, transformer, combine)
    ways = [time_windows(2, GRID), soft(3), None]
    found = take([clip(seed, segments) for seed, segments in enumerate(ways)])
    whole = [gradients(adapter, transformer, combine)([clip(seed, None)])[0] for seed in range(3)]
    for segments, got, want in zip(ways, found, whole, strict=True):
        assert (got.vector - want.vector).norm() < 1e-4 * want.vector.norm()
        assert got.loss == pytest.approx(want.loss, rel=1e-5)
        assert got.norm == pytest.approx(want.norm, rel=1e-4)
        assert tuple(got.segments) == (segments.names if segments else ())
        if segments:
            total = torch.stack([part.vector for part in got.segments.values()]).sum(0)
            assert (total - want.vector).norm() < 1e-4 * want.vector.norm()
            assert sum(part.loss for part in got.segments.values()) == pytest.approx(want.loss, rel=1e-5)


def test_a_segments_vector_is_the_gradient_of_its_own_weights(adapter: Adapter, transformer: nn.Module) -> None:
    whole, segments = clip(0, soft(3)), soft(3)
    got = gradients(adapter, transformer, "mean")([whole])[0]
    for name, share in zip(segments.names, segments.shares, strict=True):
        alone = EncodedClip(whole.latents, whole.weights * torch.from_numpy(share), whole.conditioning)
        want = gradients(adapter, transformer, "mean")([alone])[0]
        assert (got.segments[name].vector - want.vector).norm() < 1e-4 * want.vector.norm()


def test_segments_share_one_forward_pass(adapter: Adapter, transformer: nn.Module) -> None:
    take = gradients(adapter, transformer, "concat")
    take([clip(0, soft(3))])  # the checks of the first pass are over
    passes: list[int] = []
    handle = transformer.register_forward_hook(lambda *_: passes.append(1))
    take([clip(0, soft(3))])
    handle.remove()
    assert len(passes) == 1


def test_windows_of_time_are_disjoint_and_cover_the_clip() -> None:
    segments = time_windows(4, (21, 2, 3))
    assert segments.names == ("t0", "t1", "t2", "t3")
    assert np.array_equal(segments.shares.sum(0), np.ones((21, 2, 3), np.float32))
    assert [int(share[:, 0, 0].sum()) for share in segments.shares] == [6, 5, 5, 5]


STANDARD = ClipSpec(fps=4.0, frames=9, height=32, width=64)
REGION_GRID = (3, 4, 8)


def regions(folder: Path, masks: dict[str, np.ndarray], seconds: float = 2.25) -> Segments:
    save_file(masks, folder / "clip.regions.safetensors")
    found = clip_segments("regions", folder / "clip.mp4", {"source_seconds": seconds}, STANDARD, REGION_GRID)
    assert found is not None
    return found


@pytest.mark.parametrize("size", [(96, 160), (96, 233), (48, 80)])
def test_regions_of_a_clip_whose_pixels_are_not_square(tmp_path: Path, size: tuple[int, int]) -> None:
    """A mask covers the displayed picture (233x96), whether it has the size that is stored, displayed or another."""
    facts = {"source_seconds": 2.25, "source_height": 96, "source_width": 160, "sample_aspect": "16:11"}
    mask = np.zeros(size, np.float32)
    mask[:, size[1] // 2 :] = 1
    mask[:, -size[1] // 8 :] = 0
    save_file({"right": mask}, tmp_path / "clip.regions.safetensors")
    wide = ClipSpec(fps=4.0, frames=9, height=96, width=192)
    found = clip_segments("regions", tmp_path / "clip.mp4", facts, wide, (3, 1, 192))
    assert found is not None
    share = found.shares[0, 0, 0]
    # The picture is 232.7 wide and cropped to 192: its middle stays at 96, seven eighths of it come to 183.
    assert share[:95].max() == 0
    assert share[98:181].min() > 0.99
    assert share[186:].max() == 0


@pytest.mark.parametrize("kind", [np.bool_, np.uint8, np.float32])
def test_regions_lie_where_their_masks_are(tmp_path: Path, kind: type) -> None:
    """A square that moves right by a cell each latent frame, at twice the clip's rate."""
    mask = np.zeros((18, 32, 64), kind)
    for t in range(18):
        j = -(-(t // 2) // 4)  # latent frame of the standardised frame
        mask[t, 8:16, 8 * (j + 1) : 8 * (j + 2)] = 1
    segments = regions(tmp_path, {"ball": mask})
    assert segments.names == ("ball", "rest")
    expected = np.zeros(REGION_GRID, np.float32)
    for j in range(3):
        expected[j, 1, j + 1] = 1
    np.testing.assert_allclose(segments.shares[0], expected, atol=1e-6)
    np.testing.assert_allclose(segments.shares.sum(0), 1, atol=1e-6)


def test_overlapping_regions_share_and_still_ones_hold_for_the_whole_clip(tmp_path: Path) -> None:
    left = np.zeros((32, 64), np.uint8)
    left[:, :32] = 255
    segments = regions(tmp_path, {"a": left, "b": np.ones((32, 64), np.float32)})
    np.testing.assert_allclose(segments.shares[0, :, 0, 0], 0.5)
    np.testing.assert_allclose(segments.shares[1, :, 0, 7], 1.0)
    np.testing.assert_allclose(segments.shares[2], 0.0, atol=1e-6)


@pytest.mark.parametrize(
    "masks",
    [
        {"a": np.ones(4, np.float32)},
        {"a": np.full((4, 4), 2.0, np.float32)},
        {"a": np.full((4, 4), np.nan, np.float32)},
        {"rest": np.ones((4, 4), np.float32)},
        {"a#b": np.ones((4, 4), np.float32)},
    ],
)
def test_bad_regions_are_a_reason_of_the_clip(tmp_path: Path, masks: dict[str, np.ndarray]) -> None:
    with pytest.raises(ClipError, match="must") as refused:
        regions(tmp_path, masks)
    assert refused.value.reason == "bad_regions"


def test_a_missing_or_damaged_file_of_regions_is_a_reason_of_the_clip(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    for content, reason in ((None, "no_regions"), (b"no safetensors", "bad_regions")):
        if content is not None:
            (tmp_path / "clip.regions.safetensors").write_bytes(content)
        with pytest.raises(ClipError) as refused:
            clip_segments("regions", path, {"source_seconds": 1.0}, STANDARD, REGION_GRID)
        assert refused.value.reason == reason


@pytest.mark.parametrize("text", ["time", "time:1", "time:9", "time:x", "windows:3", "regions:2"])
def test_other_ways_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match="segments: "):
        check_segments(text, 5)
    check_segments("time:5", 5)
    check_segments("regions", 5)
    check_segments("", 5)
