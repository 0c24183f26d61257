"""Scores of a model of protostructures with and without what is asked of properties, mixed by guidance."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repdiff.networks.property_adapters import same_labels
from repdiff.networks.protostructure.model import Prefix, ProtostructureModel
from repdiff.networks.protostructure.request import Choices


class GuidedScores:
    """What the next group, element or letter scores: (1 - γ) · without labels + γ · with them.

    What a draw may not have is ruled out afterwards, so that guidance changes no mask. Scores with and without labels
    differ from log-probabilities by constants alone, so that mixing scores mixes these.

    Args:
        model: Trained.
        labels: Raw numbers of the properties that are asked for, by name, the same for all draws.
        guidance: γ: 1 is the conditional model, 0 the unconditional one.

    Source: Ho and Salimans, arXiv 2207.12598, eq. 6, for logits.
    """

    def __init__(
        self, model: ProtostructureModel, labels: Mapping[str, Sequence[float]] | None, guidance: float
    ) -> None:
        self.model = model
        self.elements, self.positions = model.element_vectors(), model.position_vectors()
        asked = {name: list(numbers) for name, numbers in (labels or {}).items()} if guidance else {}
        self.known = model.known(same_labels(asked, 1, self.elements.device, dtype=self.elements.dtype))
        self.weights = [guidance, 1 - guidance] if asked and guidance != 1 else [1.0]
        self.guidance, self.size_table = guidance, None
        if model.conditions is not None and self.known:
            shift = model.conditions.size_shifts(self.known, 1, model.size_entries)[0]
            self.size_table = model.sizes.shifted(guidance * shift)

    def hidden(self, prefix: Prefix) -> list[Float[Tensor, "n width"]]:
        """Encode unfinished protostructures with labels, and without them where both are mixed."""
        rows = torch.zeros_like(prefix.group)
        views = [self.known, {}][: len(self.weights)]
        return [self.model.hidden(prefix, self.elements, self.positions, known, rows) for known in views]

    def of_elements(self, hidden: Sequence[Float[Tensor, "n width"]]) -> Float[Tensor, "n n_elements"]:
        """Score the next element."""
        return self._mixed([self.model.element_logits(one, self.elements) for one in hidden])

    def of_letters(
        self,
        hidden: Sequence[Float[Tensor, "n width"]],
        element: Int[Tensor, " n"],
        group: Int[Tensor, " n"],
    ) -> Float[Tensor, "n n_letters"]:
        """Score the Wyckoff letters of the group for an element."""
        vectors = self.elements[element]
        return self._mixed([self.model.letter_logits(one, vectors, group, self.positions) for one in hidden])

    def of_sizes(self, choices: Choices) -> Float[Tensor, " n_choices"]:
        """Score group, number of atoms and number of elements."""
        if self.size_table is None:
            return choices.log_prob
        return self.size_table[tuple(choices.entries[:, :3].T)].log()

    def of_prototypes(self, choices: Choices) -> Float[Tensor, " n_choices"]:
        """Score prototypes of the training set, whose places are the first of the entries."""
        if self.model.conditions is None or not self.known:
            return choices.log_prob
        shift = self.model.conditions.prototype_shifts(self.known, 1)[0].to(choices.log_prob)
        return choices.log_prob + self.guidance * shift[choices.entries[:, 0]]

    def _mixed(self, scores: Sequence[Float[Tensor, "n k"]]) -> Float[Tensor, "n k"]:
        mixed = self.weights[0] * scores[0]
        for weight, one in zip(self.weights[1:], scores[1:], strict=True):
            mixed = mixed + weight * one
        return mixed
