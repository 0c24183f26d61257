"""DP-CDVAE: a variational autoencoder of crystals whose decoder diffuses the coordinates; and CDVAE itself.

Sources: Pakornchote et al., arXiv 2308.02165; Xie et al., arXiv 2110.06197. What differs is said in
`repdiff.diffusion.cdvae`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import BaseModel
from torch import Tensor

from descriptors.batch import CrystalBatch
from descriptors.symmetry.protostructure import Protostructure
from repdiff.backends.asked_of_backend import own_conditions
from repdiff.backends.base import BACKENDS, Backend, Samples, TrainingJob
from repdiff.backends.batched_sampling import atoms_of
from repdiff.backends.crystal_data import CrystalData
from repdiff.backends.dpcdvae_training import CdvaeTraining
from repdiff.backends.dpcdvae_variations import draw_latents, mix
from repdiff.backends.examples import Examples
from repdiff.backends.formulas import check_cells, choose_cells
from repdiff.backends.options import loading, parse_options
from repdiff.backends.refusals import (
    check_steps,
    chosen_keep,
    formulas_asked,
    refuse_conditions,
    seen_only,
)
from repdiff.conditions import How, typed
from repdiff.crystals.crystal import Crystal, from_batch, to_batch
from repdiff.crystals.formula import Composition
from repdiff.diffusion.cdvae.decoding import decode, n_evaluations
from repdiff.diffusion.cdvae.latents import Vocabulary, make_cells, whole_compositions
from repdiff.diffusion.cdvae.model import Cdvae, Posterior
from repdiff.diffusion.lattice_ddpm import ParameterScale
from repdiff.diffusion.lattice_space import right_handed
from repdiff.diffusion.noise_level import NoiseLevel
from repdiff.diffusion.symmetric_cells import nearest_allowed
from repdiff.diffusion.symmetry_constraint import SymmetryConstraint
from repdiff.errors import UserError
from repdiff.execution.progress import progress_bar
from repdiff.networks.random_streams import NOISE, stream
from repdiff.representations.encoded_set import EncodedSet
from repdiff.runs.checkpoint import check_shapes, load_checkpoint, tensors_under
from repdiff.settings.backends.dpcdvae import OPTIONS, CdvaeSampling, CdvaeSettings

STEPS_AHEAD = 32  # random numbers are drawn for so many steps at a time, which does not change them


@BACKENDS.register("dpcdvae")
class DpCdvae(Backend):
    """Variational autoencoder with diffusion of the coordinates.

    Args:
        model: Trained model.
        niggli: Whether the training crystals were in their Niggli cells.
    """

    description = "variational autoencoder with diffusion of the coordinates, or Langevin steps as CDVAE"
    makes = "crystals"
    conditions = dict.fromkeys(("composition", "protostructure", "formula_units"), How.EXACTLY)
    kind = OPTIONS.kind
    training_options, sampling_options = CdvaeSettings, CdvaeSampling
    varies = True

    def __init__(self, model: Cdvae, *, niggli: bool) -> None:
        self.model, self.niggli = model, niggli

    @classmethod
    def prepare(
        cls,
        encoded: EncodedSet,
        *,
        options: BaseModel | Mapping[str, Any] | None = None,
        seed: int = 0,
        folder: Path,
    ) -> TrainingJob:
        """Take elements, sizes and the scale of cells from the training set, and build the networks."""
        chosen = parse_options(CdvaeSettings, options)
        training, validation = CrystalData.of(encoded, "train"), CrystalData.of(encoded, "val")
        vocabulary = Vocabulary.of(
            training.batch, min_length_std=chosen.min_length_std, min_angle_std=chosen.min_angle_std
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = Cdvae(chosen, vocabulary)
        return TrainingJob(
            model=CdvaeTraining(model),
            training=training,
            validation=validation,
            metadata={"layout": encoded.layout.model_dump(mode="json")},
            tensors={
                "elements": vocabulary.elements,
                "sizes": vocabulary.sizes,
                "parameters.mean": vocabulary.scale.mean,
                "parameters.std": vocabulary.scale.std,
            },
        )

    @classmethod
    def load(cls, path: Path, *, device: torch.device) -> "DpCdvae":
        """Read the averaged weights and what is known of the training set."""
        tensors, metadata = load_checkpoint(path, kind=cls.kind)
        with loading(path, cls.kind):
            check_shapes(tensors, {"parameters.mean": (6,), "parameters.std": (6,)})
            check_shapes(tensors, {"elements": (None,), "sizes": (None,)})
            scale = ParameterScale(mean=tensors["parameters.mean"], std=tensors["parameters.std"])
            vocabulary = Vocabulary(elements=tensors["elements"], sizes=tensors["sizes"], scale=scale)
            model = Cdvae(CdvaeSettings.model_validate(metadata["model"]), vocabulary)
            model.network.load_state_dict(tensors_under("network.", tensors)[0])
            niggli = bool(metadata["layout"]["niggli"])
        return cls(model.to(device).eval(), niggli=niggli)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.elements.device

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
        """Refuse conditions, more steps than were trained, options that do not suit the model, and unseen elements."""
        sampling = parse_options(CdvaeSampling, options)
        check_steps(steps, self.model.n_times)
        refuse_conditions("dpcdvae", None, guidance)
        wanted = own_conditions(
            "dpcdvae", DpCdvae, conditions, compositions=compositions, protostructures=protostructures
        )
        trained = self.model.settings
        if sampling.step == "unscaled" and not self._shrinks:
            raise UserError(
                "`step` is 'unscaled', expected 'posterior' or 'renoise': this model was trained with "
                f"denoiser={trained.denoiser} and mean={trained.mean}"
            )
        vocabulary = self.model.vocabulary
        asked = formulas_asked(compositions, protostructures)
        check_cells(asked, wanted, vocabulary.elements.tolist(), int(vocabulary.sizes[-1]))
        if protostructures is not None and self._shrinks:
            raise UserError(
                "protostructures given, expected none: this model was trained with mean=scaled, which shrinks "
                "coordinates and keeps no symmetry; train one with mean=kept"
            )

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
        """Draw latent vectors and decode them.

        Given compositions replace what the vectors say; these are drawn among those that go with them, and moved
        towards them, so that the cells suit. Protostructures give compositions; the cells that the vectors say are
        then strained to what the groups allow.
        """
        if n == 0:
            return Samples(made=())
        streams = [stream(seed, number, NOISE) for number in range(first, first + n)]
        sampling = parse_options(CdvaeSampling, options)
        species = None
        compositions = formulas_asked(compositions, protostructures)
        if compositions is not None:
            n_most = int(self.model.vocabulary.sizes[-1])
            cells = choose_cells(compositions, typed(conditions or {}), seed=seed, first=first, n_most=n_most)
            species = [torch.from_numpy(atoms_of(cell)) for cell in cells]
        latents, _ = draw_latents(self.model, self._normal(streams), species, sampling)
        made = self._decode(
            latents,
            sampling,
            streams,
            range(first, first + n),
            steps=steps,
            species=species,
            lattice=None,
            protostructures=protostructures,
        )
        return Samples(made=tuple(made))

    @property
    def keeps(self) -> tuple[str, ...]:
        """The composition, which is fixed as the places are sought; symmetry too where the process keeps it."""
        return ("composition",) if self._shrinks else ("composition", "protostructure")

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
        """Mix latent vectors and cells with new ones; noise the coordinates, and denoise them."""
        level = NoiseLevel.of(strength, self.model.n_times, steps)
        examples = Examples.of(parents, level, keep=chosen_keep(keep, self.keeps))
        if level.is_nothing or not parents:
            return Samples(made=tuple(examples.as_given(numbers)))
        sampling = parse_options(CdvaeSampling, options)
        streams = [stream(seed, number, NOISE) for number in numbers]
        species = [torch.from_numpy(atoms) for atoms in examples.species]
        latents, centre = draw_latents(self.model, self._normal(streams), species, sampling)
        clean, lattice = None, None
        if not level.is_whole:
            clean = examples.batch().to(device=self.device, dtype=torch.float32)
            latents, lattice = mix(self.model, clean, latents, centre, strength)
        made = self._decode(
            latents,
            sampling,
            streams,
            numbers,
            steps=level.n_steps,
            species=species,
            lattice=lattice,
            protostructures=examples.protostructures,
            clean=clean,
            since=None if clean is None else level.time,
        )
        return Samples(made=tuple(made))

    def _normal(self, streams: Sequence[np.random.Generator]) -> Float[Tensor, "n n_latent"]:
        drawn = [one.standard_normal(self.model.settings.n_latent, dtype=np.float32) for one in streams]
        return torch.from_numpy(np.stack(drawn)).to(self.device)

    @property
    def _shrinks(self) -> bool:
        """Whether the process shrinks coordinates, which keeps no symmetry."""
        return (self.model.settings.denoiser, self.model.settings.mean) == ("ddpm", "scaled")

    def encode_crystals(self, crystals: Sequence[Crystal]) -> Float[Tensor, "n_crystals n_latent"]:
        """Return the means of the latent distributions of crystals; see `encode_distributions`."""
        return self.encode_distributions(crystals).mean

    @torch.no_grad()
    def encode_distributions(self, crystals: Sequence[Crystal]) -> Posterior:
        """Return the latent distributions of crystals.

        Args:
            crystals: One or more, of the elements of the training set; in their Niggli cells if these were (`niggli`).

        Raises:
            UserError: If a crystal has another element.
        """
        seen_only(
            [dict.fromkeys(crystal.atomic_numbers.tolist(), 1) for crystal in crystals],
            set(self.model.elements.tolist()),
        )
        at_once = CdvaeSampling().crystals_at_once
        found = []
        with progress_bar(
            total=len(crystals), desc="encoding", unit="crystal", disable=len(crystals) <= at_once
        ) as bar:
            for start in range(0, len(crystals), at_once):
                part = crystals[start : start + at_once]
                found.append(self.model.encode(self._batch(part)))
                bar.update(len(part))
        return Posterior(*map(torch.cat, zip(*found, strict=True)))

    def decode_latents(
        self,
        latents: Float[Tensor, "n_crystals n_latent"],
        *,
        seed: int = 0,
        first: int = 0,
        steps: int | None = None,
        options: BaseModel | Mapping[str, Any] | None = None,
        given: Sequence[Crystal] | None = None,
    ) -> list[Crystal]:
        """Make a crystal of every latent vector.

        By default all is predicted from the latent vector, as in the paper's reconstruction: number of atoms, cell,
        composition, and then places. Cells come as those of the training set (Niggli cells, if it was encoded so).

        Args:
            latents: Latent vectors, of `encode_crystals`, `interpolate` or elsewhere.
            seed: Seed of the decoding.
            first: Number of the first crystal: names it, and its random numbers.
            steps: Denoising steps; None for as many as in training.
            options: An instance of `sampling_options`, or values by name; None for the defaults.
            given: Crystals whose cells and atoms are taken, so that places alone are predicted.

        Raises:
            UserError: If steps or options do not fit.
        """
        self.check(steps=steps, options=options)
        sampling = parse_options(CdvaeSampling, options)
        streams = [stream(seed, number, NOISE) for number in range(first, first + len(latents))]
        species, lattice = None, None
        if given is not None:
            species = [torch.from_numpy(crystal.atomic_numbers) for crystal in given]
            lattice = self._batch(given).lattice
        numbers = range(first, first + len(latents))
        return self._decode(
            latents, sampling, streams, numbers, steps=steps, species=species, lattice=lattice
        )

    def interpolate(self, start: Crystal, end: Crystal, n: int) -> Float[Tensor, "n n_latent"]:
        """Return `n` latent vectors on the straight line between those of two crystals, both included."""
        ends = self.encode_crystals([start, end])
        share = torch.linspace(0, 1, n, device=ends.device)[:, None]
        return (1 - share) * ends[:1] + share * ends[1:]

    def _batch(self, crystals: Sequence[Crystal]) -> CrystalBatch:
        return right_handed(to_batch(crystals)).to(device=self.device, dtype=torch.float32)

    @torch.no_grad()
    def _decode(
        self,
        latents: Float[Tensor, "n n_latent"],
        sampling: CdvaeSampling,
        streams: Sequence[np.random.Generator],
        numbers: Sequence[int],
        *,
        steps: int | None,
        species: Sequence[Int[Tensor, " _"]] | None,
        lattice: Float[Tensor, "n 3 3"] | None,
        protostructures: Sequence[Protostructure] | None = None,
        clean: CrystalBatch | None = None,
        since: int | None = None,
    ) -> list[Crystal]:
        """Decode in batches; every crystal has a stream of random numbers of its own, and may begin at given places."""
        if species is not None:
            sampling = sampling.model_copy(update={"types": "fixed"})
        n, size = len(latents), sampling.crystals_at_once
        n_steps = steps or self.model.n_times
        total = n_evaluations(self.model, sampling, n_steps) * -(-n // size)
        crystals: list[Crystal] = []
        with progress_bar(total=total, desc="sampling", unit="step", disable=n < 2) as bar:
            for start in range(0, n, size):
                part = slice(start, start + size)
                guess = self.model.guess(latents[part])
                chosen = species[part] if species else whole_compositions(guess, self.model.vocabulary)
                sizes = [len(atoms) for atoms in chosen]
                cells = (
                    make_cells(guess.lattice, sizes, self.model.scale) if lattice is None else lattice[part]
                )
                atoms = CrystalBatch(
                    frac_coords=torch.zeros(sum(sizes), 3),
                    lattice=cells.cpu(),
                    atomic_numbers=torch.cat(list(chosen)),
                    system_idx=torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)),
                ).to(self.device)
                constraint = None
                if protostructures is not None:
                    constraint = SymmetryConstraint.of(protostructures[part]).to(self.device)
                    allowed = nearest_allowed(atoms.lattice, constraint)
                    atoms = replace(constraint.atoms, lattice=allowed)
                if clean is not None:
                    rows = torch.arange(start, start + len(sizes), device=self.device)
                    atoms = replace(atoms, frac_coords=clean.select(rows).frac_coords)
                noise = _noise(streams[part], sizes, self.device)
                made = decode(
                    self.model,
                    atoms,
                    latents[part],
                    noise,
                    sampling,
                    n_steps=n_steps,
                    constraint=constraint,
                    since=since,
                    bar=bar,
                )
                crystals += from_batch(made, [f"gen-{number:06d}" for number in numbers[part]])
        return crystals


def _noise(
    streams: Sequence[np.random.Generator], sizes: Sequence[int], device: torch.device
) -> Iterator[Float[Tensor, "n_atoms 3"]]:
    """Iterate, without end, over normal numbers for the atoms of crystals, each from its own stream."""
    while True:
        block = [
            one.standard_normal((STEPS_AHEAD, size, 3), dtype=np.float32)
            for one, size in zip(streams, sizes, strict=True)
        ]
        yield from torch.from_numpy(np.concatenate(block, 1)).to(device)
