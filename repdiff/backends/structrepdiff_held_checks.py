"""What of held parts a model refuses, before anything is drawn."""

from collections.abc import Mapping, Sequence
from typing import Any

from repdiff.backends.held_columns import held_columns
from repdiff.backends.structrepdiff_held import HeldParts
from repdiff.backends.structrepdiff_model import GIVEN, GenerativeModel
from repdiff.conditions.held import OF_CELL, check_part
from repdiff.diffusion.inpainting import check_sampler
from repdiff.errors import UserError
from repdiff.settings.backends.structrepdiff import StructRepDiffSampling
from repdiff.settings.conditions import HELD


def check_held(
    model: GenerativeModel, conditions: Mapping[str, Any] | None, sampling: StructRepDiffSampling
) -> None:
    """Refuse held parts that a model does not draw, and samplers that cannot hold any.

    Raises:
        UserError: If there are such.
    """
    held = HeldParts.of(conditions, model.layout, model.scale)
    if held is None:
        return
    check_sampler(sampling.sampler)
    for part in held.parts:
        _refuse_given(model, part.part, part.block)


def without_held(conditions: Mapping[str, Any] | None) -> dict[str, Any]:
    """Leave held parts out of conditions."""
    return {name: value for name, value in (conditions or {}).items() if not name.startswith(HELD)}


def check_parts_of_parents(
    model: GenerativeModel, parts: Sequence[str], keep: str, sampling: StructRepDiffSampling
) -> None:
    """Refuse parts of parents that variations cannot hold.

    Raises:
        UserError: If there are such.
    """
    if not parts:
        return
    check_sampler(sampling.sampler)
    symmetric = model.protostructures is not None
    taken: dict[int, str] = {}
    for part in parts:
        block, _ = check_part(part)
        _refuse_given(model, part, block)
        columns = held_columns(part, model.layout, symmetric=symmetric)
        if not columns:
            raise UserError(f"`hold` gives {part}, which the protostructure decides: give `keep` composition")
        if unlike := sorted({taken[one] for one in columns if one in taken}):
            raise UserError(f"`hold` gives {part} and {unlike[0]}, which have entries in common")
        taken |= dict.fromkeys(columns, part)
        if symmetric and block in OF_CELL and keep != "protostructure":
            raise UserError(
                f"`hold` gives {part} and `keep` is {keep}, which changes the space group: give `keep` protostructure"
            )


def _refuse_given(model: GenerativeModel, part: str, block: str) -> None:
    """Refuse what a model of formulas decides before vectors are drawn."""
    if model.compositions is not None and block in GIVEN:
        raise UserError(
            f"`hold` gives {part}, which this model of formulas draws first: ask for formulas by `composition`, or use "
            "a model trained with `compositions` 'protostructure' or 'joint'"
        )
