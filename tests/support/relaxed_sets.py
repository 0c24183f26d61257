"""Relaxed crystals and a hand-made hull for them: what stability and S.U.N. are told of."""

import numpy as np
import pytest
from sample_crystals import cubic_perovskite

from repdiff.energies import hull_table
from repdiff.energies.hull_table import HullTable, write_hull_table
from repdiff.energies.relaxed import ForceFieldIdentity, Relaxation, RelaxedSet
from repdiff.metrics import Context, CrystalSet
from repdiff.metrics.stability import Stability

IDENTITY = ForceFieldIdentity(name="toy", version="1", weights_sha256="ab" * 32, convention="consistent")
ENERGIES = {"Sr": -1.0, "Ti": -4.0, "Ba": -1.0, "O2": -4.0, "SrTiO3": -7.0, "BaTiO3": -7.0}
# below it by the elements alone: (-1 - 4 - 3 * 4) / 5 = -3.4


def hand_made_hull(energies):
    """A table of these energies, eV per atom, by formula."""
    return HullTable(
        name="hand-made",
        force_field=IDENTITY,
        convention="consistent",
        geometry="as given",
        note=None,
        ids=list(energies),
        formulas=list(energies),
        energies=np.array(list(energies.values())),
    )


@pytest.fixture
def hull(tmp_path, monkeypatch):
    """A hand-made table in the place of the shipped ones."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    write_hull_table(folder / "t.parquet", hand_made_hull(ENERGIES))
    monkeypatch.setattr(hull_table, "SHIPPED", folder)
    return folder / "t.parquet"


def relaxed_to(crystal, energy, *, rmsd=0.1, converged=True):
    return Relaxation(
        crystal=crystal, initial_energy=energy + 0.5, energy=energy, n_steps=7, converged=converged, rmsd=rmsd
    )


def broken(reason):
    return Relaxation.without_result(reason)


def st(name, a=3.905):
    return cubic_perovskite(name, a=a)


GENERATED = [
    st("on hull"),
    cubic_perovskite("stable twin 1", a_site=56, a=4.0),
    cubic_perovskite("stable twin 2", a_site=56, a=4.01),
    cubic_perovskite("unstable", a_site=56, a=5.5),
    cubic_perovskite("no reference", a_site=19),
    st("exploded"),
]
RELAXED = RelaxedSet(
    force_field=IDENTITY,
    relaxations={
        "on hull": relaxed_to(GENERATED[0], -7.0, rmsd=0.0),
        "stable twin 1": relaxed_to(GENERATED[1], -6.95, rmsd=0.2),
        "stable twin 2": relaxed_to(GENERATED[2], -6.94, rmsd=0.1, converged=False),
        "unstable": relaxed_to(GENERATED[3], -6.0, rmsd=0.3),
        "no reference": relaxed_to(GENERATED[4], -8.0, rmsd=0.4),
        "exploded": broken("the volume grew more than 10 times"),
        "gen-9": broken("no formula"),
    },
    protocol={"fmax_eV_per_angstrom": 0.05},
)
SET = CrystalSet(crystals=GENERATED, failed={"gen-9": "no formula"})
TRAINING = CrystalSet(crystals=[st("known")])


def value(name, *, generated=SET, metric=None, **context):
    options = {"relaxed": RELAXED, "training": TRAINING, "reference": TRAINING, **context}
    return (metric or Stability()).compute(generated, Context(**options)).values[name]
