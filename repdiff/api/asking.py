"""What a sample is asked to be, checked against the model before anything is made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from descriptors.symmetry.protostructure import Protostructure
from repdiff.api.checks import a_count, a_seed, shown
from repdiff.backends import Backend
from repdiff.backends.asked_of_backend import read_asked
from repdiff.backends.options import parse_options
from repdiff.backends.requested_compositions import CompositionRequest
from repdiff.conditions import Asked
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.crystals.formula import parse_formula
from repdiff.crystals.structure_files import unwritable
from repdiff.errors import UserError
from repdiff.representations.batch import RepresentationBatch

SAMPLES_AT_ONCE = 1000


@dataclass(frozen=True, kw_only=True)
class Request:
    """Samples that a model can make.

    Attributes:
        n: Number of samples.
        wanted: Formulas that are taken in turn; None lets the model choose.
        seed: Seed of the samples.
        how: Further arguments of `Backend.sample`.
        asked: What the samples are asked to be, in all.
    """

    n: int
    wanted: CompositionRequest | None
    seed: int
    how: Mapping[str, Any]
    asked: Asked

    @classmethod
    def checked(
        cls,
        backend: Backend,
        backend_name: str,
        *,
        n: int,
        compositions: str | Sequence[str] | None,
        protostructures: str | Protostructure | Sequence[str | Protostructure] | None = None,
        conditions: Mapping[str, Any],
        guidance: float | None,
        seed: int,
        options: Mapping[str, Any],
    ) -> "Request":
        """Put a request together.

        Raises:
            UserError: If a formula, a label or an option cannot be read, or the model cannot make what is asked for.
        """
        for name in ("compositions", "protostructures"):
            if name in options:
                raise UserError(
                    f"unknown option {name!r}: give `{name[:-1]}`, which takes a list of them too"
                )
        for what, value in (("composition", compositions), ("protostructure", protostructures)):
            if value is not None and what not in backend.conditions:
                raise UserError(f"a model of {backend_name} takes no {what}s: leave them out, or use another")
        if compositions is not None and protostructures is not None:
            raise UserError(
                "composition and protostructure are given, expected one: the latter has a formula"
            )
        wanted = None
        if compositions is not None:
            formulas = _several("composition", compositions, "formulas such as 'Li2Fe2O4'", str)
            wanted = CompositionRequest(compositions=[parse_formula(formula) for formula in formulas])
        if protostructures is not None:
            kinds = "labels such as 'AB_cF8_225_a_b:Cl-Na', or Protostructures"
            several = _several("protostructure", protostructures, kinds, str, Protostructure)
            wanted = CompositionRequest.of_labels(several, source="protostructure")
        steps = None if "steps" not in options else a_count("steps", options["steps"])
        own = {key: value for key, value in options.items() if key != "steps"}
        asked = read_asked(backend, backend_name, conditions, wanted)
        how: dict[str, Any] = {
            "steps": steps,
            "conditions": asked.of_backend or None,
            "guidance": guidance,
            "options": parse_options(backend.sampling_options, own),
        }
        given = {} if wanted is None else wanted.arguments(0, len(wanted.compositions))
        asked.check(**given)
        backend.check(**how, **given)
        return cls(n=n, wanted=wanted, seed=a_seed(seed), how=how, asked=asked)


def _several(name: str, value: object, what: str, *kinds: type) -> list[Any]:
    """Return one thing of some kinds, or several, as a list.

    Raises:
        UserError: If it is something else, or nothing.
    """
    several = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    wrong = [(f"{name}[{place}]", one) for place, one in enumerate(several) if not isinstance(one, kinds)]
    if wrong or not several:
        where, one = (wrong or [(name, value)])[0]
        raise UserError(f"{where} is {shown(one)}, expected {what}")
    return several


def draw(backend: Backend, request: Request) -> RepresentationBatch | CrystalSet:
    """Let a backend make all samples of a request, some at a time."""
    vectors: list[RepresentationBatch] = []
    crystals: list[Crystal] = []
    for first in range(0, request.n, SAMPLES_AT_ONCE):
        size = min(SAMPLES_AT_ONCE, request.n - first)
        asked = {} if request.wanted is None else request.wanted.arguments(first, size)
        made = backend.sample(size, seed=request.seed, first=first, **asked, **request.how)
        if backend.makes == "representations":
            vectors.append(made.representations)
        else:
            crystals += made.crystals
    if vectors:
        return replace(RepresentationBatch.joined(vectors), asked=request.asked)
    return CrystalSet(crystals=crystals)


def usable(made: CrystalSet) -> CrystalSet:
    """Count samples that no file could hold as failed."""
    reasons = {crystal.id: unwritable(crystal) for crystal in made.crystals}
    return CrystalSet(
        crystals=[crystal for crystal in made.crystals if not reasons[crystal.id]],
        failed={**{name: reason for name, reason in reasons.items() if reason}, **made.failed},
    )
