"""Compositions that a user asks for: one formula, a file of them, or those of a data set."""

from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path

from repdiff.crystals.formula import Composition, count_elements, parse_formula
from repdiff.datasets.sources import CrystalSets
from repdiff.errors import UserError
from repdiff.metrics.targets import MARK
from repdiff.runs.workspace import Workspace
from repdiff.settings import GenerateSettings


@dataclass(frozen=True, kw_only=True)
class CompositionRequest:
    """What samples are asked to be made of, taken in turn.

    Attributes:
        compositions: One or more.
        targets: Names of the known crystals that these are the compositions of; empty if there are none.
    """

    compositions: list[Composition]
    targets: list[str] = field(default_factory=list)

    def part(self, first: int, n: int) -> list[Composition]:
        """Return the compositions of samples number `first` to `first + n`."""
        return [self.compositions[number % len(self.compositions)] for number in range(first, first + n)]

    def without(self, targets: Container[str]) -> "CompositionRequest":
        """Leave the compositions of some targets out."""
        kept = [place for place, name in enumerate(self.targets) if name not in targets]
        return CompositionRequest(
            compositions=[self.compositions[place] for place in kept],
            targets=[self.targets[place] for place in kept],
        )


def sample_names(wanted: CompositionRequest | None, n: int) -> list[str]:
    """Name samples: after the crystal whose composition they have, so that they are judged as attempts at it.

    Returns:
        "mp-149#0" for the first attempt at mp-149, "gen-000000" for the first sample of no target.
    """
    if wanted is None or not wanted.targets:
        return [f"gen-{number:06d}" for number in range(n)]
    rounds = [divmod(number, len(wanted.targets)) for number in range(n)]
    return [f"{wanted.targets[place]}{MARK}{attempt}" for attempt, place in rounds]


def read_compositions(settings: GenerateSettings, workspace: Workspace) -> CompositionRequest | None:
    """Return the compositions that were asked for; None if none were.

    Raises:
        UserError: If a formula cannot be read, there is none, or they are asked for in two ways.
    """
    ways = {
        "`composition`": settings.composition,
        "`compositions`": settings.compositions,
        "`compositions_from`": settings.compositions_from,
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
    return None


def _read_file(path: Path) -> list[Composition]:
    """Read one formula a line; empty lines and what follows a # do not count."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read, expected a text file with one formula a line") from error
    formulas = [text for line in lines if (text := line.partition("#")[0].strip())]
    if not formulas:
        raise UserError(f"{path} holds no formula, expected one a line, such as Li2Fe2O4")
    return [parse_formula(formula) for formula in formulas]
