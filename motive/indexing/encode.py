"""The first half of a run: captions and clips into latents, masks and text embeddings, through the cache."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from motive.adapters.base import Adapter
from motive.adapters.cache import Cache
from motive.adapters.precomputed.base import Seen
from motive.adapters.precomputed.use import Encode, PrecomputedLatents
from motive.config import to_json
from motive.data import Clip, ClipSpec, DecoderPool, Failure, LoadedClip
from motive.data.media import media_of
from motive.data.video.buckets import ClipSpecs
from motive.data.video.facts import PIXEL_RULES, describe_use
from motive.errors import ClipError
from motive.gradients.clips import EncodedClip
from motive.gradients.segments import clip_segments
from motive.masks import MaskConfig, motion_mask
from motive.workers.in_flight import InFlight


@dataclass(frozen=True)
class Prepared:
    """A clip that is ready for the gradient pass; its tensors lie in the cache.

    Attributes:
        clip: the clip.
        facts: what the index records of it: content_hash, source_fps, magnitude_px_mean, camera, ...
        clip_spec: what it was brought to.
    """

    clip: Clip
    facts: Mapping[str, Any]
    clip_spec: ClipSpec


class Encoder:
    """Reads captions and clips, fills the cache, and gives encoded clips back from it.

    Args:
        adapter: the model family.
        cache: where latents, masks and text embeddings are kept.
        clip_specs: frame rate, length and size of every clip, or of those of each bucket.
        mask: motion mask settings.
        threads: clips decoded ahead in parallel, each in a separate process.
        in_flight: where to note the clips being processed.
        segments: parts of each clip (IndexConfig).
        precomputed: latents to use instead of encoding; None encodes.
    """

    def __init__(
        self,
        adapter: Adapter,
        cache: Cache,
        clip_specs: ClipSpecs,
        mask: MaskConfig,
        threads: int,
        in_flight: InFlight,
        segments: str = "",
        precomputed: PrecomputedLatents | None = None,
    ) -> None:
        self._segments, self._precomputed = segments, precomputed
        self._adapter = adapter
        self._cache = cache
        self._specs = clip_specs
        self._mask = mask
        self._threads = threads
        self._in_flight = in_flight
        self._decoders = DecoderPool(clip_specs)
        self._buckets: dict[str, str | ClipError] = {}
        self._prints = dict(adapter.fingerprints())
        self._settings = dict(adapter.settings())

    def close(self) -> None:
        """End the decoder processes."""
        self._decoders.close()

    def assign(self, clips: Sequence[Clip]) -> dict[str, str]:
        """Id -> bucket of each clip whose file shows it; encode_clips says why the others do not."""
        self._buckets = {}  # those of the last call are not needed again
        with ThreadPoolExecutor(self._threads) as pool:
            found = list(pool.map(self._bucket_of, clips))
        return {clip.clip_id: name for clip, name in zip(clips, found, strict=True) if isinstance(name, str)}

    def _bucket_of(self, clip: Clip) -> str | ClipError:
        """The clip's bucket, found once, or why it has none."""
        if not self._specs.buckets:
            return ""
        if clip.clip_id not in self._buckets:
            try:
                specs = self._specs if self._precomputed is None else self._precomputed.fitting(_video_name(clip))
                found = specs.choose(self._decoders.measure_shape(clip.path), clip.path.name)
            except ClipError as error:
                found = error
            self._buckets[clip.clip_id] = found
        return self._buckets[clip.clip_id]

    def encode_captions(self, captions: Iterable[str]) -> None:
        """Embed every caption that the cache lacks; the text encoder is loaded only if there is one.

        One at a time: the last bits of an embedding must not depend on which captions happened to be missing.
        """
        missing = [c for c in dict.fromkeys(captions) if self._cache.get("text", self._text_key(c)) is None]
        if not missing:
            return
        with self._adapter.text_encoder() as encode:
            for caption in missing:
                self._cache.put("text", self._text_key(caption), encode([caption])[0])

    def encode_clips(self, clips: Sequence[Clip], on_failure: Callable[[Failure], None]) -> Iterator[Prepared | None]:
        """Decode, mask and encode each clip that the cache lacks, in order; None for one that failed.

        The clip is read whole once; decoding and masks run ahead in threads, the video encoder here.
        """
        with self._adapter.clip_encoder() as encode, ThreadPoolExecutor(self._threads) as pool:
            for clip, future in _ahead(pool, self._read, clips, 2 * self._threads):
                try:
                    prepared, loaded = future.result()
                    if loaded is not None:
                        encoded = self._encoded(clip, loaded, encode)
                        if not all(bool(torch.isfinite(value).all()) for value in encoded.values()):
                            detail = self.with_use("the video encoder gave non-finite latents", prepared.facts)
                            raise _StagedError("encode", ClipError("nan_latents", detail))
                        content = prepared.facts["content_hash"]
                        self._cache.put("latents", self._latent_key(content, prepared.clip_spec), encoded)
                except _StagedError as failed:
                    error = failed.error
                    on_failure(Failure(clip.clip_id, str(clip.path), failed.stage, error.reason, error.detail))
                    yield None
                except ClipError as error:
                    on_failure(Failure(clip.clip_id, str(clip.path), "encode", error.reason, error.detail))
                    yield None
                else:
                    yield prepared
                finally:
                    self._in_flight.leave([clip.clip_id])

    def load(self, prepared: Prepared) -> EncodedClip:
        """An encoded clip from the cache.

        Raises:
            ClipError: an entry has gone since it was prepared, or the clip's regions cannot be read.
        """
        content, spec = prepared.facts["content_hash"], prepared.clip_spec
        latents = self._cache.get("latents", self._latent_key(content, spec))
        mask = self._cache.get("mask", self._mask_key(content, spec))
        text = self._cache.get("text", self._text_key(prepared.clip.caption))
        if latents is None or mask is None or text is None:
            raise ClipError("cache_lost", "a cache entry was removed or damaged during the run")
        segments = clip_segments(self._segments, prepared.clip.path, prepared.facts, spec, self._grid(spec))
        seen = {name: value for name, value in latents.items() if name != "latents"}
        return EncodedClip(latents["latents"], mask["weights"], {**text, **seen}, segments)

    def with_use(self, detail: str, facts: Mapping[str, Any]) -> str:
        """A failure's detail and which part of the file the clip shows."""
        return f"{detail} ({describe_use(facts, self._specs.base.fps)})"

    def _encoded(self, clip: Clip, loaded: LoadedClip, encode: Encode) -> Mapping[str, Tensor]:
        """Latents and conditioning of a clip's frames; the latents may be a trainer's."""
        frames = torch.from_numpy(loaded.frames)
        if self._precomputed is None:
            return encode(frames)
        steady = bool((np.diff(loaded.frame_times_s) > 0).all())
        seen = Seen(
            _video_name(clip),
            loaded.used_first,
            loaded.used_last,
            steady,
            len(frames),
            loaded.source_fps,
            loaded.source_height,
            loaded.source_width,
        )
        return self._precomputed.take(seen, frames, encode)

    def _read(self, clip: Clip) -> tuple[Prepared, LoadedClip | None]:
        """(the clip, its frames or None where the cache already has the latents). Runs in a thread."""
        self._in_flight.enter([clip.clip_id])
        with _stage("read"):
            content = content_hash(clip.path)
        bucket = self._bucket_of(clip)
        if isinstance(bucket, ClipError):
            raise _StagedError("decode", bucket)
        spec = self._specs.of(bucket)
        mask = self._cache.get("mask", self._mask_key(content, spec))
        latents = self._cache.get("latents", self._latent_key(content, spec))
        loaded = None
        if mask is None or latents is None:
            with _stage("decode"):
                loaded = self._decoders.load_clip(clip.path, spec)
            with _stage("mask"):
                mask = self._measure(content, loaded, spec)
        facts = json.loads(bytes(mask["facts"].numpy()).decode())
        if facts["static"] and self._mask.weighting == "motion":
            detail = self.with_use("nothing moves in this clip, so it has no motion gradient", facts)
            raise _StagedError("mask", ClipError("static", detail))
        facts |= {"bucket": bucket} if bucket else {}
        return Prepared(clip, facts, spec), loaded if latents is None else None

    def _grid(self, clip_spec: ClipSpec) -> tuple[int, int, int]:
        return self._adapter.latent_shape(clip_spec)[1:]

    def _measure(self, content: str, loaded: LoadedClip, clip_spec: ClipSpec) -> dict[str, Tensor]:
        mask = motion_mask(loaded.frames, clip_spec.fps, self._grid(clip_spec), self._mask)
        facts = {
            "content_hash": content,
            **loaded.columns(),
            "static": mask.static,
            "magnitude_px_mean": mask.magnitude_px_mean,
            "magnitude_px_max": mask.magnitude_px_max,
            "mask_mean": float(mask.weights.mean()),
            "camera": mask.camera.camera if mask.camera else None,
            "camera_residual_share": mask.camera.residual_share if mask.camera else None,
        }
        entry = {
            "weights": torch.from_numpy(mask.weights),
            "facts": torch.frombuffer(bytearray(json.dumps(facts).encode()), dtype=torch.uint8),
        }
        self._cache.put("mask", self._mask_key(content, clip_spec), entry)
        return entry

    def _text_key(self, caption: str) -> dict[str, Any]:
        return {"caption": caption, "encoder": self._prints.get("text_encoder"), "settings": self._settings}

    def _latent_key(self, content: str, clip_spec: ClipSpec) -> dict[str, Any]:
        return {
            "content": content,
            "clip_spec": to_json(clip_spec),
            "pixels": PIXEL_RULES,
            "encoder": self._prints.get("vae", "") + self._prints.get("image_encoder", ""),
            "settings": self._settings,
            **({} if self._precomputed is None else {"latents": dict(self._precomputed.identity())}),
        }

    def _mask_key(self, content: str, clip_spec: ClipSpec) -> dict[str, Any]:
        return {
            "content": content,
            "clip_spec": to_json(clip_spec),
            "pixels": PIXEL_RULES,
            "mask": to_json(self._mask),
            "grid": list(self._grid(clip_spec)),
        }


def _video_name(clip: Clip) -> Path:
    """The video's path, or its name in an archive: what a trainer's latents are found by."""
    return Path(media_of(clip.path).name or clip.path)


def content_hash(path: Path) -> str:
    """128-bit hash of a file's bytes.

    Raises:
        ClipError: the file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        with media_of(path).open() as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise ClipError("unreadable", f"the file cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()


class _StagedError(Exception):
    """A ClipError and the stage it came from."""

    def __init__(self, stage: str, error: ClipError) -> None:
        super().__init__(str(error))
        self.stage = stage
        self.error = error


class _stage:  # noqa: N801 - used as a with-statement keyword
    """Label a ClipError raised inside with its stage."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ClipError):
            raise _StagedError(self._name, error) from error


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[Clip], Any], clips: Sequence[Clip], depth: int
) -> Iterator[tuple[Clip, Future[Any]]]:
    """Each clip with its future, in order, with at most ``depth`` running ahead of the consumer."""
    waiting: deque[tuple[Clip, Future[Any]]] = deque()
    try:
        for clip in clips:
            waiting.append((clip, pool.submit(work, clip)))
            if len(waiting) > depth:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        for _, future in waiting:
            future.cancel()
