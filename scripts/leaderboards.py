"""Write the tables of docs/leaderboards from the records in benchmarks/.

A page is made as a whole. Every row names its record by the beginning of the record's SHA-256; a measure that no record
holds is "not measured". Published figures come from scripts/published.yaml, with their definitions.

Example:
    python scripts/leaderboards.py inversion
    python scripts/leaderboards.py  # all pages
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from leaderboard_tables import (
    Row,
    compared,
    counted,
    evaluated,
    judged,
    label,
    mark,
    number,
    percent,
    published,
    read,
    table,
)

PAGES = Path(__file__).resolve().parents[1] / "docs" / "leaderboards"
MADE = "<!-- made by scripts/leaderboards.py: run it anew instead of writing here -->"


def inversion() -> Iterator[str]:
    """How often a crystal is found again from its vector."""
    yield "# Inversion: crystals found again from their vectors"
    yield (
        "Random test crystals are encoded, and sought from the vector alone. Found means by StructureMatcher with stol "
        "0.5, ltol 0.3 and angle_tol 10; RMSE is that of the found, in units of the cube root of the volume per atom; "
        "seconds are of one core, other work beside. There is no baseline: a perfect inversion finds all."
    )
    rows = []
    for data in ("perov_5", "mp_20", "carbon_24"):
        for search in ("fast", "default", "thorough"):
            name = f"invert_{data}" + ("" if search == "default" else f"_{search}")
            rows.append(_inverted(f"{data}, {search}", read(name)[search], read(name)["seed"], name))
    heads = (
        "data set, search",
        "descriptor",
        "crystals",
        "found",
        "RMSE",
        "seconds, mean / median",
        "seed",
        "record",
    )
    yield "## No symmetry given"
    yield table(heads, rows)
    rows = [
        _inverted(
            f"{data}, {title}", read(f"paper_{data}")[key], read(f"paper_{data}")["seed"], f"paper_{data}"
        )
        for data in ("perov_5", "mp_20")
        for key, title in (
            ("default", "our search and descriptor"),
            ("paper", "the published ones, our run of them"),
        )
    ]
    yield "## The published search, on the same crystals"
    yield table(heads, rows)
    yield "The descriptor `soap` can be inverted by the same command; how often it succeeds is not measured."
    document = read("symmetric_inversion")
    rows = []
    for key, title in (
        ("validation", "validation crystals"),
        ("exact", "test crystals, searched to the last digits"),
    ):
        one = document[key]
        for free, part in [("all", one), *one["by_free_coordinates"].items()]:
            rows.append(
                (
                    title, "0" if free == "0-0" else free, str(part["n"]), counted(part["match_rate"], part["n"]),
                    number(part["rmse"]), f"{number(part['mean_seconds'])} / {number(part['median_seconds'])}",
                )
            )  # fmt: skip
    yield "## The protostructure given, MP-20"
    yield f"Descriptor {document['descriptor']}, seed {document['seed']}, record {mark('symmetric_inversion')}."
    yield table(("crystals", "free coordinates", "n", "found", "RMSE", "seconds, mean / median"), rows)
    yield published("given_protostructure")
    yield "## Published"
    yield published("inversion")
    yield "## Anew"
    yield (
        "```bash\n"
        "python scripts/bench_reconstruction.py --dataset mp_20 --n 500 --data-dir DIR --out benchmarks/invert_mp_20.json\n"
        "python scripts/bench_symmetric_inversion.py --data-dir DIR --out benchmarks/symmetric_inversion.json\n"
        "```"
    )


def _inverted(title: str, one: Mapping[str, Any], seed: int, name: str) -> Row:
    return (
        title, f"`{one['descriptor']}`", str(one["n"]), counted(one["match_rate"], one["n"]), number(one["rmse"]),
        f"{number(one['mean_core_seconds'])} / {number(one['median_core_seconds'])}", str(seed), mark(name),
    )  # fmt: skip


MAIN = (
    "validity.structure_valid", "validity.composition_valid", "coverage.cov_recall", "coverage.cov_precision",
    "distributions.emd_density", "distributions.emd_n_elements", "uniqueness.unique", "uniqueness.novel",
)  # fmt: skip
GROUPS = (
    "symmetry.p1", "distributions.js_space_groups", "symmetry.chi2_space_groups", "prototypes.distinct_prototypes",
    "prototypes.new_prototypes", "prototypes.new_prototypes_symmetric",
)  # fmt: skip
OF_MP_20 = (
    "structrepdiff", "structrepdiff without templates", "structrepdiff without symmetry",
    "gemsdiff under protostructures", "gemsdiff", "mattergen under protostructures", "retrieval", "real crystals",
)  # fmt: skip
COSTS = ("n_parameters", "seconds_per_structure", "training_memory_gib", "sampling_memory_gib")


def generation() -> Iterator[str]:
    """New crystals, judged beside real ones."""
    yield "# Generation: new crystals beside real ones"
    yield (
        "Coverage is by the strict cutoffs, and depends on the number of crystals, as the earth mover's distances do: compare with the "
        "real crystals beside them, as many under the same metrics. Energies are CHGNet's: the hull is that of all entries of at most 20 "
        "atoms of the Materials Project, stable within 0.1 eV per atom, novel against all of MP-20. Models of the package "
        "have their figures in [their cards](../reference/models.md)."
    )
    yield "## structrepdiff, 40 to 45 minutes of training on one core"
    yield evaluated(
        {
            "MP-20": ("evaluate_mp_20", "coverage_mp_20", "relaxed_mp_20"),
            "Perov-5": ("evaluate_perov_5",),
            "Carbon-24": ("evaluate_carbon_24",),
        },
        (*MAIN, "stability.stable", "stability.sun", "stability.sun_symmetric", "stability.rmsd"),
    )
    yield "## MP-20, systems side by side, 5 minutes of training each"
    yield "300 samples, one seed. Under protostructures means: those of test crystals were given."
    yield compared("compare_mp_20_symmetry", (*MAIN, *COSTS), OF_MP_20)
    yield "## Perov-5, systems side by side, 20 minutes of training each"
    yield (
        "500 samples for the formulas of the first 500 test crystals; `structrepdiff` drew formulas first, without "
        "symmetry. Mean and standard deviation over the seeds."
    )
    keys = ("matching.match_rate", "matching.rmse", *MAIN, "frechet.frechet_chgnet_infinite", *COSTS)
    yield compared("compare_perov_5", keys, ("structrepdiff", "gemsdiff", "real crystals"))
    for name, system in (("compare_perov_5_dpcdvae", "dpcdvae"), ("compare_perov_5_mattergen", "mattergen")):
        yield f"`{system}`, on another day:"
        yield compared(name, keys, (system,))
    yield "## Published"
    yield "Perov-5."
    yield published("generation_perov_5")
    yield "MP-20."
    yield published("generation_mp_20")
    yield "## Anew"
    yield (
        "```bash\nrepdiff encode --config mp20_cpu && repdiff train --config mp20_cpu\n"
        "repdiff compare configs/compare_mp20_symmetry.yaml --data-dir DIR\n"
        "repdiff compare configs/compare_perov5_cpu.yaml --data-dir DIR\n```"
    )


def symmetry() -> Iterator[str]:
    """Whether crystals have the symmetry of real ones."""
    yield "# Symmetry"
    yield (
        "Space groups are found by moyopy within 0.1 Å. P1 is the share without symmetry; the Jensen-Shannon divergence (bits) and χ² "
        "compare how often each space group occurs with the test crystals; a prototype is new if no training crystal has it."
    )
    yield "## MP-20, 45 minutes of training"
    keys = (*GROUPS, "stability.symmetry_kept", "stability.sun_symmetric", "stability.sun_symmetric_before")
    yield evaluated({"structrepdiff": ("evaluate_mp_20", "relaxed_mp_20")}, keys)
    yield "## MP-20, systems side by side, 5 minutes of training each, 300 samples"
    yield compared("compare_mp_20_symmetry", GROUPS, OF_MP_20)
    yield "## Published"
    yield published("symmetry")
    yield "## Anew"
    yield "```bash\nrepdiff compare configs/compare_mp20_symmetry.yaml --data-dir DIR\n```"


def conditions() -> Iterator[str]:
    """What was asked, and what was obtained."""
    yield "# Conditions: asked and obtained"
    exact = read("exact_conditions")
    yield "## Exact"
    yield f"Protostructures drawn under a condition, and crystals built from some of them. Record {mark('exact_conditions')}."
    yield table(
        ("condition", "draws", "obey", "crystals made", "within", "cost of a draw beside a free one"),
        [
            (
                name.replace("_", " "), str(one["n"]), counted(one["share_of_made_that_obey"], one["n_made"]),
                str(one["crystals"]["n_made"]), str(one["crystals"]["n_within"]), number(one["cost_beside_free_draws"]),
            )
            for name, one in exact["conditions"].items()
        ],
    )  # fmt: skip
    yield "## Learnt and steered"
    yield (
        "Rank correlation (Spearman) of what was asked with what a judge predicts of the finished crystal, at rising guidance. "
        "The judge is 300 extremely randomised trees on other features and other crystals; its own correlation on test crystals "
        "is beside it."
    )
    rows = []
    for record, data in (("guidance_perov_5", "Perov-5"), ("guidance_mp_20", "MP-20")):
        rows += _asked(record, data, "guidance", "learnt, guidance")
    for record, data in (("steering_perov_5", "Perov-5"), ("steering_mp_20", "MP-20")):
        rows += _asked(record, data, "candidates", "steered, candidates")
    heads = (
        "data set, label",
        "how",
        "crystals",
        "correlation",
        "judge on test crystals",
        "composition valid",
        "seed",
        "record",
    )
    yield table(heads, rows)
    yield "## What a condition costs, MP-20, formation energy"
    stability = read("conditional_stability")
    yield f"{stability['n_of_each']} crystals of each kind, seed {stability['seed']}, record {mark('conditional_stability')}."
    keys = ("structure_valid", "composition_valid", "stable", "sun", "sun_symmetric")
    yield table(
        ("", *(label(f".{key}") for key in keys)),
        [
            (way, *(counted(one[key]["share"], stability["n_of_each"]) for key in keys))
            for way, one in stability["ways"].items()
        ],
    )
    phases = read("phases")
    yield "## Phases of unseen systems"
    yield (
        f"Known phases found again in {phases['n_systems']} ternary systems that neither training nor validation crystals have, "
        f"{phases['n_asked']} candidates each, formulas ranked by the known compounds of all other systems; "
        f"{phases['ratio']:.2f} times as many as the baseline ({phases['ratio_interval'][0]:.2f}–"
        f"{phases['ratio_interval'][1]:.2f}). Record {mark('phases')}."
    )
    yield table(
        ("candidates", "relaxed", "found"),
        [
            (title, str(phases[key]["n_relaxed"]),
             f"{phases[key]['n_found']} of {phases[key]['n_targets']} ({100 * phases[key]['interval'][0]:.0f}–{100 * phases[key]['interval'][1]:.0f} %)")
            for key, title in (("model", "of the model"), ("swapped", "training crystals with other elements (baseline)"))
        ],
    )  # fmt: skip
    yield "## Anew"
    yield (
        "```bash\n"
        "python scripts/bench_exact_conditions.py --model RUN --out benchmarks/exact_conditions.json\n"
        "python scripts/bench_guidance.py --workspace WS --dataset perov_5 --data-dir DIR --labels heat_all dir_gap \\\n"
        "    --out benchmarks/guidance_perov_5.json\n"
        "python scripts/bench_conditional_stability.py --model RUN --data-dir DIR --label formation_energy_per_atom \\\n"
        "    --head HEAD --pieces PIECES --out benchmarks/conditional_stability.json\n"
        "python scripts/bench_phases.py join --pieces PIECES --out benchmarks/phases.json\n"
        "```"
    )


def _asked(record: str, data: str, kind: str, how: str) -> list[Row]:
    document = read(record)
    return [
        (
            f"{data}, {name.replace('_', ' ')}", f"{how} {setting}", str(one["n"]), number(one["spearman"], 2),
            number(labelled["judge_spearman_on_test"], 2), percent(one.get("composition_valid")), str(document["seed"]),
            mark(record),
        )
        for name, labelled in document["labels"].items()
        for setting, one in labelled.get(kind, {}).items()
    ]  # fmt: skip


def peers() -> Iterator[str]:
    """Crystals of other programs, judged by the same command."""
    document = read("peers")["peers"]
    yield "# Peers: other programs under the same judge"
    yield (
        "Samples that others made with their own programs, judged by `repdiff evaluate`. The budgets are small and no setting was tuned: "
        "this is what the same processor time gives, not the best of a program. Real crystals beside are as many "
        "training crystals under the same metrics. To have yours here: [submit](../how-to/submit.md)."
    )
    columns: list[str] = [""]
    for one in document.values():
        columns += [one["title"], "real crystals"]
    keys = (
        "matching.match_rate", "matching.rmse", *MAIN, "symmetry.p1", "distributions.js_space_groups",
    )  # fmt: skip
    rows = [
        [label(key), *(text for one in document.values() for text in judged(one["metrics"], key))]
        for key in keys
    ]
    for title, write in (
        ("data set, reference", lambda one: f"{one['data']}, `{one['reference']}`"),
        ("given", lambda one: one["given"]),
        ("crystals", lambda one: str(one["n"])),
        ("training", lambda one: one["training"]),
        ("seconds a structure, one core", lambda one: number(one["sampling_seconds"])),
        ("settings", lambda one: one["note"]),
        ("commit", lambda one: f"`{one['commit']}`"),
        ("SHA-256 of the samples", lambda one: f"`{one['sha256'][:8]}`"),
    ):
        rows.append([title, *(text for one in document.values() for text in (write(one), ""))])
    yield table(columns, rows)
    yield f"Record {mark('peers')}."
    yield "## Ours on the same task"
    yield (
        "Perov-5, formulas of the first 500 test crystals, 20 minutes of training, three seeds. In this data set many "
        "formulas have several arrangements: a sampler that draws one of those of a formula, each as often as it occurs, "
        f"is right in {percent(read('match_ceiling')['perov_5']['one_of_those_of_a_formula'])} of the test crystals ({mark('match_ceiling')}), so that match rates of this task "
        "say little once they are there."
    )
    own = ("matching.match_rate", "matching.rmse", "coverage.cov_recall", "coverage.cov_precision", "symmetry.p1",
           "seconds_per_structure")  # fmt: skip
    yield compared("compare_perov_5", own, ("structrepdiff", "gemsdiff", "real crystals"))
    yield "## Anew"
    yield "```bash\npython scripts/judge_peers.py FOLDER --data-dir DIR --out benchmarks/peers.json\n```"


TABLES: dict[str, Callable[[], Iterator[str]]] = {
    "inversion": inversion,
    "generation": generation,
    "symmetry": symmetry,
    "conditions": conditions,
    "peers": peers,
}


def page(name: str) -> str:
    """Make one page."""
    title, *rest = TABLES[name]()
    return "\n\n".join([MADE, title, *rest]) + "\n"


def main() -> None:
    """Write the pages that are named, or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", choices=[*TABLES, []], help="pages; default: all")
    for name in parser.parse_args().names or TABLES:
        path = PAGES / f"{name}.md"
        path.write_text(page(name), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
