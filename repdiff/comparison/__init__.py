"""Comparing systems: what to run, running it, and putting what came out side by side."""
