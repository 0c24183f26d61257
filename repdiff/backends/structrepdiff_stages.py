"""What StructRepDiff learns before the vectors: protostructures, or formulas alone."""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Int
from pydantic import ValidationError
from torch import Tensor

from descriptors.symmetry.protostructure import Protostructure
from repdiff.backends.base import FirstStage
from repdiff.backends.options import explain
from repdiff.errors import UserError
from repdiff.execution.progress import progress_bar
from repdiff.networks.composition import CompositionModel, CompositionModelSettings
from repdiff.networks.protostructure import ProtostructureModel, ProtostructureModelSettings
from repdiff.networks.protostructure.prototypes import PrototypeTable
from repdiff.networks.protostructure.sizes import SizeTable
from repdiff.representations.encoded_set import EncodedSet
from repdiff.symmetry import SymmetryTable
from repdiff.training.composition import CompositionData, CompositionTraining
from repdiff.training.protostructures import ProtostructureData, ProtostructureTraining

PROTOSTRUCTURES, COMPOSITIONS = "protostructures", "compositions"
MAX_EPOCHS, MAX_EPOCHS_OF_FORMULAS = 100, 40
OF_PROTOSTRUCTURES: Mapping[str, Any] = {
    "learning_rate": 1e-3,
    "weight_decay": 0.01,
    "validate_every": 100,
    "ema_decay": 0.998,
}
OF_FORMULAS: Mapping[str, Any] = {**OF_PROTOSTRUCTURES, "learning_rate": 2e-3}
log = logging.getLogger(__name__)


def symmetric_rows(encoded: EncodedSet) -> dict[str, list[int]]:
    """Return the rows of training and validation that have a protostructure, and say how many have none.

    Raises:
        UserError: If protostructures were not read, or no training crystal has one.
    """
    if encoded.symmetry is None:
        raise UserError(
            "the data set was encoded without protostructures: encode it again, or train with `compositions` 'first'"
        )
    known = set(encoded.symmetry.known)
    rows = {split: encoded.rows(split) for split in ("train", "val")}
    kept = {split: [row for row in rows[split] if row in known] for split in rows}
    if not kept["train"]:
        raise UserError(
            "no training crystal has a protostructure within the tolerance: encode with another `symprec`, or train "
            "with `compositions` 'first'"
        )
    for split, some in rows.items():
        if n_lost := len(some) - len(kept[split]):
            log.warning(
                "%d of %d crystals of split %s have no protostructure and are left out; the first: %s",
                n_lost, len(some), split, next(encoded.crystals[row].id for row in some if row not in known),
            )  # fmt: skip
    return kept


def protostructure_stage(
    symmetry: Mapping[str, SymmetryTable],
    elements: tuple[int, ...],
    options: Mapping[str, Any],
    *,
    share: float,
    seed: int,
) -> FirstStage:
    """Prepare the model of protostructures.

    Args:
        symmetry: Tables of "train" and "val"; all rows have a protostructure.
        elements: Atomic numbers that may occur, ascending.
        options: Settings of the model that differ from its defaults.
        share: Share of the training minutes.
        seed: Seed of the initial weights.

    Raises:
        UserError: If an option does not fit.
    """
    try:
        settings = ProtostructureModelSettings.model_validate(dict(options))
    except ValidationError as error:
        raise UserError(explain(error, ProtostructureModelSettings, "protostructure option")) from error
    known = {split: _present(table) for split, table in symmetry.items()}
    shown = progress_bar(known["train"], desc="orbits", unit="crystal")
    sizes = SizeTable.of(known["train"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ProtostructureModel(settings, elements, sizes, PrototypeTable.of(known["train"]))
    inside = [
        one for one in known["val"] if one.n_atoms() <= sizes.n_max and len(one.elements) <= sizes.k_max
    ]

    return FirstStage(
        name=PROTOSTRUCTURES,
        model=ProtostructureTraining(model),
        training=ProtostructureData(model.coder.encode(shown)),
        validation=ProtostructureData(model.coder.encode(inside)),
        share=share,
        max_epochs=MAX_EPOCHS,
        settings=OF_PROTOSTRUCTURES,
    )


def formula_stage(
    counts: Mapping[str, Int[Tensor, "n n_elements"]], elements: tuple[int, ...], *, share: float, seed: int
) -> FirstStage:
    """Prepare the model of formulas.

    Args:
        counts: Atoms of each element in the crystals of "train" and "val".
        elements: Atomic numbers of the columns, ascending.
        share: Share of the training minutes.
        seed: Seed of the initial weights.

    Raises:
        UserError: If there is no training crystal.
        ValueError: If a row is no composition.
    """
    training = CompositionData("training", counts["train"], elements)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CompositionModel(CompositionModelSettings(), elements, torch.bincount(counts["train"].sum(1)))
    inside = counts["val"][counts["val"].sum(1) <= model.n_max]

    return FirstStage(
        name=COMPOSITIONS,
        model=CompositionTraining(model),
        training=training,
        validation=CompositionData("validation", inside, elements),
        share=share,
        max_epochs=MAX_EPOCHS_OF_FORMULAS if len(elements) > 1 else 1,  # one element leaves nothing to learn
        settings=OF_FORMULAS,
    )


def _present(table: SymmetryTable) -> list[Protostructure]:
    return [one for one in table.protostructures if one is not None]
