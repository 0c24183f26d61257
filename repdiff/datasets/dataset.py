"""A data set: crystals that passed every check, and what was refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from repdiff.crystals.checks import check_crystals
from repdiff.crystals.crystal import SPLITS, Crystal
from repdiff.crystals.crystal_set import CrystalSet, CrystalViews
from repdiff.datasets.readers.rows import Rejection, reasons_by_name
from repdiff.datasets.splits import FRACTIONS, assign_splits
from repdiff.errors import UserError


@dataclass(frozen=True, kw_only=True, repr=False)
class Dataset(CrystalViews):
    """Crystals that passed every check, each with a split and a name of its own.

    Attributes:
        name: "prototypes", the benchmark's name, or the path's last part without its suffix.
        crystals: Accepted crystals, in the order of the source.
        rejected: Rejected entries of the source with their reasons, in the order of the source.
        input_hashes: sha256 by path; empty for the prototypes, which are code.
        note: What results on this set must say, or what was decided on reading it; None if there is nothing.
        remarks: What was changed, left out or not read, each with its count.

    Example:
        >>> import repdiff as rd
        >>> from ase.build import bulk
        >>> metals = rd.Dataset.of(rd.CrystalSet.of([bulk("Cu"), bulk("Fe"), bulk("Al")]))
        >>> sorted(crystal.split for crystal in metals)
        ['train', 'train', 'val']
        >>> len(metals.part("train"))
        2
    """

    _lost = "rejected"

    name: str
    crystals: list[Crystal]
    rejected: list[Rejection] = field(default_factory=list)
    input_hashes: dict[str, str] = field(default_factory=dict)
    note: str | None = None
    remarks: tuple[str, ...] = ()

    @classmethod
    def of(cls, crystals: CrystalSet, *, name: str = "crystals", seed: int = 0) -> "Dataset":
        """Check crystals and draw their splits; those that are unfit for use are listed as rejected.

        Args:
            crystals: At least one that is fit for use.
            name: Name of the data set.
            seed: Seed of drawn splits; splits that all crystals have are kept.

        Raises:
            UserError: If none is fit for use.
        """
        reasons = check_crystals(crystals.crystals, None, progress=False)
        rejected = [
            Rejection(source=name, row=row, id=crystal.id, reason=reason)
            for row, (crystal, reason) in enumerate(zip(crystals.crystals, reasons, strict=True))
            if reason is not None
        ]
        sound = [c for c, reason in zip(crystals.crystals, reasons, strict=True) if reason is None]
        if not sound:
            first = next(iter(reasons_by_name(rejected).values()), "there are none")
            raise UserError(f"none of {len(reasons)} crystals is fit for use; the first: {first}")
        split, note = with_splits(sound, seed, progress=False)
        return cls(name=name, crystals=split, rejected=rejected, note=note, remarks=crystals.remarks)

    def part(self, split: str | None) -> "Dataset":
        """Return the crystals of a split, "train", "val" or "test"; None for all.

        Raises:
            UserError: If there is no such split, or no crystal in it.
        """
        if split is None:
            return self
        chosen = [crystal for crystal in self.crystals if crystal.split == split]
        if not chosen:
            raise UserError(
                f"{self.name} has no crystal in split {split!r}, expected one of {', '.join(SPLITS)}"
            )
        return replace(self, crystals=chosen)

    @property
    def part_name(self) -> str:
        """The name, with the split behind a colon where all crystals are of one."""
        splits = {crystal.split for crystal in self.crystals}
        (split,) = splits if len(splits) == 1 else (None,)
        return self.name if split is None else f"{self.name}:{split}"

    def __len__(self) -> int:
        """Count the crystals that can be used."""
        return len(self.crystals)

    def __repr__(self) -> str:
        """Say how many there are."""
        return self._title()

    def _title(self) -> str:
        note = f": {self.note}" if self.note else ""
        return f"{super()._title()} ({self.name}){note}"

    def _missing(self) -> Mapping[str, str]:
        return reasons_by_name(self.rejected)


def with_splits(
    crystals: Sequence[Crystal], seed: int, *, progress: bool = True
) -> tuple[list[Crystal], str | None]:
    """Give every crystal its split; the note says what happened to splits that were named only in part."""
    n_named = sum(crystal.split is not None for crystal in crystals)
    n_unknown = sum("split_name" in crystal.labels for crystal in crystals)
    splits = assign_splits(crystals, fractions=FRACTIONS, seed=seed, progress=progress)
    note = split_note(len(crystals), n_named, n_unknown, seed)
    return [crystal.replace(split=split) for crystal, split in zip(crystals, splits, strict=True)], note


def split_note(n_crystals: int, n_named: int, n_unknown: int, seed: int) -> str | None:
    """Say what happened to splits that were named only in part; None if there is nothing to say.

    Args:
        n_crystals: Number of crystals.
        n_named: Those of them that name a split.
        n_unknown: Those that name one nobody knows.
        seed: Seed of the splits that are drawn then.
    """
    if n_named == n_crystals or not n_named + n_unknown:
        return None
    return f"splits drawn with seed {seed}: only {n_named} of {n_crystals} crystals name train, val or test"
