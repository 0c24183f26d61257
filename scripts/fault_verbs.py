"""The verbs that scripts/faults.py disturbs: tiny inputs, commands, and results without measured times."""

import csv
import gzip
import io
import json
import math
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from safetensors import safe_open

CHECKSUM = "checksum"  # covers what was measured too
TIMED = re.compile(
    r"second|memory|minutes|created|finished|versions|hardware|folder|path|sha256|^file$", re.IGNORECASE
)
UNCOMPARED = (".html", ".log", ".yaml")  # pages hold times and paths; logs and settings of trials too
RADII = {
    "Li": 0.76,
    "Na": 1.02,
    "K": 1.38,
    "Rb": 1.52,
    "F": 1.33,
    "Cl": 1.81,
    "Br": 1.96,
    "I": 2.20,
}  # Å, Shannon
FAST = "--max-steps 40 --batch-size 8 --warmup-steps 0 --checkpoint-every 5 --log-every 5 --validate-every 10"


@dataclass(frozen=True, kw_only=True)
class Verb:
    """One command.

    Attributes:
        words: What is typed, but for the workspace and the name.
        reads: Folders and files that it reads, relative to those of all inputs.
    """

    words: str
    reads: tuple[str, ...] = ()


ENCODED, MODEL, DIRECT = "ws/encode/run", "ws/train/run", "ws/train/direct"
VERBS: Mapping[str, Verb] = {
    "encode": Verb(words="encode data.extxyz"),
    "train": Verb(
        words=f"train --encoded {ENCODED} --denoiser-options width=32,n_blocks=1 --encoder-width 8 --timesteps 20 "
        f"--protostructure-options width=16,n_blocks=1 {FAST}",
        reads=(ENCODED,),
    ),
    "train dpcdvae": Verb(
        words=f"train --backend dpcdvae --encoded {ENCODED} --encoder-width 16 --network-width 16 {FAST} "
        "--max-steps 10",
        reads=(ENCODED,),
    ),
    "finetune": Verb(
        words=f"finetune --from {MODEL} --encoded {ENCODED} --property gap {FAST} --max-steps 10",
        reads=(MODEL, ENCODED),
    ),
    "rank": Verb(
        words=f"rank --encoded {ENCODED} --by gap --width 16 --n-members 2 {FAST}", reads=(ENCODED,)
    ),
    "head": Verb(
        words=f"head fit {ENCODED} --property gap --width 16 --n-members 2 {FAST}", reads=(ENCODED,)
    ),
    "head of a data set": Verb(words=f"head fit data.extxyz --property gap --width 16 --n-members 2 {FAST}"),
    "generate": Verb(
        words=f"generate --model {MODEL} --n 6 --shard-size 2 --sampler ddim --steps 5", reads=(MODEL,)
    ),
    "generate dpcdvae": Verb(
        words=f"generate --model {DIRECT} --n 6 --shard-size 2 --steps 5", reads=(DIRECT,)
    ),
    "reconstruct": Verb(
        words="reconstruct --generated ws/generate/run --preset fast --max-evaluations 40 --n-workers 2",
        reads=("ws/generate/run",),
    ),
    "evaluate": Verb(
        words="evaluate ws/reconstruct/run --reference data.extxyz --only validity,uniqueness,coverage --n-workers 2",
        reads=("ws/reconstruct/run",),
    ),
    "relax": Verb(
        words="relax ws/reconstruct/run --max-steps 3 --n 3 --part-size 1 --n-workers 1",
        reads=("ws/reconstruct/run",),
    ),
    "hull": Verb(words="hull build data.extxyz --n 6 --n-workers 1"),
    "export": Verb(words="export ws/reconstruct/run --mattergen", reads=("ws/reconstruct/run",)),
    "similar": Verb(
        words="similar ws/reconstruct/run --among data.extxyz --n 3", reads=("ws/reconstruct/run",)
    ),
    "vary": Verb(
        words=f"vary data.extxyz --model {MODEL} --strength 0.3 --n 1 --limit 3 --preset fast --sampler ddim "
        "--steps 20 --n-workers 1 --shard-size 1",
        reads=(MODEL,),
    ),
    "optimize": Verb(
        words=f"optimize --property gap --goal max --start data.extxyz --head ws/head/run --model {MODEL} --limit 2 "
        "--n-steps 2 --preset fast --n-workers 1 --sampler ddim --steps 10",
        reads=(MODEL, "ws/head/run"),
    ),
    "latents": Verb(
        words=f"latents reconstruct data.extxyz --model {DIRECT} --n 4 --steps 5 --shard-size 2",
        reads=(DIRECT,),
    ),
    "degeneracy": Verb(words="degeneracy data.extxyz --probe 2"),
    "phases": Verb(
        words=f"phases Na-Cl --model {MODEL} --n 2 --max-steps 2 --search fast --steps 5 --n-workers 1 "
        "--known data.extxyz",
        reads=(MODEL,),
    ),
    "compare": Verb(words="compare systems.yaml"),
}
FIRST = {
    "encode": "run",
    "train": "run",
    "train dpcdvae": "direct",
    "head": "run",
    "generate": "run",
    "reconstruct": "run",
}
"""Verbs that make the inputs of the others, in their order, and the names of their runs."""


def made_by(verb: str) -> str:
    """Return the folder that a verb makes for others."""
    return f"ws/{VERBS[verb].words.split()[0]}/{FIRST[verb]}"


def needed(verbs: Sequence[str]) -> Iterator[str]:
    """Yield the verbs whose runs others read, first or last, in their order."""
    wanted = {name for verb in verbs for name in VERBS[verb].reads}
    for verb in reversed(FIRST):
        if made_by(verb) in wanted:
            wanted |= set(VERBS[verb].reads)
    yield from (verb for verb in FIRST if made_by(verb) in wanted)


COMPARISON = """\
compare:
  seeds: [3]
  at_once: 2
  systems:
    swapped: {train: {backend: retrieval}}
    vectors:
      train: {compositions: joint, denoiser_options: {width: 32, n_blocks: 1}, timesteps: 20}
      reconstruct: {preset: fast, max_evaluations: 40, n_workers: 1}
encode: {dataset: data.extxyz}
train: {max_epochs: null, max_steps: 4, batch_size: 8, warmup_steps: 0}
generate: {n: 2}
evaluate: {reference: "data.extxyz:test", only: [validity, distributions]}
"""


def write_inputs(folder: Path) -> None:
    """Write 32 halides with a label, and the description of a comparison."""
    from ase.build import bulk
    from ase.io import write

    frames = []
    for cation in ("Li", "Na", "K", "Rb"):
        for anion in ("F", "Cl", "Br", "I"):
            distance = RADII[cation] + RADII[anion]
            for kind, edge in (("rocksalt", 2 * distance), ("cesiumchloride", 2 * distance / 3**0.5)):
                atoms = bulk(cation + anion, kind, a=edge)
                gap = round(10 / distance + 0.1 * (len(frames) % 3), 3)
                atoms.info.update(material_id=f"c{len(frames):02d}", gap=gap)
                frames.append(atoms)
    write(folder / "data.extxyz", frames)
    (folder / "systems.yaml").write_text(COMPARISON, encoding="utf-8")


def results(workspace: Path) -> dict[str, str]:
    """Return what the runs of a workspace came to, as texts by the names of the files, without what was measured.

    Of checkpoints only the newest counts: which others there are depends on where a run was interrupted.
    """
    found = {}
    for file in sorted(workspace.rglob("*")):
        name = file.relative_to(workspace).as_posix()
        hidden = any(part.startswith(".") for part in file.relative_to(workspace).parts)
        if hidden or not file.is_file() or file.suffix in UNCOMPARED or _is_older_checkpoint(file):
            continue
        if not name.startswith(("cache/", "descriptors/")) and "/cells/" not in name:
            try:
                found[name] = content(file)
            except Exception as error:  # libraries tell damage by many types
                found[name] = f"cannot be read: {type(error).__name__}"
    return found


def content(file: Path) -> str:
    """Return what a file says, but for what was measured."""
    if file.name == "manifest.json":
        held = json.loads(file.read_text(encoding="utf-8"))
        return repr(_plain({key: held[key] for key in ("verb", "status", "summary")}))
    match file.suffix:
        case ".parquet":
            return repr(_plain(pq.read_table(file).to_pylist()))
        case ".safetensors":
            with safe_open(file, framework="np") as reader:
                tensors = {name: reader.get_tensor(name).tobytes() for name in sorted(reader.keys())}
                metadata = {key: _parsed(value) for key, value in (reader.metadata() or {}).items()}
            return repr((tensors, _plain(metadata)))
        case ".json":
            return repr(_plain(json.loads(file.read_text(encoding="utf-8"))))
        case ".jsonl":
            return repr([_plain(json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()])
        case ".gz":
            return repr(_plain(json.loads(gzip.decompress(file.read_bytes()))))
        case ".zip":
            with zipfile.ZipFile(file) as archive:
                return repr({name: archive.read(name) for name in sorted(archive.namelist())})
        case ".csv":
            return repr(_plain(list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))))))
        case ".extxyz":
            return re.sub(r"\S*seconds\S*=\S+", "", file.read_text(encoding="utf-8"))
    return re.sub(r".*(second|memory).*", "", file.read_text(encoding="utf-8"))


def _plain(value: Any) -> Any:  # noqa: ANN401 (JSON holds anything)
    """Leave out what was measured; NaN becomes a text, since it equals nothing."""
    if isinstance(value, dict):
        return {
            key: _plain(one) for key, one in value.items() if key != CHECKSUM and not TIMED.search(str(key))
        }
    if isinstance(value, list):
        return [
            _plain(one) for one in value if not (isinstance(one, dict) and TIMED.search(str(one.get("name"))))
        ]
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


def _parsed(text: str) -> Any:  # noqa: ANN401 (JSON holds anything)
    try:
        return json.loads(text)
    except ValueError:
        return text


def _is_older_checkpoint(file: Path) -> bool:
    """Tell whether there is a newer checkpoint beside that of a file."""
    folder = file.parent
    return folder.parent.name == "checkpoints" and folder != max(_steps(folder.parent))


def _steps(folder: Path) -> Iterator[Path]:
    return folder.glob("step-*")
