"""Record of the shards that a cache covers, so that it can grow with its stores instead of being rebuilt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from motive.store import Store
from motive.store.records import Commit


@dataclass(frozen=True)
class Held:
    """The shards of one store.

    Attributes:
        manifest: digest of the store's manifest.
        shards: name -> digest of the commit record.
        replaced: names of the shards that these stand for.
    """

    manifest: str
    shards: dict[str, str]
    replaced: frozenset[str]

    def covers(self, commit: Commit) -> bool:
        """Whether the rows of a shard were there: it is one of these, or stands for some of them alone."""
        if self.shards.get(commit.name) == commit.digest:
            return True
        return bool(commit.replaces) and set(commit.replaces) <= self.replaced.union(self.shards)


@dataclass(frozen=True)
class Ledger:
    """The shards of the stores of a view, store by store."""

    stores: tuple[Held, ...]

    @classmethod
    def of(cls, stores: Sequence[Store]) -> Ledger:
        """As the stores are now."""
        held = []
        for store in stores:
            commits = [commit for commit in store.commits.values() if commit.kind == "vectors"]
            replaced = frozenset(name for commit in commits for name in commit.replaces)
            shards = {commit.name: commit.digest for commit in commits}
            held.append(Held(store.manifest.digest, shards, replaced))
        return cls(tuple(held))

    @property
    def manifests(self) -> list[str]:
        """What tells these stores from others."""
        return [one.manifest for one in self.stores]

    def to_json(self) -> list[dict[str, Any]]:
        """The form that caches hold."""
        return [{"manifest": s.manifest, "shards": s.shards, "replaced": sorted(s.replaced)} for s in self.stores]

    @classmethod
    def from_json(cls, stores: Any) -> Ledger:
        """What to_json gave.

        Raises:
            ValueError: it is something else.
        """
        try:
            held = [Held(str(s["manifest"]), dict(s["shards"]), frozenset(s["replaced"])) for s in stores]
        except (KeyError, TypeError) as error:
            raise ValueError("ledger") from error
        return cls(tuple(held))
