"""The joint process of elements, coordinates and cells for crystals that keep the symmetry of protostructures.

The sampler stays as it is: what is predicted and what is drawn is taken to what the symmetry allows. Elements are those
of the protostructures. Of the entries of a symmetric matrix that a group allows, those off the diagonal are free or
zero and those on it free or equal, so that noise with entries of unit variance, projected orthogonally, has unit
variance along every direction that is left.
"""

from collections.abc import Iterator

from jaxtyping import Float
from torch import Tensor

from descriptors.batch import CrystalBatch
from repdiff.diffusion.joint_process import JointProcess, State
from repdiff.diffusion.predictor_corrector import Draws, Predict, Prediction
from repdiff.diffusion.symmetric_lattice import as_matrices
from repdiff.diffusion.symmetry_constraint import SymmetryConstraint
from repdiff.diffusion.torus import wrap


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
        yield one._replace(coords=constraint.noise(one.coords), lattice=matrices[:, [0, 4, 8, 1, 2, 5]])


def symmetric_crystals(constraint: SymmetryConstraint, process: JointProcess, state: State) -> CrystalBatch:
    """Return the crystals of a state, freed of rounding."""
    exact = state._replace(coords=wrap(constraint.exact(state.coords)), z=constraint.matrices(state.z))
    return process.decode(exact)[0]
