"""Checkpoints that are written in parts."""

import pytest
import torch

from repdiff.errors import UserError
from repdiff.runs.checkpoint import load_checkpoint, save_checkpoint
from repdiff.runs.streamed_checkpoint import checkpoint_writer

TENSORS = {
    "vectors": torch.arange(21, dtype=torch.float32).reshape(7, 3),
    "codes": torch.arange(35, dtype=torch.int16).reshape(7, 5),
    "a name": torch.arange(14, dtype=torch.float64).reshape(7, 2),
    "none": torch.zeros(7, 0),
    "numbers": torch.arange(7),
}
METADATA = {"layout": {"name": 'Å "quoted" \\ ', "elements": [1, 2]}}


def shapes():
    return {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in TENSORS.items()}


def test_parts_make_the_bytes_of_a_checkpoint_written_at_once(tmp_path):
    save_checkpoint(tmp_path / "whole.safetensors", TENSORS, METADATA, kind="x")
    with checkpoint_writer(tmp_path / "parts.safetensors", shapes(), METADATA, kind="x") as write:
        for first in (4, 0):  # in any order
            for name, tensor in TENSORS.items():
                write(name, first, tensor[first : first + 4])
    assert (tmp_path / "parts.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    tensors, metadata = load_checkpoint(tmp_path / "parts.safetensors", kind="x")
    assert metadata["layout"] == METADATA["layout"]
    assert all(bool((tensors[name] == tensor).all()) for name, tensor in TENSORS.items())


def test_a_writer_that_is_interrupted_leaves_nothing(tmp_path):
    def interrupted():
        with checkpoint_writer(tmp_path / "x.safetensors", shapes(), {}, kind="x") as write:
            write("codes", 0, TENSORS["codes"])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_is_told_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match="cannot write"),
        checkpoint_writer(tmp_path / "file" / "x.safetensors", shapes(), {}, kind="x"),
    ):
        pass
