"""What every backend must do: learn, be saved, be resumed, sample alike in any company, honour what it is given."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from descriptors.symmetry import unit_cell
from descriptors.symmetry.protostructure import Protostructure
from descriptors.testing import require_declared
from repdiff.backends import BACKENDS, Backend, Samples, backend_of
from repdiff.backends.fit import train_job
from repdiff.conditions import GRAMMAR
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.crystals.formula import Composition, count_elements, formula_text
from repdiff.crystals.geometry import check_structures
from repdiff.crystals.symmetry import SYMPREC
from repdiff.datasets.dataset import Dataset
from repdiff.diffusion.symmetry_constraint import SymmetryConstraint
from repdiff.execution.progress import bars
from repdiff.representations.batch import RepresentationBatch
from repdiff.representations.encoded_set import EncodedSet
from repdiff.representations.encoding import encode_dataset
from repdiff.runs.checkpoint import load_checkpoint
from repdiff.settings.training import TrainingSettings
from repdiff.symmetry import read_protostructure
from repdiff.testing.example_crystals import family
from repdiff.testing.require import one_line, refused, require
from repdiff.training import TrainingResult
from repdiff.training.log import METRICS_FILE, read_metrics

CPU = torch.device("cpu")
SYMMETRIC = 1e-5  # of the cell, by which atoms may be away from their symmetry
SAMPLES = 2e-3  # by which numbers of a sample may differ with its company
ROUNDED = 0.05  # of a loss, by which it may differ in bf16
QUICK = {"log_every": 1, "validate_every": 5, "warmup_steps": 0, "ema_every": 1, "lr_schedule": "constant"}


@dataclass(kw_only=True)
class Trial:
    """A registered backend with options that make it small, and a folder to try it in.

    Attributes:
        name: Name of the backend.
        folder: Folder for models.
        options: Options of its training that make a model of seconds.
        encoded: Data set to learn from.
    """

    name: str
    folder: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    encoded: EncodedSet
    _trained: Path | None = None

    @property
    def kind(self) -> type[Backend]:
        """The class of the backend."""
        return BACKENDS[self.name]

    def fit(self, folder: Path, *, steps: int, resume: bool = False, **changes: object) -> TrainingResult:
        """Train a small model in a folder."""
        chosen = TrainingSettings.model_validate({"batch_size": 8, "max_steps": steps, **QUICK, **changes})
        job = self.kind.prepare(self.encoded, options=self.options, seed=chosen.seed, folder=folder)
        return train_job(job, chosen, folder, resume=resume, progress=False)

    def trained(self) -> Path:
        """Return the folder of a small model, trained when it is first asked for."""
        if self._trained is None:
            self._trained = self.folder / "trained"
            self.fit(self._trained, steps=12)
        return self._trained

    def load(self, device: torch.device = CPU) -> Backend:
        """Read the small model."""
        return self.kind.load(self.trained(), device=device)


def check_backend(name: str, *, options: Mapping[str, Any] | None = None, folder: Path | None = None) -> None:
    """Hold a registered backend to all checks; it takes about a minute.

    Args:
        name: Name under which it is registered.
        options: Options of its training that make it small, such as {"network.width": 16}.
        folder: Folder for the models; a temporary one without it.

    Raises:
        AssertionError: At the first check that fails; the message says what was found and expected.

    Example:
        >>> check_backend("retrieval")
    """
    with tempfile.TemporaryDirectory() as temporary, bars(False):
        trial = Trial(name=name, folder=folder or Path(temporary), options=options or {}, encoded=small_set())
        for check in CHECKS.values():
            check(trial)


def small_set() -> EncodedSet:
    """Encode the 24 crystals that a backend is tried on."""
    with bars(False):
        dataset = Dataset.of(CrystalSet(crystals=family()), name="family")
        return encode_dataset(dataset, "ead", niggli=True, device=CPU, symprec=SYMPREC, progress=False)


def check_declarations(trial: Trial) -> None:
    """Check that the backend describes itself, and declares conditions that exist."""
    require_declared(trial.kind, Backend)
    one_line(trial.kind.description, least=20)
    known = {"composition", "properties", "protostructure", *GRAMMAR}
    strange = set(trial.kind.conditions) - known
    require(not strange, f"unknown conditions {sorted(strange)}, expected some of {', '.join(sorted(known))}")
    require(trial.kind.makes in ("representations", "crystals"), f"makes {trial.kind.makes!r}")


def check_learning(trial: Trial) -> None:
    """Check that the loss falls by a tenth in 60 steps, unless the model is fitted as it is prepared."""
    folder = trial.folder / "learning"
    trial.fit(folder, steps=60, learning_rate=5e-3)
    if not (folder / METRICS_FILE).is_file():
        job = trial.kind.prepare(trial.encoded, options=trial.options, folder=folder)
        require(job.model.fitted, "nothing was logged, expected losses of a model that is not fitted yet")
        return
    losses = [record["train_loss"] for record in read_metrics(folder)]
    first, last = float(np.mean(losses[:5])), float(np.mean(losses[-15:]))
    require(
        last < 0.9 * first, f"the loss goes from {first:.3g} to {last:.3g}, expected it to fall by a tenth"
    )


def check_resuming(trial: Trial) -> None:
    """Check that a resumed training repeats an uninterrupted one bit by bit."""
    whole, parts = trial.folder / "whole", trial.folder / "parts"
    trial.fit(whole, steps=8)
    trial.fit(parts, steps=4)
    trial.fit(parts, steps=8, resume=True)
    expected, _ = load_checkpoint(whole, kind=trial.kind.kind)
    found, _ = load_checkpoint(parts, kind=trial.kind.kind)
    for name, value in expected.items():
        require(torch.equal(found[name], value), f"{name} differs after a resumed training")


def check_precision(trial: Trial) -> None:
    """Check that losses in bf16, which `auto` takes where a processor multiplies in it, are near those in fp32."""
    losses = {}
    for precision in ("fp32", "bf16"):
        folder = trial.folder / precision
        trial.fit(folder, steps=5, precision=precision)
        if not (folder / METRICS_FILE).is_file():  # fitted as it is prepared
            return
        losses[precision] = np.array([record["train_loss"] for record in read_metrics(folder)])
    away = float(np.abs(losses["bf16"] / losses["fp32"] - 1).max())
    require(away < ROUNDED, f"the loss in bf16 is {away:.0%} away from that in fp32, expected {ROUNDED:.0%}")


def check_files(trial: Trial) -> None:
    """Check that a file tells its backend, and samples alike when it is read again, unlike with another seed."""
    found = backend_of(trial.trained())
    require(found == trial.name, f"the file says {found!r}, expected {trial.name!r}")
    first, second = (numbers(sample(trial.load(), 3, seed=4)) for _ in range(2))
    require(torch.equal(first, second), "a model that is read again samples otherwise")
    require(not torch.equal(first, numbers(sample(trial.load(), 3, seed=5))), "seeds 4 and 5 give the same")


def check_company(trial: Trial) -> None:
    """Check that a sample does not depend on what is drawn with it."""
    backend = trial.load()
    together, apart = numbers(sample(backend, 5, seed=1)), numbers(sample(backend, 2, seed=1, first=3))
    fits = torch.allclose(together[3:], apart, rtol=SAMPLES, atol=SAMPLES)
    require(fits, "samples 3 and 4 differ with what is drawn before them")


def check_samples(trial: Trial) -> None:
    """Check that samples are finite, named, and of sizes that the training crystals have."""
    made = sample(trial.load(), 6, seed=2)
    most = max(crystal.n_atoms for crystal in trial.encoded.crystals)
    sizes = [sum(formula.values()) for formula in formulas(made)]
    require(max(sizes) <= most, f"a sample has {max(sizes)} atoms, expected at most {most}")
    require(bool(numbers(made).isfinite().all()), "a sample is not finite")
    if trial.kind.makes == "crystals":
        first = made.crystals[0].id
        require(first == "gen-000000", f"the first sample is called {first!r}, expected 'gen-000000'")
        volumes = [check.volume for check in check_structures(made.crystals)]
        require(all(volume and volume > 0.1 for volume in volumes), "a cell is flat")


def check_compositions(trial: Trial) -> None:
    """Check that a given composition is honoured, and a strange element or too many atoms refused."""
    if "composition" not in trial.kind.conditions:
        return
    backend, elements = trial.load(), trial.encoded.layout.elements
    asked: list[Composition] = [{elements[0]: 1, elements[1]: 2}, {elements[2]: 3}]
    found = formulas(sample(backend, 2, compositions=asked))
    require(found == asked, f"asked for {asked}, and made {found}")
    with refused("an element that training crystals lack", "Og"):
        backend.check(compositions=[{118: 2}])
    n_most = max(crystal.n_atoms for crystal in trial.encoded.crystals)
    large = {elements[0]: n_most + 90}
    said = f"has {n_most + 90} atoms, {formula_text(large)}, expected at most"
    with refused("a composition of too many atoms", said):
        backend.check(compositions=[asked[0], large])


def check_protostructures(trial: Trial) -> None:
    """Check that given protostructures are kept exactly, and a strange element or compositions beside them refused."""
    if "protostructure" not in trial.kind.conditions:
        return
    backend = trial.load()
    salt = Protostructure.of(225, [(11, "a"), (17, "b")])
    layered = Protostructure.of(194, [(20, "c"), (8, "f")])
    tilted = Protostructure.of(62, [(22, "a"), (8, "d")])
    asked = [salt, layered, tilted, salt]
    made = backend.sample(4, seed=3, protostructures=asked)
    found = formulas(made)
    wanted = [one.composition() for one in asked]
    require(found == wanted, f"asked for {wanted}, and made {found}")
    apart = backend.sample(2, seed=3, first=2, protostructures=asked[2:])
    if backend.makes == "crystals":
        for given, one in zip(asked, made.crystals, strict=True):
            _check_symmetry(given, one)
        together, alone = made.crystals[2:], apart.crystals
        gap = max(_gap(one, other) for one, other in zip(together, alone, strict=True))
    else:
        gap = float((numbers(made)[2:] - numbers(apart)).abs().max())
    require(gap <= SAMPLES * 10, f"samples 2 and 3 differ by {gap:.2g} with what is drawn before them")
    with refused("an element that training crystals lack", "Og"):
        backend.check(protostructures=[Protostructure.of(225, [(118, "a")])])
    with refused("compositions beside protostructures", "one of them"):
        backend.check(protostructures=[salt], compositions=[{11: 1, 17: 1}])


def _check_symmetry(wanted: Protostructure, made: Crystal) -> None:
    """Check that atoms and cell have the symmetry of a protostructure exactly."""
    constraint = SymmetryConstraint.of([wanted])
    frac = torch.from_numpy(made.frac_coords)
    gap = constraint.exact(frac) - frac
    away = float((gap - gap.round()).abs().max())
    require(away < SYMMETRIC, f"an atom is {away} of the cell from where the symmetry of {wanted} puts it")
    cell = torch.linalg.inv(constraint.maps.cell_vectors[0]) @ torch.from_numpy(made.lattice)
    unit_cell.from_lattice(cell[None], constraint.maps.numbers, exact=True)


def _gap(one: Crystal, other: Crystal) -> float:
    """Return how far cells, Å, and fractional coordinates of two crystals are apart, images left aside."""
    steps = one.frac_coords - other.frac_coords
    return max(float(np.abs(one.lattice - other.lattice).max()), float(np.abs(steps - np.rint(steps)).max()))


def check_variations(trial: Trial) -> None:
    """Check variations: the parent at no strength, no trace of it at strength 1, and what is said to be kept is.

    They are reproducible, and depend neither on what else is varied nor on its order. A backend without them says so.
    """
    backend, parents = trial.load(), trial.encoded.crystals[2:4]
    if not trial.kind.varies:
        with refused("a variation by a backend that makes none", "makes no variations"):
            backend.check_variation(parents, strength=0.5)
        return
    known = ("protostructure", "composition", "nothing")
    fits = 0 < len(set(backend.keeps)) == len(backend.keeps) and set(backend.keeps) <= set(known)
    require(fits, f"keeps {backend.keeps}, expected some of {', '.join(known)}, each once")
    for keep in backend.keeps:
        _check_kept(backend, trial.encoded, keep)
    strange = parents[0].replace(atomic_numbers=np.full(parents[0].n_atoms, 118))
    with refused("an element that training crystals lack", "Og"):
        backend.check_variation([strange], strength=0.5)
    with refused("a strength of 0", "`strength` is 0, expected"):
        backend.check_variation(parents, strength=0)
    with refused("a strength above 1", "`strength` is 1.5, expected"):
        backend.check_variation(parents, strength=1.5)
    with refused("what cannot be kept", "`keep` is 'colour', expected"):
        backend.check_variation(parents, strength=0.5, keep="colour")


def _check_kept(backend: Backend, encoded: EncodedSet, keep: str) -> None:
    """Check variations that keep one thing of their parents."""
    rows = [2, 3, 16, 17]
    parents, places = [encoded.crystals[row] for row in rows], [5, 1_000_004, 7, 2]

    def varied(chosen: list[int], strength: float, seed: int = 3, stretch: float = 1.0) -> Samples:
        own = [parents[place].replace(lattice=stretch * parents[place].lattice) for place in chosen]
        numbers = [places[place] for place in chosen]
        backend.check_variation(own, strength=strength, keep=keep)
        return backend.vary(own, numbers, strength=strength, keep=keep, seed=seed)

    everyone = list(range(len(rows)))
    _check_parents(varied(everyone, 1e-9), encoded, rows)
    half = varied(everyone, 0.5)
    again, other = varied(everyone, 0.5), varied(everyone, 0.5, seed=4)
    require(torch.equal(numbers(half), numbers(again)), "variations of one seed differ from call to call")
    require(not torch.equal(numbers(half), numbers(other)), "variations of seeds 3 and 4 are the same")
    apart = numbers(varied([3, 1], 0.5))
    fits = torch.allclose(numbers(half)[[3, 1]], apart, rtol=SAMPLES, atol=SAMPLES, equal_nan=True)
    require(fits, "a variation differs with what else is varied")
    if keep != "nothing":
        found, wanted = formulas(half), [dict(count_elements(parent)) for parent in parents]
        require(found == wanted, f"asked to keep {wanted}, and made {found}")
    if keep == "protostructure":
        kept = [read_protostructure(parent, canonical=True).protostructure for parent in parents]
        if backend.makes == "crystals":
            for one, made in zip(kept, half.crystals, strict=True):
                _check_symmetry(one, made)
        else:
            table = half.representations.symmetry
            require(table is not None and list(table.protostructures) == kept, "protostructures are not kept")
    new, stretched = (numbers(varied(everyone, 1.0, stretch=stretch)) for stretch in (1.0, 1.1))
    fits = torch.allclose(new, stretched, rtol=SAMPLES, atol=SAMPLES, equal_nan=True)
    require(fits, "variations of strength 1 depend on the cells of their parents")


def _check_parents(made: Samples, encoded: EncodedSet, rows: list[int]) -> None:
    """Check that variations that nothing was done to are their parents."""
    parents = [encoded.crystals[row] for row in rows]
    if isinstance(made.made, RepresentationBatch):
        own = encoded.representations[rows]
        away = float((made.made.vectors - own).abs().sum(1).div(own.abs().sum(1)).max())
    else:
        away = max(_gap(one, parent) for one, parent in zip(made.crystals, parents, strict=True))
    require(away < 1e-4, f"variations of strength 0 are {away:.2g} from their parents")


def check_unknown_options(trial: Trial) -> None:
    """Check that an unknown option of sampling is refused before anything is made."""
    with refused("an unknown option", "widht"):
        trial.load().check(options={"widht": 3})


CHECKS: dict[str, Callable[[Trial], None]] = {
    "declarations": check_declarations,
    "learning": check_learning,
    "resuming": check_resuming,
    "precision": check_precision,
    "files": check_files,
    "company": check_company,
    "samples": check_samples,
    "compositions": check_compositions,
    "protostructures": check_protostructures,
    "variations": check_variations,
    "unknown options": check_unknown_options,
}


def sample(
    backend: Backend, n: int, *, seed: int = 0, first: int = 0, compositions: list[Composition] | None = None
) -> Samples:
    """Let a backend sample."""
    return backend.sample(n, seed=seed, first=first, compositions=compositions)


def numbers(samples: Samples) -> Tensor:
    """Put samples into one row of numbers each."""
    made = samples.made
    if isinstance(made, RepresentationBatch):
        return made.vectors
    rows = [np.concatenate([c.lattice.ravel(), c.atomic_numbers, c.frac_coords.ravel()]) for c in made]
    return torch.stack([torch.nn.functional.pad(torch.from_numpy(row), (0, 200 - len(row))) for row in rows])


def formulas(samples: Samples) -> list[Composition]:
    """Count the atoms of each sample."""
    made = samples.made
    if not isinstance(made, RepresentationBatch):
        return [dict(count_elements(crystal)) for crystal in made]
    blocks = made.layout.representation().blocks
    counts = (made.vectors[:, blocks["composition"]] * made.vectors[:, blocks["n_atoms"]]).round().long()
    return [
        {made.layout.elements[column]: int(count) for column, count in enumerate(row) if count}
        for row in counts
    ]
