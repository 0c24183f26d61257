"""Weights of networks in a quarter of their bytes: matrices in eight bits, with a scale for each row, the rest in half.

A number w of a row becomes the whole number nearest to w / s, where s is the row's largest magnitude over 127, so that
it comes back within s / 2.
"""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

SCALE = "#scale"  # ends the name of the scales of a matrix
LEAST = 4096  # numbers of a matrix that is worth it
LEVELS = 127


def pack(tensors: Mapping[str, Tensor], *, exact: Collection[str] = ()) -> dict[str, Tensor]:
    """Shrink tensors of single precision.

    Args:
        tensors: The tensors of a model, by name.
        exact: Beginnings of the names of those that are left as they are.

    Raises:
        ValueError: If a number is too large for half precision.

    Example:
        >>> rows = torch.randn(64, 64)
        >>> packed = pack({"layer.weight": rows})
        >>> (unpack(packed)["layer.weight"] - rows).abs().max() <= rows.abs().max() / 2 / LEVELS
        tensor(True)
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32 or name.startswith(tuple(exact)):
            found[name] = tensor
        elif tensor.dim() >= 2 and tensor.numel() >= LEAST:
            scale = tensor.abs().flatten(1).amax(1) / LEVELS
            scale = torch.where(scale > 0, scale, torch.ones_like(scale))
            found[name] = (tensor / _beside(scale, tensor)).round().to(torch.int8)
            found[name + SCALE] = scale
        else:
            found[name] = tensor.half()
            if not found[name].isfinite().all():
                raise ValueError(f"{name} has values up to {tensor.abs().max():g}, expected at most 65504")
    return found


def unpack(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors in single precision, those that were never packed as they are."""
    found = {}
    for name, tensor in tensors.items():
        if (scale := tensors.get(name + SCALE)) is not None:
            found[name] = tensor * _beside(scale, tensor)
        elif not name.endswith(SCALE):
            found[name] = tensor.float() if tensor.dtype == torch.float16 else tensor
    return found


def _beside(scale: Tensor, tensor: Tensor) -> Tensor:
    return scale.reshape(-1, *[1] * (tensor.dim() - 1))
