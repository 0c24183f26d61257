"""What memory that is not enough looks like, and work that is halved until it fits."""

import errno

import numpy as np
import pyarrow as pa
import pytest
import torch

from reconstruction.out_of_memory import in_halves, is_out_of_memory


def raised(action):
    try:
        action()
    except Exception as error:
        return error
    raise AssertionError("expected an error")


@pytest.mark.parametrize(
    "action",
    [
        lambda: torch.empty(2**50),
        lambda: np.empty(2**50),
        lambda: bytearray(2**62),
        lambda: pa.allocate_buffer(2**60),
    ],
    ids=["torch", "numpy", "python", "arrow"],
)
def test_every_library_that_lacks_memory_is_understood(action):
    assert is_out_of_memory(raised(action))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("std::bad_alloc"), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (RuntimeError("The size of tensor a (3) must match"), False),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (ValueError("out of memory"), False),
        (None, False),
    ],
)
def test_other_errors_are_not_taken_for_it(error, expected):
    assert is_out_of_memory(error) is expected


def fitting(most, tried):
    def work(part):
        tried.append(part.stop - part.start)
        if part.stop - part.start > most:
            raise MemoryError
        return list(range(part.start, part.stop))

    return work


@pytest.mark.parametrize(("n", "size", "most"), [(10, 4, 4), (10, 10, 3), (7, 4, 1), (1, 8, 1), (0, 3, 1)])
def test_all_items_are_answered_in_order_and_once(n, size, most):
    found = list(in_halves(n, size, fitting(most, [])))
    assert [item for _, answer in found for item in answer] == list(range(n))
    assert all(part.stop - part.start <= most for part, _ in found)


def test_what_once_was_too_much_is_not_tried_again():
    tried = []
    list(in_halves(12, 8, fitting(2, tried)))
    assert tried == [8, 4, 2, 2, 2, 2, 2, 2]


def test_one_item_that_does_not_fit_is_an_error_and_so_is_any_other():
    with pytest.raises(MemoryError):
        list(in_halves(3, 2, fitting(0, [])))
    with pytest.raises(ArithmeticError):
        list(in_halves(3, 2, lambda part: 1 // 0))
