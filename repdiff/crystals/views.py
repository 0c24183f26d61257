"""Crystals as other libraries and notebooks want them: pymatgen, ASE, pandas, HTML."""

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from repdiff.crystals.crystal import Crystal, to_structure
from repdiff.crystals.formula import safe_formula

if TYPE_CHECKING:
    import pandas as pd
    from ase import Atoms
    from pymatgen.core import Structure

N_SHOWN = 10  # rows of a table in a notebook
N_NAMED = 5  # failures that a notebook names


def structures_of(crystals: Sequence[Crystal]) -> list["Structure"]:
    """Convert crystals to pymatgen structures; `properties` holds each one's id and labels."""
    structures = []
    for crystal in crystals:
        structure = to_structure(crystal)
        structure.properties = {"id": crystal.id, **crystal.labels}
        structures.append(structure)
    return structures


def atoms_of(crystals: Sequence[Crystal]) -> list["Atoms"]:
    """Convert crystals to ASE atoms; `info` holds each one's id and the labels that have a value."""
    from ase import Atoms

    return [
        Atoms(
            numbers=crystal.atomic_numbers,
            scaled_positions=crystal.frac_coords,
            cell=crystal.lattice,
            pbc=True,
            info={"id": crystal.id, **{k: v for k, v in crystal.labels.items() if v not in (None, "")}},
        )
        for crystal in crystals
    ]


@np.errstate(over="ignore", invalid="ignore")  # infinite labels and volumes stay what they are
def frame_of(crystals: Sequence[Crystal], failed: Mapping[str, str] | None = None) -> "pd.DataFrame":
    """Put crystals into a data frame: one row each, the failed last.

    Returns:
        Index `id`; columns formula, n_atoms, volume (Å³), split if any crystal has one, one column per label, and
        `failure` if anything failed.
    """
    import pandas as pd

    rows: list[dict[str, object]] = []
    has_splits = any(crystal.split for crystal in crystals)
    for crystal in crystals:
        volume = crystal.volume if np.isfinite(crystal.lattice).all() else None
        own = {"formula": safe_formula(crystal), "n_atoms": crystal.n_atoms, "volume": volume}
        split = {"split": crystal.split} if has_splits else {}
        rows.append({"id": crystal.id, **own, **split, **_labels(crystal, own)})
    rows += [{"id": name, "failure": reason} for name, reason in (failed or {}).items()]
    columns = list(
        dict.fromkeys(["id", "formula", "n_atoms", "volume", *(key for row in rows for key in row)])
    )
    frame = pd.DataFrame(rows, columns=pd.Index(columns))
    return frame.convert_dtypes(convert_floating=False).set_index("id")


def html_of(
    title: str,
    frame: "pd.DataFrame",
    failed: Mapping[str, str] | None = None,
    *,
    lost: str = "failed",
    n_shown: int = N_SHOWN,
) -> str:
    """Write what a notebook shows: a title, the first rows of a table, and what failed with its reasons."""
    parts = [f"<p><b>{html.escape(title)}</b></p>", frame.head(n_shown).to_html(max_cols=12, na_rep="")]
    if len(frame) > n_shown:
        parts.append(f"<p>{n_shown} of {len(frame)} rows; all of them by <code>to_frame()</code>.</p>")
    if failed:
        named = list(failed.items())[:N_NAMED]
        more = (
            f" and {len(failed) - len(named)} more, all in <code>{lost}</code>"
            if len(failed) > N_NAMED
            else ""
        )
        listed = "; ".join(f"{html.escape(name)}: {html.escape(reason)}" for name, reason in named)
        parts.append(f"<p>{len(failed)} {lost}: {listed}{more}.</p>")
    return "\n".join(parts)


def count(n: int, thing: str) -> str:
    """Write a number with its noun: "1 crystal", "12 crystals".

    Example:
        >>> count(1, "crystal"), count(3, "crystal")
        ('1 crystal', '3 crystals')
    """
    return f"{n} {thing}" if n == 1 else f"{n} {thing}s"


def _labels(crystal: Crystal, own: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in crystal.labels.items() if name not in own}
