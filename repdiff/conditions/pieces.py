"""Judged crystals piece by piece on the disk, so that any number of them fits in memory."""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from repdiff.conditions.asked import Asked
from repdiff.conditions.files import MISSED
from repdiff.conditions.verdicts import Judged, rates_of
from repdiff.crystals.crystal import write_crystals
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.crystals.on_disk import CrystalsOnDisk
from repdiff.runs.failures import read_failed, write_failed

KEPT = "crystals.parquet"


def write_piece(place: Path, judged: Judged) -> None:
    """Write the crystals of a piece, those that do not count, and why others are missing, into a folder."""
    place.mkdir(parents=True, exist_ok=True)
    write_failed(place, judged.crystals.failed)
    write_crystals(place / KEPT, judged.crystals.crystals)
    write_crystals(place / MISSED, judged.missed)


def read_pieces(places: Sequence[Path], asked: Asked, failed: Mapping[str, str] | None = None) -> Judged:
    """Put pieces together; their crystals stay on the disk.

    Args:
        places: Folders that `write_piece` wrote, in order.
        asked: What was asked of all samples.
        failed: Further reasons, by name, behind those of the pieces.
    """
    crystals = CrystalsOnDisk([place / KEPT for place in places])
    missed = CrystalsOnDisk([place / MISSED for place in places])
    reasons = {name: why for place in places for name, why in read_failed(place).items()}
    return Judged(
        crystals=CrystalSet(crystals=crystals, failed={**reasons, **(failed or {})}),
        rates=rates_of(chain(crystals, missed), asked) if asked else {},
        missed=missed,
    )
