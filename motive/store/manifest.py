"""A store's manifest: what its vectors are, and what they were made from and with.

Version 1 kept ``config``, ``source``, ``plan`` and the number of segments in a free-form ``extra``. It is read and
brought to the fields of version 2; its digests stay those that were written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from motive.config import from_json, to_json
from motive.errors import ConfigError, OptionError, StoreError
from motive.store.fingerprint import canonical_json, digest_json, ids_digest
from motive.store.identity import Identity
from motive.store.records import damaged, dump, package_version, parse_record, utc_now
from motive.store.source import Source

MANIFEST = "manifest.json"
MANIFEST_COPY = "manifest.copy.json"
FORMAT = "motive.store"
VERSION = 2
MAX_DIM = 1 << 24

COLUMN_TYPES = ("string", "bool", "int32", "int64", "float32", "float64")


@dataclass(frozen=True)
class Package:
    """The software that made a store."""

    name: str = ""
    version: str = ""


@dataclass(frozen=True)
class Code:
    """The code that ran.

    Attributes:
        versions: package -> version; None where it is not installed.
        commit: of the source tree, or None outside one.
    """

    versions: Mapping[str, str | None] = field(default_factory=dict)
    commit: str | None = None


@dataclass(frozen=True)
class PlanConfig:
    """What fixes which clips share a forward and backward pass; recorded when a store is created.

    Attributes:
        unit_clips: clips in a unit of work, on average.
        batch_size: clips that share a pass.
        clips: clips of the dataset.
        digest: of their ids.
    """

    unit_clips: int
    batch_size: int
    clips: int
    digest: str

    def __post_init__(self) -> None:
        for name, least in (("unit_clips", 1), ("batch_size", 1), ("clips", 0)):
            if getattr(self, name) < least:
                raise ConfigError("plan", f"{{{name}}} must be at least {least}, got {getattr(self, name)}")

    @classmethod
    def of(cls, ids: Iterable[str], unit_clips: int, batch_size: int) -> PlanConfig:
        """For a dataset's ids, in any order."""
        ordered = sorted(ids)
        return cls(unit_clips, batch_size, len(ordered), ids_digest(ordered))


@dataclass(frozen=True)
class Origin:
    """What a store was made from and with, as far as its vectors do not depend on it.

    Attributes:
        source: the dataset, or None for vectors that were not made from one.
        config: the settings of the run that created the store, as motive.indexing.config writes them, or None.
        plan: which clips share a pass, or None.
        code: versions and commit, or None.
        extra: fields of other software.
    """

    source: Source | None = None
    config: Mapping[str, Any] | None = None
    plan: PlanConfig | None = None
    code: Code | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """The model that was asked for: a path, a hub id or a built-in name; empty if the store does not say."""
        config = self.config or {}
        vectors = config.get("vectors", config)
        model = vectors.get("model") if isinstance(vectors, Mapping) else None
        return model if isinstance(model, str) else ""

    def require_source(self, where: str) -> Source:
        """The dataset.

        Raises:
            StoreError: the store does not say where its clips come from.
        """
        if self.source is None:
            raise StoreError(f"{where}: the store does not name its dataset; make the store with motive index")
        return self.source


@dataclass(frozen=True)
class Manifest:
    """What a store holds (docs/formats/store.md, section 3).

    Attributes:
        identity: what the vectors depend on.
        dim: k, the width of a vector.
        columns: index column -> type, sorted by name.
        segments: how clips were cut into segments, a row each with id ``<clip id>#<segment>``; empty for a row a clip.
        vectors_digest: digest of everything that decides a vector to its last bit; empty if nobody said.
        origin: what the store was made from and with.
        created: time.
        package: the software that made the store.
        identity_digest: part of the identity -> digest of its canonical JSON, as it was written.
        digest: of the manifest, as it was written.
        version: of the format in which it was written.
    """

    identity: Identity
    dim: int
    columns: Mapping[str, str]
    segments: str = ""
    vectors_digest: str = ""
    origin: Origin = field(default_factory=Origin)
    created: str = ""
    package: Package = field(default_factory=Package)
    identity_digest: Mapping[str, str] = field(default_factory=dict)
    digest: str = ""
    version: int = VERSION

    def __post_init__(self) -> None:
        if not 1 <= self.dim <= MAX_DIM:
            raise OptionError(f"dim must be an integer from 1 to {MAX_DIM}, got {self.dim!r}")
        for name, kind in self.columns.items():
            if not name or name == "clip_id":
                raise OptionError(f"columns must have names other than clip_id, got {name!r}")
            if kind not in COLUMN_TYPES:
                raise OptionError(f"columns.{name} must be one of {', '.join(COLUMN_TYPES)}, got {kind!r}")

    def to_json(self) -> dict[str, Any]:
        """The fields in the order of the file."""
        values = {name: to_json(getattr(self, name)) for name in _FIELDS}
        return {"format": FORMAT, **values, "identity": self.identity.to_json()}

    def encode(self) -> bytes:
        """The bytes of manifest.json."""
        return dump(self.to_json())


_FIELDS = (
    "version",
    "created",
    "package",
    "identity",
    "identity_digest",
    "vectors_digest",
    "dim",
    "columns",
    "segments",
    "origin",
    "digest",
)


def new_manifest(draft: Manifest, where: str) -> Manifest:
    """The manifest of a new store, with times and digests filled in.

    Raises:
        OptionError: a value cannot be written as JSON or has the wrong type.
    """
    draft = replace(draft, created=utc_now(), package=Package("motive", package_version()), version=VERSION)
    record = draft.to_json()
    for name in ("identity", "origin"):
        try:
            record[name] = json.loads(canonical_json(record[name]))
        except (TypeError, ValueError, RecursionError) as error:
            raise OptionError(
                f"{where}: {name} must be made of JSON values, got {error}; use text, numbers and lists"
            ) from error
    del record["digest"]
    record["identity_digest"] = {name: digest_json(part) for name, part in record["identity"].items()}
    try:
        return _typed({**record, "digest": digest_json(record)}, where)
    except OptionError as error:
        raise OptionError(f"{where}: {_reason(error, where)}; correct it") from error


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Read a manifest's bytes, of version 1 or 2.

    Raises:
        StoreError: damaged, of another kind, or of a version this code cannot read.
    """
    record = parse_record(data, FORMAT, (1, VERSION), where)
    identity = record.get("identity")
    if not isinstance(identity, dict) or not all(isinstance(part, dict) for part in identity.values()):
        damaged(where, f"identity must be an object of objects, got {identity!r}")
    expected = {name: digest_json(part) for name, part in identity.items()}
    if record.get("identity_digest") != expected:
        damaged(where, f"identity_digest must be {expected}, got {record.get('identity_digest')!r}")
    try:
        manifest = _typed(_of_version_1(record) if record["version"] == 1 else record, where)
        manifest.identity.known  # noqa: B018 - refuses what does not fit
        return manifest
    except (OptionError, StoreError) as error:
        damaged(where, _reason(error, where))


def _typed(record: Mapping[str, Any], where: str) -> Manifest:
    values = {name: value for name, value in record.items() if name != "format"}
    manifest = from_json(Manifest, values, where)
    return replace(manifest, columns=dict(sorted(manifest.columns.items())))


def _of_version_1(record: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of version 2 from those of version 1."""
    values = {name: value for name, value in record.items() if name != "extra"}
    extra = record.get("extra")
    if not isinstance(extra, dict):
        raise OptionError(f"extra must be an object, got {extra!r}")
    origin = {name: extra.get(name) for name in ("source", "config", "plan", "code")}
    origin["extra"] = {name: value for name, value in extra.items() if name not in origin}
    if isinstance(origin["plan"], dict):
        origin["plan"] = {_RENAMED.get(name, name): value for name, value in origin["plan"].items()}
    config = origin["config"]
    segments = config.get("segments", "") if isinstance(config, dict) else ""
    identity = dict(values["identity"])
    if isinstance(identity.get("gradient"), dict) and "loss" in identity["gradient"]:  # motive index wrote it
        gradient = {_RENAMED.get(name, name): value for name, value in identity["gradient"].items()}
        identity["gradient"] = (
            {**gradient, "draws": draws_of_version_1(gradient["draws"])} if "draws" in gradient else gradient
        )
    return {**values, "identity": identity, "segments": segments, "origin": origin}


def draws_of_version_1(draws: Any) -> Any:
    """The fields of a DrawConfig, in which version 1 said per_draw where it is combine now."""
    if not isinstance(draws, Mapping) or "per_draw" not in draws:
        return draws
    rest, combine = {name: value for name, value in draws.items() if name != "per_draw"}, draws["per_draw"]
    return {**rest, "combine": _COMBINE.get(combine, combine) if isinstance(combine, str) else combine}


_COMBINE = {"sum": "mean", "normalised": "normalized-mean", "separate": "concat"}

_RENAMED = {"standard": "clip_spec", "batch_clips": "batch_size"}
"""Field of version 1 -> field of version 2."""


def _reason(error: Exception, where: str) -> str:
    """The message without the place, which the caller puts in front, and without the remedy."""
    return str(error).removeprefix(f"{where}: ").removesuffix("; restore the file").removesuffix("; correct it")
