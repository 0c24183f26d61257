"""Features of ALIGNN, those of the published Fréchet ALIGNN distance, for those who have installed it."""

import hashlib
import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib import import_module
from importlib.metadata import version

import numpy as np
import torch

from repdiff.crystals.crystal import Crystal
from repdiff.crystals.geometry import check_structures
from repdiff.energies.relaxed import ForceFieldIdentity
from repdiff.metrics.features.base import EXTRACTORS, FeatureExtractor, Features

MODEL = (
    "mp_e_form_alignn"  # formation energies of the Materials Project; the paper does not say which it took
)
CUTOFF, MAX_NEIGHBORS = 8.0, 12  # those of the package for crystals


@EXTRACTORS.register("alignn")
class AlignnFeatures(FeatureExtractor):
    """256 numbers of ALIGNN: the mean over the atoms, input of the last linear layer.

    The package, from its release of August 2024 on, downloads the weights on first use. Neither is available
    where this project is tested: the tests cover no more than the message when the package is absent.

    Source: Choudhary and DeCost, npj Comput. Mater. 7, 185 (2021); as a distance: Klipfel et al., GemsDiff,
        arXiv 2401.05402, table 3.
    """

    n_features = 256
    layer = "mean over the atoms, input of the last linear layer"
    install = "alignn"

    def __init__(self) -> None:
        pretrained = import_module("alignn.pretrained")
        with redirect_stdout(io.StringIO()):  # it tells its configuration on stdout
            self._model = pretrained.get_figshare_model(MODEL).to("cpu").eval()
        weights = hashlib.sha256()
        for name, tensor in sorted(self._model.state_dict().items()):
            weights.update(name.encode() + tensor.cpu().numpy().tobytes())
        self._identity = ForceFieldIdentity(
            name="alignn",
            version=MODEL,
            weights_sha256=weights.hexdigest(),
            package=f"alignn {version('alignn')}",
        )

    @property
    def identity(self) -> ForceFieldIdentity:
        """Which network this is; the hash is that of the tensors, since the package removes the file."""
        return self._identity

    @property
    def known_elements(self) -> frozenset[int]:
        """The elements of its table of atomic properties."""
        return frozenset(range(1, 101))

    def refusal(self, crystal: Crystal) -> str:
        """Say why this crystal cannot be computed; "" if it can be tried."""
        if foreign := sorted(set(crystal.atomic_numbers.tolist()) - self.known_elements):
            return f"unknown to alignn: Z = {', '.join(map(str, foreign))}"
        return check_structures([crystal])[0].reason

    def compute(self, crystals: Sequence[Crystal]) -> Features:
        """Compute crystals one by one."""
        values = np.full((len(crystals), self.n_features), np.nan)
        reasons = [""] * len(crystals)
        hook = self._model.fc.register_forward_pre_hook(self._keep)
        try:
            for place, crystal in enumerate(crystals):
                try:
                    values[place] = self._features_of(crystal)
                except Exception as error:  # the packages below give up by any of many types
                    reasons[place] = f"alignn: {type(error).__name__}"
        finally:
            hook.remove()
        return Features(values=values, reasons=reasons)

    def _keep(self, _: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        self._kept = inputs[0].detach().double().cpu().numpy().reshape(-1)

    def _features_of(self, crystal: Crystal) -> np.ndarray:
        from ase.data import chemical_symbols

        atoms = import_module("jarvis.core.atoms").Atoms(
            lattice_mat=crystal.lattice,
            coords=crystal.frac_coords,
            elements=[chemical_symbols[z] for z in crystal.atomic_numbers],
            cartesian=False,
        )
        graph = import_module("alignn.graphs").Graph
        graphs = graph.atom_dgl_multigraph(atoms, cutoff=CUTOFF, max_neighbors=MAX_NEIGHBORS)
        with torch.no_grad():
            self._model([*graphs, torch.tensor(atoms.lattice_mat)])
        return self._kept
