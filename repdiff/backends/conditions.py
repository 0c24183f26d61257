"""What a user asks of samples beyond their formula, and how a model is asked for it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from descriptors.registry import unknown
from repdiff.backends.base import seen_only
from repdiff.backends.properties import CHEMICAL_SYSTEM, read_condition
from repdiff.crystals.formula import Composition
from repdiff.diffusion.joint import JointDiffusion
from repdiff.diffusion.joint_process import State
from repdiff.diffusion.masked_types import only_these
from repdiff.diffusion.predictor_corrector import Prediction, guided
from repdiff.diffusion.property_embedding import PropertyEmbedding, read_system
from repdiff.errors import UserError
from repdiff.networks.crystal import AdapterInput


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
        if strange := sorted(set(asked) - set(embeddings) - {CHEMICAL_SYSTEM}):
            known = list(dict.fromkeys([*embeddings, CHEMICAL_SYSTEM]))
            raise UserError(
                f"{unknown('property', strange[0], known)} `repdiff finetune --property {strange[0]}` adds it"
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
            labels=labels,
            guidance=1.0 if guidance is None else guidance,
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
            belief = model.predict(state, times, model.adapters(self._inputs(times)))
            if self.guidance != 1:
                belief = guided(belief, model.predict(state, times), self.guidance)
        if self.system is not None and self.strict:
            belief = belief._replace(logits=only_these(belief.logits, model.elements, self.system))
        return belief

    def _inputs(self, times: Int[Tensor, " n_systems"]) -> dict[str, AdapterInput]:
        has_label = torch.ones_like(times, dtype=torch.bool)
        return {
            name: AdapterInput(
                values=torch.tensor([raw], dtype=torch.float32, device=times.device).expand(len(times), -1),
                has_label=has_label,
            )
            for name, raw in self.labels.items()
        }
