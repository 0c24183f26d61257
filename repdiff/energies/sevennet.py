"""SevenNet-0 (11 July 2024), with the weights of its wheel.

Source: Park et al., J. Chem. Theory Comput. 20, 4857 (2024).
"""

import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descriptors.batch import CrystalBatch
from descriptors.neighbors import find_neighborhood
from repdiff.energies.base import FORCE_FIELDS, Energies, ForceField, spread
from repdiff.energies.bonds import bond_vectors, find_lonely, forces_and_stress
from repdiff.energies.conventions import Convention
from repdiff.energies.relaxed import ForceFieldIdentity
from repdiff.runs.atomic_files import sha256


@FORCE_FIELDS.register("sevennet")
class Sevennet(ForceField):
    """SevenNet-0, equivariant, trained on the same relaxations as CHGNet (MPtrj).

    The weights are a pickle inside the wheel, which the package's own loader reads: who installs the package
    trusts it already. Nothing is fetched.
    """

    description = "SevenNet-0 of 11 July 2024 (MPtrj), weights in the package"
    package: ClassVar[str] = "sevenn"
    convention: ClassVar[Convention] = (
        "uncorrected"  # MPtrj's energies as computed: NiO +0.41 eV/atom from the elements
    )

    def __init__(self, device: torch.device) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*torch.jit.*", FutureWarning)  # e3nn compiles by it
            warnings.filterwarnings("ignore", ".*torch.jit.*", DeprecationWarning)
            from sevenn._const import SEVENNET_0_11Jul2024 as weights
            from sevenn.util import load_checkpoint

            checkpoint = load_checkpoint(weights)
            model = checkpoint.build_model(enable_cueq=False, enable_flash=False, enable_oeq=False)
        model.delete_module_by_key("force_output")  # the gradient is taken here
        self._device = device
        self._model: Any = model.to(device).eval().requires_grad_(False)
        self._identity = ForceFieldIdentity(
            name="sevennet",
            version="7net-0 11Jul2024",
            weights_sha256=sha256(Path(weights)),
            package=f"sevenn {version('sevenn')}",
            convention=self.convention,
        )

    @property
    def identity(self) -> ForceFieldIdentity:
        """Which model this is."""
        return self._identity

    @property
    def known_elements(self) -> frozenset[int]:
        """The 89 elements of MPtrj."""
        return frozenset(self._model.type_map)

    def evaluate(self, batch: CrystalBatch, *, gradients: bool = True) -> Energies:
        """Compute every crystal of a batch; an atom without neighbours has no answer."""
        batch = batch.to(self._device, torch.float64)
        near = find_neighborhood(batch, float(self._model.cutoff))
        if problems := find_lonely(batch, near, float(self._model.cutoff)):
            good = [place for place in range(batch.n_systems) if place not in problems]
            return spread(batch, good, problems, lambda part: self.evaluate(part, gradients=gradients))
        atom, slot = torch.nonzero(near.present, as_tuple=True)
        ends = torch.stack([atom, near.neighbor_idx[atom, slot]])
        vectors = bond_vectors(batch, ends, near.shifts[atom, slot]).float()
        with torch.set_grad_enabled(gradients):
            vectors.requires_grad_(gradients)
            energy = self._energy(batch, ends, vectors)
        forces, stress = torch.zeros_like(batch.frac_coords), torch.zeros_like(batch.lattice)
        if gradients:
            (slope,) = torch.autograd.grad(energy.sum(), vectors)
            forces, stress = forces_and_stress(batch, ends, vectors, slope)
        return Energies(energy=energy.detach().double().cpu(), forces=forces.cpu(), stress=stress.cpu())

    def _energy(
        self, batch: CrystalBatch, ends: Int[Tensor, "2 n_pairs"], vectors: Float[Tensor, "n_pairs 3"]
    ) -> Float[Tensor, " n_systems"]:
        from sevenn import _keys as keys

        data = {
            keys.NODE_FEATURE: batch.atomic_numbers,
            keys.ATOMIC_NUMBERS: batch.atomic_numbers,
            keys.EDGE_IDX: ends,
            keys.EDGE_VEC: vectors,
            keys.BATCH: batch.system_idx,
            keys.NUM_ATOMS: batch.n_atoms_per_system,
        }
        return self._model(data)[keys.PRED_TOTAL_ENERGY]
