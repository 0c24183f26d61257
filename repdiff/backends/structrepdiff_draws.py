"""The protostructures of new samples: drawn as asked, ranked if wanted, and the best kept."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from descriptors.symmetry.labels import parse_label
from descriptors.symmetry.protostructure import Protostructure
from repdiff.backends.conditions import LabelRequest
from repdiff.backends.held_wishes import not_as_held
from repdiff.backends.known_protostructures import known_protostructures, tells_known
from repdiff.backends.protostructure_wishes import read_wishes, unwanted_formulas
from repdiff.backends.ranked_draws import Draw, RankedSamples, block_sizes, keep_all, rank_draws
from repdiff.backends.ranking import Ranker
from repdiff.backends.steering import SteeringRequest
from repdiff.backends.structrepdiff_held import HeldParts
from repdiff.backends.structrepdiff_model import GenerativeModel, either
from repdiff.backends.structrepdiff_steering import steered_draws
from repdiff.conditions import typed
from repdiff.crystals.formula import Composition
from repdiff.errors import UserError
from repdiff.networks.protostructure import ProtostructureRequest, likely_protostructures
from repdiff.networks.protostructure.request import choices
from repdiff.settings.backends.structrepdiff import StructRepDiffSampling

PROTOTYPE_SHARE = 0.75  # of samples that begin with a prototype of the training set
NO_RANKER = (
    "`keep_best` is given, and no model to rank by; models of `repdiff train` cannot rank by themselves: train a "
    "ranking model with `repdiff rank` (from Python `rd.train_ranker`), and name it by `ranker`"
)
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ProtostructureDraws:
    """What is asked of the protostructures of a stream of samples.

    Attributes:
        model: Trained model that draws protostructures first.
        sampling: The options.
        compositions: One for each sample; None lets the model choose.
        conditions: What all samples are asked to be, by name.
        learnt: Labels that are asked of all samples; None for none.
        ranker: Model to rank by; needed with `keep_best` only.
        steering: Goals by which each is chosen among candidates; None for none.
        seed: Seed of the stream.
        first: Number of the sample that the first composition is for.
    """

    model: GenerativeModel
    sampling: StructRepDiffSampling
    compositions: Sequence[Composition] | None
    conditions: Mapping[str, Any] | None
    learnt: LabelRequest | None = None
    ranker: Ranker | None = None
    steering: SteeringRequest | None = None
    seed: int
    first: int

    def kept(self, n: int) -> RankedSamples:
        """Return the protostructures of `n` samples: chosen by goals, the best of their block, or as they are drawn."""
        if self.steering is not None:
            candidates = self._draw(self.steering.n_candidates)
            return steered_draws(candidates, self.steering, self.model, seed=self.seed, first=self.first, n=n)
        one_each, keep_best = self.compositions is not None, self.sampling.keep_best
        if keep_best is None:
            return keep_all(self._draw(1), first=self.first, n=n)
        if self.ranker is None:
            raise UserError(NO_RANKER)
        _, n_drawn = block_sizes(keep_best, one_each=one_each)
        ranked = rank_draws(
            self._draw(n_drawn if one_each else 1),
            self.ranker.predict,
            self.ranker.label,
            keep_best=keep_best,
            first=self.first,
            n=n,
            one_each=one_each,
        )
        warn_of_unpredicted(ranked, self.ranker)
        return ranked

    def plain(self, n: int) -> list[Protostructure | None]:
        """Return the protostructures of `n` samples as they are drawn; None where none was found that obeys."""
        return self._draw(1)(self.first, n, [])

    def likeliest(self, n: int) -> list[Protostructure]:
        """Return the likeliest of the first composition on prototypes of the training set, `n` at most."""
        assert self.model.protostructures is not None
        wishes = read_wishes(self.conditions, self.compositions, self.model.layout.elements)
        assert wishes is not None
        library = self.model.library
        found = likely_protostructures(
            self.model.protostructures,
            wishes[0],
            n_alike=None if library is None else library.n_alike,
            unwanted=either(
                [tells_known(library if self.sampling.new_only else None, self._known()), self._again()]
            ),
        )
        return found[:n]

    def _draw(self, n_candidates: int) -> Draw:
        """Return what draws protostructures, so many candidates for each sample where each has a composition."""
        wishes = read_wishes(self.conditions, self.compositions, self.model.layout.elements)
        one_each, share = self.compositions is not None, self.sampling.prototype_share
        again, known = self._again(), self._known()

        def draw(start: int, count: int, refused: list[Protostructure]) -> list[Protostructure | None]:
            numbers = range(start, start + count)
            asked = None
            if wishes is not None:
                asked = [wishes[number // n_candidates - self.first if one_each else 0] for number in numbers]
            return self.model.draw_protostructures(
                count,
                seed=self.seed,
                first=start,
                temperature=self.sampling.temperature,
                element_temperature=self.sampling.element_temperature,
                prototype_share=PROTOTYPE_SHARE if share is None else share,
                requests=asked,
                new_only=self.sampling.new_only,
                refused=refused,
                known=known,
                unwanted=again,
                learnt=self.learnt,
            )

        return draw

    def _known(self) -> frozenset[Protostructure]:
        """Return what is drawn again because a data set has it."""
        return frozenset() if self.sampling.new_to is None else known_protostructures(self.sampling.new_to)

    def _again(self) -> Callable[[Protostructure], bool] | None:
        """Return what tells protostructures that do not obey conditions which are no masks."""
        held = HeldParts.of(self.conditions, self.model.layout, self.model.scale)
        conditions = typed(self.conditions or {}).values()
        return either(
            [
                unwanted_formulas(self.conditions),
                not_as_held(conditions, None if held is None else held.is_unlikely),
            ]
        )


def check_wishes(model: GenerativeModel, wishes: Sequence[ProtostructureRequest] | None) -> None:
    """Refuse what no protostructure could satisfy.

    Args:
        model: Trained model that draws protostructures first.
        wishes: What is asked of them.

    Raises:
        UserError: If there is such a wish.
    """
    assert model.protostructures is not None
    for wish in dict.fromkeys(wishes or ()):
        if reason := choices(wish, model.protostructures.sizes, model.protostructures.elements).reason:
            raise UserError(f"no protostructure can be drawn as asked: {reason}")


def refuse_to_rank_given(*, given: bool) -> None:
    """Refuse to rank protostructures that are given.

    Args:
        given: Whether protostructures are given.

    Raises:
        UserError: If they are.
    """
    if given:
        raise UserError(
            "`keep_best` and protostructures are given, expected one of them: nothing is drawn that could be ranked"
        )


def warn_of_unpredicted(ranked: RankedSamples, ranker: Ranker) -> None:
    """Say on the log how many draws have an element that the ranking model does not know, and which elements."""
    drawn = [one for one in ranked.records if one.rank is not None]
    bare = [parse_label(one.protostructure) for one in drawn if one.predicted is None]
    if strange := ranker.describe_strange([number for one in bare for number in one.elements]):
        log.warning(
            "%d of %d draws have elements that %s does not know (%s), and are ranked last",
            len(bare), len(drawn), ranker.path, strange,
        )  # fmt: skip
