"""A trained generator as a whole: compositions, diffusion, normalisation and layout in one file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from pydantic import ValidationError
from torch import Tensor

from descriptors.normalization import Normalizer
from descriptors.representation import Representation
from repdiff.diffusion.build import load_diffusion
from repdiff.diffusion.ddpm import VectorDiffusion
from repdiff.diffusion.samplers import SamplerSettings
from repdiff.errors import UserError
from repdiff.networks.composition import CompositionModel
from repdiff.representations.layout import RepresentationSpec
from repdiff.runs.checkpoint import tensors_under

GIVEN = ("composition", "n_atoms")  # blocks that the composition model decides


@dataclass(frozen=True, kw_only=True)
class GenerativeModel:
    """Draws representation vectors in physical units.

    Attributes:
        diffusion: Learned the normalised vectors.
        compositions: Draws the formula first, which the diffusion is then given; None if the diffusion draws it
            together with everything else, as in the paper.
        normalizer: Maps physical units to [0, 1] and back.
        layout: What the columns mean.
    """

    diffusion: VectorDiffusion
    compositions: CompositionModel | None
    normalizer: Normalizer
    layout: RepresentationSpec

    def sample(
        self,
        n: int,
        *,
        seed: int,
        sampler: SamplerSettings,
        first: int = 0,
        temperature: float = 1.0,
        counts: Int[Tensor, "n n_elements"] | None = None,
    ) -> Float[Tensor, "n n_features"]:
        """Draw vectors number `first` to `first + n` of a seed, on the CPU.

        Args:
            n: Number of vectors.
            seed: Seed of the stream of vectors.
            sampler: How the diffusion samples.
            first: Number of the first within the stream.
            temperature: Sampling temperature of the composition model; below 1 it favours likelier formulas, with less
                variety.
            counts: Formulas in the order of the layout's elements; None lets the composition model draw them.
        """
        decided = None
        if self.compositions is not None:
            if counts is None:
                generator = torch.Generator().manual_seed(seed)
                counts = self.compositions.sample(
                    n, generator=generator, first=first, temperature=temperature
                )
            decided = self._as_given(counts)
        generator = torch.Generator(device=self.diffusion.device).manual_seed(seed)
        given = None if decided is None else self.normalizer.normalize(decided)
        unit = self.diffusion.sample(
            n, generator=generator, sampler=sampler, first=first, given=given, progress=True
        )
        vectors = self.normalizer.restore(unit.cpu())
        if decided is not None:  # the normaliser clips a frequency that no training crystal has
            for block in GIVEN:
                columns = self.layout.representation().blocks[block]
                vectors[:, columns] = decided[:, columns]
        return vectors

    def _as_given(self, counts: Tensor) -> Float[Tensor, "n n_features"]:
        """Put formulas into vectors that hold nothing else."""
        representation = self.layout.representation()
        vectors = torch.zeros(len(counts), representation.n_features)
        total = counts.sum(1, keepdim=True)
        vectors[:, representation.blocks["composition"]] = counts / total
        vectors[:, representation.blocks["n_atoms"]] = total.float()
        return vectors

    @staticmethod
    def stored(
        compositions: CompositionModel | None, normalizer: Normalizer, layout: RepresentationSpec
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the tensors and the metadata that go into every checkpoint beside the diffusion."""
        tensors = {f"normalizer.{name}": tensor for name, tensor in normalizer.tensors().items()}
        metadata: dict[str, Any] = {"layout": layout.model_dump(mode="json"), "compositions": None}
        if compositions is not None:
            own, metadata["compositions"] = compositions.tensors_and_metadata()
            tensors |= {f"compositions.{name}": tensor for name, tensor in own.items()}
        return tensors, metadata

    @classmethod
    def load(cls, path: Path, *, device: torch.device) -> "GenerativeModel":
        """Read a checkpoint of `repdiff train`: a run's folder or a file.

        Raises:
            UserError: If there is none, or it does not fit together, or its descriptor is not this version's.
        """
        diffusion, others, metadata = load_diffusion(path, device=device)
        try:
            normalizer = Normalizer.from_tensors(tensors_under("normalizer.", others)[0])
            layout = RepresentationSpec.model_validate(metadata["layout"])
            compositions = cls._compositions(others, metadata)
        except (KeyError, ValidationError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{path}: not a model of `repdiff train` ({reason})") from error
        try:
            representation = layout.representation()
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        _check_width(path, representation, diffusion)
        return cls(diffusion=diffusion, compositions=compositions, normalizer=normalizer, layout=layout)

    @staticmethod
    def _compositions(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> CompositionModel | None:
        if metadata["compositions"] is None:
            return None
        own, _ = tensors_under("compositions.", tensors)
        return CompositionModel.from_tensors_and_metadata(own, metadata["compositions"])


def _check_width(path: Path, representation: Representation, diffusion: VectorDiffusion) -> None:
    if representation.n_features != diffusion.n_features:
        raise UserError(
            f"{path}: the model has {diffusion.n_features} features, its layout "
            f"{representation.n_features}: the file is damaged, train again"
        )
