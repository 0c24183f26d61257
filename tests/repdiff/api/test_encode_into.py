"""`rd.encode` of a path: piece by piece into a folder."""

import os

import pytest

import repdiff as rd
from repdiff.crystals.crystal import write_crystals
from repdiff.datasets import in_pieces
from repdiff.datasets.readers import blocks
from repdiff.testing.example_crystals import rock_salt


@pytest.fixture
def salts(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(blocks, "ROWS", 3)
    cells = [rock_salt(f"s{n}") for n in range(8)]
    found = [one.replace(lattice=one.lattice * (1 + n / 20), labels={"n": n}) for n, one in enumerate(cells)]
    write_crystals(tmp_path / "salts.parquet", found)
    return tmp_path / "salts.parquet"


def test_a_path_is_encoded_into_a_folder_as_in_memory(salts, tmp_path):
    encoded = rd.encode(salts, folder=tmp_path / "set", device="cpu", progress=False)
    memory = rd.encode(rd.load_dataset(salts, progress=False), device="cpu", progress=False)
    assert encoded.content_hash() == memory.content_hash()
    assert encoded.representations.shape == memory.representations.shape
    assert [one.labels["n"] for one in encoded] == list(range(8))
    assert not (tmp_path / "set" / "pieces").exists()


def test_an_interrupted_call_goes_on(salts, tmp_path, monkeypatch):
    judge, calls = in_pieces.judge_rows, []

    def stopped(*given, **more):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return judge(*given, **more)

    monkeypatch.setattr(in_pieces, "judge_rows", stopped)
    with pytest.raises(KeyboardInterrupt):
        rd.encode(salts, folder=tmp_path / "set", device="cpu", progress=False)
    assert len(rd.encode(salts, folder=tmp_path / "set", device="cpu", progress=False)) == 8
    assert len(calls) == 2 + 2  # the first block is not read again
    rd.encode(salts, folder=tmp_path / "set", device="cpu", progress=False)
    assert len(calls) == 2 + 2


def test_a_path_without_a_folder_and_a_folder_without_a_path_are_refused(salts, tmp_path):
    with pytest.raises(rd.UserError, match="`folder` is None: name a folder"):
        rd.encode(salts, device="cpu")
    with pytest.raises(rd.UserError, match="are in memory"):
        rd.encode([rock_salt("a")], folder=tmp_path / "set", device="cpu")


def test_a_folder_of_another_set_is_refused(salts, tmp_path):
    rd.encode(salts, folder=tmp_path / "set", device="cpu", symprec=None, progress=False)
    with pytest.raises(rd.UserError, match=r"`symprec` was None, now 0\.1"):
        rd.encode(salts, folder=tmp_path / "set", device="cpu", progress=False)
