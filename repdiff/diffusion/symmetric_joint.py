"""The joint process of elements, coordinates and cells for crystals that keep the symmetry of protostructures.

The sampler stays as it is: what is predicted and what is drawn is taken to what the symmetry allows. Elements are those
of the protostructures. Of the entries of a symmetric matrix that a group allows, those off the diagonal are free or
zero and those on it free or equal, so that noise with entries of unit variance, projected orthogonally, has unit
variance along every direction that is left.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from descriptors.batch import CrystalBatch
from repdiff.diffusion.joint_process import JointProcess, State, StateNoise
from repdiff.diffusion.predictor_corrector import Draws, Predict, Prediction
from repdiff.diffusion.symmetric_lattice import as_matrices, symmetric_cells
from repdiff.diffusion.symmetry_constraint import SymmetryConstraint
from repdiff.diffusion.torus import wrap

UPPER = [0, 4, 8, 1, 2, 5]  # entries of a symmetric matrix, row by row, in the order of `as_matrices`


def symmetric_start(
    constraint: SymmetryConstraint, coords: Float[Tensor, "n_atoms 3"], lattice: Float[Tensor, "n_systems 6"]
) -> State:
    """Arrange random numbers as symmetric crystals at the last time, with their elements.

    Args:
        constraint: The symmetry.
        coords: Uniform in [0, 1).
        lattice: Standard normal.
    """
    return State(
        coords=constraint.start(coords),
        z=constraint.matrices(as_matrices(lattice)),
        numbers=constraint.atoms.atomic_numbers,
        system_idx=constraint.maps.system_idx,
        references=constraint.references,
    )


def noised_start(
    process: JointProcess,
    clean: CrystalBatch,
    time: int,
    noise: StateNoise,
    constraint: SymmetryConstraint | None = None,
) -> State:
    """Noise crystals to a time, from which the sampler leads them back.

    Args:
        process: The processes of the model.
        clean: Crystals in right-handed cells; with a constraint in the order and the cells of its protostructures.
        time: The time.
        noise: Random numbers; chances of 1 hide no element.
        constraint: Symmetry that the crystals have and keep; None for none.
    """
    counts, cells = clean.n_atoms_per_system, clean.lattice
    if constraint is not None:
        cells = torch.linalg.inv(constraint.references) @ cells
        matrices = constraint.matrices(as_matrices(noise.lattice)).flatten(1)
        noise = noise._replace(coords=constraint.noise(noise.coords), lattice=matrices[:, UPPER])
    state = State(
        coords=clean.frac_coords,
        z=process.limit.encode(symmetric_cells(cells), counts),
        numbers=clean.atomic_numbers,
        system_idx=clean.system_idx,
        references=None if constraint is None else constraint.references,
    )
    return process.add_noise(state, torch.full_like(counts, time), noise)


def symmetric_predictions(constraint: SymmetryConstraint, predict: Predict) -> Predict:
    """Return what predicts steps and cells that keep the symmetry."""

    def symmetric(state: State, time: int) -> Prediction:
        found = predict(state, time)
        return found._replace(score=constraint.project(found.score), clean=constraint.matrices(found.clean))

    return symmetric


def symmetric_draws(constraint: SymmetryConstraint, draws: Iterator[Draws]) -> Iterator[Draws]:
    """Yield draws whose noise keeps the symmetry."""
    for one in draws:
        matrices = constraint.matrices(as_matrices(one.lattice)).flatten(1)
        yield one._replace(coords=constraint.noise(one.coords), lattice=matrices[:, UPPER])


def symmetric_crystals(constraint: SymmetryConstraint, process: JointProcess, state: State) -> CrystalBatch:
    """Return the crystals of a state, freed of rounding."""
    exact = state._replace(coords=wrap(constraint.exact(state.coords)), z=constraint.matrices(state.z))
    return process.decode(exact)[0]
