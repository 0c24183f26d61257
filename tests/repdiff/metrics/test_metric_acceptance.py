"""Every registered metric passes the acceptance kit, and the kit finds what is wrong with one that does not."""

import math

import pytest

from repdiff.metrics import METRICS, Metric, MetricResult, MetricValue
from repdiff.testing.metric import CHECKS, REFERENCES, SETS, check_metric, check_one_set


@pytest.mark.parametrize("reference", sorted(REFERENCES))
@pytest.mark.parametrize("generated", sorted(SETS))
@pytest.mark.parametrize("name", sorted(METRICS))
def test_any_set_gets_values_or_reasons_and_full_columns(name, generated, reference):
    check_one_set(METRICS[name].example(), generated, reference)


@pytest.mark.parametrize("check", sorted(set(CHECKS) - {"any set"}))
@pytest.mark.parametrize("name", sorted(METRICS))
def test_a_metric_passes_the_acceptance_kit(name, check):
    CHECKS[check](METRICS[name].example())


class FirstCrystal(Metric):
    """A wrong metric: it tells of the first crystal of the set alone, and of nothing where there is none."""

    description = "number of atoms of the first crystal"

    def compute(self, generated, context):
        n_atoms = [crystal.n_atoms for crystal in generated.crystals[:1]]
        values = {"first": MetricValue(value=float(sum(n_atoms)), n=len(n_atoms), protocol="plain")}
        return MetricResult(values=values, protocols={"plain": {}}, columns=self.columns(generated))

    def columns(self, generated):
        return {}


class ShortColumn(FirstCrystal):
    def columns(self, generated):
        return {"n_atoms": [1]}


def test_the_kit_catches_a_value_that_depends_on_the_order():
    with pytest.raises(AssertionError, match=r"first is 5\.0, and 0\.0 in another order"):
        check_metric(FirstCrystal())


class Secretive(FirstCrystal):
    def compute(self, generated, context):
        n = 0 if context.training is None else len(context.training)
        values = {"n": MetricValue(value=float(n), n=n, protocol="plain")}
        return MetricResult(values=values, protocols={"plain": {}})


def test_the_kit_catches_what_a_metric_takes_and_does_not_declare():
    with pytest.raises(AssertionError, match=r"not declared in `needs` or `takes`.*training"):
        CHECKS["takes"](Secretive())


def test_the_kit_names_a_declaration_that_is_missing():
    class Silent(Metric):
        def compute(self, generated, context):
            return MetricResult(values={}, protocols={})

    with pytest.raises(AssertionError, match="Silent does not set description; Metric says"):
        check_metric(Silent())


def test_the_kit_catches_a_column_that_leaves_crystals_out():
    with pytest.raises(AssertionError, match=r"column n_atoms of the set 'empty' .* has 1 entries for 0"):
        check_metric(ShortColumn())


def test_a_value_that_is_no_number_cannot_be_made():
    with pytest.raises(ValueError, match="expected a finite number"):
        MetricValue(value=math.nan, n=1, protocol="plain")
