"""Crystals and sets of them: their formulas, symmetry, geometry, checks and files."""
