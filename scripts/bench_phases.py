"""How many known stable phases of a chemical system are found, if a model has seen none of that system?

Ten ternary systems are held out: those of the MP-20 test split with at least two phases within 0.01 eV per atom of the
hull of the Materials Project, drawn at random. For each, `repdiff phases` draws, builds and relaxes candidates (way
`model`), its formulas ranked by the known compounds of all other systems; beside it (way `swapped`) as many crystals
are relaxed as candidates were asked for: random training crystals of three elements with these swapped for those of the
system, by the probabilities and atomic volumes of the backend `retrieval`, assignments whose charges balance first. A
phase is found if a relaxed crystal is the same by StructureMatcher (tolerances of pymatgen).

Four steps. The third is called for one system (`--system A-B-C`) or for all, and for one way or both; it resumes where
it was interrupted, and leaves a JSON file for each:

    python scripts/bench_phases.py split --data-dir DATA --out held_out.parquet
    repdiff encode held_out.parquet; repdiff train --config mp20_cpu --name held-out
    python scripts/bench_phases.py run --data-dir DATA --split held_out.parquet --model RUN --pieces DIR
    python scripts/bench_phases.py join --pieces DIR --out benchmarks/phases.json

With `--ranker` the third step draws several protostructures for each candidate and keeps the one that is predicted to
be nearest to the hull (`--keep-best`).

The first removes all crystals of exactly the held-out systems from training and validation; the third refuses a model
that was trained on one of them. With `--unseen` the first chooses among the systems of which training and validation
have no crystal as they are, so that a model of the whole of MP-20 serves, and writes the names alone.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from repdiff.backends import BACKENDS
from repdiff.backends.find_model import backend_of
from repdiff.backends.retrieval import Retrieval
from repdiff.crystals.crystal import Crystal, read_crystals, write_crystals
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.crystals.formula import count_elements
from repdiff.datasets.load import load_dataset
from repdiff.energies.relax import Limits
from repdiff.metrics.charge_balance import check_composition
from repdiff.metrics.primitive_cells import reduce_crystals
from repdiff.metrics.structure_groups import find_known
from repdiff.phase_search.campaign import Methods, run_campaign
from repdiff.phase_search.candidates import Candidates
from repdiff.phase_search.enumerate import count_atoms, name_of, read_system, system_name
from repdiff.phase_search.find import Question, find_phases, prepare
from repdiff.phase_search.judge import judge
from repdiff.phase_search.plan import open_reference
from repdiff.phase_search.result import Phases
from repdiff.representations.encoded_set import EncodedSet
from repdiff.representations.inversion import named_search
from repdiff.runs.atomic_files import read_json, write_json
from repdiff.runs.manifest import read_manifest
from repdiff.runs.provenance import record

STABLE = 0.01  # eV per atom above the hull of the Materials Project, of phases to be found
LEAST = 2  # such phases of a system
MOST_ATOMS = 20
N_RESAMPLES = 2000
WAYS = ("model", "swapped")
LIMITS = Limits(fmax=0.05, max_steps=500, max_seconds=60.0)


def targets(crystals: Sequence[Crystal]) -> dict[str, list[Crystal]]:
    """Sort stable test crystals of three elements by their system."""
    found: dict[str, list[Crystal]] = defaultdict(list)
    for crystal in crystals:
        height = crystal.labels.get("e_above_hull")
        elements = sorted(set(crystal.atomic_numbers.tolist()))
        if crystal.split == "test" and len(elements) == 3 and isinstance(height, float) and height <= STABLE:
            found[system_name(elements)].append(crystal)
    return found


def split(arguments: argparse.Namespace) -> None:
    """Choose systems, and write a data set without them."""
    crystals = load_dataset("mp_20", data_dir=arguments.data_dir).crystals
    possible = {name: found for name, found in targets(crystals).items() if len(found) >= LEAST}
    if arguments.unseen:
        seen = {frozenset(crystal.atomic_numbers.tolist()) for crystal in crystals if crystal.split != "test"}
        possible = {
            name: found for name, found in possible.items() if frozenset(read_system(name)) not in seen
        }
    random = np.random.default_rng(arguments.seed)
    chosen = sorted(random.choice(sorted(possible), size=arguments.n_systems, replace=False).tolist())
    write_json(_systems_of(arguments.out), {"seed": arguments.seed, "systems": chosen})
    if arguments.unseen:
        print(json.dumps({"systems": chosen, "n_possible": len(possible)}))
        return
    held_out = {frozenset(read_system(name)) for name in chosen}
    kept = [
        crystal.replace(labels={})
        for crystal in crystals
        if crystal.split == "test" or frozenset(crystal.atomic_numbers.tolist()) not in held_out
    ]
    write_crystals(arguments.out, kept)
    removed = len(crystals) - len(kept)
    print(json.dumps({"systems": chosen, "n_removed": removed, "n_possible": len(possible)}))


def run(arguments: argparse.Namespace) -> None:
    """Search the systems one after the other, and write how many phases were found of each."""
    systems = read_json(_systems_of(arguments.split))["systems"]
    crystals = load_dataset("mp_20", data_dir=arguments.data_dir).crystals
    wanted = targets(crystals)
    encoded = EncodedSet.read(read_manifest(arguments.model).inputs["encoded"].path)
    trained = {frozenset(encoded.crystals[row].atomic_numbers.tolist()) for row in encoded.rows("train")}
    trained |= {frozenset(encoded.crystals[row].atomic_numbers.tolist()) for row in encoded.rows("val")}
    if seen := [name for name in systems if frozenset(read_system(name)) in trained]:
        raise SystemExit(
            f"{arguments.model} was trained on crystals of {', '.join(seen)}: train it on the split"
        )
    known = CrystalSet(
        crystals=[encoded.crystals[row] for row in encoded.rows("train")], name="the training crystals"
    )
    ways: dict[str, Callable[[Question, Path], Phases]] = {
        "model": _ModelWay(arguments, known),
        "swapped": _SwappedWay(arguments, known, encoded),
    }
    for name in [arguments.system] if arguments.system else systems:
        for way in [arguments.way] if arguments.way else WAYS:
            label = f"{name}-n{arguments.n}-{way}"
            if (file := arguments.pieces / f"{label}.json").is_file():
                continue
            started, processor = time.perf_counter(), time.process_time()
            found = ways[way](_question(name, arguments), _made(arguments.pieces / label))
            write_json(
                file,
                {
                    "system": name,
                    "way": way,
                    "targets": {one.id: name_of(count_elements(one)) for one in wanted[name]},
                    "n_asked": arguments.n,
                    **_score(found, wanted[name]),
                    "seconds": round(time.perf_counter() - started, 1),
                    "seconds_of_this_process": round(time.process_time() - processor, 1),
                },
            )
            print(json.dumps(read_json(file)), flush=True)


def join(arguments: argparse.Namespace) -> None:
    """Put the systems together: the share of phases found by each way, and intervals over systems."""
    pieces = [read_json(file) for file in sorted(arguments.pieces.glob(f"*-n{arguments.n}-*.json"))]
    by_system: dict[str, dict[str, Any]] = defaultdict(dict)
    for piece in pieces:
        by_system[piece["system"]][piece["way"]] = piece
    finished = [ways for ways in by_system.values() if len(ways) == len(WAYS)]
    if not finished:
        raise SystemExit(f"{arguments.pieces} holds no system finished both ways: call `run` first")
    random = np.random.default_rng(0)
    n = np.array([len(ways["model"]["targets"]) for ways in finished])
    draws = random.integers(len(finished), size=(N_RESAMPLES, len(finished)))
    shares: dict[str, Any] = {}
    counts: dict[str, Any] = {}
    for way in WAYS:
        counts[way] = np.array([len(ways[way]["found"]) for ways in finished])
        spread = counts[way][draws].sum(1) / n[draws].sum(1)
        shares[way] = {
            "share": float(counts[way].sum() / n.sum()),
            "interval": np.quantile(spread, [0.025, 0.975]).round(4).tolist(),
            "n_found": int(counts[way].sum()),
            "n_targets": int(n.sum()),
            "n_relaxed": sum(ways[way]["n_relaxed"] for ways in finished),
        }
    found, swapped = (counts[way][draws].sum(1) for way in WAYS)
    ratios = found[swapped > 0] / swapped[swapped > 0]
    record(
        arguments.out,
        {
            "stable_within_eV_per_atom": STABLE,
            "n_asked": arguments.n,
            "n_systems": len(finished),
            **shares,
            "ratio": shares["model"]["share"] / shares["swapped"]["share"]
            if counts["swapped"].any()
            else None,
            "ratio_interval": np.quantile(ratios, [0.025, 0.975]).round(3).tolist() if len(ratios) else None,
            "systems": finished,
        },
    )
    print(json.dumps(shares))


def _question(name: str, arguments: argparse.Namespace) -> Question:
    sampling: dict[str, Any] = {"sampler": "ddim"}
    if arguments.ranker:
        sampling |= {"ranker": arguments.ranker, "keep_best": arguments.keep_best}
    return Question(
        system=name, n=arguments.n, max_atoms=MOST_ATOMS, formula_units="1-4", force_field="chgnet", limits=LIMITS,
        search=named_search("fast"), steps=50, sampling=sampling, seed=arguments.seed,
        n_workers=arguments.n_workers, device=torch.device("cpu"),
    )  # fmt: skip


class _ModelWay:
    """What `repdiff phases` does, if nothing of the system is known."""

    def __init__(self, arguments: argparse.Namespace, known: CrystalSet) -> None:
        self.model, self.known = arguments.model, known
        self.backend = BACKENDS[backend_of(self.model)].load(self.model, device=torch.device("cpu"))

    def __call__(self, question: Question, folder: Path) -> Phases:
        elements = set(read_system(question.system or ""))
        hull = open_reference(
            sorted(elements), force_field=question.force_field, hull=None, device=question.device
        )
        others = [one for one in hull.table.formulas if set(count_atoms(one)) != elements]
        prepared = prepare(question, self.backend, model_name=self.model.name, known_formulas=others)
        return find_phases(prepared, folder, known=self.known)


class _SwappedWay:
    """Known crystals with swapped elements."""

    def __init__(self, arguments: argparse.Namespace, known: CrystalSet, encoded: EncodedSet) -> None:
        self.seed, self.known = arguments.seed, known
        self.swaps = _retrieval(encoded, arguments.pieces)

    def __call__(self, question: Question, folder: Path) -> Phases:
        elements = read_system(question.system or "")
        hull = open_reference(elements, force_field=question.force_field, hull=None, device=question.device)
        file = folder / "crystals.parquet"
        if not file.is_file():
            write_crystals(file, _distinct_swaps(self.swaps, elements, question.n, self.seed))
        crystals = read_crystals(file)
        candidates = Candidates(
            names=[one.id for one in crystals], made=crystals, n_asked=question.n, n_drawn=question.n
        )
        methods = Methods(
            force_field=question.force_field, limits=question.limits, search=question.search, seed=question.seed,
            device=question.device, n_workers=question.n_workers,
        )  # fmt: skip
        outcome = run_campaign(candidates, methods, folder)
        return judge(outcome, candidates, elements, hull=hull, known=self.known)


def _distinct_swaps(swaps: Retrieval, elements: Sequence[int], n: int, seed: int) -> list[Crystal]:
    """Swap the elements of random training crystals for those of a system, until enough are distinct."""
    random = np.random.default_rng(seed)
    place = {number: column for column, number in enumerate(swaps.elements)}
    fitting = [
        one
        for one in swaps.templates
        if len(set(one.atomic_numbers.tolist())) == len(elements) and one.n_atoms <= MOST_ATOMS
    ]
    made: list[Crystal] = []
    counts: dict[str, int] = defaultdict(int)
    for number in random.permutation(len(fitting)).tolist():
        template = fitting[number]
        own = np.unique(template.atomic_numbers).tolist()
        orders = [dict(zip(own, order, strict=True)) for order in permutations(elements)]
        chances = np.array(
            [np.prod([swaps.probabilities[place[a], place[b]] for a, b in one.items()]) for one in orders]
        )
        balanced = np.array([_balances(template, one) for one in orders])
        chances = np.where(balanced, chances, 0.0) if (chances * balanced).sum() > 0 else chances
        if chances.sum() == 0:
            continue
        swapped = orders[int(random.choice(len(orders), p=chances / chances.sum()))]
        numbers = np.array([swapped[one] for one in template.atomic_numbers.tolist()])
        room = [
            sum(swaps.volumes[place[one]] for one in some.tolist())
            for some in (numbers, template.atomic_numbers)
        ]
        crystal = template.replace(
            atomic_numbers=numbers,
            lattice=template.lattice * (room[0] / room[1]) ** (1 / 3),
            labels={},
            split=None,
        )
        formula = name_of(count_elements(crystal))
        crystal = crystal.replace(id=f"{formula}-{counts[formula]:03d}")
        if find_known(reduce_crystals([crystal]), reduce_crystals(made)).row[0] < 0:
            made.append(crystal)
            counts[formula] += 1
        if len(made) == n:
            break
    return made


def _balances(template: Crystal, swapped: Mapping[int, int]) -> bool:
    return check_composition({swapped[number]: n for number, n in count_elements(template).items()}).valid


def _retrieval(encoded: EncodedSet, folder: Path) -> Retrieval:
    """Count swaps on the training crystals, as the backend does."""
    from repdiff.backends.fit import fit
    from repdiff.runs.workspace import Run
    from repdiff.settings.training import TrainingSettings

    place = _made(folder / "retrieval")
    if not list(place.glob("*.safetensors")):
        job = Retrieval.prepare(encoded, folder=place)
        fit(job, encoded, TrainingSettings(max_epochs=1), Run(path=place, state="new"))
    return Retrieval.load(place, device=torch.device("cpu"))


def _score(phases: Phases, wanted: Sequence[Crystal]) -> dict[str, Any]:
    """Say which phases were found among the relaxed crystals."""
    crystals = phases.crystals
    rows = find_known(reduce_crystals(wanted), reduce_crystals(crystals)).row.tolist()
    heights = {row.id: row.e_above_hull for row in phases.rows}
    found = {
        one.id: {"as": crystals[row].id, "e_above_hull": heights[crystals[row].id]}
        for one, row in zip(wanted, rows, strict=True)
        if row >= 0
    }
    formulas = {row.formula for row in phases.rows}
    return {
        "found": found,
        "n_relaxed": phases.funnel["relaxed"],
        "n_targets_of_tried_formulas": sum(name_of(count_elements(one)) in formulas for one in wanted),
        "funnel": dict(phases.funnel),
    }


def _systems_of(file: Path) -> Path:
    return file.with_suffix(".systems.json")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def main() -> None:
    """Run one of the steps."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = parser.add_subparsers(required=True)
    first = steps.add_parser("split", help="choose systems, and write the data set without them")
    first.add_argument("--data-dir", type=Path, required=True)
    first.add_argument("--out", type=Path, required=True)
    first.add_argument("--n-systems", type=int, default=10)
    first.add_argument("--seed", type=int, default=0)
    first.add_argument("--unseen", action="store_true", help="choose systems that training has no crystal of")
    first.set_defaults(work=split)
    second = steps.add_parser("run", help="search one system, or all that are not finished")
    second.add_argument("--data-dir", type=Path, required=True)
    second.add_argument("--split", type=Path, required=True, help="what the step `split` wrote")
    second.add_argument("--model", type=Path, required=True, help="run of repdiff train on that data set")
    second.add_argument("--pieces", type=Path, required=True)
    second.add_argument("--system")
    second.add_argument("--way", choices=WAYS, help="one way alone")
    second.add_argument("--n", type=int, default=300)
    second.add_argument("--ranker", type=Path, help="a model of `repdiff rank` to choose candidates by")
    second.add_argument("--keep-best", type=float, default=0.1, help="share of the draws that it keeps")
    second.add_argument("--n-workers", type=int, default=2)
    second.add_argument("--seed", type=int, default=0)
    second.set_defaults(work=run)
    third = steps.add_parser("join", help="put the finished systems together")
    third.add_argument("--pieces", type=Path, required=True)
    third.add_argument("--n", type=int, default=300)
    third.add_argument("--out", type=Path, required=True)
    third.set_defaults(work=join)
    arguments = parser.parse_args()
    arguments.work(arguments)


if __name__ == "__main__":
    main()
