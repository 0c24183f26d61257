"""What relaxation made of crystals, and by which force field."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from repdiff.crystals.crystal import Crystal, Label
from repdiff.crystals.crystal_set import CrystalViews
from repdiff.energies.conventions import CONVENTIONS, Convention, convention_of, hull_convention

CONVERGED, MAX_STEPS, MAX_SECONDS = "converged", "max_steps", "max_seconds"
"""Why a relaxation ended where it did."""


@dataclass(frozen=True, kw_only=True)
class ForceFieldIdentity:
    """Which force field an energy is of; energies of different ones do not compare.

    Attributes:
        name: Registered name, such as "chgnet".
        version: Version of the model, such as "0.3.0".
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
        stopped: "converged", or the limit that it ran into, "max_steps" or "max_seconds"; None if not computed, or not
            noted in a file of an earlier version.
    """

    crystal: Crystal | None
    initial_energy: float | None
    energy: float | None
    n_steps: int
    converged: bool
    rmsd: float | None
    reason: str = ""
    stopped: str | None = None

    @property
    def energy_change(self) -> float | None:
        """Energy after minus before, eV per atom; None if not computed."""
        if self.energy is None or self.initial_energy is None:
            return None
        return self.energy - self.initial_energy

    @classmethod
    def without_result(
        cls, reason: str, *, n_steps: int = 0, initial_energy: float | None = None
    ) -> "Relaxation":
        """Return what stands for a crystal without a result."""
        return cls(
            crystal=None,
            initial_energy=initial_energy,
            energy=None,
            n_steps=n_steps,
            converged=False,
            rmsd=None,
            reason=reason,
        )

    @classmethod
    def from_labels(
        cls, labels: Mapping[str, Any], *, crystal: Crystal | None = None, reason: str = ""
    ) -> "Relaxation":
        """Take a relaxation out of the labels of a crystal, or out of an entry of a file.

        Raises:
            KeyError: If there is a crystal and a label is missing.
        """
        if crystal is None:
            first = labels.get("initial_energy_per_atom")
            return cls.without_result(reason, n_steps=labels.get("n_steps", 0), initial_energy=first)
        return cls(
            crystal=crystal,
            initial_energy=labels["initial_energy_per_atom"],
            energy=labels["energy_per_atom"],
            n_steps=labels["n_steps"],
            converged=bool(labels["converged"]),
            rmsd=labels["rmsd"],
            stopped=labels.get("relax_stopped"),
        )

    def labels(self) -> dict[str, Label]:
        """Return what is known as labels of the crystal."""
        return {
            "initial_energy_per_atom": self.initial_energy,
            "energy_per_atom": self.energy,
            "energy_change": self.energy_change,
            "rmsd": self.rmsd,
            "n_steps": self.n_steps,
            "converged": self.converged,
            "relax_stopped": self.stopped,
        }


@dataclass(frozen=True, kw_only=True, repr=False)
class RelaxedSet(CrystalViews):
    """Relaxations by the name of the crystal, and what computed them.

    `crystals` are the relaxed ones, with energies (eV per atom), displacement (Å), steps and whether they converged as
    labels; `failed` has the reasons of the others.

    Attributes:
        force_field: What computed them.
        relaxations: Relaxation of each crystal, by its name.
        protocol: How, such as the limit of the force and of the steps; part of a metric's protocol.

    Example:
        >>> import repdiff as rd
        >>> from ase.build import bulk
        >>> still = rd.relax([bulk("Cu"), bulk("Fe")], max_steps=0, device="cpu", progress=False)
        >>> still.force_field.name, still.to_frame()["n_steps"].tolist()
        ('chgnet', [0, 0])
    """

    force_field: ForceFieldIdentity
    relaxations: Mapping[str, Relaxation]
    protocol: Mapping[str, float | int | str | bool] = field(default_factory=dict)

    @property
    def crystals(self) -> list[Crystal]:
        """The crystals that have a result, relaxed, with what is known of each as labels."""
        return [
            end.crystal.replace(labels={**end.crystal.labels, **end.labels()})
            for end in self.relaxations.values()
            if end.crystal is not None
        ]

    @property
    def failed(self) -> dict[str, str]:
        """Reason by name, of the crystals that have no result."""
        return {name: end.reason for name, end in self.relaxations.items() if end.crystal is None}

    def __len__(self) -> int:
        """Count all, those without a result too."""
        return len(self.relaxations)

    def __repr__(self) -> str:
        """Say how many there are."""
        return self._title()

    def _title(self) -> str:
        n_converged = sum(end.converged for end in self.relaxations.values())
        return f"{super()._title()}; {n_converged} converged by {self.force_field}"

    def _missing(self) -> Mapping[str, str]:
        return self.failed

    @property
    def n_out_of_time(self) -> int:
        """Count the crystals that were stopped by the limit of seconds."""
        return sum(end.stopped == MAX_SECONDS for end in self.relaxations.values())

    def reasons(self) -> dict[str, int]:
        """Count the crystals that have no result by their reason, the most frequent first."""
        counts = Counter(relaxation.reason for relaxation in self.relaxations.values() if relaxation.reason)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
