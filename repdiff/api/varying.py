"""Variations of what a notebook user holds, by a trained model."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from repdiff.api.checks import a_count, a_seed
from repdiff.api.similarity import described
from repdiff.backends import Backend
from repdiff.backends.base import NO_DIFFUSION
from repdiff.backends.held_variations import beside_parents
from repdiff.backends.options import parse_options
from repdiff.backends.variation_columns import with_columns
from repdiff.backends.variations import VariationRequest, make_variations, ready_parents
from repdiff.crystals.convert import as_crystal_set
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.errors import UserError, unknown
from repdiff.execution.progress import bars
from repdiff.hardware import choose_device
from repdiff.metrics.structure_groups import MatcherName
from repdiff.representations.encoded_set import EncodedSet
from repdiff.representations.inversion import named_search
from repdiff.representations.layout import RepresentationSpec
from repdiff.runs.model_files import model_file, read_metadata

if TYPE_CHECKING:
    from repdiff.crystals.convert import CrystalsLike
else:
    CrystalsLike = object


def variations(
    backend: Backend,
    backend_name: str,
    path: Path,
    crystals: CrystalsLike,
    *,
    strength: float,
    n: int,
    keep: str | None,
    hold: Sequence[str],
    among: CrystalsLike | EncodedSet | str | Path | None,
    matcher: MatcherName,
    seed: int,
    search: str,
    n_workers: int,
    progress: bool,
    options: Mapping[str, object],
) -> CrystalSet:
    """Do what `Model.vary` says; the first three arguments are the model's.

    Raises:
        UserError: If the model makes no variations, an argument does not fit, or no crystal can be varied.
    """
    if not backend.varies:
        raise UserError(f"a model of {backend_name} makes no variations: {NO_DIFFUSION}")
    own = {key: value for key, value in options.items() if key != "steps"}
    request = VariationRequest(
        n=a_count("n", n) or 1,
        strength=strength,
        keep=keep,
        hold=tuple(hold) if not isinstance(hold, str) else (hold,),
        seed=a_seed(seed),
        steps=a_count("steps", options.get("steps")),
        options=parse_options(backend.sampling_options, own),
    )
    effort, given, device = named_search(search), as_crystal_set(crystals), choose_device("auto")
    if matcher not in get_args(MatcherName):
        raise UserError(unknown("matcher", str(matcher), get_args(MatcherName)))
    layout = RepresentationSpec.of_file(path, read_metadata(model_file(path)))
    with bars(progress), tempfile.TemporaryDirectory() as folder:
        parents = ready_parents(given, backend, request, "crystals", layout)
        known = None if among is None else described(among, layout.descriptor, device=device)[0]
        made = make_variations(
            backend,
            parents,
            request,
            folder=Path(folder),
            search=effort,
            device=device,
            n_workers=a_count("n_workers", n_workers),
            progress=progress,
        )
        varied = with_columns(
            made,
            parents.crystals,
            request.n,
            descriptor=layout.descriptor,
            known=known,
            matcher=matcher,
            device=device,
            progress=progress,
        )
    told = beside_parents(varied, parents, request)
    return CrystalSet(
        crystals=told.crystals.crystals,
        failed={**varied.failed, **parents.failed},
        remarks=told.crystals.remarks,
    )
