"""Crystals that a descriptor does not tell apart."""
