"""Variations of crystals in the space of their vectors: noised to a level, and denoised given what is kept of them.

The discrete part of a crystal, its protostructure or formula, has no noise process but the plainest: with the
probability of the strength it is forgotten and drawn anew. The vector is then denoised towards what was drawn, from the
parent's own descriptor and cell. What normalisation cuts off a vector unlike those of the training set is put back in
the measure in which the parent is still there, √ᾱ.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descriptors.normalization import Normalizer
from descriptors.symmetry.encoding import encode_protostructures
from descriptors.symmetry.orbit_maps import orbit_maps
from descriptors.symmetry.protostructure import Protostructure
from repdiff.backends.examples import read_each
from repdiff.backends.held_columns import held_columns
from repdiff.backends.steering import SteeringRequest
from repdiff.backends.structrepdiff_held import HeldValues
from repdiff.backends.structrepdiff_model import GIVEN, GenerativeModel
from repdiff.backends.structrepdiff_steering import (
    choose_candidates,
    symmetric_steering,
    whole_steering,
)
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.formula import count_elements
from repdiff.diffusion.inpainting import RESAMPLINGS
from repdiff.diffusion.noise_level import Example, NoiseLevel
from repdiff.diffusion.samplers import SamplerSettings
from repdiff.diffusion.steering import Steering
from repdiff.errors import UserError
from repdiff.networks.protostructure import ProtostructureRequest
from repdiff.networks.random_streams import FORMULA, stream
from repdiff.representations.batch import RepresentationBatch
from repdiff.representations.encoding import encode_batch, encode_crystals
from repdiff.representations.layout import RepresentationSpec
from repdiff.representations.symmetric_scale import SymmetricScale
from repdiff.representations.symmetric_vectors import from_symmetric_vectors, to_symmetric_vectors
from repdiff.settings.backends.structrepdiff import StructRepDiffSampling
from repdiff.symmetry import SymmetrizedCrystal, SymmetryTable

CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Variation:
    """How vectors are varied.

    Attributes:
        level: How far they are noised.
        keep: What of the parents is kept.
        seed: Seed of the stream of variations.
        sampler: How the diffusion samples.
        temperature: Sampling temperature of what is drawn anew.
        element_temperature: Sampling temperature of the elements alone; None for the same.
        prototype_share: Share of protostructures that are drawn from the prototypes of the training set.
        hold: Parts of the parents' vectors that are held.
        resamplings: See `repdiff.diffusion.inpainting.Held`.
        steering: Goals that variations are drawn towards; None for none.
    """

    level: NoiseLevel
    keep: str
    seed: int
    sampler: SamplerSettings
    temperature: float
    element_temperature: float | None
    prototype_share: float
    hold: tuple[str, ...] = ()
    resamplings: int = RESAMPLINGS
    steering: SteeringRequest | None = None

    def held(
        self, vectors: Float[Tensor, "n width"], layout: RepresentationSpec, *, symmetric: bool
    ) -> HeldValues | None:
        """Return what is held of the vectors of parents, in physical units; None for nothing."""
        if not self.hold:
            return None
        mask = torch.zeros_like(vectors, dtype=torch.bool)
        for part in self.hold:
            mask[:, held_columns(part, layout, symmetric=symmetric)] = True
        return HeldValues(values=vectors, mask=mask, resamplings=self.resamplings)


def kept_by(model: GenerativeModel) -> tuple[str, ...]:
    """Say what variations may keep by what the model draws first: that, and what it implies."""
    if model.protostructures is not None:
        return ("protostructure", "composition", "nothing")
    return ("composition", "nothing") if model.compositions is not None else ("nothing",)


def largest(model: GenerativeModel) -> int:
    """Return the atoms of the largest training crystal."""
    if model.protostructures is not None:
        return model.protostructures.sizes.n_max
    if model.compositions is not None:
        return model.compositions.n_max
    assert isinstance(model.scale, Normalizer)
    return round(float(model.scale.high[model.layout.representation().blocks["n_atoms"]]))


def refuse_wishes(sampling: StructRepDiffSampling) -> None:
    """Refuse what is asked of new samples, where parents decide.

    Raises:
        UserError: If something is.
    """
    for name, value in (
        ("new_only", sampling.new_only),
        ("new_to", sampling.new_to),
        ("keep_best", sampling.keep_best),
    ):
        if value:
            raise UserError(f"`{name}` is given, expected none: the parents decide what variations are")


def vary_vectors(
    model: GenerativeModel, parents: Sequence[Crystal], numbers: Sequence[int], how: Variation
) -> RepresentationBatch:
    """Make the vectors of variations, on the CPU.

    Args:
        model: Trained model.
        parents: One for each variation, in primitive cells; one object that occurs again is encoded once.
        numbers: Number of each variation within the stream.
        how: How to vary.
    """
    vary = _vary_whole if model.protostructures is None else _vary_symmetric
    return vary(model, parents, numbers, how)


def _vary_symmetric(
    model: GenerativeModel, parents: Sequence[Crystal], numbers: Sequence[int], how: Variation
) -> RepresentationBatch:
    """Vary what is left of vectors once their protostructures are known."""
    assert isinstance(model.scale, SymmetricScale)
    symmetrized = read_each(parents)
    own = [one.protostructure for one in symmetrized]
    wanted = _protostructures(model, own, numbers, how)
    filled = [old if new is None else new for new, old in zip(wanted, own, strict=True)]
    known = torch.from_numpy(
        encode_protostructures(filled, max_orbits=max(len(one.orbits) for one in filled))
    )
    vectors = _symmetric_vectors(model, symmetrized)
    unit = model.scale.normalize(vectors, known)
    same = torch.tensor([new == old for new, old in zip(filled, own, strict=True)])
    cut = torch.where(same[:, None], vectors - model.scale.restore(unit, known), 0.0)
    held = how.held(vectors, model.layout, symmetric=True)
    beside = _amplitude(model, how.level) * cut
    steering = None
    if how.steering is not None:
        steering = symmetric_steering(how.steering, model, filled, known, beside=beside)
    found = _denoise(model, unit, numbers, how, protostructures=known, held=held, steering=steering)
    found = model.scale.restore(found, known) + beside
    found = found if held is None else held.put_into(found)
    made = from_symmetric_vectors(found, wanted, model.layout)
    assert made.symmetry is not None
    starts = [not how.level.is_whole and new == old for new, old in zip(wanted, own, strict=True)]
    free = [
        torch.from_numpy(one.free) if start else None for one, start in zip(symmetrized, starts, strict=True)
    ]
    names = tuple(parent.id if start else None for parent, start in zip(parents, starts, strict=True))
    return replace(made, symmetry=made.symmetry.with_coordinates(free), parents=names)


def _vary_whole(
    model: GenerativeModel, parents: Sequence[Crystal], numbers: Sequence[int], how: Variation
) -> RepresentationBatch:
    """Vary whole vectors, given formulas or with them."""
    assert isinstance(model.scale, Normalizer)
    representation = model.layout.representation()
    different = list({id(parent): parent for parent in parents}.values())
    place = {id(parent): row for row, parent in enumerate(different)}
    encoded = encode_crystals(different, representation, device=CPU, progress=False)
    vectors = encoded[[place[id(parent)] for parent in parents]]
    unit = model.scale.normalize(vectors)
    cut = vectors - model.scale.restore(unit)
    decided = given = None
    if model.compositions is not None:
        decided = model.as_given(_counts(model, parents, numbers, how))
        given = model.scale.normalize(decided)
    held = how.held(vectors, model.layout, symmetric=False)
    beside = _amplitude(model, how.level) * cut
    steering = None
    if how.steering is not None:
        steering = whole_steering(how.steering, model, decided, beside=beside)
    found = _denoise(model, unit, numbers, how, given=given, held=held, steering=steering)
    found = model.scale.restore(found) + beside
    found = found if held is None else held.put_into(found)
    if decided is not None:
        for block in GIVEN:
            columns = representation.blocks[block]
            found[:, columns] = decided[:, columns]
    return RepresentationBatch(vectors=found, layout=model.layout)


def _denoise(
    model: GenerativeModel,
    unit: Float[Tensor, "n n_features"],
    numbers: Sequence[int],
    how: Variation,
    *,
    given: Float[Tensor, "n n_features"] | None = None,
    protostructures: Int[Tensor, "n n_columns"] | None = None,
    held: HeldValues | None = None,
    steering: Steering | None = None,
) -> Float[Tensor, "n n_features"]:
    """Noise normalised vectors and denoise them."""
    generator = torch.Generator(device=model.diffusion.device).manual_seed(how.seed)
    return model.diffusion.sample(
        len(unit),
        generator=generator,
        sampler=how.sampler,
        numbers=numbers,
        example=Example(unit, how.level),
        given=given,
        protostructures=protostructures,
        held=None if held is None else held.scaled(unit),
        steering=steering,
        progress=True,
    ).cpu()


def _amplitude(model: GenerativeModel, level: NoiseLevel) -> float:
    """Return √ᾱ of the level, 0 where the parent plays no part."""
    return 0.0 if level.is_whole else model.diffusion.noise_schedule.signal(level.time) ** 0.5


def _symmetric_vectors(
    model: GenerativeModel, symmetrized: Sequence[SymmetrizedCrystal]
) -> Float[Tensor, "n n_symmetric"]:
    """Encode symmetric crystals, once of those that occur again."""
    different = list({id(one): one for one in symmetrized}.values())
    place = {id(one): row for row, one in enumerate(different)}
    known = [one.protostructure for one in different]
    cells = torch.stack([torch.from_numpy(one.cell) for one in different])
    free = torch.cat([torch.from_numpy(one.free) for one in different])
    batch = orbit_maps(known).crystals(free, cells).to(dtype=torch.float32)
    representation = model.layout.representation()
    whole = encode_batch(batch, representation, device=CPU, progress=False)
    table = SymmetryTable.without_coordinates(known, cells)
    vectors = to_symmetric_vectors(whole, table, representation)
    return vectors[[place[id(one)] for one in symmetrized]]


def _forgotten(numbers: Sequence[int], how: Variation) -> list[int]:
    """Return the places of the variations whose discrete part is drawn anew."""
    if how.level.is_nothing:
        return []
    chances = [float(stream(how.seed, number, FORMULA).random()) for number in numbers]
    return [place for place, chance in enumerate(chances) if chance < how.level.strength]


def _protostructures(
    model: GenerativeModel, own: Sequence[Protostructure], numbers: Sequence[int], how: Variation
) -> list[Protostructure | None]:
    """Return the protostructures of variations: their parents', or new ones; None where none could be drawn."""
    found: list[Protostructure | None] = list(own)
    if how.keep == "protostructure":
        return found
    places = _forgotten(numbers, how)
    size = 1 if how.steering is None else how.steering.n_candidates
    requests = None
    if how.keep == "composition":
        formulas = [ProtostructureRequest.of_formula(own[place].composition()) for place in places]
        requests = [one for one in formulas for _ in range(size)]
    drawn = model.draw_protostructures(
        len(places) * size,
        seed=how.seed,
        first=[numbers[place] * size + number for place in places for number in range(size)],
        temperature=how.temperature,
        element_temperature=how.element_temperature,
        prototype_share=how.prototype_share,
        requests=requests,
    )
    groups = [drawn[start : start + size] for start in range(0, len(drawn), size)]
    chosen: list[int | None] = [0] * len(groups)
    if how.steering is not None:
        own_numbers = [numbers[place] for place in places]
        chosen = choose_candidates(groups, how.steering, model, seed=how.seed, numbers=own_numbers)
    for place, group, choice in zip(places, groups, chosen, strict=True):
        found[place] = None if choice is None else group[choice]
    return found


def _counts(
    model: GenerativeModel, parents: Sequence[Crystal], numbers: Sequence[int], how: Variation
) -> Int[Tensor, "n n_elements"]:
    """Return the formulas of variations: their parents', or new ones."""
    assert model.compositions is not None
    counts = model.layout.composition_counts([count_elements(parent) for parent in parents])
    places = [] if how.keep == "composition" else _forgotten(numbers, how)
    if places:
        counts[places] = model.compositions.sample(
            len(places),
            generator=torch.Generator().manual_seed(how.seed),
            first=[numbers[place] for place in places],
            temperature=how.temperature,
            element_temperature=how.element_temperature,
        )
    return counts
