"""What is said of variations: how far they are from their parents, whether they are the same, what is nearest."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from repdiff.crystals.checks import check_crystals
from repdiff.crystals.crystal import Crystal, Label
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.metrics.primitive_cells import reduce_crystals
from repdiff.metrics.structure_groups import MatcherName, find_known
from repdiff.representations.similarity import DescribedCrystals, distances, find_nearest
from repdiff.runs.manifest import read_manifest


def with_columns(
    made: CrystalSet,
    parents: Sequence[Crystal],
    n: int,
    *,
    descriptor: str,
    known: DescribedCrystals | None,
    matcher: MatcherName,
    device: torch.device,
    n_workers: int = 1,
    progress: bool = True,
) -> CrystalSet:
    """Add columns to variations.

    `parent`, `variation` (its number), `parent_distance` (see `repdiff.representations.similarity`), `same_as_parent`,
    and with known crystals `nearest` and `nearest_distance`. What is no sound crystal has no distances, and is not the
    same as anything.

    Args:
        made: What `make_variations` returned.
        parents: The parents, in their order.
        n: Number of variations of each, those that failed included.
        descriptor: Name of the descriptor that distances are measured by.
        known: Crystals to look for the nearest among, with the same descriptor; None for none.
        matcher: What counts as the same structure.
        device: Where to compute descriptors.
        n_workers: Processes, where it helps.
        progress: Whether to show bars.
    """
    by_name = {
        f"{parent.id}-{place:03d}": (row, place) for row, parent in enumerate(parents) for place in range(n)
    }
    origin = [by_name[crystal.id] for crystal in made.crystals]
    columns: list[dict[str, Label]] = [
        {
            "parent": parents[row].id,
            "variation": place,
            "parent_distance": None,
            "same_as_parent": same,
            **({} if known is None else {"nearest": None, "nearest_distance": None}),
        }
        for (row, place), same in zip(
            origin, _same(made.crystals, parents, [row for row, _ in origin], matcher, n_workers), strict=True
        )
    ]
    sound = [place for place, why in enumerate(check_crystals(made.crystals, progress=False)) if why is None]
    if sound:
        described = DescribedCrystals.of(
            [made.crystals[place] for place in sound], descriptor, device=device, progress=progress
        )
        old = DescribedCrystals.of(parents, descriptor, device=device, progress=False)
        away = distances(described, old.select([origin[place][0] for place in sound]))
        for place, distance in zip(sound, away.tolist(), strict=True):
            columns[place]["parent_distance"] = distance
        if known is not None:
            nearest = find_nearest(described, known, 1, progress=progress)
            rows, far = nearest.rows[:, 0].tolist(), nearest.distances[:, 0].tolist()
            for place, row, distance in zip(sound, rows, far, strict=True):
                columns[place] |= {"nearest": known.crystals[row].id, "nearest_distance": distance}
    labelled = [
        crystal.replace(labels={**own, **crystal.labels})
        for crystal, own in zip(made.crystals, columns, strict=True)
    ]
    return CrystalSet(crystals=labelled, failed=made.failed)


def summary_of(varied: CrystalSet) -> Mapping[str, object]:
    """Say for a manifest how many variations are the same as their parents, and how far they are on average."""
    labels = [crystal.labels for crystal in varied.crystals]
    far = [float(one["parent_distance"]) for one in labels if one["parent_distance"] is not None]
    return {
        "share_same_as_parent": sum(bool(one["same_as_parent"]) for one in labels) / len(labels)
        if labels
        else None,
        "mean_parent_distance": sum(far) / len(far) if far else None,
    }


def training_set_of(model: Path) -> Path | None:
    """Return the encoded set that a run of train or finetune learnt from; None where that is not known or not there."""
    if not (model / "manifest.json").is_file():
        return None
    source = read_manifest(model).inputs.get("encoded")
    return None if source is None or not Path(source.path).is_dir() else Path(source.path)


def _same(
    crystals: Sequence[Crystal],
    parents: Sequence[Crystal],
    rows: Sequence[int],
    matcher: MatcherName,
    n_workers: int,
) -> list[bool]:
    """Tell of each crystal whether it is the same as the parent of its row."""
    reduced, known = reduce_crystals(crystals, n_workers=n_workers), reduce_crystals(parents)
    same = [False] * len(crystals)
    for row in sorted(set(rows)):
        places = [place for place, one in enumerate(rows) if one == row]
        found = find_known([reduced[place] for place in places], [known[row]], matcher=matcher)
        for place, match in zip(places, found.row.tolist(), strict=True):
            same[place] = match >= 0
    return same
