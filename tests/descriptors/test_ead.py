import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from strategies import crystals

from descriptors.batch import CrystalBatch, join
from descriptors.ead import EmbeddedAtomDensity
from descriptors.resolution import COMPACT, PAPER, Resolution, evenly
from descriptors.testing import check_invariances

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "ead.json").read_text())
SMALL = Resolution(
    **{key: tuple(value) if isinstance(value, list) else value for key, value in GOLDEN["small"].items()},
    weights=("relative_number",),
    poolings=("max",),
    unit_vectors=False,
    log=False,
)


def golden_crystal(name: str) -> CrystalBatch:
    crystal = GOLDEN["crystals"][name]
    return CrystalBatch(
        frac_coords=torch.tensor(crystal["frac_coords"], dtype=torch.float64),
        lattice=torch.tensor([crystal["lattice"]], dtype=torch.float64),
        atomic_numbers=torch.tensor(crystal["atomic_numbers"]),
        system_idx=torch.zeros(len(crystal["atomic_numbers"]), dtype=torch.long),
    )


def expected_values(name: str, of: str) -> torch.Tensor:
    return torch.tensor([GOLDEN["crystals"][name]["values"][of]], dtype=torch.float64)


@pytest.mark.parametrize("name", sorted(GOLDEN["crystals"]))
def test_the_paper_preset_agrees_with_the_formula(name):
    descriptor = EmbeddedAtomDensity.from_preset("paper")
    columns = [
        descriptor.feature_names().index(f"{pooling}|number|l=0|eta={eta:g}|Rs={center:g}")
        for pooling in ("max", "min")
        for eta in GOLDEN["paper"]["etas"]
        for center in GOLDEN["paper"]["centers"]
    ]
    features = descriptor(golden_crystal(name))[:, columns]
    torch.testing.assert_close(features, expected_values(name, "paper"), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", sorted(GOLDEN["crystals"]))
@pytest.mark.parametrize(
    ("of", "changes"),
    [
        ("small_lengths", {}),
        (
            "small_logarithm",
            {"unit_vectors": True, "log": True, "poolings": ("mean", "mean:relative_number")},
        ),
    ],
)
def test_orders_up_to_three_agree_with_the_formula(name, of, changes):
    descriptor = EmbeddedAtomDensity((replace(SMALL, **changes),))
    features = descriptor(golden_crystal(name))
    torch.testing.assert_close(features, expected_values(name, of), rtol=1e-9, atol=1e-9)


def test_the_paper_preset_has_the_published_settings():
    (block,) = PAPER
    assert (block.cutoff, block.etas, block.orders, block.poolings) == (
        20.0,
        (1, 20, 90),
        (0,),
        ("max", "min"),
    )
    assert len(block.centers) == 200
    assert block.centers[:2] == (0.0, 0.1)
    assert block.centers[-1] == 19.9
    assert EmbeddedAtomDensity(PAPER).n_features == 1200


def test_the_compact_preset_looks_evenly_from_half_an_angstrom_to_each_cutoff():
    assert [(block.cutoff, block.centers[0], block.centers[-1]) for block in COMPACT] == [
        (6.0, 0.5, 6.0),
        (4.5, 0.5, 4.5),
    ]
    assert all(block.spacing is not None for block in COMPACT)


def test_one_pair_of_atoms_gives_the_closed_form():
    batch = CrystalBatch(
        frac_coords=torch.tensor([[0.0, 0, 0], [0.1, 0, 0]], dtype=torch.float64),
        lattice=20 * torch.eye(3, dtype=torch.float64)[None],
        atomic_numbers=torch.tensor([3, 9]),
        system_idx=torch.tensor([0, 0]),
    )
    block = replace(
        SMALL, etas=(0.7,), centers=(1.5,), orders=(2,), weights=("number",), poolings=("max", "min")
    )
    radial = math.exp(-0.7 * 0.5**2) * (math.cos(math.pi * 2 / block.cutoff) + 1) / 2
    expected = torch.tensor([[(9 * 4 * radial) ** 2, (3 * 4 * radial) ** 2]], dtype=torch.float64)
    torch.testing.assert_close(EmbeddedAtomDensity((block,))(batch), expected)


@settings(max_examples=25)
@given(batch=crystals(max_systems=2, max_atoms=4))
def test_random_crystals_keep_the_declared_invariances(batch):
    blocks = (replace(SMALL, unit_vectors=True, log=True, poolings=("max", "min", "mean")), COMPACT[0])
    check_invariances(EmbeddedAtomDensity(blocks), batch)


def test_blocks_stand_one_after_another_each_a_stage():
    other = replace(SMALL, orders=(0,), weights=("one", "rank"), poolings=("mean", "mean:number"))
    batch = join([golden_crystal("NaCl"), golden_crystal("triclinic")])
    blocks = (SMALL, other, replace(other, poolings=("max",)))
    whole = EmbeddedAtomDensity(blocks)
    parts = [EmbeddedAtomDensity((block,)) for block in blocks]
    torch.testing.assert_close(whole(batch), torch.cat([part(batch) for part in parts], 1))
    assert [stage.stop - stage.start for stage in whole.stages] == [part.n_features for part in parts]
    assert [stage.start for stage in whole.stages] == [0, *(stage.stop for stage in whole.stages[:-1])]
    assert whole.n_features == whole.stages[-1].stop
    assert whole.feature_names() == [name for part in parts for name in part.feature_names()]


def test_a_lone_atom_has_no_density():
    lone = replace(golden_crystal("triclinic"), lattice=30 * torch.eye(3, dtype=torch.float64)[None])
    features = EmbeddedAtomDensity((replace(SMALL, log=True),))(lone.select(torch.tensor([0])))
    assert features.shape == (1, SMALL.n_features)
    assert bool(torch.isfinite(features).all())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cutoff": 0.0}, "cutoff is 0.0 Å"),
        ({"etas": ()}, "is empty"),
        ({"poolings": ()}, "is empty"),
        ({"etas": (1.0, -1.0)}, "expected positive"),
        ({"orders": (0, -1)}, "not negative"),
        ({"weights": ("mass",)}, "element weight is 'mass'"),
        ({"poolings": ("median",)}, "pooling is 'median'"),
        ({"poolings": ("max:rank",)}, "pooling is 'max:rank'"),
        ({"poolings": ("mean:mass",)}, "element weight is 'mass'"),
    ],
)
def test_bad_settings_are_refused_with_their_value(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)


def test_no_blocks_are_refused():
    with pytest.raises(ValueError, match="0 resolutions"):
        EmbeddedAtomDensity(())


def test_evenly_spaced_numbers_include_both_ends():
    assert evenly(0.5, 2.0, 4) == (0.5, 1.0, 1.5, 2.0)
    assert evenly(3.0, 9.0, 1) == (3.0,)
