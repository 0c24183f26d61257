"""Whether crystals are possible at all: atoms apart, a cell with a volume, balanced charges."""

from repdiff.crystals.crystal import Crystal
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.crystals.formula import count_elements
from repdiff.crystals.geometry import MIN_DISTANCE, MIN_VOLUME, StructureCheck, check_structures
from repdiff.metrics.base import METRICS, Context, Metric, MetricResult, share, tally
from repdiff.metrics.charge_balance import OXIDATION_STATES, Verdict, check_composition

NOT_MADE = "could not be made or read"


def check_crystal_composition(crystal: Crystal) -> Verdict:
    """Apply `check_composition` to a crystal, whatever it holds.

    Example:
        >>> from repdiff.testing.example_crystals import rock_salt
        >>> check_crystal_composition(rock_salt())
        Verdict(valid=True, reason='charge neutral')
    """
    return check_composition(count_elements(crystal)) if crystal.n_atoms else Verdict(False, "no atoms")


@METRICS.register("validity")
class Validity(Metric):
    """Fractions of crystals that pass the structure test, the composition test, and both."""

    description = "atoms at least 0.5 Å apart in a cell with a volume; formula charge-balanced (smact)"

    def compute(self, generated: CrystalSet, context: Context) -> MetricResult:
        """Test every crystal; what was not reconstructed is invalid."""
        missing = len(generated.failed)
        structure = check_structures(generated.crystals) + missing * [
            StructureCheck(valid=False, reason=NOT_MADE, shortest_distance=None, volume=None)
        ]
        composition = [check_crystal_composition(crystal) for crystal in generated.crystals]
        composition += missing * [Verdict(False, NOT_MADE)]
        both = [s.valid and c.valid for s, c in zip(structure, composition, strict=True)]
        named = f"cdvae-{OXIDATION_STATES}"
        distance: dict[str, float | int | str | bool] = {
            "min_distance_angstrom": MIN_DISTANCE,
            "min_volume_angstrom3": MIN_VOLUME,
            "own_images_count": True,
        }
        charges: dict[str, float | int | str | bool] = {
            "oxidation_states": OXIDATION_STATES,
            "pauling_test": True,
            "metals_and_elements_valid": True,
        }
        return MetricResult(
            values={
                "structure_valid": share([check.valid for check in structure], "cdvae"),
                "composition_valid": share([verdict.valid for verdict in composition], named),
                "valid": share(both, named),
            },
            protocols={"cdvae": distance, named: distance | charges},
            columns={
                "structure_valid": [check.valid for check in structure],
                "structure_reason": [check.reason for check in structure],
                "shortest_distance": [check.shortest_distance for check in structure],
                "volume": [check.volume for check in structure],
                "composition_valid": [verdict.valid for verdict in composition],
                "composition_reason": [verdict.reason for verdict in composition],
            },
            details={
                "structure_reasons": tally(check.reason for check in structure if not check.valid),
                "composition_reasons": tally(verdict.reason for verdict in composition),
            },
        )
