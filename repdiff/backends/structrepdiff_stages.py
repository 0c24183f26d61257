"""What StructRepDiff learns before the vectors: protostructures, or formulas alone."""

import logging
from collections.abc import Mapping, Sequence
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
from repdiff.networks.crystal import AdapterInput
from repdiff.networks.property_adapters import Labels
from repdiff.networks.property_embedding import PropertyEmbedding
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


def protostructure_model(
    training: Sequence[Protostructure],
    elements: tuple[int, ...],
    options: Mapping[str, Any],
    properties: Mapping[str, PropertyEmbedding],
    *,
    seed: int,
) -> ProtostructureModel:
    """Build the model of protostructures.

    Args:
        training: Those of the training crystals.
        elements: Atomic numbers that may occur, ascending.
        options: Settings of the model that differ from its defaults.
        properties: Properties that it shall be told.
        seed: Seed of the initial weights.

    Raises:
        UserError: If an option does not fit.
    """
    try:
        settings = ProtostructureModelSettings.model_validate(dict(options))
    except ValidationError as error:
        raise UserError(explain(error, ProtostructureModelSettings, "protostructure option")) from error
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ProtostructureModel(settings, elements, SizeTable.of(training), PrototypeTable.of(training))
        if properties:
            model.add_properties(properties)
    return model


def protostructure_stage(
    model: ProtostructureModel,
    symmetry: Mapping[str, SymmetryTable],
    labels: Mapping[str, Labels],
    *,
    share: float,
    dropout: float = 0.0,
) -> FirstStage:
    """Prepare the training of a model of protostructures.

    Args:
        model: Model with its initial weights.
        symmetry: Tables of "train" and "val"; all rows have a protostructure. What is larger than the model knows is
            left out.
        labels: Known property labels of the same rows, by name.
        share: Share of the training minutes.
        dropout: Share of the examples that are shown without their labels.
    """

    def data(split: str, *, shown: bool = False) -> ProtostructureData:
        everything = [one for one in symmetry[split].protostructures if one is not None]
        rows = [row for row, one in enumerate(everything) if model.sizes.holds(one)]
        known = [everything[row] for row in rows]
        bar = progress_bar(known, desc="orbits", unit="crystal") if shown else known
        own = {
            name: AdapterInput(values=label.values[rows], has_label=label.has_label[rows])
            for name, label in labels[split].items()
        }
        places = None
        if own:
            places = torch.stack([model.sizes.places(known), model.prototypes.places(known)], 1)
        return ProtostructureData(model.coder.encode(bar), labels=own, places=places)

    return FirstStage(
        name=PROTOSTRUCTURES,
        model=ProtostructureTraining(model, dropout=dropout),
        training=data("train", shown=True),
        validation=data("val"),
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
