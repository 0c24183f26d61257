"""Whole numbers that are too large for what they are meant for are refused by every verb that takes them."""

import numpy as np
import pytest
import torch

from repdiff.errors import UserError
from repdiff.settings import SECTIONS
from repdiff.settings.backends import backend_names
from repdiff.settings.base import MAX_SEED, MAX_TIMESTEPS
from repdiff.settings.compose import completed
from repdiff.settings.leaves import leaves
from repdiff.settings.load import load_settings

SEEDED = sorted(verb for verb in SECTIONS if {"seed", "seeds"} & set(SECTIONS[verb].model_fields))


def test_the_largest_seed_is_taken_by_all_generators():
    torch.Generator().manual_seed(MAX_SEED)
    np.random.RandomState(MAX_SEED)
    with pytest.raises(ValueError, match="2\\*\\*32 - 1"):
        np.random.RandomState(MAX_SEED + 1)


@pytest.mark.parametrize("verb", SEEDED)
def test_a_seed_that_is_too_large_is_refused_with_the_largest(verb, tmp_path):
    name = "seed" if "seed" in SECTIONS[verb].model_fields else "seeds"
    given = f"{verb}:\n  {name}: " + ("{0}" if name == "seed" else "[{0}]")
    (tmp_path / "large.yaml").write_text(given.format(10**18))
    with pytest.raises(UserError, match=rf"seeds?.* is \[?{10**18}\]?, expected .*at most {MAX_SEED}"):
        load_settings(SECTIONS[verb], tmp_path / "large.yaml")


@pytest.mark.parametrize("backend", backend_names())
def test_every_number_of_steps_of_a_noise_process_has_a_bound(backend):
    bounds = [
        next(mark.le for mark in leaf.field.metadata if hasattr(mark, "le"))
        for leaf in leaves(completed(SECTIONS["train"], backend))
        if leaf.path[-1] == "timesteps"
    ]
    assert set(bounds) <= {MAX_TIMESTEPS}
