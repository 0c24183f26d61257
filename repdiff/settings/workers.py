"""Settings of where parallel work runs: on this machine, or on the workers of a cluster."""

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from repdiff.errors import UserError, unknown
from repdiff.settings.base import Options, setting
from repdiff.settings.memory import MemorySettings

ADDRESS = re.compile(r"[a-z]+://\S+:\d+")
KINDS = ("slurm", "pbs", "lsf", "local")


class WorkerSettings(MemorySettings):
    """Settings that every verb has whose work is in pieces."""

    executor: Literal["local", "dask"] | None = setting(
        None,
        "Where pieces of work run; local: processes of this machine; dask: workers of a Dask cluster, which needs "
        "--scheduler or --cluster; default: dask with one of these, else local",
        role="speed",
        group="workers",
    )
    scheduler: str | None = setting(
        None,
        "Address of the scheduler of a Dask cluster of yours, such as tcp://10.0.0.5:8786",
        role="speed",
        group="workers",
    )
    cluster: Path | None = setting(
        None,
        "YAML file of a cluster to start for this command: Slurm, PBS, LSF or local; see docs/how-to/cluster.md",
        role="speed",
        group="workers",
    )

    @model_validator(mode="after")
    def _check_engine(self) -> Any:  # noqa: ANN401 (of the subclass)
        check_engine(self.executor, self.scheduler, self.cluster)
        return self


def check_engine(executor: str | None, scheduler: str | None, cluster: Path | None) -> None:
    """Check that the settings of where work runs go together.

    Raises:
        UserError: If they do not.
    """
    if scheduler is not None and cluster is not None:
        raise UserError("`scheduler` and `cluster` are both given, expected one of them")
    if scheduler is not None and not ADDRESS.fullmatch(scheduler):
        raise UserError(f"`scheduler` is {scheduler!r}, expected an address such as tcp://10.0.0.5:8786")
    if executor == "local" and (scheduler or cluster):
        raise UserError(
            f"`executor` is local, which has no `{'scheduler' if scheduler else 'cluster'}`: leave one of them out"
        )
    if executor == "dask" and not (scheduler or cluster):
        raise UserError(
            "`executor` is dask, expected `scheduler` or `cluster` too, which say where its workers are"
        )


class ClusterFile(Options):
    """What a YAML file says of a cluster that is started for one command.

    Attributes:
        kind: Queueing system, or "local" for processes of this machine.
        jobs: Number of batch jobs; each holds `processes` workers.
        workers: Number of workers of a local cluster.
        options: Arguments of the class of dask-jobqueue, or of Dask's own `LocalCluster`, by their names there.
    """

    kind: str
    jobs: int | None = None
    workers: int | None = None
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_number(self) -> "ClusterFile":
        if self.kind not in KINDS:
            raise UserError(unknown("kind", self.kind, KINDS))
        needed, other = ("workers", "jobs") if self.kind == "local" else ("jobs", "workers")
        if getattr(self, other) is not None:
            raise UserError(f"{other} is for another kind than {self.kind}, expected {needed}")
        if (n := getattr(self, needed)) is None or n < 1:
            raise UserError(f"{needed} is {n}, expected how many to start, at least 1")
        return self
