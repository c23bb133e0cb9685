"""The clips that were left out: read from failure shards, shown in failed.parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields

from motive.data.base import Failure
from motive.store.files import Files
from motive.store.index import read_table
from motive.store.records import Commit
from motive.store.tables import FAILURE_COLUMNS, encode_failures, failures_of

FAILED = "failed.parquet"
ABOUT_THE_ROW = frozenset({"duplicate_id"})
"""Reasons that speak of a row of the dataset, not of the clip whose id it has: a vector does not settle them."""

_Key = tuple[str, str]


class FailureList:
    """What is known of failures: of each clip the latest, as long as the clip has no vector.

    Args:
        files: the store's files.
        has_vector: whether the store holds a vector of a clip id.
    """

    def __init__(self, files: Files, has_vector: Callable[[str], bool]) -> None:
        self._files = files
        self._has_vector = has_vector
        self._commits: list[Commit] = []
        self._rows: dict[_Key, Failure] | None = None

    def reset(self, commits: Iterable[Commit]) -> None:
        """Forget what was read; these are the failure shards."""
        self._commits = list(commits)
        self._rows = None

    def listed(self) -> list[Failure]:
        """The failures that still stand, sorted by clip id and path."""
        return [failure for _, failure in sorted(self._open().items())]

    def news(self, failures: Sequence[Failure]) -> list[Failure]:
        """Those of the failures that are not listed already, word for word."""
        known = self._open()
        readable = [readable_failure(failure) for failure in failures]
        return [failure for failure in readable if known.get(_key(failure)) != failure]

    def add(self, commit: Commit, failures: Sequence[Failure]) -> None:
        """Take in a new failure shard and refresh failed.parquet."""
        rows = self._open()
        self._commits.append(commit)
        for failure in failures:
            if not self._settled(failure):
                rows[_key(failure)] = failure
        self.write()

    def resolve(self, clip_ids: Iterable[str]) -> None:
        """These clips have a vector now: take them off the list."""
        if not self._commits:
            return
        done = set(clip_ids)
        rows = self._open()
        settled = [key for key, failure in rows.items() if key[0] in done and failure.reason not in ABOUT_THE_ROW]
        for key in settled:
            del rows[key]
        if settled or self._files.size(FAILED) is None:
            self.write()

    def write(self) -> None:
        """Write failed.parquet as the list stands."""
        self._files.publish(FAILED, encode_failures(self.listed(), "failed.parquet"), replace=True)

    def _open(self) -> dict[_Key, Failure]:
        if self._rows is None:
            latest: dict[_Key, Failure] = {}
            for commit in sorted(self._commits, key=lambda commit: (commit.created, commit.name)):
                table = read_table(self._files, commit, FAILURE_COLUMNS)
                latest.update((_key(failure), failure) for failure in failures_of(table))
            self._rows = {key: failure for key, failure in latest.items() if not self._settled(failure)}
        return self._rows

    def _settled(self, failure: Failure) -> bool:
        return failure.reason not in ABOUT_THE_ROW and self._has_vector(failure.clip_id)


def readable_failure(failure: Failure) -> Failure:
    """The failure with what UTF-8 cannot hold written as escapes."""
    texts = (str(getattr(failure, field.name)) for field in fields(Failure))
    return Failure(*(text.encode("utf-8", "backslashreplace").decode("utf-8") for text in texts))


def _key(failure: Failure) -> _Key:
    """One entry a clip, whatever stage it failed at; of what speaks of rows, one a row."""
    return failure.clip_id, failure.path if failure.reason in ABOUT_THE_ROW else ""
