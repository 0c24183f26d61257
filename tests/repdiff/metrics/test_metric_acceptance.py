import json
import math

import pytest
from sample_crystals import cubic_perovskite, invalid_crystals

from repdiff.energies.relaxed import ForceFieldIdentity, Relaxation, RelaxedSet
from repdiff.errors import UserError
from repdiff.metrics import METRICS, Context, CrystalSet

KNOWN = [
    cubic_perovskite(),
    cubic_perovskite("BaTiO3", a_site=56, a=4.0),
    cubic_perovskite("CaTiO3", 20, a=3.85),
]
SETS = {
    "empty": CrystalSet(crystals=[]),
    "one": CrystalSet(crystals=KNOWN[:1]),
    "identical": CrystalSet(crystals=[KNOWN[0].replace(id=f"copy {i}") for i in range(3)]),
    "invalid": CrystalSet(crystals=invalid_crystals()),
    "failed only": CrystalSet(crystals=[], failed={"a": "no valid lattice", "b": "no formula"}),
    "mixed": CrystalSet(crystals=KNOWN + invalid_crystals(), failed={"a": "no valid lattice"}),
}
REFERENCES = {
    "known": CrystalSet(crystals=KNOWN),
    "other elements": CrystalSet(crystals=[cubic_perovskite("KMgF3", 19, 12, 9)]),
    "invalid": CrystalSet(crystals=invalid_crystals()),
    "empty": CrystalSet(crystals=[]),
}
RELAXED = RelaxedSet(
    force_field=ForceFieldIdentity(name="none", version="0", weights_sha256="0" * 64),
    relaxations={
        crystal.id: Relaxation(
            crystal=crystal, initial_energy=-4.0, energy=-5.0, n_steps=3, converged=True, rmsd=0.1
        )
        for crystal in KNOWN
    },
)


def context(reference):
    return Context(reference=reference, training=reference, relaxed=RELAXED)


def close(one, other):
    return (one is None and other is None) or math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)


@pytest.mark.parametrize("reference", sorted(REFERENCES))
@pytest.mark.parametrize("generated", sorted(SETS))
@pytest.mark.parametrize("name", sorted(METRICS))
def test_any_set_gets_values_or_reasons_and_full_columns(name, generated, reference):
    crystals = SETS[generated]
    result = METRICS[name].example().compute(crystals, context(REFERENCES[reference]))
    assert result.values
    for value in result.values.values():
        assert value.protocol in result.protocols
        assert value.n <= max(len(crystals), len(REFERENCES[reference]))
        assert value.reason if value.value is None else math.isfinite(value.value)
        assert value.unit != "fraction" or value.value is None or 0 <= value.value <= 1
    assert all(len(column) == len(crystals) for column in result.columns.values())
    json.dumps([dict(result.protocols), dict(result.details), dict(result.columns)], allow_nan=False)


@pytest.mark.parametrize("name", sorted(METRICS))
def test_values_do_not_depend_on_the_order_and_columns_follow_it(name):
    crystals = SETS["mixed"].crystals
    back = CrystalSet(crystals=crystals[::-1])
    metric = METRICS[name].example()
    one = metric.compute(CrystalSet(crystals=crystals), context(REFERENCES["known"]))
    other = metric.compute(back, context(CrystalSet(crystals=KNOWN[::-1])))
    assert all(close(one.values[key].value, other.values[key].value) for key in one.values)
    for key, column in one.columns.items():
        turned = other.columns[key][::-1]
        same = [close(a, b) if isinstance(a, float) else a == b for a, b in zip(column, turned, strict=True)]
        assert all(same), key


@pytest.mark.parametrize("name", sorted(METRICS))
def test_a_second_run_says_the_same(name):
    metric = METRICS[name].example()
    first = metric.compute(SETS["mixed"], context(REFERENCES["known"]))
    assert metric.compute(SETS["mixed"], context(REFERENCES["known"])) == first


@pytest.mark.parametrize("name", sorted(name for name in METRICS if not METRICS[name].needs))
def test_a_metric_that_needs_nothing_takes_nothing(name):
    assert METRICS[name].example().compute(SETS["mixed"], Context()).values


@pytest.mark.parametrize("name", sorted(name for name in METRICS if METRICS[name].needs))
def test_a_metric_that_lacks_what_it_needs_names_the_option(name):
    with pytest.raises(UserError, match=r"--(reference|training|relaxed)"):
        METRICS[name].example().compute(SETS["mixed"], Context())


@pytest.mark.parametrize("name", sorted(METRICS))
def test_every_metric_describes_itself_in_one_line(name):
    assert 10 < len(METRICS[name].description) <= 100
    assert "\n" not in METRICS[name].description
