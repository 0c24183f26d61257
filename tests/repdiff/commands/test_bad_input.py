"""What a user can get wrong, by the command line: one line that says what to do, exit code 2, nothing lost."""

import errno
import json
import os
from pathlib import Path

import known_crystals
import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from pymatgen.io.cif import CifWriter
from small_runs import SAMPLING, TRAINING

from repdiff.cli.main import main
from repdiff.crystals.structure_files import FILES, read_structures
from repdiff.diffusion.build import KIND
from repdiff.representations.encoded_set import EncodedSet
from repdiff.representations.shards import KIND as SHARD_KIND
from repdiff.representations.shards import read_generated
from repdiff.runs.checkpoint import load_checkpoint, save_checkpoint
from repdiff.runs.manifest import read_manifest

MODEL, GENERATED = "tiny-ead-mlp", "tiny-ead-mlp-ddim5-seed0"


@pytest.fixture
def refused(tmp_path, capsys):
    """Run a command that must be refused: returns the one line that it says."""

    def call(*argv: str | Path, workspace: Path | None = None) -> str:
        capsys.readouterr()
        place = str(workspace or tmp_path / "workspace")
        assert main([*map(str, argv), "--workspace", place]) == 2
        told = capsys.readouterr()
        assert told.out == ""
        said = [line for line in told.err.replace("\r", "\n").splitlines() if line.startswith("repdiff ")]
        assert said[-1] == told.err.splitlines()[-1]
        assert "Traceback" not in told.err
        return said[-1]

    return call


def cif(structure):
    return str(CifWriter(structure))


def frames(path, *atoms):
    write(path, list(atoms), format="extxyz")
    return path


def salt(a=4.0, second=(0.5, 0.5, 0.5)):
    return Atoms("CsCl", scaled_positions=[(0, 0, 0), second], cell=[a] * 3, pbc=True)


PARTIAL = """data_x
_cell_length_a 4
_cell_length_b 4
_cell_length_c 4
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
 _atom_site_label
 _atom_site_type_symbol
 _atom_site_fract_x
 _atom_site_fract_y
 _atom_site_fract_z
 _atom_site_occupancy
 Cs1 Cs 0 0 0 0.5
 Cl1 Cl 0.5 0.5 0.5 1
"""


def write_empty(folder):
    (folder / "x.csv").write_text("")
    return folder / "x.csv"


def write_csv_without_cif(folder):
    (folder / "x.csv").write_text("id,formula\n1,CsCl\n")
    return folder / "x.csv"


def write_partial_occupancy(folder):
    (folder / "x.cif").write_text(PARTIAL)
    return folder / "x.cif"


def write_zero_volume(folder):
    flat = {"lattice": {"matrix": [[1, 0, 0], [2, 0, 0], [0, 0, 3]]}}
    site = {"species": [{"element": "Cs", "occu": 1}], "abc": [0, 0, 0]}
    (folder / "x.json").write_text(json.dumps([flat | {"sites": [site]}]))
    return folder / "x.json"


def write_overlapping_atoms(folder):
    return frames(folder / "x.extxyz", salt(second=(0.001, 0, 0)))


def write_unknown_element(folder):
    text = cif(known_crystals.caesium_chloride()).replace("Cl", "Xx")
    (folder / "x.cif").write_text(text)
    return folder / "x.cif"


def write_nan_coordinate(folder):
    return frames(folder / "x.extxyz", salt(second=(np.nan, 0, 0)))


def write_nothing(folder):
    (folder / "x").mkdir()
    return folder / "x"


BAD_SETS = [
    (write_empty, "is an empty file"),
    (write_csv_without_cif, "has the columns id, formula, expected one called cif"),
    (write_partial_occupancy, "partial"),
    (write_zero_volume, "volume"),
    (write_overlapping_atoms, "overlapping atoms: atoms 0 and 1 are 0.004 Å apart"),
    (write_unknown_element, "none of the 1 rows"),
    (write_nan_coordinate, "NaN"),
    (write_nothing, "holds no structure"),
]


@pytest.mark.parametrize(("make", "reason"), BAD_SETS, ids=[make.__name__[6:] for make, _ in BAD_SETS])
def test_a_data_set_of_nothing_but_bad_rows_is_refused(make, reason, refused, tmp_path):
    path = make(tmp_path)
    said = refused("encode", path)
    assert reason in said
    assert str(path) in said
    assert not (tmp_path / "workspace" / "encode" / "x-ead").exists()


def test_bad_rows_among_good_ones_are_listed_and_stop_nothing(tmp_path, capsys):
    path = frames(
        tmp_path / "x.extxyz", salt(), salt(second=(np.nan, 0, 0)), salt(4.2), salt(second=(0.001, 0, 0))
    )
    assert main(["encode", str(path), "--workspace", str(tmp_path)]) == 0
    told = capsys.readouterr()
    folder = Path(told.out.strip())
    assert "2 crystals" in told.err
    assert f"2 rejected (reasons in {folder / 'rejected.jsonl'})" in told.err
    rejected = [json.loads(line) for line in (folder / "rejected.jsonl").read_text().splitlines()]
    assert [entry["row"] for entry in rejected] == [1, 3]
    assert "NaN" in rejected[0]["reason"]
    assert "overlapping" in rejected[1]["reason"]
    assert len(EncodedSet.read(folder).crystals) == 2


def test_a_set_that_cannot_be_reduced_says_how_to_go_on(refused, tmp_path, monkeypatch):
    def fail(crystal):
        raise ValueError("does not converge")

    monkeypatch.setattr("repdiff.representations.encoding.niggli_reduced", fail)
    assert "--no-niggli" in refused("encode", frames(tmp_path / "x.extxyz", salt()))


@pytest.mark.parametrize(
    ("argv", "way_out"),
    [
        (["train"], "run `repdiff encode prototypes` first"),
        (["generate"], "run `repdiff train` first"),
        (["reconstruct"], "run `repdiff generate` first"),
        (["evaluate"], "run `repdiff reconstruct` first"),
        (["encode", "perov_5"], "repdiff download perov_5"),
        (["encode", "prototype"], "Did you mean 'prototypes'"),
        (["encode", "prototypes", "--descriptor", "eda"], "Did you mean 'ead'"),
        (["encode", "prototypes", "--descriptor", "ead:papre"], "Did you mean 'paper'"),
        (["encode", "prototypes", "--device", "gpu"], "expected auto, cpu, cuda or cuda:N"),
        (["train", "--device", "cuda:99"], "GPUs here: use --device cpu"),
        (["finetune", "--property", "gap", "--device", "gpu"], "expected auto, cpu, cuda or cuda:N"),
        (["encode", "prototypes", "--limit", "0"], "--limit is 0, expected at least 1"),
        (["relax", "--n", "0"], "--n is 0, expected at least 1"),
        (["reconstruct", "--n", "0"], "--n is 0, expected at least 1"),
        (["reconstruct", "--generated", "nowhere"], "nowhere: no such path"),
        (["generate", "--model", "nowhere"], "nowhere: no such path"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_not_there_is_named_with_the_way_out(argv, way_out, refused, tmp_path, monkeypatch):
    def read(*_, **__):
        raise AssertionError("read the whole data set before it looked at the settings")

    monkeypatch.setattr("repdiff.datasets.prototypes.build.build_prototypes", read)
    assert way_out in refused(*argv)
    root = tmp_path / "workspace"
    assert not root.exists() or not [p for p in root.rglob("*") if p.is_file() and p.suffix != ".lock"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--denoiser", "unet"], "unet1d"),
        (["--denoiser-options", "widht=3"], "widht"),
        (["--denoiser-options", "width=lots"], "width"),
        (["--block-weights", "compositoin=2"], "compositoin"),
    ],
)
def test_settings_of_the_network_that_make_none_are_refused_before_anything_is_fitted(
    flags, message, refused, workspace, monkeypatch
):
    monkeypatch.setattr("repdiff.backends.fit.train", None)
    said = refused("train", *TRAINING[2:], *flags, "--name", "bad", workspace=workspace)
    assert message in said
    assert not (workspace / "train" / "bad").exists()


@pytest.mark.parametrize(
    ("bad", "good"),
    [
        (["train", *TRAINING[2:], "--denoiser-options", "wdth=32"], ["train", *TRAINING]),
        (["train", *TRAINING, "--encoded", "train/{MODEL}"], ["train", *TRAINING]),
        (
            ["evaluate", "--only", "validity", "--relaxed", "encode/tiny-ead"],
            ["evaluate", "--only", "validity"],
        ),
    ],
    ids=["options", "encoded", "relaxed"],
)
def test_a_refused_command_is_not_in_the_way_of_the_corrected_one(bad, good, refused, workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    refused(*[word.format(MODEL=MODEL) for word in bad], "--name", "x", workspace=workspace)
    assert not list(workspace.glob("*/x"))
    assert main([*good, "--name", "x", "--workspace", str(workspace)]) == 0


def truncate(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("file", "argv"),
    [
        (f"train/{MODEL}/model.safetensors", ["generate", "--n", "4", *SAMPLING]),
        (f"generate/{GENERATED}/shards/00000.safetensors", ["reconstruct", "--preset", "fast"]),
        ("encode/tiny-ead/representations.safetensors", ["train", *TRAINING]),
        ("encode/tiny-ead/crystals.parquet", ["train", *TRAINING]),
        (f"reconstruct/{GENERATED}-n4-fast/table.parquet", ["evaluate"]),
    ],
)
def test_a_truncated_file_is_named_with_the_way_out(file, argv, refused, workspace):
    truncate(workspace / file)
    said = refused(*argv, "--name", "new", workspace=workspace)
    assert file in said
    assert any(word in said for word in ("truncated", "again", "expected a table"))


def change_metadata(file, kind, change):
    tensors, metadata = load_checkpoint(file, kind=kind)
    change(metadata)
    del metadata["kind"], metadata["format"]
    save_checkpoint(file, tensors, metadata, kind=kind)


def other_settings(metadata):
    metadata["layout"]["descriptor_settings"] |= {"cutoff": 3.21}


def other_descriptor(metadata):
    metadata["layout"]["descriptor"] = "voronoi"


def no_layout(metadata):
    del metadata["layout"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_settings, "made with other settings of descriptor 'ead'"),
        (other_descriptor, "made with a descriptor that this version lacks: unknown descriptor 'voronoi'"),
        (no_layout, "layout"),
    ],
)
@pytest.mark.parametrize(
    ("file", "kind", "verb"),
    [
        (f"train/{MODEL}/model.safetensors", KIND, "generate"),
        (f"generate/{GENERATED}/shards/00000.safetensors", SHARD_KIND, "reconstruct"),
    ],
)
def test_files_of_another_descriptor_are_refused(change, message, file, kind, verb, refused, workspace):
    change_metadata(workspace / file, kind, change)
    said = refused(verb, "--name", "new", workspace=workspace)
    assert message in said
    assert not list((workspace / verb).glob("new/*.extxyz"))


@pytest.mark.parametrize(
    ("verb", "flag", "given"),
    [
        ("generate", "--model", f"generate/{GENERATED}/shards/00000.safetensors"),
        ("generate", "--model", "encode/tiny-ead"),
        ("reconstruct", "--generated", f"train/{MODEL}"),
        ("train", "--encoded", f"train/{MODEL}"),
        ("evaluate", "--n=3", f"train/{MODEL}"),
    ],
)
def test_an_output_of_the_wrong_verb_is_refused(verb, flag, given, refused, workspace):
    said = refused(verb, flag, workspace / given, "--name", "new", workspace=workspace)
    assert given in said


@pytest.fixture
def read_only(monkeypatch):
    """Make every new file and folder below a path fail as a disk mounted read-only does."""

    def put(root):
        real_open, real_mkdir = os.open, os.mkdir

        def refuse(path):
            if str(path).startswith(str(root)):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

        def open_(path, flags, *rest, **named):
            if flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):
                refuse(path)
            return real_open(path, flags, *rest, **named)

        def mkdir(path, *rest, **named):
            refuse(path)
            return real_mkdir(path, *rest, **named)

        monkeypatch.setattr(os, "open", open_)
        monkeypatch.setattr(os, "mkdir", mkdir)

    return put


def test_a_read_only_disk_is_named_with_the_way_out(read_only, refused, tiny_file, tmp_path):
    read_only(tmp_path / "workspace")
    said = refused("encode", tiny_file)
    assert "the disk is read-only: choose another --workspace" in said


def test_a_disk_that_turns_read_only_keeps_what_is_there(refused, workspace, monkeypatch):
    before = read_generated(workspace / "generate" / GENERATED).vectors

    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "shard")

    with monkeypatch.context() as patch:
        patch.setattr("repdiff.runs.checkpoint.save_file", refuse)
        said = refused("generate", "--n", "6", *SAMPLING, workspace=workspace)
    assert "read-only" in said.lower()
    after = read_generated(workspace / "generate" / GENERATED).vectors
    np.testing.assert_array_equal(after, before)
    assert read_manifest(workspace / "generate" / GENERATED).status == "interrupted"
    assert main(["generate", "--n", "6", *SAMPLING, "--workspace", str(workspace)]) == 0
    assert len(read_generated(workspace / "generate" / GENERATED).vectors) == 6


@pytest.mark.usefixtures("_quick_search")
def test_a_full_disk_while_crystals_are_written_loses_no_crystal(refused, workspace, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "part")

    flags = ["--preset", "fast", "--n-workers", "1", "--name", "full"]
    with monkeypatch.context() as patch:
        patch.setitem(FILES, "cif.zip", refuse)
        said = refused("reconstruct", *flags, workspace=workspace)
    assert "No space left" in said or "disk is full" in said
    assert main(["reconstruct", *flags, "--workspace", str(workspace)]) == 0
    assert len(read_structures(workspace / "reconstruct" / "full")) == 4
