"""Read a file that nobody should trust, and what is said of it."""

import time

import pytest

from repdiff.datasets.load import Dataset, load_dataset
from repdiff.errors import UserError
from repdiff.testing.example_crystals import rock_salt

SALT = rock_salt("salt")


def load(path) -> Dataset:
    return load_dataset(str(path), data_dir=None, progress=False, processes=1)


def refusal(path) -> str:
    started = time.monotonic()
    with pytest.raises(UserError) as error:
        load(path)
    assert time.monotonic() - started < 20
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 1500
    return message
