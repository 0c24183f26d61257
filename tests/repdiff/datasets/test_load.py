"""From a word to checked crystals with splits."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from repdiff.crystals.crystal import Crystal, from_structure, read_crystals, write_crystals
from repdiff.datasets.benchmarks import BENCHMARKS
from repdiff.datasets.load import load_dataset
from repdiff.errors import UserError


def crystal(number: int, **more: object) -> Crystal:
    structure = Structure(Lattice.cubic(3 + number / 10), ["Fe", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    return from_structure(structure, id=f"c{number}").replace(**more)


def write_csvs(folder: Path, n_rows: dict[str, int]) -> Path:
    folder.mkdir(parents=True)
    for split, count in n_rows.items():
        with (folder / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["", "material_id", "cif", "heat_all"])
            for n in range(count):
                cif = Structure(Lattice.cubic(3 + n / 10), ["Fe"], [[0, 0, 0]]).to(fmt="cif")
                writer.writerow([n, f"{split}-{n}", cif, 0.5])
    return folder


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A file of ten sound crystals, with four bad ones between them."""
    crystals = [crystal(number) for number in range(14)]
    crystals[2] = crystals[2].replace(frac_coords=np.array([[0, 0, 0], [np.nan, 0, 0]]))
    crystals[5] = crystals[5].replace(lattice=np.zeros((3, 3)))
    crystals[6] = crystals[6].replace(frac_coords=np.zeros((2, 3)))
    crystals[9] = from_structure(Structure(Lattice.cubic(3), ["Fe"], [[0, 0, 0]]) * (10, 10, 3), id="c9")
    write_crystals(tmp_path / "mixed.parquet", crystals)
    return tmp_path / "mixed.parquet"


def test_bad_rows_are_named_with_their_reasons_and_the_others_are_kept(mixed):
    dataset = load_dataset(str(mixed), data_dir=None, max_atoms=20, progress=False)
    assert [c.id for c in dataset.crystals] == [f"c{n}" for n in range(14) if n not in (2, 5, 6, 9)]
    assert [(r.row, r.id) for r in dataset.rejected] == [(2, "c2"), (5, "c5"), (6, "c6"), (9, "c9")]
    words = ("NaN", "volume", "overlapping", "300 atoms, expected at most 20")
    assert all(word in r.reason for word, r in zip(words, dataset.rejected, strict=True))
    assert all(r.source == str(mixed) for r in dataset.rejected)


def test_every_crystal_gets_a_split_and_the_file_its_hash(mixed):
    dataset = load_dataset(str(mixed), data_dir=None, progress=False)
    assert {c.split for c in dataset.crystals} == {"train", "val", "test"}
    assert list(dataset.input_hashes) == [str(mixed)]
    assert len(dataset.input_hashes[str(mixed)]) == 64
    assert dataset.name == "mixed"
    assert dataset.note is None


def test_a_file_of_bad_rows_alone_says_what_is_wrong_with_them(tmp_path):
    bad = [crystal(n, lattice=np.zeros((3, 3))) for n in range(3)]
    write_crystals(tmp_path / "bad.parquet", bad)
    with pytest.raises(
        UserError, match=r"none of the 3 rows of .* can be used: 3 × the cell has a volume of 0"
    ):
        load_dataset(str(tmp_path / "bad.parquet"), data_dir=None, progress=False)


@pytest.mark.parametrize(("name", "data"), [("e.extxyz", b"\n"), ("e.json", b"[]")])
def test_a_file_without_crystals_is_the_users_mistake(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match="holds no crystal"):
        load_dataset(str(tmp_path / name), data_dir=None, progress=False)


def test_a_limit_takes_a_seeded_choice_in_the_order_of_the_source(mixed):
    def ids(seed: int) -> list[str]:
        dataset = load_dataset(str(mixed), data_dir=None, progress=False, limit=6, seed=seed)
        assert len(dataset.crystals) + len(dataset.rejected) == 6
        return [c.id for c in dataset.crystals]

    assert ids(1) == ids(1)
    assert len({tuple(ids(seed)) for seed in range(5)}) > 1
    assert ids(1) == sorted(ids(1), key=lambda name: int(name[1:]))


def test_a_limit_of_one_takes_one(mixed):
    assert len(load_dataset(str(mixed), data_dir=None, progress=False, limit=1).crystals) == 1


def test_a_limit_of_nothing_is_refused(mixed):
    with pytest.raises(UserError, match="limit is 0"):
        load_dataset(str(mixed), data_dir=None, limit=0)


def test_names_that_occur_again_become_distinct(tmp_path):
    crystals = [crystal(n, id=name) for n, name in enumerate(["a", "a", "b", "a#2", "a"])]
    write_crystals(tmp_path / "d.parquet", crystals)
    dataset = load_dataset(str(tmp_path / "d.parquet"), data_dir=None, progress=False)
    names = [c.id for c in dataset.crystals]
    assert len(set(names)) == 5
    assert (names[0], names[2], names[3]) == ("a", "b", "a#2")


def test_splits_named_in_part_are_drawn_and_said_so(tmp_path):
    crystals = [crystal(n, split="test" if n else None) for n in range(5)]
    write_crystals(tmp_path / "p.parquet", crystals)
    dataset = load_dataset(str(tmp_path / "p.parquet"), data_dir=None, progress=False, seed=3)
    assert dataset.note == "splits drawn with seed 3: only 4 of 5 crystals name train, val or test"


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UserError, match=r"known: prototypes, perov_5.* Did you mean 'perov_5'"):
        load_dataset("perov5", data_dir=None)


def test_an_absent_benchmark_names_the_places_and_the_way_out(tmp_path):
    with pytest.raises(UserError) as caught:
        load_dataset("mp_20", data_dir=tmp_path / "d", downloads=tmp_path / "w")
    message = str(caught.value)
    for part in ("d/mp_20.parquet", "d/mp20.parquet", "w/mp_20", "repdiff download mp_20", "`data_dir`"):
        assert part in message
    assert "\n" not in message


@pytest.mark.parametrize("place", ["data_dir", "downloads"])
def test_a_benchmark_is_read_from_its_public_tables_with_their_splits(tmp_path, place):
    write_csvs(tmp_path / "perov_5", {"train": 3, "val": 1, "test": 2})
    places = {place: tmp_path}
    dataset = load_dataset(
        "perov_5", data_dir=places.get("data_dir"), downloads=places.get("downloads"), progress=False
    )
    assert [c.split for c in dataset.crystals] == ["train"] * 3 + ["val"] + ["test"] * 2
    assert dataset.crystals[0].id == "train-0"
    assert dataset.crystals[0].labels == {"heat_all": 0.5}
    assert len(dataset.input_hashes) == 3
    assert dataset.name == "perov_5"


def test_a_downloaded_file_that_has_changed_since_is_refused(tmp_path):
    folder = write_csvs(tmp_path / "perov_5", {"train": 1, "val": 1, "test": 1})
    (folder / "checksums.json").write_text(json.dumps({"val.csv": "0" * 64}))
    with pytest.raises(UserError, match=r"val\.csv has sha256 .* run `repdiff download perov_5` again"):
        load_dataset("perov_5", data_dir=tmp_path, progress=False)


def test_reconstructed_mp_20_leaves_leaking_rows_out_of_train_and_says_its_name(tmp_path):
    rows = [
        crystal(n, split=split, labels={"matches_val_test": int(leaks)})
        for n, (split, leaks) in enumerate([("train", 0), ("train", 1), ("val", 1), ("test", 0)])
    ]
    write_crystals(tmp_path / "mp20.parquet", rows)
    dataset = load_dataset("mp_20", data_dir=tmp_path, progress=False)
    assert [c.id for c in dataset.crystals] == ["c0", "c2", "c3"]
    assert [r.reason for r in dataset.rejected] == ["left out of train: its structure is in val or test"]
    assert dataset.note == "MP-20 (reconstructed train split)"


@pytest.mark.parametrize(("name", "label"), [("mp_20", "band_gap"), ("mp_21", "matches_val_test")])
def test_other_sets_than_the_reconstructed_mp_20_keep_their_rows_and_bear_no_such_name(name, label, tmp_path):
    rows = [crystal(n, split=split, labels={label: 1}) for n, split in enumerate(["train", "val", "test"])]
    write_crystals(tmp_path / f"{name}.parquet", rows)
    source = name if name in BENCHMARKS else str(tmp_path / f"{name}.parquet")
    dataset = load_dataset(source, data_dir=tmp_path, progress=False)
    assert (len(dataset.crystals), dataset.note) == (3, None)


COUNT = """
import collections, json, sys
from pathlib import Path
from repdiff.datasets.load import load_dataset
for name in sys.argv[2:]:
    dataset = load_dataset(name, data_dir=Path(sys.argv[1]), progress=False, processes=1)
    sizes = collections.Counter(crystal.split for crystal in dataset.crystals)
    print(json.dumps([name, sizes, len(dataset.rejected)]))
"""


@pytest.mark.slow
def test_real_benchmarks_load_whole(data_dir):
    """In a process of its own, which does not check the shapes of 75 000 crystals and so takes a fifth of the time."""
    words = [sys.executable, "-c", COUNT, str(data_dir), *BENCHMARKS]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    found = {
        name: (sizes, n_rejected) for name, sizes, n_rejected in map(json.loads, done.stdout.splitlines())
    }
    assert found == {
        name: (dict(benchmark.sizes) | ({"train": 26796} if name == "mp_20" else {}), 891 * (name == "mp_20"))
        for name, benchmark in BENCHMARKS.items()
    }


def test_a_loaded_set_can_be_kept_and_read_again(mixed, tmp_path):
    dataset = load_dataset(str(mixed), data_dir=None, progress=False)
    write_crystals(tmp_path / "again.parquet", dataset.crystals)
    again = read_crystals(tmp_path / "again.parquet")
    assert [(c.id, c.split) for c in again] == [(c.id, c.split) for c in dataset.crystals]
