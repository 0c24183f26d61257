"""StructRepDiff: diffusion of representation vectors, which are inverted into crystals afterwards.

Source: arXiv 2408.07213; by default a separate model samples the protostructure first, and the diffusion is conditioned
on it.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor

from descriptors.normalization import Normalizer
from descriptors.symmetry.protostructure import Protostructure
from descriptors.symmetry.settings import canonical_setting
from repdiff.backends.asked_of_backend import own_conditions
from repdiff.backends.base import (
    BACKENDS,
    Backend,
    Samples,
    TrainingJob,
    check_compositions,
    check_steps,
    chosen_keep,
    formulas_asked,
    refuse_conditions,
    refuse_protostructures,
)
from repdiff.backends.examples import read_each
from repdiff.backends.options import explain, parse_options
from repdiff.backends.protostructure_wishes import HONOURED, read_wishes, unwanted_formulas
from repdiff.backends.ranked_draws import Draw, RankedSamples, block_sizes, keep_all, rank_draws
from repdiff.backends.ranking import Ranker
from repdiff.backends.structrepdiff_model import GIVEN, GenerativeModel
from repdiff.backends.structrepdiff_stages import formula_stage, protostructure_stage, symmetric_rows
from repdiff.backends.structrepdiff_training import VectorData, VectorTraining
from repdiff.backends.structrepdiff_variations import (
    Variation,
    kept_by,
    largest,
    refuse_wishes,
    vary_vectors,
)
from repdiff.conditions import How, honoured
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.formula import Composition, count_elements
from repdiff.diffusion.build import KIND, ModelSettings, build_diffusion
from repdiff.diffusion.ddpm import DiffusionSettings, VectorDiffusion
from repdiff.diffusion.noise_level import NoiseLevel, check_strength
from repdiff.diffusion.samplers import SamplerSettings
from repdiff.errors import UserError
from repdiff.networks.base import DENOISERS, DenoiserSettings, parse_denoiser
from repdiff.networks.protostructure import ProtostructureRequest
from repdiff.networks.protostructure.encoder import ProtostructureEncoderSettings
from repdiff.networks.protostructure.request import choices
from repdiff.representations.encoded_set import EncodedSet
from repdiff.representations.symmetric_scale import SymmetricScale
from repdiff.representations.symmetric_vectors import CELL, symmetric_blocks, to_symmetric_vectors
from repdiff.settings.backends.structrepdiff import StructRepDiffSampling, StructRepDiffTraining
from repdiff.symmetry.templates import TemplateLibrary

EXACT_BLOCKS = ("composition", "n_atoms")  # discrete: no tails in their normalisation
SYMMETRIC_WEIGHTS = {CELL: 10.0}  # seven features among hundreds, on which the search depends most
PROTOTYPE_SHARE = 0.75  # of samples that begin with a prototype of the training set
NO_LIBRARY = (
    "`new_only` is given, but the model does not know which protostructures its training crystals have: train one with "
    "`compositions` 'protostructure'"
)
NO_RANKER = (
    "`keep_best` is given, and no model to rank by; models of `repdiff train` cannot rank by themselves: train a "
    "ranking model with `repdiff rank` (from Python `rd.train_ranker`), and name it by `ranker`"
)
NEEDS_PROTOSTRUCTURES = (
    "which a model needs protostructures for: train one with `compositions` 'protostructure'"
)
log = logging.getLogger(__name__)


@BACKENDS.register("structrepdiff")
class StructRepDiff(Backend):
    """Diffusion in representation space."""

    description = "diffusion of invariant representations (EAD, composition, cell), inverted by a search"
    makes = "representations"
    conditions = HONOURED
    kind = KIND
    training_options, sampling_options = StructRepDiffTraining, StructRepDiffSampling
    varies = True

    def __init__(self, model: GenerativeModel) -> None:
        self.model = model
        self._rankers: dict[Path, Ranker] = {}

    @classmethod
    def prepare(
        cls,
        encoded: EncodedSet,
        *,
        options: BaseModel | Mapping[str, Any] | None = None,
        seed: int = 0,
        folder: Path,
    ) -> TrainingJob:
        """Prepare the model of what is drawn first, unless all is learnt jointly, and build the diffusion."""
        chosen = parse_options(StructRepDiffTraining, options)
        if chosen.compositions == "protostructure":
            return _symmetric_job(encoded, chosen, seed=seed)
        return _job(encoded, chosen, seed=seed)

    @classmethod
    def load(cls, path: Path, *, device: torch.device) -> "StructRepDiff":
        """Read the diffusion, the composition model and the layout."""
        return cls(GenerativeModel.load(path, device=device))

    def honours(self) -> Mapping[str, How]:
        """Return what the class declares, if protostructures are drawn first; else finished crystals are checked."""
        if self.model.protostructures is not None:
            return honoured(self.conditions)
        return honoured({} if self.model.compositions is None else {"composition": How.EXACTLY})

    def data_range(self, name: str) -> tuple[float, float] | None:
        """Return the range of what formulas and cells of the training crystals tell."""
        return None if self.model.library is None else self.model.library.range_of(name)

    def check(
        self,
        *,
        steps: int | None = None,
        compositions: Sequence[Composition] | None = None,
        protostructures: Sequence[Protostructure] | None = None,
        conditions: Mapping[str, Any] | None = None,
        guidance: float | None = None,
        options: BaseModel | Mapping[str, Any] | None = None,
    ) -> None:
        """Refuse options, unseen elements, and formulas for a model that draws its own."""
        sampling = parse_options(StructRepDiffSampling, options)
        check_steps(steps, self.model.diffusion.settings.timesteps)
        if self.model.protostructures is not None:
            refuse_conditions("structrepdiff", None, guidance)
            sizes = self.model.protostructures.sizes
            asked = formulas_asked(compositions, protostructures)
            check_compositions(asked, self.model.layout.elements, sizes.n_max)
            if sampling.new_only and self.model.library is None:
                raise UserError(NO_LIBRARY)
            wanted = own_conditions(
                "structrepdiff",
                StructRepDiff,
                conditions,
                compositions=compositions,
                protostructures=protostructures,
            )
            if protostructures is None:
                self._check_wishes(read_wishes(wanted, compositions, self.model.layout.elements))
            self._check_ranking(sampling, protostructures is not None)
            return
        if asked := [name for name in conditions or () if name in HONOURED]:
            raise UserError(f"`{asked[0]}` is given, {NEEDS_PROTOSTRUCTURES}")
        refuse_conditions("structrepdiff", conditions, guidance)
        refuse_protostructures("structrepdiff", protostructures)
        if sampling.new_only:
            raise UserError(NO_LIBRARY)
        needing = ("prototype_share", "keep_best")
        if asked := [name for name in needing if getattr(sampling, name) is not None]:
            raise UserError(f"`{asked[0]}` is given, {NEEDS_PROTOSTRUCTURES}")
        if compositions is None:
            return
        if self.model.compositions is None:
            raise UserError(
                "this model was trained with `compositions` 'joint', so that formulas cannot be given: "
                "train one with `compositions` 'protostructure' or 'first'"
            )
        check_compositions(compositions, self.model.layout.elements, self.model.compositions.n_max)

    def sample(
        self,
        n: int,
        *,
        seed: int = 0,
        first: int = 0,
        steps: int | None = None,
        compositions: Sequence[Composition] | None = None,
        protostructures: Sequence[Protostructure] | None = None,
        conditions: Mapping[str, Any] | None = None,
        guidance: float | None = None,
        options: BaseModel | Mapping[str, Any] | None = None,
    ) -> Samples:
        """Draw protostructures or formulas, unless they are given, and then the rest of the vectors."""
        sampling = parse_options(StructRepDiffSampling, options)
        sampler = SamplerSettings(name=sampling.sampler, n_steps=steps, eta=sampling.eta)
        if self.model.protostructures is None:
            made = self.model.sample(
                n,
                seed=seed,
                first=first,
                sampler=sampler,
                temperature=sampling.temperature,
                element_temperature=sampling.element_temperature,
                counts=None if compositions is None else self.model.layout.composition_counts(compositions),
            )
            return Samples(made=made)
        if protostructures is not None:
            given = [canonical_setting(one, sheared=False)[0] for one in protostructures]
            kept = RankedSamples(protostructures=list(given))
        else:
            kept = self._kept(sampling, compositions, conditions, seed=seed, first=first, n=n)
        made = self.model.sample_given(
            kept.protostructures, seed=seed, sampler=sampler, first=first, templates=sampling.templates
        )
        return Samples(made=replace(made, columns=kept.columns), draws=kept.records)

    def _kept(
        self,
        sampling: StructRepDiffSampling,
        compositions: Sequence[Composition] | None,
        conditions: Mapping[str, Any] | None,
        *,
        seed: int,
        first: int,
        n: int,
    ) -> RankedSamples:
        """Draw protostructures, ranked if asked for."""
        one_each = compositions is not None
        if sampling.keep_best is None:
            draw = self._draw(sampling, compositions, conditions, seed, first, 1)
            return keep_all(draw, first=first, n=n)
        ranker = self._ranker(sampling.ranker)
        _, n_drawn = block_sizes(sampling.keep_best, one_each=one_each)
        return rank_draws(
            self._draw(sampling, compositions, conditions, seed, first, n_drawn if one_each else 1),
            ranker.predict,
            ranker.label,
            keep_best=sampling.keep_best,
            first=first,
            n=n,
            one_each=one_each,
        )

    def _draw(
        self,
        sampling: StructRepDiffSampling,
        compositions: Sequence[Composition] | None,
        conditions: Mapping[str, Any] | None,
        seed: int,
        first: int,
        n_candidates: int,
    ) -> Draw:
        """Return what draws protostructures as the options say.

        Args:
            sampling: The options.
            compositions: One for each sample; None lets the model choose.
            conditions: What all samples are asked to be, by name.
            seed: Seed of the stream.
            first: Number of the sample that the first composition is for.
            n_candidates: Draws for each sample, where each has a composition.
        """
        wishes = read_wishes(conditions, compositions, self.model.layout.elements)
        one_each = compositions is not None

        def draw(start: int, count: int, refused: list[Protostructure]) -> list[Protostructure | None]:
            numbers = range(start, start + count)
            asked = None
            if wishes is not None:
                asked = [wishes[number // n_candidates - first if one_each else 0] for number in numbers]
            share = sampling.prototype_share
            return self.model.draw_protostructures(
                count,
                seed=seed,
                first=start,
                temperature=sampling.temperature,
                element_temperature=sampling.element_temperature,
                prototype_share=PROTOTYPE_SHARE if share is None else share,
                requests=asked,
                new_only=sampling.new_only,
                refused=refused,
                unwanted=unwanted_formulas(conditions),
            )

        return draw

    def _ranker(self, path: Path | None) -> Ranker:
        """Return the ranking model, read once.

        Raises:
            UserError: If none is named, or it cannot be read.
        """
        if path is None:
            raise UserError(NO_RANKER)
        if self._rankers.get(path) is None:
            self._rankers[path] = Ranker.load(path, device=self.model.diffusion.device)
        return self._rankers[path]

    def _check_ranking(self, sampling: StructRepDiffSampling, given: bool) -> None:
        """Refuse to rank what is given, or without a ranking model; say which elements it does not know.

        Raises:
            UserError: If there is nothing to rank, or nothing to rank by.
        """
        if sampling.keep_best is None:
            return
        if given:
            raise UserError(
                "`keep_best` and protostructures are given, expected one of them: nothing is drawn that could be ranked"
            )
        ranker = self._ranker(sampling.ranker)
        if strange := ranker.describe_strange(self.model.layout.elements):
            log.warning("%s does not know %s: draws with these are ranked last", ranker.path, strange)

    @property
    def keeps(self) -> tuple[str, ...]:
        """Say what variations may keep, by what the model draws first."""
        return kept_by(self.model)

    def check_variation(
        self,
        parents: Sequence[Crystal],
        *,
        strength: float,
        keep: str | None = None,
        steps: int | None = None,
        options: BaseModel | Mapping[str, Any] | None = None,
    ) -> None:
        """Refuse options of new samples, unseen elements, too many atoms, and parents without a protostructure."""
        check_strength(strength)
        chosen_keep(keep, self.keeps)
        self.check(steps=steps, options=options)
        refuse_wishes(parse_options(StructRepDiffSampling, options))
        compositions = [count_elements(parent) for parent in parents]
        check_compositions(compositions, self.model.layout.elements, largest(self.model))
        if self.model.protostructures is not None:
            read_each(parents)

    def vary(
        self,
        parents: Sequence[Crystal],
        numbers: Sequence[int],
        *,
        strength: float,
        keep: str | None = None,
        seed: int = 0,
        steps: int | None = None,
        options: BaseModel | Mapping[str, Any] | None = None,
    ) -> Samples:
        """Noise the vectors of crystals and denoise them; without templates, as the parents are what is like them."""
        sampling = parse_options(StructRepDiffSampling, options)
        share = sampling.prototype_share
        how = Variation(
            level=NoiseLevel.of(strength, self.model.diffusion.settings.timesteps, steps),
            keep=chosen_keep(keep, self.keeps),
            seed=seed,
            sampler=SamplerSettings(name=sampling.sampler, n_steps=steps, eta=sampling.eta),
            temperature=sampling.temperature,
            element_temperature=sampling.element_temperature,
            prototype_share=PROTOTYPE_SHARE if share is None else share,
        )
        return Samples(made=vary_vectors(self.model, parents, numbers, how))

    def draw(
        self,
        n: int,
        *,
        seed: int = 0,
        first: int = 0,
        compositions: Sequence[Composition] | None = None,
        conditions: Mapping[str, Any] | None = None,
        options: BaseModel | Mapping[str, Any] | None = None,
    ) -> list[Protostructure | None]:
        """Draw the protostructures of samples, without their vectors; None where none was found that obeys.

        Args:
            n: Number of samples.
            seed: Seed of the stream.
            first: Number of the first sample within the stream.
            compositions: One for each sample; None lets the model choose.
            conditions: What all samples are asked to be, by name.
            options: An instance of `sampling_options`, or values by name.
        """
        sampling = parse_options(StructRepDiffSampling, options)
        draw = self._draw(sampling, compositions, conditions, seed, first, 1)
        return draw(first, n, [])

    def _check_wishes(self, wishes: Sequence[ProtostructureRequest] | None) -> None:
        """Refuse what no protostructure could satisfy.

        Raises:
            UserError: If there is such a wish.
        """
        model = self.model.protostructures
        assert model is not None
        for wish in dict.fromkeys(wishes or ()):
            if reason := choices(wish, model.sizes, model.elements).reason:
                raise UserError(f"no protostructure can be drawn as asked: {reason}")


def _symmetric_job(encoded: EncodedSet, options: StructRepDiffTraining, *, seed: int) -> TrainingJob:
    """Learn protostructures first, then what is left of the vectors."""
    rows = symmetric_rows(encoded)
    assert encoded.symmetry is not None
    symmetry = {split: encoded.symmetry.rows(some) for split, some in rows.items()}
    representation = encoded.layout.representation()
    vectors = {
        split: to_symmetric_vectors(encoded.representations[some], symmetry[split], representation)
        for split, some in rows.items()
    }
    known = {split: table.tensors()["protostructures"] for split, table in symmetry.items()}
    elements = encoded.layout.elements
    scale = SymmetricScale.fit((vectors["train"], known["train"]), (vectors["val"], known["val"]), elements)
    encoder = ProtostructureEncoderSettings(elements=elements, width=options.encoder_width)
    weighted = options.model_copy(update={"block_weights": SYMMETRIC_WEIGHTS | options.block_weights})
    diffusion = _build(symmetric_blocks(representation), weighted, seed=seed, encoder=encoder)
    names = [encoded.crystals[row].id for row in rows["train"]]
    library = TemplateLibrary.of(names, symmetry["train"])
    tensors, metadata = GenerativeModel.stored(scale, encoded.layout, library)

    def data(what: str, split: str) -> VectorData:
        return VectorData(
            what,
            scale.normalize(vectors[split], known[split]),
            n_features=diffusion.n_features,
            protostructures=known[split],
        )

    return TrainingJob(
        model=VectorTraining(diffusion),
        training=data("training", "train"),
        validation=data("validation", "val"),
        metadata=metadata,
        tensors=tensors,
        first=protostructure_stage(
            symmetry, elements, options.protostructure_options, share=options.first_share, seed=seed
        ),
    )


def _job(encoded: EncodedSet, options: StructRepDiffTraining, *, seed: int) -> TrainingJob:
    """Learn whole vectors, formulas before them or together with the rest."""
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
) -> VectorDiffusion:
    """Build the network and its diffusion; all that options can get wrong is found here."""
    model = ModelSettings(
        n_features=max(part.stop for part in blocks.values()),
        blocks={name: (part.start, part.stop) for name, part in blocks.items()},
        diffusion=options.part(DiffusionSettings).model_copy(update={"given": given}),
        denoiser=_denoiser_settings(options),
        encoder=encoder,
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


def _counts(vectors: Tensor, blocks: dict[str, slice]) -> Tensor:
    """Read integer formulas off exact vectors."""
    return (vectors[:, blocks["composition"]] * vectors[:, blocks["n_atoms"]]).round().long()
