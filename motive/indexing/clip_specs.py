"""Clip specs of a run: the given one or the model's, or one for each bucket."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from motive.adapters import load_adapter
from motive.adapters.base import Adapter
from motive.data.base import Part
from motive.data.video.buckets import Bucket, BucketConfig, ClipSpecs, resolve_buckets
from motive.data.video.clip_spec import ClipSpec
from motive.data.video.trainer_buckets import trainer_buckets
from motive.errors import ConfigError, OptionError

LatentShape = tuple[int, int, int, int]


def clip_specs_of(
    adapter: Adapter, clip_spec: ClipSpec | None, buckets: BucketConfig, parts: Sequence[Part] = ()
) -> tuple[ClipSpecs, tuple[LatentShape, ...]]:
    """The clip specs of a run and their latent shapes.

    Args:
        adapter: the model family.
        clip_spec: rate, length and size; None takes the model's own.
        buckets: as given.
        parts: entries of the trainer's configuration that is the dataset.

    Raises:
        OptionError: the model does not take one, and with buckets the message names the bucket; or buckets of the dataset
            were asked for and it states none.
    """
    base = clip_spec or adapter.clip_spec
    found = _resolved(buckets, base, lambda spec: _fits(adapter, spec), parts)
    shapes = [] if found else [adapter.latent_shape(base)]
    for bucket in found:
        try:
            shapes.append(adapter.latent_shape(bucket.spec(base)))
        except OptionError as error:
            raise OptionError(f"bucket {bucket.name}: {error}") from error
    return ClipSpecs(found[0].spec(base) if found else base, found), tuple(shapes)


def specs_without_model(clip_spec: ClipSpec | None, buckets: BucketConfig, parts: Sequence[Part] = ()) -> ClipSpecs:
    """Clip specs that no model has to accept: those given, or the default one.

    Args:
        clip_spec, buckets, parts: as for clip_specs_of.

    Raises:
        OptionError: buckets follow from the model.
    """
    base = clip_spec or ClipSpec()
    found = _resolved(buckets, base, _needs_model, parts)
    return ClipSpecs(found[0].spec(base) if found else base, found)


def _resolved(
    buckets: BucketConfig, base: ClipSpec, fits: Callable[[ClipSpec], bool], parts: Sequence[Part]
) -> tuple[Bucket, ...]:
    if buckets.of_dataset:
        return trainer_buckets(parts, base, fits)
    return resolve_buckets(buckets, base, fits)


def _needs_model(clip_spec: ClipSpec) -> bool:
    raise ConfigError(
        "check",
        "{model} must be given where buckets are derived, since the model decides which sizes and lengths there are; "
        "name the model, or list the {buckets.sizes}",
    )


def _fits(adapter: Adapter, clip_spec: ClipSpec) -> bool:
    try:
        adapter.latent_shape(clip_spec)
    except OptionError:
        return False
    return True


def model_clip_spec(model: str | None, base: str | None = None, revision: str | None = None) -> ClipSpec:
    """The clip spec that a model takes by default; without a model, the default one."""
    return ClipSpec() if model is None else load_adapter(model, base=base, revision=revision, device="cpu").clip_spec
