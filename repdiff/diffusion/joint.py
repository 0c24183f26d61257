"""The network of the joint diffusion, what it predicts, and its loss.

The network sees the noised crystal, its cell bounded (`symmetric_lattice.bounded_cells`), and of the cell's matrix the
true eigenvalues. It answers, all of order one at every time:

* coordinates: the score times its standard deviation, which is minus the noise while that is small and fades as the
  distribution becomes uniform. (To magnify the field where noise is small, as a network that predicts the clean place
  would, did not help.) Both score and prediction are freed from their mean over a crystal: of the translation of a
  whole crystal nothing can be known, and the true mean score is zero;
* cell: `symmetric_lattice.Scales` of the clean one. To the network's strain are added 1, z, z² and the diagonal of
  z with coefficients that the network predicts: the first three are all that a symmetric matrix can give rise to
  if every orientation is alike, and the published noise (elements of equal variance) sets the diagonal apart;
* elements: logits, to which each property that is given adds a linear function of its vector, zero before it is
  trained: that a chemical system favours its elements need not be learnt by every block.

The symmetries of the process are permutation of atoms, translation, and turning or mirroring the crystal such that axes
become axes; the network has those and more.

Source: Zeni et al., arXiv 2312.03687; there, scores of all three are predicted and the network is GemNet.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from descriptors.batch import CrystalBatch
from repdiff.diffusion.joint_process import JointProcess, State, StateNoise
from repdiff.diffusion.masked_types import MASK, type_errors
from repdiff.diffusion.predictor_corrector import Prediction
from repdiff.diffusion.symmetric_lattice import Limit, Scales
from repdiff.diffusion.torus import wrapped_normal_score
from repdiff.networks.crystal import (
    AdapterInput,
    CoordinateHead,
    CrystalFeatures,
    CrystalGraph,
    CrystalHead,
    CrystalNetwork,
    LatticeHead,
    TypeHead,
    to_fractional,
)
from repdiff.networks.property_adapters import module_key
from repdiff.networks.property_embedding import PropertyEmbedding
from repdiff.settings.backends.mattergen import JointSettings

N_CONDITIONS = 4  # eigenvalues of the cell, and the logarithm of the number of atoms
N_MATRICES = 4  # 1, z, z² and its diagonal


class JointNoise(NamedTuple):
    """The random numbers of one loss.

    Attributes:
        times: Time of each crystal.
        state: Random numbers that noise the crystals.
        given: Uniform numbers in [0, 1), which decide whether all elements of a crystal are shown.
    """

    times: Int[Tensor, " n_systems"]
    state: StateNoise
    given: Float[Tensor, " n_systems"]


class JointDiffusion(nn.Module):
    """The network with its processes.

    Args:
        settings: Settings of the network, the processes and the loss.
        limit: Distribution that noised cells approach, fitted to the training set.
        lattice_std: Standard deviation of the entries of z about 0, over the training set.
        elements: Atomic numbers of the training set, ascending.
    """

    elements: Tensor

    def __init__(
        self,
        settings: JointSettings,
        limit: Limit,
        *,
        lattice_std: float,
        elements: Int[Tensor, " n_types"],
    ) -> None:
        super().__init__()
        self.settings, self.lattice_std = settings, lattice_std
        self.process = JointProcess.of(settings, limit)
        self.register_buffer("elements", elements, persistent=False)
        wide = settings.network.model_copy(update={"condition_width": N_CONDITIONS})
        self.network = nn.ModuleDict(
            {
                "backbone": CrystalNetwork(wide),
                "positions": CoordinateHead(wide),
                "cell": LatticeHead(wide, symmetric=True),
                "matrices": CrystalHead(wide, N_MATRICES, zero_init=True),
                "types": TypeHead(wide, len(elements)),
                "properties": nn.ModuleDict(),
                "type_shifts": nn.ModuleDict(),
            }
        )

    def add_properties(self, embeddings: Mapping[str, PropertyEmbedding]) -> None:
        """Add adapters, and what turns labels into their input; they change no output before they are trained.

        Raises:
            ValueError: If there is one for a property already.
        """
        for name, embedding in embeddings.items():
            self.backbone.adapters.add(module_key(name), embedding.n_values)
            shift = nn.Linear(embedding.n_values, len(self.elements), bias=False)
            nn.init.zeros_(shift.weight)
            self._named("properties")[module_key(name)] = embedding.to(self.elements.device)
            self._named("type_shifts")[module_key(name)] = shift.to(self.elements.device)

    def freeze_all_but_properties(self) -> None:
        """Let training change the adapters and the embeddings of properties alone."""
        for parameter in self.network.parameters():
            parameter.requires_grad_(False)
        for part in (self.backbone.adapters, self._named("properties"), self._named("type_shifts")):
            for parameter in part.parameters():
                parameter.requires_grad_(True)

    def adapters(self, labels: Mapping[str, AdapterInput]) -> dict[str, AdapterInput]:
        """Turn raw numbers of properties, by name, into what `predict` takes."""
        properties = self._named("properties")
        return {
            module_key(name): AdapterInput(
                values=properties[module_key(name)](label.values), has_label=label.has_label
            )
            for name, label in labels.items()
        }

    def _named(self, name: str) -> nn.ModuleDict:
        modules = self.network[name]
        assert isinstance(modules, nn.ModuleDict)
        return modules

    @property
    def backbone(self) -> CrystalNetwork:
        """The network without its heads."""
        backbone = self.network["backbone"]
        assert isinstance(backbone, CrystalNetwork)
        return backbone

    def predict(
        self,
        state: State,
        times: Int[Tensor, " n_systems"],
        adapters: Mapping[str, AdapterInput] | None = None,
    ) -> Prediction:
        """Say what the network believes of crystals, given what `adapters` makes of what is asked of them."""
        return self._predict(state, times, adapters)[0]

    def _predict(
        self,
        state: State,
        times: Int[Tensor, " n_systems"],
        adapters: Mapping[str, AdapterInput] | None,
    ) -> tuple[Prediction, CrystalGraph]:
        batch, eigenvalues = self.process.decode(state)
        graph = self.backbone.graph(batch)
        features = self.backbone(
            graph,
            state.numbers,
            times * (1000.0 / self.process.n_times),
            condition=torch.cat([eigenvalues - 1, state.counts.to(eigenvalues).log()[:, None]], 1),
            adapters=adapters,
        )
        field = to_fractional(self.network["positions"](features), graph)
        field = field / self.process.scale(state)[:, None]
        belief = Prediction(
            score=_centred(field, graph),
            clean=self._clean(state, times, features),
            logits=self._logits(state, features, adapters or {}),
        )
        return belief, graph

    def forward(
        self,
        clean: CrystalBatch,
        noise: JointNoise,
        labels: Mapping[str, AdapterInput] | None = None,
        atoms_weight: Float[Tensor, ""] | float = 1.0,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " 3"]]:
        """Return the loss, and the mean errors of coordinates, cells and elements, detached.

        All is computed in float32: half precision would move atoms and blur labels.

        Args:
            clean: Crystals with symmetric cells.
            noise: Random numbers.
            labels: Raw numbers of properties, by name, and of which crystals they are known.
            atoms_weight: Factor of means over atoms, for a part of a batch.
        """
        with torch.autocast(clean.device.type, enabled=False):
            return self._loss(self.process.encode(clean), noise, self.adapters(labels or {}), atoms_weight)

    def _loss(
        self,
        clean: State,
        noise: JointNoise,
        adapters: Mapping[str, AdapterInput],
        atoms_weight: Float[Tensor, ""] | float,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " 3"]]:
        times, index = noise.times, clean.system_idx
        noisy = self.process.add_noise(clean, times, noise.state)
        shown = (noise.given < self.settings.given_share)[index]
        noisy = noisy._replace(numbers=torch.where(shown, clean.numbers, noisy.numbers))
        belief, graph = self._predict(noisy, times, adapters)
        std = self.process.std(clean, times)
        target = wrapped_normal_score(noisy.coords - clean.coords, std) * std[:, None]
        positions = atoms_weight * (belief.score - _centred(target, graph)).square().sum(1).mean()
        out = self._scales(times).out.to(clean.z)[:, None, None]
        cells = ((belief.clean - clean.z) / out).square().mean()
        types = (
            atoms_weight
            * type_errors(
                belief.logits,
                torch.searchsorted(self.elements, clean.numbers),
                noisy.numbers == MASK,
                times[index],
                kind=self.settings.type_loss,
            ).mean()
        )
        weights = self.settings
        loss = (
            weights.position_weight * positions + weights.lattice_weight * cells + weights.type_weight * types
        )
        return loss, torch.stack([positions, cells, types]).detach()

    def _scales(self, times: Int[Tensor, " n_systems"]) -> Scales:
        return Scales.at(self.process.signal(times), self.lattice_std)

    def _logits(
        self, state: State, features: CrystalFeatures, adapters: Mapping[str, AdapterInput]
    ) -> Float[Tensor, "n_atoms n_types"]:
        logits = self.network["types"](features)
        for key, condition in adapters.items():
            shift = self._named("type_shifts")[key](condition.values) * condition.has_label[:, None]
            logits = logits + shift[state.system_idx]
        return logits

    def _clean(
        self, state: State, times: Int[Tensor, " n_systems"], features: CrystalFeatures
    ) -> Float[Tensor, "n_systems 3 3"]:
        scales = self._scales(times)
        skip, out, into = (each.to(state.z)[:, None, None] for each in (scales.skip, scales.out, scales.into))
        unit = into * state.z
        eye = torch.eye(3, dtype=unit.dtype, device=unit.device).expand_as(unit)
        matrices = torch.stack([eye, unit, unit @ unit, eye * unit], 1)
        factors = self.network["matrices"](features)[:, :, None, None]
        return skip * state.z + out * (self.network["cell"](features) + (factors * matrices).sum(1))


def _centred(values: Float[Tensor, "n_atoms 3"], graph: CrystalGraph) -> Float[Tensor, "n_atoms 3"]:
    return values - graph.mean_over_atoms(values)[graph.system_idx]
