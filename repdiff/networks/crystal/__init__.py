"""Equivariant networks on crystals: graph, backbone, heads and adapters."""

from repdiff.networks.crystal.adapters import AdapterInput
from repdiff.networks.crystal.graph import CrystalGraph, build_graph
from repdiff.networks.crystal.heads import (
    CoordinateHead,
    CrystalHead,
    LatticeHead,
    TypeHead,
    deform,
    to_fractional,
)
from repdiff.networks.crystal.network import CrystalFeatures, CrystalNetwork, CrystalNetworkSettings

__all__ = [
    "AdapterInput",
    "CoordinateHead",
    "CrystalFeatures",
    "CrystalGraph",
    "CrystalHead",
    "CrystalNetwork",
    "CrystalNetworkSettings",
    "LatticeHead",
    "TypeHead",
    "build_graph",
    "deform",
    "to_fractional",
]
