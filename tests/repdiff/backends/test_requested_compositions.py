import json

import pytest
import torch
from ase import Atoms
from ase.io import write
from small_runs import SAMPLING

from repdiff.backends import BACKENDS
from repdiff.backends.refusals import check_compositions
from repdiff.cli.main import main
from repdiff.crystals.formula import parse_formula
from repdiff.errors import UserError
from repdiff.representations.shards import read_generated


@pytest.mark.parametrize(
    ("text", "counts"),
    [("Li2Fe2O4", {3: 2, 8: 4, 26: 2}), ("C", {6: 1}), ("Ca(OH)2", {1: 2, 8: 2, 20: 1})],
)
def test_a_formula_counts_the_atoms_of_the_cell(text, counts):
    assert parse_formula(text) == counts


@pytest.mark.parametrize("text", ["", "Xy2", "Li0.5O", "H1001", "2", "NaCl0", "Li2O0.0"])
def test_what_is_no_formula_of_a_cell_is_refused_with_its_text(text):
    with pytest.raises(UserError, match=repr(text)):
        parse_formula(text)


def formulas(path):
    made = read_generated(path)
    vectors, layout = made.vectors, made.layout
    blocks = layout.representation().blocks
    counts = vectors[:, blocks["composition"]] * vectors[:, blocks["n_atoms"]]
    return [
        {layout.elements[column]: int(count) for column, count in enumerate(row) if count}
        for row in counts.round().long()
    ]


def known_formula(run):
    """Return a formula of elements that the tiny set has, as text and as counts."""
    elements = read_generated(run("generate", "--n", "1", *SAMPLING, "--name", "probe")[1]).layout.elements
    from ase.data import chemical_symbols

    return f"{chemical_symbols[elements[0]]}2{chemical_symbols[elements[1]]}", {
        elements[0]: 2,
        elements[1]: 1,
    }


def test_samples_have_the_composition_that_was_asked_for(run):
    text, counts = known_formula(run)
    code, path, said = run("generate", "--composition", text, "--n", "3", *SAMPLING)
    assert code == 0, said
    assert formulas(path) == [counts] * 3


def test_a_file_of_compositions_is_taken_in_turn_one_sample_each(run, tmp_path):
    text, _ = known_formula(run)
    other = text.replace("2", "3")
    (tmp_path / "wanted.txt").write_text(f"# wanted\n{text}\n\n{other}  # and another\n")
    code, path, said = run("generate", "--compositions", str(tmp_path / "wanted.txt"), *SAMPLING)
    assert code == 0, said
    assert [sum(found.values()) for found in formulas(path)] == [3, 4]


def test_compositions_of_a_data_set_are_those_of_its_crystals(run, tiny_file):
    code, path, said = run("generate", "--compositions-from", f"{tiny_file}:val", *SAMPLING)
    assert code == 0, said
    assert len(formulas(path)) > 1


def test_samples_of_a_known_crystals_composition_are_judged_as_attempts_at_it(run, tiny_file):
    data = f"{tiny_file}:val"
    n_known = len(formulas(run("generate", "--compositions-from", data, *SAMPLING, "--name", "once")[1]))
    n = n_known + 2
    made = run("generate", "--compositions-from", data, "--n", str(n), *SAMPLING, "--name", "more")[1]
    quickly = ("--preset", "fast", "--max-evaluations", "20", "--n-workers", "1")
    run("reconstruct", "--generated", str(made), *quickly, "--name", "found")
    code, scores, said = run(
        "evaluate", "found", "--reference", data, "--only", "matching", "--n-workers", "1"
    )
    assert code == 0, said
    matching = json.loads((scores / "metrics.json").read_text())["metrics"]["matching"]
    assert {"match_rate", "match_rate_at_k"} <= matching["values"].keys()
    assert (matching["values"]["match_rate"]["n"], matching["details"]["n_targets"]) == (n, n_known)


def test_crystals_of_a_data_set_that_cannot_be_made_are_left_out_and_named(run, tmp_path):
    text, _ = known_formula(run)
    cell = [[4.0, 0, 0], [0, 4, 0], [0, 0, 4]]
    crystals = [
        Atoms(name, [[0, 0, k] for k in range(len(Atoms(name)))], cell=cell, pbc=True)
        for name in ("Og", text)
    ]
    write(tmp_path / "two.extxyz", crystals)
    few = ("--n", "12", *SAMPLING)
    code, path, said = run("generate", "--compositions-from", str(tmp_path / "two.extxyz"), *few)
    assert (code, "1 of 2 crystals" in said, "has Og" in said) == (0, True, True)
    assert [sum(found.values()) for found in formulas(path)] == [3] * 12
    write(tmp_path / "one.extxyz", crystals[:1])
    code, _, said = run("generate", "--compositions-from", str(tmp_path / "one.extxyz"), *SAMPLING)
    assert (code, "nothing that" in said) == (2, True)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({11: 4, 17: 4}, "has 8 atoms, Na4Cl4, expected at most 5,.* primitive cell .*, such as NaCl$"),
        ({11: 4, 17: 3}, "has 7 atoms, Na4Cl3, .*: give a smaller formula$"),
        ({11: 1, 79: 1}, "has Au, expected elements of the training data: Na, Cl$"),
    ],
)
def test_a_composition_that_cannot_be_is_refused_with_symbols_and_the_way_out(asked, message):
    with pytest.raises(UserError, match=message):
        check_compositions([asked], {11, 17}, 5)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--composition", "Og3"], "has Og"),
        (["--composition", "C", "--compositions-from", "prototypes"], "expected one of them"),
        (["--compositions", "nowhere.txt"], "nowhere.txt"),
        (["--composition", "C0.5"], "whole numbers"),
    ],
)
def test_compositions_that_cannot_be_made_are_refused_in_one_line(run, flags, message):
    code, _, said = run("generate", "--n", "2", *flags, *SAMPLING)
    assert code == 2
    assert message in said


def test_the_backends_are_listed_with_what_they_make_and_can_be_asked_for(capsys):
    assert main(["backends"]) == 0
    lines = capsys.readouterr().out.splitlines()
    heads = [line for line in lines if not line.startswith("  ")]
    assert [line.partition(": ")[0] for line in heads] == sorted(BACKENDS)
    assert all("; makes " in line for line in heads)
    assert "  exactly: composition, protostructure, formula_units" in lines


def test_an_unknown_backend_is_refused_with_the_nearest_name(run):
    code, _, said = run("train", "--backend", "structrepdif")
    assert code == 2
    assert "Did you mean 'structrepdiff'" in said


def test_the_rest_of_a_vector_follows_the_formula_that_was_given(run):
    text, _ = known_formula(run)
    one = read_generated(
        run("generate", "--composition", text, "--n", "2", *SAMPLING, "--name", "a")[1]
    ).vectors
    two = read_generated(
        run("generate", "--composition", text, "--n", "2", *SAMPLING, "--name", "b")[1]
    ).vectors
    assert torch.equal(one, two)
