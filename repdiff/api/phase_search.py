"""A chemical system → its phases, from Python."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from repdiff.api.checks import a_count, a_seed, checked
from repdiff.api.folders import claimed
from repdiff.api.loading import load_model
from repdiff.api.model import Model
from repdiff.crystals.convert import as_crystal_set
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.datasets.sources import CrystalSets
from repdiff.energies.hull_table import locate_hull
from repdiff.energies.relax import Limits
from repdiff.errors import UserError
from repdiff.execution.progress import bars
from repdiff.hardware import choose_device
from repdiff.phase_search.find import Question, find_phases, known_crystals, prepare, write_phases
from repdiff.phase_search.plan import read_wanted
from repdiff.phase_search.result import Phases
from repdiff.representations.inversion import named_search
from repdiff.runs.workspace import Workspace
from repdiff.settings.paths import home_expanded

if TYPE_CHECKING:
    from repdiff.crystals.convert import CrystalsLike
else:
    CrystalsLike = object

DDIM = {"sampler": "ddim"}


@checked
def phases(
    system: str | None = None,
    model: Model | str | Path | None = None,
    *,
    n: int = 300,
    formulas: str | Sequence[str] | None = None,
    scope: Literal["system", "compounds", "all"] = "system",
    max_atoms: int = 20,
    formula_units: str = "1-4",
    known: CrystalsLike | str | Path | None = None,
    hull: str | Path | None = None,
    force_field: str = "chgnet",
    fmax: float = 0.05,
    max_steps: int = 500,
    max_seconds: float | None = 60.0,
    max_minutes: float | None = None,
    search: str = "fast",
    steps: int | None = 50,
    likeliest_share: float = 0.75,
    sampling: Mapping[str, object] | None = None,
    seed: int = 0,
    folder: str | Path | None = None,
    n_workers: int = 1,
    device: str = "auto",
    progress: bool = True,
) -> Phases:
    """Find the phases of a chemical system: generate, relax, and place them on the convex hull.

    Args:
        system: Elements, such as "Li-Fe-O"; None for those of the formulas.
        model: Trained model of structrepdiff, with protostructures: a `Model`, its path, or the name of a run; None for
            the newest in the workspace.
        n: Number of candidates.
        formulas: Formulas to try, which get equal shares of the candidates; None for those of the system, the ones
            first that many known compounds with elements alike have.
        scope: Which formulas belong to the system: "system" for those with all its elements, "compounds" for those of
            its sub-systems too, "all" for the elements themselves as well.
        max_atoms: Atoms of the primitive cell at most.
        formula_units: Formula units of the primitive cell, such as "2" or "1-4".
        known: Crystals that count as known: structures, or names of data sets separated by commas; None for the data
            set that the model was trained on, where it is still there.
        hull: Table of reference energies: what `repdiff hull build` made, or a shipped table; None for the largest
            shipped one of the force field.
        force_field: "chgnet" or "sevennet" (`pip install repdiff[relax]`), or one of a plugin.
        fmax: Largest force of a relaxed crystal, those on the cell included, eV/Å.
        max_steps: Largest number of relaxation steps.
        max_seconds: Seconds of processor time that the relaxation of a crystal may take; None for no limit.
        max_minutes: Minutes after which no further batch of candidates begins; None for no limit.
        search: How hard to invert vectors: "fast", "default", "thorough" or "paper".
        steps: Denoising steps.
        likeliest_share: Share of the candidates of a formula that are its likeliest protostructures on known
            prototypes; the others are drawn.
        sampling: Options of the backend's sampling; None for the sampler "ddim".
        seed: Seed of the samples, and of the search.
        folder: Keeps all that is done, and the files of the result; a call that was interrupted goes on there when it
            is made again. Without it nothing is kept.
        n_workers: Processes on a CPU.
        device: Where to compute: auto, cpu, cuda or cuda:N.
        progress: Whether to show bars.

    Returns:
        The phases, the lowest above the hull first; `hull` is pymatgen's phase diagram, `funnel` says how many there
        were at each stage.

    Raises:
        UserError: If the model, the force field or the hull lacks what is asked for, or the folder holds another
            search.

    Example:
        >>> import repdiff as rd
        >>> rd.phases("Li-Fe-Q", "no-such-model")
        Traceback (most recent call last):
        repdiff.errors.UserError: `system` is 'Li-Fe-Q', expected elements such as Li-Fe-O: 'Q' is none.
    """
    text = formulas if formulas is None or isinstance(formulas, str) else ",".join(formulas)
    read_wanted(system, text)
    question = Question(
        system=system,
        formulas=text,
        n=a_count("n", n) or 1,
        scope=scope,
        max_atoms=a_count("max_atoms", max_atoms) or 1,
        formula_units=formula_units,
        force_field=force_field,
        hull=locate_hull(None if hull is None else home_expanded(hull), Workspace()),
        limits=_limits(fmax, max_steps, max_seconds),
        search=named_search(search),
        steps=a_count("steps", steps),
        likeliest_share=_share(likeliest_share),
        sampling=DDIM if sampling is None else dict(sampling),
        seed=a_seed(seed),
        max_minutes=max_minutes,
        n_workers=a_count("n_workers", n_workers),
        device=choose_device(device),
    )
    chosen = model if isinstance(model, Model) else load_model(_newest(model), device=device)
    prepared = prepare(question, chosen.backend, model_name=chosen.path.name)
    shown = _settings(question, chosen)
    with bars(progress):
        compared = _known(known, chosen)
        if folder is None:
            with tempfile.TemporaryDirectory() as place:
                return find_phases(prepared, Path(place), known=compared)
        place = home_expanded(folder)
        with claimed(place, shown, work="search for phases", call="rd.phases"):
            found = find_phases(prepared, place, known=compared)
            write_phases(place, found, shown)
    return found


def _share(likeliest_share: float) -> float:
    if not 0 <= likeliest_share <= 1:
        raise UserError(f"likeliest_share is {likeliest_share}, expected a share from 0 to 1")
    return float(likeliest_share)


def _limits(fmax: float, max_steps: int, max_seconds: float | None) -> Limits:
    if not fmax > 0:
        raise UserError(f"fmax is {fmax}, expected a positive force, eV/Å")
    if max_seconds is not None and not max_seconds > 0:
        raise UserError(f"max_seconds is {max_seconds}, expected a positive time, or None for no limit")
    return Limits(fmax=fmax, max_steps=a_count("max_steps", max_steps, least=0) or 0, max_seconds=max_seconds)


def _newest(model: str | Path | None) -> str | Path:
    return Workspace().newest("train") if model is None else model


def _known(known: CrystalsLike | str | Path | None, model: Model) -> CrystalSet | None:
    if known is None or isinstance(known, str | Path):
        sets = CrystalSets(data_dir=None, workspace=Workspace())
        return known_crystals(None if known is None else str(known), model.path, sets)
    given = as_crystal_set(known, what="known")
    return CrystalSet(
        crystals=given.crystals, refused=given.refused, name=given.name or "the crystals of known"
    )


def _settings(question: Question, model: Model) -> dict[str, Any]:
    """Return what decides the result, as plain JSON."""
    limits = question.limits
    return {
        "system": question.system,
        "formulas": question.formulas,
        "n": question.n,
        "scope": question.scope,
        "max_atoms": question.max_atoms,
        "formula_units": question.formula_units,
        "force_field": question.force_field,
        "hull": None if question.hull is None else str(question.hull),
        "fmax": limits.fmax,
        "max_steps": limits.max_steps,
        "max_seconds": limits.max_seconds,
        "steps": question.steps,
        "likeliest_share": question.likeliest_share,
        "sampling": {name: str(value) for name, value in question.sampling.items()},
        "seed": question.seed,
        "model": str(model.path),
    }
