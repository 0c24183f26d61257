"""One word to a set of crystals: a run of this tool, a data set or a part of it, or any readable path."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from repdiff.crystals.crystal import SPLITS, Crystal
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.crystals.structure_files import TABLE, open_structures, read_structures
from repdiff.datasets.benchmarks import BENCHMARKS
from repdiff.datasets.dataset import Dataset
from repdiff.datasets.load import PROTOTYPES, load_dataset
from repdiff.datasets.splits import draw_rows
from repdiff.errors import UserError, unknown
from repdiff.runs.failures import read_failed
from repdiff.runs.manifest import Input, read_manifest
from repdiff.runs.provenance import versions
from repdiff.runs.workspace import Workspace
from repdiff.settings.paths import home_expanded, opening

DIRECT = ("generate", "vary", "optimize", "latents")  # verbs whose runs may hold crystals, beside reconstruct
log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class CrystalSets:
    """Reads sets of crystals; a data set of which several parts are asked for is read once.

    Attributes:
        data_dir: Folder of the benchmark files, before the workspace's own.
        workspace: Where runs and downloads are.
    """

    data_dir: Path | None
    workspace: Workspace
    _datasets: dict[str, Dataset] = field(default_factory=dict)

    def known(self, name: str) -> list[Crystal]:
        """Read known crystals: a data set, NAME:SPLIT, or a path; what the readers refuse is left out.

        Raises:
            UserError: If it cannot be read, or has no crystal in that split.
        """
        source, split = split_name(name)
        dataset = self._dataset(source)
        chosen = [crystal for crystal in dataset.crystals if split in (None, crystal.split)]
        if not chosen:
            raise UserError(
                f"{source} has no crystal in split {split!r}, expected one of {', '.join(SPLITS)}"
            )
        return chosen

    def known_set(self, name: str) -> CrystalSet:
        """Read crystals that count as known, with what could not be read of their data set.

        Raises:
            UserError: If the set cannot be read, or has no such split.
        """
        crystals, encoded = self.known(name), _is_encoded(home_expanded(split_name(name)[0]))
        return CrystalSet(name=name, crystals=crystals, refused=self.refused(name), encoded=encoded)

    def to_judge(self, name: str, *, stored: bool = False) -> CrystalSet:
        """Read crystals of any quality; what cannot be read at all is kept as failed, with its reason.

        Args:
            name: Path of a run or a file, or a data set as for `known`.
            stored: Whether the crystals of a large run stay in a table, see `open_structures`.

        Raises:
            UserError: If there is nothing to read.
        """
        source, split = split_name(name)
        if split or source in (*BENCHMARKS, PROTOTYPES):
            return self.known_set(name)
        return read_set(home_expanded(name), stored=stored)

    def locate(self, name: str | None) -> tuple[str, dict[str, Path | Input]]:
        """Say which crystals are meant, and what is read for them: a data set, a run, a path; None the newest.

        A data set goes before a run of its name, which is said.

        Raises:
            UserError: If there are none.
        """
        if name is not None and (split_name(name)[1] or name in (*BENCHMARKS, PROTOTYPES)):
            runs = (self.workspace.root / verb / name for verb in (*DIRECT, "reconstruct"))
            if run := next((one for one in runs if one.exists()), None):
                log.warning(
                    "%s is taken for the data set: name the run of that name by its path, %s", name, run
                )
            return name, dict(self.input_of(name))
        path = find_crystals(self.workspace, None if name is None else home_expanded(name))
        return str(path), {"structures": path}

    def input_of(self, name: str) -> dict[str, Input]:
        """Return the files behind known crystals, with their hashes, for a manifest."""
        hashes = self._dataset(split_name(name)[0]).input_hashes
        return {f"{name} {Path(path).name}": Input(path=path, sha256=found) for path, found in hashes.items()}

    def training_of(self, reference: str | None) -> str | None:
        """Name the training split that belongs to a test or validation split; None if there is none."""
        source, split = split_name(reference or "")
        if split not in ("val", "test"):
            return None
        has_one = any(crystal.split == "train" for crystal in self._dataset(source).crystals)
        return f"{source}:train" if has_one else None

    def refused(self, name: str) -> dict[str, int]:
        """Count the rows behind known crystals that the readers refused, by reason, the most frequent first.

        Rows are refused before they have a split, so these are of the whole source.
        """
        reasons = Counter(entry.reason for entry in self._dataset(split_name(name)[0]).rejected)
        return dict(reasons.most_common())

    @property
    def notes(self) -> list[str]:
        """What results on the data sets read so far must say."""
        return [f"{name}: {dataset.note}" for name, dataset in self._datasets.items() if dataset.note]

    def _dataset(self, source: str) -> Dataset:
        if source not in self._datasets:
            self._datasets[source] = load_dataset(
                source, data_dir=self.data_dir, downloads=self.workspace.data_dir
            )
        return self._datasets[source]


def _is_encoded(path: Path) -> bool:
    """Tell whether a path is a run of `encode` under the moyopy that is installed."""
    if not (path / "manifest.json").is_file():
        return False
    try:
        made = read_manifest(path)
    except UserError:  # of another program
        return False
    return made.verb == "encode" and made.versions.get("moyopy") == versions().get("moyopy")


def crystals_of_split(dataset: Dataset, split: str, *, n: int | None = None, seed: int = 0) -> list[Crystal]:
    """Return the crystals of a split, or `n` random ones of them, in the order of the data set.

    Args:
        dataset: What `load_dataset` returned.
        split: "train", "val", "test" or "all".
        n: Number of crystals; None, or more than there are, for all.
        seed: Decides the choice, together with the number of crystals in the split.

    Raises:
        UserError: If no crystal is in the split.
    """
    chosen = [crystal for crystal in dataset.crystals if split in ("all", crystal.split)]
    if not chosen:
        raise UserError(f"{dataset.name} has no crystal in split {split!r}: use `split` all")
    return [chosen[row] for row in draw_rows(len(chosen), n, seed)]


def choose(given: CrystalSet, n: int | None, seed: int) -> CrystalSet:
    """Take `n` at random, in their order; what could not be made or read is as likely, so that shares stay right."""
    if n is None or n >= len(given):
        return given
    rows = set(draw_rows(len(given), n, seed))
    n_made = len(given.crystals)
    return CrystalSet(
        crystals=[crystal for row, crystal in enumerate(given.crystals) if row in rows],
        failed={name: why for row, (name, why) in enumerate(given.failed.items(), n_made) if row in rows},
        remarks=given.remarks,
        refused=given.refused,
        name=given.name,
    )


def split_name(name: str) -> tuple[str, str | None]:
    """Take NAME:SPLIT apart; what stands behind another colon belongs to the name.

    Raises:
        UserError: If what stands behind the name of a data set is no split.

    Example:
        >>> split_name("mp_20:test"), split_name("C:/data.csv")
        (('mp_20', 'test'), ('C:/data.csv', None))
    """
    source, _, split = name.rpartition(":")
    if source in (*BENCHMARKS, PROTOTYPES) and split not in SPLITS:
        raise UserError(f"{name}: {unknown('split', split, SPLITS)}")
    return (source, split) if source and split in SPLITS else (name, None)


def each_name(names: str) -> list[str]:
    """Take names separated by commas apart; paths that exist may hold some.

    Example:
        >>> each_name("mp_20:train, others.csv")
        ['mp_20:train', 'others.csv']
    """
    found, words = [], names.split(",")
    while words:
        ends = range(len(words), 1, -1)
        end = next((end for end in ends if _is_there(",".join(words[:end]).strip())), 1)
        found.append(",".join(words[:end]).strip())
        words = words[end:]
    return [name for name in found if name] or [names]


def _is_there(name: str) -> bool:
    source, _, split = name.rpartition(":")
    return home_expanded(source if source and split in SPLITS else name).exists()


def dataset_names(names: str) -> set[str]:
    """Return what data sets call themselves that are read by these names, with the split if one is named.

    A set without a name gives none.

    Example:
        >>> sorted(dataset_names("mp_20:train, folder/others.csv.gz"))
        ['mp_20:train', 'others']
    """
    found = set()
    for source, split in map(split_name, each_name(names) if names else ()):
        named = source in (*BENCHMARKS, PROTOTYPES)
        own = source if named else home_expanded(source).resolve().name.split(".")[0]
        found.add(own if split is None else f"{own}:{split}")
    return found


def whole_set(name: str | None) -> str | None:
    """Name the data set that NAME:SPLIT is part of, or the set itself; None of None.

    Example:
        >>> whole_set("mp_20:test"), whole_set("known.csv")
        ('mp_20', 'known.csv')
    """
    return None if name is None else split_name(name)[0]


def find_crystals(workspace: Workspace, given: Path | None) -> Path:
    """Return the crystals a user means: a path, the name of a run, or (None) the newest run that made crystals.

    Raises:
        UserError: If there are none.
    """
    made = {
        path: manifest.finished or ""
        for verb in DIRECT
        for path, manifest in workspace.runs(verb).items()
        if (path / TABLE).is_file() and manifest.status == "finished"
    }
    if given is not None:
        named = [path for verb in DIRECT if (path := workspace.root / verb / given) in made]
        return named[0] if named else workspace.find("reconstruct", given)
    newest = max(made, key=lambda path: made[path], default=None)
    inverted = [m for m in workspace.runs("reconstruct").values() if m.status == "finished"]
    if newest is not None and all((m.finished or "") < made[newest] for m in inverted):
        log.info("using %s, the newest crystals", newest)
        return newest
    return workspace.newest("reconstruct")


def refuse_repeated_names(crystals: Sequence[Crystal]) -> None:
    """Refuse crystals that could not be told apart in the results.

    Raises:
        UserError: If two crystals have one name.
    """
    if repeated := len(crystals) - len({crystal.id for crystal in crystals}):
        raise UserError(f"{repeated} names of crystals occur more than once, expected names of their own")


def read_for_evaluation(path: Path) -> tuple[list[Crystal], dict[str, str]]:
    """Read crystals from a run or any readable path, and the reason of each that is missing, by its name.

    Crystals that could be read stay, however bad they are: to say so is the metrics' task.
    """
    found = read_set(path)
    return list(found.crystals), dict(found.failed)


def read_set(path: Path, *, stored: bool = False) -> CrystalSet:
    """Read crystals of any quality from a run or any readable path; every one has a name of its own.

    Args:
        path: The run, or the path.
        stored: Whether the crystals of a large run stay in a table, see `open_structures`.

    Raises:
        UserError: If there is nothing to read.
    """
    with opening(path):
        ours = path.is_dir() and (path / TABLE).is_file()
    if ours:
        crystals = open_structures(path) if stored else read_structures(path)
        return CrystalSet(crystals=crystals, failed=read_failed(path))
    dataset = load_dataset(str(path), data_dir=None, sound_only=False)
    return CrystalSet(
        crystals=dataset.crystals,
        failed={entry.id: entry.reason for entry in dataset.rejected},
        remarks=dataset.remarks,
    )


def read_reference(name: str, data_dir: Path | None, workspace: Workspace) -> list[Crystal]:
    """Read known crystals from a data set or path, all of it or the split named behind a colon.

    Raises:
        UserError: If it cannot be read, or has no crystal in that split.
    """
    return CrystalSets(data_dir=data_dir, workspace=workspace).known(name)
