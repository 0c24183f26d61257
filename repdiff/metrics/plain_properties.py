"""Properties that need no label: density, masses, shortest distance, and how concentrated the supply of elements is."""

from importlib.metadata import version

from repdiff.crystals.crystal_set import CrystalSet
from repdiff.crystals.plain_properties import PLAIN_PROPERTIES, plain_properties
from repdiff.metrics.base import METRICS, Context, Metric, MetricResult, mean

PROTOCOL = "plain-properties"
COLUMNS_OF_OTHERS = ("shortest_distance",)  # the family `validity` has this column


@METRICS.register("plain_properties")
class PlainProperties(Metric):
    """Means of what formula and cell tell by themselves, and a column for each."""

    description = "density, volume, masses, shortest distance, supply risk (HHI of production and reserves)"

    def compute(self, generated: CrystalSet, context: Context) -> MetricResult:
        """Measure; what has no cell, or elements without data, has no value and enters no mean."""
        found = plain_properties(generated.crystals)
        missing = [None] * len(generated.failed)
        return MetricResult(
            values={
                f"mean_{name}": mean(
                    [value for value in values if value is not None],
                    PROTOCOL,
                    reason="no structure has it",
                    unit=PLAIN_PROPERTIES[name].unit,
                )
                for name, values in found.items()
            },
            protocols={
                PROTOCOL: {
                    "hhi": f"pymatgen {version('pymatgen')}, by mass (Gaultois et al. 2013)",
                    "masses": f"ase {version('ase')}",
                    "own_images_count": True,
                }
            },
            columns={
                name: [*values, *missing] for name, values in found.items() if name not in COLUMNS_OF_OTHERS
            },
        )
