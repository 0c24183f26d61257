from importlib.metadata import version

import numpy as np
import pytest
from moved_crystals import MOVES
from sample_crystals import crystal, cubic_perovskite, invalid_crystals

import repdiff as rd
from repdiff.cli.main import main
from repdiff.metrics import Context, CrystalSet
from repdiff.metrics import prototype_labels as labels_module
from repdiff.metrics.prototype_labels import read_labels
from repdiff.metrics.prototypes import Prototypes
from repdiff.metrics.uniqueness import Uniqueness
from repdiff.runs.atomic_files import read_json, write_json
from repdiff.testing.example_crystals import rock_salt


def skew(id="skew"):
    """One formula unit of rock salt without symmetry but the inversion: P-1."""
    return crystal(id, [11, 17], [[4, 0, 0], [0.7, 5, 0], [0.4, 0.9, 6]], [[0, 0, 0], [0.5, 0.5, 0.5]])


def without_symmetry(id="P1"):
    frac = [[0, 0, 0], [0.31, 0.22, 0.57], [0.68, 0.12, 0.29], [0.13, 0.71, 0.83]]
    return crystal(id, [11, 17, 11, 17], [[4, 0, 0], [0.7, 5, 0], [0.4, 0.9, 6]], frac)


def score(crystals, training=None, **options):
    failed = options.pop("failed", {})
    context = Context(training=None if training is None else CrystalSet(crystals=training), **options)
    return Prototypes().compute(CrystalSet(crystals=crystals, failed=failed), context)


@pytest.fixture
def n_read(monkeypatch):
    """Count the crystals that protostructures are read off, as a list that grows."""
    read, plain = [], labels_module.read_protostructures

    def counted(crystals, **options):
        read.extend(crystals)
        return plain(crystals, **options)

    monkeypatch.setattr(labels_module, "read_protostructures", counted)
    return read


def test_labels_are_those_of_aflow_and_the_same_for_all_equivalent_descriptions():
    """AFLOW's encyclopaedia has rock salt as AB_cF8_225_a_b and the perovskite as AB3C_cP5_221_a_c_b."""
    rng = np.random.default_rng(0)
    moved = [MOVES[move](rock_salt(), rng) for move in sorted(MOVES)]
    salt, perovskite, *others = read_labels([rock_salt(), cubic_perovskite(), *moved], symprec=0.1)
    assert (salt.protostructure, salt.prototype) == ("AB_cF8_225_b_a:Cl-Na", "AB_cF8_225_a_b")
    assert sorted(perovskite.prototype.split("_")[3:]) == ["a", "b", "c"]
    assert set(others) == {salt}


def test_shares_are_of_the_valid_ones_and_the_unreadable_are_named():
    crystals = [
        rock_salt("known"),
        rock_salt("new elements", 19, 35),
        skew("new prototype"),
        without_symmetry("new and P1"),
        rock_salt("no charges", 19, 18),
        *invalid_crystals()[:1],
    ]
    result = score(crystals, [rock_salt("seen")], failed={"lost": "no formula"})
    values = {name: value.value for name, value in result.values.items()}
    assert result.values["new_prototypes"].n == 4
    assert values["new_prototypes"] == 2 / 4
    assert values["new_prototypes_symmetric"] == 1 / 4
    assert values["new_protostructures"] == 3 / 4
    assert values["distinct_prototypes"] == 3
    assert values["read"] == pytest.approx(5 / 7)
    assert result.columns["new_prototype"][:5] == [False, False, True, True, False]
    assert set(result.details["not_read"]) == {invalid_crystals()[0].id, "lost"}
    assert "from_template" not in values


def test_nothing_is_claimed_over_training_rows_that_were_refused_or_have_no_prototype():
    made = CrystalSet(crystals=[skew()])
    unread = [rock_salt("seen"), invalid_crystals()[0]]
    refused = {"partial occupancy": 2, "no cell": 1}
    result = Prototypes().compute(made, Context(training=CrystalSet(crystals=unread, refused=refused)))
    for name in ("new_prototypes", "new_prototypes_symmetric", "new_protostructures"):
        value = result.values[name]
        assert value.value == 1
        assert value.reason == (
            "not claimed over all training crystals: 3 rows of its source were refused (2 × partial occupancy; "
            "1 × no cell); 1 of 2 have no prototype that could be read"
        )
    assert all(not value.reason for value in score([skew()], [rock_salt("seen")]).values.values())


def test_without_training_crystals_nothing_is_called_new():
    result = score([rock_salt()])
    assert result.values["new_prototypes"].value is None
    assert "training" in result.values["new_prototypes"].reason
    assert "new_prototype" not in result.columns
    assert result.values["distinct_prototypes"].value == 1


def test_the_training_set_is_read_once_and_kept_by_tolerance(tmp_path, n_read):
    crystals = [rock_salt(), cubic_perovskite(), *invalid_crystals()]
    first = read_labels(crystals, symprec=0.1, cache=tmp_path)
    n = len(n_read)
    assert read_labels(crystals[::-1], symprec=0.1, cache=tmp_path) == first[::-1]
    assert len(n_read) == n
    read_labels(crystals[:1], symprec=0.01, cache=tmp_path)
    assert len(n_read) == n + 1


@pytest.mark.parametrize(("symprec", "n"), [(0.1, 1), (0.05, 4), (None, 4)])
def test_what_encode_read_off_the_training_crystals_within_the_same_tolerance_is_not_read_again(
    symprec, n, n_read
):
    how = {"symprec": symprec, "device": "cpu", "progress": False}
    seen = rd.encode([rock_salt(), cubic_perovskite(), skew()], **how)
    found = rd.evaluate([rock_salt("new", 19, 35)], training=seen, metrics="prototypes", progress=False)
    assert len(n_read) == n
    plain = score([rock_salt("new", 19, 35)], seen.crystals)
    assert found.results["prototypes"].values == plain.values
    assert len(n_read) == n + 4, "labels of crystals in a plain list were trusted"


def test_those_of_a_run_of_encode_are_not_read_again_either(n_read, tmp_path):
    pairs = [(11, 17), (19, 35), (3, 9), (12, 8), (20, 16), (37, 53), (4, 34), (55, 9), (38, 52)]
    splits = ["train", "val", "test"]
    salts = [rock_salt(f"salt-{z}", z, other) for z, other in pairs]
    split = [salt.replace(split=splits[place % 3]) for place, salt in enumerate(salts)]
    rd.write(tmp_path / "salts.parquet", split)
    data, run = str(tmp_path / "salts.parquet"), tmp_path / "encode" / "salts-ead"
    how = [
        "--workspace",
        str(tmp_path),
        "--only",
        "prototypes",
        "--training",
        f"{run}:train",
        "--no-baseline",
    ]
    assert main(["encode", data, "--workspace", str(tmp_path)]) == 0
    n_read.clear()
    assert main(["evaluate", f"{data}:test", *how]) == 0
    assert len(n_read) == 3
    manifest = read_json(run / "manifest.json")
    assert manifest["versions"]["moyopy"] == version("moyopy")
    manifest["versions"]["moyopy"] = "0.1"
    manifest["sessions"] = [
        {**one, "versions": {**one["versions"], "moyopy": "0.1"}} for one in manifest["sessions"]
    ]
    write_json(run / "manifest.json", manifest)
    assert main(["evaluate", f"{data}:val", *how, "--cache", str(tmp_path / "c")]) == 0
    assert len(n_read) == 9, "what another version read was mixed in"


def test_what_was_started_from_a_template_is_counted_apart():
    crystals = [
        rock_salt("a").replace(labels={"start": "template"}),
        rock_salt("b", 19, 35).replace(labels={"start": "random"}),
        skew("c").replace(labels={"start": "template"}),
        skew("d"),
    ]
    training = CrystalSet(crystals=[rock_salt("seen")])
    assert score(crystals, training.crystals).values["from_template"].value == 0.5
    values = Uniqueness().compute(CrystalSet(crystals=crystals), Context(training=training)).values
    assert values["novel"].value == 3 / 4
    assert values["novel_without_templates"].value == 1
    assert values["novel_without_templates"].n == 2
    plain = Uniqueness().compute(CrystalSet(crystals=[rock_salt()]), Context(training=training)).values
    assert "novel_without_templates" not in plain
