"""The way of draws to prototypes that they are given: which letters come next."""

from functools import lru_cache

from descriptors.symmetry.space_group import LETTERS
from repdiff.networks.protostructure.prototypes import Parts, Prototype, part_size

ANY = (1 << len(LETTERS)) - 1  # all letters, as bits


class PrototypeWalk:
    """How far a draw has come to its prototype; any letter leads on where none is given.

    Args:
        prototype: Where it shall end; None for nowhere in particular.
    """

    def __init__(self, prototype: Prototype | None = None) -> None:
        self.prototype = prototype
        self.left: Parts = () if prototype is None else prototype.parts
        self.begun = ""

    def letters(self, *, is_new: bool, size: int = 0) -> int:
        """Return the positions that lead on, as bits; bit i stands for letter i.

        Args:
            is_new: Whether the next orbit is of another element than the present one.
            size: Atoms that the element shall have in the end; 0 for any number.
        """
        if self.prototype is None:
            return ANY
        return _letters(self.prototype.number, self.left, self.begun, size, is_new=is_new)

    def add(self, letter: str, *, is_new: bool) -> None:
        """Take a letter, which must lead on."""
        if self.prototype is None:
            return
        if is_new and self.begun:
            self.left = _without(self.left, self.begun)
        self.begun = letter if is_new else self.begun + letter


@lru_cache(maxsize=1 << 18)
def _letters(number: int, left: Parts, begun: str, size: int, *, is_new: bool) -> int:
    """Return the letters that lead on; of the parts that are not complete the present element has begun one."""
    if is_new and begun and begun not in left:
        return 0
    parts = _without(left, begun) if is_new and begun else left
    prefix = "" if is_new else begun
    following = {
        part[len(prefix)]
        for part in parts
        if part.startswith(prefix) and len(part) > len(prefix) and size in (0, part_size(number, part))
    }
    return sum(1 << LETTERS.index(letter) for letter in following)


def _without(parts: Parts, part: str) -> Parts:
    place = parts.index(part)
    return parts[:place] + parts[place + 1 :]
