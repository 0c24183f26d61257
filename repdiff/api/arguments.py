"""From the arguments of `Model.sample` to a request."""

from collections.abc import Mapping, Sequence
from typing import Any

from descriptors.symmetry.protostructure import Protostructure
from repdiff.api.asking import Request
from repdiff.api.checks import a_count
from repdiff.backends import Backend
from repdiff.backends.held_sources import held_conditions
from repdiff.backends.ranking import Ranker
from repdiff.settings.conditions import joined, lattice_conditions
from repdiff.settings.load import pairs_of_text
from repdiff.settings.renamed import is_noise


def request_of(
    backend: Backend,
    backend_name: str,
    *,
    n: int,
    composition: str | Sequence[str] | None,
    protostructure: str | Protostructure | Sequence[str | Protostructure] | None,
    named: Mapping[str, object],
    lattice: Mapping[str, object] | str | None,
    conditions: Mapping[str, object] | None,
    hold: Mapping[str, object] | None,
    guidance: float | None,
    seed: int,
    options: Mapping[str, Any],
) -> Request:
    """Put together what is asked for, and refuse what a model cannot make.

    Args:
        backend: The model.
        backend_name: Name of its system.
        n: Number of samples.
        composition: Formula or formulas, see `Model.sample`.
        protostructure: Protostructure or several, see `Model.sample`.
        named: Conditions that have an argument of their own; None for those that are not asked.
        lattice: Lengths and angles, see `Model.sample`.
        conditions: Further conditions by name, see `Model.sample`.
        hold: Parts of the vector that are held, see `Model.sample`.
        guidance: Strength of the conditions, see `Model.sample`.
        seed: Seed of the samples.
        options: Options of the backend.

    Raises:
        UserError: If an argument does not fit, or the model cannot make what is asked for.
    """
    given = {name: value for name, value in named.items() if value is not None}
    if is_noise("lattice", lattice):
        options, lattice = {**options, "lattice_noise": lattice}, None
    cell = pairs_of_text("lattice", lattice) if isinstance(lattice, str) else lattice
    asked = joined(given, lattice_conditions(cell or {}), conditions or {}, held_conditions(hold or {}))
    if isinstance(ranker := options.get("ranker"), Ranker):
        options = {**options, "ranker": ranker.path}
    return Request.checked(
        backend,
        backend_name,
        n=a_count("n", n) or 1,
        compositions=composition,
        protostructures=protostructure,
        conditions=asked,
        guidance=guidance,
        seed=seed,
        options=options,
    )
