"""Names of the 32 crystallographic point groups by the types of their rotations."""

import numpy as np
from jaxtyping import Int

POINT_GROUPS: dict[tuple[int, ...], str] = {  # numbers of rotations by type -6 -4 -3 -2 -1 1 2 3 4 6
    (0, 0, 0, 0, 0, 1, 0, 0, 0, 0): "1", (0, 0, 0, 0, 1, 1, 0, 0, 0, 0): "-1",
    (0, 0, 0, 0, 0, 1, 1, 0, 0, 0): "2", (0, 0, 0, 1, 0, 1, 0, 0, 0, 0): "m",
    (0, 0, 0, 1, 1, 1, 1, 0, 0, 0): "2/m", (0, 0, 0, 0, 0, 1, 3, 0, 0, 0): "222",
    (0, 0, 0, 2, 0, 1, 1, 0, 0, 0): "mm2", (0, 0, 0, 3, 1, 1, 3, 0, 0, 0): "mmm",
    (0, 0, 0, 0, 0, 1, 1, 0, 2, 0): "4", (0, 2, 0, 0, 0, 1, 1, 0, 0, 0): "-4",
    (0, 2, 0, 1, 1, 1, 1, 0, 2, 0): "4/m", (0, 0, 0, 0, 0, 1, 5, 0, 2, 0): "422",
    (0, 0, 0, 4, 0, 1, 1, 0, 2, 0): "4mm", (0, 2, 0, 2, 0, 1, 3, 0, 0, 0): "-42m",
    (0, 2, 0, 5, 1, 1, 5, 0, 2, 0): "4/mmm", (0, 0, 0, 0, 0, 1, 0, 2, 0, 0): "3",
    (0, 0, 2, 0, 1, 1, 0, 2, 0, 0): "-3", (0, 0, 0, 0, 0, 1, 3, 2, 0, 0): "32",
    (0, 0, 0, 3, 0, 1, 0, 2, 0, 0): "3m", (0, 0, 2, 3, 1, 1, 3, 2, 0, 0): "-3m",
    (0, 0, 0, 0, 0, 1, 1, 2, 0, 2): "6", (2, 0, 0, 1, 0, 1, 0, 2, 0, 0): "-6",
    (2, 0, 2, 1, 1, 1, 1, 2, 0, 2): "6/m", (0, 0, 0, 0, 0, 1, 7, 2, 0, 2): "622",
    (0, 0, 0, 6, 0, 1, 1, 2, 0, 2): "6mm", (2, 0, 0, 4, 0, 1, 3, 2, 0, 0): "-62m",
    (2, 0, 2, 7, 1, 1, 7, 2, 0, 2): "6/mmm", (0, 0, 0, 0, 0, 1, 3, 8, 0, 0): "23",
    (0, 0, 8, 3, 1, 1, 3, 8, 0, 0): "m-3", (0, 0, 0, 0, 0, 1, 9, 8, 6, 0): "432",
    (0, 6, 0, 6, 0, 1, 3, 8, 0, 0): "-43m", (0, 6, 8, 9, 1, 1, 9, 8, 6, 0): "m-3m",
}  # fmt: skip
ROTATION_TYPES = {  # (determinant, trace) to the place among those counts
    (-1, -2): 0, (-1, -1): 1, (-1, 0): 2, (-1, 1): 3, (-1, -3): 4, (1, 3): 5, (1, -1): 6, (1, 0): 7, (1, 1): 8,
    (1, 2): 9,
}  # fmt: skip


def point_group_symbol(rotations: Int[np.ndarray, "n 3 3"]) -> str:
    """Name a crystallographic point group by the types of its rotations.

    Raises:
        ValueError: If they are no crystallographic point group.

    Example:
        >>> point_group_symbol(np.array([np.eye(3, dtype=int), -np.eye(3, dtype=int)]))
        '-1'
    """
    counts = [0] * len(ROTATION_TYPES)
    for rotation in rotations:
        counts[ROTATION_TYPES[(round(float(np.linalg.det(rotation))), int(np.trace(rotation)))]] += 1
    if tuple(counts) not in POINT_GROUPS:
        raise ValueError(f"{len(rotations)} rotations make no crystallographic point group")
    return POINT_GROUPS[tuple(counts)]
