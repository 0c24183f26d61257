"""What is said of crystals that were walked towards a goal: what they were, what they are, and the way between."""

import torch

from repdiff.backends.optimization import Visited, Walk
from repdiff.crystals.crystal import Crystal, Label
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.crystals.symmetry import space_groups
from repdiff.representations.similarity import DescribedCrystals, distances


def end_crystals(walk: Walk, *, progress: bool = True) -> CrystalSet:
    """Return the best crystals of each start, with labels that say what changed.

    Labels: `start` (name), `steps` (crystals on the way, 0 if nothing better than the start was found), `NAME_asked`,
    `predicted_NAME` and `predicted_NAME_std` of the crystal, `start_predicted_NAME` and `start_predicted_NAME_std`,
    `start_formula`, `space_group` and `start_space_group` (at 0.1 Å), `volume_per_atom` and `start_volume_per_atom`
    (Å³), and `start_distance` (see `repdiff.representations.similarity`).

    Args:
        walk: After its rounds.
        progress: Whether to show bars.
    """
    ends = [
        (start, place, one)
        for start in walk.starts.crystals
        for place, one in enumerate(walk.best(start, walk.request.n))
    ]
    starts = [start for start, _, _ in ends]
    crystals = [one.crystal for _, _, one in ends]
    descriptor, device = walk.layout.descriptor, torch.device("cpu")
    described = [
        DescribedCrystals.of(some, descriptor, device=device, progress=progress)
        for some in (crystals, starts)
    ]
    away = distances(*described).tolist()
    groups, start_groups = (list(space_groups(some, progress=False)) for some in (crystals, starts))
    name, goal = walk.request.objective.name, walk.request.objective.goal
    labelled = []
    for row, (start, place, one) in enumerate(ends):
        before = walk.visited[start.id]
        labels: dict[str, Label] = {
            "start": start.id,
            "steps": len(walk.lineage(one)) - 1,
            f"{name}_asked": goal.text,
            f"predicted_{name}": one.mean,
            f"predicted_{name}_std": one.spread,
            f"start_predicted_{name}": before.mean,
            f"start_predicted_{name}_std": before.spread,
            "start_formula": start.formula,
            "space_group": groups[row],
            "start_space_group": start_groups[row],
            "volume_per_atom": one.crystal.volume / one.crystal.n_atoms,
            "start_volume_per_atom": start.volume / start.n_atoms,
            "start_distance": away[row],
        }
        labelled.append(one.crystal.replace(id=f"{start.id}-end-{place:02d}", labels=labels, split=None))
    return CrystalSet(crystals=labelled, failed=walk.starts.failed)


def path_crystals(walk: Walk) -> list[Crystal]:
    """Return the crystals on the way of each end crystal, start and end included; labels say which and where."""
    found = []
    name = walk.request.objective.name
    for start in walk.starts.crystals:
        for place, end in enumerate(walk.best(start, walk.request.n)):
            for step, one in enumerate(walk.lineage(end)):
                found.append(_on_the_way(one, f"{start.id}-end-{place:02d}", step, name))
    return found


def _on_the_way(one: Visited, end: str, step: int, name: str) -> Crystal:
    labels: dict[str, Label] = {
        "end": end,
        "step": step,
        "round": one.number,
        f"predicted_{name}": one.mean,
        f"predicted_{name}_std": one.spread,
    }
    return one.crystal.replace(id=f"{end}-step-{step:02d}", labels=labels, split=None)


def summary_of_walk(walk: Walk, ends: CrystalSet) -> dict[str, object]:
    """Say for a manifest how far crystals came, on average."""
    name = walk.request.objective.name
    first = [one.labels for one in ends.crystals if one.id.endswith("-end-00")]
    moved = [
        float(str(one[f"predicted_{name}"])) - float(str(one[f"start_predicted_{name}"])) for one in first
    ]
    return {
        "n_starts": len(first),
        "n_starts_left_out": len(walk.starts.failed),
        "n_improved": sum(map(walk.improved, walk.starts.crystals)),
        "n_built": sum(one.number > 0 for one in walk.visited.values()),
        f"mean_change_of_predicted_{name}": sum(moved) / len(moved) if moved else None,
    }


def in_words(walk: Walk, ends: CrystalSet) -> str:
    """Say what became of each start, a line each."""
    name = walk.request.objective.name
    lines = []
    for one in ends.crystals:
        told = one.labels
        lines.append(
            f"{told['start']}: predicted {name} {told[f'start_predicted_{name}']:.4g} ± "
            f"{told[f'start_predicted_{name}_std']:.2g} -> {told[f'predicted_{name}']:.4g} ± "
            f"{told[f'predicted_{name}_std']:.2g} (asked {told[f'{name}_asked']}); {told['start_formula']} -> "
            f"{one.formula}, space group {told['start_space_group']} -> {told['space_group']}, volume per "
            f"atom {told['start_volume_per_atom']:.4g} -> {told['volume_per_atom']:.4g} Å³, distance "
            f"{told['start_distance']:.3g}"
        )
    return "\n".join(lines) + "\n"
