"""Smooth Overlap of Atomic Positions: the power spectrum of the density of Gaussians around each atom.

    c_qnlm = Σ_j w_q(j) f_c(r_j) ∫ g_nl(|r|) Y_lm(r) exp(-|r - r_j|² / 2σ²) d³r      (j runs over the centre
    too) p_qq'nn'l = π √(8 / (2l + 1)) Σ_m c_qnlm c_q'n'lm

with real spherical harmonics Y_lm and orthonormal Gaussian-type orbitals g_nl(r) = Σ_k β_lnk r^l exp(-α_lk
r²), for which the integral has a closed form. One density per element would make the vector grow with the
square of the number of elements; here every density channel q holds all elements, each with its weight w_q,
so the length is fixed.

Sources: power spectrum, Bartók, Kondor, Csányi, Phys. Rev. B 2013, 87, 184115 (prefactor as in De et al.,
Phys. Chem. Chem. Phys. 2016, 18, 13754); orbitals and their exponents, Himanen et al., Comput. Phys. Commun.
2020, 247, 106949, and its program DScribe, whose values these are for `weighting={"function": "poly", "c": 1,
"m": 1}`; element-weighted channels, Darby, Kermode, Csányi, npj Comput. Mater. 2022, 8, 166.
"""

import math
from dataclasses import asdict, dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from descriptors.base import DESCRIPTORS, Descriptor, padded_distances
from descriptors.elements import at_centres, check_weights, weight_columns
from descriptors.neighbors import Neighborhood
from descriptors.pooling import check_poolings, pool_all
from descriptors.radial import smoothstep_cutoff

DECAY = 1e-3  # r^l exp(-α r²) falls to this, in powers of Å, where an orbital is said to end


@dataclass(frozen=True, kw_only=True)
class SoapSettings:
    """What decides a power spectrum.

    Attributes:
        cutoff: How far an atom sees, Å; more than 1 Å, where the first orbital ends.
        n_radial: Number of radial orbitals; beyond about eight they become linearly dependent.
        l_max: Highest angular momentum.
        sigma: Standard deviation of the Gaussian that stands for an atom, Å.
        weights: Kinds of element weight, one density channel each; see
            `descriptors.elements.element_weights`.
        stages: Names of poolings, as in `descriptors.pooling.pool_all`, in the groups an inverter may match
            one after another.
        compress: Take asinh(p): unlike a logarithm it suits either sign, and like one it brings the entries
            of the vector, which span some five decades, to one scale. Not in the literature.
    """

    cutoff: float
    n_radial: int
    l_max: int
    sigma: float
    weights: tuple[str, ...]
    stages: tuple[tuple[str, ...], ...]
    compress: bool

    def __post_init__(self) -> None:
        """Check the values."""
        if not self.cutoff > 1:
            raise ValueError(
                f"cutoff is {self.cutoff} Å, expected more than 1 Å, where the first orbital ends"
            )
        if self.n_radial < 1 or self.l_max < 0:
            raise ValueError(
                f"n_radial is {self.n_radial} and l_max {self.l_max}, expected at least 1 and at least 0"
            )
        if not self.sigma > 0:
            raise ValueError(f"sigma is {self.sigma} Å, expected a positive length")
        if not self.weights or not self.stages or not all(self.stages):
            raise ValueError("weights, stages or one of the stages is empty, expected at least one of each")
        check_weights(self.weights)
        for poolings in self.stages:
            check_poolings(poolings)


DEFAULT = SoapSettings(
    cutoff=6.0,
    n_radial=4,
    l_max=3,
    sigma=0.5,
    weights=("one", "rank"),
    stages=(("mean", "mean:rank"),),
    compress=True,
)


@DESCRIPTORS.register("soap")
class SoapPowerSpectrum(Descriptor):
    """Element-weighted SOAP power spectra, pooled over the atoms of each crystal.

    Args:
        soap: The settings.
    """

    presets = ("default",)

    def __init__(self, soap: SoapSettings) -> None:
        super().__init__()
        self.soap = soap
        self.cutoff = soap.cutoff
        self.exponents, self.mixing = _orbitals(soap)
        n_channels = soap.n_radial * len(soap.weights)
        self.left, self.right = torch.triu_indices(n_channels, n_channels)
        n_per_atom = len(self.left) * (soap.l_max + 1)
        edges = [0]
        for poolings in soap.stages:
            edges.append(edges[-1] + n_per_atom * len(poolings))
        self.n_features = edges[-1]
        self.stages = tuple(slice(low, high) for low, high in pairwise(edges))

    @classmethod
    def from_preset(cls, preset: str) -> "SoapPowerSpectrum":
        """Build "default", the only preset."""
        return cls({"default": DEFAULT}[preset])

    def settings(self) -> dict[str, object]:
        """Return the settings as plain values."""
        values = asdict(self.soap)
        values["weights"] = list(self.soap.weights)
        values["stages"] = [list(poolings) for poolings in self.soap.stages]
        return values

    def feature_names(self) -> list[str]:
        """Name each entry by pooling, l, and the weight and orbital of either density."""
        channels = [f"{weight},n={n}" for weight in self.soap.weights for n in range(self.soap.n_radial)]
        return [
            f"{pooling}|l={order}|{channels[i]}|{channels[j]}"
            for poolings in self.soap.stages
            for pooling in poolings
            for order in range(self.soap.l_max + 1)
            for i, j in zip(self.left.tolist(), self.right.tolist(), strict=True)
        ]

    def evaluate(
        self,
        neighborhood: Neighborhood,
        vectors: Float[Tensor, "n_centres n_slots 3"],
        *,
        n_stages: int | None = None,
    ) -> Float[Tensor, "n_systems n_features"]:
        """Encode the crystals whose centres have these neighbours; see the base class."""
        spectra = self.power_spectra(neighborhood, vectors)
        if self.soap.compress:
            spectra = torch.asinh(spectra)
        poolings = [name for stage in self.soap.stages[:n_stages] for name in stage]
        return pool_all(spectra, neighborhood, poolings)

    def power_spectra(
        self, neighborhood: Neighborhood, vectors: Float[Tensor, "n_centres n_slots 3"]
    ) -> Float[Tensor, "n_centres n_per_atom"]:
        """Return p of every atom, before compression and pooling; l varies slowest, then the channel q, n."""
        distances = padded_distances(neighborhood, vectors, absent=2 * self.cutoff)
        weights = weight_columns(self.soap.weights, neighborhood, dtype=distances.dtype)
        envelope = smoothstep_cutoff(distances, cutoff=self.cutoff)[..., None]
        envelope = envelope * weights[neighborhood.neighbor_idx]
        harmonics = solid_harmonics(vectors, l_max=self.soap.l_max)
        left, right = self.left.to(distances.device), self.right.to(distances.device)
        spectra = []
        for order, harmonic in enumerate(harmonics):
            exponents = self.exponents[order].to(distances)
            radial = torch.exp(-exponents * distances[..., None] ** 2)
            density = (envelope[..., :, None] * harmonic[..., None, :]).flatten(2)
            primitive = (radial.transpose(1, 2) @ density).unflatten(2, (len(self.soap.weights), -1))
            if order == 0:  # the centre: at distance 0 all radial factors are 1, and so is the cutoff
                primitive = primitive + at_centres(weights, neighborhood)[
                    :, None, :, None
                ] * harmonic.new_tensor((4 * math.pi) ** -0.5)
            coefficients = torch.einsum("nk,akqm->aqnm", self.mixing[order].to(distances), primitive)
            channels = coefficients.flatten(1, 2)
            products = channels @ channels.transpose(1, 2)
            spectra.append(math.pi * (8 / (2 * order + 1)) ** 0.5 * products[:, left, right])
        return torch.cat(spectra, dim=1)


def _orbitals(soap: SoapSettings) -> tuple[Float[Tensor, "n_l n"], Float[Tensor, "n_l n n"]]:
    """Return the exponents of the smeared orbitals, Å⁻², and the matrices that make them orthonormal.

    The primitive orbital k of order l decays at one of `n_radial` radii from 1 Å to the cutoff; Löwdin's
    symmetric orthonormalisation mixes them. An atom smeared by σ and projected on a primitive gives (π / (α +
    a))^(3/2) (a / (α + a))^l exp(-α a / (α + a) r²) r^l Y_lm, with a = 1 / 2σ².
    """
    ends = torch.linspace(1, soap.cutoff, soap.n_radial, dtype=torch.float64)
    smear = 1 / (2 * soap.sigma**2)
    exponents, mixing = [], []
    for order in range(soap.l_max + 1):
        alpha = (order * ends.log() - math.log(DECAY)) / ends**2
        overlap = 0.5 * math.gamma(order + 1.5) * (alpha[:, None] + alpha) ** -(order + 1.5)
        values, modes = torch.linalg.eigh(overlap)
        orthonormal = modes @ torch.diag(values**-0.5) @ modes.T
        share = smear / (alpha + smear)
        exponents.append(alpha * share)
        mixing.append(orthonormal * (math.pi / (alpha + smear)) ** 1.5 * share**order)
    return torch.stack(exponents), torch.stack(mixing)


def solid_harmonics(
    vectors: Float[Tensor, "*shape 3"], *, l_max: int
) -> list[Float[Tensor, "*shape n_orders"]]:
    """Return r^l Y_lm for l = 0 to `l_max`, real and orthonormal on the sphere, m from -l to l.

    They are polynomials in x, y, z: no angle and no division, so atoms on top of each other do no harm.

    Source: recursion of Helgaker, Jørgensen, Olsen, Molecular Electronic-Structure Theory, 2000, section 6.4.
    """
    x, y, z = vectors.unbind(-1)
    squared = x**2 + y**2 + z**2
    rows = [[torch.ones_like(x)]]
    for order in range(l_max):
        row, last = rows[-1], rows[-2] if order else []
        inner = []
        for m in range(-order, order + 1):
            term = (2 * order + 1) * z * row[m + order]
            if abs(m) < order:
                term = term - ((order + m) * (order - m)) ** 0.5 * squared * last[m + order - 1]
            inner.append(term / ((order + m + 1) * (order - m + 1)) ** 0.5)
        edge = ((2 if order == 0 else 1) * (2 * order + 1) / (2 * order + 2)) ** 0.5
        low, high = row[0], row[-1]
        if order == 0:
            rows.append([edge * y * high, *inner, edge * x * high])
        else:
            rows.append([edge * (y * high + x * low), *inner, edge * (x * high - y * low)])
    return [torch.stack(row, -1) * ((2 * order + 1) / (4 * math.pi)) ** 0.5 for order, row in enumerate(rows)]
