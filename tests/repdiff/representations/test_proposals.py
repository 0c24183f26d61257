from dataclasses import replace

import pytest
import torch

from reconstruction.presets import SEARCHES
from repdiff.crystals.symmetry import space_groups
from repdiff.representations.inversion import invert
from repdiff.testing.backend import small_set

CPU = torch.device("cpu")
QUICK = replace(SEARCHES["fast"], n_rounds=1, n_refine=0, n_polish=0)


@pytest.fixture(scope="module")
def noisy():
    """Vectors of cubic perovskites whose cells are off and whose descriptors are noisy, without protostructures."""
    encoded = small_set()
    rows = [row for row, crystal in enumerate(encoded.crystals) if crystal.id.startswith("oxide")][:2]
    batch = encoded.to_batch()
    blocks = batch.layout.representation().blocks
    vectors = batch.vectors[rows].clone()
    generator = torch.Generator().manual_seed(0)
    block = blocks["descriptor"]
    vectors[:, block] *= 1 + 0.03 * torch.randn(vectors[:, block].shape, generator=generator)
    vectors[:, blocks["lattice"]] *= 1 + 0.004 * torch.randn(2, 6, generator=generator)
    return replace(batch, vectors=vectors, names=["a", "b"], symmetry=None)


def found(batch, folder, **others):
    folder.mkdir(exist_ok=True)
    done = invert(
        batch,
        search=QUICK,
        exact=False,
        seed=0,
        device=CPU,
        n_workers=1,
        folder=folder,
        progress=False,
        **others,
    )
    return done.crystals.crystals


def test_what_is_nearly_symmetric_becomes_symmetric_and_says_by_how_much(noisy, tmp_path):
    plain = found(noisy, tmp_path / "plain")
    proposed = found(noisy, tmp_path / "proposed", proposals=True)
    before = space_groups(plain, symprec=1e-3)
    after = space_groups(proposed, symprec=1e-3)
    assert before.count(221) < after.count(221)
    for one, other in zip(plain, proposed, strict=True):
        assert one.id == other.id
        if other.labels["start"] == "proposed":
            assert float(other.labels["loss"]) <= 1.1 * float(one.labels["loss"])
            assert other.labels["symmetry_displacement"] <= other.labels["symmetry_symprec"] + 1e-9
            assert "_221_" in other.labels["protostructure"]
        else:
            assert one.labels == other.labels


def test_a_vector_that_says_otherwise_keeps_its_crystal(noisy, tmp_path, monkeypatch):
    monkeypatch.setattr("repdiff.representations.proposals.WORSE", 0.0)
    monkeypatch.setattr("repdiff.representations.proposals.EXACT", 0.0)
    assert all(crystal.labels["start"] == "random" for crystal in found(noisy, tmp_path, proposals=True))
