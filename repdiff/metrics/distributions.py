"""How far the generated crystals as a whole are from the reference: density, sizes, elements and space groups."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from repdiff.crystals.crystal import Crystal
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.crystals.geometry import check_structures
from repdiff.crystals.masses import GRAMS_PER_DALTON, atomic_masses
from repdiff.crystals.stored_crystals import CrystalRows
from repdiff.crystals.symmetry import SYMPREC, space_groups
from repdiff.errors import UserError
from repdiff.metrics.base import METRICS, Constant, Context, Metric, MetricResult
from repdiff.metrics.charge_balance import OXIDATION_STATES
from repdiff.metrics.distances import compare_samples, divergence, earth_movers_distance
from repdiff.metrics.validity import check_crystal_composition

NO_VALID = "no valid structure"
NO_REFERENCE = "no reference structure has a cell"


def densities(crystals: Sequence[Crystal]) -> Float[np.ndarray, " n_crystals"]:
    """Return mass over volume, g/cm³; NaN where there is no cell, no atom, or an unknown element.

    Example:
        >>> from repdiff.testing.example_crystals import rock_salt
        >>> densities([rock_salt()]).round(3).tolist()
        [2.164]
    """
    masses = atomic_masses()
    numbers = [crystal.atomic_numbers for crystal in crystals]
    known = [len(z) > 0 and z.min() >= 1 and z.max() < len(masses) for z in numbers]
    total = np.array([masses[z].sum() if k else np.nan for z, k in zip(numbers, known, strict=True)])
    return GRAMS_PER_DALTON * total / _volumes(crystals)


def volumes_per_atom(crystals: Sequence[Crystal]) -> Float[np.ndarray, " n_crystals"]:
    """Return the volume of the cell over its number of atoms, Å³; NaN where there is no cell or no atom.

    Example:
        >>> from repdiff.testing.example_crystals import cubic_perovskite
        >>> volumes_per_atom([cubic_perovskite(a=4.0)]).round(9).tolist()
        [12.8]
    """
    counts = numbers_of_atoms(crystals).astype(np.float64)
    return _volumes(crystals) / np.where(counts > 0, counts, np.nan)


def numbers_of_elements(crystals: Sequence[Crystal]) -> Int[np.ndarray, " n_crystals"]:
    """Count the different elements of each crystal."""
    return np.array([len(set(crystal.atomic_numbers.tolist())) for crystal in crystals], dtype=np.int64)


def numbers_of_atoms(crystals: Sequence[Crystal]) -> Int[np.ndarray, " n_crystals"]:
    """Count the atoms in the cell of each crystal."""
    return np.array([crystal.n_atoms for crystal in crystals], dtype=np.int64)


@METRICS.register("distributions")
class Distributions(Metric):
    """Earth mover's distances (1-D Wasserstein) of what can be counted, and the divergence of space groups.

    Generated crystals count if their structure and composition are valid; the reference is taken whole.

    Source: Xie et al., arXiv 2110.06197, section 5, for density and number of elements.
    """

    description = "Wasserstein distances of density, elements, atoms, volume; divergence of space groups"
    needs = frozenset({"reference"})

    def __init__(self, max_samples: int | None = None) -> None:
        """Choose how many structures to compare.

        Args:
            max_samples: Take at most as many of the valid ones, at random; 1000 in the published evaluation of
                CDVAE. None takes all.

        Raises:
            UserError: If it is not positive.
        """
        if max_samples is not None and max_samples < 1:
            raise UserError(f"max_samples is {max_samples}, expected at least 1, or none for all")
        self.max_samples = max_samples

    def compute(self, generated: CrystalSet, context: Context) -> MetricResult:
        """Compare the valid crystals with the reference.

        Raises:
            UserError: If there is no reference.
        """
        known = context.known().crystals
        has_cell = [check.shortest_distance is not None for check in check_structures(known)]
        reference = [crystal for crystal, has in zip(known, has_cell, strict=True) if has]
        sample = self._sample(generated.crystals, context.seed)
        suffix = "" if self.max_samples is None else f"-{self.max_samples}"
        emd, groups = f"emd-{OXIDATION_STATES}{suffix}", f"js-moyopy-{SYMPREC:g}{suffix}"
        values = {
            f"emd_{name}": compare_samples(
                quantity(sample),
                quantity(reference),
                earth_movers_distance,
                emd,
                unit=unit,
                seed=context.seed,
                reasons=(NO_VALID, NO_REFERENCE),
            )
            for name, (quantity, unit) in QUANTITIES.items()
        }
        ours, theirs = (_space_groups(crystals, context) for crystals in (sample, reference))
        values["js_space_groups"] = compare_samples(
            ours, theirs, divergence, groups, seed=context.seed, reasons=(NO_VALID, NO_REFERENCE)
        )
        missing = [None] * len(generated.failed)
        shared: dict[str, Constant] = {
            "generated": "valid structure and composition",
            "oxidation_states": OXIDATION_STATES,
            "max_samples": "all" if self.max_samples is None else self.max_samples,
            "reference": "all that have a cell",
            "n_reference": len(reference),
        }
        return MetricResult(
            values=values,
            protocols={
                emd: shared | {"distance": "Wasserstein, first order"},
                groups: shared
                | {"space_groups": "moyopy", "symprec_angstrom": SYMPREC, "logarithm": "base 2"},
            },
            columns={
                "density": _plain(densities(generated.crystals)) + missing,
                "n_elements": numbers_of_elements(generated.crystals).tolist() + missing,
                "volume_per_atom": _plain(volumes_per_atom(generated.crystals)) + missing,
            },
            details={
                "reference_without_cell": [c.id for c, has in zip(known, has_cell, strict=True) if not has],
                "n_without_space_group": len(sample) - len(ours),
            },
        )

    def _sample(self, crystals: Sequence[Crystal], seed: int) -> Sequence[Crystal]:
        """Choose among the valid crystals, sorted by name so that their order does not matter."""
        names = [
            (crystal.id, row)
            for row, (crystal, check) in enumerate(zip(crystals, check_structures(crystals), strict=True))
            if check.valid and check_crystal_composition(crystal).valid
        ]
        valid = np.array([row for _, row in sorted(names)], dtype=np.int64)
        if self.max_samples is not None and len(valid) > self.max_samples:
            valid = valid[np.random.default_rng(seed).choice(len(valid), self.max_samples, replace=False)]
        return CrystalRows(crystals, valid)


def _space_groups(crystals: Sequence[Crystal], context: Context) -> Int[np.ndarray, " n_found"]:
    found = space_groups(crystals, symprec=SYMPREC, n_workers=context.n_workers, progress=context.progress)
    return np.array([group for group in found if group is not None], dtype=np.int64)


def _volumes(crystals: Sequence[Crystal]) -> Float[np.ndarray, " n_crystals"]:
    """Return the volumes of the cells, Å³; NaN where it is zero or not finite."""
    volumes = np.array(
        [crystal.volume if np.isfinite(crystal.lattice).all() else np.nan for crystal in crystals]
    )
    return np.where((volumes > 0) & np.isfinite(volumes), volumes, np.nan)


def _plain(numbers: Float[np.ndarray, " n"]) -> list[float | None]:
    return [float(number) if np.isfinite(number) else None for number in numbers]


QUANTITIES = {
    "density": (densities, "g/cm³"),
    "n_elements": (numbers_of_elements, ""),
    "volume_per_atom": (volumes_per_atom, "Å³"),
    "n_atoms": (numbers_of_atoms, ""),
}
