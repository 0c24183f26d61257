"""Crystals in a notebook, to be turned by the mouse."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from repdiff.api.checks import checked
from repdiff.crystals.convert import as_crystal_set
from repdiff.crystals.structure_files import writable_of
from repdiff.crystals.structure_formats import cif_text
from repdiff.errors import UserError

if TYPE_CHECKING:
    from repdiff.crystals.convert import CrystalsLike
else:
    CrystalsLike = object

COLUMNS = 3  # pictures beside each other
STYLE = {"sphere": {"scale": 0.3}, "stick": {"radius": 0.1}}


@checked
def view(
    crystals: CrystalsLike,
    *,
    n: int = 6,
    supercell: Sequence[int] = (1, 1, 1),
    width: int = 280,
    height: int = 260,
    script: str | None = None,
) -> Any:  # noqa: ANN401 (py3Dmol.view, which has no types)
    """Show crystals in a notebook, several in a grid; the mouse turns them.

    It needs `pip install "repdiff[notebook]"`. The notebook's page fetches 3Dmol.js from a public server when the
    pictures are shown; repdiff itself fetches nothing.

    Args:
        crystals: Structures, atoms, crystals, or a set of them; those that no file can hold are left out.
        n: Number of crystals shown at most, the first ones.
        supercell: How often each cell is repeated along a, b and c.
        width: Width of a picture, px.
        height: Height of a picture, px.
        script: Address of a copy of `3Dmol-min.js`, for notebooks without network; None for that of py3Dmol.

    Returns:
        The `py3Dmol.view`, which a notebook shows if it is the last line of a cell.

    Raises:
        UserError: If something is no crystal, none can be shown, or py3Dmol is not installed.

    Example:
        >>> import repdiff as rd
        >>> from ase.build import bulk
        >>> shown = rd.view([bulk("Cu"), bulk("Fe")], supercell=(2, 2, 2))
        >>> "data_Cu" in shown.write_html()
        True
    """
    times = _times(supercell)
    for name, value in (("n", n), ("width", width), ("height", height)):
        if value < 1:
            raise UserError(f"{name} is {value}, expected at least 1")
    shown = writable_of(as_crystal_set(crystals)).crystals[:n]
    if not shown:
        raise UserError("crystals holds none that can be shown, expected one or more")
    columns = min(len(shown), COLUMNS)
    rows = math.ceil(len(shown) / columns)
    made = _empty((rows, columns), (width * columns, height * rows), script)
    for place, crystal in enumerate(shown):
        viewer = divmod(place, columns)
        made.addModel(cif_text(crystal), "cif", viewer=viewer)
        made.setStyle(STYLE, viewer=viewer)
        made.addUnitCell(viewer=viewer)
        if times != (1, 1, 1):
            made.replicateUnitCell(*times, viewer=viewer)
        made.addLabel(
            crystal.formula,
            {"useScreen": True, "screenOffset": {"x": 5, "y": -5}, "fontSize": 12},
            viewer=viewer,
        )
        made.zoomTo(viewer=viewer)
    return made


def _times(supercell: Sequence[int]) -> tuple[int, ...]:
    times = tuple(supercell)
    if len(times) != 3 or not all(isinstance(one, int) and one >= 1 for one in times):
        raise UserError(
            f"supercell is {supercell!r}, expected three whole numbers of at least 1, such as (2, 2, 1)"
        )
    return times


def _empty(grid: tuple[int, int], size: tuple[int, int], script: str | None) -> Any:  # noqa: ANN401
    try:
        import py3Dmol
    except ImportError as error:
        raise UserError('py3Dmol is not installed: pip install "repdiff[notebook]"') from error
    where = {} if script is None else {"js": script}
    return py3Dmol.view(width=size[0], height=size[1], viewergrid=grid, linked=False, **where)
