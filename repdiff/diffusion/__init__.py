"""Noise processes and samplers."""
