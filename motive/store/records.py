"""Commit records, one for each shard, and what all JSON records of a store have in common.

Every field is checked for its type when it is read, and each record carries the digest of its other
fields, so that damaged or foreign bytes end in a StoreError and never in a wrong value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from typing import Any, NoReturn, TypeGuard

from motive.errors import OptionError, StoreError
from motive.store.fingerprint import digest_json

COMMITS = "commits"
SHARDS = "shards"
COMMIT_FORMAT = "motive.store.commit"
VERSION = 1

KINDS = {"vectors": ("parquet", "safetensors"), "failures": ("parquet",)}
"""Kind of shard -> the suffixes of its files."""

_SHARD_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}-[0-9]{8}")
_WRITER_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class FileRecord:
    """Size and digest of one file of a shard."""

    size: int
    digest: str


@dataclass(frozen=True)
class Commit:
    """One shard that exists.

    Attributes:
        name: ``<writer>-<sequence number>``; the stem of the shard's files.
        kind: ``vectors`` or ``failures``.
        rows: number of rows.
        files: suffix -> what the file must be.
        ids_digest: digest of the id tensors alone (kind vectors), so that ids can be trusted without reading
            the vectors.
        manifest_digest: digest of the store's manifest: a shard of another store is refused.
        created: UTC time, ISO 8601 with microseconds.
        digest: the record's own digest.
        replaces: names of the shards whose rows this one holds instead of them; they no longer count.
    """

    name: str
    kind: str
    rows: int
    files: Mapping[str, FileRecord]
    ids_digest: str
    manifest_digest: str
    created: str
    digest: str = ""
    replaces: tuple[str, ...] = ()

    def file(self, suffix: str) -> str:
        """Name of one of the shard's files, relative to the store."""
        return shard_file(self.name, suffix)


def shard_file(name: str, suffix: str) -> str:
    """Name of a shard's file, relative to the store."""
    return f"{SHARDS}/{name}.{suffix}"


def commit_file(name: str) -> str:
    """Name of a shard's commit record, relative to the store."""
    return f"{COMMITS}/{name}.json"


def shard_name(writer: str, sequence: int) -> str:
    """Name of a writer's shard; names of one writer sort by sequence number."""
    return f"{writer}-{sequence:08d}"


def is_shard_name(name: str) -> bool:
    """Whether a file of that stem belongs to the format; others are ignored."""
    return _SHARD_NAME.fullmatch(name) is not None


def check_writer_name(writer: str, where: str) -> None:
    """Refuse names that cannot be part of a shard's name."""
    if not isinstance(writer, str) or not _WRITER_NAME.fullmatch(writer):
        raise OptionError(
            f"{where}: name must be 1 to 64 of the characters A-Z a-z 0-9 _ -, got {writer!r}; choose another name"
        )


def utc_now() -> str:
    """The present, as records write it."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


def package_version() -> str:
    """Version of the installed package; ``unknown`` where it runs without being installed."""
    try:
        return metadata.version("motive")
    except metadata.PackageNotFoundError:
        return "unknown"


def encode_commit(commit: Commit) -> tuple[bytes, Commit]:
    """Bytes of a commit record, and the record with its digest."""
    record: dict[str, Any] = {
        "format": COMMIT_FORMAT,
        "version": VERSION,
        "name": commit.name,
        "kind": commit.kind,
        "rows": commit.rows,
        "files": {suffix: {"bytes": file.size, "digest": file.digest} for suffix, file in commit.files.items()},
        "ids_digest": commit.ids_digest,
        "manifest_digest": commit.manifest_digest,
        "created": commit.created,
    }
    if commit.replaces:
        record["replaces"] = list(commit.replaces)
    own = digest_json(record)
    values = {name: getattr(commit, name) for name in Commit.__dataclass_fields__}
    return dump({**record, "digest": own}), Commit(**{**values, "digest": own})


def parse_commit(data: bytes, name: str, where: str) -> Commit:
    """Read a commit record's bytes.

    Args:
        data: the bytes.
        name: the shard's name, from the record's file name.
        where: the record's place, for messages.

    Raises:
        StoreError: damaged, or the record of another shard or version.
    """
    record = parse_record(data, COMMIT_FORMAT, (VERSION,), where)
    if record.get("name") != name:
        damaged(where, f"name must be {name!r} like the file, got {record.get('name')!r}")
    kind = record.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        damaged(where, f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    rows = record.get("rows")
    if not _is_count(rows) or rows < 1:
        damaged(where, f"rows must be a positive integer, got {rows!r}")
    return Commit(
        name,
        kind,
        rows,
        _parse_files(record.get("files"), kind, where),
        ids_digest=_text(record, "ids_digest", where),
        manifest_digest=_text(record, "manifest_digest", where),
        created=_text(record, "created", where),
        digest=_text(record, "digest", where),
        replaces=_parse_replaces(record.get("replaces", []), name, where),
    )


def dump(record: Mapping[str, Any]) -> bytes:
    """A record's bytes: indented for people, ASCII."""
    return (json.dumps(record, indent=1, ensure_ascii=True, allow_nan=False) + "\n").encode("ascii")


def load_json(data: bytes, where: str) -> Any:
    """Parse JSON of unknown origin.

    Raises:
        StoreError: the bytes are not JSON, or hold NaN or infinity.
    """

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(data.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        damaged(where, f"content must be JSON, got {error}")


def parse_record(data: bytes, expected_format: str, versions: Collection[int], where: str) -> dict[str, Any]:
    """Read a record that carries a format, a version and its own digest.

    Raises:
        StoreError: damaged, of another format, or of a version that is not among ``versions``.
    """
    record = load_json(data, where)
    if not isinstance(record, dict) or record.get("format") != expected_format:
        found = record.get("format") if isinstance(record, dict) else type(record).__name__
        damaged(where, f"format must be {expected_format}, got {found!r}")
    version = record.get("version")
    if version not in versions or type(version) is not int:
        raise StoreError(
            f"{where}: version must be {' or '.join(map(str, versions))}, got {version!r}; read it with the motive version that wrote it "
            f"({record.get('package')!r})"
        )
    own = record.get("digest")
    rest = {key: value for key, value in record.items() if key != "digest"}
    try:
        expected = digest_json(rest)
    except (TypeError, ValueError, RecursionError) as error:
        damaged(where, f"content must have a canonical form, got {error}")
    if own != expected:
        damaged(where, f"digest must be {expected}, got {own!r}")
    return record


def _parse_files(files: Any, kind: str, where: str) -> dict[str, FileRecord]:
    if not isinstance(files, dict) or tuple(sorted(files)) != KINDS[kind]:
        damaged(where, f"files must name {', '.join(KINDS[kind])}, got {files!r}")
    parsed: dict[str, FileRecord] = {}
    for suffix, file in files.items():
        size = file.get("bytes") if isinstance(file, dict) else None
        content = file.get("digest") if isinstance(file, dict) else None
        if not _is_count(size) or not isinstance(content, str) or not _DIGEST.fullmatch(content):
            damaged(where, f"files.{suffix} must hold bytes and digest, got {file!r}")
        parsed[suffix] = FileRecord(size, content)
    return parsed


def _parse_replaces(names: Any, own: str, where: str) -> tuple[str, ...]:
    if not isinstance(names, list) or not all(isinstance(name, str) and is_shard_name(name) for name in names):
        damaged(where, f"replaces must be a list of shard names, got {names!r}")
    if own in names:
        damaged(where, "replaces must name other shards, got the shard itself")
    return tuple(names)


def _text(record: Mapping[str, Any], field: str, where: str) -> str:
    value = record.get(field)
    if not isinstance(value, str):
        damaged(where, f"{field} must be text, got {value!r}")
    return value


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def damaged(where: str, reason: str) -> NoReturn:
    """Refuse a record."""
    raise StoreError(f"{where}: {reason}; the file is damaged: run motive verify, or restore it from a copy")
