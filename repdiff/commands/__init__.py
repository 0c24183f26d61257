"""The verbs: each reads its inputs, calls the library, and writes a run."""
