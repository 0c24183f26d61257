"""Small crystals that the tests of the metrics share."""

from repdiff.testing.example_crystals import crystal, cubic_perovskite, invalid_crystals

__all__ = ["crystal", "cubic_perovskite", "invalid_crystals"]
