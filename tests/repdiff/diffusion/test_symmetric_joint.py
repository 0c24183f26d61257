"""The random numbers of the joint process where crystals keep a symmetry."""

import torch

from descriptors.symmetry.protostructure import Protostructure
from descriptors.symmetry.space_group import space_group
from repdiff.diffusion.predictor_corrector import Draws
from repdiff.diffusion.symmetric_joint import symmetric_draws
from repdiff.diffusion.symmetric_lattice import as_matrices
from repdiff.diffusion.symmetry_constraint import SymmetryConstraint

ALL = [
    Protostructure.of(number, [(22, space_group(number).positions[-1].letter)]) for number in range(1, 231)
]


def test_what_is_drawn_is_the_part_that_each_space_group_allows():
    constraint, generator = SymmetryConstraint.of(ALL), torch.Generator().manual_seed(0)
    n_atoms = len(constraint.maps.system_idx)
    coords, lattice = (
        torch.randn(n, k, generator=generator, dtype=torch.float64) for n, k in ((n_atoms, 3), (230, 6))
    )
    drawn = Draws(coords=coords, lattice=lattice, chances=torch.rand(n_atoms, 2, generator=generator))
    (found,) = symmetric_draws(constraint, iter([drawn]))
    torch.testing.assert_close(as_matrices(found.lattice), constraint.matrices(as_matrices(lattice)))
    torch.testing.assert_close(constraint.project(found.coords), found.coords)
    assert torch.equal(found.chances, drawn.chances)
