"""Draw more protostructures than are wanted, rank them by a prediction, and keep the best.

Draws are ranked in blocks of a fixed size, each by itself, so that sample i of a seed stays the same whatever number of
samples is asked for, and a run can go on later. Where all samples are asked for the same, a block keeps 30; where each
has a formula of its own, a block is the candidates of one sample.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from descriptors.symmetry.labels import write_label
from descriptors.symmetry.protostructure import Protostructure
from descriptors.symmetry.settings import canonical
from repdiff.execution.progress import progress_bar
from repdiff.networks.protostructure.ranking import Prediction
from repdiff.representations.draws import DrawRecord, Outcome

KEPT_OF_A_BLOCK = 30
DRAWN_AT_ONCE = 1000  # between two steps of the bar
log = logging.getLogger(__name__)
Predict = Callable[[Sequence[Protostructure]], Prediction]
Draw = Callable[[int, int, list[Protostructure]], list[Protostructure | None]]
"""Draws protostructures: number of the first, how many; what is drawn and refused as known is appended to the list."""


@dataclass(frozen=True, kw_only=True)
class RankedSamples:
    """Protostructures that were kept, in the order of the samples.

    Attributes:
        protostructures: None where there was none to keep.
        columns: Prediction, uncertainty, rank, and the number of draws that the rank is among, by name; nothing where
            nothing was ranked.
        records: What became of all draws.
    """

    protostructures: list[Protostructure | None]
    columns: Mapping[str, tuple[float | int | None, ...]] = field(default_factory=dict)
    records: tuple[DrawRecord, ...] = ()


def block_sizes(keep_best: float, *, one_each: bool) -> tuple[int, int]:
    """Return how many protostructures a block keeps, and of how many.

    >>> block_sizes(0.3, one_each=False), block_sizes(0.3, one_each=True)
    ((30, 100), (1, 3))

    Args:
        keep_best: Share that is kept; met as nearly as whole numbers can.
        one_each: Whether each sample is asked for something of its own.
    """
    kept = 1 if one_each else KEPT_OF_A_BLOCK
    return kept, max(kept, round(kept / keep_best))


def best_of(
    drawn: Sequence[Protostructure | None], predict: Predict, n_kept: int
) -> tuple[Int[np.ndarray, " n_kept"], Float[np.ndarray, "n 2"], Int[np.ndarray, " n"], set[int]]:
    """Rank draws, and choose the best different ones.

    Draws are ordered by the mean of the predictions plus one standard deviation, the lowest first: of two that promise
    the same, the one that the ensemble is surer of. Those that cannot be predicted come last, and duplicates of others
    are taken only if there are not enough.

    Args:
        drawn: The draws; None where one was not completed.
        predict: The prediction of an ensemble.
        n_kept: How many to choose; fewer if there are not as many.

    Returns:
        Places that were chosen, ascending; mean and standard deviation of each draw, NaN where there is none; its rank
        from 1, 0 where there is no draw; and the places of duplicates.
    """
    present = [place for place, one in enumerate(drawn) if one is not None]
    values = np.full((len(drawn), 2), np.nan)
    found = predict([one for one in drawn if one is not None])
    values[present] = np.stack([found.mean, found.spread], 1)
    seen: set[Protostructure] = set()
    duplicates = set()
    for place in present:
        one = drawn[place]
        assert one is not None
        if (same := canonical(one)) in seen:
            duplicates.add(place)
        seen.add(same)
    score = np.nan_to_num(values.sum(1), nan=np.inf)
    order = sorted(present, key=lambda place: (place in duplicates, score[place], place))
    ranks = np.zeros(len(drawn), dtype=np.int64)
    ranks[order] = np.arange(1, len(order) + 1)
    return np.sort(np.array(order[:n_kept], dtype=np.int64)), values, ranks, duplicates


def rank_draws(
    draw: Draw, predict: Predict, label: str, *, keep_best: float, first: int, n: int, one_each: bool
) -> RankedSamples:
    """Return samples number `first` to `first + n`, each the best of its block or among them.

    Args:
        draw: Draws protostructures number `first` and on of a stream.
        predict: The prediction of an ensemble.
        label: Name of what it predicts.
        keep_best: Share of the draws that is kept.
        first: Number of the first sample.
        n: How many.
        one_each: Whether each sample is asked for something of its own.
    """
    n_kept, n_drawn = block_sizes(keep_best, one_each=one_each)
    blocks = range(first // n_kept, -(-(first + n) // n_kept))
    samples: dict[int, tuple[Protostructure, DrawRecord]] = {}
    records: list[DrawRecord] = []
    total = len(blocks) * n_drawn
    log.info("drawing %d protostructures, of which %d are kept", total, len(blocks) * n_kept)
    with progress_bar(total=total, desc="drawing", unit="draw", disable=total <= DRAWN_AT_ONCE) as bar:
        for block in blocks:
            refused: list[Protostructure] = []
            drawn: list[Protostructure | None] = []
            while len(drawn) < n_drawn:
                count = min(DRAWN_AT_ONCE, n_drawn - len(drawn))
                drawn += draw(block * n_drawn + len(drawn), count, refused)
                bar.update(count)
            ranked = _rank_block(block, drawn, predict, n_kept)
            records += [
                DrawRecord(block=block, protostructure=_name(one), outcome="known") for one in refused
            ]
            records += [record for _, record in ranked]
            samples |= {record.sample: (one, record) for one, record in ranked if record.sample is not None}
    wanted = [samples.get(number) for number in range(first, first + n)]
    told = [None if one is None else one[1] for one in wanted]
    return RankedSamples(
        protostructures=[None if one is None else one[0] for one in wanted],
        columns={
            f"predicted_{label}": tuple(None if one is None else one.predicted for one in told),
            f"predicted_{label}_std": tuple(None if one is None else one.predicted_std for one in told),
            "rank": tuple(None if one is None else one.rank for one in told),
            "ranked_among": tuple(None if one is None else n_drawn for one in told),
        },
        records=tuple(records),
    )


def _rank_block(
    block: int, drawn: Sequence[Protostructure | None], predict: Predict, n_kept: int
) -> list[tuple[Protostructure, DrawRecord]]:
    """Return the protostructures of a block, each with what became of it, in the order in which they were drawn."""
    chosen, values, ranks, duplicates = best_of(drawn, predict, n_kept)
    samples = {int(place): block * n_kept + number for number, place in enumerate(chosen)}
    ranked = []
    for place, one in enumerate(drawn):
        if one is None:
            continue
        left: Outcome = "duplicate" if place in duplicates else "not kept"
        record = DrawRecord(
            block=block,
            protostructure=_name(one),
            outcome="kept" if place in samples else left,
            predicted=_number(values[place, 0]),
            predicted_std=_number(values[place, 1]),
            rank=int(ranks[place]),
            sample=samples.get(place),
        )
        ranked.append((one, record))
    return ranked


def keep_all(draw: Draw, *, first: int, n: int) -> RankedSamples:
    """Return samples number `first` to `first + n` as they are drawn, with the records of what was refused.

    Args:
        draw: Draws protostructures number `first` and on of a stream.
        first: Number of the first sample.
        n: How many.
    """
    refused: list[Protostructure] = []
    drawn = draw(first, n, refused)
    known = [DrawRecord(block=first, protostructure=_name(one), outcome="known") for one in refused]
    kept = [
        DrawRecord(block=first, protostructure=_name(one), outcome="kept", sample=first + place)
        for place, one in enumerate(drawn)
        if one is not None
    ]
    return RankedSamples(protostructures=drawn, records=(*known, *kept))


def _name(protostructure: Protostructure) -> str:
    return write_label(canonical(protostructure))


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
