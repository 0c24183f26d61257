"""A data set with the descriptors of its crystals: as `encode` left it in the workspace, or computed and kept there."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from repdiff.crystals.crystal import SPLITS, Crystal
from repdiff.datasets.benchmarks import BENCHMARKS
from repdiff.datasets.load import PROTOTYPES
from repdiff.datasets.sources import CrystalSets, split_name
from repdiff.errors import UserError
from repdiff.execution.progress import progress_bar
from repdiff.representations.encoded_set import CRYSTALS, REPRESENTATIONS, EncodedSet
from repdiff.representations.layout import named_descriptor
from repdiff.representations.similarity import DescribedCrystals
from repdiff.runs.atomic_files import sha256
from repdiff.runs.checkpoint import load_checkpoint, save_checkpoint
from repdiff.runs.leftovers import remove_leftovers
from repdiff.runs.manifest import Input, Manifest
from repdiff.runs.workspace import Workspace
from repdiff.settings.paths import home_expanded

CRYSTALS_PER_PART = 2048  # on disk as soon as they are encoded
KIND = "descriptors"
DEFAULT_DESCRIPTOR = "ead"
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is searched, found but not read in full.

    Attributes:
        name: Name of the set, with its split.
        split: Part of it; None for all.
        descriptor: Name of the descriptor.
        encoded: Folder of a run of `encode` that holds it; None if its descriptors are still to be computed.
        inputs: What is read, for the manifest.
    """

    name: str
    split: str | None
    descriptor: str
    encoded: Path | None
    inputs: dict[str, Path | Input]


def locate(name: str, descriptor: str | None, sets: CrystalSets, workspace: Workspace) -> Source:
    """Find out what a name means: an encoded set, by its path or the name of its run, or a data set.

    A data set that a run of `encode` holds whole, from the same file and with the same descriptor, is taken from there.

    Args:
        name: A data set, a path or a run of `encode`, with the split behind a colon or without.
        descriptor: Name of the descriptor, NAME or NAME:PRESET; None for that of an encoded set, or else "ead".
        sets: Reads data sets.
        workspace: Where runs of `encode` are.

    Raises:
        UserError: If there is no such descriptor or set, or the encoded one has another descriptor.
    """
    source, split = split_name(name)
    if descriptor is not None:
        named_descriptor(descriptor)
    own = None if source in (*BENCHMARKS, PROTOTYPES) else _encoded_folder(home_expanded(source), workspace)
    if own is not None:
        layout = EncodedSet.read_layout(own)
        if descriptor not in (None, layout.descriptor):
            raise UserError(
                f"{own} is encoded with the descriptor {layout.descriptor}, expected {descriptor}: name the data set "
                "itself, or leave `descriptor` out"
            )
        inputs: dict[str, Path | Input] = {"among": own}
        return Source(name=name, split=split, descriptor=layout.descriptor, encoded=own, inputs=inputs)
    chosen = descriptor or DEFAULT_DESCRIPTOR
    there = _encoded_run(source, chosen, sets, workspace)
    read: dict[str, Path | Input] = {}
    if there is not None:
        read["among"] = there
    else:
        read.update(sets.input_of(name))
    return Source(name=name, split=split, descriptor=chosen, encoded=there, inputs=read)


def located_training_set(encoded: Path, descriptor: str) -> Source:
    """Return the training crystals of the encoded set that a model learnt from.

    Raises:
        UserError: If the set has been encoded again since, with another descriptor than the model's.
    """
    if (own := EncodedSet.read_layout(encoded).descriptor) != descriptor:
        raise UserError(
            f"{encoded}, which the model learnt from, is now encoded with the descriptor {own}, expected {descriptor}: "
            "name known crystals by `among`"
        )
    return Source(
        name=f"{encoded.name}:train",
        split="train",
        descriptor=descriptor,
        encoded=encoded,
        inputs={"among": encoded},
    )


def describe(
    source: Source,
    sets: CrystalSets,
    folder: Path | None,
    *,
    device: torch.device,
    progress: bool = True,
) -> DescribedCrystals:
    """Read the crystals of a source with their descriptors, which are computed where they are not there.

    Args:
        source: What `locate` returned.
        sets: Reads data sets.
        folder: Keeps what is computed, part by part, so that an interrupted call resumes; None keeps nothing.
        device: Where to compute.
        progress: Whether to show bars.

    Raises:
        UserError: If the set cannot be read, or has no crystal that could be found.
    """
    if source.encoded is not None:
        log.info("using the vectors of %s", source.encoded)
        return of_encoded(EncodedSet.read(source.encoded), source.split)
    known = sets.known(source.name)
    if refused := sets.refused(source.name):
        log.warning(
            "%d rows of %s left out; most: %s", sum(refused.values()), source.name, next(iter(refused))
        )
    vectors = compute_descriptors(known, source.descriptor, folder, device=device, progress=progress)
    return DescribedCrystals.of_vectors(known, vectors)


def of_encoded(encoded: EncodedSet, split: str | None = None) -> DescribedCrystals:
    """Take the crystals of an encoded set, or those of a split, with their descriptors.

    Raises:
        UserError: If no crystal is in the split.
    """
    rows = [row for row, one in enumerate(encoded.crystals) if split in (None, one.split)]
    if not rows:
        raise UserError(
            f"{encoded.layout.dataset} has no crystal in split {split!r}, expected one of {', '.join(SPLITS)}"
        )
    block = encoded.layout.representation().blocks["descriptor"]
    vectors = encoded.representations[:, block]
    if len(rows) < len(encoded.crystals):
        vectors = vectors[rows]
    return DescribedCrystals.of_vectors([encoded.crystals[row] for row in rows], vectors)


def _encoded_folder(path: Path, workspace: Workspace) -> Path | None:
    """Return the folder of an encoded set that a path or the name of a run means; None if it means something else."""
    for folder in (path, workspace.root / "encode" / path):
        if all((folder / name).is_file() for name in (CRYSTALS, REPRESENTATIONS)):
            return folder
    return None


def _encoded_run(source: str, descriptor: str, sets: CrystalSets, workspace: Workspace) -> Path | None:
    """Return the newest run of `encode` that holds a whole data set, from the file that is there now."""
    wanted = _origin(source)
    if source not in (*BENCHMARKS, PROTOTYPES) and not Path(wanted).is_file():
        return None  # in a folder there may be new files
    for path, manifest in reversed(workspace.runs("encode").items()):
        config = manifest.config
        whole = config.get("limit") is None and config.get("max_atoms") is None
        if manifest.status != "finished" or not whole or config.get("descriptor") != descriptor:
            continue
        if _origin(str(config.get("dataset"))) != wanted or not _is_current(manifest, sets):
            continue
        settings = json.loads(json.dumps(named_descriptor(descriptor).settings()))
        if EncodedSet.read_layout(path).descriptor_settings == settings:
            return path
    return None


def _origin(source: str) -> str:
    return source if source in (*BENCHMARKS, PROTOTYPES) else str(home_expanded(source).resolve())


def _is_current(manifest: Manifest, sets: CrystalSets) -> bool:
    """Tell whether the files that a run read are still the same, and of the folder that is meant."""
    paths = [Path(one.path) for one in manifest.inputs.values()]
    if sets.data_dir is not None and any(
        sets.data_dir.resolve() not in path.resolve().parents for path in paths
    ):
        return False
    same = zip(paths, manifest.inputs.values(), strict=True)
    return all(path.exists() and sha256(path) == one.sha256 for path, one in same)


def compute_descriptors(
    crystals: Sequence[Crystal],
    descriptor: str,
    folder: Path | None,
    *,
    device: torch.device,
    progress: bool = True,
) -> Float[Tensor, "n_crystals n_features"]:
    """Compute descriptors part by part; each part is kept in a file named after its crystals and the descriptor.

    Args:
        crystals: Crystals that passed `check_crystals`; at least one.
        descriptor: Name of the descriptor, NAME or NAME:PRESET.
        folder: Holds the files, and is made if it does not exist; None for no files.
        device: Where to compute.
        progress: Whether to show a bar.
    """
    settings = json.dumps([descriptor, named_descriptor(descriptor).settings()])
    found = []
    if folder is not None:
        remove_leftovers(folder)
    with progress_bar(total=len(crystals), desc="encoding", unit="crystal", disable=not progress) as bar:
        for start in range(0, len(crystals), CRYSTALS_PER_PART):
            part = crystals[start : start + CRYSTALS_PER_PART]
            file = None if folder is None else folder / f"{_key(part, settings)}.safetensors"
            vectors = None if file is None else _kept(file)
            if vectors is None:
                vectors = DescribedCrystals.of(part, descriptor, device=device, progress=False).descriptors
                if file is not None:
                    save_checkpoint(file, {"descriptors": vectors.contiguous()}, {}, kind=KIND)
            found.append(vectors)
            bar.update(len(part))
    return torch.cat(found)


def _kept(file: Path) -> Float[Tensor, "n_crystals n_features"] | None:
    """Read a part that was computed before; None if there is none, or it is damaged."""
    if not file.is_file():
        return None
    try:
        return load_checkpoint(file, kind=KIND)[0]["descriptors"]
    except (UserError, KeyError) as error:
        log.warning("computed again: %s", error)
        return None


def _key(crystals: Sequence[Crystal], settings: str) -> str:
    content = hashlib.sha256(settings.encode())
    for crystal in crystals:
        for array in (crystal.atomic_numbers, crystal.lattice, crystal.frac_coords):
            content.update(array.tobytes() + b"|")
    return content.hexdigest()[:32]
