"""The models that come with the package: weights, each with a card that says what it is."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from repdiff.errors import DamagedError
from repdiff.runs.atomic_files import read_json

WEIGHTS = Path(__file__).parents[1] / "weights"
REINSTALL = "install repdiff again"


class Figure(BaseModel):
    """One measure of the crystals that a model made.

    Attributes:
        name: The measure in words, with its unit.
        value: The measured value.
        interval: Bounds of the 95 % interval; None if none was computed.
        baseline: The same measure of real crystals that the model has not seen, or of training crystals; None if it has
            no sense for them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    value: float
    interval: tuple[float, float] | None = None
    baseline: float | None = None

    def row(self) -> str:
        """Write it as a row of a table."""
        interval = "" if self.interval is None else f"{self.interval[0]:.4g} to {self.interval[1]:.4g}"
        baseline = "" if self.baseline is None else f"{self.baseline:.4g}"
        return f"| {self.name} | {self.value:.4g} | {interval} | {baseline} |"


class ModelCard(BaseModel):
    """What a shipped model is.

    Attributes:
        name: The name by which it is loaded.
        backend: The system it is a model of.
        summary: One line.
        data: Training data, and their split.
        licence: Licence of the training data.
        cite: What to cite for the data.
        conditions: Labels that samples can be asked for, with their units.
        training: What the training took: minutes, steps, seed, hardware, versions.
        sampling: Settings of `repdiff generate` that hold unless others are given; the figures are of samples made so.
        judged: How the samples were made and judged, in words.
        figures: What was measured.
        weak_at: What the model is bad at.
        sha256: Hash of the file of weights.
        version: Version of repdiff that packed it.

    Example:
        >>> import repdiff as rd
        >>> rd.shipped_models()["perov_5"].conditions
        {'heat_all': 'eV/atom', 'dir_gap': 'eV'}
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    backend: str
    summary: str
    data: str
    licence: str
    cite: tuple[str, ...]
    conditions: dict[str, str]
    training: dict[str, Any]
    sampling: dict[str, Any]
    judged: str
    figures: tuple[Figure, ...]
    weak_at: tuple[str, ...]
    sha256: str
    version: str

    @property
    def path(self) -> Path:
        """The file of weights."""
        return WEIGHTS / f"{self.name}.safetensors"

    def text(self) -> str:
        """Write the card as a page in Markdown."""
        lines = [
            f"## {self.name}",
            "",
            self.summary,
            "",
            f"- System: `{self.backend}`",
            f"- Data: {self.data}",
        ]
        lines += [f"- Licence of the data: {self.licence}", f"- Cite: {'; '.join(self.cite)}"]
        if self.conditions:
            known = ", ".join(f"`{name}`{unit and f' ({unit})'}" for name, unit in self.conditions.items())
            lines.append(f"- Can be asked for, beside what every model of the system takes: {known}")
        lines += [
            f"- Training: {_listed(self.training)}",
            f"- Samples unless told otherwise: {_listed(self.sampling)}",
        ]
        lines += [f"- SHA-256 of the weights: `{self.sha256}`", f"- Packed by repdiff {self.version}", ""]
        lines += [self.judged, "", "| | crystals made | 95 % interval | baseline |", "|---|---|---|---|"]
        lines += [one.row() for one in self.figures]
        return "\n".join([*lines, "", "Weak at:", "", *(f"- {one}" for one in self.weak_at)])


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())


@cache
def shipped_models() -> dict[str, ModelCard]:
    """Return the cards of the models that come with the package, by name.

    Raises:
        DamagedError: If a card is not what was shipped.

    Example:
        >>> shipped_models()["mp_20"].backend
        'structrepdiff'
    """
    return {file.stem: read_card(file) for file in sorted(WEIGHTS.glob("*.json"))}


def read_card(file: Path) -> ModelCard:
    """Read a card.

    Raises:
        DamagedError: If it is not what was shipped.
    """
    values = read_json(file)
    try:
        return ModelCard.model_validate(values)
    except ValidationError as error:
        raise DamagedError(f"{file}: damaged, no card of a model", REINSTALL) from error


def card_of(path: Path) -> ModelCard | None:
    """Return the card of a file of weights; None if it is none of the package."""
    if path.parent.resolve() != WEIGHTS.resolve():
        return None
    return shipped_models().get(path.stem)


def sampling_unless(path: Path, given: set[str]) -> dict[str, Any]:
    """Return the settings of sampling that a shipped model brings along, but for those that are given.

    A number of steps belongs to its sampler: it is left out where another sampler is given. Both are left out where
    parts of vectors are held, which has a sampler of its own.

    Args:
        path: File or folder of a model; one that is not shipped brings nothing.
        given: Names of the settings that are given.
    """
    card = card_of(path)
    if card is None:
        return {}
    taken = given | ({"sampler", "steps"} if given & {"hold", "sampler"} else set())
    return {name: value for name, value in card.sampling.items() if name not in taken}
