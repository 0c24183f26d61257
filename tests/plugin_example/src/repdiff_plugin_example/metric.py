"""A metric: volume per atom."""

import numpy as np

from repdiff.crystals.crystal_set import CrystalSet
from repdiff.metrics import Context, Metric, MetricResult
from repdiff.metrics.base import mean


class Packing(Metric):
    """Mean volume per atom of the crystals that have one."""

    description = "mean volume per atom"

    def compute(self, generated: CrystalSet, context: Context) -> MetricResult:
        """Average over the crystals of finite volume."""
        volumes = [
            crystal.volume / crystal.n_atoms
            if crystal.n_atoms and np.isfinite(crystal.lattice).all()
            else None
            for crystal in generated.crystals
        ]
        known = [volume for volume in volumes if volume is not None]
        value = mean(known, "volume", reason="no crystal with a volume", unit="Å³")
        return MetricResult(
            values={"volume_per_atom": value},
            protocols={"volume": {"of": "unit cell"}},
            columns={"volume_per_atom": [*volumes, *[None] * len(generated.failed)]},
        )
