"""Blocks of representations are the same from whole vectors and from what is left of them, and have gradients."""

import pytest
import torch
from known_crystals import family

import repdiff as rd
from repdiff.representations.blocks import NAMES, SymmetricBlocks, blocks_of, whole_blocks
from repdiff.representations.symmetric_vectors import to_symmetric_vectors


@pytest.fixture(scope="module")
def encoded():
    return rd.encode(family()[::3], device="cpu", progress=False)


def test_both_kinds_of_vectors_have_the_same_blocks(encoded):
    whole = whole_blocks(encoded.representations, encoded.layout)
    vectors = to_symmetric_vectors(encoded.representations, encoded.symmetry, encoded.layout.representation())
    symmetric = SymmetricBlocks.of(encoded.symmetry.protostructures, encoded.layout)(vectors)
    assert tuple(whole) == tuple(symmetric) == NAMES
    for name in NAMES:
        torch.testing.assert_close(symmetric[name], whole[name], rtol=2e-3, atol=1e-4)


def test_blocks_are_what_they_say(encoded):
    blocks = whole_blocks(encoded.representations, encoded.layout)
    for row, crystal in enumerate(encoded.crystals):
        assert float(blocks["volume_per_atom"][row]) == pytest.approx(
            crystal.volume / crystal.n_atoms, rel=1e-4
        )
        assert float(blocks["n_atoms"][row]) == crystal.n_atoms
        share = (crystal.atomic_numbers == crystal.atomic_numbers[0]).mean()
        assert float(blocks["composition"][row, crystal.atomic_numbers[0]]) == pytest.approx(share)
    assert blocks["composition"].shape[1] == 119


def test_crystals_in_other_cells_have_the_same_blocks_but_the_number_of_atoms(encoded):
    wide = rd.CrystalSet.of(encoded.crystals[:2]).to_structures()
    for one in wide:
        one.make_supercell([[1, 0, 0], [1, 2, 0], [0, 0, 1]])
    plain, large = (
        blocks_of(some, encoded.layout.descriptor)
        for some in (encoded.crystals[:2], rd.CrystalSet.of(wide).crystals)
    )
    for name in ("descriptor", "min_distance", "composition", "volume_per_atom"):
        torch.testing.assert_close(large[name], plain[name], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(large["n_atoms"], 2 * plain["n_atoms"])


def test_gradients_are_those_of_differences(encoded):
    vectors = encoded.representations[:2].double().requires_grad_()
    weights = {name: torch.rand(1, dtype=torch.float64) for name in NAMES}

    def value(some):
        return sum(
            (weights[name] * block).sum() for name, block in whole_blocks(some, encoded.layout).items()
        )

    (gradient,) = torch.autograd.grad(value(vectors), vectors)
    columns = [
        encoded.layout.representation().blocks[name].start for name in ("descriptor", "n_atoms", "lattice")
    ]
    for column in [*columns, columns[-1] + 4]:
        step = torch.zeros_like(vectors)
        step[0, column] = 1e-4
        with torch.no_grad():
            slope = (value(vectors + step) - value(vectors - step)) / 2e-4
        assert float(gradient[0, column]) == pytest.approx(float(slope), rel=1e-4, abs=1e-8)
