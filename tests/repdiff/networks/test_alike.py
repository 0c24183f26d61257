import torch
from hypothesis import given
from hypothesis import strategies as st

from repdiff.networks.protostructure.alike import alike

NUMBERS = st.lists(st.tuples(*[st.integers(0, 3)] * 3), max_size=40)


@given(rows=NUMBERS)
def test_rows_are_of_one_kind_if_and_only_if_all_their_columns_are_equal(rows):
    first, kind = alike(*torch.tensor(rows, dtype=torch.long).reshape(-1, 3).T)
    assert len(first) == len(set(rows))
    assert [rows[place] for place in first[kind].tolist()] == rows


def test_large_numbers_in_many_columns_do_not_overflow():
    large = torch.tensor([0, 2**40, 2**40, 2**40])
    other = torch.tensor([0, 2**40, 2**40, 1])
    first, kind = alike(large, other, other)
    assert len(first) == 3
    assert kind[1] == kind[2] != kind[3]
