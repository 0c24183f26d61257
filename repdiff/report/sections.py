"""The sections of the page: which plots stand where, drawn from what was collected."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from repdiff.errors import UserError
from repdiff.report.collect import EvaluatedRun, KnownSet
from repdiff.report.describe import element_shares, quantity_of, space_group_numbers
from repdiff.report.embed import Method, choose, project
from repdiff.report.labels import AXES, shown_number
from repdiff.report.periodic import element_difference, element_table
from repdiff.report.plots import (
    category_bars,
    crystal_system_bars,
    distribution,
    embedding,
    space_group_bars,
)
from repdiff.report.tables import Table
from repdiff.report.theme import Series

if TYPE_CHECKING:
    import plotly.graph_objects as go

N_SYMMETRY = 2000  # known crystals whose space group is looked for
ENERGIES = ("e_above_hull", "relaxed_energy", "energy_change", "rmsd_relaxed")


@dataclass(frozen=True, kw_only=True)
class Plot:
    """One figure of the page; `id` names it in the page and is its file's name."""

    id: str
    title: str
    caption: str
    figure: "go.Figure"
    wide: bool = False

    @property
    def height(self) -> int:
        """Height of the figure, px."""
        return int(self.figure.layout.height)


@dataclass(frozen=True, kw_only=True)
class Section:
    """One tab."""

    id: str
    title: str
    text: str = ""
    plots: list[Plot] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)


def distributions(runs: Sequence[EvaluatedRun], known: Sequence[KnownSet]) -> Section:
    """Draw quantities that follow from the crystals, and energies where there are any."""
    plots = []
    for name in ("density", "volume_per_atom", "n_elements", "n_atoms"):
        series = [
            Series(name=one.name, role=one.role, values=quantity_of(one.crystals, name))
            for one in known
            if one.crystals
        ]
        series += [
            _of_run(run, quantity_of(list(run.crystals.values()), name)) for run in runs if run.crystals
        ]
        if series:
            plots.append(_distribution(name, series))
    for name in ENERGIES:
        series = [_of_run(run, run.column(name)) for run in runs if run.has(name)]
        if series:
            plots.append(_distribution(name, series))
    messages = [] if plots else ["There are no structures to draw distributions of."]
    if plots and not any(run.has("relaxed_energy") for run in runs):
        messages.append("Energies: not computed. `repdiff relax` computes them, and `relaxed` hands them on.")
    return Section(
        id="distributions",
        title="Distributions",
        text=f"The structures of the run against known ones, as shares of each set: {_sizes(runs, known)}. Where tails "
        "are long, the first and the last bin also hold what lies beyond them.",
        plots=plots,
        messages=messages,
    )


def representations(
    runs: Sequence[EvaluatedRun],
    known: Sequence[KnownSet],
    *,
    descriptor: str,
    method: Method,
    samples: int,
    seed: int,
) -> Section:
    """Draw all sets in the plane of their representations, which is fitted to the first known set."""
    title = "Representations"
    sets = [(one.name, one.role, list(one.crystals)) for one in known]
    sets += [(run.name, "generated", list(run.crystals.values())) for run in runs]
    sets = [(name, role, crystals) for name, role, crystals in sets if crystals]
    if not sets:
        return Section(id="representations", title=title, messages=["There are no structures to encode."])
    chosen = [
        [crystals[place] for place in choose(len(crystals), samples, seed=seed)] for *_, crystals in sets
    ]
    try:
        found = project(chosen, descriptor=descriptor, method=method, seed=seed, progress=True)
    except UserError as error:
        if method == "umap":
            raise
        return Section(id="representations", title=title, messages=[f"Not drawn: {error}"])
    series = [
        Series(name=name, role=role, values=points, labels=[crystal.formula for crystal in crystals])
        for (name, role, _), points, crystals in zip(sets, found.points, chosen, strict=True)
    ]
    counts = ", ".join(
        f"{len(crystals) - left_out} of {name}"
        for (name, *_), crystals, left_out in zip(sets, chosen, found.n_left_out, strict=True)
    )
    figure = embedding(series, {"pca": "PCA", "umap": "UMAP"}[method], found.explained)
    caption = (
        f"{counts}; at most {samples} of each set, chosen with seed {seed}. Descriptor {descriptor}, features "
        f"scaled to [0, 1]; the map is fitted to {sets[0][0]}. A click on the legend hides a set."
    )
    plot = Plot(id="representations", title="Where the sets lie", caption=caption, figure=figure, wide=True)
    left_out = sum(found.n_left_out)
    return Section(
        id="representations",
        title=title,
        text="Every crystal as a point: descriptor, composition, number of atoms and cell, projected onto a "
        "plane. A good model covers the known points, and goes no further.",
        plots=[plot],
        messages=[f"{left_out} structures could not be encoded."] if left_out else [],
    )


def elements(runs: Sequence[EvaluatedRun], known: Sequence[KnownSet]) -> Section:
    """Draw how many structures hold each element: generated, known, and the difference."""
    shares = {run.name: element_shares(list(run.crystals.values())) for run in runs if run.crystals}
    base = {one.name: element_shares(one.crystals) for one in known if one.crystals}
    compared = next(
        (one.name for one in known if one.role == "reference" and one.crystals), next(iter(base), None)
    )
    top = max(
        (share for found in (*shares.values(), *base.values()) for share in found.values()), default=0.0
    )
    plots = []
    for number, (name, found) in enumerate(shares.items()):
        plots.append(
            Plot(
                id=f"elements-generated-{number + 1}",
                title=f"{name[:1].upper()}{name[1:]}",
                caption="Share of structures that hold each element; colours by its square root.",
                figure=element_table(found, highest=top),
            )
        )
        if compared is not None:
            plots.append(
                Plot(
                    id=f"elements-difference-{number + 1}",
                    title=f"{name[:1].upper()}{name[1:]}, more or less often than in {compared}",
                    caption=f"Share of {name} minus share of {compared}: orange is more often, blue more rarely.",
                    figure=element_difference(found, base[compared]),
                )
            )
    plots += [
        Plot(
            id=f"elements-known-{number + 1}",
            title=f"Known: {name}",
            caption="Share of structures that hold each element, on the same scale.",
            figure=element_table(found, highest=top),
        )
        for number, (name, found) in enumerate(base.items())
    ]
    return Section(
        id="elements",
        title="Elements",
        plots=plots,
        messages=[] if plots else ["There are no structures to count elements of."],
    )


def symmetry(
    runs: Sequence[EvaluatedRun],
    known: Sequence[KnownSet],
    *,
    tolerance: float,
    notes: Sequence[str],
    seed: int,
) -> Section:
    """Draw space groups and crystal systems; those of the runs are in their records.

    Args:
        runs: The evaluations.
        known: Known crystals, whose space groups are looked for here.
        tolerance: How far an atom may be from where an operation puts it, Å.
        notes: What the reader must know of the space groups of the runs.
        seed: Seed of the choice of known crystals.
    """
    series, where = [], []
    for one in known:
        if not one.crystals:
            continue
        some = [one.crystals[place] for place in choose(len(one.crystals), N_SYMMETRY, seed=seed)]
        series.append(
            Series(name=one.name, role=one.role, values=space_group_numbers(some, symprec=tolerance))
        )
        if len(some) < len(one.crystals):
            where.append(f"{len(some)} of {one.name}, chosen with seed {seed}")
    series += [_of_run(run, run.column("space_group")) for run in runs if run.has("space_group")]
    if not series:
        return Section(
            id="symmetry", title="Symmetry", messages=["There are no structures to find symmetries of."]
        )
    caption = "; ".join([f"Shares of each set. Tolerance {tolerance:g} Å", *where]) + "."
    return Section(
        id="symmetry",
        title="Symmetry",
        text="Space groups found within a tolerance, so that small distortions do not count.",
        plots=[
            Plot(
                id="crystal-systems",
                title="Crystal systems",
                caption=caption,
                figure=crystal_system_bars(series),
                wide=True,
            ),
            Plot(
                id="space-groups",
                title="Most frequent space groups",
                caption=caption,
                figure=space_group_bars(series),
                wide=True,
            ),
        ],
        messages=list(notes),
    )


def reconstruction(runs: Sequence[EvaluatedRun]) -> Section:
    """Draw how well the vectors were turned into crystals."""
    plots = []
    for name in ("loss", "confidence", "shortest_distance", "seconds"):
        series = [_of_run(run, run.column(name)) for run in runs if run.has(name)]
        if series:
            plots.append(_distribution(name, series))
    stops = [
        _of_run(run, np.array([str(record["stopped"]) for record in run.records if record.get("stopped")]))
        for run in runs
        if run.has("stopped")
    ]
    if stops:
        plots.append(
            Plot(
                id="stopped",
                title="Why the search ended",
                caption="“Trials agree”: independent searches found the same crystal.",
                figure=category_bars(stops, "Reason"),
            )
        )
    messages = [] if plots else ["The structures do not come from a reconstruction, or its numbers are gone."]
    if plots and not any(run.has("confidence") for run in runs):
        messages.append("Confidence: not computed for these structures.")
    return Section(
        id="reconstruction",
        title="Reconstruction",
        text="From vectors back to crystals: how close each crystal comes to the vector that it should have.",
        plots=plots,
        messages=messages,
    )


def funnel(runs: Sequence[EvaluatedRun]) -> list[Section]:
    """Return the tab of what was left after each stage; none where no run tells."""
    if not any(run.metrics.get("funnel") for run in runs):
        return []
    text = (
        "From the protostructures that were drawn to the stable crystals: what was left after each stage, and of how "
        "many. Stages that were not run are left out."
    )
    return [Section(id="funnel", title="Funnel", text=text)]


def _distribution(name: str, series: Sequence[Series]) -> Plot:
    axis = AXES[name]
    medians = [
        f"{shown_number(float(np.nanmedian(one.values)))} ({one.name})"
        for one in series
        if len(one.values) and not np.isnan(one.values).all()
    ]
    middle = f"Median{f', {axis.unit}' if axis.unit else ''}: {', '.join(medians)}." if medians else ""
    absent = sum(int(np.isnan(one.values).sum()) for one in series)
    lost = f"{absent} structures have no value." if absent else ""
    caption = " ".join(filter(None, (axis.text, middle, lost)))
    return Plot(
        id=name.replace("_", "-"), title=axis.name, caption=caption, figure=distribution(series, name)
    )


def _of_run(run: EvaluatedRun, values: Float[np.ndarray, " n"] | np.ndarray) -> Series:
    return Series(name=run.name, role="generated", values=values)


def _sizes(runs: Sequence[EvaluatedRun], known: Sequence[KnownSet]) -> str:
    sizes = [(one.name, len(one.crystals)) for one in known] + [(run.name, len(run.crystals)) for run in runs]
    return ", ".join(f"{name} {n}" for name, n in sizes if n) or "none"
