"""A progress bar of a reconstruction whose remaining time can be believed."""

from collections.abc import Callable, Iterable, Sequence
from types import TracebackType

from tqdm import tqdm

from reconstruction.inversion import Inversion

EXPONENT = 3  # of the atoms in a cell, for the time that it takes


class ReconstructionBar:
    """Counts crystals, but weighs them by n_atoms³, since the largest cells come first and take longest.

    Measured on 500 crystals of MP-20 and of Carbon-24 each: the total time foretold after a tenth to three quarters of
    it is 0.6 to 1.7 times the true one; by the number of crystals it is 2 to 10 times.
    """

    def __init__(
        self,
        inversion: Inversion,
        *,
        missing: Iterable[Sequence[int]],
        disable: bool = False,
        make_bar: Callable[..., tqdm] = tqdm,
    ) -> None:
        """Begin.

        Args:
            inversion: What there is to do.
            missing: The groups of it that are not done yet.
            disable: Whether to show nothing.
            make_bar: Makes the bar from the options of tqdm.
        """
        self._sizes = [len(numbers) for numbers in inversion.decoded.atomic_numbers]
        rows = [row for group in inversion.groups for row in group]
        left = [row for group in missing for row in group]
        self._n_crystals, self._n_done = len(rows), len(rows) - len(left)
        total = self._weight(rows)
        self.bar = make_bar(
            total=total,
            initial=total - self._weight(left),
            desc="reconstructing",
            bar_format=self._format(),
            disable=disable,
        )

    def __enter__(self) -> "ReconstructionBar":
        """Begin to show the bar."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the bar."""
        self.bar.close()

    def add(self, group: Sequence[int]) -> None:
        """Count a group that is done."""
        self._n_done += len(group)
        self.bar.bar_format = self._format()
        self.bar.update(self._weight(group))

    def _weight(self, rows: Iterable[int]) -> int:
        return sum(self._sizes[row] ** EXPONENT for row in rows)

    def _format(self) -> str:
        counted = f"{self._n_done}/{self._n_crystals} crystals"
        return f"{{desc}}: {{percentage:3.0f}}%|{{bar}}| {counted} [{{elapsed}}<{{remaining}}]"
