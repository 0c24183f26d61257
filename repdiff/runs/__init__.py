"""Runs: folders, manifests, provenance, checkpoints, and files written whole or not at all."""
