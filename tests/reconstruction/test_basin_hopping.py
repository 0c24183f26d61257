from dataclasses import replace
from itertools import pairwise

import known_crystals
import pytest
import torch
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from descriptors.base import make_descriptor
from descriptors.batch import from_structures, to_structures
from descriptors.neighbors import find_neighborhood
from reconstruction import basin_hopping, initialize
from reconstruction.basin_hopping import search
from reconstruction.objective import Objective
from reconstruction.presets import SEARCHES, Elemental, Rung, Search
from reconstruction.result import AGREED, SOLVED, SPENT, STALLED

STEPS = 10
SHORT = Search(
    rungs=(Rung(n_trials=3, n_steps=STEPS),),
    n_rounds=2,
    n_kept=3,
    learning_rate=0.3,
    solved_below=0.0,
    n_polish=0,
)
LADDER = replace(
    SHORT,
    rungs=(
        Rung(n_trials=6, n_steps=6, n_stages=1),
        Rung(n_trials=4, n_steps=4),
        Rung(n_trials=2, n_steps=8),
    ),
)
ROUND = 6 * 6 + 4 * 4 + 2 * 8  # evaluations of a round of the ladder


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


@pytest.fixture(scope="module")
def carbon(descriptor):
    return problem(descriptor, known_crystals.diamond())


@pytest.fixture
def descents(monkeypatch):
    """What each descent of a search began with, how it went, and where it ended."""
    seen = []

    def descend(batch, objective, descent, *, rivals=None):
        outcome = basin_hopping_descend(batch, objective, descent, rivals=rivals)
        seen.append((batch, descent, outcome))
        return outcome

    basin_hopping_descend = basin_hopping.descend
    monkeypatch.setattr(basin_hopping, "descend", descend)
    return seen


@pytest.mark.parametrize(
    "structures",
    [
        [known_crystals.caesium_chloride(), known_crystals.rocksalt()],
        [known_crystals.diamond()],
        [known_crystals.perovskite()],
    ],
    ids=["two atoms", "diamond", "SrTiO3"],
)
def test_true_vectors_give_their_crystals_back(descriptor, structures):
    found = run(*problem(descriptor, *structures), SEARCHES["default"])
    matcher = StructureMatcher(stol=0.05)
    for structure, guess in zip(structures, to_structures(found.batch), strict=True):
        assert guess.composition == structure.composition
        assert matcher.fit(structure, guess)
    assert found.stopped == [SOLVED] * len(structures)
    assert float(found.losses.max()) < SEARCHES["default"].solved_below


@pytest.mark.parametrize("edge", [2.6, 15.0], ids=["close", "alone"])
def test_a_cell_of_one_atom_is_solved_at_once(descriptor, edge):
    start, objective = problem(descriptor, Structure(edge * torch.eye(3).numpy(), ["Fe"], [[0, 0, 0]]))
    found = run(start, objective, SEARCHES["default"])
    assert found.stopped == [SOLVED]
    assert float(found.losses[0]) < 1e-5


@pytest.mark.parametrize("settings", [SHORT, replace(LADDER, n_drawn=3, fresh=0.5, symmetric=0.5)])
def test_a_seed_decides_the_outcome(perovskites, settings):
    one, same, other = (run(*perovskites, settings, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.batch.frac_coords, same.batch.frac_coords)
    assert torch.equal(one.losses, same.losses)
    assert torch.equal(one.n_evaluations, same.n_evaluations)
    assert not torch.equal(one.batch.frac_coords, other.batch.frac_coords)


def test_the_positions_given_are_not_used(perovskites):
    start, objective = perovskites
    elsewhere = replace(start, frac_coords=torch.rand(start.frac_coords.shape))
    found, other = run(start, objective, SHORT), run(elsewhere, objective, SHORT)
    assert torch.equal(found.batch.frac_coords, other.batch.frac_coords)


def test_crystals_of_different_sizes_are_refused(descriptor):
    mixed = problem(descriptor, known_crystals.perovskite(), known_crystals.diamond())
    with pytest.raises(ValueError, match="differ in their number of atoms"):
        run(*mixed, SHORT)


def test_atoms_end_inside_the_cell_with_cell_and_elements_as_given(perovskites):
    start, _ = perovskites
    found = run(*perovskites, LADDER)
    assert bool(((found.batch.frac_coords >= 0) & (found.batch.frac_coords < 1)).all())
    assert torch.equal(found.batch.lattice, start.lattice)
    assert torch.equal(found.batch.atomic_numbers, start.atomic_numbers)


@pytest.mark.parametrize(
    "settings", [SHORT, LADDER, replace(SHORT, n_polish=20, n_refine=2, refined_below=1.0)]
)
def test_losses_are_those_of_the_returned_crystals_without_the_overlap_term(perovskites, settings):
    start, objective = perovskites
    pushing = replace(objective, shortest=torch.full_like(objective.shortest, 2.5), repulsion=0.05)
    found = run(start, pushing, settings)
    neighborhood = find_neighborhood(found.batch, 6.0)
    vectors = neighborhood.vectors(found.batch.frac_coords, found.batch.lattice)
    assert float(pushing.overlap(neighborhood, vectors).min()) > 1e-3
    error = (objective.descriptor(found.batch) - objective.targets).abs().sum(
        1
    ) / objective.targets.abs().sum(1)
    torch.testing.assert_close(found.losses, error, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("settings", "per_round"), [(SHORT, 3 * STEPS), (LADDER, ROUND)])
@pytest.mark.parametrize("n_rounds", [1, 3])
def test_a_spent_budget_is_named_and_counted(perovskites, settings, per_round, n_rounds):
    found = run(*perovskites, replace(settings, n_rounds=n_rounds))
    assert found.stopped == [SPENT] * 2
    assert found.n_evaluations.tolist() == [n_rounds * per_round] * 2


def test_the_proposals_screened_count_one_evaluation_each(perovskites):
    screened = replace(SHORT, n_drawn=4, fresh=0.4)
    found = run(*perovskites, screened)
    assert found.n_evaluations.tolist() == [2 * (3 * STEPS + 3 * 4)] * 2


def test_the_lowest_of_the_proposals_screened_are_taken(perovskites, descents):
    _, objective = perovskites
    several = replace(SHORT, n_rounds=1, moves={"relocate": 1.0})
    first = {}
    for n_drawn in (1, 50):
        descents.clear()
        run(*perovskites, replace(several, n_drawn=n_drawn, n_rounds=2))
        for number, (batch, *_) in enumerate(descents):  # new starts, then hops
            coarse = slice(None, objective.descriptor.stages[0].stop)
            wanted = objective.targets.repeat_interleave(3, 0)[:, coarse]
            error = (objective.descriptor(batch)[:, coarse] - wanted).abs().sum(1) / wanted.abs().sum(1)
            first[n_drawn, number] = float(error.mean())
    assert first[50, 0] < 0.8 * first[1, 0]
    assert first[50, 1] < 0.8 * first[1, 1]


def test_each_rung_goes_on_with_the_lowest_of_the_one_before(perovskites, descents):
    run(*perovskites, replace(LADDER, n_rounds=1))
    assert [batch.n_systems for batch, *_ in descents] == [2 * 6, 2 * 4, 2 * 2]
    for (_, _, before), (after, _, _) in pairwise(descents):
        width = after.n_systems // 2
        chosen = before.losses.reshape(2, -1).argsort(1)[:, :width] + torch.tensor(
            [[0], [before.batch.n_systems // 2]]
        )
        assert torch.equal(after.frac_coords, before.batch.select(chosen.flatten()).frac_coords)
    lengths = [(descent.n_done, descent.n_steps, descent.n_total) for _, descent, _ in descents]
    assert lengths == [(0, 6, 18), (6, 4, 18), (10, 8, 18)]
    assert [descent.n_stages for _, descent, _ in descents] == [1, None, None]


def test_crystals_of_one_element_are_neither_steered_by_the_coarse_stage_nor_screened(carbon, descents):
    found = run(*carbon, replace(LADDER, n_drawn=7, fresh=0.5, moves={"swap": 1.0}))
    assert [descent.n_stages for _, descent, _ in descents] == [None] * 6
    assert found.n_evaluations.tolist() == [2 * ROUND]


ALONE = Elemental(
    rungs=(Rung(n_trials=5, n_steps=8, last_stage=True), Rung(n_trials=2, n_steps=4, last_stage=True)),
    n_rounds=3,
    learning_rate=0.7,
    fresh=1.0,
    symmetric=0.0,
)


@pytest.fixture
def sought(monkeypatch):
    """The objectives of the descents of a search."""
    seen = []

    def descend(batch, objective, descent, *, rivals=None):
        seen.append((objective, descent))
        return basin_hopping_descend(batch, objective, descent, rivals=rivals)

    basin_hopping_descend = basin_hopping.descend
    monkeypatch.setattr(basin_hopping, "descend", descend)
    return seen


def test_crystals_of_one_element_have_a_search_of_their_own(carbon, sought):
    found = run(*carbon, replace(SHORT, elemental=ALONE))
    last = carbon[1].descriptor.stages[-1]
    assert [(descent.n_steps, descent.learning_rate) for _, descent in sought] == 3 * [(8, 0.7), (4, 0.7)]
    for objective, _ in sought:
        assert torch.equal(objective.targets[0], carbon[1].targets[0, last])
    assert found.n_evaluations.tolist() == [3 * (5 * 8 + 2 * 4 + 2)]


def test_compounds_do_not_take_the_search_for_one_element(perovskites):
    same = run(*perovskites, replace(SHORT, elemental=ALONE))
    assert torch.equal(same.losses, run(*perovskites, SHORT).losses)


def test_sparse_crystals_match_all_stages(descriptor, sought):
    start, objective = problem(descriptor, Structure(8.0 * torch.eye(3).numpy(), ["Cs"], [[0, 0, 0]]))
    run(start, objective, replace(SHORT, elemental=ALONE))
    assert {target.descriptor.n_features for target, _ in sought} == {descriptor.n_features}


def test_minima_of_the_last_stage_are_compared_by_all_and_with_the_overlap(carbon):
    start, objective = carbon
    pushing = replace(objective, shortest=torch.full_like(objective.shortest, 2.5), repulsion=0.05)
    state = basin_hopping._State.begin(
        start, pushing, replace(SHORT, elemental=ALONE).of_one_element(), torch.Generator().manual_seed(0)
    )
    state.round(torch.arange(1))
    best, losses = state.population.lowest()
    neighborhood = find_neighborhood(best, 6.0)
    expected = pushing(neighborhood, neighborhood.vectors(best.frac_coords, best.lattice))
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("n_agreeing", "solved_below"), [(0, 0.01), (1, 0.01)])
def test_a_coarse_stage_is_never_taken_for_the_solution(perovskites, descents, n_agreeing, solved_below):
    run(*perovskites, replace(LADDER, solved_below=solved_below, n_agreeing=n_agreeing))
    assert descents
    for _, descent, _ in descents:
        assert descent.solved_below == (0.0 if descent.n_stages else solved_below)


def test_the_polish_counts_and_never_harms(perovskites):
    once = replace(SHORT, n_rounds=1, repulsion=0.0)
    rough = run(*perovskites, once)
    fine = run(*perovskites, replace(once, n_polish=30))
    assert (fine.n_evaluations - rough.n_evaluations).tolist() == [30, 30]
    assert bool((fine.losses <= rough.losses * 1.01).all())
    assert bool((fine.losses < rough.losses * 0.95).any())


def test_what_is_nearly_right_is_refined_and_nothing_else(perovskites):
    once = replace(SHORT, n_rounds=1)
    rough, same, fine = (
        run(*perovskites, replace(once, n_refine=1, refined_below=loss)) for loss in (0.0, 1e-6, 10.0)
    )
    assert torch.equal(rough.n_evaluations, same.n_evaluations)
    assert torch.equal(rough.losses, same.losses)
    assert (fine.n_evaluations - rough.n_evaluations).tolist() == [3 * 5 + 2 + 1] * 2
    assert bool((fine.losses <= rough.losses * 1.01).all())


def test_two_atoms_on_the_wrong_sites_are_exchanged_in_the_next_round(descriptor, monkeypatch):
    known = from_structures([known_crystals.perovskite()] * 2, dtype=torch.float32)
    start, objective = problem(descriptor, *[known_crystals.perovskite()] * 2)
    wrong = known.frac_coords.reshape(2, 5, 3)[:, [1, 0, 2, 3, 4]]  # the two cations
    still = replace(SHORT, rungs=(Rung(n_trials=3, n_steps=1),), n_rounds=1, repulsion=0.0)
    monkeypatch.setattr(
        initialize, "random_positions", lambda n, *_args, **_kwargs: wrong.repeat_interleave(n // 2, 0)
    )
    monkeypatch.setattr(initialize, "displace", lambda here, *_args, **_kwargs: here)
    assert float(run(start, objective, still).losses.min()) > 1e-3
    without, exchanged = (run(start, objective, replace(still, n_rounds=2, n_exchanged=n)) for n in (0, 1))
    assert float(without.losses.min()) > 1e-3
    assert float(exchanged.losses.max()) < 1e-4


@pytest.mark.parametrize(
    "settings", [SHORT, replace(LADDER, fresh=0.5, moves={"relocate": 1.0, "swap": 1.0})]
)
def test_more_rounds_never_harm(perovskites, settings):
    start, objective = perovskites
    fidelity = replace(objective, repulsion=0.0)  # so that the loss sought is the loss reported
    losses = [run(start, fidelity, replace(settings, n_rounds=n)).losses for n in (1, 2, 4)]
    for fewer, more in pairwise(losses):
        assert bool((more <= fewer * 1.05).all())
    assert bool((losses[-1] < losses[0] * 0.99).any())


def test_a_solved_crystal_ends_its_search_and_not_that_of_others(descriptor):
    start, objective = problem(descriptor, known_crystals.caesium_chloride(), known_crystals.rocksalt())
    hopeless = replace(objective, targets=objective.targets * torch.tensor([[1.0], [1.3]]))
    found = run(start, hopeless, replace(SHORT, n_rounds=12, solved_below=0.02))
    assert found.stopped == [SOLVED, SPENT]
    assert float(found.losses[0]) < 0.021
    assert int(found.n_evaluations[0]) < int(found.n_evaluations[1]) == 12 * 3 * STEPS


def test_trials_that_agree_end_the_search(descriptor):
    start, objective = problem(descriptor, known_crystals.rocksalt())
    inexact = replace(objective, targets=objective.targets * 1.05)
    agreeing = replace(
        SHORT, rungs=(Rung(n_trials=6, n_steps=80),), n_rounds=9, n_agreeing=3, solved_below=1e-3
    )
    found = run(start, inexact, agreeing)
    assert found.stopped == [AGREED]
    assert int(found.n_agreeing[0]) >= 3
    assert 6 * 80 <= int(found.n_evaluations[0]) < 9 * 6 * 80


@pytest.mark.parametrize(("limit", "n_rounds"), [(1, 1), (30, 1), (31, 2), (65, 3)])
def test_a_limit_of_evaluations_ends_the_search_with_what_was_found(perovskites, limit, n_rounds):
    found = run(*perovskites, replace(SHORT, n_rounds=20, max_evaluations=limit))
    expected = run(*perovskites, replace(SHORT, n_rounds=n_rounds))
    assert found.stopped == [SPENT] * 2
    assert found.n_evaluations.tolist() == [n_rounds * 3 * STEPS] * 2
    assert torch.equal(found.batch.frac_coords, expected.batch.frac_coords)


def test_a_limit_of_time_ends_the_search_with_what_was_found(perovskites):
    found = run(*perovskites, replace(SHORT, n_rounds=20, max_seconds=1e-9))
    expected = run(*perovskites, replace(SHORT, n_rounds=1))
    assert found.stopped == [SPENT] * 2
    assert torch.equal(found.n_evaluations, expected.n_evaluations)
    assert torch.equal(found.batch.frac_coords, expected.batch.frac_coords)


def test_ample_limits_change_nothing(perovskites):
    found = run(*perovskites, replace(SHORT, max_evaluations=10**6, max_seconds=1e4, patience=50))
    assert torch.equal(found.losses, run(*perovskites, SHORT).losses)


@pytest.mark.parametrize("patience", [1, 3])
def test_rounds_without_a_lower_minimum_end_the_search(carbon, patience):
    start, objective = carbon
    still = replace(SHORT, n_rounds=30, learning_rate=1e-6, moves={"swap": 1.0}, hop_size=1e-6)
    found = run(start, objective, replace(still, patience=patience))
    assert found.stopped == [STALLED]
    assert found.n_evaluations.tolist() == [(1 + patience) * 3 * STEPS]


def test_the_bound_on_memory_does_not_change_the_result(perovskites, descents, monkeypatch):
    gentle = replace(
        SHORT, n_rounds=1, n_drawn=4, learning_rate=0.01
    )  # so gentle that the neighbour tables stay
    whole = run(*perovskites, gentle)
    monkeypatch.setattr(basin_hopping, "CPU_SLOTS", 1)
    parts = run(*perovskites, gentle)
    assert [batch.n_systems for batch, *_ in descents] == [6] + [1] * 6
    assert torch.equal(parts.n_evaluations, whole.n_evaluations)
    torch.testing.assert_close(parts.losses, whole.losses, rtol=1e-4, atol=1e-6)
