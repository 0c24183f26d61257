import pytest
import torch

from descriptors.symmetry.protostructure import Protostructure
from repdiff.symmetry import SymmetryTable, read_protostructures
from repdiff.testing.example_crystals import family

PEROVSKITE = Protostructure.of(221, [(38, "a"), (22, "b"), (8, "c")])
RUTILE = Protostructure.of(136, [(22, "a"), (8, "f")])


def a_table() -> SymmetryTable:
    cells = torch.tensor([[3.9, 0, 0, 0, 0, 0], [torch.nan] * 6, [4.6, 2.96, 0, 0, 0, 0]])
    free = torch.tensor([[torch.nan], [torch.nan], [0.305]])
    return SymmetryTable(protostructures=(PEROVSKITE, None, RUTILE), cells=cells, free=free)


def same(one: SymmetryTable, other: SymmetryTable) -> bool:
    return (
        one.protostructures == other.protostructures
        and torch.equal(one.cells.nan_to_num(-1), other.cells.nan_to_num(-1))
        and torch.equal(one.free.nan_to_num(-1), other.free.nan_to_num(-1))
    )


def test_tensors_hold_all_of_it():
    table = a_table()
    assert same(SymmetryTable.from_tensors(table.tensors()), table)
    assert table.known == [0, 2] and len(table) == 3


def test_an_empty_table_and_one_without_protostructures_come_back():
    nothing = SymmetryTable.without_coordinates([], torch.zeros(0, 6))
    assert len(SymmetryTable.from_tensors(nothing.tensors())) == 0
    none = SymmetryTable.without_coordinates([None, None], torch.full((2, 6), torch.nan))
    assert SymmetryTable.from_tensors(none.tensors()).protostructures == (None, None)


def test_rows_and_joined_are_inverse_and_fill_up_narrow_tables():
    table = a_table()
    parts = [table.rows([0, 1]), SymmetryTable.without_coordinates([RUTILE], table.cells[2:])]
    joined = SymmetryTable.joined(parts)
    assert joined.protostructures == table.protostructures
    assert joined.free.shape == (3, 1) and bool(joined.free[2].isnan().all())
    assert same(SymmetryTable.joined([table.rows([0]), table.rows([1, 2])]), table)


def test_a_row_that_cannot_be_is_refused():
    tensors = a_table().tensors()
    tensors["protostructures"][0, 0] = 300
    with pytest.raises(ValueError, match="300"):
        SymmetryTable.from_tensors(tensors)


def test_readings_give_their_crystals_back():
    crystals = family()
    readings = read_protostructures(crystals, canonical=True)
    table = SymmetryTable.of_readings(readings)
    assert table.known == list(range(len(crystals)))
    for row, reading in enumerate(readings):
        torch.testing.assert_close(table.free_of(row), torch.from_numpy(reading.symmetrized.free).float())
        torch.testing.assert_close(table.cells[row], torch.from_numpy(reading.symmetrized.cell).float())
