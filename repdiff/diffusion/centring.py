"""Crystals as a whole neither move nor are moved: what is done to their atoms has no mean."""

from jaxtyping import Float
from torch import Tensor

from descriptors.batch import CrystalBatch


def centred(values: Float[Tensor, "n_atoms n"], batch: CrystalBatch) -> Float[Tensor, "n_atoms n"]:
    """Subtract from the vectors of atoms their mean over each crystal."""
    sums = values.new_zeros(batch.n_systems, values.shape[1]).index_add(0, batch.system_idx, values)
    return values - (sums / batch.n_atoms_per_system[:, None])[batch.system_idx]
