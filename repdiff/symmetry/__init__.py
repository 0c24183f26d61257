"""Protostructures of crystals: read off within a tolerance, checked, and kept beside the crystals."""

from repdiff.symmetry.columns import protostructures_of, with_protostructures
from repdiff.symmetry.reading import Reading, SymmetrizedCrystal, read_protostructure, read_protostructures
from repdiff.symmetry.table import SymmetryTable

__all__ = [
    "Reading",
    "SymmetrizedCrystal",
    "SymmetryTable",
    "protostructures_of",
    "read_protostructure",
    "read_protostructures",
    "with_protostructures",
]
