"""What relaxation made of crystals, and by which force field."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from repdiff.crystals.crystal import Crystal
from repdiff.energies.conventions import CONVENTIONS, Convention, convention_of, hull_convention


@dataclass(frozen=True, kw_only=True)
class ForceFieldIdentity:
    """Which force field an energy is of; energies of different ones do not compare.

    Attributes:
        name: As registered, such as "chgnet".
        version: Of the model, such as "0.3.0".
        weights_sha256: Hash of the file of weights.
        package: What computed with them, such as "chgnet 0.4.2"; it is no part of the comparison.
        convention: What its energies mean, see `repdiff.energies.conventions`; follows from the rest, and is no part of
            the comparison. "unstated" takes that of files written before it was stated.
    """

    name: str
    version: str
    weights_sha256: str
    package: str = field(default="", compare=False)
    convention: Convention = field(default="unstated", compare=False)

    def __post_init__(self) -> None:
        """Fill in the convention of files that do not state it, and refuse an unknown one."""
        if self.convention == "unstated":
            object.__setattr__(self, "convention", convention_of(self.name))
        if self.convention not in CONVENTIONS:
            raise ValueError(f"convention is {self.convention!r}, expected one of {', '.join(CONVENTIONS)}")

    @property
    def hull_convention(self) -> Convention:
        """Convention in which its energies are put on a hull."""
        return hull_convention(self.convention)

    def __str__(self) -> str:
        """Say it in a few words: "chgnet 0.3.0 (weights 0123abcd)"."""
        return f"{self.name} {self.version} (weights {self.weights_sha256[:8]})"


@dataclass(frozen=True, kw_only=True)
class Relaxation:
    """What became of one crystal.

    Attributes:
        crystal: Relaxed, under the name of the one it came from; None if it could not be computed.
        initial_energy: eV per atom, before; None if not computed.
        energy: eV per atom, after; None if not computed.
        n_steps: Steps that were taken.
        converged: Whether the largest force, the cell's included, fell below the limit.
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

    @property
    def energy_change(self) -> float | None:
        """Energy after minus before, eV per atom; None if not computed."""
        if self.energy is None or self.initial_energy is None:
            return None
        return self.energy - self.initial_energy


@dataclass(frozen=True, kw_only=True)
class RelaxedSet:
    """Relaxations by the name of the crystal, and what computed them.

    Attributes:
        force_field: What computed them.
        relaxations: By name.
        protocol: How, such as the limit of the force and of the steps; part of a metric's protocol.
    """

    force_field: ForceFieldIdentity
    relaxations: Mapping[str, Relaxation]
    protocol: Mapping[str, float | int | str | bool] = field(default_factory=dict)

    def reasons(self) -> dict[str, int]:
        """Count the crystals that have no result by their reason, the most frequent first."""
        counts = Counter(relaxation.reason for relaxation in self.relaxations.values() if relaxation.reason)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
