"""Fréchet distance between sets of crystals, by what a pretrained network sees in them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from repdiff.crystals.crystal_set import CrystalSet
from repdiff.metrics.base import METRICS, Constant, Context, Metric, MetricResult, MetricValue, share, tally
from repdiff.metrics.bootstrap import bootstrap
from repdiff.metrics.features.base import FeatureExtractor, Features, load_extractor
from repdiff.metrics.features.extract import extract_features
from repdiff.metrics.gaussian import N_BLOCKS, frechet_distance, frechet_infinite, moments, random_blocks
from repdiff.metrics.validity import NOT_MADE

N_RESAMPLES = 200  # of the bootstrap
ERRORS = 2.093  # standard errors on either side of an estimate from 20 blocks, Student's t for 95 %
PER_FEATURE = 2  # crystals for each number of the vector, from which on the extrapolation holds

Sample = Float[np.ndarray, "_ d"]
Draw = Int[np.ndarray, " _"]


@METRICS.register("frechet")
class Frechet(Metric):
    """Distance between Gaussians fitted to the features of both sets, and its value for infinitely large sets.

    A distance depends on the sizes of the sets: small ones are farther apart. Compare distances only of equal
    sizes, or those extrapolated to infinity.

    Args:
        extractor: Name of the network, as in `repdiff.metrics.features.EXTRACTORS`.

    Raises:
        UserError: If the network is unknown.
    """

    description = "Fréchet distance to the reference by the features of a pretrained network"
    needs = frozenset({"reference"})

    def __init__(self, extractor: str = "chgnet") -> None:
        self.extractor = extractor

    def samples(self, generated: CrystalSet, context: Context) -> bool:
        """Score a sample of large sets: the network takes a fiftieth of a second for each crystal."""
        return True

    def compute(self, generated: CrystalSet, context: Context) -> MetricResult:
        """Compare; crystals without features, by lack of an element for example, are counted with their reasons.

        Raises:
            UserError: If there is no reference, or the network's package is not installed.
        """
        reference = context.known()
        network = load_extractor(self.extractor)
        found, known = (
            extract_features(
                crystals.crystals,
                self.extractor,
                cache=context.cache,
                n_workers=context.n_workers,
                progress=context.progress,
            )
            for crystals in (generated, reference)
        )
        samples = _centred(found, known)
        plain, protocols = _protocols(network)
        infinite = f"{plain}-infinite"
        computed = [*found.present.tolist(), *[False] * len(generated.failed)]
        return MetricResult(
            values={
                f"frechet_{self.extractor}": _distance(samples, plain, context.seed),
                f"frechet_{self.extractor}_infinite": _infinite(samples, infinite, context.seed),
                "computed": share(computed, plain),
            },
            protocols=protocols,
            columns={f"{self.extractor}_reason": [*found.reasons, *[NOT_MADE] * len(generated.failed)]},
            details={
                "n_generated": len(samples[0]),
                "n_reference": len(samples[1]),
                "reasons_generated": tally(found.reasons),
                "reasons_reference": tally(known.reasons),
            },
        )


def _protocols(network: FeatureExtractor) -> tuple[str, dict[str, dict[str, Constant]]]:
    """Name the protocol after the network, and list what the numbers depend on."""
    identity = network.identity
    name = f"{identity.name}-{identity.version}"
    constants: dict[str, Constant] = {
        "weights_sha256": identity.weights_sha256,
        "computed_by": identity.package,
        "n_features": network.n_features,
        "features": network.layer,
        "covariance": "divided by n - 1",
    }
    extrapolation: dict[str, Constant] = {
        "extrapolated": "in 1/n, both sets whole and without one of their blocks",
        "n_blocks": N_BLOCKS,
        "interval": "jackknife over the blocks",
    }
    return name, {name: constants, f"{name}-infinite": constants | extrapolation}


def _centred(*sets: Features) -> list[Sample]:
    """Take the features that are there, in an order of their own, less the mean of all."""
    samples = [features.values[features.present] for features in sets]
    centre = np.concatenate(samples).mean(0) if any(map(len, samples)) else 0.0
    return [sample[np.lexsort(sample.T)] - centre for sample in samples]


def _distance(samples: Sequence[Sample], protocol: str, seed: int) -> MetricValue:
    n, n_reference = map(len, samples)
    if min(n, n_reference) < 2:
        return _none(samples, protocol, at_least=2)

    def statistic(one: Draw, other: Draw) -> float:
        return frechet_distance(moments(samples[0][one]), moments(samples[1][other]))

    value = frechet_distance(*map(moments, samples))
    n_features = samples[0].shape[1]
    few = min(n, n_reference) <= n_features
    return MetricValue(
        value=value,
        n=n,
        protocol=protocol,
        sizes=(n, n_reference),
        reason=f"too large: {n} and {n_reference} crystals for {n_features} features" if few else "",
        interval=bootstrap(
            statistic,
            (n, n_reference),
            value,
            seed=seed,
            n_resamples=N_RESAMPLES,
            bounds=(0.0, np.inf),
        ),
    )


def _infinite(samples: Sequence[Sample], protocol: str, seed: int) -> MetricValue:
    at_least = PER_FEATURE * samples[0].shape[1]
    if min(map(len, samples)) < at_least:
        return _none(samples, protocol, at_least=at_least)

    rng = np.random.default_rng(seed)
    value, error = frechet_infinite(*[random_blocks(sample, rng) for sample in samples])
    return MetricValue(
        value=value,
        n=len(samples[0]),
        protocol=protocol,
        interval=(value - ERRORS * error, value + ERRORS * error),
    )


def _none(samples: Sequence[Sample], protocol: str, *, at_least: int) -> MetricValue:
    n, n_reference = map(len, samples)
    return MetricValue(
        value=None,
        n=n,
        protocol=protocol,
        reason=f"{n} crystals and {n_reference} of the reference have features, expected at least {at_least} each",
    )
