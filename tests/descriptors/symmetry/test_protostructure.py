import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from symmetric_crystals import choices, protostructure_of

from descriptors.symmetry.encoding import decode_protostructures, encode_protostructures
from descriptors.symmetry.labels import parse_label, prototype_label, write_label
from descriptors.symmetry.protostructure import Orbit, Protostructure


def test_what_is_known_of_rutile():
    rutile = Protostructure.of(136, [(22, "a"), (8, "f")])
    assert rutile.composition() == {8: 4, 22: 2}
    assert (rutile.n_atoms(), rutile.n_free, rutile.free_offsets) == (6, 1, [0, 0, 1])
    assert rutile.elements == (8, 22)


def test_conventional_cells_count_the_centring():
    rock_salt = Protostructure.of(225, [(11, "a"), (17, "b")])
    assert rock_salt.composition() == {11: 1, 17: 1}
    assert rock_salt.composition(primitive=False) == {11: 4, 17: 4}


@pytest.mark.parametrize(
    ("number", "orbits", "message"),
    [
        (221, [(8, "a"), (22, "a")], "taken 2 times, but it has no free coordinate"),
        (221, [(8, "z")], "has no Wyckoff position 'z', expected one of abcdefghijklmn"),
        (221, [(8, "?")], r"Wyckoff letter is '\?'"),
        (221, [(0, "a")], "atomic number is 0, expected 1 to 118"),
        (221, [], "has no orbit"),
        (231, [(8, "a")], "space group is 231, expected 1 to 230"),
    ],
)
def test_what_cannot_exist_is_refused(number, orbits, message):
    with pytest.raises(ValueError, match=message):
        Protostructure.of(number, orbits)


@given(choice=choices(), seed=st.integers(0, 1000))
def test_the_order_of_orbits_does_not_matter(choice, seed):
    protostructure = protostructure_of(choice)
    order = np.random.default_rng(seed).permutation(len(protostructure.orbits))
    other = Protostructure(protostructure.number, tuple(protostructure.orbits[k] for k in order))
    assert other == protostructure
    assert hash(other) == hash(protostructure)


@given(choice=choices())
def test_labels_and_arrays_give_the_protostructure_back(choice):
    protostructure = protostructure_of(choice)
    assert parse_label(write_label(protostructure)) == protostructure
    encoded = encode_protostructures([protostructure] * 2, max_orbits=8)
    assert encoded.shape == (2, 17)
    assert decode_protostructures(encoded) == [protostructure] * 2


@pytest.mark.parametrize(
    ("protostructure", "label"),
    [  # labels as AFLOW writes them
        (Protostructure.of(136, [(22, "a"), (8, "f")]), "A2B_tP6_136_f_a:O-Ti"),
        (Protostructure.of(221, [(56, "a"), (22, "b"), (8, "c")]), "AB3C_cP5_221_a_c_b:Ba-O-Ti"),
        (Protostructure.of(166, [(33, "c")]), "A_hR2_166_c:As"),
        (Protostructure.of(227, [(6, "a")]), "A_cF8_227_a:C"),
        (Protostructure.of(62, [(26, "c"), (26, "d"), (6, "c")]), "AB3_oP16_62_c_cd:C-Fe"),
        (Protostructure.of(64, [(35, "f")]), "A_oC8_64_f:Br"),
        (Protostructure.of(38, [(8, "a"), (8, "a"), (22, "b")]), "A2B_oC6_38_2a_b:O-Ti"),
    ],
)
def test_labels_are_those_of_aflow(protostructure, label):
    assert write_label(protostructure) == label


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("TiO2", "is no label of a protostructure"),
        ("A2B_tP6_136_f_a:O", "of 2 elements and the elements O"),
        ("A2B_tP6_136_f_a:O-O", "each once"),
        ("A2B_tP6_136_f_a:O-Xx", "'Xx', expected a chemical element"),
        ("A2B_tP6_136_f_q:O-Ti", "no Wyckoff position 'q'"),
        ("A3B_tP6_136_f_a:O-Ti", "but its Wyckoff letters make A2B_tP6"),
        ("A2B_tP6_999_f_a:O-Ti", "expected 1 to 230"),
        ("A2B_tP6_136_2_a:O-Ti", "no list of Wyckoff letters"),
    ],
)
def test_labels_that_contradict_themselves_are_refused(label, message):
    with pytest.raises(ValueError, match=message):
        parse_label(label)


def test_prototypes_forget_elements_and_settings():
    labels = {
        prototype_label(Protostructure.of(225, orbits))
        for orbits in ([(11, "a"), (17, "b")], [(17, "a"), (11, "b")], [(12, "b"), (8, "a")])
    }
    assert labels == {"AB_cF8_225_a_b"}


def test_rows_that_cannot_be_are_named():
    encoded = encode_protostructures([Protostructure.of(1, [(8, "a")])] * 2, max_orbits=2)
    encoded[1, 2] = 5
    with pytest.raises(ValueError, match="row 1: space group 1"):
        decode_protostructures(encoded)
    with pytest.raises(ValueError, match="has 2 orbits, expected at most 1"):
        encode_protostructures([Protostructure(1, (Orbit(0, 8), Orbit(0, 8)))], max_orbits=1)
