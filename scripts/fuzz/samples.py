"""Small files of every format that is read."""

import bz2
import gzip
import json
import zipfile
import zlib
from pathlib import Path

import lmdb
import numpy as np
import torch
from ase import Atoms
from ase.db import connect
from ase.io.jsonio import encode

from repdiff.crystals.crystal import Crystal, to_structure
from repdiff.crystals.structure_files import write_file
from repdiff.datasets.readers.folders import contents_of_folder
from repdiff.runs.checkpoint import save_checkpoint
from repdiff.testing.example_crystals import cubic_perovskite, rock_salt

CONFIG = """seed: 3
encode: {dataset: prototypes, max_atoms: 20}
train:
  max_epochs: 10
  learning_rate: 1.0e-4
"""
STRUCTURES = (".cif", ".vasp", ".extxyz", ".json", ".json.gz", ".jsonl", ".json.bz2", ".csv", ".csv.gz", ".parquet",
              ".zip", ".db", ".aselmdb")  # fmt: skip


def make_samples(place: Path, folder: Path | None) -> dict[str, list[Path]]:
    """Return files by format: those of a folder, or small ones that are made in `place`."""
    if folder is not None:
        files = [folder / name for name in contents_of_folder(folder).read]
        by_kind = {kind[1:]: [file for file in files if file.name.endswith(kind)] for kind in STRUCTURES}
        return {kind: found for kind, found in by_kind.items() if found}
    crystals = [
        crystal.replace(id=f"mp-{number}", labels={"energy": -1.5 * number, "note": f"text {number}"})
        for number, crystal in enumerate(_some())
    ]
    plain = {suffix: write_file(place / f"some{suffix}", crystals) for suffix in
             (".zip", ".extxyz", ".json.gz", ".csv", ".parquet")}  # fmt: skip
    plain[".cif"] = write_file(place / "one.cif", crystals[:1])
    files = {suffix[1:]: [file] for suffix, file in plain.items()}
    document = gzip.decompress(plain[".json.gz"].read_bytes())
    lines = "\n".join(json.dumps(entry) for entry in json.loads(document))
    csv = plain[".csv"].read_bytes()
    files["vasp"] = [_written(place / "one.vasp", to_structure(crystals[0]).to(fmt="poscar").encode())]
    files["json"] = [_written(place / "some.json", document)]
    files["json.bz2"] = [_written(place / "some.json.bz2", bz2.compress(document))]
    files["jsonl"] = [_written(place / "some.jsonl", lines.encode())]
    files["csv.gz"] = [_written(place / "some.csv.gz", gzip.compress(csv))]
    files["cif.gz"] = [_written(place / "one.cif.gz", gzip.compress(plain[".cif"].read_bytes()))]
    files["db"] = [_database(place / "some.db", crystals)]
    files["aselmdb"] = [_lmdb(place / "some.aselmdb", crystals)]
    files["zip"].append(_mixed(place / "mixed.zip", [*plain.values(), *(files["vasp"] + files["csv.gz"])]))
    files["config"] = [_written(place / "config.yaml", CONFIG.encode())]
    labels = b"material_id,energy\n" + b"".join(b"mp-%d,%d.5\n" % (row, row) for row in range(9))
    files["labels"] = [_written(place / "labels.csv", labels), plain[".parquet"]]
    files["labels"].append(_written(place / "labels.csv.gz", gzip.compress(labels)))
    tensors = {"weight": torch.arange(12.0).reshape(3, 4), "bias": torch.zeros(3)}
    files["weights"] = [save_checkpoint(place / "model.safetensors", tensors, {}, kind="fuzzed")]
    return dict(sorted(files.items()))


def _some() -> list[Crystal]:
    skewed = rock_salt("skewed")
    return [cubic_perovskite(), rock_salt(), skewed.replace(lattice=skewed.lattice + 0.2 * np.eye(3))]


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _database(path: Path, crystals: list[Crystal]) -> Path:
    with connect(path) as database:
        for crystal in crystals:
            atoms = Atoms(
                numbers=crystal.atomic_numbers,
                scaled_positions=crystal.frac_coords,
                cell=crystal.lattice,
                pbc=True,
            )
            database.write(atoms, energy_label=1.5, data={"remark": crystal.id})
    return path


def _lmdb(path: Path, crystals: list[Crystal]) -> Path:
    with lmdb.open(str(path), subdir=False, map_size=2**24) as opened, opened.begin(write=True) as entries:
        for number, crystal in enumerate(crystals, 1):
            facts = {
                "numbers": crystal.atomic_numbers,
                "positions": crystal.frac_coords @ crystal.lattice,
                "cell": crystal.lattice,
                "pbc": [True] * 3,
                "key_value_pairs": {"energy_label": 1.5},
                "data": {"remark": crystal.id},
            }
            entries.put(str(number).encode(), zlib.compress(encode(facts).encode()))
    return path


def _mixed(path: Path, files: list[Path]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, file in enumerate(files):
            if file.suffix != ".zip":
                archive.write(file, f"{number}/{file.name}")
    return path
