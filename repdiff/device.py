"""From a word to a torch device."""

import torch

from repdiff.errors import UserError


def choose_device(name: str) -> torch.device:
    """Return the device that "auto", "cpu", "cuda" or "cuda:N" stands for; auto takes a GPU if there is one.

    Raises:
        UserError: If there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"device is {name!r}, expected auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"device is {name!r}, but torch sees {torch.cuda.device_count()} GPUs here: use --device cpu"
        )
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device is {name!r}, expected auto, cpu, cuda or cuda:N")
    return device
