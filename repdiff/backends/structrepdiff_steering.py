"""Steer StructRepDiff: the diffusion of vectors by gradients, the protostructures before it by choice among candidates.

The probability of a protostructure given the goals is its own times that of the goals given it. So several candidates
are drawn as the model draws them, and one is chosen with the likelihood of the goals for the vector to be expected of
it: that of the nearest training crystal of its prototype, as for templates, and what the protostructure alone tells.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descriptors.normalization import Normalizer
from descriptors.symmetry.encoding import encode_protostructures
from descriptors.symmetry.labels import write_label
from descriptors.symmetry.protostructure import Protostructure
from descriptors.symmetry.settings import canonical
from repdiff.backends.ranked_draws import Draw, RankedSamples
from repdiff.backends.steering import SteeringRequest
from repdiff.backends.structrepdiff_model import GIVEN, GenerativeModel
from repdiff.diffusion.steering import Measured, Steering
from repdiff.errors import UserError
from repdiff.execution.progress import progress_bar
from repdiff.networks.random_streams import CANDIDATE, choose, stream
from repdiff.representations.blocks import Blocks, SymmetricBlocks, whole_blocks
from repdiff.representations.draws import DrawRecord
from repdiff.representations.references import References, find_references
from repdiff.representations.symmetric_scale import SymmetricScale
from repdiff.settings.backends.structrepdiff import StructRepDiffSampling

SAMPLES_AT_ONCE = 250  # whose candidates are drawn and described together


def symmetric_steering(
    request: SteeringRequest,
    model: GenerativeModel,
    protostructures: Sequence[Protostructure],
    known: Int[Tensor, "n n_columns"],
    *,
    references: References | None = None,
    beside: Float[Tensor, "n width"] | None = None,
) -> Steering:
    """Steer vectors whose protostructures are given.

    The functions see the vectors as they will be used: drawn towards templates, or with what is added to variations.

    Args:
        request: Objectives.
        model: Trained model.
        protostructures: One for each sample.
        known: The same, encoded.
        references: What vectors will be drawn towards; None for nothing.
        beside: What will be added to vectors in physical units; None for nothing.
    """
    assert isinstance(model.scale, SymmetricScale)
    scale, expected = model.scale, model.scale.expected(known)
    blocks = SymmetricBlocks.of(protostructures, model.layout)

    def measure(unit: Tensor, rows: slice) -> list[Measured]:
        vectors = scale.restore_beside(unit.cpu(), expected[rows])
        if references is not None:
            vectors = references.select(rows).draw(vectors)
        if beside is not None:
            vectors = vectors + beside[rows]
        return _on(unit.device, request.measure(blocks(vectors, rows)))

    return Steering(measure=measure, aims=request.aims)


def with_references(
    request: SteeringRequest,
    model: GenerativeModel,
    protostructures: Sequence[Protostructure],
    known: Int[Tensor, "n n_columns"],
    references: References | None,
) -> Steering:
    """Steer new vectors; see `symmetric_steering`."""
    return symmetric_steering(request, model, protostructures, known, references=references)


def refuse_both(sampling: StructRepDiffSampling) -> None:
    """Refuse to choose protostructures in two ways.

    Raises:
        UserError: If they shall be ranked too.
    """
    if sampling.keep_best is not None:
        raise UserError(
            "`steer` and `keep_best` are given, expected one of them: both choose protostructures by a prediction"
        )


def whole_steering(
    request: SteeringRequest,
    model: GenerativeModel,
    decided: Float[Tensor, "n n_features"] | None,
    *,
    beside: Float[Tensor, "n n_features"] | None = None,
) -> Steering:
    """Steer whole vectors.

    Args:
        request: Objectives.
        model: Trained model.
        decided: Vectors with the formulas that are given, in physical units; None if the diffusion makes them.
        beside: What will be added to vectors in physical units; None for nothing.
    """
    assert isinstance(model.scale, Normalizer)
    scale, layout = model.scale, model.layout
    given = {} if decided is None else {name: whole_blocks(decided, layout)[name] for name in GIVEN}

    def measure(unit: Tensor, rows: slice) -> list[Measured]:
        vectors = scale.restore(unit.cpu())
        if beside is not None:
            vectors = vectors + beside[rows]
        if decided is not None:
            columns = layout.representation().blocks["n_atoms"]
            vectors = torch.cat(
                [vectors[:, : columns.start], decided[rows, columns], vectors[:, columns.stop :]], 1
            )
        blocks = {**whole_blocks(vectors, layout), **{name: one[rows] for name, one in given.items()}}
        return _on(unit.device, request.measure(blocks))

    return Steering(measure=measure, aims=request.aims)


def _on(device: torch.device, measured: Sequence[Measured]) -> list[Measured]:
    return [Measured(*(part.to(device) for part in one)) for one in measured]


def expected_blocks(model: GenerativeModel, protostructures: Sequence[Protostructure]) -> Blocks:
    """Return what is to be expected of crystals of protostructures, without the diffusion.

    Args:
        model: Trained model.
        protostructures: At least one.
    """
    assert isinstance(model.scale, SymmetricScale)
    longest = max(len(one.orbits) for one in protostructures)
    known = torch.from_numpy(encode_protostructures(protostructures, max_orbits=longest))
    vectors = model.scale.raw.restore(model.scale.expected(known))
    if model.library is not None:
        vectors = find_references(model.library, protostructures, model.layout, progress=False).draw(vectors)
    return SymmetricBlocks.of(protostructures, model.layout)(vectors)


def choose_candidates(
    candidates: Sequence[Sequence[Protostructure | None]],
    request: SteeringRequest,
    model: GenerativeModel,
    *,
    seed: int,
    numbers: Sequence[int],
) -> list[int | None]:
    """Choose a candidate for each sample, by the likelihood of the goals.

    Candidates that no head knows are chosen only where there are no others. The choice of a sample depends on its
    candidates, its number and the seed alone.

    Args:
        candidates: Those of each sample; None where none was completed.
        request: Objectives.
        model: Trained model.
        seed: Seed of the stream of samples.
        numbers: Numbers of the samples.

    Returns:
        The place of the chosen one among the candidates of each sample; None where there is none.
    """
    present = [[place for place, one in enumerate(some) if one is not None] for some in candidates]
    flat = [one for some in candidates for one in some if one is not None]
    if not flat:
        return [None] * len(candidates)
    different = list(dict.fromkeys(flat))
    weights = request.log_weights(expected_blocks(model, different)).double()
    weight_of = dict(zip(different, weights.tolist(), strict=True))
    chosen: list[int | None] = []
    for some, places, number in zip(candidates, present, numbers, strict=True):
        if not places:
            chosen.append(None)
            continue
        own = torch.tensor([weight_of[one] for place in places if (one := some[place]) is not None])
        own = own.double() if bool(own.isfinite().any()) else torch.zeros(len(own), dtype=torch.float64)
        uniform = torch.tensor([stream(seed, number, CANDIDATE).random()], dtype=torch.float64)
        chosen.append(places[int(choose(own[None], uniform))])
    return chosen


def steered_draws(
    draw: Draw, request: SteeringRequest, model: GenerativeModel, *, seed: int, first: int, n: int
) -> RankedSamples:
    """Return the protostructures of samples number `first` to `first + n`, each chosen among candidates.

    Args:
        draw: Draws candidates: those of sample i are number i · n_candidates and on.
        request: Objectives.
        model: Trained model.
        seed: Seed of the stream.
        first: Number of the first sample.
        n: How many.
    """
    size = request.n_candidates
    kept: list[Protostructure | None] = []
    records: list[DrawRecord] = []
    edges = [*range(first, first + n, SAMPLES_AT_ONCE), first + n]
    bar = progress_bar(
        list(pairwise(edges)), desc="choosing protostructures", unit="part", disable=len(edges) < 3
    )
    for start, stop in bar:
        refused: list[Protostructure] = []
        drawn = draw(start * size, (stop - start) * size, refused)
        groups = [drawn[place : place + size] for place in range(0, len(drawn), size)]
        chosen = choose_candidates(groups, request, model, seed=seed, numbers=range(start, stop))
        records += [DrawRecord(block=start, protostructure=_name(one), outcome="known") for one in refused]
        for number, group, choice in zip(range(start, stop), groups, chosen, strict=True):
            kept.append(None if choice is None else group[choice])
            records += [
                DrawRecord(
                    block=number,
                    protostructure=_name(one),
                    outcome="kept" if place == choice else "not kept",
                    sample=number if place == choice else None,
                )
                for place, one in enumerate(group)
                if one is not None
            ]
    return RankedSamples(protostructures=kept, records=tuple(records))


def _name(protostructure: Protostructure) -> str:
    return write_label(canonical(protostructure))
