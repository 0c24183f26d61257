"""StructRepDiff: diffusion of representation vectors, which are inverted into crystals afterwards.

Source: arXiv 2408.07213; by default a separate model samples the protostructure first, and the diffusion is conditioned
on it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel

from descriptors.symmetry.protostructure import Protostructure
from descriptors.symmetry.settings import canonical_setting
from repdiff.backends.asked_of_backend import own_conditions
from repdiff.backends.base import BACKENDS, Backend, Samples, TrainingJob
from repdiff.backends.conditions import LabelRequest
from repdiff.backends.examples import read_each
from repdiff.backends.known_protostructures import known_protostructures
from repdiff.backends.options import parse_options
from repdiff.backends.protostructure_wishes import HONOURED, read_wishes
from repdiff.backends.ranked_draws import RankedSamples
from repdiff.backends.ranking import Ranker
from repdiff.backends.refusals import (
    check_compositions,
    check_steps,
    chosen_keep,
    formulas_asked,
    refuse_conditions,
    refuse_protostructures,
)
from repdiff.backends.steering import SteeringRequest
from repdiff.backends.structrepdiff_draws import (
    NO_RANKER,
    PROTOTYPE_SHARE,
    ProtostructureDraws,
    check_wishes,
    refuse_to_rank_given,
)
from repdiff.backends.structrepdiff_held import HeldParts
from repdiff.backends.structrepdiff_held_checks import check_held, check_parts_of_parents, without_held
from repdiff.backends.structrepdiff_jobs import finetuning_job, plain_job, symmetric_job
from repdiff.backends.structrepdiff_model import GenerativeModel
from repdiff.backends.structrepdiff_steering import refuse_both, whole_steering, with_references
from repdiff.backends.structrepdiff_variations import (
    Variation,
    kept_by,
    largest,
    refuse_wishes,
    vary_vectors,
)
from repdiff.conditions import Asked, How, honoured, typed
from repdiff.conditions.kinds import Learnt
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.formula import Composition, count_elements
from repdiff.diffusion.build import KIND
from repdiff.diffusion.noise_level import NoiseLevel, check_strength
from repdiff.diffusion.samplers import SamplerSettings
from repdiff.errors import UserError
from repdiff.representations.encoded_set import EncodedSet
from repdiff.settings.backends.structrepdiff import StructRepDiffSampling, StructRepDiffTraining

NO_LIBRARY = (
    "`new_only` is given, but the model does not know which protostructures its training crystals have: train one with "
    "`compositions` 'protostructure'"
)
NEEDS_PROTOSTRUCTURES = (
    "which a model needs protostructures for: train one with `compositions` 'protostructure'"
)


@BACKENDS.register("structrepdiff")
class StructRepDiff(Backend):
    """Diffusion in representation space."""

    description = "diffusion of invariant representations (EAD, composition, cell), inverted by a search"
    makes = "representations"
    conditions = HONOURED
    kind = KIND
    training_options, sampling_options = StructRepDiffTraining, StructRepDiffSampling
    holds = varies = True

    def __init__(self, model: GenerativeModel, steering: SteeringRequest | None = None) -> None:
        self.model, self.steering = model, steering
        self._rankers: dict[Path, Ranker] = {}

    def steered(self, request: SteeringRequest) -> "StructRepDiff":
        """Return the same model, drawn towards goals; raises as the objectives do."""
        request.check(self.model.layout)
        return StructRepDiff(self.model, request)

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
            return symmetric_job(encoded, chosen, seed=seed)
        return plain_job(encoded, chosen, seed=seed)

    @classmethod
    def prepare_finetuning(
        cls,
        encoded: EncodedSet,
        base: Path,
        *,
        names: Sequence[str],
        weights: Literal["all", "adapters"] = "all",
        condition_dropout: float = 0.2,
        seed: int = 0,
    ) -> TrainingJob:
        """Add adapters for properties to the model of protostructures and to the diffusion of vectors."""
        model = GenerativeModel.load(base, device=torch.device("cpu"))
        return finetuning_job(
            encoded, model, base, names=names, weights=weights, dropout=condition_dropout, seed=seed
        )

    @classmethod
    def load(cls, path: Path, *, device: torch.device) -> "StructRepDiff":
        """Read the diffusion, the composition model and the layout."""
        return cls(GenerativeModel.load(path, device=device))

    def honours(self) -> Mapping[str, How]:
        """Return what the class declares, if protostructures are drawn first; else finished crystals are checked."""
        if self.model.protostructures is not None:
            return honoured(self.conditions)
        return honoured({} if self.model.compositions is None else {"composition": How.EXACTLY})

    @property
    def taught(self) -> Collection[str]:
        """Labels that the model has learnt."""
        return self.model.properties.keys()

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
        check_held(self.model, conditions, sampling)
        if self.steering is not None:
            refuse_both(sampling)
            formulas = formulas_asked(compositions, protostructures) or ()
            self.steering.check_elements(sorted({element for counts in formulas for element in counts}))
        if self.model.protostructures is not None:
            sizes = self.model.protostructures.sizes
            asked = formulas_asked(compositions, protostructures)
            check_compositions(asked, self.model.layout.elements, sizes.n_max)
            if sampling.new_only and self.model.library is None:
                raise UserError(NO_LIBRARY)
            if sampling.new_to is not None:
                known_protostructures(sampling.new_to)
            wanted = own_conditions(
                "structrepdiff",
                StructRepDiff,
                conditions,
                taught=self.taught,
                compositions=compositions,
                protostructures=protostructures,
            )
            self._learnt(wanted, guidance)
            if protostructures is None:
                check_wishes(self.model, read_wishes(wanted, compositions, self.model.layout.elements))
            if sampling.keep_best is not None:
                self._ranker(sampling.ranker)
                refuse_to_rank_given(given=protostructures is not None)
            return
        if asked := [name for name in conditions or () if name in HONOURED]:
            raise UserError(f"`{asked[0]}` is given, {NEEDS_PROTOSTRUCTURES}")
        refuse_conditions("structrepdiff", without_held(conditions), guidance)
        Asked(conditions=typed(conditions or {})).check(compositions=compositions)
        refuse_protostructures("structrepdiff", protostructures)
        if sampling.new_only:
            raise UserError(NO_LIBRARY)
        needing = ("prototype_share", "new_to", "keep_best")
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
        held = HeldParts.of(conditions, self.model.layout, self.model.scale, sampling.resamplings)
        if self.model.protostructures is None:
            made = self.model.sample(
                n,
                seed=seed,
                first=first,
                sampler=sampler,
                temperature=sampling.temperature,
                element_temperature=sampling.element_temperature,
                counts=None if compositions is None else self.model.layout.composition_counts(compositions),
                held=held,
                steer=None if self.steering is None else partial(whole_steering, self.steering, self.model),
            )
            return Samples(made=made)
        learnt = self._learnt(conditions, guidance)
        if first == 0:
            learnt.warn(self._labels_asked(conditions), self.model.properties)
        if protostructures is not None:
            if held is not None and first == 0:
                held.warn(protostructures)
            given = [canonical_setting(one, sheared=False)[0] for one in protostructures]
            kept = RankedSamples(protostructures=list(given))
        else:
            kept = self._draws(sampling, compositions, conditions, guidance, seed, first).kept(n)
        made = self.model.sample_given(
            kept.protostructures,
            seed=seed,
            sampler=sampler,
            first=first,
            templates=sampling.templates,
            learnt=learnt,
            held=held,
            steer=None if self.steering is None else partial(with_references, self.steering, self.model),
        )
        return Samples(made=replace(made, columns=kept.columns), draws=kept.records)

    def _draws(
        self,
        sampling: StructRepDiffSampling,
        compositions: Sequence[Composition] | None,
        conditions: Mapping[str, Any] | None,
        guidance: float | None,
        seed: int,
        first: int,
    ) -> ProtostructureDraws:
        """Gather what is asked of the protostructures of samples."""
        return ProtostructureDraws(
            model=self.model,
            sampling=sampling,
            compositions=compositions,
            conditions=conditions,
            learnt=self._learnt(conditions, guidance),
            ranker=None if sampling.keep_best is None else self._ranker(sampling.ranker),
            steering=self.steering,
            seed=seed,
            first=first,
        )

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
        hold: Sequence[str] = (),
    ) -> None:
        """Refuse options of new samples, what cannot be held, unseen elements, too many atoms, and strange parents."""
        check_strength(strength)
        sampling = parse_options(StructRepDiffSampling, options)
        check_parts_of_parents(self.model, hold, chosen_keep(keep, self.keeps), sampling)
        refuse_wishes(sampling)
        self.check(steps=steps, options=options)
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
        hold: Sequence[str] = (),
    ) -> Samples:
        """Noise the vectors of crystals and denoise them; without templates, as the parents are what is like them.

        Parts that are held stay those of the parents.
        """
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
            hold=tuple(hold),
            resamplings=sampling.resamplings,
            steering=self.steering,
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
        return self._draws(sampling, compositions, conditions, None, seed, first).plain(n)

    def likeliest(
        self,
        composition: Composition,
        n: int,
        *,
        conditions: Mapping[str, Any] | None = None,
        options: BaseModel | Mapping[str, Any] | None = None,
    ) -> list[Protostructure]:
        """List those on prototypes of the training set by the likelihood of the model, and of crystals like them."""
        if self.model.protostructures is None:
            return []
        sampling = parse_options(StructRepDiffSampling, options)
        return self._draws(sampling, [composition], conditions, None, 0, 0).likeliest(n)

    def _labels_asked(self, conditions: Mapping[str, Any] | None) -> dict[str, object]:
        """Return the values of labels that are asked for, which only a model that learnt them can give."""
        asked = typed(conditions or {}, learnt=self.taught)
        return {name: one.value for name, one in asked.items() if isinstance(one, Learnt)}

    def _learnt(self, conditions: Mapping[str, Any] | None, guidance: float | None) -> LabelRequest:
        """Read what is asked for of what was learnt; raises as `LabelRequest.read`."""
        return LabelRequest.read(self._labels_asked(conditions), guidance, self.model.properties, others=())
