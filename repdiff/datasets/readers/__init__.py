"""Readers of files that hold crystals: CSV, CIF, POSCAR, extxyz, ASE databases, JSON, parquet."""
