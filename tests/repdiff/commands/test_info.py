"""`repdiff info`: what it says of a run, a workspace and a file."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from repdiff.commands.info import describe
from repdiff.errors import UserError
from repdiff.runs.workspace import Workspace
from repdiff.settings import EncodeSettings


def test_info_describes_a_run_and_a_workspace(tmp_path):
    workspace = Workspace(root=tmp_path / "workspace")
    with workspace.run(EncodeSettings(dataset="prototypes"), "a") as run:
        (run.path / "data.txt").write_text("data")
        run.summary["n_crystals"] = 2000
    told = describe(run.path)
    for fact in (
        "output of `repdiff encode`",
        "status: finished",
        "n_crystals: 2000",
        "dataset: prototypes",
        "data.txt",
    ):
        assert fact in told
    assert "a: finished" in describe(workspace.root)
    assert "n_crystals 2000" in describe(workspace.root)


def test_info_counts_what_is_in_files(tmp_path):
    save_file({"w": np.zeros((2, 3))}, tmp_path / "m.safetensors", metadata={"model": '{"kind": "mlp"}'})
    told = describe(tmp_path / "m.safetensors")
    assert "w: 2 x 3" in told
    assert "kind: mlp" in told
    (tmp_path / "s.extxyz").write_text("1\ncomment\nH 0 0 0\n2\n\nH 0 0 0\nH 1 0 0\n")
    assert "2 crystals" in describe(tmp_path / "s.extxyz")


@pytest.mark.parametrize("name", ["m.safetensors", "t.parquet", "c.zip", "s.json.gz", "x.json", "s.extxyz"])
def test_info_names_a_damaged_file(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x30\x00\x00 cut short")
    with pytest.raises(UserError, match=name):
        describe(tmp_path / name)


def test_info_refuses_what_is_not_ours(tmp_path):
    (tmp_path / "x.docx").write_text("x")
    for path in (tmp_path / "none", tmp_path, tmp_path / "x.docx"):
        with pytest.raises(UserError, match=path.name):
            describe(path)
