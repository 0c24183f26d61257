import pytest
import torch

from reconstruction.decode import decode


def test_formula_and_cell_of_true_vectors_come_back(vectors, representation, family):
    decoded = decode(vectors, representation, max_atoms=20)
    assert decoded.reasons == [None] * len(family)
    for structure, numbers, volume in zip(
        family, decoded.atomic_numbers, torch.linalg.det(decoded.lattice).tolist(), strict=True
    ):
        assert numbers.tolist() == sorted(site.specie.Z for site in structure)
        assert volume == pytest.approx(structure.volume, rel=1e-4)
    assert float(decoded.residuals.max()) < 1e-4


@pytest.mark.parametrize(
    ("block", "value", "reason"),
    [
        ("n_atoms", 0.2, "number of atoms"),
        ("n_atoms", 21.0, "expected 1 to 20"),
        ("n_atoms", torch.nan, "number of atoms"),
        ("composition", 0.0, "element frequencies"),
        ("composition", torch.inf, "element frequencies"),
        ("lattice", 0.5, "an edge is 0.5"),
        ("lattice", torch.nan, "expected finite numbers"),
        ("descriptor", torch.nan, "the descriptor is not finite"),
    ],
)
def test_a_vector_that_makes_no_crystal_is_refused_with_the_reason(
    block, value, reason, changed, representation
):
    decoded = decode(changed(**{block: value}), representation, max_atoms=20)
    assert all(reason in text for text in decoded.reasons)
    assert len(decoded.refused) == len(decoded.reasons)


def test_atoms_repel_below_the_distance_in_the_vector_and_never_less_than_a_baseline(changed, representation):
    shortest = [
        float(decode(changed(min_distance=d), representation, max_atoms=20).shortest[0])
        for d in (2.0, 0.1, -1.0)
    ]
    assert shortest == pytest.approx([1.9, 0.6, 0.6])


def test_vectors_of_another_length_are_refused(vectors, representation):
    with pytest.raises(ValueError, match=f"expected the {representation.n_features} of the representation"):
        decode(vectors[:, 1:], representation, max_atoms=20)
