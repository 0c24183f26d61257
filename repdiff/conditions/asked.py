"""All that is asked of the samples of a run, and how the system that makes them honours it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from descriptors.symmetry.protostructure import Protostructure
from repdiff.conditions.contradictions import contradiction
from repdiff.conditions.grammar import read_back
from repdiff.conditions.how import How
from repdiff.conditions.kinds import Condition, FormulaUnits, Learnt, Numbers
from repdiff.crystals.formula import Composition, formula_text
from repdiff.errors import UserError
from repdiff.runs.atomic_files import read_json, write_json

ASKED = "asked.json"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is asked of samples.

    Attributes:
        conditions: What is asked of all alike, by name.
        how: How each is honoured.
        compositions: Formulas that samples take in turn; empty if none are asked for.
    """

    conditions: Mapping[str, Condition] = field(default_factory=dict)
    how: Mapping[str, How] = field(default_factory=dict)
    compositions: tuple[Composition, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether anything is asked."""
        return bool(self.conditions or self.compositions)

    @property
    def of_backend(self) -> dict[str, Condition]:
        """The conditions that the system itself has to see to; the others are checked on its crystals."""
        return {name: one for name, one in self.conditions.items() if self.how[name] is not How.SELECTED}

    def of_sample(self, number: int) -> list[Condition]:
        """Return what is asked of one sample; formula units are part of its composition."""
        shared = [one for name, one in self.conditions.items() if name != "formula_units"]
        if not self.compositions:
            return shared
        counts = self.compositions[number % len(self.compositions)]
        units = self.conditions.get("formula_units")
        formula = FormulaUnits(
            name="composition",
            counts=tuple(sorted(counts.items())),
            units=units.numbers if isinstance(units, Numbers) else frozenset({1}),
        )
        return [formula, *shared]

    def of_rows(self, numbers: Sequence[int]) -> "Asked":
        """Return what is asked of some of the samples, which are counted anew."""
        formulas = self.compositions
        return replace(
            self,
            compositions=tuple(formulas[number % len(formulas)] for number in numbers) if formulas else (),
        )

    def check(
        self,
        *,
        compositions: Sequence[Composition] | None = None,
        protostructures: Sequence[Protostructure] | None = None,
    ) -> None:
        """Refuse conditions that contradict each other, or what is given for single samples.

        Raises:
            UserError: If nothing can obey.
        """
        given: list[Composition | Protostructure | None] = [*(compositions or ()), *(protostructures or ())]
        for one in given or [None]:
            if reason := contradiction(self.conditions, one):
                raise UserError(reason)

    def write(self, folder: Path) -> None:
        """Write it beside what was made, so that it can be judged once there are crystals; nothing without need."""
        if self:
            write_json(folder / ASKED, self.to_json())

    @classmethod
    def read(cls, folder: Path) -> "Asked":
        """Read what was asked of the samples in a folder: nothing, if there is no such file.

        Raises:
            UserError: If the file is damaged.
        """
        path = folder / ASKED
        if not path.is_file():
            return cls()
        try:
            return cls.from_json(read_json(path))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{path}: damaged ({error}), expected what `repdiff generate` wrote") from error

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "conditions": {name: one.text for name, one in self.conditions.items()},
            "how": {name: how.value for name, how in self.how.items()},
            "learnt": [name for name, one in self.conditions.items() if isinstance(one, Learnt)],
            "compositions": [formula_text(counts) for counts in self.compositions],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Asked":
        """Read what `to_json` returned; values of labels come back as text."""
        learnt = set(data["learnt"])
        formulas = {text: dict(_formula(text).counts) for text in set(data["compositions"])}
        return cls(
            conditions={
                name: Learnt(name=name, value=text) if name in learnt else read_back(name, text)
                for name, text in data["conditions"].items()
            },
            how={name: How(how) for name, how in data["how"].items()},
            compositions=tuple(formulas[text] for text in data["compositions"]),
        )


def _formula(text: str) -> FormulaUnits:
    found = read_back("composition", text)
    assert isinstance(found, FormulaUnits)
    return found
