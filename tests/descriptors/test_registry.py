import pytest

from descriptors.base import DESCRIPTORS, make_descriptor
from descriptors.registry import Registry


def test_a_class_is_found_under_its_name():
    registry: Registry[object] = Registry("thing")

    @registry.register("one")
    class One:
        pass

    assert registry["one"] is One
    assert "one" in registry
    assert (list(registry), len(registry)) == (["one"], 1)


def test_a_name_is_given_once():
    registry: Registry[object] = Registry("thing")
    registry.register("one")(int)
    with pytest.raises(ValueError, match=r"'one' is registered already, by builtins.int; refused from .*str"):
        registry.register("one")(str)


def test_an_unknown_name_is_met_with_the_known_ones_and_the_nearest():
    with pytest.raises(KeyError, match=r"unknown descriptor 'eda'; known: .*soap.*Did you mean 'ead'\?"):
        DESCRIPTORS["eda"]


def test_a_descriptor_is_made_by_name_and_preset():
    assert make_descriptor("ead").settings() == make_descriptor("ead:compact").settings()
    assert make_descriptor("ead:paper").n_features == 1200


def test_an_unknown_preset_is_met_with_the_known_ones():
    with pytest.raises(KeyError, match="unknown preset of descriptor 'ead' 'papper'; known: compact, paper"):
        make_descriptor("ead:papper")
