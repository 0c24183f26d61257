from pathlib import Path

import pytest
from known_crystals import write_extxyz
from pymatgen.core import Structure

from descriptors.symmetry.labels import parse_label
from repdiff.backends.requested_compositions import read_compositions
from repdiff.cli.main import main
from repdiff.crystals.symmetry import space_groups
from repdiff.datasets.sources import read_set
from repdiff.errors import UserError
from repdiff.runs.workspace import Workspace
from repdiff.settings import GenerateSettings

SALT, RUTILE = "AB_cF8_225_a_b:Cl-Na", "A2B_tP6_136_f_a:O-Ti"
SMALL = ["--network-width=16", "--network-n-blocks=1", "--torus-timesteps=10", "--lattice-timesteps=10"]


def asked(tmp_path, source, **others):
    settings = GenerateSettings.model_validate({"protostructures": str(source), **others})
    return read_compositions(settings, Workspace(root=tmp_path / "w"))


def labels(tmp_path, text):
    path = tmp_path / "labels.txt"
    path.write_text(text)
    return path


def test_a_file_of_labels_is_taken_in_turn_one_sample_a_line(tmp_path):
    request = asked(tmp_path, labels(tmp_path, f"# two\n{SALT}\n\n{RUTILE}  # rutile\n"))
    salt, rutile = parse_label(SALT), parse_label(RUTILE)
    assert request.protostructures == [salt, rutile]
    assert request.compositions == [{11: 1, 17: 1}, {8: 4, 22: 2}]
    assert request.targets == []
    assert request.arguments(1, 3) == {"protostructures": [rutile, salt, rutile]}


def test_those_of_a_data_set_carry_the_names_of_its_crystals(tmp_path):
    salt = Structure.from_spacegroup(
        "Fm-3m", [[5.64, 0, 0], [0, 5.64, 0], [0, 0, 5.64]], ["Na", "Cl"], [[0, 0, 0], [0.5] * 3]
    )
    metal = Structure.from_spacegroup(
        "Im-3m", [[2.87, 0, 0], [0, 2.87, 0], [0, 0, 2.87]], ["Fe"], [[0, 0, 0]]
    )
    folder = tmp_path / "set"
    folder.mkdir()
    write_extxyz(folder / "known.extxyz", [salt, metal])
    request = asked(tmp_path, folder)
    assert [one.number for one in request.protostructures] == [225, 229]
    assert request.targets == ["c00", "c01"]
    left = request.without({"c00"})
    assert (left.targets, [one.number for one in left.protostructures]) == (["c01"], [229])


def test_a_file_of_crystals_is_read_as_crystals(tmp_path):
    metal = Structure.from_spacegroup(
        "Im-3m", [[2.87, 0, 0], [0, 2.87, 0], [0, 0, 2.87]], ["Fe"], [[0, 0, 0]]
    )
    write_extxyz(tmp_path / "known.extxyz", [metal])
    assert [one.number for one in asked(tmp_path, tmp_path / "known.extxyz").protostructures] == [229]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# nothing\n", "holds no label, expected one a line, such as AB_cF8_225_a_b:Cl-Na"),
        ("NaCl\n", "'NaCl' is no label of a protostructure"),
        ("AB_cF8_225_a_b:Cl-Xx\n", "labels.txt: .*names 'Xx'"),
        ("AB2_cF12_225_a_2b:Cl-Na\n", "no free coordinate: once is all it can be"),
    ],
)
def test_what_is_no_protostructure_is_refused_with_its_text(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        asked(tmp_path, labels(tmp_path, text))


def test_they_are_not_asked_for_beside_compositions(tmp_path):
    with pytest.raises(UserError, match="both `composition` and `protostructures` are given"):
        asked(tmp_path, labels(tmp_path, SALT), composition="NaCl")


def test_generate_keeps_them_and_refuses_what_the_model_cannot_make(tiny_file, tmp_path, capsys):
    def run(*argv):
        code = main([*argv, "--workspace", str(tmp_path / "w")])
        told = capsys.readouterr()
        return code, told.out.strip().splitlines()[-1:], told.err

    path = labels(tmp_path, f"{SALT}\nAB3C_cP5_221_a_c_b:Ca-O-Ti\n")
    assert run("encode", str(tiny_file))[0] == 0
    code, (model,), said = run("train", "--backend", "gemsdiff", *SMALL, "--max-steps=2", "--batch-size=8")
    assert code == 0, said
    code, (made,), said = run("generate", "--model", model, "--protostructures", str(path))
    assert code == 0, said
    crystals = list(read_set(Path(made)).crystals)
    assert [one.n_atoms for one in crystals] == [2, 5]
    assert space_groups(crystals, symprec=1e-3) == [225, 221]
    path.write_text("A_cF4_225_a:Og\n")
    code, _, said = run("generate", "--model", model, "--protostructures", str(path))
    assert (code, "Og" in said) == (2, True)
