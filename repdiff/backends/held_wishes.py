"""What held parts ask of protostructures: crystal systems, elements, and numbers of atoms that a share can have."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from descriptors.symmetry.protostructure import Protostructure
from descriptors.symmetry.space_group import N_SPACE_GROUPS
from repdiff.conditions import Condition
from repdiff.conditions.held import HeldCell, HeldNumber, HeldPart
from repdiff.networks.protostructure import ProtostructureRequest

LARGEST = 200  # atoms of a cell whose shares are looked at


def with_held(
    request: ProtostructureRequest, asked: Iterable[Condition], elements: Sequence[int]
) -> ProtostructureRequest:
    """Narrow a request down to what can have the held parts.

    Args:
        request: What else is asked for.
        asked: Conditions, held parts among them.
        elements: Atomic numbers that the model knows.
    """
    for one in asked:
        if isinstance(one, HeldCell):
            groups = request.groups or frozenset(range(1, N_SPACE_GROUPS + 1))
            request = replace(
                request, groups=frozenset(number for number in groups if one.allows_group(number))
            )
        elif isinstance(one, HeldNumber) and one.element is not None:
            request = _with_share(request, one, one.element, elements)
    return request


def _with_share(
    request: ProtostructureRequest, held: HeldNumber, element: int, elements: Sequence[int]
) -> ProtostructureRequest:
    """Ask for an element, and for numbers of atoms of which some whole number is the share."""
    sizes = request.n_atoms or frozenset(range(1, LARGEST + 1))
    fitting = frozenset(size for size in sizes if held.allows_formula(_nearest(held.value, size, element)))
    allowed = frozenset(elements) if request.allowed is None else request.allowed
    request = replace(request, n_atoms=fitting)
    if held.value <= held.tolerance:
        return replace(request, allowed=allowed - {element})
    required = request.required | {element}
    if held.value >= 1 - held.tolerance:
        allowed = allowed & {element}
        return replace(request, required=required, allowed=allowed)
    return replace(request, required=required)


def _nearest(share: float, size: int, element: int) -> dict[int, int]:
    """Return a cell of so many atoms whose share is as near as can be."""
    n = round(share * size)
    return {element: n, 0: size - n}


def not_as_held(
    asked: Iterable[Condition], is_unlikely: Callable[[Protostructure], bool] | None
) -> Callable[[Protostructure], bool] | None:
    """Return what tells protostructures that are drawn again because of held parts; None if there are none.

    Args:
        asked: Conditions, held parts among them.
        is_unlikely: Tells where the model has learnt no such volume as is held.
    """
    held = [one for one in asked if isinstance(one, HeldPart)]
    if not held:
        return None
    shares = [one for one in held if isinstance(one, HeldNumber) and one.element is not None]

    def unwanted(one: Protostructure) -> bool:
        if not all(share.allows_formula(one.composition()) for share in shares):
            return True
        return is_unlikely is not None and is_unlikely(one)

    return unwanted
