"""A comparison of two systems of a few steps each, for the tests of its plan and of the verb."""

from pathlib import Path

import pytest
import yaml

TORUS = {
    "network.width": 8,
    "network.n_blocks": 1,
    "network.n_neighbors": 6,
    "network.max_neighbors": 8,
    "torus.timesteps": 4,
    "lattice.timesteps": 4,
}


def document(data, **changes):
    """A comparison of two systems of a few steps each."""
    systems = {
        "vectors": {
            "train": {
                "compositions": "joint",
                "timesteps": 20,
                "denoiser_options": {"width": 32, "n_blocks": 1},
            },
            "reconstruct": {"preset": "fast", "max_evaluations": 40, "n_workers": 1},
        },
        "torus": {"train": {"backend": "gemsdiff", **TORUS}},
    }
    return {
        "compare": {"seeds": [3], "at_once": 2, "systems": systems},
        "encode": {"dataset": str(data)},
        "train": {"max_epochs": None, "max_steps": 2, "batch_size": 8, "warmup_steps": 0},
        "generate": {"n": 2},
        "evaluate": {"reference": f"{data}:test", "only": ["validity", "distributions"]},
    } | changes


@pytest.fixture
def write_comparison(tmp_path, tiny_file):
    """Write the description of a comparison, changed by a function, and return its path."""

    def put(change=lambda document: None) -> Path:
        found = document(tiny_file)
        change(found)
        path = tmp_path / "three.yaml"
        path.write_text(yaml.safe_dump(found, sort_keys=False))
        return path

    return put
