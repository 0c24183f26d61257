"""CHGNet 0.3.0, with the weights of its wheel, computed for many crystals in one pass.

The package's own path makes Python objects of every bond and differentiates twice, keeping the graph of the
derivative. Here bonds and angles are lists of a whole batch, and one backward pass to the bond vectors gives
forces and stress.

Source: Deng et al., Nature Machine Intelligence 5, 1031 (2023).
"""

import io
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from descriptors.batch import CrystalBatch
from repdiff.energies.base import FORCE_FIELDS, Energies, ForceField, spread
from repdiff.energies.bonds import Bonds, bond_vectors, find_bonds, forces_and_stress
from repdiff.energies.conventions import Convention
from repdiff.energies.relaxed import ForceFieldIdentity
from repdiff.runs.atomic_files import sha256

MODEL = "0.3.0"
WEIGHTS = "pretrained/0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar"
UNTRAINED = frozenset({84, 85, 86, 87, 88})  # Po to Ra: no crystal of MPtrj holds them
LAST_ELEMENT = 94
N_FEATURES = 64  # of an atom


@FORCE_FIELDS.register("chgnet")
class Chgnet(ForceField):
    """CHGNet 0.3.0, trained on the relaxations of the Materials Project (MPtrj, PBE and PBE+U).

    The weights are a pickle inside the wheel, which the package's own loader reads: who installs the package
    trusts it already.
    """

    description = "CHGNet 0.3.0 (MPtrj), weights in the package"
    package: ClassVar[str] = "chgnet"
    convention: ClassVar[Convention] = "mp2020"  # MPtrj's corrected energies

    def __init__(self, device: torch.device) -> None:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):  # it greets on stdout
            warnings.filterwarnings("ignore", "invalid escape sequence")  # in nvidia_smi, on its first import
            import chgnet
            from chgnet.model import CHGNet

            model: Any = CHGNet.load(model_name=MODEL, use_device="cpu", verbose=False)
        self._device = device
        self._model: Any = model.to(device).eval().requires_grad_(False)
        self._model.angle_layers[-1] = None  # computed and never used
        self._identity = ForceFieldIdentity(
            name="chgnet",
            version=MODEL,
            weights_sha256=sha256(Path(chgnet.__file__).parent / WEIGHTS),
            package=f"chgnet {version('chgnet')}",
            convention=self.convention,
        )

    @property
    def identity(self) -> ForceFieldIdentity:
        """Which model this is."""
        return self._identity

    @property
    def known_elements(self) -> frozenset[int]:
        """The 89 elements of MPtrj."""
        return frozenset(range(1, LAST_ELEMENT + 1)) - UNTRAINED

    def evaluate(self, batch: CrystalBatch, *, gradients: bool = True) -> Energies:
        """Compute every crystal of a batch; an atom without neighbours has no answer."""
        batch = batch.to(self._device, torch.float64)
        cutoffs = self._model.graph_converter
        bonds, problems = find_bonds(
            batch, float(cutoffs.atom_graph_cutoff), float(cutoffs.bond_graph_cutoff)
        )
        if not problems:
            return self._compute(batch, bonds, gradients=gradients)
        good = [place for place in range(batch.n_systems) if place not in problems]
        return spread(batch, good, problems, lambda part: self.evaluate(part, gradients=gradients))

    def atom_features(
        self, batch: CrystalBatch
    ) -> tuple[Float[Tensor, "n_good_atoms 64"], Mapping[int, str]]:
        """Return the last vectors of the atoms before the energy, normalised, in double precision on the CPU.

        Returns:
            The vectors, of the crystals without a problem, in their order; and the problems by crystal.
        """
        found: list[Float[Tensor, "n_good_atoms 64"]] = []
        layer = self._model.get_submodule("readout_norm")
        hook = layer.register_forward_hook(lambda _, inputs, output: found.append(output.double().cpu()))
        try:
            problems = self.evaluate(batch, gradients=False).problems
        finally:
            hook.remove()
        return (found[-1] if found else torch.empty(0, N_FEATURES, dtype=torch.float64)), problems

    def _compute(self, batch: CrystalBatch, bonds: Bonds, *, gradients: bool) -> Energies:
        vectors = bond_vectors(batch, bonds.ends, bonds.shifts).float()
        with torch.set_grad_enabled(gradients):
            vectors.requires_grad_(gradients)
            interaction = self._model._compute(self._graph(batch, bonds, vectors))["e"].double()
        counts = batch.n_atoms_per_system
        references = self._model.composition_model.fc.weight[0].double()[batch.atomic_numbers - 1]
        energy = interaction.detach() * counts
        energy.index_add_(0, batch.system_idx, references)
        forces, stress = torch.zeros_like(batch.frac_coords), torch.zeros_like(batch.lattice)
        if gradients:
            (slope,) = torch.autograd.grad((interaction * counts).sum(), vectors)
            forces, stress = forces_and_stress(batch, bonds.ends, vectors, slope)
        return Energies(energy=energy.cpu(), forces=forces.cpu(), stress=stress.cpu())

    def _graph(self, batch: CrystalBatch, bonds: Bonds, vectors: Float[Tensor, "n_bonds 3"]) -> Any:  # noqa: ANN401 (a BatchedGraph of an optional package)
        """Put together what the network takes; its bonds point from the neighbour to the centre."""
        from chgnet.model.model import BatchedGraph

        model, (start, end) = self._model, bonds.ends
        lengths = torch.linalg.norm(vectors, dim=1)
        units = vectors / lengths[:, None]
        centre, one, other = bonds.angles
        n_bonds = len(lengths)
        undirected = torch.arange(n_bonds, device=self._device)
        directions = torch.cat([units, -units])
        encoder = model.bond_basis_expansion
        return BatchedGraph(
            atomic_numbers=batch.atomic_numbers,
            bond_bases_ag=encoder.rbf_expansion_ag(lengths),
            bond_bases_bg=encoder.rbf_expansion_bg(lengths),
            angle_bases=model.angle_basis_expansion(directions[one], directions[other]),
            batched_atom_graph=torch.stack([torch.cat([start, end]), torch.cat([end, start])], 1),
            batched_bond_graph=torch.stack([centre, one % n_bonds, other % n_bonds], 1),
            atom_owners=batch.system_idx,
            directed2undirected=torch.cat([undirected, undirected]),
            atom_positions=[],
            strains=[],
            volumes=[],
        )
