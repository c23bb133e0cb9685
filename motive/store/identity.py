"""Identity of vectors: what they depend on, and the reasons why two stores cannot be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

from motive.config import from_json, to_json
from motive.data.video.buckets import Bucket, ClipSpecs
from motive.data.video.clip_spec import ClipSpec
from motive.errors import IdentityMismatch, OptionError, StoreError
from motive.store.fingerprint import digest_json

_LISTED = 4
_MAX_TEXT = 80
ABSENT = "(absent)"


@dataclass(frozen=True)
class ModelParts:
    """Parts of the model whose vectors lie side by side in a clip's vector.

    Attributes:
        patterns: as they were given.
        names: of the parts, in the order of their vectors.
    """

    patterns: tuple[str, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class BucketShape:
    """One bucket of a store.

    Attributes:
        size: WIDTHxHEIGHTxFRAMES.
        latent_shape: (c, F, h, w).
    """

    size: str
    latent_shape: tuple[int, ...]


@dataclass(frozen=True)
class BucketList:
    """The buckets of a store.

    Attributes:
        rules: version of the rules that give a clip its bucket and a bucket its noise.
        shapes: in order: the longest first, of equal length the largest.
    """

    rules: int
    shapes: tuple[BucketShape, ...]


@dataclass(frozen=True)
class Gradient:
    """``identity.gradient`` as motive index writes it.

    Attributes:
        loss: name and version of the loss.
        family: of the model.
        fingerprints: part of the model -> hash of its weights; ``lora`` of the factors put into it.
        settings: of the adapter, dtype among them.
        clip_spec: rate, length and size that every clip is brought to; with buckets, size and length of the first one.
        mask: fields of the MaskConfig.
        motion_source: name, version and resolved settings of the motion source.
        draws: fields of the DrawConfig, with the model's own distribution filled in.
        latent_shape: (c, F, h, w); with buckets, of the first one.
        pixels: version of the rules that turn a file into pixels; 1 where the store does not say.
        model_parts: None for one vector of the whole model.
        buckets: None for one clip spec for all clips.
        latents: tool and type of latents that were not encoded here; None where the videos were.
    """

    loss: str
    family: str
    fingerprints: Mapping[str, str]
    settings: Mapping[str, Any]
    clip_spec: ClipSpec
    mask: Mapping[str, Any]
    motion_source: Mapping[str, Any]
    draws: Mapping[str, Any]
    latent_shape: tuple[int, ...]
    pixels: int = 1
    model_parts: ModelParts | None = None
    buckets: BucketList | None = None
    latents: Mapping[str, Any] | None = None

    def seen(self, bucket: str) -> tuple[ClipSpec, tuple[int, ...]]:
        """Clip spec and latent shape (c, F, h, w) of the clips of a bucket; those of all clips without buckets.

        Args:
            bucket: as the store's index has it, empty without buckets.

        Raises:
            StoreError: there is no such bucket.
        """
        if self.buckets is None:
            return self.clip_spec, self.latent_shape
        shape = next((each.latent_shape for each in self.buckets.shapes if each.size == bucket), None)
        if shape is None:
            raise StoreError(f"the store has no bucket {bucket!r}; run motive verify")
        return ClipSpecs(self.clip_spec, tuple(Bucket.parse(each.size) for each in self.buckets.shapes)).of(
            bucket
        ), shape

    def to_json(self) -> dict[str, Any]:
        """As the identity holds it: a field that is None is absent."""
        return {f.name: to_json(getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) is not None}


@dataclass(frozen=True)
class Identity:
    """All that the vectors of a store depend on; two stores are comparable iff their identities are equal.

    Other software may put what it likes into the two parts. ``known`` reads those that motive index writes.

    Attributes:
        projection: the fields of the projection (motive_kernels.Projector.fields), JSON values.
        gradient: every other setting that a vector depends on, JSON values.
    """

    projection: Mapping[str, Any]
    gradient: Mapping[str, Any]

    @property
    def known(self) -> Gradient | None:
        """The typed gradient part, or None if the vectors were not made by motive index.

        Raises:
            StoreError: it has the mark of motive index, ``loss``, and does not fit.
        """
        if "loss" not in self.gradient:
            return None
        try:
            return from_json(Gradient, self.gradient, "identity.gradient")
        except OptionError as error:
            raise StoreError(str(error)) from error

    def require(self, where: str) -> Gradient:
        """The typed gradient part.

        Raises:
            StoreError: the vectors were not made by motive index.
        """
        known = self.known
        if known is None:
            raise StoreError(f"{where}: the store says nothing of how its clips were seen; make it with motive index")
        return known

    @property
    def family(self) -> str:
        """Of the model; empty if the store does not say."""
        return _text(self.gradient.get("family"))

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """Part of the model -> hash of its weights; empty if the store does not say."""
        prints = self.gradient.get("fingerprints")
        return {str(part): str(print_) for part, print_ in prints.items()} if isinstance(prints, Mapping) else {}

    @property
    def model_parts(self) -> tuple[str, ...]:
        """Names of the parts of the model that have a vector each; empty for one vector of the whole."""
        parts = self.gradient.get("model_parts")
        return from_json(ModelParts, parts, "identity.gradient").names if isinstance(parts, Mapping) else ()

    @property
    def projection_type(self) -> str:
        """Such as ``tensor_sketch``; empty if the store does not say."""
        return _text(self.projection.get("kind"))

    @property
    def projection_dim(self) -> int | None:
        """Width of one projected gradient."""
        return _integer(self.projection.get("dim"))

    @property
    def projection_seed(self) -> int | None:
        """Seed of the projection."""
        return _integer(self.projection.get("seed"))

    def to_json(self) -> dict[str, Any]:
        """As the manifest holds it."""
        return {"projection": dict(self.projection), "gradient": dict(self.gradient)}

    def digests(self) -> dict[str, str]:
        """Part -> digest of its canonical JSON."""
        return {name: digest_json(part) for name, part in self.to_json().items()}


class HasIdentity(Protocol):
    """Anything that says how its vectors were made."""

    @property
    def identity(self) -> Identity:
        """What its vectors depend on."""
        ...


Comparable = HasIdentity | Identity


def require_same_identity(a: Comparable, b: Comparable, where: str, ignore: Sequence[str] = ()) -> None:
    """Refuse two stores whose vectors were made in different ways.

    Args:
        a, b: the stores, or their identities.
        where: the operation that needs them to agree, for the message.
        ignore: dotted paths that may differ, e.g. ``gradient.weights``; a path covers all below it.

    Raises:
        IdentityMismatch: they differ; its ``fields`` hold dotted path -> the two values.
    """
    differing = compare_identities(_identity_of(a), _identity_of(b), ignore)
    if differing:
        raise IdentityMismatch(where, differing)


def require_comparable(a: Comparable, b: Comparable, where: str) -> None:
    """Refuse two stores whose vectors cannot be compared: as require_same_identity, but for ``shape_fields``.

    Raises:
        IdentityMismatch: they differ.
    """
    require_same_identity(a, b, where, shape_fields(_identity_of(a), _identity_of(b)))


def shape_fields(a: Identity, b: Identity) -> tuple[str, ...]:
    """What may differ between two stores whose vectors are compared: with buckets in both, the sizes and lengths of clips,
    since their noise is cut from one field (docs/buckets.md)."""
    return _SHAPES if all("buckets" in identity.gradient for identity in (a, b)) else ()


_SHAPES = (
    "gradient.buckets.shapes",
    "gradient.latent_shape",
    "gradient.clip_spec.width",
    "gradient.clip_spec.height",
    "gradient.clip_spec.frames",
)


def compare_identities(a: Identity, b: Identity, ignore: Sequence[str] = ()) -> dict[str, tuple[Any, Any]]:
    """Dotted path -> the two values, for each field that differs; empty if the identities are equal.

    Where many entries of one dict or list differ, the first few are given and the others counted.
    """
    groups: dict[str, list[tuple[str, Any, Any]]] = {}
    for parent, path, left, right in _differences(a.to_json(), b.to_json(), "", ""):
        if not any(path == name or path.startswith((f"{name}.", f"{name}[")) for name in ignore):
            groups.setdefault(parent, []).append((path, _short(left), _short(right)))
    fields: dict[str, tuple[Any, Any]] = {}
    for parent, found in groups.items():
        listed = found if len(found) <= _LISTED + 1 else found[:_LISTED]
        fields.update({path: (left, right) for path, left, right in listed})
        if rest := len(found) - len(listed):
            fields[f"{parent}.*"] = (f"{rest} more entries differ", f"{rest} more entries differ")
    return fields


def _differences(a: Any, b: Any, parent: str, path: str) -> Iterator[tuple[str, str, Any, Any]]:
    """(path of the container, path, left, right) of the leaves that differ."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in sorted({*a, *b}):
            inner = f"{path}.{key}" if path else str(key)
            yield from _differences(a.get(key, ABSENT), b.get(key, ABSENT), path, inner)
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for position, (left, right) in enumerate(zip(a, b, strict=True)):
            yield from _differences(left, right, path, f"{path}[{position}]")
    elif a != b or isinstance(a, bool) != isinstance(b, bool):
        yield parent, path, a, b


def _identity_of(value: Comparable) -> Identity:
    return value if isinstance(value, Identity) else value.identity


def _short(value: Any) -> Any:
    text = repr(value)
    return value if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 3]}..."


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
