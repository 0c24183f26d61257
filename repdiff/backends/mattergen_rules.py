"""What the MatterGen-style model honours exactly: elements that are ruled out, and numbers of atoms."""

from collections.abc import Mapping

import torch
from jaxtyping import Int
from torch import Tensor

from repdiff.conditions import Condition
from repdiff.conditions.kinds import Learnt, Numbers, system_text
from repdiff.diffusion.joint import JointDiffusion
from repdiff.diffusion.joint_process import State
from repdiff.diffusion.masked_types import only_these
from repdiff.diffusion.predictor_corrector import Predict, Prediction
from repdiff.errors import UserError
from repdiff.networks.random_streams import FORMULA, stream


def elements_left(diffusion: JointDiffusion, wanted: Mapping[str, Condition]) -> list[int]:
    """Return the elements that may be drawn.

    Raises:
        UserError: If none is left.
    """
    rules = [one for one in wanted.values() if one.name in ("elements_allowed", "elements_excluded")]
    known = diffusion.elements.tolist()
    left = [number for number in known if all(one.allows_formula({number: 1}) for one in rules)]
    if not left:
        raise UserError(f"no element of the training data is left, expected some of {system_text(known)}")
    return left


def only_elements(diffusion: JointDiffusion, predict: Predict, wanted: Mapping[str, Condition]) -> Predict:
    """Rule out the elements that may not be drawn."""
    allowed = elements_left(diffusion, wanted)
    if len(allowed) == len(diffusion.elements):
        return predict

    def ruled(state: State, time: int) -> Prediction:
        belief = predict(state, time)
        return belief._replace(logits=only_these(belief.logits, diffusion.elements, allowed))

    return ruled


def sizes_left(sizes: Int[Tensor, " n_crystals"], wanted: Mapping[str, Condition]) -> Int[Tensor, " n_left"]:
    """Return the numbers of atoms of training crystals that may be drawn.

    Raises:
        UserError: If none is left.
    """
    asked = wanted.get("n_atoms")
    if not isinstance(asked, Numbers):
        return sizes
    kept = sizes[torch.isin(sizes, torch.tensor(sorted(asked.numbers)))]
    if not len(kept):
        raise UserError(
            f"`n_atoms` is {asked.text}, expected numbers that training crystals have, {int(sizes.min())} to "
            f"{int(sizes.max())}"
        )
    return kept


def draw_size(sizes: Int[Tensor, " n_crystals"], seed: int, number: int) -> int:
    """Return one of several numbers of atoms, the same for the same seed and number of the sample."""
    return int(sizes[int(stream(seed, number, FORMULA).integers(len(sizes)))])


def as_property(condition: Condition) -> object:
    """Return a condition as properties are asked for: the value of a label, the number of a group, a system as text."""
    if isinstance(condition, Learnt):
        return condition.value
    if isinstance(condition, Numbers) and len(condition.numbers) == 1:
        return next(iter(condition.numbers))
    return condition.text
