import pytest
import torch
from pymatgen.core import Element

from descriptors.elements import ELECTRONEGATIVITY, WEIGHTS, check_weights, element_weights
from descriptors.symmetry.symbols import MAX_ATOMIC_NUMBER

NUMBERS = torch.tensor([56, 22, 8, 8, 8, 6])  # BaTiO3, C
SYSTEM_IDX, COUNTS = torch.tensor([0, 0, 0, 0, 0, 1]), torch.tensor([5, 1])


def weigh(kind: str) -> torch.Tensor:
    return element_weights(kind, NUMBERS, SYSTEM_IDX, COUNTS, dtype=torch.float64)


def pauling(number):
    """Pauling's value as pymatgen tabulates it, a whole number for some; None where he gave none."""
    value = Element.from_Z(number).data.get("X")
    return float(value) if isinstance(value, int | float) and value > 0 else None


def test_every_element_has_an_electronegativity():
    assert len(ELECTRONEGATIVITY) == MAX_ATOMIC_NUMBER
    assert all(0.5 < value < 5 for value in ELECTRONEGATIVITY)


def test_electronegativities_are_pauling_s_where_he_gave_one():
    for number in range(1, 95):
        expected = pauling(number)
        if expected is not None:
            assert abs(ELECTRONEGATIVITY[number - 1] - expected) <= 1e-9, Element.from_Z(number)


def test_electronegativities_where_pauling_gave_none_are_allen_s_or_the_late_actinides():
    allen = {2: 4.16, 10: 4.787, 18: 3.242}
    for number in range(1, MAX_ATOMIC_NUMBER + 1):
        if number > 94 or pauling(number) is None:
            assert ELECTRONEGATIVITY[number - 1] == allen.get(number, 1.3), Element.from_Z(number)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("one", [1, 1, 1, 1, 1, 1]),
        ("number", [56, 22, 8, 8, 8, 6]),
        ("relative_number", [56 / 20.4, 22 / 20.4, 8 / 20.4, 8 / 20.4, 8 / 20.4, 1]),
        ("electronegativity", [0.445, 0.77, 1.72, 1.72, 1.72, 1.275]),
        ("rank", [0, 0.5, 1, 1, 1, 1]),
    ],
)
def test_weights_of_barium_titanate_and_carbon(kind, expected):
    torch.testing.assert_close(weigh(kind), torch.tensor(expected, dtype=torch.float64))


def test_ranks_tell_neighbours_of_the_periodic_table_apart():
    numbers = torch.tensor([64, 65, 66])
    one = torch.zeros(3, dtype=torch.long)
    ranks = element_weights("rank", numbers, one, torch.tensor([3]), dtype=torch.float32)
    assert ranks.sort().values.tolist() == [0, 0.5, 1]


def test_every_kind_is_implemented_and_gives_the_asked_type():
    for kind in WEIGHTS:
        assert weigh(kind).dtype == torch.float64


def test_an_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="element weight is 'charge', expected one of one, number"):
        weigh("charge")
    with pytest.raises(ValueError, match="element weight is 'charge'"):
        check_weights(["one", "charge"])
