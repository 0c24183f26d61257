"""Files that people had trouble with: each gives what the table in the README.md of their folder says."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.data import chemical_symbols

from repdiff.crystals.crystal import Crystal
from repdiff.datasets.load import Dataset, load_dataset
from repdiff.errors import UserError


@pytest.fixture(scope="module")
def awkward(data_dir) -> Path:
    folder = data_dir / "awkward"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    return folder


def load(path: Path) -> Dataset:
    return load_dataset(str(path), data_dir=None, progress=False)


def formula(crystal: Crystal) -> dict[str, int]:
    return dict(Counter(chemical_symbols[number] for number in crystal.atomic_numbers))


CIFS: dict[str, list[dict[str, int]]] = {
    "hall_symbol_only": [{"Na": 4, "Cl": 4}],
    "full_hm_symbol": [{"Na": 4, "Cl": 4}],
    "rhombohedral_axes": [{"Bi": 2}],
    "origin_choice_colon2": [{"Si": 8}],
    "origin_choice_Z": [{"Si": 8}],
    "nonstandard_setting_p21n": [{"Zn": 2, "O": 4}],
    "dummy_atoms": [{"Cs": 1, "Cl": 1}],
    "byte_order_mark": [{"Na": 4, "Cl": 4}],
    "capital_data": [{"Na": 4, "Cl": 4}],
    "data_line_in_text_field": [{"Na": 4, "Cl": 4}],
    "indented_second_block": [{"Cs": 1, "Cl": 1}, {"Cs": 1, "Br": 1}],
    "block_without_atoms": [{"Na": 4, "Cl": 4}],
    "cartesian_sites": [{"Na": 1, "Cl": 1}],
    "dotted_names": [{"Na": 1, "Cl": 1}],
    "occupancy_zero": [{"Na": 4, "Cl": 4}],
}


@pytest.mark.parametrize("name", sorted(CIFS))
def test_a_cif_gives_the_crystals_that_it_states(awkward, name):
    dataset = load(awkward / "cif" / f"{name}.cif")
    assert [formula(crystal) for crystal in dataset.crystals] == CIFS[name]
    assert not dataset.rejected


REFUSED = {
    "cif/operations_contradict_z.cif": r"Z × formula asks for 8 atoms, 2 read",
    "cif/labels_without_type_symbol.cif": r"unknown element: OH",
    "cif/attached_hydrogens.cif": r"hydrogens without positions",
    "cif/dot_as_coordinate.cif": r"Sr1 has a coordinate that is no number",
    "cif/nonstandard_setting_pbnm.cif": r"the symmetry puts Ca and O 0\.5 Å apart",
    "cif/missing_angle.cif": r"the cell has no _cell_angle_gamma",
    "poscar/POSCAR_vasp4": r"which elements are meant\?",
    "poscar/more_counts_than_symbols.vasp": r"3 counts for the 2 elements Na Cl",
    "csv/paths_to_files.csv": r"the column holds the path structures/a\.cif, which cannot be opened",
    "json/slab_pbc.json": r"pbc is \[True, True, False\]",
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_no_crystal_is_refused_for_the_true_reason(awkward, name):
    with pytest.raises(UserError, match=REFUSED[name]):
        load(awkward / name)


def test_the_second_zinc_of_p21n_is_in_the_middle(awkward):
    (crystal,) = load(awkward / "cif" / "nonstandard_setting_p21n.cif").crystals
    assert crystal.frac_coords[crystal.atomic_numbers == 30].tolist() == [[0, 0, 0], [0.5, 0.5, 0.5]]


def test_the_titanate_of_pbnm_has_no_calcium_on_oxygen_once_its_digit_is_right(awkward, tmp_path):
    """The file is refused: its O1 has x = 0.5711 where the mineral has 0.0711, in whatever setting it is read."""
    text = (awkward / "cif" / "nonstandard_setting_pbnm.cif").read_text()
    (tmp_path / "mineral.cif").write_text(text.replace("0.5711", "0.0711").replace("Ca 0.0065", "Ca -0.0065"))
    (crystal,) = load(tmp_path / "mineral.cif").crystals
    numbers = crystal.atomic_numbers
    atoms = Atoms(numbers, scaled_positions=crystal.frac_coords, cell=crystal.lattice, pbc=True)
    assert formula(crystal) == {"Ca": 4, "Ti": 4, "O": 12}
    assert atoms.get_all_distances(mic=True)[np.ix_(numbers == 20, numbers == 8)].min() >= 2.3


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cif/dummy_atoms.cif", "1 × dummy atoms (calc_flag dum) left out"),
        ("cif/occupancy_zero.cif", "1 × sites of occupancy 0 left out"),
        ("extxyz/deuterium.extxyz", "1 × deuterium or tritium read as hydrogen"),
        ("csv/unknown_splits.csv", "unknown splits, expected train, val or test: 'holdout' (1)"),
    ],
)
def test_what_is_changed_or_left_out_is_said(awkward, name, words, caplog):
    dataset = load(awkward / name)
    assert dataset.remarks == (words,)
    assert words in caplog.text


def test_three_scale_factors_stretch_the_components(awkward):
    (crystal,) = load(awkward / "poscar" / "three_scale_factors.vasp").crystals
    np.testing.assert_allclose(crystal.lattice, np.diag([5.64, 5.64, 11.28]))


def test_labels_of_tables_keep_their_values(awkward):
    def labels(name: str) -> list[dict[str, object]]:
        return [dict(crystal.labels) for crystal in load(awkward / name).crystals]

    assert [row["hash"] for row in labels("csv/integer_above_64_bits.csv")] == [
        "12345678901234567890123",
        "2",
    ]
    names = labels("csv/numbers_that_are_names.csv")
    assert [(row["batch"], row["code"], row["e"]) for row in names] == [
        ("1_2", "0012", 1000),
        ("3_4", "0034", 2000),
    ]
    assert labels("csv/booleans.csv")[0]["is_metal"] is True
    assert [len(str(row["note"])) > 200 for row in labels("csv/one_long_text.csv")] == [False, True]
    assert [row["energy"] for row in labels("db/calculator_results.db")] == [-5.0, -6.0, -7.0]
    assert labels("json/computed_structure_entries.json")[0]["e_above_hull"] == 0.0


def test_categories_of_pandas_are_their_values(awkward):
    crystals = load(awkward / "parquet" / "categories.parquet").crystals
    assert [(crystal.id, crystal.split) for crystal in crystals] == [("mp-1", "test"), ("mp-2", "train")]
    assert crystals[0].labels == {"kind": "a", "gap": 1.0, "when": "2020-01-01T00:00:00"}


def test_valid_csv_of_a_folder_is_the_validation_split(awkward):
    crystals = load(awkward / "folders" / "train_valid_test").crystals
    assert [(c.id, c.split) for c in crystals] == [("train1", "train"), ("valid1", "val"), ("test1", "test")]


JSON = {
    "alexandria.json": (
        ["agm0", "agm1"],
        {"e_above_hull": 0.0, "band_gap": 2.0, "energy": -1.0, "correction": 0.0},
    ),
    "matbench.json.gz": (["0", "1"], {"gap (eV)": 1.0}),
    "jarvis.json": (["JVASP-1"], {"gap": 1.2}),
    "optimade.json": (["1"], {}),
    "lines.jsonl": (["0", "1"], {"gap": 0}),
    "cifrecords.json": (["a", "b"], {"gap": 1.5}),
    "pandas_records.json": (["a", "b"], {"gap": 1.5, "metal": True}),
    "../parquet/lemat_schema.parquet": (
        ["a", "b"],
        {"energy": -1.0, "functional": "pbe", "chemical_formula_reduced": "ClCs"},
    ),
}


@pytest.mark.parametrize("name", sorted(JSON))
def test_what_this_field_passes_around_is_read_with_names_and_labels(awkward, name):
    ids, labels = JSON[name]
    crystals = load(awkward / "json" / name).crystals
    assert [crystal.id for crystal in crystals] == ids
    assert crystals[0].labels == labels
    assert formula(crystals[0]) == {"Cs": 1, "Cl": 1}
    np.testing.assert_allclose(np.diag(crystals[0].lattice), 4.1)
    np.testing.assert_allclose(crystals[0].frac_coords, [[0, 0, 0], [0.5, 0.5, 0.5]], atol=1e-12)


def test_a_zip_of_mixed_formats_is_read_whole(awkward):
    dataset = load(awkward / "folders" / "mixed.zip")
    assert [crystal.id.split("#")[0] for crystal in dataset.crystals][:3] == ["a", "b", "generated"]
    assert not dataset.rejected
    assert not dataset.remarks


def test_results_of_mattergen_are_read_once(awkward):
    dataset = load(awkward / "folders" / "mattergen_results")
    assert [crystal.id for crystal in dataset.crystals] == ["s0", "s1", "s2"]
    assert "2 files not read: generated_crystals_cif.zip" in dataset.remarks[0]
