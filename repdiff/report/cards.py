"""The cards of the gallery: which structures are shown, and what stands on each."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from descriptors.symmetry.symbols import MAX_ATOMIC_NUMBER
from repdiff.crystals.crystal import Crystal
from repdiff.report.collect import EvaluatedRun, Record
from repdiff.report.describe import quantity_of
from repdiff.report.embed import choose
from repdiff.report.gallery import cif_of, drawing, is_drawable, reduced_formula, scene_of, scene_to_json
from repdiff.report.labels import AXES, shown_number, shown_symbol

ABSENT = "not computed"
UNDRAWN = (
    '<svg viewBox="0 0 180 180" role="img" aria-label="cannot be drawn"><text x="90" y="94" '
    'text-anchor="middle" font-size="13" fill="currentColor">cannot be drawn</text></svg>'
)
NUMBERS = (
    "loss",
    "confidence",
    "e_above_hull",
    "relaxed_energy",
    "energy_change",
    "rmsd_relaxed",
    "density",
    "volume_per_atom",
    "shortest_distance",
)
ALWAYS = ("loss", "confidence", "e_above_hull")  # shown even where they were not computed
FLAGS = {"unique": "unique", "novel": "novel", "stable": "stable", "sun": "S.U.N."}
ORDERS = (
    ("index:up", "as generated"), ("formula:up", "formula"), ("loss:up", "loss, lowest first"),
    ("loss:down", "loss, highest first"), ("confidence:down", "confidence, highest first"),
    ("e_above_hull:up", "energy above hull"), ("space_group:down", "space group, highest first"),
    ("n_atoms:up", "atoms"),
)  # fmt: skip
FILTERS = (
    ("", "all"), ("valid", "valid"), ("invalid", "invalid"), ("unique", "unique"), ("novel", "novel"),
    ("stable", "stable"), ("sun", "S.U.N."),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Card:
    """One structure of the gallery.

    `facts` stand on the card, `details` in the large view; `keys` are what cards are sorted by, and `flags`
    what they are filtered by.
    """

    id: str
    run: str
    formula: str
    formula_html: str
    group: str
    svg: str
    facts: list[tuple[str, str]]
    chips: list[tuple[str, str]]
    details: list[tuple[str, str]]
    keys: dict[str, float | int | str | None]
    flags: list[str]
    scene: dict[str, Any] | None
    cif: str | None
    numbers: list[int] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return what the page's script needs."""
        name = re.sub(r"[^A-Za-z0-9_.+-]+", "-", f"{self.id}_{self.formula}").strip("-.") or "structure"
        return {
            "id": self.id,
            "run": self.run,
            "formula": self.formula,
            "group": self.group,
            "facts": self.details,
            "keys": self.keys,
            "flags": self.flags,
            "scene": self.scene,
            "cif": self.cif,
            "file": f"{name}.cif",
        }


def cards_of(run: EvaluatedRun, n: int, *, seed: int, alone: bool = False) -> list[Card]:
    """Choose structures of a run at random, good and bad alike, and make their cards.

    Args:
        run: The evaluation.
        n: Number of cards at most.
        seed: Seed of the choice of structures.
        alone: Whether the page shows no other run, so that cards need not name theirs.
    """
    places = sorted(run.crystals)
    return [
        card_of("" if alone else run.name, run.records[places[chosen]], run.crystals[places[chosen]])
        for chosen in choose(len(places), n, seed=seed)
    ]


def card_of(run: str, record: Record, crystal: Crystal) -> Card:
    """Make the card of one structure from what is known of it; `run` is "" if there is only one."""
    formula = str(record.get("reduced_formula") or reduced_formula(crystal))
    drawable = is_drawable(crystal)
    scene = scene_of(crystal) if drawable else None
    group = _group(record)
    shown = [("Loss", "loss"), ("Confidence", "confidence"), ("Above hull", "e_above_hull")]
    return Card(
        id=crystal.id,
        run=run,
        formula=formula,
        formula_html=re.sub(r"(?<=[A-Za-z)\]])(\d+)", r"<sub>\1</sub>", escape(formula)),
        group=group,
        svg=drawing(scene, f"{formula}, unit cell") if scene else UNDRAWN,
        facts=[(name, _quantity(record, key, absent="–")) for name, key in shown],
        chips=_chips(record),
        details=_details(run, record, crystal, group),
        keys={
            "index": _index(record),
            "formula": formula,
            "n_atoms": crystal.n_atoms,
            **{key: record.get(key) for key in ("loss", "confidence", "e_above_hull", "space_group")},
        },
        flags=_flags(record),
        scene=scene_to_json(scene) if scene else None,
        cif=cif_of(crystal) if drawable else None,
        numbers=scene.numbers.tolist() if scene else [],
    )


def useful(choices: Sequence[tuple[str, str]], cards: Sequence[Card]) -> list[tuple[str, str]]:
    """Keep the orders and filters that make a difference to some card."""
    keys = {key for card in cards for key, value in card.keys.items() if value is not None}
    flags = {flag for card in cards for flag in card.flags}
    return [
        (value, text)
        for value, text in choices
        if value == "" or value.partition(":")[0] in keys or value in flags
    ]


def _details(run: str, record: Record, crystal: Crystal, group: str) -> list[tuple[str, str]]:
    found = [("Name", crystal.id)] + ([("Run", run)] if run else [])
    found.append(("Formula of the cell", _cell_formula(crystal)))
    found += [("Space group", group), ("Atoms", str(crystal.n_atoms))]
    sizes = {key: float(quantity_of([crystal], key)[0]) for key in ("density", "volume_per_atom")}
    for key in NUMBERS:
        text = _quantity({**sizes, **record}, key)
        if text != ABSENT or key in ALWAYS:
            found.append((AXES[key].name, text))
    for key, name in (("structure", "Structure"), ("composition", "Composition")):
        found.append((f"{name} valid", _verdict(record, key)))
    for key, other in (("unique", "duplicate_of"), ("novel", "known_as"), ("stable", ""), ("sun", "")):
        if record.get(key) is not None:
            same = f": the same as {record[other]}" if record.get(other) else ""
            found.append(
                (
                    FLAGS[key].capitalize() if key != "sun" else FLAGS[key],
                    ("yes" if record[key] else "no") + same,
                )
            )
    if record.get("match_id"):
        found.append(("Matches", str(record["match_id"])))
    if record.get("stopped"):
        found.append(("Search ended", str(record["stopped"])))
    return found


def _cell_formula(crystal: Crystal) -> str:
    numbers = crystal.atomic_numbers
    known = len(numbers) > 0 and numbers.min() >= 1 and numbers.max() <= MAX_ATOMIC_NUMBER
    return crystal.formula if known else "?"


def _verdict(record: Record, key: str) -> str:
    valid, reason = record.get(f"{key}_valid"), record.get(f"{key}_reason")
    if valid is None:
        return ABSENT
    return ("yes" if valid else "no") + (f": {reason}" if reason else "")


def _group(record: Record) -> str:
    number, symbol = record.get("space_group"), record.get("space_group_symbol")
    if number is None and symbol is None:
        return ABSENT
    parts = [
        shown_symbol(str(symbol)) if symbol else "",
        f"({int(number)})" if isinstance(number, int | float) else "",
    ]
    system = record.get("crystal_system")
    return " ".join(filter(None, parts)) + (f", {system}" if system else "")


def _quantity(record: Record, key: str, absent: str = ABSENT) -> str:
    value = record.get(key)
    if not isinstance(value, int | float) or value != value:
        return absent
    return f"{shown_number(value)} {AXES[key].unit}".rstrip()


def _valid(record: Record) -> bool | None:
    found = [record.get("structure_valid"), record.get("composition_valid")]
    found = [bool(value) for value in found if value is not None]
    return all(found) if found else None


def _chips(record: Record) -> list[tuple[str, str]]:
    valid = _valid(record)
    chips = [] if valid is None else [("good", "valid")] if valid else [("bad", "invalid")]
    for key, text in FLAGS.items():
        if record.get(key):
            chips.append(("good", text))
        elif record.get(key) is not None and key != "sun":
            chips.append(("", f"not {text}"))
    return chips


def _flags(record: Record) -> list[str]:
    valid = _valid(record)
    return ([] if valid is None else ["valid" if valid else "invalid"]) + [k for k in FLAGS if record.get(k)]


def _index(record: Record) -> int | None:
    value = record.get("index")
    return value if isinstance(value, int) else None
