"""Inversion of a group of vectors whose protostructures are given."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from descriptors.base import Descriptor
from descriptors.symmetry import unit_cell
from reconstruction.decode import Decoded
from reconstruction.given_symmetry import GivenSymmetry
from reconstruction.objective import Objective, closest_radii
from reconstruction.orbit_descent import Aim, Pull
from reconstruction.orbit_search import EFFORTS, Effort, effort_for, search_orbits
from reconstruction.orbit_space import MARK, OrbitSpace
from reconstruction.presets import Search
from reconstruction.result import Placed, Reconstructed

CPU_CENTRES, GPU_CENTRES = 1200, 6000  # of all trials in one batch: more of them are no faster
PULL = 3e-4  # of a cell that is one standard deviation off
REFINED_BELOW = 0.08  # loss from which least squares may find the crystal of an exact vector
NEAR_TEMPLATE = 0.1  # loss of an inexact vector, below which the crystal that a template leads to is taken
FRESH = 0.8  # share of new starts; 0.5 and 0.2 find fewer crystals of more than ten free coordinates
ROUNDS = 4  # for each one of a search without symmetry; they have fewer trials and unknowns
AGREEING = 8  # trials that must find the same minimum before the search for an exact vector is given up


def plan_orbits(symmetry: GivenSymmetry, rows: Iterable[int], *, device: torch.device) -> list[list[int]]:
    """Group rows whose protostructures are given: those of about as many free coordinates, bounded in size.

    Args:
        symmetry: The protostructures.
        rows: The rows to group.
        device: Where the search will run.
    """
    most = CPU_CENTRES if device.type == "cpu" else GPU_CENTRES
    sizes, kinds = {}, {}
    for row in rows:
        protostructure = symmetry.protostructures[row]
        assert protostructure is not None
        n_free = protostructure.n_free
        kinds[row] = -1 if n_free == 0 else effort_for(n_free)
        sizes[row] = len(protostructure.orbits)
    order = sorted(kinds, key=lambda row: (kinds[row], sizes[row], row))
    groups: list[list[int]] = []
    for row in order:
        n_trials = 1 if kinds[row] < 0 else EFFORTS[kinds[row]][1].n_trials
        group = groups[-1] if groups else []
        if group and kinds[group[0]] == kinds[row] and (len(group) + 1) * sizes[row] * n_trials <= most:
            group.append(row)
        else:
            groups.append([row])
    return groups


def search_settings(settings: Search, *, exact: bool) -> Search:
    """Return what of a search holds for crystals of given symmetry, and when to stop."""
    return replace(
        settings,
        fresh=max(settings.fresh, FRESH),
        n_rounds=settings.n_rounds * (ROUNDS if exact else 1),
        n_agreeing=settings.n_agreeing or AGREEING,
        n_refine=settings.n_refine if exact else 0,
        refined_below=REFINED_BELOW if settings.n_refine and exact else 0.0,
    )


def invert_orbits(
    rows: Sequence[int],
    decoded: Decoded,
    symmetry: GivenSymmetry,
    descriptor: Descriptor,
    settings: Search,
    *,
    exact: bool,
    generator: torch.Generator,
) -> Reconstructed:
    """Search for the crystals of one group.

    Args:
        rows: Rows of one group of `plan_orbits`.
        decoded: What is sought.
        symmetry: Protostructures, cells and templates.
        descriptor: The one the vectors were made with, on the device.
        settings: How long and how to search.
        exact: Whether the cells are held.
        generator: Source of randomness, on the device.
    """
    device, chosen = generator.device, list(rows)
    protostructures = [p for row in rows if (p := symmetry.protostructures[row]) is not None]
    space = OrbitSpace.make(
        protostructures,
        symmetry.cells[chosen].detach().cpu(),
        hold_cell=exact,
        hold_volume=symmetry.hold_volume,
        hold_shape=symmetry.hold_shape,
        device=device,
        dtype=torch.float32,
    )
    objective = Objective(
        descriptor=descriptor,
        targets=decoded.features[chosen].to(device, dtype=torch.float32),
        shortest=decoded.shortest[chosen].to(device, dtype=torch.float32),
        repulsion=settings.repulsion,
        radii=closest_radii(exact=exact, device=device),
    )
    templates, n_templates = _template_points(space, symmetry, rows)
    found = search_orbits(
        space,
        Aim(objective=objective, pull=Pull(weight=0.0 if exact else PULL)),
        search_settings(settings, exact=exact),
        _effort([p.n_free for p in protostructures]),
        templates=templates,
        n_templates=n_templates,
        followed_below=settings.solved_below if exact else NEAR_TEMPLATE,
        generator=generator,
    )
    free, cell = space.free_values(found.points)
    names = [unit_cell.parameter_names(p.number) for p in protostructures]
    given = symmetry.cells[chosen].detach().cpu().double()
    cell = given if exact else cell.cpu()
    return Reconstructed(
        batch=space.crystals(found.points).wrapped(),
        losses=found.losses,
        n_evaluations=found.n_evaluations,
        stopped=found.stopped,
        n_agreeing=found.n_agreeing,
        placed=[
            Placed(
                start="template" if mark else "random",
                cell=tuple(parameters[: len(own)]),
                free=tuple(coordinates),
            )
            for mark, parameters, own, coordinates in zip(
                found.points[:, MARK, 0].tolist(), cell.tolist(), names, free, strict=True
            )
        ],
    )


def _effort(n_free: Sequence[int]) -> Effort:
    return EFFORTS[effort_for(max(n_free))][1]


def _template_points(
    space: OrbitSpace, symmetry: GivenSymmetry, rows: Sequence[int]
) -> tuple[Float[Tensor, "n n_templates n_rows 3"], Tensor]:
    """Return the points of all templates, filled up, and how many each crystal has."""
    counts = [len(symmetry.templates_of(row)) for row in rows]
    points = space.lengths.new_zeros(len(rows), max(counts, default=0), *space.lengths.shape[1:])
    systems = [place for place, count in enumerate(counts) for _ in range(count)]
    if systems:
        known = [template for row in rows for template in symmetry.templates_of(row)]
        index = torch.tensor(systems, device=points.device)
        own = space.select(index).points_of(
            [template.free for template in known], torch.stack([template.cell for template in known])
        )
        place = [number for count in counts for number in range(count)]
        points[index, torch.tensor(place, device=points.device)] = own
    return points, torch.tensor(counts, device=points.device)
