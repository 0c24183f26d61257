"""What samples can be asked to be: one set of settings for all systems, whatever each makes of it."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import field_validator

from repdiff.errors import UserError
from repdiff.settings.base import Options, setting

FLAGS = (
    "formula_units",
    "chemical_system",
    "elements_allowed",
    "elements_excluded",
    "space_group",
    "crystal_system",
    "n_atoms",
    "volume_per_atom",
)
"""Conditions that have a setting of their own, by the name that `condition` may give them as well."""
CELL = ("a", "b", "c", "alpha", "beta", "gamma")
PLAIN = (
    "density",
    "volume_per_atom",
    "shortest_distance",
    "mass_per_atom",
    "formula_mass",
    "hhi_production",
    "hhi_reserve",
)
"""Properties that formula and cell tell without a label; `repdiff.crystals.plain_properties` computes them."""
HELD = "held_"  # before the part of a vector that is held, in the name of the condition
ADAPTED = ("chemical_system", "space_group")
"""Conditions that a fine-tuned model may have been taught, as well as any label of a data set."""


class ConditionSettings(Options):
    """What all samples of a run are asked to be, beside a composition."""

    formula_units: str | None = setting(
        None,
        "With a composition: how many times it the cell holds, such as 1-4; default: once",
        group="conditions",
    )
    chemical_system: str | None = setting(
        None,
        "Elements that samples shall have, all of them and no others, such as Li-Fe-O",
        group="conditions",
    )
    elements_allowed: str | None = setting(
        None, "Elements that samples may have, such as Li-Na-K-O-S", group="conditions"
    )
    elements_excluded: str | None = setting(
        None, "Elements that samples shall not have, such as Pb-Cd-Hg", group="conditions"
    )
    space_group: str | None = setting(
        None, "Space groups that samples may have, by number, such as 225 or 221,225,227", group="conditions"
    )
    crystal_system: str | None = setting(
        None, "Crystal systems that samples may have, such as cubic or tetragonal,cubic", group="conditions"
    )
    n_atoms: str | None = setting(
        None, "Atoms of the cell that is made, the primitive one, such as 8 or 5-12", group="conditions"
    )
    volume_per_atom: str | None = setting(
        None,
        "Volume per atom, Å³: a range such as 10-14, or a value with a tolerance, 12±1",
        group="conditions",
    )
    lattice: dict[str, Any] = setting(
        {},
        "Lengths (Å) and angles (degrees) of the conventional cell, such as a=4.1±0.05,c=6-7 (+- for ±): a, b, c, "
        "alpha, beta, gamma; may be repeated",
        group="conditions",
    )
    condition: dict[str, Any] = setting(
        {},
        "Any condition by its name, such as density=5-7 or hhi_production=..2000; for a model from finetune also "
        "properties that it was taught, band_gap=1.5; may be repeated",
        group="conditions",
    )

    hold: dict[str, Any] = setting(
        {},
        "Parts of the vector to hold while the rest is drawn, of models that make vectors: a number, such as "
        "composition.Li=0.25 or volume=12.5, or a file with the crystal that has them, cell=structure.cif; may be "
        "repeated",
        group="conditions",
    )

    @field_validator(*(name for name in FLAGS if name != "volume_per_atom"), mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        """Take numbers and lists from Python and YAML, where the command line has text."""
        return _text(value, ",")

    @field_validator("volume_per_atom", mode="before")
    @classmethod
    def _as_range(cls, value: object) -> object:
        """Take both ends from Python and YAML."""
        return _text(value, "..")

    def asked(self) -> dict[str, Any]:
        """Gather what is asked for, by the names of conditions; a length of the cell is `lattice_a`.

        Raises:
            UserError: If one is asked for in two ways.

        Example:
            >>> ConditionSettings(space_group="225", lattice={"a": "4-5"}).asked()
            {'space_group': '225', 'lattice_a': '4-5'}
        """
        named = {name: value for name in FLAGS if (value := getattr(self, name)) is not None}
        return joined(named, lattice_conditions(self.lattice), self.condition)


def lattice_conditions(lattice: Mapping[str, Any]) -> dict[str, Any]:
    """Return lengths and angles by the names of their conditions.

    Raises:
        UserError: If there is another name.
    """
    if strange := [name for name in lattice if name not in CELL]:
        raise UserError(f"`lattice` gives {strange[0]!r}, expected some of {', '.join(CELL)}")
    return {f"lattice_{name}": value for name, value in lattice.items()}


def joined(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Put conditions of several sources together.

    Raises:
        UserError: If one is in two of them.
    """
    found: dict[str, Any] = {}
    for part in parts:
        if twice := [name for name in part if name in found]:
            raise UserError(f"{twice[0]} is asked for twice, expected it once")
        found |= part
    return found


def asks_for_learnt(condition: Iterable[str]) -> bool:
    """Tell whether `condition` may ask for what a model was taught, so that a fine-tuned one is meant."""
    plain = {*FLAGS, *(f"lattice_{name}" for name in CELL), *PLAIN} - set(ADAPTED)
    return any(name not in plain for name in condition)


def _text(value: object, between: str) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return between.join(map(str, value)) if isinstance(value, list | tuple) and value else value
