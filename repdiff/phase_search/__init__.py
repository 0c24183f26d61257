"""Phases of a chemical system: formulas, candidates with symmetry, relaxation, and their place on the convex hull."""
