"""All force fields that come with this package, and how to load one by its name."""

import torch

from descriptors.registry import unknown
from repdiff.energies import chgnet, sevennet
from repdiff.energies.base import FORCE_FIELDS, ForceField
from repdiff.errors import UserError

__all__ = ["FORCE_FIELDS", "chgnet", "load_force_field", "sevennet"]


def load_force_field(name: str, device: torch.device | None = None) -> ForceField:
    """Load a registered force field.

    Raises:
        UserError: If there is none of that name, or its package is not installed.
    """
    if name not in FORCE_FIELDS:
        raise UserError(unknown("force field", name, FORCE_FIELDS))
    kind = FORCE_FIELDS[name]
    try:
        return kind(device or torch.device("cpu"))
    except ImportError as error:
        raise UserError(
            f"force field {name!r} needs the package {kind.package}, which cannot be imported ({error}): "
            "pip install repdiff[relax]"
        ) from error
