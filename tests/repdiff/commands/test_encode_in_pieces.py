"""Data sets that are encoded piece by piece: what comes out is that of one piece, and of runs that were interrupted."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.db import connect
from pymatgen.core import Lattice, Structure

from repdiff.cli.main import main
from repdiff.crystals import duplicates_on_disk
from repdiff.crystals.crystal import Crystal, read_crystals, write_crystals
from repdiff.datasets import in_pieces
from repdiff.datasets.load import load_dataset
from repdiff.datasets.readers import blocks
from repdiff.representations import encoding_in_pieces
from repdiff.representations.encoded_set import EncodedSet
from repdiff.representations.encoding import encode_dataset
from repdiff.runs.manifest import read_manifest

N_ROWS = 34
FILES = ("crystals.parquet", "rejected.jsonl", "representations.safetensors")
METALS = ["Mg", "Ca", "Sr", "Ba", "Zn", "Fe", "Mn"]


def crystals(split=None):
    """Salts whose elements, labels and symmetry change on the way; some are bad, some the same or of one name."""
    rng = np.random.default_rng(0)
    found = []
    for n in range(N_ROWS):
        metal = METALS[n // 5]
        primitive = (2 + n / 80) * (1 - np.eye(3))  # of a face-centred cube
        structure = Structure(Lattice(primitive), [metal, "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
        numbers = np.array([site.specie.Z for site in structure])
        coords = structure.frac_coords + (rng.normal(0, 0.03, (2, 3)) if n % 3 == 0 else 0)
        labels = {"gap": n / 4 if n > 20 else n, "late": n if n > 25 else None}
        found.append(
            Crystal(
                id=f"x{n // 2}" if n % 10 < 4 else f"x{n}",
                atomic_numbers=numbers,
                lattice=structure.lattice.matrix,
                frac_coords=coords,
                labels=labels,
                split=split if n % 4 else None,
            )
        )
    found[4] = found[4].replace(frac_coords=np.zeros((2, 3)))
    found[23] = found[23].replace(lattice=found[23].lattice * 0.01)
    found[31] = found[2].replace(id="copy", frac_coords=found[2].frac_coords + 0.4)
    return found


def parquet(folder: Path, **more: object) -> Path:
    write_crystals(folder / "salts.parquet", crystals(**more))
    return folder / "salts.parquet"


def table(folder: Path) -> Path:
    with (folder / "salts.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["material_id", "gap", "late", "kind", "structure"])
        for n, one in enumerate(crystals()):
            structure = Structure(one.lattice, one.atomic_numbers, one.frac_coords)
            text = "none" if n == 11 else json.dumps(structure.as_dict())
            writer.writerow([one.id, one.labels["gap"], one.labels["late"], 7 if n < 30 else "seven", text])
    return folder / "salts.csv"


def database(folder: Path) -> Path:
    with connect(folder / "salts.db") as opened:
        for n, one in enumerate(crystals()):
            atoms = Atoms(
                numbers=one.atomic_numbers, cell=one.lattice, scaled_positions=one.frac_coords, pbc=n != 8
            )
            opened.write(atoms, key_value_pairs={"gap": n / 2, "kind": n if n < 20 else f"kind {n}"})
    return folder / "salts.db"


def split_tables(folder: Path) -> Path:
    place = folder / "salts"
    place.mkdir()
    for split in ("train", "val", "test"):
        parquet(place).rename(place / f"{split}.parquet")
    return place


SOURCES = (parquet, table, database, split_tables)


@pytest.fixture
def encode(tmp_path, capsys, monkeypatch):
    """Encodes a file in pieces of some rows into a workspace of its own; returns the run."""

    def run(
        path: Path,
        rows: int,
        *flags: str,
        symmetry: bool = False,
        workspace: str | None = None,
        code: int = 0,
    ) -> Path:
        monkeypatch.setattr(os, "fsync", lambda _: None)  # a busy disk takes seconds
        monkeypatch.setattr(blocks, "ROWS", rows)
        monkeypatch.setattr(duplicates_on_disk, "PART", rows)
        place = ["--workspace", str(tmp_path / (workspace or f"by-{rows}")), "--device", "cpu"]
        if not symmetry:  # which takes most of the time
            place += ["--symprec", "none"]
        assert main(["encode", str(path), *flags, *place]) == code
        said = capsys.readouterr()
        return Path(said.out.strip()) if not code else Path(said.err.strip())

    return run


def contents(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in FILES}


@pytest.mark.parametrize("make", SOURCES)
def test_small_pieces_make_what_one_piece_makes(make, encode, tmp_path):
    path = make(tmp_path)
    symmetry = make is table
    whole, pieces = (encode(path, rows, symmetry=symmetry) for rows in (10_000, 7))
    for name in ("crystals.parquet", "rejected.jsonl"):
        assert (whole / name).read_bytes() == (pieces / name).read_bytes()
    one, several = EncodedSet.read(whole), EncodedSet.read(pieces)
    torch.testing.assert_close(several.representations, one.representations, rtol=1e-5, atol=1e-6)
    assert several.layout == one.layout
    assert several.content_hash() == one.content_hash()
    assert read_manifest(whole).summary == read_manifest(pieces).summary
    assert sorted(file.name for file in pieces.iterdir()) == sorted(file.name for file in whole.iterdir())


@pytest.mark.parametrize(
    ("make", "flags"), [(parquet, []), (table, ["--limit", "20", "--seed", "3"]), (database, ["--no-niggli"])]
)
def test_one_piece_makes_the_bytes_of_the_set_encoded_in_memory(make, flags, encode, tmp_path):
    path = make(tmp_path)
    limit, seed = (20, 3) if "--limit" in flags else (None, 0)
    dataset = load_dataset(str(path), data_dir=None, limit=limit, seed=seed, progress=False)
    plain = "--no-niggli" in flags
    encoded = encode_dataset(
        dataset,
        "ead",
        niggli=not plain,
        symprec=None if plain else 0.1,
        device=torch.device("cpu"),
        progress=False,
    )
    encoded.write(tmp_path / "memory")
    run = encode(path, 10_000, *flags, symmetry=not plain)
    assert contents(run) == contents(tmp_path / "memory")
    assert encoded.rejected


def test_limits_draw_the_same_rows_from_pieces(encode, tmp_path):
    flags = ["--limit", "20", "--seed", "3"]
    ids = [
        [one.id for one in read_crystals(encode(table(tmp_path), rows, *flags) / "crystals.parquet")]
        for rows in (10_000, 6)
    ]
    assert ids[0] == ids[1]
    assert 10 < len(ids[0]) < 20


def test_names_that_occur_again_in_another_piece_get_numbers(encode, tmp_path):
    encoded = EncodedSet.read(encode(parquet(tmp_path), 3))
    names = [one.id for one in encoded.crystals] + [entry.id for entry in encoded.rejected]
    assert len(set(names)) == N_ROWS
    assert "x5#2" in names


def test_duplicates_in_other_pieces_are_in_one_split(encode, tmp_path):
    run = encode(parquet(tmp_path), 5)
    splits = {one.id: one.split for one in read_crystals(run / "crystals.parquet")}
    found = splits["copy"], splits["x1"]
    assert found[0] == found[1]
    assert set(splits.values()) == {"train", "val", "test"}


def test_splits_that_only_some_pieces_name_are_drawn_and_told(encode, tmp_path):
    summary = read_manifest(encode(parquet(tmp_path, split="val"), 5)).summary
    assert "only 24 of 32 crystals name train, val or test" in summary["note"]


def test_refused_rows_are_named_in_their_order_across_pieces(encode, tmp_path):
    run = encode(table(tmp_path), 4)
    rejected = [json.loads(line) for line in (run / "rejected.jsonl").read_text().splitlines()]
    assert [entry["row"] for entry in rejected] == [4, 11, 23]
    assert read_manifest(run).summary["n_rejected"] == 3


def test_crystals_that_cannot_be_reduced_are_named_after_the_refused_rows(encode, tmp_path, monkeypatch):
    from repdiff.representations import encoding

    reduced = encoding.niggli_reduced

    def picky(crystal):
        if crystal.atomic_numbers[0] == 20 or crystal.id == "x30":
            raise ValueError("cannot be reduced")
        return reduced(crystal)

    monkeypatch.setattr(encoding, "niggli_reduced", picky)
    path = parquet(tmp_path)
    whole, pieces = encode(path, 10_000), encode(path, 5)  # one piece holds Ca alone
    assert (whole / "rejected.jsonl").read_bytes() == (pieces / "rejected.jsonl").read_bytes()
    assert read_manifest(pieces).summary["n_rejected"] == 2 + 4 + 1
    assert 20 not in EncodedSet.read_layout(pieces).elements


@pytest.mark.parametrize("rows", [10_000, 3])
def test_a_set_of_bad_rows_is_refused_and_leaves_no_run(rows, encode, tmp_path):
    bad = [one.replace(frac_coords=np.zeros((2, 3))) for one in crystals()[:9]]
    write_crystals(tmp_path / "bad.parquet", bad)
    said = str(encode(tmp_path / "bad.parquet", rows, code=2))
    assert f"none of the 9 rows of {tmp_path / 'bad.parquet'} can be used" in said
    assert not (tmp_path / f"by-{rows}" / "encode" / "bad-ead").exists()


STOPS = [
    (in_pieces, "judge_rows", 3),
    (duplicates_on_disk, "group_duplicates", 2),
    (encoding_in_pieces, "encode_part", 3),
    (encoding_in_pieces, "_write_vectors", 0),
]


@pytest.mark.parametrize(("module", "name", "n_before"), STOPS)
def test_an_interrupted_run_goes_on_and_ends_with_the_same_bytes(
    module, name, n_before, encode, tmp_path, monkeypatch
):
    path = table(tmp_path)
    whole = encode(path, 6)
    does, calls = getattr(module, name), []

    def stopped(*given, **more):
        if len(calls) == n_before:
            raise KeyboardInterrupt
        calls.append(1)
        return does(*given, **more)

    with monkeypatch.context() as patched:
        patched.setattr(module, name, stopped)
        encode(path, 6, workspace="again", code=130)

    counted = []

    def counting(*given, **more):
        counted.append(1)
        return does(*given, **more)

    with monkeypatch.context() as patched:
        patched.setattr(module, name, counting)
        run = encode(path, 6, workspace="again")
    assert contents(run) == contents(whole)
    n_all = {"judge_rows": 6, "encode_part": 6, "_write_vectors": 1}.get(name)
    if n_all is not None:
        assert len(counted) == n_all - n_before


@pytest.mark.parametrize(
    ("name", "damage"),
    [("crystals.parquet", "cut"), ("representations.safetensors", "flipped"), ("done.json", "flipped")],
)
def test_a_damaged_piece_is_computed_again(name, damage, encode, tmp_path, monkeypatch):
    path = parquet(tmp_path)
    whole = encode(path, 6)
    with monkeypatch.context() as patched:
        patched.setattr(
            encoding_in_pieces, "_joined", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        encode(path, 6, workspace="again", code=130)
    (file,) = sorted((tmp_path / "again").glob(f"encode/*/pieces/encoded-00000002-*/{name}"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content if damage == "flipped" else content[: len(content) // 2])
    assert contents(encode(path, 6, workspace="again")) == contents(whole)


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path):
    """Killed by signal 9, several times, wherever it is."""
    path = table(tmp_path)
    program = (
        "import sys; from repdiff.datasets.readers import blocks; blocks.ROWS = 3; "
        "from repdiff.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )

    def command(workspace: str) -> list[str]:
        words = ["encode", str(path), "--device", "cpu", "--workspace", str(tmp_path / workspace)]
        return [sys.executable, "-c", program, *words]

    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(command("whole"), check=True, **quiet)
    pieces = tmp_path / "killed" / "encode" / "salts-ead" / "pieces"
    for wanted in ("read-*", "encoded-*1-*", "encoded-*4-*"):
        process = subprocess.Popen(command("killed"), start_new_session=True, **quiet)
        while process.poll() is None and not list(pieces.glob(wanted)):
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(command("killed"), check=True, **quiet)
    runs = [tmp_path / name / "encode" / "salts-ead" for name in ("whole", "killed")]
    assert contents(runs[0]) == contents(runs[1])
    assert read_manifest(runs[1]).n_sessions > 1
