"""A Ray cluster of several nodes on this machine, whose actors and nodes are killed during a run."""

from __future__ import annotations

import importlib.util
import os
import random
import signal
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from motive.extras import require as package
from motive.store import Store
from motive.workers.launch import LaunchConfig
from motive.workers.pool import Event
from tests.faults.rows import Row, check_equal, require
from tests.faults.synthetic import Synthetic, SyntheticJob, run_on_ray

ACTOR = b"ray::Host"
_NODE = {"num_cpus": 1, "object_store_memory": 100 << 20}


def run(quick: bool, folder: Path) -> list[Row]:
    """Kill actors and nodes until enough of both are killed; nothing where Ray is absent, or in the short form."""
    if quick or importlib.util.find_spec("ray") is None:
        return []
    return [kill(20, 12, folder)]


def kill(actors: int, nodes: int, folder: Path) -> Row:
    """The given number of kills of each, over as many runs as they take; each run ends by itself with the right store."""
    ray, utils = package("ray", "cluster", "ray"), package("ray.cluster_utils", "cluster", "ray")
    head = {"num_cpus": 0, "object_store_memory": 100 << 20, "include_dashboard": False}
    cluster = utils.Cluster(initialize_head=True, head_node_args=head)
    ray.init(address=cluster.address, log_to_driver=False)  # before there are other nodes: this process needs the head
    killer = _Killer(cluster, {"actor": actors, "node": nodes})
    events: list[Event] = []
    stores = 0
    try:
        while not killer.done:
            asked = SyntheticJob(1200, 20, 3, Synthetic(clip_s=0.05), LaunchConfig("ray", workers=2, max_deaths=1000))
            location = folder / f"ray-{stores}"
            with ThreadPoolExecutor(1) as thread:  # Ray starts nodes from the main thread only
                running = thread.submit(run_on_ray, asked, location, events)
                killer.during(running)
                running.result()
            check_equal(str(location), asked.expected(), "after Ray actors and nodes were killed")
            blamed = len(Store.open(location).failures())
            require(blamed == 0, f"{blamed} clips were blamed for kills from outside")
            stores += 1
    finally:
        ray.shutdown()
        cluster.shutdown()
    seen = Counter(event.kind for event in events)
    note = (
        f"{killer.killed['actor']} actors, {killer.killed['node']} nodes (a new one joins after each); {seen['died']} "
        f"deaths seen by the run, {seen['ready']} workers loaded for {seen['done']:,} units in {stores} stores; "
        f"ray {ray.__version__}"
    )
    return Row(
        "Ray actor or Ray node killed", killer.killed.total(), "the run ends by itself with the same vectors", note
    )


class _Killer:
    """Kills actors and nodes of the cluster, and adds a node for each that is gone."""

    def __init__(self, cluster: Any, wanted: dict[str, int]) -> None:
        self._cluster, self._wanted, self._random = cluster, wanted, random.Random(0)
        self._nodes = [cluster.add_node(**_NODE) for _ in range(2)]
        self.killed: Counter[str] = Counter()

    @property
    def done(self) -> bool:
        return all(self.killed[kind] >= count for kind, count in self._wanted.items())

    def during(self, run: Future[Store]) -> None:
        """Kill at random moments until enough are killed or the run is over."""
        while not self.done and not wait([run], self._random.uniform(1.0, 4.0)).done:
            left = [kind for kind, count in self._wanted.items() if self.killed[kind] < count for _ in range(count)]
            alive = named(ACTOR)
            if not alive:
                continue
            if self._random.choice(left) == "actor":
                os.kill(self._random.choice(alive), signal.SIGKILL)
                self.killed["actor"] += 1
            else:
                node = self._nodes.pop(self._random.randrange(len(self._nodes)))
                self._cluster.remove_node(node, allow_graceful=False)
                self.killed["node"] += 1
                self._nodes.append(self._cluster.add_node(**_NODE))


def named(command: bytes) -> list[int]:
    """Process ids of living processes of that name."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and command in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found
