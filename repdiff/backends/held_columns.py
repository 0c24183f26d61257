"""Which entries of a model's vectors a held part means, by the blocks that the model draws."""

import re

from descriptors.symmetry.cell_shape import N_SHAPE
from descriptors.symmetry.symbols import ATOMIC_NUMBERS, SYMBOLS
from repdiff.conditions.held import check_part
from repdiff.errors import UserError
from repdiff.representations.layout import RepresentationSpec
from repdiff.representations.symmetric_vectors import CELL, symmetric_blocks
from repdiff.settings.conditions import CELL as LATTICE

RANGE = re.compile(r"\[(\d*):(\d*)\]")


def held_columns(part: str, layout: RepresentationSpec, *, symmetric: bool) -> list[int]:
    """Return the entries that a part means; none where the protostructure decides it.

    Args:
        part: A block, or an entry or a range of one, such as "cell", "composition.Li" or "descriptor[0:100]".
        layout: What the model was trained on.
        symmetric: Whether the model draws protostructures first, so that its vectors have the blocks of
            `repdiff.representations.symmetric_vectors`.

    Raises:
        UserError: If the model draws no such part.
    """
    block, entry = check_part(part)
    if block == "composition" and entry and ATOMIC_NUMBERS[entry] not in layout.elements:
        known = ", ".join(SYMBOLS[number - 1] for number in layout.elements)
        raise UserError(f"`hold` gives {part}, expected elements of the training data: {known}")
    if symmetric:
        return _of_symmetric(part, block, entry, layout)
    return _of_whole(part, block, entry, layout)


def _of_symmetric(part: str, block: str, entry: str, layout: RepresentationSpec) -> list[int]:
    blocks = symmetric_blocks(layout.representation())
    if block in ("composition", "n_atoms"):
        if block == "composition" and entry:
            return []
        way = "`n_atoms`" if block == "n_atoms" else "`composition`"
        raise UserError(f"`hold` gives {part}, which this model draws with the protostructure: ask for {way}")
    if block == "lattice":
        raise UserError(
            f"`hold` gives {part}, and single lengths and angles are no entries of this model's vectors: hold cell, "
            "shape or volume, or ask for it by `lattice`"
        )
    start = blocks[CELL].start
    if block in ("cell", "shape", "volume"):
        first, last = {"cell": (0, N_SHAPE), "volume": (0, 1), "shape": (1, N_SHAPE)}[block]
        return list(range(start + first, start + last))
    own = list(range(blocks[block].start, blocks[block].stop))
    return own if block == "min_distance" else _of_descriptor(part, entry, own, layout)


def _of_whole(part: str, block: str, entry: str, layout: RepresentationSpec) -> list[int]:
    if block in ("shape", "volume"):
        way = "`volume_per_atom`" if block == "volume" else "`lattice`"
        raise UserError(
            f"`hold` gives {part}, which is no entry of this model's vectors: hold cell, or lattice.a and the like, or "
            f"ask for it by {way}"
        )
    blocks = layout.representation().blocks
    found = blocks["lattice" if block == "cell" else block]
    own = list(range(found.start, found.stop))
    if block == "lattice":
        return [own[LATTICE.index(entry)]]
    if block == "composition" and entry:
        return [own[layout.elements.index(ATOMIC_NUMBERS[entry])]]
    return _of_descriptor(part, entry, own, layout) if block == "descriptor" else own


def _of_descriptor(part: str, entry: str, own: list[int], layout: RepresentationSpec) -> list[int]:
    """Return a range of entries, or those whose names have all the words of one joined by /, with : for =."""
    if not entry:
        return own
    if found := RANGE.fullmatch(entry):
        first, last = int(found[1] or 0), int(found[2] or len(own))
        if not first < last <= len(own):
            raise UserError(f"`hold` gives {part}, expected a range within [0:{len(own)}]")
        return own[first:last]
    names = [_words(name) for name in layout.representation().descriptor.feature_names()]
    words = entry.replace("=", ":").split("/")
    chosen = [column for column, name in zip(own, names, strict=True) if set(words) <= name]
    if not chosen:
        every = sorted(set().union(*names))
        shown = ", ".join(every[:12]) + (", ..." if len(every) > 12 else "")
        raise UserError(
            f"`hold` gives {part}, which no entry of the descriptor {layout.descriptor} is: expected a range such as "
            f"descriptor[0:100], or words of their names with / between: {shown}"
        )
    return chosen


def _words(name: str) -> set[str]:
    return set(name.replace("=", ":").split("|"))
