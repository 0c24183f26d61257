import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from descriptors.batch import CrystalBatch, join
from descriptors.testing import random_crystals
from repdiff.networks.crystal import (
    AdapterInput,
    CoordinateHead,
    CrystalHead,
    CrystalNetwork,
    CrystalNetworkSettings,
    LatticeHead,
    TypeHead,
    deform,
    to_fractional,
)

TINY = CrystalNetworkSettings(width=16, n_blocks=3, n_neighbors=14, max_neighbors=24, n_radial=10)
TOL = {torch.float64: {"rtol": 1e-10, "atol": 1e-10}, torch.float32: {"rtol": 1e-5, "atol": 1e-5}}
DTYPES = sorted(TOL, key=str)
ROTATION = torch.linalg.matrix_exp(
    torch.tensor([[0, 0.3, -1.1], [-0.3, 0, 0.7], [1.1, -0.7, 0]], dtype=torch.float64)
)
NORMAL = torch.tensor([[0.48, 0.6, 0.64]], dtype=torch.float64)
CHANGE = torch.tensor([[1, 2, 0], [1, 3, 1], [0, 1, 2]], dtype=torch.float64)  # determinant 1
IMAGES = torch.tensor([[2, -1, 0], [0, 1, -3], [-1, 0, 1]], dtype=torch.float64)


def build(settings=TINY, *, dtype=torch.float64, seed=0):
    """A network and all heads with weights that leave nothing at zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = torch.nn.ModuleDict(
            {
                "network": CrystalNetwork(settings),
                "coordinates": CoordinateHead(settings, zero_init=False),
                "lattice": LatticeHead(settings, zero_init=False),
                "types": TypeHead(settings, 7, zero_init=False),
                "crystal": CrystalHead(settings, 5, with_size=True),
            }
        )
        for parameter in model.parameters():
            parameter.data += 0.05 * torch.randn(parameter.shape)
    return model.to(dtype)


def run(model, batch, times=None, **inputs):
    network = model["network"]
    times = torch.arange(batch.n_systems) * 10 if times is None else times
    features = network(network.graph(batch), batch.atomic_numbers, times, **inputs)
    outputs = {name: head(features) for name, head in model.items() if name != "network"}
    outputs["fractional"] = to_fractional(outputs["coordinates"], features.graph)
    outputs["cell"] = deform(batch.lattice, outputs["lattice"])
    return outputs


def perovskite():
    half = [[0.0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return CrystalBatch(
        frac_coords=torch.tensor(half, dtype=torch.float64),
        lattice=3.9 * torch.eye(3, dtype=torch.float64)[None],
        atomic_numbers=torch.tensor([38, 22, 8, 8, 8]),
        system_idx=torch.zeros(5, dtype=torch.long),
    )


def crystals(sizes=(1, 2, 3, 6), seed=0):
    return join([random_crystals(sizes, generator=torch.Generator().manual_seed(seed)), perovskite()])


def turned(rotation):
    return lambda batch: replace(batch, lattice=batch.lattice @ rotation.to(batch.dtype))


def same(outputs, _batch):
    return outputs


def turned_outputs(rotation):
    def expected(outputs, _batch):
        turn = rotation.to(outputs["cell"].dtype)
        return outputs | {
            "coordinates": outputs["coordinates"] @ turn,
            "lattice": turn.T @ outputs["lattice"] @ turn,
            "cell": outputs["cell"] @ turn,
        }

    return expected


def recut(batch):
    inverse = torch.linalg.inv(CHANGE).round().to(batch.dtype)
    return replace(
        batch, frac_coords=batch.frac_coords @ inverse, lattice=CHANGE.to(batch.dtype) @ batch.lattice
    )


def recut_outputs(outputs, batch):
    change = CHANGE.to(batch.dtype)
    return outputs | {
        "fractional": outputs["fractional"] @ torch.linalg.inv(change),
        "cell": change @ outputs["cell"],
    }


def backwards(batch):
    reverse = torch.arange(batch.n_atoms).flip(0)
    return reverse[torch.argsort(batch.system_idx[reverse], stable=True)]


def permuted(batch):
    order = backwards(batch)
    return replace(batch, frac_coords=batch.frac_coords[order], atomic_numbers=batch.atomic_numbers[order])


def permuted_outputs(outputs, batch):
    order = backwards(batch)
    return outputs | {name: outputs[name][order] for name in ("coordinates", "fractional", "types")}


def shifted(batch):
    step = torch.tensor([0.137, 0.291, -0.413], dtype=batch.dtype)
    return replace(batch, frac_coords=batch.frac_coords + step)


def in_other_images(batch):
    steps = IMAGES[torch.arange(batch.n_atoms) % 3].to(batch.dtype)
    return replace(batch, frac_coords=batch.frac_coords + steps)


REFLECTION = torch.eye(3, dtype=torch.float64) - 2 * NORMAL.T @ NORMAL
EQUIVARIANCES = {
    "rotation": (turned(ROTATION), turned_outputs(ROTATION)),
    "reflection": (turned(REFLECTION), turned_outputs(REFLECTION)),
    "translation": (shifted, same),
    "image": (in_other_images, same),
    "permutation": (permuted, permuted_outputs),
    "change of cell": (recut, recut_outputs),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("move", sorted(EQUIVARIANCES))
def test_every_output_moves_with_the_crystal(move, dtype):
    model, batch = build(dtype=dtype), crystals().to(dtype=dtype)
    moved, expected_outputs = EQUIVARIANCES[move]
    expected, actual = expected_outputs(run(model, batch), batch), run(model, moved(batch))
    for name, value in expected.items():
        scale = max(1.0, float(value.detach().abs().max()))
        torch.testing.assert_close(
            actual[name] / scale, value / scale, **TOL[dtype], msg=lambda text, name=name: f"{name}: {text}"
        )


def test_no_output_is_zero_or_the_same_everywhere():
    outputs = run(build(), crystals())
    for name, value in outputs.items():
        assert float(value[-6:].detach().std()) > 1e-3, name


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_batch_equals_a_loop(dtype):
    model, batch = build(dtype=dtype), crystals().to(dtype=dtype)
    parts = [
        run(model, batch.select(torch.tensor([number])), torch.tensor([10 * number]))
        for number in range(batch.n_systems)
    ]
    for name, value in run(model, batch).items():
        torch.testing.assert_close(value, torch.cat([part[name] for part in parts]), **TOL[dtype])


def test_a_supercell_changes_nothing_but_the_size():
    model, batch = build(), crystals([2, 3])
    double = torch.diag(torch.tensor([2.0, 1, 1])).double()
    system_idx, order = torch.sort(batch.system_idx.repeat(2), stable=True)
    frac_coords = torch.cat([batch.frac_coords, batch.frac_coords + torch.tensor([1.0, 0, 0])])
    larger = CrystalBatch(
        frac_coords=(frac_coords @ torch.linalg.inv(double))[order],
        lattice=double @ batch.lattice,
        atomic_numbers=batch.atomic_numbers.repeat(2)[order],
        system_idx=system_idx,
    )
    before, after = run(model, batch), run(model, larger)
    torch.testing.assert_close(after["lattice"], before["lattice"])
    torch.testing.assert_close(after["types"], before["types"].repeat(2, 1)[order])


@pytest.mark.parametrize("name", ["frac_coords", "lattice"])
def test_gradients_by_positions_and_cells_are_right(name):
    settings = CrystalNetworkSettings(
        width=6, n_blocks=2, n_neighbors=8, max_neighbors=10, n_radial=6, time_width=4
    )
    model, batch = build(settings), random_crystals([2, 3], generator=torch.Generator().manual_seed(3))

    def outputs(value):
        found = run(model, replace(batch, **{name: value}))
        return found["coordinates"], found["lattice"], found["types"], found["crystal"]

    assert torch.autograd.gradcheck(outputs, getattr(batch, name).clone().requires_grad_(), fast_mode=True)


def degenerate():
    def one(lattice, frac_coords):
        frac_coords = torch.tensor(frac_coords)
        return CrystalBatch(
            frac_coords=frac_coords,
            lattice=torch.as_tensor(lattice)[None],
            atomic_numbers=torch.full((len(frac_coords),), 6),
            system_idx=torch.zeros(len(frac_coords), dtype=torch.long),
        )

    return join(
        [
            one(3 * torch.eye(3), [[0.0, 0, 0]]),  # alone in its cell
            one(4 * torch.eye(3), [[0.3, 0.3, 0.3]] * 5),  # all at one point
            one(9 * torch.eye(3), [[0.0, 0, 0]] * 6 + [[0.5, 0.5, 0.5]]),  # nothing within the radius
            one(torch.diag(torch.tensor([0.01, 30.0, 30.0])), [[0.0, 0, 0], [0.5, 0.5, 0.5]]),
            one(0.02 * torch.eye(3), [[0.0, 0, 0], [0.5, 0.5, 0.5]]),
            one(300 * torch.eye(3), [[0.0, 0, 0], [0.5, 0.5, 0.5]]),
        ]
    )


def test_states_that_diffusion_visits_stay_finite_with_their_gradients():
    model, batch = build(dtype=torch.float32), degenerate()
    frac_coords, lattice = batch.frac_coords.requires_grad_(), batch.lattice.requires_grad_()
    outputs = run(model, replace(batch, frac_coords=frac_coords, lattice=lattice))
    assert all(bool(torch.isfinite(value).all()) for value in outputs.values())
    sum(value.square().mean() for name, value in outputs.items() if name != "fractional").backward()
    values = [frac_coords, lattice, *(p for p in model.parameters() if p.grad is not None)]
    assert len(values) > 20
    assert all(bool(torch.isfinite(value.grad).all()) for value in values)


def test_every_parameter_is_trained():
    model, batch = build(), crystals()
    outputs = run(model, batch)
    sum(value.square().mean() for value in outputs.values()).backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert missing == []


def test_heads_start_at_zero():
    torch.manual_seed(0)
    network = CrystalNetwork(TINY).double()
    batch = crystals()
    features = network(network.graph(batch), batch.atomic_numbers, torch.zeros(batch.n_systems))
    for head in (CoordinateHead(TINY), LatticeHead(TINY), TypeHead(TINY, 4)):
        assert not bool(head.double()(features).any())


def test_a_symmetric_lattice_field_is_the_symmetric_part():
    model, batch = build(), crystals()
    full = run(model, batch)["lattice"]
    assert float((full - full.mT).detach().abs().max()) > 1e-3
    model["lattice"].symmetric = True
    torch.testing.assert_close(run(model, batch)["lattice"], (full + full.mT) / 2)


def test_one_hot_species_equal_atomic_numbers():
    network, batch = build()["network"], crystals()
    graph, times = network.graph(batch), torch.zeros(batch.n_systems)
    weights = torch.nn.functional.one_hot(batch.atomic_numbers, TINY.n_species).double()
    torch.testing.assert_close(
        network(graph, weights, times).scalars, network(graph, batch.atomic_numbers, times).scalars
    )


def test_time_condition_and_further_inputs_of_atoms_matter():
    settings = TINY.model_copy(update={"atom_width": 3, "condition_width": 2})
    model, batch = build(settings), crystals()
    inputs = {"atoms": torch.randn(batch.n_atoms, 3).double(), "condition": torch.randn(5, 2).double()}
    times = torch.full((5,), 40)
    before = run(model, batch, times, **inputs)
    changed = [
        run(model, batch, times + 1, **inputs),
        run(model, batch, times, **inputs | {"condition": inputs["condition"] + 1}),
        run(model, batch, times, **inputs | {"atoms": inputs["atoms"] + 1}),
    ]
    for after in changed:
        assert not torch.allclose(after["coordinates"], before["coordinates"], rtol=1e-3)


@pytest.mark.parametrize("width", [0, 2])
def test_a_condition_against_the_settings_is_an_error(width):
    network, batch = build(TINY.model_copy(update={"condition_width": width}))["network"], crystals()
    condition = None if width else torch.zeros(5, 2).double()
    with pytest.raises(ValueError, match=f"the width in the settings is {width}"):
        network(network.graph(batch), batch.atomic_numbers, torch.zeros(5), condition=condition)


def test_a_fresh_adapter_changes_nothing_and_a_trained_one_only_what_it_is_given():
    model, batch = build(), crystals()
    before = run(model, batch)
    model["network"].adapters.add("band_gap", 1)
    model.double()
    given = torch.tensor([True, False, True, False, False])
    known = {"band_gap": AdapterInput(values=torch.ones(5, 1).double(), has_label=given)}
    torch.testing.assert_close(run(model, batch, adapters=known), before)
    for parameter in model["network"].adapters.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    after = run(model, batch, adapters=known)["crystal"]
    changed = (after - before["crystal"]).abs().amax(1) > 1e-6
    assert torch.equal(changed, given)


def test_a_second_adapter_of_the_same_name_is_an_error():
    network = CrystalNetwork(TINY)
    network.adapters.add("band_gap", 1)
    with pytest.raises(ValueError, match="'band_gap' is there already"):
        network.adapters.add("band_gap", 2)


def test_values_that_are_not_given_may_be_nan():
    model, batch = build(), crystals()
    model["network"].adapters.add("band_gap", 1)
    model.double()
    unknown = AdapterInput(values=torch.full((5, 1), torch.nan).double(), has_label=torch.zeros(5).bool())
    outputs = run(model, batch, adapters={"band_gap": unknown})
    assert bool(torch.isfinite(outputs["crystal"]).all())


ONE_GRAPH = """
import torch
from descriptors.testing import example_crystals
from repdiff.networks.crystal import CoordinateHead, CrystalNetwork, CrystalNetworkSettings

torch.manual_seed(0)
settings = CrystalNetworkSettings(width=8, n_neighbors=10)
network, head = CrystalNetwork(settings), CoordinateHead(settings, zero_init=False)
batch = example_crystals().to(dtype=torch.float32)
field = lambda *inputs: head(network(*inputs))
inputs = network.graph(batch), batch.atomic_numbers, torch.arange(batch.n_systems)
compiled = torch.compile(field, backend="eager", fullgraph=True)
torch.testing.assert_close(compiled(*inputs), field(*inputs), rtol=1e-5, atol=1e-5)
"""


def test_the_forward_pass_is_one_graph_to_the_compiler():
    """In a process of its own, since the compiler cannot trace the checks of shapes that these tests run with."""
    done = subprocess.run([sys.executable, "-c", ONE_GRAPH], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_autocast_stays_near_full_precision():
    model, batch = build(dtype=torch.float32), crystals().to(dtype=torch.float32)
    expected = run(model, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = run(model, batch)
    for name in ("coordinates", "types", "lattice"):
        difference = (actual[name].float() - expected[name]).abs().max().item()
        assert difference < 0.1 * max(1.0, expected[name].abs().max().item()), name


def test_training_moves_atoms_back():
    torch.manual_seed(0)
    settings = TINY.model_copy(update={"width": 32})
    network, head = CrystalNetwork(settings), CoordinateHead(settings)
    clean = join([perovskite()] * 8).to(dtype=torch.float32)
    optimizer = torch.optim.Adam([*network.parameters(), *head.parameters()], lr=3e-3)
    losses = []
    for _ in range(60):
        noise = 0.3 * torch.randn(clean.n_atoms, 3)
        noise = noise - noise.view(8, 5, 3).mean(1, keepdim=True).expand(-1, 5, -1).reshape(-1, 3)
        noisy = replace(clean, frac_coords=clean.frac_coords + noise / 3.9)
        features = network(network.graph(noisy), noisy.atomic_numbers, torch.zeros(8))
        loss = (head(features) + noise).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.4 * sum(losses[:10])


def test_settings_that_contradict_each_other_are_errors():
    with pytest.raises(ValidationError, match="longest is 1"):
        CrystalNetworkSettings(shortest=2.0, longest=1.0)


def test_the_number_of_parameters_counts_those_that_train():
    network = CrystalNetwork(TINY)
    before = network.n_parameters
    network.species.weight.requires_grad_(False)
    assert before - network.n_parameters == TINY.n_species * TINY.width
