"""Distribution of a run over processes and machines; the only reader of a launcher's environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from motive.config import check_choices
from motive.errors import ConfigError, OptionError

Launcher = Literal["local", "torchrun", "slurm", "ray"]


@dataclass(frozen=True)
class LaunchConfig:
    """Which processes and machines do the work; the vectors are the same for any choice.

    Attributes:
        launcher: ``local`` works on this machine; ``torchrun`` and ``slurm`` expect that this process is one of several
            that were started alike, and take the share of its rank; ``ray`` uses actors on a Ray cluster.
        workers: worker processes (with ray: actors); 0 works in this process, where a clip that crashes ends the run.
        stall_s: restart a worker after this many seconds of silence.
        max_deaths: give up after this many worker deaths in a row without a finished task.
        retry_quarantined: also process clips that crashed their workers in an earlier run.
        gpus_per_worker: GPUs per Ray actor; -1 takes one if the cluster has GPUs.
        cpus_per_worker: CPU cores per Ray actor.
        ray_address: Ray cluster to join; empty joins the one of this machine's environment, or starts one here.
        metrics: gauges for Prometheus' textfile collector, replaced every few seconds; empty writes none.
    """

    launcher: Launcher = "local"
    workers: int = 0
    stall_s: float = 3600.0
    max_deaths: int = 10
    retry_quarantined: bool = False
    gpus_per_worker: float = -1.0
    cpus_per_worker: float = 1.0
    ray_address: str = ""
    metrics: str = ""

    def __post_init__(self) -> None:
        check_choices(self)
        if self.workers < 0 or self.max_deaths < 1 or not self.stall_s > 0:
            raise ConfigError(
                "LaunchConfig",
                f"{{workers}}, {{max_deaths}} and {{stall_s}} must be at least 0, 1 and above 0, got {self.workers}, "
                f"{self.max_deaths} and {self.stall_s}; correct them",
            )


@dataclass(frozen=True)
class Rank:
    """One of several processes that were started alike.

    Attributes:
        rank: 0 to world - 1.
        world: how many there are.
        local: number of this one on its machine; it chooses the GPU.
    """

    rank: int = 0
    world: int = 1
    local: int = 0


def rank_of(launcher: Launcher, environment: Mapping[str, str]) -> Rank:
    """This process' rank, from the variables that its launcher sets.

    torchrun sets RANK, WORLD_SIZE and LOCAL_RANK. SLURM sets SLURM_ARRAY_TASK_ID with SLURM_ARRAY_TASK_MIN and
    SLURM_ARRAY_TASK_MAX in an array (its step must be 1), and SLURM_PROCID, SLURM_NTASKS and SLURM_LOCALID for the
    tasks of an srun; both together multiply.

    Raises:
        OptionError: a variable is missing or no number.
    """
    if launcher == "torchrun":
        rank, world, local = (_number(environment, name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
        return _checked(Rank(rank, world, local), launcher)
    if launcher == "slurm":
        task, tasks, local = 0, 1, 0
        if "SLURM_PROCID" in environment:
            task, tasks = _number(environment, "SLURM_PROCID"), _number(environment, "SLURM_NTASKS")
            local = _number(environment, "SLURM_LOCALID")
        elif "SLURM_ARRAY_TASK_ID" not in environment:
            raise OptionError(
                "launch: SLURM_ARRAY_TASK_ID or SLURM_PROCID must be set, got neither; start the command with sbatch "
                "--array or srun"
            )
        part, parts = 0, 1
        if "SLURM_ARRAY_TASK_ID" in environment:
            first, last = (_number(environment, f"SLURM_ARRAY_TASK_{edge}") for edge in ("MIN", "MAX"))
            part, parts = _number(environment, "SLURM_ARRAY_TASK_ID") - first, last - first + 1
            if _number(environment, "SLURM_ARRAY_TASK_COUNT", default=parts) != parts:
                raise OptionError("launch: the job array skips numbers; use step 1, as in sbatch --array=0-N")
        return _checked(Rank(part * tasks + task, parts * tasks, local), launcher)
    return Rank()


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environment.get(name)
    if text is None and default is not None:
        return default
    try:
        return int(text or "")
    except ValueError as error:
        raise OptionError(
            f"launch: {name} must be a number, got {text!r}; start the command with the launcher that is named"
        ) from error


def _checked(rank: Rank, launcher: str) -> Rank:
    if not 0 <= rank.rank < rank.world or rank.local < 0:
        raise OptionError(
            f"launch: rank must be below the number of processes, got {rank}; check {launcher}'s variables"
        )
    return rank
