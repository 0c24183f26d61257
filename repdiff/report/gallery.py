"""Structures for the gallery: geometry, a drawing as SVG, a CIF, and what is known of each."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from descriptors.symmetry.symbols import MAX_ATOMIC_NUMBER
from repdiff.crystals.crystal import Crystal, to_structure

EDGE = 0.02  # fractional: atoms this close to a face are drawn on the opposite one too
BOND = 1.1  # bonds are drawn up to this multiple of the sum of covalent radii
MIN_BOND = 0.4  # Å; closer atoms overlap, and are drawn without a bond
MAX_DRAWN = 250  # atoms in a drawing
VIEW = ((0.88, 0.47, 0.0), (-0.16, 0.30, 0.94))  # right and up of the drawings
SIZE = 180.0  # px of a drawing
CORNERS = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=float)
EDGES = [(a, b) for a in range(8) for b in range(a + 1, 8) if np.abs(CORNERS[a] - CORNERS[b]).sum() == 1]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A crystal as it is drawn: the atoms of one cell, those on its faces repeated.

    Attributes:
        numbers: Atomic numbers.
        positions: Cartesian, Å, around the centre of the cell.
        bonds: Pairs of atoms whose distance suggests a bond, by covalent radii; none between two metals if the
            crystal holds other elements too.
        corners: Cartesian corners of the cell, Å, in the order of `CORNERS`.
    """

    numbers: Int[np.ndarray, " n_drawn"]
    positions: Float[np.ndarray, "n_drawn 3"]
    bonds: Int[np.ndarray, "n_bonds 2"]
    corners: Float[np.ndarray, "8 3"]


def is_drawable(crystal: Crystal) -> bool:
    """Tell whether a crystal has finite coordinates, a volume and known elements."""
    return bool(
        0 < crystal.n_atoms <= MAX_DRAWN
        and np.isfinite(crystal.lattice).all()
        and np.isfinite(crystal.frac_coords).all()
        and crystal.volume > 1e-3
        and crystal.atomic_numbers.min() >= 1
        and crystal.atomic_numbers.max() <= MAX_ATOMIC_NUMBER
    )


def scene_of(crystal: Crystal) -> Scene:
    """Lay a crystal out for drawing, with the origin moved to its largest atom.

    Raises:
        ValueError: If it cannot be drawn.
    """
    from ase.data import covalent_radii
    from pymatgen.core import Element

    if not is_drawable(crystal):
        raise ValueError(f"{crystal.id} has no finite coordinates, no volume or unknown elements")
    origin = crystal.frac_coords[covalent_radii[crystal.atomic_numbers].argmax()]
    coords, numbers = [], []
    for frac, number in zip((crystal.frac_coords - origin) % 1.0, crystal.atomic_numbers, strict=True):
        shifts = [[0.0] + ([1.0] if x < EDGE else []) + ([-1.0] if x > 1 - EDGE else []) for x in frac]
        for shift in np.stack(np.meshgrid(*shifts, indexing="ij"), -1).reshape(-1, 3):
            coords.append(frac + shift)
            numbers.append(int(number))
    positions = (np.array(coords) - 0.5) @ crystal.lattice
    kinds = np.array(numbers)
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    reach = BOND * (covalent_radii[kinds][:, None] + covalent_radii[kinds][None])
    near = (distances < reach) & (distances > MIN_BOND)
    metal = np.array([Element.from_Z(int(z)).is_metal for z in kinds])
    if not metal.all():
        near &= ~(metal[:, None] & metal[None])
    bonds = np.argwhere(np.triu(near, 1))
    return Scene(numbers=kinds, positions=positions, bonds=bonds, corners=(CORNERS - 0.5) @ crystal.lattice)


def drawing(scene: Scene, title: str) -> str:
    """Draw a scene as SVG, seen from the side and a little from above; `title` is its text alternative.

    The gradients `atom-Z` that fill the atoms are those of `gradients`, once in a page.
    """
    right, up = (np.array(axis) / np.linalg.norm(axis) for axis in VIEW)
    up = up - (up @ right) * right
    up /= np.linalg.norm(up)
    towards = np.cross(right, up)
    atoms, corners = (
        np.stack([points @ right, -(points @ up), points @ towards], 1)
        for points in (scene.positions, scene.corners)
    )
    radii = drawn_radii(scene.numbers)
    everything = np.concatenate(
        [corners[:, :2], atoms[:, :2] - radii[:, None], atoms[:, :2] + radii[:, None]]
    )
    low, high = everything.min(0), everything.max(0)
    scale = (SIZE - 8) / max(float((high - low).max()), 1e-6)
    offset = SIZE / 2 - scale * (low + high) / 2
    atoms[:, :2], corners[:, :2] = atoms[:, :2] * scale + offset, corners[:, :2] * scale + offset
    middle = corners[:, 2].mean()
    parts = []
    for a, b in EDGES:
        depth = (corners[a, 2] + corners[b, 2]) / 2
        behind = "" if depth > middle else ' class="back"'
        parts.append((depth - 1e3 * (depth <= middle), _line(corners[a], corners[b], f"{behind}")))
    for a, b in scene.bonds:
        parts.append(((atoms[a, 2] + atoms[b, 2]) / 2 - 0.05, _line(atoms[a], atoms[b], ' class="bond"')))
    for atom, radius, number in zip(atoms, radii, scene.numbers, strict=True):
        x, y, r = atom[0], atom[1], scale * radius
        parts.append((atom[2], f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}" fill="url(#atom-{number})"/>'))
    body = "".join(text for _, text in sorted(parts, key=lambda part: part[0]))
    size = f"{SIZE:.0f}"
    return (
        f'<svg viewBox="0 0 {size} {size}" role="img" aria-label="{escape(title, quote=True)}">{body}</svg>'
    )


def gradients(numbers: Sequence[int]) -> str:
    """Return an invisible SVG with the shading of each element, for the drawings of a page."""
    stops = []
    for number in sorted(set(numbers)):
        colour = element_colour(number)
        stops.append(
            f'<radialGradient id="atom-{number}" cx="35%" cy="32%" r="75%">'
            f'<stop offset="0%" stop-color="{_mixed(colour, "#ffffff", 0.65)}"/>'
            f'<stop offset="45%" stop-color="{colour}"/>'
            f'<stop offset="100%" stop-color="{_mixed(colour, "#000000", 0.45)}"/></radialGradient>'
        )
    return f'<svg width="0" height="0" aria-hidden="true" class="shades"><defs>{"".join(stops)}</defs></svg>'


def drawn_radii(numbers: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return the radii of the drawn spheres, Å: less than half of a bond."""
    from ase.data import covalent_radii

    return 0.22 + 0.28 * covalent_radii[numbers].astype(np.float64)


def element_colour(number: int) -> str:
    """Return the colour of an element, as Jmol has it."""
    from ase.data.colors import jmol_colors

    table = jmol_colors[number] if number < len(jmol_colors) else (0.7, 0.7, 0.7)
    return "#" + "".join(f"{round(255 * float(part)):02x}" for part in table)


def cif_of(crystal: Crystal) -> str:
    """Write a crystal as CIF, symmetry P1, nothing symmetrised."""
    from pymatgen.io.cif import CifWriter

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No Pauling electronegativity")  # used to sort symbols only
        return str(CifWriter(to_structure(crystal), significant_figures=8))


def reduced_formula(crystal: Crystal) -> str:
    """Return the reduced formula; "?" with an unknown element."""
    from pymatgen.core import Composition, Element

    numbers = crystal.atomic_numbers
    if len(numbers) == 0 or numbers.min() < 1 or numbers.max() > MAX_ATOMIC_NUMBER:
        return "?"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No Pauling electronegativity")
        found, counts = np.unique(numbers, return_counts=True)
        return Composition(
            {Element.from_Z(int(z)): int(n) for z, n in zip(found, counts, strict=True)}
        ).reduced_formula


def scene_to_json(scene: Scene) -> dict[str, Any]:
    """Return what the page needs to show a scene in 3-D: numbers rounded to 0.001 Å."""
    return {
        "z": scene.numbers.tolist(),
        "xyz": np.round(scene.positions, 3).ravel().tolist(),
        "bonds": scene.bonds.ravel().tolist(),
        "corners": np.round(scene.corners, 3).ravel().tolist(),
    }


def elements_to_json(numbers: Sequence[int]) -> dict[str, Mapping[str, Any]]:
    """Return symbol, colour and drawn radius (Å) of elements, by atomic number as text."""
    from ase.data import chemical_symbols

    return {
        str(number): {
            "symbol": chemical_symbols[number],
            "colour": element_colour(number),
            "radius": round(float(drawn_radii(np.array([number]))[0]), 3),
        }
        for number in sorted(set(numbers))
    }


def _line(start: Float[np.ndarray, " 3"], end: Float[np.ndarray, " 3"], mark: str) -> str:
    return f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}"{mark}/>'


def _mixed(colour: str, other: str, share: float) -> str:
    parts = [(int(colour[i : i + 2], 16), int(other[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in parts)
