"""Protostructures that crystals nearly have: symmetrised, searched anew, and kept where the vector agrees as well."""

from collections.abc import Mapping
from dataclasses import replace

import torch

from reconstruction.given_symmetry import GivenSymmetry, Template
from reconstruction.inversion import prepare
from reconstruction.presets import Search
from repdiff.crystals.crystal import Crystal, from_batch
from repdiff.representations.batch import RepresentationBatch
from repdiff.symmetry import SymmetrizedCrystal, read_protostructures
from repdiff.symmetry.columns import symmetry_labels

TOLERANCES = (0.6, 0.4, 0.2, 0.1, 0.05)  # Å, the loosest first
WORSE = 1.1  # times the loss, which is what the vector is off by at least
EXACT = 1e-3  # loss below which a vector is met however exact it is


def propose(
    batch: RepresentationBatch,
    crystals: Mapping[int, Crystal],
    *,
    search: Search,
    seed: int,
    device: torch.device,
) -> dict[int, Crystal]:
    """Give crystals the highest symmetry that they nearly have and their vectors allow.

    For each tolerance, the loosest first, protostructures are read off the crystals; free coordinates and free cell
    parameters are then searched from the symmetrised crystal. The result is taken if its loss is at most 1.1 times that
    of the crystal without symmetry: the vector cannot tell the two apart. Its labels say which protostructure it has,
    how far the atoms and the lengths were from it, and at which tolerance.

    Args:
        batch: The vectors.
        crystals: What was found for some of them, by row, with the label "loss".
        search: How to search.
        seed: Seed of the search.
        device: Where to search.

    Returns:
        The crystals that are symmetric now, by row; the others are as good as can be.
    """
    found: dict[int, Crystal] = {}
    quick = replace(search, n_rounds=1)
    for tolerance in TOLERANCES:
        rows = [row for row in crystals if row not in found]
        readings = read_protostructures([crystals[row] for row in rows], symprec=tolerance, canonical=True)
        proposed = {
            row: one
            for row, reading in zip(rows, readings, strict=True)
            if (one := reading.symmetrized) is not None and _fits(crystals[row], one)
        }
        if proposed:
            for row, crystal in _search(batch, proposed, quick, seed, device).items():
                before = crystals[row]
                if _loss(crystal) <= max(WORSE * _loss(before), EXACT):
                    labels = {**before.labels, **crystal.labels, "start": "proposed"}
                    labels |= symmetry_labels(proposed[row])
                    found[row] = crystal.replace(id=before.id, labels=labels)
    return found


def _loss(crystal: Crystal) -> float:
    return float(str(crystal.labels["loss"]))


def _fits(crystal: Crystal, symmetrized: SymmetrizedCrystal) -> bool:
    """Tell whether there is symmetry, and no atom is lost or gained by it."""
    protostructure = symmetrized.protostructure
    return protostructure.number > 1 and protostructure.n_atoms() == crystal.n_atoms


def _search(
    batch: RepresentationBatch,
    proposed: Mapping[int, SymmetrizedCrystal],
    search: Search,
    seed: int,
    device: torch.device,
) -> dict[int, Crystal]:
    rows = list(proposed)
    cells = torch.stack([torch.from_numpy(proposed[row].cell) for row in rows]).double()
    symmetry = GivenSymmetry(
        protostructures=[proposed[row].protostructure for row in rows],
        cells=cells,
        templates=[
            (Template(free=torch.from_numpy(proposed[row].free), cell=cell),)
            for row, cell in zip(rows, cells, strict=True)
        ],
    )
    inversion = prepare(
        batch.vectors[rows],
        batch.layout.representation(),
        search=search,
        exact=False,
        seed=seed,
        device=device,
        symmetry=symmetry,
    )
    crystals: dict[int, Crystal] = {}
    for group in inversion.groups:
        result = inversion.run(group)
        made = from_batch(result.batch, [str(row) for row in result.rows])
        for place, (row, crystal) in enumerate(zip(result.rows, made, strict=True)):
            crystals[rows[row]] = crystal.replace(labels=result.labels(place))
    return crystals
