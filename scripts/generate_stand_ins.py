"""`repdiff generate` with a stand-in for the model: the vectors of a finished run, again and again.

What is left is all that the command does around the sampling, for `scripts/bench_size.py`: shards, what became of the
draws, names, and reading them again when a run goes on. Example:
    python scripts/generate_stand_ins.py repdiff-workspace/generate/vectors generate --n 1000000 --model MODEL
"""

import sys
from dataclasses import replace
from pathlib import Path

from repdiff.backends import Samples
from repdiff.backends.structrepdiff import StructRepDiff
from repdiff.cli.main import main
from repdiff.representations.draws import DRAWS, DrawRecord, read_draws
from repdiff.representations.shards import read_shard, shard_path


class StandIn:
    """Answers for the sampling of a backend.

    Args:
        run: Folder of a run of `repdiff generate` that ranked nothing; its first shard is taken.
    """

    def __init__(self, run: Path) -> None:
        self.batch = read_shard(shard_path(run, 0))
        first = min((run / DRAWS).glob("*.parquet"))
        self.draws = {one.sample: one for one in read_draws(first) if one.sample is not None}

    def sample(self, n: int, *, first: int = 0, **_: object) -> Samples:
        """Return vectors number `first` and on, with the records of their draws."""
        places = [number % len(self.batch) for number in range(first, first + n)]
        draws = tuple(self._record(place, first, row) for row, place in enumerate(places))
        return Samples(made=self.batch.rows(places), draws=draws)

    def _record(self, place: int, first: int, row: int) -> DrawRecord:
        return replace(self.draws[place], block=first, sample=first + row)


if __name__ == "__main__":
    stand_in = StandIn(Path(sys.argv[1]))
    StructRepDiff.sample = lambda self, n, **how: stand_in.sample(n, **how)
    sys.exit(main(sys.argv[2:]))
