"""MatterGen-style: joint diffusion of elements, coordinates and cells.

Source: Zeni et al., arXiv 2312.03687; what differs is said in `repdiff.diffusion.joint`.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int
from pydantic import BaseModel
from torch import Tensor

from descriptors.symmetry.protostructure import Protostructure
from repdiff.backends import properties
from repdiff.backends.asked_of_backend import own_conditions
from repdiff.backends.base import BACKENDS, Backend, Samples, TrainingJob
from repdiff.backends.batched_sampling import atoms_of, sample_in_parts
from repdiff.backends.conditions import Conditions
from repdiff.backends.examples import Examples
from repdiff.backends.formulas import check_cells, choose_cells
from repdiff.backends.mattergen_draws import hiding_chances, random_draws
from repdiff.backends.mattergen_rules import (
    as_property,
    draw_size,
    elements_left,
    only_elements,
    sizes_left,
)
from repdiff.backends.mattergen_training import MatterGenTraining, SymmetricData
from repdiff.backends.options import loading, parse_options
from repdiff.backends.refusals import check_steps, chosen_keep, formulas_asked, seen_only
from repdiff.conditions import How, honoured, typed
from repdiff.crystals.crystal import Crystal, from_batch
from repdiff.crystals.formula import Composition
from repdiff.diffusion.joint import JointDiffusion
from repdiff.diffusion.joint_process import StateNoise
from repdiff.diffusion.noise_level import NoiseLevel, normal_of_uniform
from repdiff.diffusion.predictor_corrector import Predict, sample
from repdiff.diffusion.symmetric_joint import (
    noised_start,
    symmetric_crystals,
    symmetric_draws,
    symmetric_predictions,
    symmetric_start,
)
from repdiff.diffusion.symmetric_lattice import N_ELEMENTS, Limit
from repdiff.diffusion.symmetry_constraint import SymmetryConstraint
from repdiff.errors import UserError
from repdiff.networks import property_embedding
from repdiff.networks.property_embedding import PropertyEmbedding, ScalarEmbedding
from repdiff.networks.random_streams import NOISE, stream
from repdiff.representations.encoded_set import EncodedSet
from repdiff.runs.checkpoint import check_shapes, load_checkpoint, tensors_under
from repdiff.settings.backends.mattergen import OPTIONS, JointSettings, MatterGenSampling

N_DEVIATIONS = 4  # of labels about their mean, which nearly all of them lie within


@BACKENDS.register("mattergen")
class MatterGen(Backend):
    """Joint diffusion of elements, coordinates and cells.

    Args:
        diffusion: The trained model, with adapters for the properties.
        sizes: Numbers of atoms of the training crystals.
        embeddings: Embeddings of the properties that have an adapter, by name.
    """

    description = "joint diffusion of elements, coordinates and cells, with adapters for properties"
    makes = "crystals"
    conditions = dict.fromkeys(
        (
            "composition",
            "protostructure",
            "formula_units",
            "elements_allowed",
            "elements_excluded",
            "n_atoms",
        ),
        How.EXACTLY,
    ) | dict.fromkeys(("properties", "chemical_system", "space_group"), How.SOFTLY)
    kind = OPTIONS.kind
    training_options, sampling_options = JointSettings, MatterGenSampling
    varies = True

    def __init__(
        self,
        diffusion: JointDiffusion,
        sizes: Int[Tensor, " n_crystals"],
        embeddings: Mapping[str, PropertyEmbedding],
    ) -> None:
        self.diffusion, self.sizes, self.embeddings = diffusion, sizes, dict(embeddings)

    @classmethod
    def prepare(
        cls,
        encoded: EncodedSet,
        *,
        options: BaseModel | Mapping[str, Any] | None = None,
        seed: int = 0,
        folder: Path,
    ) -> TrainingJob:
        """Fit the limit of the cells to the training set, and build the network."""
        chosen = parse_options(JointSettings, options)
        training, validation = (SymmetricData.of(_crystals(encoded, split)) for split in ("train", "val"))
        batch, counts = training.batch, training.batch.n_atoms_per_system
        limit = Limit.fit(batch.lattice, counts)
        std = float(limit.encode(batch.lattice, counts).square().mean().sqrt())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            diffusion = JointDiffusion(
                chosen, limit, lattice_std=std, elements=torch.tensor(sorted(encoded.layout.elements))
            )
        return _job(diffusion, counts, {}, training, validation, encoded, dropout=0.0)

    @classmethod
    def prepare_finetuning(
        cls,
        encoded: EncodedSet,
        base: Path,
        *,
        names: Sequence[str],
        weights: Literal["all", "adapters"] = "all",
        condition_dropout: float = 0.2,
        seed: int = 0,
    ) -> TrainingJob:
        """Add adapters for properties to a trained model, which keeps those it has.

        Args:
            encoded: Crystals with labels.
            base: The trained model.
            names: The new properties.
            weights: Whether all weights are trained, or those of the adapters alone.
            condition_dropout: Share of the examples that are shown without their labels, for guidance.
            seed: Seed of the adapters' weights.

        Raises:
            UserError: If labels are missing, constant or unreadable, an adapter is there already, or the set has
                elements that the model does not know.
        """
        model = cls.load(base, device=torch.device("cpu"))
        known, elements = model.embeddings, model.diffusion.elements.tolist()
        if there := [name for name in names if name in known]:
            raise UserError(f"{base} has an adapter for {there[0]} already, expected another property")
        parts = {split: _crystals(encoded, split) for split in ("train", "val")}
        everything = [
            number for part in parts.values() for crystal in part for number in crystal.atomic_numbers
        ]
        seen_only([{int(number): 1 for number in everything}], elements)
        fresh = properties.fresh_properties(
            names, parts["train"], elements, seed=seed, offered=properties.COMPUTED
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model.diffusion.add_properties(fresh)
        embeddings = {**known, **fresh}
        data = [
            SymmetricData.of(part, properties.label_inputs(embeddings, fresh, part))
            for part in parts.values()
        ]
        if weights == "adapters":
            model.diffusion.freeze_all_but_properties()
        return _job(
            model.diffusion.train(),
            model.sizes,
            embeddings,
            *data,
            encoded,
            dropout=condition_dropout,
        )

    @classmethod
    def load(cls, path: Path, *, device: torch.device) -> "MatterGen":
        """Read the averaged weights, the limit of the cells, the sizes of training crystals and the properties."""
        tensors, metadata = load_checkpoint(path, kind=cls.kind)
        with loading(path, cls.kind):
            check_shapes(
                tensors, {"lattice.density": (), "lattice.std": (), "elements": (None,), "sizes": (None,)}
            )
            diffusion = JointDiffusion(
                JointSettings.model_validate(metadata["model"]),
                Limit(float(tensors["lattice.density"])),
                lattice_std=float(tensors["lattice.std"]),
                elements=tensors["elements"],
            )
            embeddings = property_embedding.built(metadata["properties"])
            diffusion.add_properties(embeddings)
            diffusion.network.load_state_dict(tensors_under("network.", tensors)[0])
            sizes = tensors["sizes"]
        return cls(diffusion.to(device).eval(), sizes, embeddings)

    @property
    def taught(self) -> Collection[str]:
        """Properties with an adapter."""
        return self.embeddings.keys()

    def data_range(self, name: str) -> tuple[float, float] | None:
        """Return four standard deviations about the mean of the training labels, where the property is a number."""
        known = self.embeddings.get(name)
        if not isinstance(known, ScalarEmbedding):
            return None
        return known.mean - N_DEVIATIONS * known.std, known.mean + N_DEVIATIONS * known.std

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
        """Refuse more steps than were trained, unseen elements, and unknown properties."""
        sampling = parse_options(MatterGenSampling, options)
        check_steps(steps, self.diffusion.process.n_times)
        wanted = own_conditions(
            "mattergen",
            MatterGen,
            conditions,
            taught=self.taught,
            compositions=compositions,
            protostructures=protostructures,
        )
        asked = formulas_asked(compositions, protostructures)
        check_cells(asked, wanted, self.diffusion.elements.tolist(), int(self.sizes.max()))
        self.read_conditions(wanted, guidance, strict=sampling.strict_system)
        elements_left(self.diffusion, wanted)
        sizes_left(self.sizes, wanted)

    def read_conditions(
        self, conditions: Mapping[str, Any] | None, guidance: float | None, *, strict: bool = False
    ) -> Conditions:
        """Read what was learnt, and a chemical system; raises as `Conditions.read`."""
        elements = self.diffusion.elements.tolist()
        asked = {
            name: as_property(one)
            for name, one in typed(conditions or {}, learnt=self.taught).items()
            if honoured(self.conditions).get(name) is not How.EXACTLY
        }
        return Conditions.read(asked, guidance, self.embeddings, elements, strict=strict)

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
        """Draw numbers of atoms from the training set, unless formulas or protostructures are given, then the rest."""
        sampling = parse_options(MatterGenSampling, options)
        rules = typed(conditions or {}, learnt=self.taught)
        wanted = self.read_conditions(rules, guidance, strict=sampling.strict_system)
        predict = only_elements(self.diffusion, partial(wanted.predict, self.diffusion), rules)
        n_steps = steps or self.diffusion.process.n_times
        numbers = range(first, first + n)
        compositions = formulas_asked(compositions, protostructures)
        if compositions is None:
            sizes = sizes_left(self.sizes, rules)
            asked = [np.zeros(draw_size(sizes, seed, number), np.int64) for number in numbers]
        else:
            n_most = int(self.sizes.max())
            cells = choose_cells(compositions, rules, seed=seed, first=first, n_most=n_most)
            asked = [atoms_of(cell) for cell in cells]

        def make(part: slice) -> list[Crystal]:
            kept = None if protostructures is None else protostructures[part]
            return self._sample_together(numbers[part], asked[part], kept, seed, n_steps, predict, sampling)

        return Samples(made=tuple(sample_in_parts(n, sampling.crystals_at_once, make)))

    @property
    def keeps(self) -> tuple[str, ...]:
        """Nothing but the number of atoms, or elements, or symmetry too."""
        return ("nothing", "composition", "protostructure")

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
        """Noise cells, coordinates and, unless they are kept, elements; denoise them."""
        level = NoiseLevel.of(strength, self.diffusion.process.n_times, steps)
        kept = chosen_keep(keep, self.keeps)
        examples = Examples.of(parents, level, keep=kept)
        if level.is_nothing:
            return Samples(made=tuple(examples.as_given(numbers)))
        sampling = parse_options(MatterGenSampling, options)
        wanted = self.read_conditions(None, None, strict=sampling.strict_system)
        predict: Predict = partial(wanted.predict, self.diffusion)

        def make(part: slice) -> list[Crystal]:
            own = examples.select(part)
            asked = own.species if kept != "nothing" else [np.zeros_like(one) for one in own.species]
            return self._sample_together(
                numbers[part], asked, own.protostructures, seed, level.n_steps, predict, sampling, own
            )

        return Samples(made=tuple(sample_in_parts(len(parents), sampling.crystals_at_once, make)))

    @torch.no_grad()
    def _sample_together(
        self,
        numbers: Sequence[int],
        asked: Sequence[np.ndarray],
        protostructures: Sequence[Protostructure] | None,
        seed: int,
        n_steps: int,
        predict: Predict,
        options: MatterGenSampling,
        examples: Examples | None = None,
    ) -> list[Crystal]:
        """Sample a batch, with the symmetry of protostructures if there are any, each crystal from its own stream.

        Atoms of `asked` that are 0 get an element on the way.
        """
        process, device = self.diffusion.process, self.diffusion.elements.device
        sizes = [len(species) for species in asked]
        streams = [stream(seed, number, NOISE) for number in numbers]
        index = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        uniform = [one.random((size, 3), dtype=np.float32) for one, size in zip(streams, sizes, strict=True)]
        cells = np.stack([one.standard_normal(N_ELEMENTS, dtype=np.float32) for one in streams])
        coords, normal = torch.from_numpy(np.concatenate(uniform)), torch.from_numpy(cells)
        draws = random_draws(streams, sizes, device)
        run = partial(
            sample, process=process, elements=self.diffusion.elements, settings=options, n_steps=n_steps
        )
        names = [f"gen-{number:06d}" for number in numbers]
        constraint = None if protostructures is None else SymmetryConstraint.of(protostructures).to(device)
        begun = None
        if examples is not None and not examples.level.is_whole:
            since, kept = examples.level.time, examples.keep != "nothing"
            chances = hiding_chances(seed, numbers, sizes, kept=kept)
            noise = StateNoise(normal_of_uniform(coords), normal, chances)
            clean = examples.batch().to(device=device, dtype=torch.float32)
            begun = noised_start(
                process, clean, since, StateNoise(*[one.to(device) for one in noise]), constraint
            )
            run = partial(run, since=since)
        if constraint is not None:
            start = begun or symmetric_start(constraint, coords.to(device), normal.to(device))
            made = run(
                symmetric_predictions(constraint, predict), start, draws=symmetric_draws(constraint, draws)
            )
            return from_batch(symmetric_crystals(constraint, process, made), names)
        start = process.prior(coords.to(device), normal.to(device), index.to(device))
        start = begun or start._replace(numbers=torch.from_numpy(np.concatenate(asked)).to(device))
        return from_batch(process.decode(run(predict, start, draws=draws))[0], names)


def _crystals(encoded: EncodedSet, split: str) -> list[Crystal]:
    return [encoded.crystals[row] for row in encoded.rows(split)]


def _job(
    diffusion: JointDiffusion,
    sizes: Int[Tensor, " n_crystals"],
    embeddings: Mapping[str, PropertyEmbedding],
    training: SymmetricData,
    validation: SymmetricData,
    encoded: EncodedSet,
    *,
    dropout: float,
) -> TrainingJob:
    return TrainingJob(
        model=MatterGenTraining(diffusion, dropout=dropout),
        training=training,
        validation=validation,
        metadata={
            "layout": encoded.layout.model_dump(mode="json"),
            "properties": property_embedding.describe(embeddings),
        },
        n_labelled={name: int(label.has_label.sum()) for name, label in training.labels.items()},
        tensors={
            "lattice.density": torch.tensor(diffusion.process.limit.density, dtype=torch.float64),
            "lattice.std": torch.tensor(diffusion.lattice_std, dtype=torch.float64),
            "elements": diffusion.elements,
            "sizes": sizes.to(torch.int32),
        },
    )
