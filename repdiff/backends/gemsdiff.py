"""GemsDiff: diffusion of atoms on the torus and of the cell in its Lie algebra, for given compositions.

Source: Klipfel et al., arXiv 2401.05402; what differs is said in `repdiff.diffusion.torus_lattice`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import BaseModel
from torch import Tensor, nn

from descriptors.batch import CrystalBatch
from descriptors.symmetry.protostructure import Protostructure
from repdiff.backends.asked_of_backend import own_conditions
from repdiff.backends.base import BACKENDS, Backend, Samples, TrainingJob
from repdiff.backends.batched_sampling import atoms_of, sample_in_parts
from repdiff.backends.crystal_data import CrystalData, atoms_of_part
from repdiff.backends.examples import Examples
from repdiff.backends.formulas import OF_FORMULAS, TrainingFormulas, check_cells, choose_cells
from repdiff.backends.options import loading, parse_options
from repdiff.backends.refusals import check_steps, chosen_keep, formulas_asked, refuse_conditions
from repdiff.conditions import How, typed
from repdiff.crystals.crystal import Crystal, from_batch
from repdiff.crystals.formula import Composition
from repdiff.diffusion.lattice_ddpm import ParameterScale
from repdiff.diffusion.lattice_space import N_COORDINATES, LatticeCoordinates
from repdiff.diffusion.noise_level import NoiseLevel, normal_of_uniform
from repdiff.diffusion.schedules import spread_times
from repdiff.diffusion.symmetry_constraint import SymmetryConstraint
from repdiff.diffusion.torus import centred
from repdiff.diffusion.torus_lattice import (
    Noise,
    TorusLatticeDiffusion,
)
from repdiff.errors import UserError
from repdiff.networks.random_streams import NOISE, stream
from repdiff.representations.encoded_set import EncodedSet
from repdiff.runs.checkpoint import check_shapes, load_checkpoint, tensors_under
from repdiff.settings.backends.gemsdiff import (
    OPTIONS,
    GemsDiffSampling,
    ReverseSettings,
    TorusLatticeSettings,
)
from repdiff.training import Trainable
from repdiff.training.shares import mean_weight


class GemsDiffTraining(Trainable):
    """The joint loss as the training loop sees it: two errors, of positions and of cells."""

    kind = "gemsdiff"

    def __init__(self, diffusion: TorusLatticeDiffusion) -> None:
        super().__init__()
        self.diffusion = diffusion

    @property
    def learnt(self) -> nn.Module:
        """The network."""
        return self.diffusion.network

    @property
    def parts(self) -> Mapping[str, slice]:
        """Positions and cells."""
        return {"positions": slice(0, 1), "lattice": slice(1, 2)}

    @property
    def n_errors(self) -> int:
        """One for each part."""
        return 2

    def inputs(
        self, data: CrystalData, rows: Int[Tensor, " n_rows"], mine: slice, generator: torch.Generator
    ) -> tuple[CrystalData, Noise, Float[Tensor, ""]]:
        """Draw times, spread evenly over the batch, and noise; this part of the batch and its own numbers."""
        n, device, n_times = len(rows), generator.device, self.diffusion.n_times
        times = spread_times(n, n_times, generator=generator)
        counts = self.units(data, rows)
        lattice = torch.randn(n, N_COORDINATES, generator=generator, device=device)
        coords = torch.randn(int(counts.sum()), 3, generator=generator, device=device)
        part = data.select(rows[mine])
        noise = Noise(
            times=times[mine],
            coords=centred(coords[atoms_of_part(counts, mine)], part.batch),
            lattice=lattice[mine],
        )
        return part, noise, mean_weight(counts, mine)

    def units(self, data: CrystalData, rows: Int[Tensor, " n_rows"]) -> Int[Tensor, " n_rows"]:
        """Count the atoms of each crystal."""
        return data.batch.n_atoms_per_system[rows]

    def forward(
        self, inputs: tuple[CrystalData, Noise, Float[Tensor, ""]]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " 2"]]:
        """Return the loss and its parts."""
        data, noise, weight = inputs
        return self.diffusion(data.batch, data.finder, noise, weight)

    def describe(self) -> dict[str, Any]:
        """Return the settings."""
        return self.diffusion.settings.model_dump(mode="json")


@BACKENDS.register("gemsdiff")
class GemsDiff(Backend):
    """Torus and lattice diffusion."""

    description = "diffusion of atoms on the torus and of the cell in its Lie algebra, given the formula"
    makes = "crystals"
    conditions = dict.fromkeys(("composition", "protostructure", "formula_units", *OF_FORMULAS), How.EXACTLY)
    kind = OPTIONS.kind
    training_options, sampling_options = TorusLatticeSettings, GemsDiffSampling
    varies = True

    def __init__(self, diffusion: TorusLatticeDiffusion, formulas: TrainingFormulas) -> None:
        self.diffusion, self.formulas = diffusion, formulas

    @classmethod
    def prepare(
        cls,
        encoded: EncodedSet,
        *,
        options: BaseModel | Mapping[str, Any] | None = None,
        seed: int = 0,
        folder: Path,
    ) -> TrainingJob:
        """Fit the scales of the cell to the training set, and build the network."""
        chosen = parse_options(TorusLatticeSettings, options)
        training, validation = CrystalData.of(encoded, "train"), CrystalData.of(encoded, "val")
        lattice, counts = training.batch.lattice.double(), training.batch.n_atoms_per_system
        coordinates = LatticeCoordinates.fit(
            lattice,
            counts,
            gauge=chosen.lattice.gauge,
            per_atom=chosen.lattice.per_atom_volume,
            min_std=chosen.lattice.min_std,
        )
        if not chosen.lattice.standardize:
            coordinates = LatticeCoordinates.plain(
                gauge=chosen.lattice.gauge, per_atom=chosen.lattice.per_atom_volume
            )
        scale = ParameterScale.fit(
            lattice, min_length_std=chosen.min_length_std, min_angle_std=chosen.min_angle_std
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            diffusion = _build(chosen, coordinates, scale)
        return TrainingJob(
            model=GemsDiffTraining(diffusion),
            training=training,
            validation=validation,
            metadata={"layout": encoded.layout.model_dump(mode="json")},
            tensors={
                "lattice.mean": coordinates.mean,
                "lattice.std": coordinates.std,
                "parameters.mean": scale.mean,
                "parameters.std": scale.std,
                "formulas": TrainingFormulas.of(training.batch).rows,
            },
        )

    @classmethod
    def load(cls, path: Path, *, device: torch.device) -> "GemsDiff":
        """Read the averaged weights, the scales and the training formulas."""
        tensors, metadata = load_checkpoint(path, kind=cls.kind)
        with loading(path, cls.kind):
            options = TorusLatticeSettings.model_validate(metadata["model"])
            check_shapes(tensors, {"lattice.mean": (N_COORDINATES,), "lattice.std": (N_COORDINATES,)})
            check_shapes(tensors, {"formulas": (None, None)})
            check_shapes(tensors, {"parameters.mean": (6,), "parameters.std": (6,)})
            coordinates = LatticeCoordinates(
                gauge=options.lattice.gauge,
                mean=tensors["lattice.mean"],
                std=tensors["lattice.std"],
                per_atom=options.lattice.per_atom_volume,
            )
            scale = ParameterScale(mean=tensors["parameters.mean"], std=tensors["parameters.std"])
            diffusion = _build(options, coordinates, scale)
            diffusion.network.load_state_dict(tensors_under("network.", tensors)[0])
            formulas = TrainingFormulas(tensors["formulas"])
        return cls(diffusion.to(device).eval(), formulas)

    def data_range(self, name: str) -> tuple[float, float] | None:
        """Return the range of what formulas of the training crystals tell."""
        return self.formulas.range_of(name)

    def check(
        self,
        *,
        steps: int | None = None,
        compositions: Sequence[Composition] | None = None,
        protostructures: Sequence[Protostructure] | None = None,
        conditions: Mapping[str, Any] | None = None,
        guidance: float | None = None,
        options: BaseModel | Mapping[str, Any] | None = None,
    ) -> None:
        """Refuse conditions, more steps than were trained, and unseen elements."""
        parse_options(GemsDiffSampling, options)
        check_steps(steps, self.diffusion.n_times)
        refuse_conditions("gemsdiff", None, guidance)
        wanted = own_conditions(
            "gemsdiff", GemsDiff, conditions, compositions=compositions, protostructures=protostructures
        )
        asked = formulas_asked(compositions, protostructures)
        check_cells(asked, wanted, self.formulas.seen, self.formulas.n_most)
        if asked is None:
            self.formulas.obeying(wanted)

    def sample(
        self,
        n: int,
        *,
        seed: int = 0,
        first: int = 0,
        steps: int | None = None,
        compositions: Sequence[Composition] | None = None,
        protostructures: Sequence[Protostructure] | None = None,
        conditions: Mapping[str, Any] | None = None,
        guidance: float | None = None,
        options: BaseModel | Mapping[str, Any] | None = None,
    ) -> Samples:
        """Draw formulas from the training set, unless they or protostructures are given, then cells and positions."""
        sampling = parse_options(GemsDiffSampling, options)
        n_steps = steps or self.diffusion.n_times
        numbers = range(first, first + n)
        compositions = formulas_asked(compositions, protostructures)
        wanted = typed(conditions or {})
        if compositions is None:
            formulas = self.formulas.obeying(wanted)
            chosen = [formulas.draw(seed, number) for number in numbers]
        else:
            cells = choose_cells(compositions, wanted, seed=seed, first=first, n_most=self.formulas.n_most)
            chosen = [atoms_of(cell) for cell in cells]

        def make(part: slice) -> list[Crystal]:
            kept = None if protostructures is None else protostructures[part]
            return self._sample_together(numbers[part], chosen[part], kept, seed, n_steps, sampling)

        return Samples(made=tuple(sample_in_parts(n, sampling.crystals_at_once, make)))

    @property
    def keeps(self) -> tuple[str, ...]:
        """The composition, which is given to the diffusion; symmetry can be kept too."""
        return ("composition", "protostructure")

    def vary(
        self,
        parents: Sequence[Crystal],
        numbers: Sequence[int],
        *,
        strength: float,
        keep: str | None = None,
        seed: int = 0,
        steps: int | None = None,
        options: BaseModel | Mapping[str, Any] | None = None,
    ) -> Samples:
        """Noise cells and coordinates, and denoise them."""
        level = NoiseLevel.of(strength, self.diffusion.n_times, steps)
        examples = Examples.of(parents, level, keep=chosen_keep(keep, self.keeps))
        if level.is_nothing:
            return Samples(made=tuple(examples.as_given(numbers)))
        sampling = parse_options(GemsDiffSampling, options)

        def make(part: slice) -> list[Crystal]:
            own = examples.select(part)
            return self._sample_together(
                numbers[part], own.species, own.protostructures, seed, level.n_steps, sampling, own
            )

        return Samples(made=tuple(sample_in_parts(len(parents), sampling.crystals_at_once, make)))

    def _sample_together(
        self,
        numbers: Sequence[int],
        species: Sequence[np.ndarray],
        protostructures: Sequence[Protostructure] | None,
        seed: int,
        n_steps: int,
        reverse: ReverseSettings,
        examples: Examples | None = None,
    ) -> list[Crystal]:
        """Sample a batch, with the symmetry of protostructures if there are any, each crystal from its own stream."""
        device = next(self.diffusion.network.parameters()).device
        streams = [stream(seed, number, NOISE) for number in numbers]
        sizes = [len(atoms) for atoms in species]
        coords = [
            stream.random((size, 3), dtype=np.float32) for stream, size in zip(streams, sizes, strict=True)
        ]
        prior = [stream.standard_normal(N_COORDINATES, dtype=np.float32) for stream in streams]
        noise = [
            stream.standard_normal((n_steps, 3 * size + N_COORDINATES), dtype=np.float32)
            for stream, size in zip(streams, sizes, strict=True)
        ]
        batch = CrystalBatch(
            frac_coords=torch.from_numpy(np.concatenate(coords)),
            lattice=torch.eye(3).repeat(len(sizes), 1, 1),
            atomic_numbers=torch.from_numpy(np.concatenate(species)),
            system_idx=torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)),
        ).to(device)
        constraint = None
        if protostructures is not None:
            constraint = SymmetryConstraint.of(protostructures).to(device)
            batch = replace(constraint.atoms, frac_coords=constraint.start(batch.frac_coords))
        first, since = torch.from_numpy(np.stack(prior)).to(device), None
        if examples is not None and not examples.level.is_whole:
            since = examples.level.time
            normal = normal_of_uniform(torch.from_numpy(np.concatenate(coords)).to(device))
            clean = examples.batch().to(device=device, dtype=torch.float32)
            batch, first = self.diffusion.noised(clean, since, normal, first, constraint)
        of_coords = np.concatenate([rows[:, N_COORDINATES:].reshape(n_steps, -1, 3) for rows in noise], 1)
        of_lattice = np.stack([rows[:, :N_COORDINATES] for rows in noise], 1)
        made = self.diffusion.sample(
            batch,
            first,
            torch.from_numpy(of_coords).to(device),
            torch.from_numpy(of_lattice).to(device),
            reverse,
            constraint,
            since=since,
        )
        return from_batch(made, [f"gen-{number:06d}" for number in numbers])


def _build(
    options: TorusLatticeSettings, coordinates: LatticeCoordinates, scale: ParameterScale
) -> TorusLatticeDiffusion:
    try:
        return TorusLatticeDiffusion(options, coordinates, scale)
    except ValueError as error:
        raise UserError(f"options: {error}") from error
