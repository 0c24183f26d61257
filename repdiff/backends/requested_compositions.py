"""What a user asks samples to be: one formula, a file of formulas or of protostructures, or those of a data set."""

import logging
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from descriptors.symmetry.labels import parse_label
from descriptors.symmetry.protostructure import Protostructure
from repdiff.crystals.formula import Composition, count_elements, parse_formula
from repdiff.datasets.sources import CrystalSets
from repdiff.errors import UserError
from repdiff.execution.jobs import workers_to_use
from repdiff.hardware import n_cores
from repdiff.metrics.targets import MARK
from repdiff.runs.workspace import Workspace
from repdiff.settings import GenerateSettings
from repdiff.settings.paths import home_expanded
from repdiff.symmetry import read_protostructures

LABEL_FILES = ("", ".txt")  # endings of files of labels; others hold crystals
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CompositionRequest:
    """What samples are asked to be made of, taken in turn.

    Attributes:
        compositions: One or more.
        targets: Names of the known crystals that these are the compositions of; empty if there are none.
        protostructures: One for each composition, where samples are asked to have these; else None.
    """

    compositions: list[Composition]
    targets: list[str] = field(default_factory=list)
    protostructures: list[Protostructure] | None = None

    @classmethod
    def of_labels(cls, labels: Sequence[str | Protostructure], *, source: str) -> "CompositionRequest":
        """Ask for protostructures that are written as labels, or in hand.

        Args:
            labels: One or more, such as "AB_cF8_225_a_b:Cl-Na".
            source: Where they come from, for the message.

        Raises:
            UserError: If one cannot be read.
        """
        return _request([one if isinstance(one, Protostructure) else _parse(source, one) for one in labels])

    def part(self, first: int, n: int) -> list[Composition]:
        """Return the compositions of samples number `first` to `first + n`."""
        return [self.compositions[number % len(self.compositions)] for number in range(first, first + n)]

    def arguments(self, first: int, n: int) -> dict[str, Any]:
        """Return what `Backend.sample` and `check` are given of it for samples number `first` to `first + n`."""
        if self.protostructures is None:
            return {"compositions": self.part(first, n)}
        places = [number % len(self.protostructures) for number in range(first, first + n)]
        return {"protostructures": [self.protostructures[place] for place in places]}

    def without(self, targets: Container[str]) -> "CompositionRequest":
        """Leave the compositions of some targets out."""
        kept = [place for place, name in enumerate(self.targets) if name not in targets]
        return CompositionRequest(
            compositions=[self.compositions[place] for place in kept],
            targets=[self.targets[place] for place in kept],
            protostructures=self.protostructures and [self.protostructures[place] for place in kept],
        )


def sample_names(wanted: CompositionRequest | None, n: int, *, first: int = 0) -> list[str]:
    """Name samples: after the crystal whose composition they have, so that they are judged as attempts at it.

    Args:
        wanted: What they are asked to be made of, if anything.
        n: How many.
        first: Number of the first.

    Returns:
        "mp-149#0" for the first attempt at mp-149, "gen-000000" for the first sample of no target.
    """
    if wanted is None or not wanted.targets:
        return [f"gen-{number:06d}" for number in range(first, first + n)]
    rounds = [divmod(number, len(wanted.targets)) for number in range(first, first + n)]
    return [f"{wanted.targets[place]}{MARK}{attempt}" for attempt, place in rounds]


def read_compositions(settings: GenerateSettings, workspace: Workspace) -> CompositionRequest | None:
    """Return the compositions or protostructures that were asked for; None if none were.

    Raises:
        UserError: If one cannot be read, there is none, or they are asked for in two ways.
    """
    ways = {
        "`composition`": settings.composition,
        "`compositions`": settings.compositions,
        "`compositions_from`": settings.compositions_from,
        "`protostructures`": settings.protostructures,
    }
    given = [name for name, value in ways.items() if value is not None]
    if len(given) > 1:
        raise UserError(f"both {given[0]} and {given[1]} are given, expected one of them")
    if settings.composition is not None:
        return CompositionRequest(compositions=[parse_formula(settings.composition)])
    if settings.compositions is not None:
        return CompositionRequest(compositions=_read_file(settings.compositions))
    if settings.compositions_from is not None:
        sets = CrystalSets(data_dir=settings.data_dir, workspace=workspace)
        known = sets.known(settings.compositions_from)
        return CompositionRequest(
            compositions=[count_elements(crystal) for crystal in known],
            targets=[crystal.id for crystal in known],
        )
    if settings.protostructures is not None:
        return _read_protostructures(settings, workspace)
    return None


def _read_protostructures(settings: GenerateSettings, workspace: Workspace) -> CompositionRequest:
    """Read labels from a text file, or protostructures off crystals; what has none is left out."""
    source = str(settings.protostructures)
    file = home_expanded(source)
    if file.is_file() and file.suffix in LABEL_FILES:
        labels = _lines(file, "label", "AB_cF8_225_a_b:Cl-Na")
        return CompositionRequest.of_labels(labels, source=source)
    crystals = CrystalSets(data_dir=settings.data_dir, workspace=workspace).known(source)
    readings = read_protostructures(crystals, n_workers=workers_to_use(None, n_cores()), progress=True)
    pairs = [
        (crystal.id, reading.protostructure)
        for crystal, reading in zip(crystals, readings, strict=True)
        if reading.protostructure is not None
    ]
    if lost := [reading.reason for reading in readings if reading.protostructure is None]:
        log.warning(
            "%d of %d crystals of %s left out, which have no protostructure, the first: %s",
            len(lost), len(crystals), source, lost[0],
        )  # fmt: skip
    if not pairs:
        raise UserError(f"no crystal of {source} has a protostructure: {lost[0]}")
    return _request([one for _, one in pairs], [name for name, _ in pairs])


def _request(protostructures: list[Protostructure], targets: Sequence[str] = ()) -> CompositionRequest:
    formulas: list[Composition] = [one.composition() for one in protostructures]
    return CompositionRequest(compositions=formulas, targets=list(targets), protostructures=protostructures)


def _parse(source: str, label: str) -> Protostructure:
    try:
        return parse_label(label)
    except ValueError as error:
        raise UserError(f"{source}: {error}") from error


def _read_file(path: Path) -> list[Composition]:
    return [parse_formula(formula) for formula in _lines(path, "formula", "Li2Fe2O4")]


def _lines(path: Path, what: str, example: str) -> list[str]:
    """Read a text file line by line; empty lines and what follows a # do not count."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read, expected a text file with one {what} a line") from error
    found = [text for line in lines if (text := line.partition("#")[0].strip())]
    if not found:
        raise UserError(f"{path} holds no {what}, expected one a line, such as {example}")
    return found
