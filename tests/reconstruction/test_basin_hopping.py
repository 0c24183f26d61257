from dataclasses import replace

import known_crystals
import pytest
import torch
from pymatgen.analysis.structure_matcher import StructureMatcher

from descriptors.base import make_descriptor
from descriptors.batch import from_structures, to_structures
from reconstruction.basin_hopping import SEARCHES, Search, search
from reconstruction.objective import Objective
from reconstruction.result import AGREED, SOLVED, SPENT

SHORT = Search(n_trials=3, n_hops=2, n_steps=20, learning_rate=0.3, n_polish=0)


@pytest.fixture(scope="module")
def descriptor():
    return make_descriptor("ead")


def problem(descriptor, *structures):
    """The crystals with all atoms at the origin, and the objective of their true vectors, float32."""
    known = from_structures(list(structures), dtype=torch.float32)
    objective = Objective(
        descriptor=descriptor,
        targets=descriptor(known),
        shortest=torch.full((known.n_systems,), 1.2),
        repulsion=1.0,
    )
    return replace(known, frac_coords=torch.zeros_like(known.frac_coords)), objective


def run(start, objective, settings, seed=0):
    return search(start, objective, settings, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def perovskites(descriptor):
    return problem(descriptor, known_crystals.perovskite(), known_crystals.perovskite("Ba", "Zr"))


@pytest.mark.parametrize(
    "structures",
    [
        [known_crystals.caesium_chloride(), known_crystals.rocksalt(), known_crystals.diamond()],
        [known_crystals.perovskite()],
    ],
    ids=["two atoms", "SrTiO3"],
)
def test_true_vectors_give_their_crystals_back(descriptor, structures):
    found = run(*problem(descriptor, *structures), SEARCHES["default"])
    matcher = StructureMatcher(stol=0.2)
    for structure, guess in zip(structures, to_structures(found.batch), strict=True):
        assert guess.composition == structure.composition
        assert matcher.fit(structure, guess)
    assert found.stopped == [SOLVED] * len(structures)
    assert float(found.losses.max()) < SEARCHES["default"].solved_below


def test_a_seed_decides_the_outcome(perovskites):
    one, same, other = (run(*perovskites, SHORT, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.batch.frac_coords, same.batch.frac_coords)
    assert torch.equal(one.losses, same.losses)
    assert not torch.equal(one.batch.frac_coords, other.batch.frac_coords)


def test_crystals_of_different_sizes_are_refused(descriptor):
    mixed = problem(descriptor, known_crystals.perovskite(), known_crystals.diamond())
    with pytest.raises(ValueError, match="differ in their number of atoms"):
        run(*mixed, SHORT)


def test_atoms_end_inside_the_cell_with_cell_and_elements_as_given(perovskites):
    start, _ = perovskites
    found = run(*perovskites, SHORT)
    assert bool(((found.batch.frac_coords >= 0) & (found.batch.frac_coords < 1)).all())
    assert torch.equal(found.batch.lattice, start.lattice)
    assert torch.equal(found.batch.atomic_numbers, start.atomic_numbers)


def test_losses_are_those_of_the_returned_crystals_without_the_overlap_term(perovskites):
    _, objective = perovskites
    found = run(*perovskites, SHORT)
    features = objective.descriptor(found.batch)
    error = (features - objective.targets).abs().sum(1) / objective.targets.abs().sum(1)
    torch.testing.assert_close(found.losses, error, rtol=1e-3, atol=1e-5)


def test_a_spent_budget_is_named_and_counted(perovskites):
    found = run(*perovskites, SHORT)
    assert found.stopped == [SPENT] * 2
    assert found.n_evaluations.tolist() == [3 * 2 * 20] * 2


def test_the_polish_counts_and_never_harms(perovskites):
    rough = run(*perovskites, SHORT)
    fine = run(*perovskites, replace(SHORT, n_polish=30))
    assert (fine.n_evaluations - rough.n_evaluations).tolist() == [30, 30]
    assert bool((fine.losses <= rough.losses * (1 + 1e-4)).all())


def test_more_hops_never_harm(perovskites):
    few, many = (run(*perovskites, replace(SHORT, n_hops=n, repulsion=0.0)) for n in (1, 4))
    assert bool((many.losses <= few.losses * 1.05).all())


def test_trials_that_agree_end_the_search(descriptor):
    start, objective = problem(descriptor, known_crystals.rocksalt())
    inexact = replace(objective, targets=objective.targets * 1.05)
    found = run(start, inexact, replace(SHORT, n_trials=6, n_hops=9, n_steps=80, n_agreeing=3))
    assert found.stopped == [AGREED]
    assert int(found.n_agreeing[0]) >= 3
    assert 6 * 80 <= int(found.n_evaluations[0]) < 9 * 6 * 80


def test_a_screening_saves_evaluations_and_still_finds_the_crystal(descriptor):
    start, objective = problem(descriptor, known_crystals.caesium_chloride())
    screened = Search(
        n_trials=6,
        n_hops=3,
        n_steps=80,
        n_screen=20,
        n_kept=2,
        learning_rate=0.3,
        solved_below=0.0,
        n_polish=0,
    )
    found = run(start, objective, screened)
    assert int(found.n_evaluations[0]) == 3 * (6 * 20 + 2 * 60)
    assert float(found.losses[0]) < 0.01


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_trials": 0}, "at least 1 of each"),
        ({"n_hops": 0}, "at least 1 of each"),
        ({"learning_rate": 0.0}, "positive length"),
        ({"moves": {}}, "expected some of displace"),
        ({"moves": {"jump": 1.0}}, r"moves are \['jump'\]"),
    ],
)
def test_settings_that_make_no_search_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        replace(SHORT, **wrong)


def test_the_paper_preset_has_the_published_budget():
    paper = SEARCHES["paper"]
    assert (paper.n_trials, paper.n_hops, paper.n_steps) == (6, 7, 300)
    assert (set(paper.moves), paper.hop_size) == ({"displace"}, 1.0)
