"""How sure a reconstruction is: the probability that the crystal found is the one its vector was made of.

    log-odds = intercept - Σ_k drop_k ramp_k(log10 loss) + Σ_f coefficient_f feature_f

Each ramp rises from 0 to 1 between two neighbouring knots and no drop is negative, so the confidence never rises
with the loss. The numbers are fitted to reconstructions of known crystals.

They hold for exact vectors alone. A generated vector has no true crystal, and even the best crystal there is has a
loss far above zero. Nor does the agreement of trials say that the best was found, as a wide basin draws many trials
wherever it leads: among exact vectors whose search ended high, crystals on which trials agreed were right no more
often than the others. A generated vector has therefore no confidence, only its loss and the number of agreeing trials.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from descriptors.base import Descriptor
from descriptors.batch import CrystalBatch

SHIPPED = Path(__file__).with_name("calibration")
KNOTS = tuple(k / 4 for k in range(-24, 1))  # log10 of the loss; half as many miss how sharply a curve falls
RIDGE = 0.1  # on drops and coefficients, in log-likelihoods of one crystal
FEWEST = 20  # crystals that a fit needs
N_NEWTON, CONVERGED = 200, 1e-8  # iterations at most, and the slope that ends them
TINY = 1e-12  # penalty of the intercept, for a finite Newton step; shortest share of a step


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a search knows of its results.

    Attributes:
        losses: Relative, at the crystal found; NaN gives a confidence of NaN.
        n_atoms: Number of atoms in the cell.
        n_elements: Number of different elements in the cell.
        n_agreeing: Number of trials that found the lowest loss.
    """

    losses: Float[Tensor, " n"]
    n_atoms: Int[Tensor, " n"]
    n_elements: Int[Tensor, " n"]
    n_agreeing: Int[Tensor, " n"]

    @classmethod
    def of(
        cls, batch: CrystalBatch, losses: Float[Tensor, " n"], n_agreeing: Int[Tensor, " n"]
    ) -> "Evidence":
        """Count atoms and elements of the crystals found."""
        kinds = torch.stack([batch.system_idx, batch.atomic_numbers]).unique(dim=1)[0]
        return cls(
            losses=losses,
            n_atoms=batch.n_atoms_per_system,
            n_elements=torch.bincount(kinds, minlength=batch.n_systems),
            n_agreeing=n_agreeing,
        )

    def select(self, rows: Int[Tensor, " k"] | Bool[Tensor, " n"]) -> "Evidence":
        """Return some of the results."""
        return Evidence(**{name: values[rows] for name, values in vars(self).items()})


FEATURES: dict[str, Callable[[Evidence], Tensor]] = {
    "elemental": lambda e: e.n_elements == 1,
    "log2_elements": lambda e: e.n_elements.double().log2(),
    "log2_atoms": lambda e: e.n_atoms.double().log2(),
    "log2_agreeing": lambda e: e.n_agreeing.clamp(min=1).double().log2(),
}
DEFAULT_FEATURES = ("elemental", "log2_elements")  # the others told nothing beyond the loss


@dataclass(frozen=True, kw_only=True)
class Confidence:
    """Fitted numbers that turn what a search knows into a probability, and what they are valid for.

    Attributes:
        drops: Fall of the log-odds from each of `knots` to the next; none is negative.
        intercept: Log-odds where the loss is below the first knot and every feature is zero.
        coefficients: Log-odds for one unit of each of `FEATURES`.
        knots: log10 of the loss, ascending.
        bounds: Least and highest confidence that the sample supports, whatever the rest says.
        descriptor: Its name, for readers.
        digest: What `digest_of` returns for the descriptor.
        given_symmetry: Whether the protostructures of the crystals were given; losses then mean something else.
        presets: Search presets that the numbers are valid for, first the one that they were fitted to. The others
            differ in their budgets; tests showed that the relation of loss and probability holds for them as well.
        n_crystals: Number of crystals that the numbers were fitted to, by data set and split.
        n_matched: Number of these crystals that were recovered.
        versions: Versions of the programs that computed the numbers.
    """

    drops: tuple[float, ...]
    intercept: float
    coefficients: Mapping[str, float]
    knots: tuple[float, ...] = KNOTS
    bounds: tuple[float, float] = (0.0, 1.0)
    descriptor: str = ""
    digest: str = ""
    given_symmetry: bool = False
    presets: tuple[str, ...] = ()
    n_crystals: Mapping[str, int] = field(default_factory=dict)
    n_matched: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the numbers, which may come from a file."""
        if len(self.knots) < 2 or any(low >= high for low, high in pairwise(self.knots)):
            raise ValueError(f"knots are {self.knots}, expected at least two, ascending")
        if len(self.drops) != len(self.knots) - 1 or min(self.drops) < 0:
            raise ValueError(f"drops are {self.drops}, expected {len(self.knots) - 1}, none negative")
        if unknown := set(self.coefficients) - set(FEATURES):
            raise ValueError(f"features are {sorted(unknown)}, expected some of {', '.join(FEATURES)}")
        if not 0 <= self.bounds[0] < self.bounds[1] <= 1:
            raise ValueError(f"bounds are {self.bounds}, expected two ascending probabilities")
        numbers = (*self.knots, *self.drops, self.intercept, *self.coefficients.values())
        if not all(map(math.isfinite, numbers)):
            raise ValueError(f"numbers are {numbers}, expected finite ones")

    def predict(self, evidence: Evidence) -> Float[Tensor, " n"]:
        """Return the probability that each crystal found is the true one; the vectors sought must be exact.

        "Is" means what StructureMatcher accepts with stol 0.5, ltol 0.3 and angle_tol 10, as in the benchmarks. The
        probability is right on average over crystals like those of the fit; see `n_crystals`.
        """
        columns = _columns(evidence, self.knots, tuple(self.coefficients))
        weights = columns.new_tensor([*self.drops, *self.coefficients.values(), self.intercept])
        return torch.sigmoid(columns @ weights).clamp(*self.bounds).to(evidence.losses.dtype)

    def write(self, path: Path) -> None:
        """Write all numbers as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Confidence":
        """Read what `write` wrote.

        Raises:
            ValueError: If the file is damaged or holds something else.
        """
        try:
            entries: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            for name in ("drops", "knots", "bounds", "presets"):
                entries[name] = tuple(entries[name])
            return cls(**entries)
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"{path}: damaged, expected a fitted confidence: {error}") from error


def digest_of(descriptor: Descriptor) -> str:
    """Return a short hash of all that decides a descriptor's vectors: losses of others mean something else."""
    text = json.dumps([type(descriptor).__name__, descriptor.settings()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def find_confidence(
    descriptor: Descriptor, preset: str, *, given_symmetry: bool = False, folder: Path = SHIPPED
) -> Confidence | None:
    """Return the numbers that hold for this descriptor and preset of the search; None if nobody has fitted any.

    Args:
        descriptor: The one that the vectors were made with.
        preset: A name of `reconstruction.presets.SEARCHES`.
        given_symmetry: Whether the protostructures are given.
        folder: Where the files are that `Confidence.write` wrote.
    """
    digest = digest_of(descriptor)
    found = [Confidence.read(path) for path in sorted(folder.glob("*.json"))]
    fitting = (c for c in found if c.digest == digest and c.given_symmetry == given_symmetry)
    return next((c for c in fitting if preset in c.presets), None)


def fit_confidence(
    evidence: Evidence, matched: Bool[Tensor, " n"], *, features: Sequence[str] = DEFAULT_FEATURES
) -> Confidence:
    """Fit the numbers by penalised maximum likelihood; the result names no descriptor or presets yet.

    The targets are smoothed, so that a sample without failures does not promise that none will ever happen: with
    n₊ matches and n₋ failures, (n₊ + 1) / (n₊ + 2) and 1 / (n₋ + 2). They also bound the confidence.

    Args:
        evidence: Results of reconstructions of known crystals, all with finite losses.
        matched: Whether each crystal was recovered.
        features: Names from `FEATURES`.

    Raises:
        ValueError: If there are fewer than 20 crystals, or a loss is not finite.

    Source: Platt, Probabilistic outputs for support vector machines (1999), eq. 2.2, for the targets.
    """
    if len(matched) < FEWEST or not bool(torch.isfinite(evidence.losses).all()):
        raise ValueError(
            f"{len(matched)} crystals to fit, expected at least {FEWEST}, all with finite losses"
        )
    columns = _columns(evidence, KNOTS, tuple(features))
    n_matched = int(matched.sum())
    high, low = (n_matched + 1) / (n_matched + 2), 1 / (len(matched) - n_matched + 2)
    targets = torch.where(matched, high, low).to(columns)
    n_drops = len(KNOTS) - 1
    weights = _maximise(columns, targets, n_drops).tolist()
    return Confidence(
        drops=tuple(weights[:n_drops]),
        coefficients=dict(zip(features, weights[n_drops:-1], strict=True)),
        intercept=weights[-1],
        bounds=(low, high),
        n_matched=n_matched,
    )


def _columns(
    evidence: Evidence, knots: tuple[float, ...], features: tuple[str, ...]
) -> Float[Tensor, "n n_columns"]:
    """Return what the weights multiply: falling ramps of the loss, features, and a constant."""
    edges = torch.tensor(knots, dtype=torch.float64, device=evidence.losses.device)
    height = evidence.losses.double().clamp(min=10.0 ** knots[0]).log10()[:, None]
    ramps = ((height - edges[:-1]) / edges.diff()).clamp(0, 1)
    others = [FEATURES[name](evidence).to(ramps) for name in features]
    return torch.cat(
        [-ramps, *(values[:, None] for values in (*others, torch.ones_like(ramps[:, 0])))], dim=1
    )


def _maximise(
    columns: Float[Tensor, "n n_columns"], targets: Float[Tensor, " n"], n_drops: int
) -> Float[Tensor, " n_columns"]:
    """Find the likeliest weights, the first `n_drops` of them not negative, by projected Newton steps.

    Source: Bertsekas, SIAM J. Control Optim. 20, 221 (1982): variables held at their bound keep out of the step.
    """
    penalties = columns.new_full((columns.shape[1],), RIDGE)
    penalties[-1] = TINY
    floor = columns.new_full((columns.shape[1],), -torch.inf)
    floor[:n_drops] = 0.0

    def cost(weights: Float[Tensor, " n_columns"]) -> float:
        odds = columns @ weights
        return float(
            (torch.nn.functional.softplus(odds) - targets * odds).sum() + (penalties * weights**2).sum() / 2
        )

    weights = torch.zeros_like(penalties)
    for _ in range(N_NEWTON):
        odds = columns @ weights
        slope = columns.T @ (torch.sigmoid(odds) - targets) + penalties * weights
        free = (weights > floor) | (slope < 0)
        if float(slope[free].abs().max()) < CONVERGED * len(targets):
            break
        curvature = columns.T @ ((torch.sigmoid(odds) * torch.sigmoid(-odds))[:, None] * columns)
        curvature = (curvature + penalties.diag())[free][:, free]
        step = torch.zeros_like(weights)
        step[free] = torch.linalg.solve(curvature, slope[free])
        before, share = cost(weights), 1.0
        while share > TINY and cost(torch.maximum(weights - share * step, floor)) >= before:
            share /= 2
        weights = torch.maximum(weights - share * step, floor)
    return weights


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """Crystals of similar confidence.

    Attributes:
        low: Least confidence of the bin.
        high: Its end; only the last bin includes it.
        n: Number of crystals.
        confidence: Their mean confidence.
        matched: Share of them that came back.
    """

    low: float
    high: float
    n: int
    confidence: float
    matched: float


def reliability(
    confidence: Float[Tensor, " n"], matched: Bool[Tensor, " n"], n_bins: int = 10
) -> list[ReliabilityBin]:
    """Compare confidence with what came true, in bins of equal width; empty bins are left out.

    Raises:
        ValueError: If a confidence is not in [0, 1].
    """
    if not bool(((confidence >= 0) & (confidence <= 1)).all()):
        raise ValueError(f"confidences are {confidence.tolist()[:5]}..., expected all in [0, 1]")
    place = (confidence.double() * n_bins).long().clamp(max=n_bins - 1)
    return [
        ReliabilityBin(
            low=k / n_bins,
            high=(k + 1) / n_bins,
            n=int((place == k).sum()),
            confidence=float(confidence[place == k].double().mean()),
            matched=float(matched[place == k].double().mean()),
        )
        for k in place.unique().tolist()
    ]


def expected_calibration_error(
    confidence: Float[Tensor, " n"], matched: Bool[Tensor, " n"], n_bins: int = 10
) -> float:
    """Return Σ n_bin |matched - confidence| / n over the bins of `reliability`; NaN without crystals.

    Source: Guo et al., On calibration of modern neural networks, ICML 2017, eq. 3.
    """
    if len(confidence) == 0:
        return math.nan
    bins = reliability(confidence, matched, n_bins)
    return sum(b.n * abs(b.matched - b.confidence) for b in bins) / len(confidence)
