"""The second half of a run: encoded clips into committed shards of vectors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import motive_kernels as mk
from motive.adapters.cache import Cache
from motive.capture.gradients import ClipGradients, ClipVector, EncodedClip
from motive.data import Clip, Failure
from motive.errors import ClipError
from motive.run.encode import Encoder, Prepared
from motive.run.progress import progress
from motive.run.setup import Setup
from motive.store import Store, StoreRow

CHUNK_CLIPS = 4096
"""Clips prepared before their gradients are taken: the encoders and the transformer are loaded once a chunk."""


class Worker:
    """Turns clips into rows of a store, a chunk at a time.

    Args:
        setup: what was settled before.
        store: open for appending.
        show_progress: draw bars on stderr.

    Attributes:
        stored, failed: clips committed, and clips left out, so far.
        routes: route -> parameter names, as the last gradients were taken (motive_kernels.GradientCapture).
    """

    def __init__(self, setup: Setup, store: Store, show_progress: bool) -> None:
        self.stored = 0
        self.failed = 0
        self.routes: dict[str, list[str]] = {}
        self._setup = setup
        self._store = store
        self._show = show_progress
        cache = Cache(Path(setup.config.cache) if setup.config.cache else store.path / "cache")
        self._encoder = Encoder(setup.adapter, cache, setup.standard, setup.config.mask, setup.config.decode_threads)
        self._rows: list[StoreRow] = []
        self._failures: list[Failure] = []

    def run(self, clips: Sequence[Clip]) -> None:
        """Store the vectors of these clips. What is finished is committed, also when an exception ends the run."""
        try:
            for start in range(0, len(clips), CHUNK_CLIPS):
                self._chunk(clips[start : start + CHUNK_CLIPS])
        finally:
            self._commit()

    def prepare(self, clips: Sequence[Clip]) -> list[Prepared]:
        """Captions, latents and masks of these clips into the cache; those that failed are left out and noted."""
        self._encoder.encode_captions(clip.caption for clip in clips)
        encoded = self._encoder.encode_clips(clips, self._fail)
        shown = progress(encoded, len(clips), "decode, mask, encode", shown=self._show)
        return [prepared for prepared in shown if prepared is not None]

    def load(self, prepared: Prepared) -> EncodedClip:
        """An encoded clip from the cache; ClipError if its entry has gone."""
        return self._encoder.load(prepared)

    def gradients(self, projector: mk.Projector | None = None) -> ClipGradients:
        """The gradient pass with the transformer loaded, into another projection than the store's if one is given."""
        setup = self._setup
        return ClipGradients(
            setup.adapter,
            setup.adapter.load_transformer(setup.expert),
            projector or setup.projector,
            setup.config.draws,
            setup.latent_shape,
            prefix=f"{setup.expert.component}.",
            draws_per_pass=setup.config.draws_per_pass,
        )

    def _chunk(self, clips: Sequence[Clip]) -> None:
        prepared = self.prepare(clips)
        if not prepared:
            return
        gradients = self.gradients()
        done = (item for batch in self._batches(gradients, prepared) for item in self._take(gradients, batch))
        for _ in progress(done, len(prepared), "gradients", shown=self._show):
            if len(self._rows) >= self._setup.config.shard_rows:
                self._commit()
        self.routes = {}
        for name, route in gradients.routes.items():
            self.routes.setdefault(route, []).append(name)

    def _batches(self, gradients: ClipGradients, prepared: Sequence[Prepared]) -> Iterator[Sequence[Prepared]]:
        """Clips that share a pass."""
        start = 0
        while start < len(prepared):
            # Where a parameter takes the stream route, a bad clip would spoil the others of its pass.
            size = 1 if "stream" in gradients.routes.values() else self._setup.config.clips_per_pass
            yield prepared[start : start + size]
            start += size

    def _take(self, gradients: ClipGradients, batch: Sequence[Prepared]) -> Sequence[Prepared]:
        """The rows of clips that share a pass; those that fail are noted."""
        loaded: list[tuple[Prepared, EncodedClip]] = []
        for item in batch:
            with self._noting(item):
                loaded.append((item, self.load(item)))
        vectors = gradients([clip for _, clip in loaded]) if loaded else []
        for (item, _), vector in zip(loaded, vectors, strict=True):
            with self._noting(item):
                self._rows.append(store_row(item, vector))
        return batch

    @contextmanager
    def _noting(self, item: Prepared) -> Iterator[None]:
        """Turn a ClipError inside into a failure of this clip."""
        try:
            yield
        except ClipError as error:
            self._fail(Failure(item.clip.clip_id, str(item.clip.path), "gradient", error.reason, error.detail))

    def _fail(self, failure: Failure) -> None:
        self._failures.append(failure)
        self.failed += 1

    def _commit(self) -> None:
        """Make every finished row and every noted failure durable."""
        rows, self._rows = self._rows, []
        failures, self._failures = self._failures, []
        if rows:
            self._store.append(rows)
            self.stored += len(rows)
        if failures:
            self._store.append_failures(failures)


def store_row(prepared: Prepared, result: ClipVector) -> StoreRow:
    """The row of one clip.

    Raises:
        ClipError: the vector is not finite, or is zero and so has no direction.
    """
    vector = result.vector.numpy()
    if not np.isfinite(vector).all():
        raise ClipError("nan_gradient", "the projected gradient is not finite; look at this clip's latents and caption")
    if not vector.any():
        raise ClipError("zero_gradient", "the projected gradient is zero, so it has no cosine")
    clip = prepared.clip
    columns = {
        "path": str(clip.path),
        "caption": clip.caption,
        "columns": json.dumps(dict(clip.columns), ensure_ascii=False, sort_keys=True),
        **prepared.facts,
        "gradient_norm": result.norm,
        "loss": result.loss,
    }
    return StoreRow(clip.clip_id, vector, columns)
