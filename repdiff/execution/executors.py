"""Choose where parallel work runs: processes of this machine, or the workers of a cluster."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from repdiff.errors import UserError, unknown
from repdiff.execution.jobs import using
from repdiff.execution.memory import local_engine
from repdiff.settings.load import read_document
from repdiff.settings.workers import ClusterFile, check_engine

EXECUTORS = ("local", "dask")
INSTALL = "pip install 'repdiff[cluster]'"


@contextmanager
def use_executor(
    executor: str | None = None, *, scheduler: str | None = None, cluster: Path | str | None = None
) -> Generator[None, None, None]:
    """Let the pieces of work of this process run elsewhere, for the length of a `with` block.

    Everything that is in pieces takes it: reading, encoding, sampling, reconstruction, relaxation, evaluation. The
    results do not depend on it. On a cluster the number of workers is that of the cluster, whatever `n_workers` says.
    Workers need Python and repdiff of the same version, and no disk in common. Dask trusts all who can reach its
    scheduler: connect only to one that is yours alone, see docs/how-to/cluster.md.

    Args:
        executor: "local" or "dask"; None takes dask if `scheduler` or `cluster` is given, else local.
        scheduler: Address of the scheduler of a Dask cluster, such as "tcp://10.0.0.5:8786".
        cluster: YAML file of a cluster that is started when it is needed and ends with the block.

    Raises:
        UserError: If the arguments do not go together, the file cannot be used, or the packages are not installed.

    Example:
        >>> import repdiff as rd
        >>> from ase.build import bulk
        >>> with rd.use_executor("local"):
        ...     encoded = rd.encode([bulk("Cu"), bulk("Fe")], device="cpu", progress=False)
        >>> len(encoded)
        2
    """
    if scheduler is not None and not isinstance(scheduler, str):
        raise UserError(f"`scheduler` is {scheduler!r}, expected an address such as tcp://10.0.0.5:8786")
    if cluster is not None and not (isinstance(cluster, str | Path) and str(cluster).strip()):
        raise UserError(f"`cluster` is {cluster!r}, expected the name of a YAML file")
    path = None if cluster is None else Path(cluster)
    if executor not in (None, *EXECUTORS):
        raise UserError(unknown("executor", str(executor), EXECUTORS))
    check_engine(executor, scheduler, path)
    if scheduler is None and path is None:
        with using(local_engine()):
            yield
        return
    described = None if path is None else read_cluster(path)
    try:
        from repdiff.execution.dask_start import at_address, started
    except ImportError as error:
        raise UserError(f"work on a cluster needs {error.name}, which is not installed: {INSTALL}") from error
    if scheduler is not None:
        engine = at_address(scheduler)
    else:
        assert described is not None
        engine = started(described, str(path))
    with engine, using(engine):
        yield


def read_cluster(file: Path) -> ClusterFile:
    """Read the YAML file of a cluster.

    Raises:
        UserError: If it cannot be read, or a key or a value is wrong.
    """
    document = read_document(file)
    for name in document:
        if name not in ClusterFile.model_fields:
            raise UserError(f"{file}: {unknown('key', str(name), list(ClusterFile.model_fields))}")
    try:
        return ClusterFile.model_validate(document)
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        told = found.get("ctx", {}).get("error")
        where = ".".join(map(str, found["loc"]))
        value, expected = found["input"], found["msg"]
        raise UserError(f"{file}: {told or f'{where} is {value!r}: {expected}'}") from error
