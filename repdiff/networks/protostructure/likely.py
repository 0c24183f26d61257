"""The likeliest protostructures of a formula, on the prototypes of the training set."""

from collections.abc import Callable, Iterator
from itertools import islice, permutations
from math import log

from descriptors.symmetry.protostructure import Orbit, Protostructure
from descriptors.symmetry.settings import canonical
from descriptors.symmetry.space_group import LETTERS
from repdiff.networks.protostructure.model import ProtostructureModel
from repdiff.networks.protostructure.prototypes import Prototype
from repdiff.networks.protostructure.request import Formula, ProtostructureRequest

MOST = 2048  # protostructures that are compared; those of the commonest prototypes
NOTHING_ALIKE = 1e-12
DIGITS = 3  # of log-probabilities: more than two machines agree on would make two orders


def likely_protostructures(
    model: ProtostructureModel,
    request: ProtostructureRequest,
    *,
    n_alike: Callable[[Protostructure], float] | None = None,
    unwanted: Callable[[Protostructure], bool] | None = None,
) -> list[Protostructure]:
    """List the protostructures that a formula can have on the prototypes of the training set, the likeliest first.

    Their likelihood is that of the model, times how many known crystals of the prototype have elements like theirs, if
    that can be told: the model has learnt what is common, the crystals tell what their neighbours are.

    Args:
        model: Trained.
        request: Must ask for formulas.
        n_alike: Counts these crystals.
        unwanted: Tells which protostructures to leave out.

    Returns:
        Each in the first of its settings; none if no prototype fits.
    """
    assert request.formulas is not None
    found: dict[Protostructure, Protostructure] = {}
    entries = model.prototypes.choices(request, model.elements).entries.tolist()
    for place, _, _, number in sorted(entries, key=lambda entry: (entry[0], entry[3])):
        for one in _assignments(model.prototypes.prototypes[place], request.formulas[number]):
            if unwanted is None or not unwanted(one):
                found.setdefault(canonical(one), one)
        if len(found) >= MOST:
            break
    if not found:
        return []
    sequences = model.coder.encode(islice(found.values(), MOST)).to(model.device)
    scores = model.log_prob(sequences).tolist()
    ranked = []
    for place, (one, score) in enumerate(zip(found, scores, strict=False)):
        known = 0.0 if n_alike is None else log(n_alike(one) + NOTHING_ALIKE)
        ranked.append((-round(score + known, DIGITS), place, one))
    return [one for *_, one in sorted(ranked, key=lambda entry: entry[:2])]


def _assignments(prototype: Prototype, formula: Formula) -> Iterator[Protostructure]:
    """Yield the ways to put the elements of a formula on the positions of a prototype."""
    counts = dict(formula)
    for elements in permutations(counts):
        if tuple(counts[element] for element in elements) == prototype.sizes:
            yield Protostructure(
                prototype.number,
                tuple(
                    Orbit(LETTERS.index(letter), element)
                    for element, part in zip(elements, prototype.parts, strict=True)
                    for letter in part
                ),
            )
