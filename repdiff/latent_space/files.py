"""The file that holds latent vectors, and the names of the crystals that they are of."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from repdiff.errors import DamagedError
from repdiff.runs.checkpoint import load_checkpoint, save_checkpoint

LATENTS = "latents.safetensors"
KIND = "latents"


def write_latents(
    folder: Path, tensors: Mapping[str, Float[Tensor, "n n_latent"]], ids: Sequence[str]
) -> None:
    """Write latent vectors, whole or not at all.

    Args:
        folder: Folder of the run.
        tensors: "latents", and others of the same crystals.
        ids: Names of the crystals, in their order.
    """
    save_checkpoint(folder / LATENTS, tensors, {"ids": list(ids)}, kind=KIND)


def read_latents(folder: Path) -> tuple[dict[str, Float[Tensor, "n n_latent"]], list[str]]:
    """Read what `write_latents` wrote: the tensors, and the names.

    Raises:
        UserError: If there is no such file, or it is damaged.
    """
    tensors, metadata = load_checkpoint(folder / LATENTS, kind=KIND)
    ids = metadata.get("ids")
    if "latents" not in tensors or not isinstance(ids, list) or len(ids) != len(tensors["latents"]):
        raise DamagedError(f"{folder / LATENTS}: damaged, expected latent vectors and their names")
    return tensors, ids
