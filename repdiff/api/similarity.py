"""What is like given crystals: a data set searched by representation."""

from pathlib import Path
from typing import TYPE_CHECKING

from repdiff.api.checks import a_count, checked
from repdiff.crystals.checks import check_crystals
from repdiff.crystals.convert import as_crystal_set
from repdiff.datasets.sources import CrystalSets
from repdiff.errors import UserError
from repdiff.execution.progress import bars
from repdiff.hardware import choose_device
from repdiff.representations.described_sets import DEFAULT_DESCRIPTOR, describe, locate, of_encoded
from repdiff.representations.encoded_set import EncodedSet
from repdiff.representations.layout import named_descriptor
from repdiff.representations.similar_crystals import SimilarCrystals
from repdiff.representations.similarity import DescribedCrystals
from repdiff.runs.workspace import Workspace

if TYPE_CHECKING:
    import torch

    from repdiff.crystals.convert import CrystalsLike
else:
    CrystalsLike = object


@checked
def similar(
    crystals: CrystalsLike,
    among: CrystalsLike | EncodedSet | str | Path,
    n: int = 5,
    *,
    descriptor: str | None = None,
    device: str = "auto",
    progress: bool = True,
) -> SimilarCrystals:
    """Find the crystals of a set that are most like given ones, by the distance of their vectors.

    The distance is that of the descriptors, Σ|a - b| / (Σ|a| + Σ|b|), plus the share of the atoms that are of other
    elements: 0 for the same crystal in whatever cell, 2 at most. Nothing in it depends on the set.

    Args:
        crystals: Structures, atoms, crystals, or a set of them; those unfit for use are in `failed` of the result.
        among: What to search: of the same kinds, what `encode` returned, the name of a data set or NAME:SPLIT, or a
            path. What is encoded already, also by a run of `repdiff encode` in the workspace, is not encoded again.
        n: Number of nearest crystals for each.
        descriptor: Name of a descriptor, NAME or NAME:PRESET; None for that of an encoded set, or else "ead".
        device: Where to compute: auto, cpu, cuda or cuda:N.
        progress: Whether to show bars.

    Raises:
        UserError: If something is no crystal, none is fit for use, or there is no such set or descriptor, or the
            encoded set has another.

    Example:
        >>> import repdiff as rd
        >>> from ase.build import bulk
        >>> known = [bulk("Cu"), bulk("Ag"), bulk("NaCl", "rocksalt", a=5.64)]
        >>> found = rd.similar(bulk("Cu", cubic=True) * 2, known, n=2, device="cpu", progress=False)
        >>> found.to_frame()[["rank", "formula", "space_group"]].values.tolist()
        [[1, 'Cu', 'Fm-3m (225)'], [2, 'Ag', 'Fm-3m (225)']]
        >>> round(found.distances[0][0], 3)
        0.0
    """
    place = choose_device(device)
    given = as_crystal_set(crystals)
    reasons = dict(zip((one.id for one in given.crystals), check_crystals(given.crystals), strict=True))
    sound = [one for one in given.crystals if reasons[one.id] is None]
    failed = {**{name: why for name, why in reasons.items() if why is not None}, **given.failed}
    if not sound:
        raise UserError(
            f"none of {len(given)} crystals can be encoded; the first: {next(iter(failed.values()))}"
        )
    with bars(progress):
        known, name, chosen = described(among, descriptor, device=place)
        queries = DescribedCrystals.of(sound, chosen, device=place, progress=progress)
        return SimilarCrystals.find(
            queries,
            known,
            a_count("n", n) or 1,
            among=name,
            descriptor=chosen,
            failed=failed,
            progress=progress,
        )


def described(
    among: CrystalsLike | EncodedSet | str | Path, descriptor: str | None, *, device: "torch.device"
) -> tuple[DescribedCrystals, str, str]:
    """Return what is searched with its descriptors, its name, and the name of the descriptor.

    Raises:
        UserError: If there is no such set or descriptor, an encoded set has another, or no crystal is fit for use.
    """
    if descriptor is not None:
        named_descriptor(descriptor)
    if isinstance(among, EncodedSet):
        own = among.layout.descriptor
        if descriptor not in (None, own):
            raise UserError(
                f"among is encoded with the descriptor {own}, expected {descriptor}: encode it again"
            )
        return of_encoded(among), among.layout.dataset, own
    if isinstance(among, str | Path):
        workspace = Workspace()
        sets = CrystalSets(data_dir=None, workspace=workspace)
        source = locate(str(among), descriptor, sets, workspace)
        return describe(source, sets, None, device=device), source.name, source.descriptor
    given = as_crystal_set(among, what="among")
    chosen = descriptor or DEFAULT_DESCRIPTOR
    reasons = check_crystals(given.crystals)
    sound = [one for one, why in zip(given.crystals, reasons, strict=True) if why is None]
    if not sound:
        raise UserError(
            f"among has no crystal that is fit for use; the first: {next(iter(reasons), 'there are none')}"
        )
    return DescribedCrystals.of(sound, chosen, device=device), given.name or "those given", chosen
