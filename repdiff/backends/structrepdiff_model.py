"""A trained generator as a whole: what is drawn first, diffusion, normalisation and layout in one file."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descriptors.normalization import Normalizer
from descriptors.representation import Representation
from descriptors.symmetry.protostructure import Protostructure
from descriptors.symmetry.settings import canonical_setting
from descriptors.symmetry.symbols import MAX_ATOMIC_NUMBER
from repdiff.backends.conditions import LabelRequest
from repdiff.backends.known_protostructures import tells_known
from repdiff.backends.structrepdiff_held import HeldParts, encoded
from repdiff.backends.structrepdiff_stages import COMPOSITIONS, PROTOSTRUCTURES
from repdiff.diffusion.build import load_diffusion
from repdiff.diffusion.ddpm import VectorDiffusion
from repdiff.diffusion.samplers import SamplerSettings
from repdiff.diffusion.steering import Steering
from repdiff.errors import UserError
from repdiff.networks.composition import CompositionModel
from repdiff.networks.property_adapters import same_labels
from repdiff.networks.property_embedding import PropertyEmbedding
from repdiff.networks.protostructure import (
    ProtostructureModel,
    ProtostructureRequest,
    sample_protostructures,
)
from repdiff.representations.batch import RepresentationBatch
from repdiff.representations.layout import RepresentationSpec
from repdiff.representations.references import References, find_references
from repdiff.representations.symmetric_scale import SymmetricScale
from repdiff.representations.symmetric_vectors import from_symmetric_vectors, symmetric_blocks
from repdiff.runs.checkpoint import check_shapes, tensors_under
from repdiff.symmetry.templates import TemplateLibrary

TEMPLATES = "templates"
GIVEN = ("composition", "n_atoms")  # blocks that the composition model decides
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class GenerativeModel:
    """Draws representation vectors in physical units.

    Attributes:
        diffusion: Learned the normalised vectors.
        compositions: Draws the formula first, which the diffusion is then given; None if something else is.
        protostructures: Draws the protostructure first, which the diffusion is then given; None if something else is.
            With neither of the two, the diffusion draws all together, as in the paper.
        scale: Maps physical units to [0, 1] and back; a `SymmetricScale` where protostructures are drawn first.
        layout: What the columns of the vectors mean.
        library: Training crystals by prototype; None where protostructures are not drawn first.
    """

    diffusion: VectorDiffusion
    compositions: CompositionModel | None
    protostructures: ProtostructureModel | None
    scale: Normalizer | SymmetricScale
    layout: RepresentationSpec
    library: TemplateLibrary | None = None

    @property
    def properties(self) -> dict[str, PropertyEmbedding]:
        """Embeddings of the properties that were learnt, by name."""
        return {} if self.diffusion.adapters is None else self.diffusion.adapters.properties

    def sample(
        self,
        n: int,
        *,
        seed: int,
        sampler: SamplerSettings,
        first: int = 0,
        temperature: float = 1.0,
        element_temperature: float | None = None,
        counts: Int[Tensor, "n n_elements"] | None = None,
        held: HeldParts | None = None,
        steer: Callable[[Tensor | None], Steering] | None = None,
    ) -> RepresentationBatch:
        """Draw vectors number `first` to `first + n` of a seed, formulas first or all together, on the CPU.

        Args:
            n: Number of vectors.
            seed: Seed of the stream of vectors.
            sampler: How the diffusion samples.
            first: Number of the first within the stream.
            temperature: Sampling temperature of the composition model; below 1 it favours likelier formulas, with less
                variety.
            element_temperature: Sampling temperature of the elements alone; None for the same.
            counts: Formulas in the order of the layout's elements; None lets the composition model draw them.
            held: Parts of the vectors that are held.
            steer: Makes the goals of vectors, given what is decided of them; None for no goals.
        """
        assert isinstance(self.scale, Normalizer)
        decided = None
        if self.compositions is not None:
            if counts is None:
                generator = torch.Generator().manual_seed(seed)
                counts = self.compositions.sample(
                    n,
                    generator=generator,
                    first=first,
                    temperature=temperature,
                    element_temperature=element_temperature,
                )
            decided = self.as_given(counts)
        generator = torch.Generator(device=self.diffusion.device).manual_seed(seed)
        given = None if decided is None else self.scale.normalize(decided)
        fixed = None if held is None else held.of_whole(n)
        unit = self.diffusion.sample(
            n,
            generator=generator,
            sampler=sampler,
            first=first,
            given=given,
            held=None if fixed is None else fixed.scaled(self.scale.normalize(fixed.values)),
            steering=None if steer is None else steer(decided),
            progress=True,
        )
        vectors = self.scale.restore(unit.cpu())
        if fixed is not None:
            vectors = fixed.put_into(vectors)
        if decided is not None:  # the normaliser clips a frequency that no training crystal has
            for block in GIVEN:
                columns = self.layout.representation().blocks[block]
                vectors[:, columns] = decided[:, columns]
        return RepresentationBatch(vectors=vectors, layout=self.layout)

    def draw_protostructures(
        self,
        n: int,
        *,
        seed: int,
        first: int | Sequence[int] = 0,
        temperature: float = 1.0,
        element_temperature: float | None = None,
        prototype_share: float = 0.0,
        requests: Sequence[ProtostructureRequest] | None = None,
        new_only: bool = False,
        known: frozenset[Protostructure] = frozenset(),
        refused: list[Protostructure] | None = None,
        unwanted: Callable[[Protostructure], bool] | None = None,
        learnt: LabelRequest | None = None,
    ) -> list[Protostructure | None]:
        """Draw protostructures number `first` to `first + n` of a seed; None where a request could not be met.

        Each is in the first of its equivalent settings, as the vectors are learnt. What a training crystal has is drawn
        again if only new ones are wanted.

        Args:
            n: How many.
            seed: Seed of the stream.
            first: Number of the first within the stream, or the numbers of all.
            temperature: Sampling temperature.
            element_temperature: Sampling temperature of the elements alone; None for the same.
            prototype_share: Share of samples that begin with a prototype of the training set.
            requests: One for each; None to ask for nothing.
            new_only: Whether to draw again what training crystals have, as far as the model knows them.
            known: Further protostructures, canonical ones, that are drawn again.
            refused: What is drawn again because it is known is appended to it.
            unwanted: Tells what else is to be drawn again; None for nothing.
            learnt: Labels that are asked of all samples.
        """
        assert self.protostructures is not None
        generator = torch.Generator().manual_seed(seed)

        is_known = tells_known(self.library if new_only else None, known, refused)
        draws = sample_protostructures(
            self.protostructures,
            n,
            generator=generator,
            requests=requests,
            temperature=temperature,
            element_temperature=element_temperature,
            prototype_share=prototype_share,
            first=first,
            unwanted=either([is_known, unwanted]),
            labels=None if learnt is None else learnt.labels,
            guidance=1.0 if learnt is None else learnt.guidance,
        )
        if failed := [draw.reason for draw in draws if draw.protostructure is None]:
            log.warning("%d of %d samples have no protostructure; the first: %s", len(failed), n, failed[0])
        found = [draw.protostructure for draw in draws]
        return [None if one is None else canonical_setting(one, sheared=False)[0] for one in found]

    def sample_given(
        self,
        protostructures: Sequence[Protostructure | None],
        *,
        seed: int,
        sampler: SamplerSettings,
        first: int = 0,
        templates: bool = True,
        learnt: LabelRequest | None = None,
        held: HeldParts | None = None,
        steer: Callable[[Sequence[Protostructure], Tensor, References | None], Steering] | None = None,
    ) -> RepresentationBatch:
        """Draw the vectors that belong to protostructures, number `first` and on of a seed, on the CPU.

        Args:
            protostructures: One for each vector; where there is none, the vector is NaN.
            seed: Seed of the stream of vectors.
            sampler: How the diffusion samples.
            first: Number of the first within the stream.
            templates: Whether to draw vectors towards those of the nearest training crystals of their prototypes.
            learnt: Labels that are asked of all samples.
            held: Parts of the vectors that are held; vectors are then not drawn towards templates, which do not know
                of them, but the search still starts from their coordinates.
            steer: Makes the goals of vectors, given their protostructures, these encoded, and what they are drawn
                towards; None for no goals.
        """
        assert isinstance(self.scale, SymmetricScale)
        stand_in = next((one for one in protostructures if one is not None), None)
        if stand_in is None:
            nothing = torch.zeros(len(protostructures), self.diffusion.n_features)
            return from_symmetric_vectors(nothing, protostructures, self.layout)
        filled = [stand_in if one is None else one for one in protostructures]
        known = encoded(filled)
        generator = torch.Generator(device=self.diffusion.device).manual_seed(seed)
        fixed = None if held is None else held.of_symmetric(filled)
        asked = {} if learnt is None else same_labels(learnt.labels, len(filled), self.diffusion.device)
        references = None
        if self.library is not None and templates:
            references = find_references(self.library, protostructures, self.layout)
        unit = self.diffusion.sample(
            len(filled),
            generator=generator,
            sampler=sampler,
            first=first,
            protostructures=known,
            labels=asked,
            guidance=1.0 if learnt is None else learnt.guidance,
            held=None if fixed is None else fixed.scaled(self.scale.normalize(fixed.values, known)),
            steering=None if steer is None else steer(filled, known, references if fixed is None else None),
            progress=True,
        )
        vectors = self.scale.restore(unit.cpu(), known)
        if references is not None and fixed is None:
            vectors = references.draw(vectors)
        if fixed is not None:  # a template does not suit what is held, but its coordinates are a start
            vectors = fixed.put_into(vectors)
        drawn = from_symmetric_vectors(vectors, protostructures, self.layout)
        if self.library is None or references is None:
            return drawn
        assert drawn.symmetry is not None
        found = references.templates
        free = [None if one is None else torch.from_numpy(one.free) for one in found]
        return replace(
            drawn,
            symmetry=drawn.symmetry.with_coordinates(free),
            templates=tuple(None if one is None else self.library.names[one.row] for one in found),
        )

    def as_given(self, counts: Tensor) -> Float[Tensor, "n n_features"]:
        """Put formulas into vectors that hold nothing else."""
        representation = self.layout.representation()
        vectors = torch.zeros(len(counts), representation.n_features)
        total = counts.sum(1, keepdim=True)
        vectors[:, representation.blocks["composition"]] = counts / total
        vectors[:, representation.blocks["n_atoms"]] = total.float()
        return vectors

    @staticmethod
    def stored(
        scale: Normalizer | SymmetricScale,
        layout: RepresentationSpec,
        library: TemplateLibrary | None = None,
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the tensors and the metadata that go into every checkpoint beside the diffusion."""
        tensors = {f"normalizer.{name}": tensor for name, tensor in scale.tensors().items()}
        metadata: dict[str, Any] = {"layout": layout.model_dump(mode="json")}
        if library is not None:
            tensors |= {f"{TEMPLATES}.{name}": tensor for name, tensor in library.tensors().items()}
            metadata[TEMPLATES] = list(library.names)
        return tensors, metadata

    @classmethod
    def load(cls, path: Path, *, device: torch.device) -> "GenerativeModel":
        """Read a checkpoint of `repdiff train`: a run's folder or a file.

        Raises:
            UserError: If there is none, or it does not fit together, or its descriptor is not this version's.
        """
        diffusion, others, metadata = load_diffusion(path, device=device)
        try:
            layout = RepresentationSpec.model_validate(metadata["layout"])
            stored, _ = tensors_under("normalizer.", others)
            check_shapes(stored, _shapes_of_scale(stored, diffusion.n_features))
            scale = (
                Normalizer.from_tensors(stored)
                if diffusion.encoder is None
                else SymmetricScale.from_tensors(stored, layout.elements)
            )
            compositions = cls._compositions(others, metadata)
            protostructures = cls._protostructures(others, metadata)
            library = cls._library(others, metadata)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        except (KeyError, ValueError, RuntimeError) as error:  # pydantic's error is a ValueError
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{path}: not a model of `repdiff train` of this version; train it again ({reason})"
            ) from error
        try:
            representation = layout.representation()
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        _check_width(path, representation, diffusion)
        return cls(
            diffusion=diffusion,
            compositions=compositions,
            protostructures=protostructures,
            scale=scale,
            layout=layout,
            library=library,
        )

    @staticmethod
    def _library(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> TemplateLibrary | None:
        if metadata.get(TEMPLATES) is None:
            return None
        own, _ = tensors_under(f"{TEMPLATES}.", tensors)
        n = len(metadata[TEMPLATES])
        shapes = {"lengths": (n,), "cells": (n, 6), "volumes": (MAX_ATOMIC_NUMBER + 1,)}
        check_shapes(own, {**shapes, "protostructures": (None,), "free": (None,)})
        return TemplateLibrary.from_tensors(own, metadata[TEMPLATES])

    @staticmethod
    def _compositions(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> CompositionModel | None:
        if metadata.get(COMPOSITIONS) is None:
            return None
        own, _ = tensors_under(f"{COMPOSITIONS}.", tensors)
        n_elements = len(metadata[COMPOSITIONS]["elements"])
        check_shapes(own, {"order": (n_elements,), "properties": (n_elements, None), "size_counts": (None,)})
        return CompositionModel.from_tensors_and_metadata(own, metadata[COMPOSITIONS])

    @staticmethod
    def _protostructures(
        tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
    ) -> ProtostructureModel | None:
        if metadata.get(PROTOSTRUCTURES) is None:
            return None
        own, _ = tensors_under(f"{PROTOSTRUCTURES}.", tensors)
        n_elements = len(metadata[PROTOSTRUCTURES]["elements"])
        check_shapes(own, {"order": (n_elements,), "properties": (n_elements, None)})
        check_shapes(own, {"size_entries": (None, 3), "size_counts": (len(own["size_entries"]),)})
        check_shapes(own, {"prototype_counts": (len(metadata[PROTOSTRUCTURES]["prototypes"]),)})
        return ProtostructureModel.from_tensors_and_metadata(own, metadata[PROTOSTRUCTURES])


def either(
    tests: Sequence[Callable[[Protostructure], bool] | None],
) -> Callable[[Protostructure], bool] | None:
    """Return what tells whether any of some tests does; None if there are none."""
    given = [test for test in tests if test is not None]
    return (lambda one: any(test(one) for test in given)) if given else None


def _shapes_of_scale(tensors: Mapping[str, Tensor], n_features: int) -> dict[str, tuple[int | None, ...]]:
    """Return the shapes that the tensors of a scale must have."""
    shapes: dict[str, tuple[int | None, ...]] = dict.fromkeys(tensors, (n_features,))
    if "trend.weights" in tensors:
        shapes["trend.weights"] = (len(tensors["trend.center"]), n_features)
        shapes["trend.center"] = (None,)
    return shapes


def _check_width(path: Path, representation: Representation, diffusion: VectorDiffusion) -> None:
    expected = representation.n_features
    if diffusion.encoder is not None:
        expected = max(part.stop for part in symmetric_blocks(representation).values())
    if expected != diffusion.n_features:
        raise UserError(
            f"{path}: the model has {diffusion.n_features} features, its layout {expected}: the file is damaged, train "
            "again"
        )
