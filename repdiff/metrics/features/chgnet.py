"""Features of CHGNet: what it knows of the atoms before it turns that into an energy, averaged over the cell."""

from collections.abc import Sequence

import torch

from repdiff.crystals.crystal import Crystal, to_batch
from repdiff.energies.chgnet import N_FEATURES, Chgnet
from repdiff.energies.relaxed import ForceFieldIdentity
from repdiff.metrics.features.base import EXTRACTORS, FeatureExtractor, Features


@EXTRACTORS.register("chgnet")
class ChgnetFeatures(FeatureExtractor):
    """64 numbers of CHGNet 0.3.0: the last vectors of the atoms, normalised by the network, and their mean.

    The package's own `crystal_fea` is their sum, which doubles with the cell.

    Source: Deng et al., Nature Machine Intelligence 5, 1031 (2023).
    """

    n_features = N_FEATURES
    layer = "mean over the atoms of the last vectors before the energy"
    install = "repdiff[relax]"

    def __init__(self) -> None:
        self._network = Chgnet(torch.device("cpu"))

    @property
    def identity(self) -> ForceFieldIdentity:
        """Which network this is."""
        return self._network.identity

    @property
    def known_elements(self) -> frozenset[int]:
        """The elements of its training set."""
        return self._network.known_elements

    def refusal(self, crystal: Crystal) -> str:
        """Say why this crystal cannot be computed; "" if it can be tried."""
        return self._network.refusal(crystal)

    def compute(self, crystals: Sequence[Crystal]) -> Features:
        """Compute a batch; an atom without neighbours has no answer."""
        batch = to_batch(crystals)
        atoms, problems = self._network.atom_features(batch)
        reasons = [problems.get(place, "") for place in range(len(crystals))]
        counts = batch.n_atoms_per_system
        good = torch.tensor([not reason for reason in reasons])
        values = torch.full((len(crystals), self.n_features), torch.nan, dtype=torch.float64)
        if good.any():
            owners = torch.repeat_interleave(torch.arange(int(good.sum())), counts[good])
            sums = torch.zeros(int(good.sum()), self.n_features, dtype=torch.float64)
            values[good] = sums.index_add_(0, owners, atoms) / counts[good, None]
        return Features(values=values.numpy(), reasons=reasons)
