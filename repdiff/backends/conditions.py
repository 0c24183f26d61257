"""What a user asks of samples beyond their formula, and how a model is asked for it."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from descriptors.registry import unknown
from repdiff.backends.properties import CHEMICAL_SYSTEM, read_condition
from repdiff.backends.refusals import seen_only
from repdiff.conditions import GRAMMAR
from repdiff.crystals.formula import Composition
from repdiff.diffusion.joint import JointDiffusion
from repdiff.diffusion.joint_process import State
from repdiff.diffusion.masked_types import only_these
from repdiff.diffusion.predictor_corrector import Prediction, guided
from repdiff.errors import UserError
from repdiff.networks.property_adapters import same_labels
from repdiff.networks.property_embedding import PropertyEmbedding, read_system

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LabelRequest:
    """Labels that a model has learnt and that are asked of all samples of a run.

    Attributes:
        labels: Raw numbers by name of the property.
        guidance: γ: 1 for the conditional model, 0 for the unconditional one, above 1 for more than was learnt.
    """

    labels: Mapping[str, Sequence[float]]
    guidance: float

    @classmethod
    def read(
        cls,
        asked: Mapping[str, Any],
        guidance: float | None,
        embeddings: Mapping[str, PropertyEmbedding],
        *,
        others: Collection[str],
    ) -> "LabelRequest":
        """Take what was learnt out of what a user asks for.

        Args:
            asked: What is asked for, by name, as a user wrote it.
            guidance: γ; None for 1.
            embeddings: Embeddings of the properties that were learnt, by name.
            others: What can be asked for although it was not learnt; left to the caller.

        Raises:
            UserError: If a property is unknown, a value cannot be read, or there is guidance and nothing to guide to.
        """
        if strange := sorted(set(asked) - set(embeddings) - set(others)):
            known = list(dict.fromkeys([*embeddings, *others, *GRAMMAR]))
            raise UserError(
                f"{unknown('property', strange[0], known)} If it is a label of the training data, "
                f"`repdiff finetune --property {strange[0]}` adds it"
            )
        labels = {
            name: read_condition(name, asked[name], embedding)
            for name, embedding in embeddings.items()
            if name in asked
        }
        if guidance is not None and not labels:
            raise UserError(
                f"`guidance` is {guidance:g} and no property of `conditions` has an adapter, expected one of "
                f"{', '.join(embeddings) or 'those that `repdiff finetune` adds'}"
            )
        return cls(labels=labels, guidance=1.0 if guidance is None else guidance)

    def warn(self, asked: Mapping[str, Any], embeddings: Mapping[str, PropertyEmbedding]) -> None:
        """Say on the log which values no training crystal comes near."""
        for name in self.labels:
            if caution := embeddings[name].caution(asked[name]):
                log.warning("%s=%s is asked for: %s", name, asked[name], caution)


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What is asked of all samples of a run.

    Attributes:
        labels: Raw numbers of properties with an adapter, by name.
        guidance: γ: 1 for the conditional model, 0 for the unconditional one, above 1 for more than was learnt.
        system: Atomic numbers of the chemical system that is asked for.
        strict: Whether all other elements are ruled out.
    """

    labels: Mapping[str, Sequence[float]]
    guidance: float
    system: frozenset[int] | None
    strict: bool

    @classmethod
    def read(
        cls,
        asked: Mapping[str, Any],
        guidance: float | None,
        embeddings: Mapping[str, PropertyEmbedding],
        elements: Collection[int],
        *,
        strict: bool,
    ) -> "Conditions":
        """Read what a user asks for.

        A chemical system can be asked for without an adapter: other elements are ruled out then.

        Args:
            asked: The properties, as a user wrote them.
            guidance: γ; None for 1.
            embeddings: Embeddings of the properties that have an adapter, by name.
            elements: Atomic numbers that the model knows.
            strict: Whether elements out of a chemical system are ruled out if there is an adapter for it.

        Raises:
            UserError: If a property is unknown, a value cannot be read, or there is guidance and no adapter.
        """
        learnt = LabelRequest.read(asked, guidance, embeddings, others=(CHEMICAL_SYSTEM,))
        system = None
        if CHEMICAL_SYSTEM in asked:
            try:
                system = read_system(asked[CHEMICAL_SYSTEM])
            except ValueError as error:
                raise UserError(
                    f"`conditions` {CHEMICAL_SYSTEM} is {asked[CHEMICAL_SYSTEM]!r}, {error}"
                ) from error
            seen_only([dict.fromkeys(system, 1)], elements)
        return cls(
            labels=learnt.labels,
            guidance=learnt.guidance,
            system=system,
            strict=strict or CHEMICAL_SYSTEM not in embeddings,
        )

    def check(self, compositions: Sequence[Composition]) -> None:
        """Refuse compositions that contradict the chemical system.

        Raises:
            UserError: If there is one.
        """
        for counts in compositions:
            if self.system is not None and set(counts) != self.system:
                raise UserError(
                    f"a composition has the elements of atomic numbers {sorted(counts)} and `conditions` "
                    f"{CHEMICAL_SYSTEM} those of {sorted(self.system)}, expected the same: leave one of them out"
                )

    def predict(self, model: JointDiffusion, state: State, time: int) -> Prediction:
        """Mix what a model believes with and without what is asked for."""
        times = torch.full_like(state.counts, time)
        if not self.labels or self.guidance == 0:
            belief = model.predict(state, times)
        else:
            asked = same_labels(self.labels, len(times), times.device)
            belief = model.predict(state, times, model.adapters(asked))
            if self.guidance != 1:
                belief = guided(belief, model.predict(state, times), self.guidance)
        if self.system is not None and self.strict:
            belief = belief._replace(logits=only_these(belief.logits, model.elements, self.system))
        return belief
