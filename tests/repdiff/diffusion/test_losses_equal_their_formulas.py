"""Losses against a few lines written from the formulas, at three noise levels."""

import math

import pytest
import torch

from descriptors.batch import CrystalBatch
from repdiff.diffusion.cdvae.losses import Composition, noise_loss, noised_types, path_loss, type_loss
from repdiff.diffusion.masked_types import Masking, type_errors
from repdiff.diffusion.torus import path_loss as torus_path_loss

DOUBLE = torch.float64
TIMES = (0, 40, 99)  # of 100
LOGITS = torch.tensor([[0.5, -1.0, 2.0], [0.1, 0.2, -0.3]], dtype=DOUBLE)
TRUE = torch.tensor([0, 2])


@pytest.fixture
def clean():
    """Two crystals, of one and of two atoms, in skewed cells."""
    return CrystalBatch(
        frac_coords=torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.9, 0.1, 0.5]], dtype=DOUBLE),
        lattice=torch.tensor(
            [[[3.0, 0, 0], [1, 4, 0], [0, 0.5, 5]], [[4.0, 1, 0], [0, 3, 0], [1, 1, 6]]], dtype=DOUBLE
        ),
        atomic_numbers=torch.tensor([8, 22, 38]),
        system_idx=torch.tensor([0, 1, 1]),
    )


def divergence_of_a_step_back(logits, true, hidden, time):
    """KL of q(x_(t-1) | x_t, x_0) from the network's, with the mask as the last state: by all states, one atom."""
    if not hidden:
        return 0.0
    kept_before, kept = (
        (100 - time) / 100,
        (99 - time) / 100,
    )  # shares that are not hidden before and after step t
    shows = (kept_before - kept) / (1 - kept)
    exact = [0.0] * len(logits) + [1 - shows]
    exact[true] = shows
    model = [shows * p for p in torch.tensor(logits).softmax(0).tolist()] + [1 - shows]
    return sum(q * math.log(q / p) for q, p in zip(exact, model, strict=True) if q > 0)


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("hidden", [True, False])
def test_the_hybrid_loss_is_the_divergence_of_a_step_back_and_a_hundredth_of_the_cross_entropy(time, hidden):
    found = type_errors(LOGITS, TRUE, torch.full((2,), hidden), torch.full((2,), time), kind="hybrid")
    for atom in (0, 1):
        surprise = -LOGITS[atom].softmax(0)[TRUE[atom]].log()
        bound = divergence_of_a_step_back(LOGITS[atom].tolist(), int(TRUE[atom]), hidden, time)
        assert float(found[atom]) == pytest.approx(bound + 0.01 * float(surprise), rel=1e-5)


def test_hidden_atoms_weigh_on_average_as_much_as_the_sum_of_the_published_terms():
    """An atom is hidden with (t + 1) / T, and weighs 1 / (t + 1) where it is: 1 / T at every time."""
    times, masking = torch.arange(100), Masking(100)
    logits = torch.zeros(100, 3, dtype=DOUBLE)
    bound = type_errors(logits, torch.zeros(100).long(), torch.ones(100).bool(), times, kind="hybrid")
    weights = masking.hidden_share(times) * (bound / math.log(3) - 0.01)
    torch.testing.assert_close(weights.double(), torch.full((100,), 0.01, dtype=DOUBLE), rtol=1e-4, atol=0)


@pytest.mark.parametrize("std", [0.003, 0.1, 0.9])
def test_the_published_loss_of_coordinates_is_the_squared_error_of_the_noise_in_fractions(std, clean):
    noise, answered = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    expected = 0.0
    for atoms in ([0], [1, 2]):
        expected += sum(float((answered[i] - noise[i]).norm() ** 2) for i in atoms) / len(atoms) / 2
    paths = -std * (answered - noise)
    found = noise_loss(paths, torch.full((2,), std, dtype=DOUBLE), clean)
    assert float(found) == pytest.approx(expected)


@pytest.mark.parametrize("reach", [0.05, 0.5, 2.0])
def test_the_loss_of_paths_is_the_mean_square_of_their_components_over_the_reach(reach, clean):
    error = torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
    lengths = [float((error[i] @ clean.lattice[c]).norm()) for i, c in enumerate([0, 1, 1])]
    found = path_loss(error, torch.full((2,), reach, dtype=DOUBLE), clean)
    assert float(found) == pytest.approx(sum((length / reach) ** 2 for length in lengths) / 9)


@pytest.mark.parametrize("weight", [0.01, 0.5, 5.0])
def test_the_published_loss_of_kinds_is_the_cross_entropy_over_the_noise(weight, clean):
    logits, true = torch.cat([LOGITS, LOGITS[:1]]), torch.tensor([0, 2, 1])
    surprise = [-math.log(float(logits[i].softmax(0)[true[i]])) for i in range(3)]
    mean = (surprise[0] + (surprise[1] + surprise[2]) / 2) / 2
    weights = torch.full((2,), weight, dtype=DOUBLE)
    assert float(type_loss(logits, true, clean, over=weights)) == pytest.approx(mean / weight)
    assert float(type_loss(logits, true, clean, over=None)) == pytest.approx(mean)


def test_the_noise_of_kinds_multiplies_their_published_loss_by_sixteen_on_average():
    levels = torch.linspace(math.log(0.01), math.log(5), 100_001, dtype=DOUBLE).exp()
    assert float((1 / levels).mean()) == pytest.approx(16.1, abs=0.05)


def test_noised_kinds_follow_the_composition_that_the_latent_vector_says():
    n = 4000
    many = CrystalBatch(
        frac_coords=torch.zeros(3 * n, 3),
        lattice=4 * torch.eye(3).repeat(n, 1, 1),
        atomic_numbers=torch.tensor([8, 8, 22]).repeat(n),
        system_idx=torch.arange(n).repeat_interleave(3),
    )
    said = Composition(
        elements=torch.tensor([3, 22, 38]), shares=torch.tensor([[0.5, 0.1, 0.4]]).repeat(n, 1)
    )
    uniform = torch.rand(3 * n, 2, generator=torch.Generator().manual_seed(0))
    for weight in (0.5, 5.0):
        kinds = noised_types(many, torch.full((n,), weight), uniform, said=said)[::3]
        for element, share in ((8, 0.0), (3, 0.5), (22, 0.1), (38, 0.4)):
            expected = ((element == 8) + weight * share) / (1 + weight)
            assert float((kinds == element).double().mean()) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("scale", [0.01, 0.2, 1.0])
def test_the_losses_of_paths_on_the_torus_are_those_of_their_names(scale, clean):
    error = scale * torch.randn(3, 3, generator=torch.Generator().manual_seed(2), dtype=DOUBLE)
    moved = [(error[i] @ clean.lattice[c]).tolist() for i, c in enumerate([0, 1, 1])]
    expected = {
        "l1": [sum(map(abs, row)) for row in moved],
        "l1_mean": [sum(map(abs, row)) / 3 for row in moved],
        "l2": [sum(x * x for x in row) for row in moved],
    }
    for kind, rows in expected.items():
        found = torus_path_loss(error, torch.zeros_like(error), clean.lattice, clean.system_idx, kind=kind)
        torch.testing.assert_close(found, torch.tensor(rows, dtype=DOUBLE))
