import io
import warnings
from contextlib import redirect_stdout

import numpy as np
import pytest
import torch
import toy_force_field

from descriptors.batch import to_atoms
from repdiff.crystals.crystal import Crystal, to_batch
from repdiff.energies.base import Energies
from repdiff.energies.fire import pull_back, start_state
from repdiff.energies.rattle import Rattle
from repdiff.energies.relax import (
    ABSURD_ENERGY,
    BLOWN_UP,
    NOT_A_NUMBER,
    TOO_LARGE,
    Limits,
    displacement,
    relax_crystals,
    relax_part,
)

LIMITS = Limits(fmax=0.05, max_steps=200)


@pytest.fixture
def toy():
    return toy_force_field.register()(torch.device("cpu"))


def argon(id, seed, n_atoms=4):
    rng = np.random.default_rng(seed)
    frac = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])[:n_atoms]
    return Crystal(
        id=id,
        atomic_numbers=np.full(n_atoms, 18),
        lattice=np.eye(3) * 3.7 + rng.normal(0, 0.1, (3, 3)),
        frac_coords=frac + rng.normal(0, 0.03, (n_atoms, 3)),
    )


def test_a_rattled_crystal_goes_back_to_where_it_was(chgnet, perovskite, rattled):
    ((_, ideal),) = relax_crystals([perovskite], chgnet, LIMITS)
    ((_, back),) = relax_crystals([rattled], chgnet, LIMITS)
    assert back.converged
    assert back.energy < back.initial_energy - 0.05
    assert back.energy == pytest.approx(ideal.energy, abs=5e-3)
    before = displacement(perovskite.frac_coords, perovskite.lattice, rattled.frac_coords, rattled.lattice)
    assert back.rmsd == pytest.approx(before, abs=0.05)
    assert back.crystal.volume == pytest.approx(ideal.crystal.volume, rel=0.02)


def test_the_batch_takes_the_steps_of_ase_one_at_a_time(chgnet, rattled, rock_salt):
    from ase.filters import FrechetCellFilter
    from ase.optimize import FIRE

    stretched = rock_salt.replace(lattice=rock_salt.lattice * [[1.05, 1, 0.98]])
    limits = Limits(fmax=0.05, max_steps=9)
    found = dict(relax_crystals([rattled, stretched], chgnet, limits))
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        from chgnet.model import CHGNet, CHGNetCalculator

        calculator = CHGNetCalculator(CHGNet.load(use_device="cpu", verbose=False), use_device="cpu")
        for row, atoms in enumerate(to_atoms(to_batch([rattled, stretched]))):
            atoms.calc = calculator
            optimizer = FIRE(FrechetCellFilter(atoms), logfile=None)
            assert optimizer.run(fmax=limits.fmax, steps=limits.max_steps) == found[row].converged
            assert optimizer.nsteps == found[row].n_steps
            energy = float(atoms.get_potential_energy()) / len(atoms)
            assert energy == pytest.approx(found[row].energy, abs=1e-4)
            lengths = np.linalg.norm(found[row].crystal.lattice, axis=1)
            np.testing.assert_allclose(lengths, atoms.cell.lengths(), atol=1e-3)


def test_generalised_forces_are_those_of_ase(toy):
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.filters import FrechetCellFilter

    crystal = argon("Ar", 0)
    walkers = start_state(to_batch([crystal]), torch.tensor([0]))
    rng = np.random.default_rng(5)
    strain = rng.normal(0, 0.2, (3, 3))
    walkers.strain[:] = torch.as_tensor(strain + strain.T)
    stress, forces = rng.normal(0, 0.1, (3, 3)), rng.normal(size=(4, 3))
    stress = stress + stress.T
    found = Energies(
        energy=torch.zeros(1, dtype=torch.float64),
        forces=torch.as_tensor(forces),
        stress=torch.as_tensor(stress)[None],
    )
    ours, cell = pull_back(walkers, found)
    atoms = Atoms(
        numbers=crystal.atomic_numbers, cell=crystal.lattice, scaled_positions=crystal.frac_coords, pbc=True
    )
    filtered = FrechetCellFilter(atoms)
    lattice = walkers.batch().lattice[0].numpy()
    atoms.set_cell(lattice, scale_atoms=True)
    atoms.calc = SinglePointCalculator(
        atoms, energy=0.0, forces=forces, stress=stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    )
    theirs = filtered.get_forces()
    np.testing.assert_allclose(ours.numpy(), theirs[:4], atol=1e-10)
    np.testing.assert_allclose(cell[0].numpy(), theirs[4:], atol=1e-10)


def test_a_batch_gives_what_a_loop_gives(toy):
    crystals = [argon(f"Ar{seed}", seed) for seed in range(5)]
    batch = dict(relax_crystals(crystals, toy, LIMITS, atoms_at_once=9))
    assert sorted(batch) == [0, 1, 2, 3, 4]
    for row, crystal in enumerate(crystals):
        ((_, alone),) = relax_crystals([crystal], toy, LIMITS)
        assert batch[row].n_steps == alone.n_steps
        assert batch[row].energy == pytest.approx(alone.energy, abs=1e-9)
        np.testing.assert_allclose(batch[row].crystal.lattice, alone.crystal.lattice, atol=1e-7)


def test_the_relaxed_cell_is_under_no_stress(toy):
    ((_, end),) = relax_crystals([argon("Ar", 3)], toy, Limits(fmax=1e-3, max_steps=500))
    assert end.converged
    found = toy.evaluate(to_batch([end.crystal]))
    assert float(found.forces.abs().max()) < 1e-3
    assert float(found.stress.abs().max()) * end.crystal.volume / 4 < 2e-3


def test_the_limit_of_steps_keeps_the_last_geometry_as_not_converged(toy):
    ((_, end),) = relax_crystals([argon("Ar", 1)], toy, Limits(fmax=1e-6, max_steps=3))
    assert (end.n_steps, end.converged, end.reason) == (3, False, "")
    assert end.energy < end.initial_energy


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda found: found.energy.fill_(torch.nan), NOT_A_NUMBER),
        (lambda found: found.forces.fill_(torch.inf), NOT_A_NUMBER),
        (lambda found: found.energy.fill_(-1e6), ABSURD_ENERGY),
        (lambda found: found.stress.copy_(-1e3 * torch.eye(3).expand_as(found.stress)), BLOWN_UP),
    ],
)
def test_an_exploding_crystal_ends_with_its_reason_and_the_others_go_on(toy, monkeypatch, spoil, reason):
    crystals = [argon("a", 1), argon("bad", 2, n_atoms=3), argon("c", 4)]
    wanted = dict(relax_crystals([crystals[0], crystals[2]], toy, LIMITS))
    honest = type(toy).evaluate

    def spoiled(self, batch, *, gradients=True):
        found = honest(self, batch, gradients=gradients)
        three = batch.n_atoms_per_system == 3
        bad = Energies(
            energy=found.energy[three],
            forces=found.forces[three[batch.system_idx]],
            stress=found.stress[three],
        )
        spoil(bad)
        found.energy[three], found.stress[three] = bad.energy, bad.stress
        found.forces[three[batch.system_idx]] = bad.forces
        return found

    monkeypatch.setattr(type(toy), "evaluate", spoiled)
    found = dict(relax_crystals(crystals, toy, Limits(fmax=0.05, max_steps=2000)))
    assert found[1].reason == reason
    assert found[1].crystal is None
    assert found[0].energy == pytest.approx(wanted[0].energy, abs=1e-9)
    assert found[2].energy == pytest.approx(wanted[1].energy, abs=1e-9)


def test_what_the_force_field_does_not_know_is_named_and_not_computed(toy):
    found = relax_part(
        toy,
        [argon("good", 0), argon("bad", 0).replace(atomic_numbers=np.array([18, 92, 26, 18]))],
        limits=LIMITS,
        atoms_at_once=64,
    )
    assert [crystal.labels["reason"] for crystal in found] == ["", "unknown to the force field: Fe, U"]
    assert found[1].labels["energy_per_atom"] is None


def test_displacement_is_without_drift_and_in_angstrom():
    frac = np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]])
    moved = frac + np.array([[0.1, 0, 0], [0.1, 0, 0]]) + np.array([[0.01, 0, 0], [-0.01, 0, 0]])
    assert displacement(frac, np.eye(3) * 4, moved, np.eye(3) * 6) == pytest.approx(0.05)


def simple_cubic(id="cubic"):
    """Eight argon atoms on a simple cubic lattice: forces vanish, but denser packings are lower."""
    frac = np.array(np.meshgrid(*3 * [[0, 0.5]])).reshape(3, -1).T
    return Crystal(id=id, atomic_numbers=np.full(8, 18), lattice=np.eye(3) * 5.0, frac_coords=frac)


def test_a_rattle_lets_a_crystal_leave_a_saddle_and_counts_from_where_it_was(toy):
    limits = Limits(fmax=0.02, max_steps=1000)
    ((_, kept),) = relax_crystals([simple_cubic()], toy, limits)
    ((_, left),) = relax_crystals([simple_cubic()], toy, limits, rattle=Rattle(width=0.05))
    assert kept.rmsd == pytest.approx(0, abs=1e-6)
    assert left.energy < kept.energy - 0.01
    assert left.initial_energy == pytest.approx(kept.initial_energy, abs=1e-9)
    assert left.rmsd > 0.1


def test_a_rattle_is_normal_and_depends_on_seed_and_name_alone():
    crystals = [simple_cubic(f"c{k}") for k in range(200)]
    moved = [Rattle(width=0.05, seed=3).apply(one) for one in crystals]
    steps = (
        np.concatenate([m.frac_coords - c.frac_coords for m, c in zip(moved, crystals, strict=True)]) * 5.0
    )
    assert steps.std() == pytest.approx(0.05, rel=0.03)
    assert abs(steps.mean()) < 0.003
    np.testing.assert_array_equal(
        Rattle(width=0.05, seed=3).apply(crystals[7]).frac_coords, moved[7].frac_coords
    )
    assert not np.allclose(Rattle(width=0.05, seed=4).apply(crystals[7]).frac_coords, moved[7].frac_coords)
    assert Rattle().apply(crystals[0]) is crystals[0]


def test_a_crystal_out_of_time_keeps_its_last_geometry_and_leaves_the_others_as_they_are(toy, monkeypatch):
    clock = iter(range(10**6))
    monkeypatch.setattr("repdiff.energies.relax.time.thread_time", lambda: float(next(clock)))
    limits = Limits(fmax=1e-6, max_steps=500, max_seconds=5.0)
    free = dict(relax_crystals([argon("a", 0)], toy, Limits(fmax=1e-6, max_steps=4)))
    ends = dict(relax_crystals([argon("a", 0), argon("b", 1, 1)], toy, limits))
    assert (ends[0].stopped, ends[0].converged, ends[0].reason) == ("max_seconds", False, "")
    assert ends[0].n_steps == 6  # of five atoms it has four: 0.8 s of each evaluation
    assert ends[0].energy < free[0].energy
    assert ends[1].stopped in ("converged", "max_seconds")
    assert ends[1].n_steps > ends[0].n_steps or ends[1].converged


@pytest.mark.parametrize(
    ("limits", "stopped"),
    [
        (Limits(fmax=0.05, max_steps=500), "converged"),
        (Limits(fmax=1e-9, max_steps=3), "max_steps"),
        (Limits(fmax=1e-9, max_steps=500, max_seconds=1e-9), "max_seconds"),
        (Limits(fmax=10.0, max_steps=0, max_seconds=1e-9), "converged"),
    ],
)
def test_a_relaxation_says_what_ended_it(toy, limits, stopped):
    (crystal,) = relax_part(toy, [argon("a", 0)], limits=limits, atoms_at_once=64)
    assert crystal.labels["relax_stopped"] == stopped
    assert crystal.labels["converged"] == (stopped == "converged")


def crowded(toy, most, tried):
    """Let a force field run out of memory above a number of atoms."""

    class Crowded(type(toy)):
        def evaluate(self, batch, *, gradients=True):
            tried.append(batch.n_atoms)
            if batch.n_atoms > most:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
            return super().evaluate(batch, gradients=gradients)

    return Crowded(torch.device("cpu"))


@pytest.mark.parametrize("rattle", [Rattle(), Rattle(width=0.02, seed=1)])
def test_a_batch_too_large_for_the_memory_is_relaxed_in_halves_to_the_same_crystals(toy, rattle):
    crystals, tried = [argon(str(seed), seed) for seed in range(7)], []
    expected = dict(relax_crystals(crystals, toy, LIMITS, rattle=rattle))
    found = dict(relax_crystals(crystals, crowded(toy, 9, tried), LIMITS, rattle=rattle))
    assert max(tried) == 28
    assert found.keys() == expected.keys()
    for row, one in expected.items():
        assert found[row].n_steps == one.n_steps
        assert found[row].energy == pytest.approx(one.energy, abs=1e-9)
        assert found[row].initial_energy == pytest.approx(one.initial_energy, abs=1e-9)


@pytest.mark.parametrize("rattle", [Rattle(), Rattle(width=0.02, seed=1)])
def test_a_crystal_too_large_for_the_memory_ends_with_the_reason_and_the_others_go_on(toy, rattle):
    crystals = [argon("small", 0, 1), argon("large", 1, 4), argon("other", 2, 2)]
    found = dict(relax_crystals(crystals, crowded(toy, 3, []), LIMITS, rattle=rattle))
    assert found[1].reason == TOO_LARGE
    assert found[1].initial_energy is None
    assert [found[row].reason for row in (0, 2)] == ["", ""]
