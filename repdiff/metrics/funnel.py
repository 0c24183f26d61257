"""How many protostructures were drawn, and how many were left after each step, up to the stable crystals.

Every stage is counted from what a run wrote: the table of draws, manifests, and what the metrics say of each structure.
What was not run has no stage. A stage that was given only some of what the one before it left says of how many.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from repdiff.errors import UserError
from repdiff.metrics.base import CellValue, MetricResult
from repdiff.metrics.bootstrap import Interval, interval_of_mean
from repdiff.representations.draws import DRAWS_FILE, DrawRecord, read_draws
from repdiff.runs.manifest import Manifest, read_manifest

MEANING = {
    "drawn": "protostructures that were drawn",
    "distinct": "different ones among them",
    "new": "of these, not a training crystal's",
    "kept": "ranked best, and given a vector",
    "built": "crystals that were made of them",
    "relaxed": "crystals that a force field relaxed",
    "stable": "at most 0.1 eV/atom above the hull",
    "sun": "stable, unique and novel",
}
"""What each stage counts, in the order of the stages."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage.

    Attributes:
        name: One of `MEANING`.
        n: What is left.
        of: What it was left of; None for the first.
    """

    name: str
    n: int
    of: int | None = None

    @property
    def share(self) -> float | None:
        """What share is left; None for the first stage, and of nothing."""
        return self.n / self.of if self.of else None

    @property
    def interval(self) -> Interval | None:
        """95 % interval of the share, by bootstrap; None where there is none."""
        return interval_of_mean([1] * self.n + [0] * (self.of - self.n)) if self.of else None

    def to_json(self) -> dict[str, object]:
        """Return it as plain JSON values."""
        interval = None if self.interval is None else list(self.interval)
        return {
            "stage": self.name,
            "what": MEANING[self.name],
            "n": self.n,
            "of": self.of,
            "share": self.share,
            "interval": interval,
        }


def find_funnel(
    structures: Path, results: Mapping[str, MetricResult], *, n_crystals: int, n_failed: int
) -> tuple[Stage, ...]:
    """Count the stages behind crystals of a run, and what their evaluation says of them.

    Args:
        structures: Folder of the run that made the crystals, or whatever else they are from.
        results: What the metrics said of them.
        n_crystals: Crystals that were evaluated.
        n_failed: Those that should exist and do not.

    Returns:
        The stages that were run; none for crystals that no run of this package made.
    """
    try:
        maker = read_manifest(structures) if (structures / "manifest.json").is_file() else None
        if maker is None or maker.verb not in ("generate", "reconstruct") or maker.config.get("dataset"):
            return ()
        stages = list(_made(structures, maker, n_crystals, n_failed))
    except UserError as error:
        log.warning("no funnel: %s", error)
        return ()
    if "stability" in results:
        stages += _relaxed(results["stability"].columns, n_crystals)
    return tuple(stages)


def _made(folder: Path, maker: Manifest, n_crystals: int, n_failed: int) -> Iterator[Stage]:
    """Count what was drawn, as far as the run that drew it is still there, and what was built."""
    source = folder if maker.verb == "generate" else _generated(folder, maker)
    if source is not None:
        generation = read_manifest(source)
        n_samples = int(generation.summary.get("n") or 0)
        if (source / DRAWS_FILE).is_file():
            yield from _drawn(read_draws(source / DRAWS_FILE), generation.config, n_samples)
        elif n_samples:
            yield Stage(name="drawn", n=n_samples)
    yield Stage(name="built", n=n_crystals, of=n_crystals + n_failed)


def _generated(folder: Path, maker: Manifest) -> Path | None:
    """Find the run whose vectors were inverted: where it was, or beside this one in a workspace that was moved."""
    if (found := maker.inputs.get("generated")) is None:
        return None
    then = Path(found.path)
    places = (then, folder.parent.parent / "generate" / then.name)
    return next((place for place in places if (place / "manifest.json").is_file()), None)


def _drawn(draws: Sequence[DrawRecord], config: Mapping[str, object], n_samples: int) -> Iterator[Stage]:
    names = {one.protostructure for one in draws}
    yield Stage(name="drawn", n=len(draws))
    yield Stage(name="distinct", n=len(names), of=len(draws))
    left = len(names)
    if config.get("new_only") or config.get("new_to"):
        n_new = len({one.protostructure for one in draws if one.outcome != "known"})
        yield Stage(name="new", n=n_new, of=left)
        left = n_new
    if config.get("keep_best") is not None:
        made = range(n_samples)  # the last block may hold more than were asked for
        yield Stage(name="kept", n=len({one.protostructure for one in draws if one.sample in made}), of=left)


def _relaxed(columns: Mapping[str, Sequence[CellValue]], n_crystals: int) -> Iterator[Stage]:
    """Count what became of the crystals that were to be relaxed."""
    tried = [place for place in range(n_crystals) if columns["stable"][place] is not None]
    if not tried:
        return
    n_relaxed = sum(columns["relaxed_energy"][place] is not None for place in tried)
    yield Stage(name="relaxed", n=n_relaxed, of=len(tried))
    if any(columns["e_above_hull"][place] is not None for place in tried):
        yield Stage(name="stable", n=sum(bool(columns["stable"][place]) for place in tried), of=n_relaxed)
    if any(columns["sun"][place] is not None for place in tried):
        yield Stage(name="sun", n=sum(bool(columns["sun"][place]) for place in tried), of=n_relaxed)
