"""Covalent radii of the elements."""

import torch
from jaxtyping import Float
from torch import Tensor

from descriptors.symmetry.symbols import MAX_ATOMIC_NUMBER

# Index Z - 1, hydrogen to curium, Å: Cordero et al., Dalton Trans. 2008, 2832; of carbon the value of sp3, of
# manganese, iron and cobalt those of low spin. Beyond, where nothing is tabulated, that of curium.
COVALENT = (
    0.31, 0.28, 1.28, 0.96, 0.84, 0.76, 0.71, 0.66, 0.57, 0.58, 1.66, 1.41, 1.21, 1.11, 1.07, 1.05,
    1.02, 1.06, 2.03, 1.76, 1.7, 1.6, 1.53, 1.39, 1.39, 1.32, 1.26, 1.24, 1.32, 1.22, 1.22, 1.2,
    1.19, 1.2, 1.2, 1.16, 2.2, 1.95, 1.9, 1.75, 1.64, 1.54, 1.47, 1.46, 1.42, 1.39, 1.45, 1.44,
    1.42, 1.39, 1.39, 1.38, 1.39, 1.4, 2.44, 2.15, 2.07, 2.04, 2.03, 2.01, 1.99, 1.98, 1.98, 1.96,
    1.94, 1.92, 1.92, 1.89, 1.9, 1.87, 1.87, 1.75, 1.7, 1.62, 1.51, 1.44, 1.41, 1.36, 1.36, 1.32,
    1.45, 1.46, 1.48, 1.4, 1.5, 1.5, 2.6, 2.21, 2.15, 2.06, 2.0, 1.96, 1.9, 1.87, 1.8, 1.69,
)  # fmt: skip


def covalent_radii() -> Float[Tensor, "119"]:
    """Return the covalent radius of each element by atomic number, Å; entry 0 is 0.

    >>> covalent_radii()[[1, 8, 26]].tolist()
    [0.3100000023841858, 0.6600000262260437, 1.3200000524520874]
    """
    beyond = (MAX_ATOMIC_NUMBER - len(COVALENT)) * COVALENT[-1:]
    return torch.tensor((0.0, *COVALENT, *beyond))
