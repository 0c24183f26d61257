import known_crystals
import pytest
import torch

from descriptors.base import make_descriptor
from descriptors.batch import from_structures
from reconstruction import plan as planning
from reconstruction.decode import decode
from reconstruction.plan import gradient_bytes, plan
from reconstruction.presets import SEARCHES

CPU = torch.device("cpu")
DEFAULT = SEARCHES["default"]


def groups_of(vectors, representation):
    decoded = decode(vectors, representation, max_atoms=20)
    return decoded, plan(decoded, representation.descriptor, DEFAULT, device=CPU)


def test_a_plan_covers_every_good_row_once_and_no_other(changed, vectors, representation):
    n_atoms = vectors[:, representation.blocks["n_atoms"]].clone()
    n_atoms[::7] = 0.0
    _, groups = groups_of(changed(n_atoms=n_atoms), representation)
    good = [row for row in range(len(vectors)) if row % 7]
    assert sorted(row for group in groups for row in group) == good


def test_no_good_row_gives_no_group(changed, representation):
    assert groups_of(changed(n_atoms=0.0), representation)[1] == []


@pytest.mark.parametrize("limit", [1, 300, 10**6])
def test_a_group_holds_one_size_and_keeps_within_the_atoms(limit, vectors, representation, monkeypatch):
    monkeypatch.setattr(planning, "CPU_ATOMS", limit)
    decoded, groups = groups_of(vectors, representation)
    for group in groups:
        sizes = {len(decoded.atomic_numbers[row]) for row in group}
        assert len(sizes) == 1
        assert len(group) == 1 or len(group) * sizes.pop() * DEFAULT.n_proposals <= limit
    assert limit != 1 or len(groups) == len(vectors)
    assert limit != 10**6 or len(groups) == 2


def test_elements_and_compounds_of_one_size_are_apart(representation):
    carbon, salt = known_crystals.diamond(), known_crystals.rocksalt()
    carbon.replace_species({"C": "Ti"})
    batch = from_structures([carbon, salt, carbon], dtype=torch.float32)
    _, groups = groups_of(representation.encode(batch).detach(), representation)
    assert sorted(map(sorted, groups)) == [[0, 2], [1]]


def test_a_plan_bounds_the_memory(vectors, representation, monkeypatch):
    monkeypatch.setattr(planning, "CPU_BYTES", 1)
    assert [len(group) for group in groups_of(vectors, representation)[1]] == [1] * len(vectors)


def test_what_a_descriptor_keeps_for_its_gradient_counts(monkeypatch):
    """Array operations keep at least the radial functions of each slot, 2400 bytes; the compiled loops nothing."""
    descriptor = make_descriptor("ead:paper")
    assert gradient_bytes(descriptor, CPU) == pytest.approx(0, abs=1)
    monkeypatch.setattr("descriptors.ead_compiled.serves", lambda *_: False)
    assert gradient_bytes(descriptor, CPU) > 2400
