"""Relax many crystals at once: those that are done leave the batch, and others take their places."""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from descriptors.batch import CrystalBatch
from reconstruction.out_of_memory import in_halves, is_out_of_memory, let_go
from repdiff.crystals.crystal import Crystal, Label, to_batch
from repdiff.crystals.resumable_parts import Part
from repdiff.energies.base import MIN_VOLUME_PER_ATOM, Energies, ForceField, single_points
from repdiff.energies.fire import FireState, join_states, largest_force, pull_back, start_state, step
from repdiff.energies.rattle import Rattle
from repdiff.energies.relaxed import CONVERGED, MAX_SECONDS, MAX_STEPS, Relaxation

ATOMS_ON_CPU, ATOMS_ON_GPU = 64, 8192  # in a batch
LOWEST_ENERGY = -50.0  # eV per atom; no real crystal binds by a third of it
MAX_GROWTH = 10.0  # of the volume
STALE = {"energy", "free_energy", "magmom"}  # of the geometry that a file held, by ASE's names
NOT_A_NUMBER = "the energy or a force is not a number"
ABSURD_ENERGY = f"the energy fell below {LOWEST_ENERGY} eV per atom"
BLOWN_UP = f"the volume grew more than {MAX_GROWTH:.0f} times"
COLLAPSED = "the cell collapsed"
TOO_LARGE = "memory is not enough for this crystal alone"
NO_RATTLE = Rattle()
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When a relaxation ends.

    Attributes:
        fmax: Converged when no force, those on the cell included, is larger, eV/Å.
        max_steps: Steps at most.
        max_seconds: Seconds of processor time that a crystal may take, its share of that of its batch by atoms; looked
            at between steps; None for no limit. With a limit the result depends on the speed of the machine, but hardly
            on other work that it does.
    """

    fmax: float
    max_steps: int
    max_seconds: float | None = None


def relax_crystals(
    crystals: Sequence[Crystal],
    force_field: ForceField,
    limits: Limits,
    *,
    atoms_at_once: int = ATOMS_ON_CPU,
    rattle: Rattle = NO_RATTLE,
) -> Iterator[tuple[int, Relaxation]]:
    """Yield the place of each crystal and what became of it, in the order in which they end.

    A crystal whose energy is not a number, or which explodes or collapses, ends with the reason and leaves the
    others as they are. A crystal that reaches the limit of steps or of time keeps its last geometry, not converged, and
    `stopped` says which limit it was.

    Args:
        crystals: Crystals, valid or not.
        force_field: Loaded force field.
        limits: When to stop.
        atoms_at_once: Approximate number of atoms in a batch; a larger crystal has a batch of its own.
        rattle: How to displace the atoms first; initial energies and displacements are those of the crystals as given.
    """
    waiting: list[int] = []
    for row, crystal in enumerate(crystals):
        if reason := force_field.refusal(crystal):
            yield row, Relaxation.without_result(reason)
        else:
            waiting.append(row)
    waiting.reverse()
    initial = _energies(crystals, waiting, force_field, atoms_at_once) if rattle.width else {}
    started = [rattle.apply(crystal) if row in initial else crystal for row, crystal in enumerate(crystals)]
    walkers: FireState | None = None
    parked: list[FireState] = []  # memory was not enough for them beside others
    seconds, before = np.zeros(len(crystals)), time.thread_time()
    while waiting or parked or walkers is not None:
        if walkers is None and parked:  # noqa: SIM108 (one line would be too long)
            walkers = parked.pop()
        else:
            walkers = _fill(walkers, waiting, started, atoms_at_once)
        batch = walkers.batch()
        found = _within_memory(force_field, batch)
        if found is None:
            atoms_at_once = max(1, batch.n_atoms // 2)
            walkers, later = _halves(walkers)
            if later is None:
                yield int(walkers.row[0]), _too_large(walkers, initial)
                walkers = None
            else:
                parked.append(later)
            continue
        forces, cell_forces = pull_back(walkers, found)
        largest = largest_force(walkers, forces, cell_forces)
        energies = (found.energy / walkers.n_atoms).tolist()
        for place in torch.nonzero(walkers.n_steps == 0)[:, 0].tolist():
            initial.setdefault(int(walkers.row[place]), energies[place])
        reasons = _troubles(walkers, batch, found, largest)
        before = _spend(seconds, walkers, before)
        late = _late(seconds, walkers, limits.max_seconds)
        ended = (largest < limits.fmax) | (walkers.n_steps >= limits.max_steps) | late
        ended[list(reasons)] = True
        for place in torch.nonzero(ended)[:, 0].tolist():
            row, n_steps = int(walkers.row[place]), int(walkers.n_steps[place])
            first = initial.pop(row) if np.isfinite(initial[row]) else None
            if place in reasons:
                yield row, Relaxation.without_result(reasons[place], n_steps=n_steps, initial_energy=first)
                continue
            relaxed, rmsd = _moved(crystals[row], batch, place)
            converged = bool(largest[place] < limits.fmax)
            out_of_steps = n_steps >= limits.max_steps
            yield (
                row,
                Relaxation(
                    crystal=relaxed,
                    initial_energy=first,
                    energy=energies[place],
                    n_steps=n_steps,
                    converged=converged,
                    rmsd=rmsd,
                    stopped=CONVERGED if converged else MAX_STEPS if out_of_steps else MAX_SECONDS,
                ),
            )
        if ended.all():
            walkers = None
        else:
            walkers = step(walkers.select(~ended), forces[~ended[batch.system_idx]], cell_forces[~ended])


def _within_memory(force_field: ForceField, batch: CrystalBatch) -> Energies | None:
    """Evaluate a batch; None if memory is not enough."""
    try:
        return force_field.evaluate(batch)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    let_go()
    return None


def _halves(walkers: FireState) -> tuple[FireState, FireState | None]:
    """Part a batch for which memory was not enough; None for the second half of one crystal."""
    n = len(walkers.n_atoms)
    if n == 1:
        return walkers, None
    log.warning("memory is not enough for %d crystals together: going on with half", n)
    later = torch.arange(n) >= n // 2
    return walkers.select(~later), walkers.select(later)


def _too_large(walkers: FireState, initial: dict[int, float]) -> Relaxation:
    """Return the end of a lone crystal for which memory was not enough."""
    energy = initial.pop(int(walkers.row[0]), np.nan)
    first = energy if np.isfinite(energy) else None
    return Relaxation.without_result(TOO_LARGE, n_steps=int(walkers.n_steps[0]), initial_energy=first)


def relax_part(
    force_field: ForceField,
    crystals: Sequence[Crystal],
    *,
    limits: Limits,
    atoms_at_once: int,
    rattle: Rattle = NO_RATTLE,
) -> list[Crystal]:
    """Relax crystals; what became of each is among its labels, in the order given.

    Labels: energy (eV of the cell), initial_energy_per_atom, energy_per_atom, energy_change (eV per atom), rmsd (Å),
    n_steps, converged, relax_stopped, and reason, "" where there is a result. Without one the crystal is as it came.
    What the input said under these names, and of energies and magnetic moments, stays as `input_<name>`.
    """
    ends = dict(relax_crystals(crystals, force_field, limits, atoms_at_once=atoms_at_once, rattle=rattle))
    return [
        (ends[row].crystal or crystal).replace(
            labels={
                **_labels_of_input(crystal),
                **_total(ends[row], crystal.n_atoms),
                **ends[row].labels(),
                "reason": ends[row].reason,
            }
        )
        for row, crystal in enumerate(crystals)
    ]


def unrelaxed_part(crystals: Sequence[Crystal], reason: str) -> list[Crystal]:
    """Return what `relax_part` returns of crystals that have no result, for a reason."""
    ended = {**Relaxation.without_result(reason).labels(), "reason": reason}
    return [crystal.replace(labels={**_labels_of_input(crystal), **ended}) for crystal in crystals]


def _labels_of_input(crystal: Crystal) -> dict[str, Label]:
    """Rename the labels that were true of the geometry before, or would be overwritten."""
    renamed = STALE | {*Relaxation.without_result("").labels(), "reason"}
    return {f"input_{name}" if name in renamed else name: value for name, value in crystal.labels.items()}


def _total(relaxation: Relaxation, n_atoms: int) -> dict[str, Label]:
    return {} if relaxation.energy is None else {"energy": relaxation.energy * n_atoms}


def atoms_at_once(device: torch.device) -> int:
    """Return how many atoms to relax at once: on a CPU only so many that they stay in its cache."""
    return ATOMS_ON_CPU if device.type == "cpu" else ATOMS_ON_GPU


def displacement(
    frac_before: Float[np.ndarray, "n_atoms 3"],
    lattice_before: Float[np.ndarray, "3 3"],
    frac_after: Float[np.ndarray, "n_atoms 3"],
    lattice_after: Float[np.ndarray, "3 3"],
) -> float:
    """Return the root mean square displacement of the atoms, Å, without their common drift.

    Displacements are differences of fractional coordinates, atom by atom, in the mean of the two cells, so that a
    change of the cell alone counts as none. MatterGen's RMSD finds atoms anew by a structure matcher, in the mean
    of the two cells as well; where it finds them it is at most as large, and otherwise there is none.

    Args:
        frac_before: Fractional coordinates.
        lattice_before: Rows are the cell vectors, Å.
        frac_after: Fractional coordinates of the same atoms, followed continuously and not wrapped into the cell.
        lattice_after: Rows are the cell vectors, Å.
    """
    moved = frac_after - frac_before
    vectors = (moved - moved.mean(0)) @ ((lattice_before + lattice_after) / 2)
    return float(np.sqrt((vectors**2).sum(1).mean()))


def _fill(
    walkers: FireState | None, waiting: list[int], crystals: Sequence[Crystal], atoms_at_once: int
) -> FireState:
    """Let waiting crystals, the last of the list first, take the free places."""
    room = atoms_at_once - (0 if walkers is None else len(walkers.atomic_numbers))
    rows: list[int] = []
    while waiting and (crystals[waiting[-1]].n_atoms <= room or (walkers is None and not rows)):
        rows.append(waiting.pop())
        room -= crystals[rows[-1]].n_atoms
    parts = [] if walkers is None else [walkers]
    if rows:
        parts.append(start_state(to_batch([crystals[row] for row in rows]), torch.tensor(rows)))
    return join_states(parts)


def _spend(seconds: Float[np.ndarray, " n_crystals"], walkers: FireState, before: float) -> float:
    """Charge the time since `before` to the crystals of a batch, by their atoms, and return the time now."""
    now = time.thread_time()
    share = walkers.n_atoms / walkers.n_atoms.sum()
    seconds[walkers.row.numpy()] += (now - before) * share.numpy()
    return now


def _late(
    seconds: Float[np.ndarray, " n_crystals"], walkers: FireState, limit: float | None
) -> Bool[Tensor, " n_systems"]:
    spent = torch.from_numpy(seconds[walkers.row.numpy()])
    return spent >= (np.inf if limit is None else limit)


def _energies(
    crystals: Sequence[Crystal], rows: Sequence[int], force_field: ForceField, atoms_at_once: int
) -> dict[int, float]:
    """Compute energies of crystals as they are, by row, eV per atom; NaN where there is none."""
    largest = max((crystals[row].n_atoms for row in rows), default=1)
    size = max(1, atoms_at_once // largest)
    energies: dict[int, float] = {}

    def evaluate(part: slice) -> list[float | None]:
        try:
            return single_points([crystals[row] for row in rows[part]], force_field)[0]
        except (RuntimeError, MemoryError) as error:
            if part.stop - part.start > 1 or not is_out_of_memory(error):
                raise
            return [None]  # it will not be relaxed either, with the reason

    for part, found in in_halves(len(rows), size, evaluate):
        energies |= {
            row: np.nan if energy is None else energy for row, energy in zip(rows[part], found, strict=True)
        }
    return energies


def _troubles(
    walkers: FireState, batch: CrystalBatch, found: Energies, largest: Float[Tensor, " n_systems"]
) -> dict[int, str]:
    """Return the reason by place, of the crystals that cannot go on."""
    volume = torch.linalg.det(batch.lattice).abs()
    growth = volume / torch.linalg.det(walkers.start_lattice).abs()
    energy = found.energy / walkers.n_atoms
    tests = (
        (volume / walkers.n_atoms < MIN_VOLUME_PER_ATOM, COLLAPSED),
        (growth > MAX_GROWTH, BLOWN_UP),
        (energy < LOWEST_ENERGY, ABSURD_ENERGY),
        (~(torch.isfinite(energy) & torch.isfinite(largest)), NOT_A_NUMBER),
    )
    reasons = {place: reason for wrong, reason in tests for place in torch.nonzero(wrong)[:, 0].tolist()}
    return reasons | dict(found.problems)


def _moved(crystal: Crystal, batch: CrystalBatch, place: int) -> tuple[Crystal, float]:
    """Return a crystal at its present place in the batch, wrapped into its cell, and its displacement, Å."""
    lattice = batch.lattice[place].numpy().copy()
    frac = batch.frac_coords[batch.system_idx == place].numpy()
    rmsd = displacement(crystal.frac_coords, crystal.lattice, frac, lattice)
    wrapped = frac - np.floor(frac)
    return crystal.replace(lattice=lattice, frac_coords=np.where(wrapped >= 1, 0.0, wrapped)), rmsd


def energies_of_part(force_field: ForceField, crystals: Part, *, at_once: int) -> Part:
    """Give each crystal its energy as it is, eV per atom, or the reason why there is none, as labels."""
    labelled = []
    for part, found in in_halves(
        len(crystals), at_once, lambda part: single_points(crystals[part], force_field)
    ):
        for crystal, energy, reason in zip(crystals[part], *found, strict=True):
            labelled.append(crystal.replace(labels={"energy_per_atom": energy, "reason": reason}))
    return labelled


def part_without_energies(crystals: Part, reason: str) -> Part:
    """Return what `energies_of_part` returns of crystals that have no energy, for a reason."""
    return [crystal.replace(labels={"energy_per_atom": None, "reason": reason}) for crystal in crystals]
