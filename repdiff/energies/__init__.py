"""Energies by pretrained force fields: relaxation, and stability against a hull of the same force field."""
