"""Every file that is replaced as a whole reaches the disk before it takes its name, and the name does too."""

import os
import stat

import numpy as np
import pytest
import torch

from repdiff.crystals.crystal import Crystal, write_crystals
from repdiff.runs.atomic_files import write_json
from repdiff.runs.checkpoint import save_checkpoint

CRYSTAL = Crystal(id="a", atomic_numbers=np.array([14]), lattice=np.eye(3) * 3, frac_coords=np.zeros((1, 3)))
WRITERS = {
    "json": lambda folder: write_json(folder / "a.json", {}),
    "checkpoint": lambda folder: save_checkpoint(
        folder / "a.safetensors", {"x": torch.zeros(2)}, {}, kind="test"
    ),
    "crystals": lambda folder: write_crystals(folder / "a.parquet", [CRYSTAL]),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_the_file_and_then_its_folder_are_synced(kind, tmp_path, monkeypatch):
    synced, plain = [], os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda handle: (synced.append(stat.S_ISDIR(os.fstat(handle).st_mode)), plain(handle))
    )
    WRITERS[kind](tmp_path)
    assert synced == [False, True]
    assert len(list(tmp_path.iterdir())) == 1
