"""Representation vectors: their layout, encoding, and files."""
