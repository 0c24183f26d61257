"""What relaxation made of crystals, and by which force field."""

from collections.abc import Mapping
from dataclasses import dataclass

from repdiff.datasets.crystal import Crystal


@dataclass(frozen=True, kw_only=True)
class ForceFieldIdentity:
    """Which force field an energy is of; energies of different ones do not compare.

    Attributes:
        name: As registered, such as "chgnet".
        version: Of the package and the model.
        weights_sha256: Hash of the file of weights.
    """

    name: str
    version: str
    weights_sha256: str


@dataclass(frozen=True, kw_only=True)
class Relaxation:
    """What became of one crystal.

    Attributes:
        crystal: Relaxed, under the name of the one it came from; None if it could not be computed.
        initial_energy: eV per atom, before; None if not computed.
        energy: eV per atom, after; None if not computed.
        n_steps: Steps that were taken.
        converged: Whether the largest force and stress fell below the limit.
        rmsd: Root mean square displacement of the atoms, Å; None if not computed.
        reason: Why there is no result, or ""; names the elements that the force field does not know.
    """

    crystal: Crystal | None
    initial_energy: float | None
    energy: float | None
    n_steps: int
    converged: bool
    rmsd: float | None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class RelaxedSet:
    """Relaxations by the name of the crystal, and what computed them."""

    force_field: ForceFieldIdentity
    relaxations: Mapping[str, Relaxation]
