"""Fingerprints of crystals for the coverage metrics: CrystalNN order parameters and Magpie features, by matminer."""

import functools
import json
import logging
import warnings
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

from repdiff.crystals.crystal import Crystal, to_structure
from repdiff.crystals.geometry import check_structures
from repdiff.execution.jobs import died, run_jobs, too_large
from repdiff.execution.progress import progress_bar
from repdiff.metrics.feature_cache import Fingerprint, ShardWriter, content_key, read_shards, still_missing

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from matminer.featurizers.composition import ElementProperty
    from matminer.featurizers.site import CrystalNNFingerprint

N_STRUCTURE, N_COMPOSITION = 61, 132
MIN_VOLUME_PER_ATOM = (
    0.5  # Å³, a tenth of diamond's; denser cells keep the search for neighbours busy for minutes
)
SAME_SITE = 1e-5  # Å, within which symmetry must map atoms onto each other for their sites to count as one
WORTH_A_WORD = 500  # fingerprints; about half a minute on one core
PER_TASK = 4  # crystals handed to a process at once; Ctrl-C loses as many for each process
PER_PROCESS = 100  # with fewer, a process takes longer to start than it saves
REVISION = 1  # of what is kept; raise it when the same versions of the libraries give other numbers
SCALER = Path(__file__).with_name("magpie_scaler.json")


@dataclass(frozen=True, kw_only=True)
class Fingerprints:
    """Fingerprints of a set of crystals, in its order.

    Attributes:
        structure: Means of the site fingerprints; a row of NaN where there is none.
        composition: Magpie features, z-scored by `scale_composition`; a row of NaN where there is none.
        reasons: Why there is none, by crystal; "" where there is one.
    """

    structure: Float[np.ndarray, "n_crystals 61"]
    composition: Float[np.ndarray, "n_crystals 132"]
    reasons: Sequence[str]

    @property
    def present(self) -> Bool[np.ndarray, " n_crystals"]:
        """Tell which crystals have one."""
        return np.array([not reason for reason in self.reasons], dtype=bool)


def compute_fingerprints(
    crystals: Sequence[Crystal],
    *,
    cache: Path | None = None,
    n_workers: int = 1,
    progress: bool = False,
) -> Fingerprints:
    """Compute the fingerprints of crystals, or take them from the cache.

    Args:
        crystals: Crystals, valid or not.
        cache: Folder in which fingerprints are kept, by content and by the versions of matminer and pymatgen.
            Whatever was computed is there after Ctrl-C, too. None keeps nothing.
        n_workers: Processes; few crystals are done in this one.
        progress: Show a bar on stderr.

    Source: Xie et al., arXiv 2110.06197, appendix; site fingerprints by Zimmermann and Jain, RSC Adv. 2020, 10,
        6063; composition features by Ward et al., npj Comput. Mater. 2016, 2, 16028.
    """
    folder = None if cache is None else cache / cache_name()
    keys = [content_key(crystal) for crystal in crystals]
    found = {} if folder is None else read_shards(folder, keys, Fingerprint)
    todo = {key: crystal for key, crystal in zip(keys, crystals, strict=True) if key not in found}
    for key, reason in zip(todo, hopeless(list(todo.values())), strict=True):
        if reason:
            found[key] = Fingerprint(structure=None, composition=None, reason=reason)
    todo = {key: crystal for key, crystal in todo.items() if key not in found}
    with still_missing(folder, todo, found, Fingerprint, worth_waiting=WORTH_A_WORD) as todo:
        if len(todo) >= WORTH_A_WORD:
            kept = (
                "not kept: name a folder by `cache`" if folder is None else f"kept in {folder} for next time"
            )
            log.info("computing %d of %d fingerprints, %s", len(todo), len(crystals), kept)
        with ShardWriter[Fingerprint](folder) as writer:
            for key, fingerprint in _compute(todo, n_workers, progress):
                found[key] = fingerprint
                if fingerprint.reason not in (died(), too_large()):  # which another try may not
                    writer.add(key, fingerprint)
    return _stack([found[key] for key in keys])


def hopeless(crystals: Sequence[Crystal]) -> list[str]:
    """Say of each crystal why there is no point in computing a fingerprint; "" if there is.

    Atoms that are too close do not count: the published evaluation computes fingerprints of such crystals.
    """
    return [
        check.reason
        if check.volume is None or check.shortest_distance is None
        else f"volume below {MIN_VOLUME_PER_ATOM} Å³ per atom"
        if check.volume < MIN_VOLUME_PER_ATOM * crystal.n_atoms
        else ""
        for crystal, check in zip(crystals, check_structures(crystals), strict=True)
    ]


def fingerprint_crystal(crystal: Crystal) -> Fingerprint:
    """Compute one fingerprint, the features of the composition not scaled; any failure becomes a reason."""
    try:
        structure, composition = structure_features(crystal), composition_features(crystal)
    except Exception as error:  # the libraries give up by any of many types
        text = " ".join(f"{type(error).__name__} {error}".split())[:100]
        return Fingerprint(structure=None, composition=None, reason=f"no fingerprint: {text}")
    if not np.isfinite(structure).all():
        return Fingerprint(structure=None, composition=None, reason="no fingerprint: not finite")
    return Fingerprint(structure=structure, composition=composition)


def structure_features(crystal: Crystal) -> Float[np.ndarray, " 61"]:
    """Compute the mean over the atoms of matminer's `CrystalNNFingerprint`, preset "ops".

    Sites that symmetry makes equal are computed once. matminer gives such sites values that differ by up to
    1e-3 where the weight of a neighbour is in doubt, so the mean may differ from its own by as much.
    """
    structure = to_structure(crystal)
    sites, counts = np.unique(_representatives(crystal), return_counts=True)
    with _quiet():
        rows = [_crystal_nn().featurize(structure, int(site)) for site in sites]
    return counts @ np.array(rows, dtype=np.float64) / counts.sum()


def composition_features(crystal: Crystal) -> Float[np.ndarray, " 132"]:
    """Compute matminer's `ElementProperty`, preset "magpie"; NaN where an element lacks a property."""
    from pymatgen.core import Composition, Element

    counts = Counter(crystal.atomic_numbers.tolist())
    formula = Composition({Element.from_Z(number): count for number, count in sorted(counts.items())})
    with _quiet():
        return np.array(_magpie().featurize(formula), dtype=np.float64)


def scale_composition(features: Float[np.ndarray, "n 132"]) -> Float[np.ndarray, "n 132"]:
    """Z-score Magpie features by the constants that the published thresholds assume; NaN becomes 0."""
    mean, deviation = _scaler()
    return np.nan_to_num((features - mean) / deviation, nan=0.0)


def cache_name() -> str:
    """Name the folder of the fingerprints that these versions of the libraries compute."""
    from pymatgen.core import __version__ as pymatgen

    return f"crystalnn-ops-magpie-{REVISION}-matminer-{version('matminer')}-pymatgen-{pymatgen}"


def _compute(
    crystals: Mapping[str, Crystal], n_workers: int, progress: bool
) -> Iterator[tuple[str, Fingerprint]]:
    """Yield fingerprints as they are ready, in any order."""
    items = list(crystals.items())
    n_workers = min(n_workers, len(items) // PER_PROCESS)
    size = PER_TASK if n_workers > 1 else 1
    chunks = [items[start : start + size] for start in range(0, len(items), size)]
    finished = run_jobs(_fingerprint_chunk, chunks, n_workers=n_workers, instead=_without_fingerprints)
    bar = progress_bar(
        total=len(items), desc="fingerprints", unit="crystal", disable=not progress or not items
    )
    with closing(finished), bar:
        for _, found in finished:
            yield from found
            bar.update(len(found))


def _fingerprint_chunk(items: Sequence[tuple[str, Crystal]]) -> list[tuple[str, Fingerprint]]:
    return [(key, fingerprint_crystal(crystal)) for key, crystal in items]


def _without_fingerprints(items: Sequence[tuple[str, Crystal]], reason: str) -> list[tuple[str, Fingerprint]]:
    return [(key, Fingerprint(structure=None, composition=None, reason=reason)) for key, _ in items]


@contextmanager
def _quiet() -> Generator[None, None, None]:
    """Silence what the libraries say of missing oxidation states and radii with every site, and of themselves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _representatives(crystal: Crystal) -> Int[np.ndarray, " n_atoms"]:
    """Map every atom to the first that symmetry makes equal to it; to itself where spglib gives up."""
    import spglib

    cell = (crystal.lattice.tolist(), crystal.frac_coords.tolist(), crystal.atomic_numbers.tolist())
    try:
        with _quiet():
            dataset = spglib.get_symmetry_dataset(cell, symprec=SAME_SITE)
    except Exception:  # its own exception class is younger than the oldest version we allow
        dataset = None
    return np.arange(crystal.n_atoms) if dataset is None else np.asarray(dataset.equivalent_atoms)


def _stack(found: Sequence[Fingerprint]) -> Fingerprints:
    structure = np.full((len(found), N_STRUCTURE), np.nan)
    composition = np.full((len(found), N_COMPOSITION), np.nan)
    for row, one in enumerate(found):
        if one.structure is not None and one.composition is not None:
            structure[row] = one.structure
            composition[row] = scale_composition(one.composition[None])[0]
    return Fingerprints(structure=structure, composition=composition, reasons=[one.reason for one in found])


@functools.cache
def _scaler() -> tuple[Float[np.ndarray, " 132"], Float[np.ndarray, " 132"]]:
    constants = json.loads(SCALER.read_text(encoding="utf-8"))
    return np.array(constants["mean"]), np.array(constants["std"])


@functools.cache
def _crystal_nn() -> "CrystalNNFingerprint":
    from matminer.featurizers.site import CrystalNNFingerprint

    return CrystalNNFingerprint.from_preset("ops")


@functools.cache
def _magpie() -> "ElementProperty":
    """Build the featurizer without imputation, which matminer lacked when the constants were made."""
    from matminer.featurizers.composition import ElementProperty

    return ElementProperty.from_preset("magpie", impute_nan=False)
