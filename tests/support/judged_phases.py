"""Reference energies by hand, in the name of the toy force field, and phases of crystals made by hand."""

import numpy as np

from repdiff.crystals.crystal import Crystal
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.energies.hull import Hull
from repdiff.energies.hull_table import HullTable
from repdiff.energies.relaxed import ForceFieldIdentity, Relaxation, RelaxedSet
from repdiff.phase_search.campaign import Outcome
from repdiff.phase_search.candidates import Candidates
from repdiff.phase_search.judge import judge

TOY = ForceFieldIdentity(name="toy", version="1", weights_sha256="0" * 64, convention="consistent")
ENERGIES = {"Na": -1.0, "Cl2": -0.5, "F2": -0.4, "NaCl": -1.5, "NaF": -1.6, "Na2ClF": -1.2}


def hull_table(energies=ENERGIES):
    return HullTable(
        name="by hand",
        force_field=TOY,
        convention="consistent",
        geometry="as given",
        note=None,
        ids=(),
        formulas=list(energies),
        energies=np.array(list(energies.values())),
    )


def salt(name, *, numbers=(11, 17), a=5.6, frac=((0, 0, 0), (0.5, 0.5, 0.5))):
    return Crystal(
        id=name,
        atomic_numbers=np.array(numbers),
        lattice=a / 2 * np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]]),
        frac_coords=np.array(frac, dtype=float),
    )


def relaxation(crystal, energy, **facts):
    return Relaxation(
        crystal=crystal,
        initial_energy=energy + 0.1,
        energy=energy,
        n_steps=7,
        converged=facts.get("stopped", "converged") == "converged",
        rmsd=0.1,
        stopped=facts.get("stopped", "converged"),
    )


def judged(relaxations, elements, *, known=None, energies=ENERGIES, **outcome):
    """Judge relaxations by hand; the candidates are those that are named in them and in the outcome."""
    names = [
        *relaxations,
        *outcome.get("not_built", {}),
        *outcome.get("duplicates", {}),
        *outcome.get("not_tried", ()),
    ]
    candidates = Candidates(names=names, made=[], n_asked=len(names) + 1, n_drawn=len(names) + 5)
    relaxed = RelaxedSet(force_field=TOY, relaxations=relaxations)
    return judge(
        Outcome(relaxed=relaxed, **outcome),
        candidates,
        elements,
        hull=Hull(hull_table(energies)),
        known=None if known is None else CrystalSet(crystals=known, name="by hand"),
    )
