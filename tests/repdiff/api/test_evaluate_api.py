"""`rd.evaluate`: what it calls known, and what it says about rows that nobody could read."""

import numpy as np
import pytest
from sample_crystals import cubic_perovskite

import repdiff as rd
from repdiff.crystals.structure_files import write_file
from repdiff.metrics.evaluation import Evaluation

KNOWN = [cubic_perovskite("SrTiO3"), cubic_perovskite("BaTiO3", a_site=56, a=4.0)]
NEW = rd.CrystalSet(crystals=[cubic_perovskite("CaTiO3", a_site=20, a=3.85)])
BAD = [one.replace(id=f"{one.id}-bad", frac_coords=np.zeros((5, 3))) for one in KNOWN]


@pytest.fixture
def file(tmp_path):
    """Two crystals, and two rows that are refused since their atoms overlap."""
    return write_file(tmp_path / "known.csv", [*KNOWN, *BAD])


def as_data_set(file):
    return rd.load_dataset(file, progress=False)


def as_vectors(file):
    return rd.encode(as_data_set(file), device="cpu", progress=False)


def as_read(file):
    return rd.CrystalSet(crystals=KNOWN, failed={one.id: "atoms overlap" for one in BAD})


def as_known(file):
    return rd.CrystalSet(crystals=KNOWN, refused={"atoms overlap": 2}, name="known")


def protocol_of(found: Evaluation, family: str, name: str):
    result = found.results[family]
    return result.protocols[result.values[name].protocol]


@pytest.mark.parametrize("held", [str, as_data_set, as_vectors, as_read, as_known])
def test_novelty_is_not_claimed_over_refused_rows_in_whatever_they_come(held, file):
    found = rd.evaluate(NEW, training=held(file), metrics=["uniqueness"], progress=False)
    novel = found.results["uniqueness"].values["novel"]
    assert novel.value == 1
    assert "not claimed over all training crystals: 2 rows of its source were refused" in novel.reason
    assert protocol_of(found, "uniqueness", "novel")["n_novel_against"] == 2
    assert protocol_of(found, "uniqueness", "novel")["n_novel_against_not_read"] == 2
    assert sum(found.refused["training"].values()) == 2
    assert found.n_training == 2
