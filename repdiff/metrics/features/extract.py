"""Features of many crystals: in batches, over processes, kept in a cache."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import torch

from repdiff.crystals.crystal import Crystal
from repdiff.errors import UserError
from repdiff.execution.jobs import run_jobs
from repdiff.execution.progress import progress_bar
from repdiff.metrics.feature_cache import Fingerprint, ShardWriter, content_key, read_shards
from repdiff.metrics.features.base import FeatureExtractor, Features, load_extractor

PER_BATCH = 64  # crystals
ANGLES_PER_BATCH = 400_000  # of a network that looks at angles between short bonds; a crystal has about 500
SHORT_BOND = 3.0  # Å
BATCHES_PER_PROCESS = 16  # with fewer, a process takes longer to start than it saves
REVISION = 1  # of what is kept; raise it when the same weights give other numbers
NOTHING = np.zeros(0)

Answer = tuple[str, Fingerprint]


def extract_features(
    crystals: Sequence[Crystal],
    extractor: str = "chgnet",
    *,
    cache: Path | None = None,
    n_workers: int = 1,
    progress: bool = False,
) -> Features:
    """Compute the features of crystals, or take them from the cache.

    A batch is made of neighbours in the order of their contents, so that the same set gives the same numbers
    to the last bit in whatever order it comes.

    Args:
        crystals: Crystals, valid or not; one without features gets a reason.
        extractor: Registered name of the network, such as "chgnet".
        cache: Folder in which features are kept, by content, network and weights; None keeps nothing.
        n_workers: Processes; few crystals are done in this one.
        progress: Show a bar on stderr.

    Raises:
        UserError: If the extractor is unknown, or its package is not installed.
    """
    network = load_extractor(extractor)
    folder = None if cache is None else cache / cache_name(network)
    keys = [content_key(crystal) for crystal in crystals]
    found = {} if folder is None else read_shards(folder, keys, Fingerprint)
    missing = {key: crystal for key, crystal in zip(keys, crystals, strict=True) if key not in found}
    todo: dict[str, Crystal] = {}
    with ShardWriter[Fingerprint](folder) as writer:
        for key in sorted(missing):
            if reason := network.refusal(missing[key]):
                found[key] = Fingerprint(structure=None, composition=None, reason=reason)
            else:
                todo[key] = missing[key]
        for key, answer in _compute(extractor, todo, n_workers, progress):
            found[key] = answer
            writer.add(key, answer)
    values = np.full((len(crystals), network.n_features), np.nan)
    for row, key in enumerate(keys):
        if (vector := found[key].structure) is not None:
            values[row] = vector
    return Features(values=values, reasons=[found[key].reason for key in keys])


def cache_name(network: FeatureExtractor) -> str:
    """Name the folder of features that these weights give."""
    identity = network.identity
    return f"features-{REVISION}_{identity.name}-{identity.version}-{identity.weights_sha256[:16]}"


def _compute(extractor: str, todo: Mapping[str, Crystal], n_workers: int, progress: bool) -> Iterator[Answer]:
    batches = list(_batches(todo))
    finished = run_jobs(
        partial(_compute_batch, extractor),
        batches,
        n_workers=min(n_workers, len(batches) // BATCHES_PER_PROCESS),
        initializer=torch.set_num_threads,
        initargs=(1,),
        in_order=True,
    )
    bar = progress_bar(
        total=len(todo), desc=f"{extractor} features", unit="crystal", disable=not (progress and todo)
    )
    with closing(finished), bar:
        for _, answers in finished:
            yield from answers
            bar.update(len(answers))


def _compute_batch(extractor: str, batch: Mapping[str, Crystal]) -> list[Answer]:
    """Compute a batch; if that fails, its crystals one by one, so that one failure stays one."""
    network, crystals = load_extractor(extractor), list(batch.values())
    try:
        found = network.compute(crystals)
    except UserError:
        raise
    except (
        RuntimeError,
        ValueError,
        ArithmeticError,
        MemoryError,
    ) as error:  # other types are mistakes in the program
        if len(crystals) > 1:
            return [answer for key in batch for answer in _compute_batch(extractor, {key: batch[key]})]
        return [(next(iter(batch)), _no_features(f"{extractor}: {type(error).__name__} {error}"))]
    answers: list[Answer] = []
    for key, values, reason in zip(batch, found.values, found.reasons, strict=True):
        if not reason and not np.isfinite(values).all():
            reason = f"{extractor}: the features are not finite"
        answers.append(
            (key, _no_features(reason) if reason else Fingerprint(structure=values, composition=NOTHING))
        )
    return answers


def _no_features(reason: str) -> Fingerprint:
    return Fingerprint(structure=None, composition=None, reason=reason)


def _batches(todo: Mapping[str, Crystal]) -> Iterator[dict[str, Crystal]]:
    """Cut into batches of bounded size, by the angles that the mean density makes one expect."""
    batch: dict[str, Crystal] = {}
    n_angles = 0.0
    for key, crystal in todo.items():
        n_bonds = 4 / 3 * np.pi * SHORT_BOND**3 * crystal.n_atoms / crystal.volume
        n_angles += crystal.n_atoms * n_bonds**2
        if batch and (len(batch) == PER_BATCH or n_angles > ANGLES_PER_BATCH):
            yield batch
            batch, n_angles = {}, crystal.n_atoms * n_bonds**2
        batch[key] = crystal
    if batch:
        yield batch
