"""The page of a search for phases: the hull, the table, the funnel and the crystals, complete in one file."""

from collections.abc import Mapping, Sequence
from typing import Any

from repdiff.crystals.crystal import Crystal
from repdiff.phase_search.figures import HIGHEST, hull_figure
from repdiff.phase_search.result import NEAR_HULL, NEW, ON_HULL, Phase, Phases
from repdiff.report.cards import FILTERS, ORDERS, Card, card_of, useful
from repdiff.report.gallery import gradients
from repdiff.report.html import Tile, fill, page_data
from repdiff.report.labels import shown_symbol
from repdiff.report.provenance import flat
from repdiff.report.sections import Plot, Section

MAX_CARDS = 60
NOTES = "What the numbers mean, and what limits them, stands under Funnel and notes."
COLUMNS: Mapping[str, str] = {
    "id": "Candidate",
    "formula": "Formula",
    "e_above_hull": "Above the hull, eV/atom",
    "status": "New or known",
    "space_group": "Space group",
    "formation_energy": "Formation energy, eV/atom",
    "competitors": "Competes with",
    "protostructure": "Protostructure",
    "stopped": "Relaxation",
}


def render_phases(phases: Phases, settings: Mapping[str, Any]) -> str:
    """Make the page.

    Args:
        phases: What was found.
        settings: What it was made with, as plain JSON values.
    """
    best = [row for row in phases.rows if row.e_above_hull is not None and not row.duplicate_of]
    cards = _cards(phases, best[:MAX_CARDS])
    sections = _sections(phases, n_best=len(best), n_cards=len(cards))
    stable = sorted(
        (entry.composition.reduced_formula, f"{float(phases.known_hull.get_form_energy_per_atom(entry)):.3f}")
        for entry in phases.known_hull.stable_entries
    )
    return fill(
        "phases.html.j2",
        sections=sections,
        data=page_data(sections, cards),
        title=f"Phases of {phases.system}",
        lead=f"Relaxed by {phases.relaxed.force_field}; hull of {phases.hull_name.partition(';')[0]}.",
        tiles=_tiles(phases),
        columns=list(COLUMNS.values()),
        rows=[_cells(row) for row in best],
        funnel=phases.funnel,
        reasons=list(phases.reasons().items()),
        stable=stable,
        runs=[],
        cards=cards,
        filters=useful(FILTERS, cards),
        orders=useful(ORDERS, cards),
        settings=flat(dict(settings)),
        shades=gradients([number for card in cards for number in card.numbers]),
    )


def _sections(phases: Phases, *, n_best: int, n_cards: int) -> list[Section]:
    drawn = hull_figure(phases)
    hull = Section(id="hull", title="Hull", text=NOTES)
    if drawn is not None:
        caption = f"Distinct phases up to {HIGHEST:g} eV/atom above the hull of the known crystals. " + (
            "Of each formula the lowest; the larger and fuller, the nearer to the hull; a dark edge: on it."
            if len(phases.known.elements) == 3
            else "A point below the line is more stable than the known phases by this force field."
        )
        plot = Plot(
            id="hull", title=f"Convex hull of {phases.system}", caption=caption, figure=drawn, wide=True
        )
        hull = Section(id="hull", title="Hull", text=NOTES, plots=[plot])
    elif len(phases.known.elements) > 3:
        hull.messages.insert(0, "A hull of more than three elements is not drawn: the table shows it.")
    return [
        hull,
        Section(
            id="phases",
            title="Phases",
            text=f"{n_best} distinct phases, the lowest above the hull first; what has become the same as a lower one "
            "is left out here, and named in `phases.csv`.",
        ),
        Section(
            id="funnel",
            title="Funnel and notes",
            text="From what was asked for to what is stable, and what limits the numbers.",
            messages=list(phases.notes),
        ),
        Section(
            id="known",
            title="Known phases",
            text=f"The hull of {phases.hull_name}, to which energies above the hull refer.",
        ),
        Section(
            id="structures",
            title="Structures",
            text=f"The lowest {n_cards} of {n_best}. A click on one turns it in space and offers its CIF.",
        ),
        Section(id="provenance", title="Settings"),
    ]


def _tiles(phases: Phases) -> list[Tile]:
    on, near = phases.best(ON_HULL), phases.best(NEAR_HULL)
    return [
        Tile(name="Asked for", value=str(phases.funnel["asked"])),
        Tile(
            name="Relaxed",
            value=str(phases.funnel["relaxed"]),
            note=f"of {phases.funnel['distinct']} distinct",
        ),
        Tile(name="On the hull", value=str(len(on)), note=_of_new(on)),
        Tile(name=f"Within {NEAR_HULL:g} eV/atom", value=str(len(near)), note=_of_new(near)),
    ]


def _of_new(rows: Sequence[Phase]) -> str:
    return f"{sum(row.status == NEW for row in rows)} of them new" if rows and rows[0].status else ""


def _cells(row: Phase) -> list[str]:
    group = f"{shown_symbol(row.space_group_symbol)} ({row.space_group})" if row.space_group_symbol else "?"
    status = f"known: {row.known_as}" if row.known_as else row.status or "not compared"
    height = "" if row.e_above_hull is None else f"{row.e_above_hull:+.3f}"
    formation = "" if row.formation_energy is None else f"{row.formation_energy:.3f}"
    ended = f"{row.stopped or '?'}, {row.n_steps} steps"
    own = (
        row.formula,
        height,
        status,
        group,
        formation,
        row.competitors or "",
        row.protostructure or "?",
        ended,
    )
    return [row.id, *own]


def _cards(phases: Phases, rows: Sequence[Phase]) -> list[Card]:
    crystals = {crystal.id: crystal for crystal in phases.crystals}
    return [card_of("", _record(row, crystals[row.id]), crystals[row.id]) for row in rows]


def _record(row: Phase, crystal: Crystal) -> dict[str, Any]:
    """Say of a crystal what a card shows."""
    return {
        "reduced_formula": row.formula,
        "space_group": row.space_group,
        "space_group_symbol": row.space_group_symbol,
        "e_above_hull": row.e_above_hull,
        "relaxed_energy": row.hull_energy,
        "novel": None if row.status is None else row.status == NEW,
        "known_as": row.known_as,
        "stable": row.within(NEAR_HULL),
        "rmsd_relaxed": crystal.labels.get("rmsd"),
    }
