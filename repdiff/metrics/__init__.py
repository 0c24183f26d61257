"""Scores of generated and reconstructed crystals, one family a module; importing this registers them all."""

from repdiff.crystals.crystal_set import CrystalSet
from repdiff.metrics import (
    compositions,
    conditions,
    coverage,
    distributions,
    frechet,
    matching,
    metre,
    plain_properties,
    prototypes,
    stability,
    symmetry,
    uniqueness,
    validity,
)
from repdiff.metrics.base import METRICS, Context, Metric, MetricResult, MetricValue

__all__ = [
    "METRICS",
    "Context",
    "CrystalSet",
    "Metric",
    "MetricResult",
    "MetricValue",
    "compositions",
    "conditions",
    "coverage",
    "distributions",
    "frechet",
    "matching",
    "metre",
    "plain_properties",
    "prototypes",
    "stability",
    "symmetry",
    "uniqueness",
    "validity",
]
