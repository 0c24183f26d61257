"""What samples are steered by: heads with goals, or a function of one's own; checked, stored, and read off crystals."""

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from descriptors.symmetry.protostructure import MAX_ATOMIC_NUMBER
from repdiff.backends.goals import Goal, read_goal
from repdiff.backends.property_head import Head
from repdiff.crystals.crystal import Label
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.diffusion.steering import Aim, Measured
from repdiff.errors import UserError
from repdiff.representations.blocks import Blocks, Function, blocks_of, sound_rows
from repdiff.representations.layout import RepresentationSpec
from repdiff.runs.atomic_files import read_json, write_json

TOLERANCE = 0.1  # of a goal that has none, in standard deviations of the training labels
N_CANDIDATES = 16
STEERING, HEADS = "steering.json", "heads"
PROBE = {"descriptor": 0.1, "min_distance": 2.0, "composition": 0.0, "n_atoms": 2.0, "volume_per_atom": 15.0}
log = logging.getLogger(__name__)


class Objective(ABC):
    """One thing that samples are steered by."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What its columns are called after."""

    @property
    @abstractmethod
    def aim(self) -> Aim:
        """What is wanted of it."""

    @abstractmethod
    def measure(self, blocks: Blocks) -> Measured:
        """Evaluate it, with a gradient."""

    @abstractmethod
    def check(self, layout: RepresentationSpec) -> None:
        """Refuse vectors that it cannot read, and say on the log what it does not know of them.

        Raises:
            UserError: If it cannot read them.
        """

    def log_weight(self, blocks: Blocks) -> Float[Tensor, " n"]:
        """Return the log-likelihood of finished vectors up to a constant; -inf where it knows nothing of them."""
        with torch.no_grad():
            found = self.measure(blocks)
            weight = self.aim.log_weight(found.value, found.variance) - found.penalty
            return torch.where(found.known & weight.isfinite(), weight, -torch.inf)


@dataclass(frozen=True, kw_only=True)
class HeadObjective(Objective):
    """A goal of a property that a head predicts.

    Attributes:
        head: The head.
        goal: What is wanted.
        strength: Factor of the log-likelihood; for max and min, how many standard deviations of the training labels
            the mean of normally distributed samples moves.
        caution: How much the log-likelihood falls for each typical spread that the head's spread is above it.
    """

    head: Head
    goal: Goal
    strength: float = 1.0
    caution: float = 1.0

    @property
    def name(self) -> str:
        """Name of the property."""
        return self.head.label

    @property
    def aim(self) -> Aim:
        """The goal in numbers."""
        scale = self.head.scale
        if isinstance(self.goal.value, float):
            tolerance = TOLERANCE * scale if self.goal.tolerance is None else self.goal.tolerance
            return Aim(target=self.goal.value, tolerance=tolerance, strength=self.strength)
        sign = 1.0 if self.goal.value == "max" else -1.0
        return Aim(strength=sign * self.strength / scale)

    def measure(self, blocks: Blocks) -> Measured:
        """Predict the property."""
        found = self.head.network.moments(blocks)
        beyond = (found.variance.sqrt() / self.head.typical_spread - 1).clamp(min=0)
        return Measured(
            value=found.mean,
            variance=found.variance.detach(),
            penalty=self.caution * beyond,
            known=self.head.network.knows(blocks),
        )

    def check(self, layout: RepresentationSpec) -> None:
        """Refuse another descriptor; warn of elements that the head does not know, and of goals out of its range."""
        self.head.check_layout(layout, "the model")
        if strange := self.head.strange(layout.elements):
            log.warning(
                "%s does not know %s, which the model can draw: samples with these are not steered, and have no "
                "prediction of %s",
                self.head.path, strange, self.name,
            )  # fmt: skip
        low, high = self.head.range
        if isinstance(self.goal.value, float) and not low <= self.goal.value <= high:
            log.warning(
                "%s is asked to be %s, and the crystals that %s learnt from lie between %.4g and %.4g: few samples or "
                "none will have it, and predictions there are not to be trusted",
                self.name, self.goal.text, self.head.path, low, high,
            )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FunctionObjective(Objective):
    """A function of one's own: samples are favoured by exp(strength · f).

    Attributes:
        function: Turns blocks into one number a row.
        strength: Factor in the exponent.
    """

    function: Function
    strength: float = 1.0

    @property
    def name(self) -> str:
        """Name of the function."""
        name = getattr(self.function, "__name__", type(self.function).__name__)
        return "steer" if name == "<lambda>" else str(name)

    @property
    def aim(self) -> Aim:
        """As much as possible."""
        return Aim(strength=self.strength)

    def measure(self, blocks: Blocks) -> Measured:
        """Evaluate the function."""
        value = self.function(blocks)
        n = len(blocks["composition"])
        if not isinstance(value, Tensor) or value.numel() != n:
            kind = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise UserError(
                f"`steer` {self.name} returns {kind} for {n} rows, expected a tensor of {n} numbers"
            )
        zeros = torch.zeros(n)
        return Measured(value=value.reshape(n).float(), variance=zeros, penalty=zeros, known=zeros == 0)

    def check(self, layout: RepresentationSpec) -> None:
        """Call the function once, and refuse one without a gradient.

        Raises:
            UserError: If it fails, or returns anything but a finite number a row that depends on a block.
        """
        width = layout.representation().descriptor.n_features
        sizes = {"descriptor": width, "composition": MAX_ATOMIC_NUMBER + 1}
        blocks = {name: torch.full((2, sizes.get(name, 1)), value) for name, value in PROBE.items()}
        blocks["composition"][:, layout.elements[0]] = 1.0
        shown = {name: block.requires_grad_() for name, block in blocks.items()}
        try:
            value = self.measure(shown).value
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"`steer` {self.name} fails on a trial ({type(error).__name__}: {error}), expected a function of the "
                f"blocks {', '.join(PROBE)}"
            ) from error
        if not value.requires_grad:
            raise UserError(
                f"`steer` {self.name} returns numbers without a gradient, expected torch operations on the blocks alone"
            )


@dataclass(frozen=True, kw_only=True)
class SteeringRequest:
    """All that samples are steered by.

    Attributes:
        objectives: One or more.
        n_candidates: Protostructures that are drawn for each sample, of which one is chosen.
    """

    objectives: Sequence[Objective]
    n_candidates: int = N_CANDIDATES

    def __post_init__(self) -> None:
        """Refuse nothing to steer by, and two goals of one property."""
        names = [one.name for one in self.objectives]
        if not names:
            raise UserError("`steer` is empty, expected a goal such as gap=1.5")
        if len(set(names)) < len(names):
            raise UserError(f"`steer` has two goals of {names[0]}, expected each property once")

    @property
    def aims(self) -> list[Aim]:
        """What is wanted of each."""
        return [one.aim for one in self.objectives]

    def measure(self, blocks: Blocks) -> list[Measured]:
        """Evaluate all objectives."""
        return [one.measure(blocks) for one in self.objectives]

    def log_weights(self, blocks: Blocks) -> Float[Tensor, " n"]:
        """Return the log-likelihood of finished vectors, all objectives together."""
        return torch.stack([one.log_weight(blocks) for one in self.objectives]).sum(0)

    def check(self, layout: RepresentationSpec) -> None:
        """Refuse a model whose vectors an objective cannot read.

        Raises:
            UserError: If there is one.
        """
        for one in self.objectives:
            one.check(layout)

    def check_elements(self, elements: Sequence[int]) -> None:
        """Refuse elements that are asked for and that a head does not know.

        Raises:
            UserError: If there is one.
        """
        for one in self.objectives:
            if isinstance(one, HeadObjective) and (strange := one.head.strange(elements)):
                raise UserError(
                    f"{strange} is asked for, and {one.head.path} does not know it: fit a head to crystals with it, or "
                    f"leave out the goal of {one.name}"
                )

    def write(self, folder: Path) -> None:
        """Keep goals and heads beside samples, so that crystals made of them can be judged.

        Raises:
            ValueError: If it holds a function.
        """
        kept = []
        for one in self.objectives:
            if not isinstance(one, HeadObjective):
                raise ValueError(f"{one.name} is a function, expected heads alone: no file holds a function")
            name = f"{len(kept):02d}.safetensors"
            one.head.write(folder / HEADS / name)
            kept.append(
                {
                    "name": one.name,
                    "goal": one.goal.text,
                    "strength": one.strength,
                    "caution": one.caution,
                    "head": name,
                }
            )
        write_json(folder / STEERING, {"objectives": kept, "n_candidates": self.n_candidates})

    @classmethod
    def read(cls, folder: Path) -> "SteeringRequest | None":
        """Read what `write` wrote; None if nothing was.

        Raises:
            UserError: If a file is missing or damaged.
        """
        file = folder / STEERING
        if not file.is_file():
            return None
        try:
            held = read_json(file)
            objectives = [
                HeadObjective(
                    head=Head.load(folder / HEADS / one["head"]),
                    goal=read_goal(one["name"], one["goal"]),
                    strength=float(one["strength"]),
                    caution=float(one["caution"]),
                )
                for one in held["objectives"]
            ]
            return cls(objectives=objectives, n_candidates=int(held["n_candidates"]))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{file}: damaged ({error}), expected what `repdiff generate` wrote") from error


def head_request(
    goals: Sequence[Goal],
    heads: Sequence[Head],
    *,
    strength: float = 1.0,
    caution: float = 1.0,
    n_candidates: int = N_CANDIDATES,
) -> SteeringRequest:
    """Pair goals with the heads that predict their properties.

    Args:
        goals: What is wanted.
        heads: One for each goal, in any order.
        strength: Factor of the log-likelihood.
        caution: Penalty for what a head knows little of.
        n_candidates: Protostructures that are drawn for each sample.

    Raises:
        UserError: If a goal has no head, or a head no goal.
    """
    by_label = {head.label: head for head in heads}
    known = ", ".join(by_label) or "none"
    for goal in goals:
        if goal.name not in by_label:
            raise UserError(
                f"no head predicts {goal.name}; those given predict: {known}. Fit one with `repdiff head fit "
                f"--property {goal.name}` (from Python `rd.fit_head`)"
            )
    if idle := [label for label in by_label if label not in {goal.name for goal in goals}]:
        raise UserError(f"a head for {idle[0]} is given, and no goal of it: add {idle[0]}=VALUE to `steer`")
    return SteeringRequest(
        objectives=[
            HeadObjective(head=by_label[goal.name], goal=goal, strength=strength, caution=caution)
            for goal in goals
        ],
        n_candidates=n_candidates,
    )


def with_predictions(made: CrystalSet, request: SteeringRequest, descriptor: str) -> CrystalSet:
    """Put what was asked and what finished crystals are predicted to have beside them, as labels.

    Labels: `NAME_asked`, `predicted_NAME` and `predicted_NAME_std`; of a function `predicted_NAME` alone. Crystals that
    are not sound, or have elements that a head does not know, have none.

    Args:
        made: Finished crystals, which are encoded anew: not what their vectors promised.
        request: What they were steered by.
        descriptor: Name of the descriptor that functions see.
    """
    columns: list[dict[str, Label]] = [{} for _ in made.crystals]
    for one in request.objectives:
        if isinstance(one, HeadObjective):
            found = one.head.predict(made)
            rows = zip(found.mean.tolist(), found.spread.tolist(), strict=True)
            for column, (mean, spread) in zip(columns, rows, strict=True):
                column[f"{one.name}_asked"] = one.goal.text
                column[f"predicted_{one.name}"] = None if math.isnan(mean) else mean
                column[f"predicted_{one.name}_std"] = None if math.isnan(spread) else spread
            continue
        for column in columns:
            column[f"predicted_{one.name}"] = None
        sound = sound_rows(made.crystals)
        if sound:
            with torch.no_grad():
                values = one.measure(blocks_of([made.crystals[row] for row in sound], descriptor)).value
            for row, value in zip(sound, values.tolist(), strict=True):
                columns[row][f"predicted_{one.name}"] = value
    labelled = [
        crystal.replace(labels={**crystal.labels, **column})
        for crystal, column in zip(made.crystals, columns, strict=True)
    ]
    return replace(made, crystals=labelled)
