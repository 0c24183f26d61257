"""Every registered descriptor passes the acceptance kit: registering it is enough to have it tested."""

import pytest

from descriptors.base import DESCRIPTORS, make_descriptor
from descriptors.testing import CHECKS, example_crystals

SPECS = [f"{name}:{preset}" for name in DESCRIPTORS for preset in DESCRIPTORS[name].presets]


@pytest.mark.parametrize("check", sorted(CHECKS))
@pytest.mark.parametrize("spec", SPECS)
def test_descriptor_passes_the_acceptance_kit(spec, check):
    CHECKS[check](make_descriptor(spec), example_crystals())
