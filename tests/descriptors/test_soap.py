import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from scipy.integrate import quad
from scipy.special import sph_harm_y
from strategies import crystals

from descriptors.batch import CrystalBatch, join
from descriptors.neighbors import find_neighborhood
from descriptors.soap import DEFAULT, SoapPowerSpectrum, solid_harmonics
from descriptors.testing import check_invariances, check_stages, example_crystals

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "soap.json").read_text())
AS_GOLDEN = replace(DEFAULT, **GOLDEN["settings"], weights=tuple(GOLDEN["weights"]))


def golden_crystal(name: str) -> CrystalBatch:
    crystal = GOLDEN["crystals"][name]
    return CrystalBatch(
        frac_coords=torch.tensor(crystal["frac_coords"], dtype=torch.float64),
        lattice=torch.tensor([crystal["lattice"]], dtype=torch.float64),
        atomic_numbers=torch.tensor(crystal["atomic_numbers"]),
        system_idx=torch.zeros(len(crystal["atomic_numbers"]), dtype=torch.long),
    )


def spectra(descriptor: SoapPowerSpectrum, batch: CrystalBatch) -> torch.Tensor:
    table = find_neighborhood(batch, descriptor.cutoff)
    return descriptor.power_spectra(table, table.vectors(batch.frac_coords, batch.lattice))


@pytest.mark.parametrize("name", sorted(GOLDEN["crystals"]))
def test_power_spectra_agree_with_dscribe(name):
    expected = torch.tensor(GOLDEN["crystals"][name]["first_atom"], dtype=torch.float64)
    first = spectra(SoapPowerSpectrum(AS_GOLDEN), golden_crystal(name))[0]
    torch.testing.assert_close(first, expected, rtol=1e-7, atol=1e-7)


def test_harmonics_agree_with_scipy_up_to_sign():
    vectors = torch.randn(20, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x, y, z = vectors.numpy().T
    radius, azimuth = np.sqrt(x**2 + y**2 + z**2), np.arctan2(y, x)
    for order, values in enumerate(solid_harmonics(vectors, l_max=5)):
        for m in range(-order, order + 1):
            complex_value = sph_harm_y(order, abs(m), np.arccos(z / radius), azimuth)
            part = complex_value.real if m >= 0 else complex_value.imag
            expected = radius**order * part * (2**0.5 if m else 1)
            np.testing.assert_allclose(abs(values[:, m + order]), abs(expected), atol=1e-10)


def test_harmonics_obey_the_addition_theorem():
    generator = torch.Generator().manual_seed(2)
    first, second = torch.randn(2, 9, 3, generator=generator, dtype=torch.float64)
    for order, (u, v) in enumerate(
        zip(solid_harmonics(first, l_max=6), solid_harmonics(second, l_max=6), strict=True)
    ):
        lengths = first.norm(dim=1) * second.norm(dim=1)
        cosines = ((first * second).sum(1) / lengths).numpy()
        legendre = torch.tensor(np.polynomial.legendre.legval(cosines, [0] * order + [1]))
        expected = (2 * order + 1) / (4 * np.pi) * lengths**order * legendre
        torch.testing.assert_close((u * v).sum(1), expected)


@pytest.mark.parametrize("order", [0, 2])
def test_smeared_orbitals_agree_with_numerical_integration(order):
    """Integrate orbitals against a Gaussian on the z axis in spherical coordinates: no closed form."""
    descriptor = SoapPowerSpectrum(replace(AS_GOLDEN, weights=("one",)))
    distance, sigma = 1.7, AS_GOLDEN.sigma
    ends = np.linspace(1, AS_GOLDEN.cutoff, AS_GOLDEN.n_radial)
    alpha = -np.log(1e-3 / ends**order) / ends**2
    angles, weights = np.polynomial.legendre.leggauss(60)
    harmonic = (
        np.polynomial.legendre.legval(angles, [0] * order + [1]) * ((2 * order + 1) / (4 * np.pi)) ** 0.5
    )

    def shell(r: float, power: float) -> float:
        density = np.exp(-(r**2 + distance**2 - 2 * r * distance * angles) / (2 * sigma**2))
        return 2 * np.pi * r ** (2 + order) * np.exp(-power * r**2) * (weights * harmonic * density).sum()

    def product(r: float, power: float) -> float:
        return r ** (2 + 2 * order) * np.exp(-power * r**2)

    overlap = [[quad(product, 0, 30, args=(a + b,))[0] for b in alpha] for a in alpha]
    values, modes = np.linalg.eigh(np.array(overlap))
    primitive = np.array([quad(shell, 0, 12, args=(a,), points=[distance])[0] for a in alpha])
    expected = modes @ np.diag(values**-0.5) @ modes.T @ primitive
    axis = torch.tensor([0.0, 0.0, distance], dtype=torch.float64)
    harmonic_here = solid_harmonics(axis, l_max=order)[order][order]
    radial = torch.exp(-descriptor.exponents[order] * distance**2)
    found = descriptor.mixing[order] @ radial * harmonic_here
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@settings(max_examples=25)
@given(batch=crystals(max_systems=2, max_atoms=4))
def test_random_crystals_keep_the_declared_invariances(batch):
    check_invariances(SoapPowerSpectrum(replace(DEFAULT, n_radial=3, l_max=2)), batch)


def test_compression_is_an_inverse_hyperbolic_sine_before_pooling():
    batch = example_crystals()
    mean = replace(DEFAULT, stages=(("mean",),))
    descriptor = SoapPowerSpectrum(mean)
    per_atom = torch.asinh(spectra(descriptor, batch)).split(batch.n_atoms_per_system.tolist())
    torch.testing.assert_close(descriptor(batch), torch.stack([part.mean(0) for part in per_atom]))
    plain = SoapPowerSpectrum(replace(mean, compress=False))
    whole = spectra(descriptor, batch).split(batch.n_atoms_per_system.tolist())
    torch.testing.assert_close(plain(batch), torch.stack([part.mean(0) for part in whole]))


def test_several_groups_of_poolings_are_several_stages():
    descriptor = SoapPowerSpectrum(replace(DEFAULT, stages=(("mean",), ("max", "min"), ("mean:number",))))
    check_stages(descriptor, example_crystals())
    assert [stage.stop - stage.start for stage in descriptor.stages] == [144, 288, 144]


def test_a_lone_atom_has_the_spectrum_of_its_own_density():
    batch = CrystalBatch(
        frac_coords=torch.zeros(1, 3, dtype=torch.float64),
        lattice=20 * torch.eye(3, dtype=torch.float64)[None],
        atomic_numbers=torch.tensor([6]),
        system_idx=torch.tensor([0]),
    )
    (spectrum,) = spectra(SoapPowerSpectrum(AS_GOLDEN), batch).unflatten(1, (AS_GOLDEN.l_max + 1, -1))
    assert bool((spectrum[0].abs() > 0).any())
    assert not spectrum[1:].any()


def test_the_length_does_not_depend_on_the_elements():
    descriptor = SoapPowerSpectrum.from_preset("default")
    batch = join([golden_crystal("SrTiO3"), golden_crystal("diamond")])
    assert descriptor(batch).shape == (2, descriptor.n_features)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cutoff": 1.0}, "cutoff is 1.0 Å"),
        ({"n_radial": 0}, "n_radial is 0"),
        ({"l_max": -1}, "l_max -1"),
        ({"sigma": 0.0}, "sigma is 0.0 Å"),
        ({"weights": ()}, "is empty"),
        ({"stages": ((),)}, "is empty"),
        ({"weights": ("mass",)}, "element weight is 'mass'"),
        ({"stages": (("median",),)}, "pooling is 'median'"),
    ],
)
def test_bad_settings_are_refused_with_their_value(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(DEFAULT, **changes)
