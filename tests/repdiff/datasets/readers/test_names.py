"""The format of a file by its name."""

import pytest

from repdiff.datasets.readers.names import form_of_name


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.cif", "cif"),
        ("deep/A.CIF.gz", "cif"),
        ("POSCAR", "poscar"),
        ("CONTCAR_relaxed", "poscar"),
        ("a.vasp.bz2", "poscar"),
        ("._a.cif", None),
        ("__MACOSX/a.cif", None),
        ("deep/.hidden.vasp", None),
        ("a.txt", None),
    ],
)
def test_a_name_tells_the_format_and_what_a_system_left_behind_has_none(name, form):
    assert form_of_name(name) == form
