"""`rd.evaluate`: what it calls known by default and by name, and what it says about rows that nobody could read."""

import numpy as np
import pandas as pd
import pytest
from relaxed_sets import ENERGIES, IDENTITY, hand_made_hull
from sample_crystals import cubic_perovskite

import repdiff as rd
from repdiff.crystals.structure_files import write_file
from repdiff.energies.hull_table import write_hull_table
from repdiff.energies.relaxed import Relaxation, RelaxedSet
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


TWIN = KNOWN[1].replace(id="twin of the test crystal")
RELAXED = RelaxedSet(
    force_field=IDENTITY,
    relaxations={
        TWIN.id: Relaxation(
            crystal=TWIN, initial_energy=-6.9, energy=-7.0, n_steps=3, converged=True, rmsd=0.1
        )
    },
)


@pytest.fixture
def split_file(tmp_path):
    """A training and a test crystal."""
    path = write_file(tmp_path / "split.csv", KNOWN)
    pd.read_csv(path).assign(split=["train", "test"]).to_csv(path, index=False)
    return path


@pytest.fixture
def hull(tmp_path):
    write_hull_table(tmp_path / "hull.parquet", hand_made_hull(ENERGIES))
    return tmp_path / "hull.parquet"


@pytest.mark.parametrize(
    ("given", "sun", "against"),
    [
        (lambda file: {"reference": f"{file}:test"}, 0, "{file}"),
        (lambda file: {"training": f"{file}:train"}, 0, "{file}"),
        (
            lambda file: {"reference": f"{file}:test", "training": KNOWN[:1]},
            0,
            "the crystals of training, {file}",
        ),
        (lambda file: {"training": KNOWN[:1]}, 1, "the crystals of training"),
        (lambda file: {"reference": KNOWN[1]}, 0, "the crystals of reference"),
        (lambda file: {"reference": f"{file}:test", "novelty": f"{file}:train"}, 1, "{file}:train"),
        (lambda file: {"training": f"{file}:train", "novelty": KNOWN[1]}, 0, "the crystals of novelty"),
        (lambda file: {"novelty": f"{file}:train, {file}:test"}, 0, "{file}:train, {file}:test"),
        (lambda file: {"novelty": rd.load_dataset(file)}, 0, "split"),
        (lambda file: {"novelty": rd.load_dataset(file, split="train")}, 1, "split:train"),
    ],
)
def test_what_counts_as_known_is_the_whole_data_set_unless_it_is_named(given, sun, against, split_file, hull):
    found = rd.evaluate(
        TWIN, relaxed=RELAXED, hull=hull, metrics=["stability"], progress=False, **given(split_file)
    )
    assert found.results["stability"].values["sun"].value == sun
    assert protocol_of(found, "stability", "sun")["novel_against"] == against.format(file=split_file)


def test_a_hull_is_named_as_on_the_command_line_and_an_unknown_one_is_refused(tmp_path, hull):
    for named in (hull, str(hull)):
        found = rd.evaluate(TWIN, relaxed=RELAXED, hull=named, metrics=["stability"], progress=False)
        assert found.results["stability"].values["stable"].value == 1
    shipped = rd.evaluate(TWIN, relaxed=RELAXED, hull="mp_le20", metrics=["stability"], progress=False)
    assert "no hull table of toy 1" in shipped.skipped["stability"]
    with pytest.raises(rd.UserError, match="mp_le21: no such path"):
        rd.evaluate(TWIN, relaxed=RELAXED, hull="mp_le21", metrics=["stability"], progress=False)


def test_the_matcher_is_chosen_by_name_and_an_unknown_one_is_refused():
    for matcher in ("mattergen-ordered", "mattergen-disordered"):
        found = rd.evaluate(NEW, training=KNOWN, matcher=matcher, metrics=["uniqueness"], progress=False)
        assert found.results["uniqueness"].values["novel"].protocol == matcher
    with pytest.raises(rd.UserError, match="unknown matcher 'ordered'; known: mattergen-ordered, "):
        rd.evaluate(NEW, matcher="ordered")


@pytest.mark.parametrize(
    ("given", "baselines"),
    [
        ({"reference": KNOWN}, {"reference"}),
        ({"reference": KNOWN, "training": KNOWN}, {"training"}),
        ({"reference": KNOWN, "baseline": False}, set()),
        ({"reference": KNOWN[:1]}, set()),
        ({}, set()),
    ],
)
def test_real_crystals_are_scored_beside_the_others_where_there_is_a_reference(given, baselines):
    found = rd.evaluate(NEW, metrics=["validity"], progress=False, **given)
    assert set(found.baselines) == baselines
