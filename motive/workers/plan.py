"""The work plan, as a pure function of the clips' ids and of what a store holds already.

Vectors can depend, in their last bits, on the clips that share a forward and backward pass. So the plan fixes which
clips do: ids are dealt to units by their hash, sorted within a unit, and cut into batches of equal size. A batch is
run whole, also when only one of its clips is wanted; a clip that cannot be used keeps its place at weight zero.
Neither the number of workers, nor the order of the units, nor retries enter anywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from motive.data.video.use import Use
from motive.errors import OptionError
from motive.store.fingerprint import ids_digest
from motive.store.manifest import PlanConfig


@dataclass(frozen=True)
class Task:
    """A unit of work, or what is left of one.

    Attributes:
        unit: its number.
        batches: ids of the clips that share a pass, in order.
        wanted: ids whose vectors are to be stored.
        skip: ids that keep their place and are not touched.
        trial: nothing is stored: it is run to see whether its worker survives.
        again: a worker died at it, so that what is wanted may be there by now.
        group_size: with buckets, the batch size by which ``grouped`` cuts the clips of each bucket; until then the
            unit's clips are one batch. 0: the batches stand.
    """

    unit: int
    batches: tuple[tuple[str, ...], ...]
    wanted: frozenset[str]
    skip: frozenset[str] = frozenset()
    trial: bool = False
    again: bool = False
    group_size: int = 0

    @property
    def clips(self) -> list[str]:
        """Ids of all clips that are touched, in order."""
        return [clip_id for clip_id in self.members if clip_id not in self.skip]

    @property
    def members(self) -> list[str]:
        """Ids of all clips that have a place in a batch, in order."""
        return [clip_id for batch in self.batches for clip_id in batch]

    @property
    def needed(self) -> list[str]:
        """Ids of the clips that a worker must know of: with buckets, also of those that only keep their places."""
        return self.members if self.group_size else self.clips

    def grouped(self, bucket_of: Mapping[str, str]) -> Task:
        """The task with batches of clips of one bucket: in order of bucket, the unit's clips in their order, cut into
        equal sizes; batches without a wanted clip are left out. A clip without a bucket is a batch by itself.

        Args:
            bucket_of: id -> bucket, of the unit's clips.
        """
        if not self.group_size:
            return self
        groups: dict[str, list[str]] = {}
        for clip_id in self.members:
            groups.setdefault(bucket_of.get(clip_id, ""), []).append(clip_id)
        batches = [
            tuple(clips[start : start + size])
            for bucket, clips in sorted(groups.items())
            for size in (self.group_size if bucket else 1,)
            for start in range(0, len(clips), size)
        ]
        kept = tuple(batch for batch in batches if not self.wanted.isdisjoint(batch))
        return replace(self, batches=kept, group_size=0)

    def without(self, clip_ids: Collection[str]) -> Task:
        """The task with these clips skipped; their batches stay, for the others."""
        lost = frozenset(clip_ids)
        return replace(self, skip=self.skip | lost, wanted=self.wanted - lost)

    def alone(self, clip_id: str) -> Task:
        """A trial of one of its clips."""
        return Task(self.unit, ((clip_id,),), frozenset(), trial=True)


@dataclass(frozen=True)
class TaskResult:
    """What became of a task.

    Attributes:
        stored, failed: clips committed, and clips left out.
        seconds: that it took.
        gpu_bytes: peak memory of the GPU so far; 0 without one.
        routes: how gradients were taken -> parameter names (motive_kernels.GradientCapture).
        notes: kind -> (stored clips with such a note about their file, the first one's text).
        used: size of the clips, WIDTHxHEIGHTxFRAMES -> what the stored ones of that size show of their files.
    """

    stored: int
    failed: int
    seconds: float
    gpu_bytes: int = 0
    routes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    used: Mapping[str, Use] = field(default_factory=dict)


def unit_of(clip_id: str, units: int) -> int:
    """Number of the unit that a clip belongs to: the first eight bytes of BLAKE2b of its UTF-8, modulo the units."""
    name = clip_id.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little") % units


def make_tasks(
    ids: Iterable[str],
    plan: PlanConfig,
    done: Collection[str] = (),
    poison: Collection[str] = (),
    *,
    buckets: bool = False,
) -> list[Task]:
    """What is left to do, in order of unit.

    Args:
        ids: of all clips of the dataset.
        plan: recorded when the store was created.
        done: ids that have a vector.
        poison: ids that killed their workers: they keep their place and are not touched.
        buckets: clips share a batch only with clips of the same bucket. A worker learns the buckets of its unit's clips
            from their files, so each task has the unit's clips as one batch and Task.grouped cuts it.

    Returns:
        Tasks with every batch that a wanted clip belongs to. Where the dataset is not the one that the plan was made
        for, only clips without a vector share batches: clips that were added later cost nothing of the old ones.
    """
    ordered = sorted(ids)
    done, poison = frozenset(done), frozenset(poison)
    same = (len(ordered), ids_digest(ordered)) == (plan.clips, plan.digest)
    members = ordered if same else [clip_id for clip_id in ordered if clip_id not in done]
    units = max(1, -(-len(ordered) // plan.unit_clips))
    clips_of: dict[int, list[str]] = {}
    for clip_id in members:
        clips_of.setdefault(unit_of(clip_id, units), []).append(clip_id)
    tasks = []
    for unit, clips in sorted(clips_of.items()):
        size = len(clips) if buckets else plan.batch_size
        batches = [tuple(clips[start : start + size]) for start in range(0, len(clips), size)]
        wanted = frozenset(clip_id for clip_id in clips if clip_id not in done and clip_id not in poison)
        needed = tuple(batch for batch in batches if not wanted.isdisjoint(batch))
        if needed:
            touched = {clip_id for batch in needed for clip_id in batch}
            group_size = plan.batch_size if buckets else 0
            tasks.append(Task(unit, needed, wanted, skip=poison & touched, group_size=group_size))
    return tasks


def share(tasks: Sequence[Task], rank: int, world: int) -> list[Task]:
    """The tasks of one of ``world`` processes that know nothing of each other.

    Raises:
        OptionError: rank or world is out of range.
    """
    if world < 1 or not 0 <= rank < world:
        raise OptionError(f"plan: rank must be 0 to {world - 1}, got {rank} of {world}; check the launcher's variables")
    return [task for task in tasks if task.unit % world == rank]
