"""What networks are told about chemical elements."""

import math
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

UNKNOWN_ELECTRONEGATIVITY = 2.5  # so that light noble gases stand with the nonmetals
OXIDATION_STATES = range(-4, 8)
N_GROUPS, N_ROWS = 18, 7


@dataclass(frozen=True, kw_only=True)
class ElementTable:
    """What the model is told about the elements.

    Attributes:
        order: Columns of the composition block in the order of generation: ascending electronegativity
            (Pauling), ties by atomic number.
        properties: Properties of each element, in that order: one-hot group and row, f-block, electronegativity minus
            2, and which of the states -4 to 7 are common oxidation states.
    """

    order: Int[Tensor, " n_elements"]
    properties: Float[Tensor, "n_elements n_properties"]

    @classmethod
    def of(cls, elements: tuple[int, ...]) -> "ElementTable":
        """Look the elements up in pymatgen."""
        from pymatgen.core import Element

        rows, scale = [], []
        for number in elements:
            element = Element.from_Z(number)
            with warnings.catch_warnings():  # pymatgen warns that the light noble gases have none
                warnings.simplefilter("ignore")
                electronegativity = float(element.X)
            if not math.isfinite(electronegativity):
                electronegativity = UNKNOWN_ELECTRONEGATIVITY
            states = [state in element.common_oxidation_states for state in OXIDATION_STATES]
            scale.append(electronegativity)
            rows.append(
                [
                    *np.eye(N_GROUPS)[element.group - 1],
                    *np.eye(N_ROWS)[element.row - 1],
                    element.block == "f",
                    electronegativity - 2,
                    *states,
                ]
            )
        order = torch.from_numpy(np.lexsort((elements, scale)))
        return cls(order=order, properties=torch.tensor(np.array(rows), dtype=torch.float32)[order])
