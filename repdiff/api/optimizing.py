"""Crystals that a notebook user holds, walked towards a goal by a trained model and a head."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from repdiff.api.checks import a_count, a_seed, checked
from repdiff.api.folders import claimed
from repdiff.api.model import Model
from repdiff.api.steering import read_heads
from repdiff.backends.goals import read_goal
from repdiff.backends.optimization import Walk, WalkRequest, check_optimizable
from repdiff.backends.optimized_columns import end_crystals
from repdiff.backends.options import parse_options
from repdiff.backends.property_head import Head
from repdiff.backends.steering import N_CANDIDATES, HeadObjective, head_request
from repdiff.backends.variations import ready_parents
from repdiff.crystals.convert import as_crystal_set
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.errors import UserError
from repdiff.execution.progress import bars
from repdiff.hardware import choose_device
from repdiff.representations.encoded_set import bytes_of
from repdiff.representations.inversion import named_search
from repdiff.representations.layout import RepresentationSpec
from repdiff.runs.atomic_files import sha256
from repdiff.runs.model_files import model_file, read_metadata
from repdiff.settings.paths import home_expanded

if TYPE_CHECKING:
    from repdiff.crystals.convert import CrystalsLike
else:
    CrystalsLike = object


@checked
def optimize(
    model: Model,
    crystals: CrystalsLike,
    *,
    head: Head | str | Path,
    goal: float | str,
    keep: str = "nothing",
    n: int = 1,
    n_steps: int = 5,
    n_variations: int = 20,
    n_built: int = 4,
    n_best: int = 3,
    strength: float = 0.6,
    steer_strength: float = 1.0,
    caution: float = 1.0,
    candidates: int = N_CANDIDATES,
    seed: int = 0,
    search: str = "fast",
    n_workers: int = 1,
    folder: str | Path | None = None,
    progress: bool = True,
    **options: object,
) -> CrystalSet:
    """Walk crystals towards a goal of the property that a head predicts, by rounds of steered variations.

    Args:
        model: Trained model of structrepdiff.
        crystals: Structures, atoms, crystals, or a set of them; each is walked by itself.
        head: What `fit_head` or `load_head` returned, or its path.
        goal: A value, "1.5±0.1", "max" or "min".
        keep: What all crystals on the way keep exactly: "nothing", "composition" or "protostructure".
        n: Number of crystals to end with, for each start.
        n_steps: Number of rounds.
        n_variations: Variations of each start in a round.
        n_built: How many of these are built.
        n_best: Crystals of each start that a round begins with: the best so far.
        strength: Share of the noise process in the first round; it falls to a third of it.
        steer_strength: Factor of the log-likelihood of the goal in drawing variations.
        caution: Spreads of the prediction by which a crystal counts as worse.
        candidates: Protostructures drawn for each that is drawn anew.
        seed: Seed of the variations, and of the search.
        search: How hard to invert vectors: "fast", "default", "thorough" or "paper".
        n_workers: Processes that invert vectors.
        folder: Where the rounds are kept, so that an interrupted call goes on; None keeps them for the call.
        progress: Whether to show bars.
        options: Sampling settings of the backend, such as sampler="ddim", steps=50.

    Returns:
        The best crystals of each start, which may be the start itself, with labels that say what changed (see
        `repdiff.backends.optimized_columns.end_crystals`). `failed` has crystals that cannot be started from.

    Raises:
        UserError: If model, head and goal do not suit each other, or no crystal can be started from.

    Example:
        >>> import repdiff as rd
        >>> from ase.build import bulk
        >>> salts = [bulk(name, "rocksalt", a=5.5) for name in ("NaCl", "KCl", "NaBr")]
        >>> model = rd.train(rd.encode(salts, device="cpu", progress=False), backend="retrieval", progress=False)
        >>> rd.optimize(model, salts[0], head="nowhere", goal="max")
        Traceback (most recent call last):
        repdiff.errors.UserError: a model of retrieval makes no vectors to steer by, expected a model of ...
    """
    check_optimizable(model.backend, model.backend_name)
    (found,) = read_heads(head)
    counts = {"n": n, "n_steps": n_steps, "n_variations": n_variations, "n_built": n_built, "n_best": n_best}
    sizes = {name: a_count(name, value) or 1 for name, value in counts.items()}
    for name, value, least in (("steer_strength", steer_strength, 0.0), ("caution", caution, -1e-300)):
        if value <= least:
            raise UserError(f"{name} is {value}, expected a positive number")
    steering = head_request(
        [read_goal(found.label, goal)],
        [found],
        strength=steer_strength,
        caution=caution,
        n_candidates=a_count("candidates", candidates) or 1,
    )
    (objective,) = steering.objectives
    assert isinstance(objective, HeadObjective)
    backend = model.backend.steered(steering)
    own = {key: value for key, value in options.items() if key != "steps"}
    request = WalkRequest(
        objective=objective,
        keep=keep,
        n_rounds=sizes.pop("n_steps"),
        strength=strength,
        seed=a_seed(seed),
        steps=a_count("steps", options.get("steps")),
        options=parse_options(backend.sampling_options, own),
        **sizes,
    )
    effort, given, device = named_search(search), as_crystal_set(crystals), choose_device("auto")
    layout = RepresentationSpec.of_file(model.path, read_metadata(model_file(model.path)))
    with bars(progress), tempfile.TemporaryDirectory() as temporary:
        starts = ready_parents(given, backend, request.variation(), "crystals", layout)
        place = Path(temporary if folder is None else home_expanded(folder))
        what = _decisive(request, model, starts.crystals, search)
        with claimed(place, what, work="walk", call="rd.optimize"):
            walk = Walk.begin(backend, layout, request, starts)
            walk.run(
                place,
                search=effort,
                device=device,
                n_workers=a_count("n_workers", n_workers),
                progress=progress,
            )
            return end_crystals(walk, progress=progress)


def _decisive(request: WalkRequest, model: Model, starts: list, search: str) -> dict[str, object]:
    """Return what decides a walk, by name, as plain JSON."""
    import hashlib

    names = ("keep", "n_rounds", "n_variations", "n_built", "n_best", "strength", "seed", "steps")
    tensors = request.objective.head.network.state_dict()
    weights = b"".join(tensor.numpy().tobytes() for tensor in tensors.values())
    return {
        "starts": hashlib.sha256(b"".join(map(bytes_of, starts))).hexdigest(),
        "head": hashlib.sha256(weights).hexdigest(),
        "model": sha256(model_file(model.path)),
        "goal": request.objective.goal.text,
        "steer_strength": request.objective.strength,
        "caution": request.objective.caution,
        "search": search,
        "options": str(request.options),
        **{name: getattr(request, name) for name in names},
    }
