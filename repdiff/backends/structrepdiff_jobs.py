"""What StructRepDiff learns from an encoded set: models with their data, ready to be trained or tuned."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from descriptors.normalization import Normalizer
from repdiff.backends.base import TrainingJob
from repdiff.backends.options import explain
from repdiff.backends.properties import fresh_properties, label_inputs
from repdiff.backends.protostructure_wishes import WISHES
from repdiff.backends.refusals import seen_only
from repdiff.backends.structrepdiff_model import GIVEN, GenerativeModel
from repdiff.backends.structrepdiff_stages import (
    formula_stage,
    protostructure_model,
    protostructure_stage,
    symmetric_rows,
)
from repdiff.backends.structrepdiff_training import VectorData, VectorTraining
from repdiff.crystals.crystal import Crystal
from repdiff.diffusion.build import ModelSettings, build_diffusion
from repdiff.diffusion.ddpm import DiffusionSettings, VectorDiffusion
from repdiff.errors import UserError
from repdiff.networks.base import DENOISERS, DenoiserSettings, parse_denoiser
from repdiff.networks.crystal import AdapterInput
from repdiff.networks.property_adapters import Labels
from repdiff.networks.property_embedding import PropertyEmbedding, built, describe
from repdiff.networks.protostructure.encoder import ProtostructureEncoderSettings
from repdiff.representations.encoded_set import EncodedSet
from repdiff.representations.symmetric_scale import SymmetricScale
from repdiff.representations.symmetric_vectors import CELL, symmetric_blocks, to_symmetric_vectors
from repdiff.settings.backends.structrepdiff import StructRepDiffTraining
from repdiff.symmetry import SymmetryTable
from repdiff.symmetry.templates import TemplateLibrary

EXACT_BLOCKS = ("composition", "n_atoms")  # discrete: no tails in their normalisation
SYMMETRIC_WEIGHTS = {CELL: 10.0}  # seven features among hundreds, on which the search depends most
FIRST_SHARE = 0.5  # of the minutes of a fine-tuning, for the model of protostructures


@dataclass(frozen=True, kw_only=True)
class _SymmetricSet:
    """Crystals with a protostructure, by split.

    Attributes:
        crystals: The crystals.
        symmetry: Their protostructures and cells.
        known: The protostructures, encoded.
        vectors: What is left of the representations, in physical units.
    """

    crystals: Mapping[str, list[Crystal]]
    symmetry: Mapping[str, SymmetryTable]
    known: Mapping[str, Tensor]
    vectors: Mapping[str, Tensor]

    @classmethod
    def of(cls, encoded: EncodedSet) -> "_SymmetricSet":
        rows = symmetric_rows(encoded)
        assert encoded.symmetry is not None
        symmetry = {split: encoded.symmetry.rows(some) for split, some in rows.items()}
        representation = encoded.layout.representation()
        return cls(
            crystals={split: [encoded.crystals[row] for row in some] for split, some in rows.items()},
            symmetry=symmetry,
            known={split: table.tensors()["protostructures"] for split, table in symmetry.items()},
            vectors={
                split: to_symmetric_vectors(encoded.representations[some], symmetry[split], representation)
                for split, some in rows.items()
            },
        )

    def labels(
        self, properties: Mapping[str, PropertyEmbedding], fresh: Collection[str]
    ) -> dict[str, dict[str, AdapterInput]]:
        """Read the labels of properties, by split."""
        return {split: label_inputs(properties, fresh, some) for split, some in self.crystals.items()}

    def data(self, scale: SymmetricScale, n_features: int, labels: Mapping[str, Labels]) -> list[VectorData]:
        """Return the vectors that the diffusion learns: for training, and for validation."""
        return [
            VectorData(
                what,
                scale.normalize(self.vectors[split], self.known[split]),
                n_features=n_features,
                protostructures=self.known[split],
                labels=labels[split],
            )
            for what, split in (("training", "train"), ("validation", "val"))
        ]


def symmetric_job(encoded: EncodedSet, options: StructRepDiffTraining, *, seed: int) -> TrainingJob:
    """Learn protostructures first, then what is left of the vectors."""
    _check_names("condition_on", options.condition_on)
    found = _SymmetricSet.of(encoded)
    elements = encoded.layout.elements
    vectors, known = found.vectors, found.known
    scale = SymmetricScale.fit((vectors["train"], known["train"]), (vectors["val"], known["val"]), elements)
    properties = fresh_properties(options.condition_on, found.crystals["train"], elements, seed=seed)
    labels = found.labels(properties, options.condition_on)
    encoder = ProtostructureEncoderSettings(elements=elements, width=options.encoder_width)
    weighted = options.model_copy(update={"block_weights": SYMMETRIC_WEIGHTS | options.block_weights})
    diffusion = _build(
        symmetric_blocks(encoded.layout.representation()),
        weighted,
        seed=seed,
        encoder=encoder,
        properties=describe(properties),
    )
    names = [crystal.id for crystal in found.crystals["train"]]
    library = TemplateLibrary.of(names, found.symmetry["train"])
    tensors, metadata = GenerativeModel.stored(scale, encoded.layout, library)
    training, validation = found.data(scale, diffusion.n_features, labels)
    model = protostructure_model(
        [one for one in found.symmetry["train"].protostructures if one is not None],
        elements,
        options.protostructure_options,
        properties,
        seed=seed,
    )
    return TrainingJob(
        model=VectorTraining(diffusion, dropout=options.condition_dropout),
        training=training,
        validation=validation,
        metadata=metadata,
        tensors=tensors,
        first=protostructure_stage(
            model,
            found.symmetry,
            labels,
            share=options.first_share,
            dropout=options.condition_dropout,
        ),
        n_labelled=_n_labelled(labels["train"]),
    )


def finetuning_job(
    encoded: EncodedSet,
    model: GenerativeModel,
    base: Path,
    *,
    names: Sequence[str],
    weights: Literal["all", "adapters"],
    dropout: float,
    seed: int,
) -> TrainingJob:
    """Teach a trained model properties, both what draws protostructures and the diffusion.

    Raises:
        UserError: If the model draws no protostructures, has one of the properties, or the crystals do not suit it.
    """
    _check_names("property", names)
    if model.protostructures is None or not isinstance(model.scale, SymmetricScale):
        raise UserError(
            f"{base} draws no protostructures, which properties are learnt with: train a model with `compositions` "
            "'protostructure'"
        )
    if there := [name for name in names if name in model.properties]:
        raise UserError(f"{base} has an adapter for {there[0]} already, expected another property")
    _check_layout(encoded, model, base)
    found, elements = _SymmetricSet.of(encoded), model.layout.elements
    fresh = fresh_properties(names, found.crystals["train"], elements, seed=seed)
    properties = {**model.properties, **fresh}
    labels = found.labels(properties, names)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for part in (model.diffusion, model.protostructures):
            part.add_properties(built(describe(fresh)))
    tensors, metadata = GenerativeModel.stored(model.scale, model.layout, model.library)
    training, validation = found.data(model.scale, model.diffusion.n_features, labels)
    if weights == "adapters":
        _freeze_all_but(model.diffusion, model.diffusion.adapters)
        _freeze_all_but(model.protostructures, model.protostructures.conditions)
    stage = protostructure_stage(
        model.protostructures.train(), found.symmetry, labels, share=FIRST_SHARE, dropout=dropout
    )
    return TrainingJob(
        model=VectorTraining(model.diffusion.train(), dropout=dropout),
        training=training,
        validation=validation,
        metadata=metadata,
        tensors=tensors,
        first=stage,
        n_labelled=_n_labelled(labels["train"]),
    )


def plain_job(encoded: EncodedSet, options: StructRepDiffTraining, *, seed: int) -> TrainingJob:
    """Learn whole vectors, formulas before them or together with the rest."""
    if options.condition_on:
        raise UserError(
            f"`condition_on` is {','.join(options.condition_on)}, expected it with `compositions` 'protostructure' only"
        )
    vectors = {split: encoded.representations[encoded.rows(split)] for split in ("train", "val")}
    representation = encoded.layout.representation()
    exact = torch.zeros(representation.n_features, dtype=torch.bool)
    for block in EXACT_BLOCKS:
        exact[representation.blocks[block]] = True
    normalizer = Normalizer.fit(vectors["train"], exact=exact)
    given = GIVEN if options.compositions == "first" else ()
    diffusion = _build(representation.blocks, options, seed=seed, given=given)
    first = None
    if options.compositions == "first":
        counts = {split: _counts(part, representation.blocks) for split, part in vectors.items()}
        first = formula_stage(counts, encoded.layout.elements, share=options.first_share, seed=seed)
    tensors, metadata = GenerativeModel.stored(normalizer, encoded.layout)
    n_features = diffusion.n_features
    return TrainingJob(
        model=VectorTraining(diffusion),
        training=VectorData("training", normalizer.normalize(vectors["train"]), n_features=n_features),
        validation=VectorData("validation", normalizer.normalize(vectors["val"]), n_features=n_features),
        metadata=metadata,
        tensors=tensors,
        first=first,
    )


def _build(
    blocks: Mapping[str, slice],
    options: StructRepDiffTraining,
    *,
    seed: int,
    given: tuple[str, ...] = (),
    encoder: ProtostructureEncoderSettings | None = None,
    properties: Mapping[str, dict[str, Any]] | None = None,
) -> VectorDiffusion:
    """Build the network and its diffusion; all that options can get wrong is found here."""
    model = ModelSettings(
        n_features=max(part.stop for part in blocks.values()),
        blocks={name: (part.start, part.stop) for name, part in blocks.items()},
        diffusion=options.part(DiffusionSettings).model_copy(update={"given": given}),
        denoiser=_denoiser_settings(options),
        encoder=encoder,
        properties=dict(properties) if properties else None,
    )
    return build_diffusion(model, seed=seed)


def _denoiser_settings(options: StructRepDiffTraining) -> DenoiserSettings:
    try:
        chosen = parse_denoiser({"name": options.denoiser, **options.denoiser_options})
    except ValidationError as error:
        raise UserError(explain(error, DENOISERS[options.denoiser].Settings, "denoiser option")) from error
    except ValueError as error:
        raise UserError(str(error)) from error
    assert isinstance(chosen, DenoiserSettings)
    return chosen


def _check_names(setting: str, names: Sequence[str]) -> None:
    """Refuse properties that need not be learnt.

    Raises:
        UserError: If there is one, or one is named twice.
    """
    if len(set(names)) < len(names):
        raise UserError(f"`{setting}` is {','.join(names)}, expected each name once")
    if exact := [name for name in names if name in WISHES]:
        raise UserError(
            f"`{setting}` names {exact[0]}, which structrepdiff satisfies exactly without learning it: ask for it when "
            "you sample"
        )


def _check_layout(encoded: EncodedSet, model: GenerativeModel, base: Path) -> None:
    """Refuse crystals that were encoded otherwise than those of a model, or have other elements.

    Raises:
        UserError: If so.
    """
    theirs, own = encoded.layout, model.layout
    for name in ("descriptor", "descriptor_settings", "niggli"):
        if getattr(theirs, name) != getattr(own, name):
            raise UserError(
                f"the crystals were encoded with {name} {getattr(theirs, name)}, {base} with {getattr(own, name)}: "
                "encode them alike"
            )
    seen_only([dict.fromkeys(theirs.elements, 1)], own.elements)


def _freeze_all_but(module: nn.Module, part: nn.Module | None) -> None:
    """Let training change one part of a module alone."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    for parameter in () if part is None else part.parameters():
        parameter.requires_grad_(True)


def _n_labelled(labels: Labels) -> dict[str, int]:
    return {name: int(label.has_label.sum()) for name, label in labels.items()}


def _counts(vectors: Tensor, blocks: dict[str, slice]) -> Tensor:
    """Read integer formulas off exact vectors."""
    return (vectors[:, blocks["composition"]] * vectors[:, blocks["n_atoms"]]).round().long()
