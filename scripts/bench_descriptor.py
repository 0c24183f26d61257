"""How fast descriptors give features and gradients: ours, others', and the arithmetic that one core can do.

One core, the same crystals for all: test crystals of MP-20 with --data-dir, else the built-in prototypes. Rates are
crystals a second, medians over passes through them. Three kinds, since programs differ in what they offer:

    features             the vector alone
    features_gradient    the vector, and the gradient of one number made of it by all positions: what a search by
                         gradient descent needs; ours by back-propagation
    features_jacobian    the vector, and the derivatives of all its entries by all positions: what the others give,
                         from which a gradient follows; ours by central differences

"whole" counts from the positions, the search for neighbours included, as the others' rates do; "evaluation" from a
table of neighbours that is kept, as a search keeps it for many steps.

The arithmetic is counted from the formula of the embedded atom density: for each atom, neighbour, radial function,
angular monomial and weight one multiplication and one addition, and twice that for the gradient. Exponentials, cutoff
and pooling are not counted. Over time, it is given as a fraction of what the same core reaches in products of float32
matrices. A program that leaves out Gaussians which vanish is credited with them.

Others, looked for on PyPI under the names of the method and of its published programs (eann, reann, ead, and by text):
    dscribe      SOAP; its analytical derivatives do not take periodic crystals, so it differentiates numerically.
                 n_max 4, l_max 3, σ 0.5 Å, 6 Å, a channel for each element of the crystal.
    pyxtal-ff    an EAD in NumPy with all derivatives; one weight, Z; monomials with their lengths, so that its values
                 are not ours. It pins an old phonopy that its descriptor does not need: install it with
                 `pip install --no-deps --target DIR pyxtal-ff` and put DIR into PYTHONPATH.
    mdescriptor  the same EAD in C++, without derivatives; `pip install --no-deps --target DIR mdescriptor`.
EANN and REANN, the programs of the authors of the EAD, are not on PyPI. What is not installed is listed as skipped.

The last line on stdout is JSON. Example:
    python scripts/bench_descriptor.py --data-dir DIR --out benchmarks/descriptor.json
"""

import argparse
import importlib
import importlib.metadata
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

os.environ.update(
    OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1"
)  # before NumPy reads them

import numpy as np
import torch
from ase import Atoms

from descriptors.base import Descriptor, make_descriptor
from descriptors.batch import CrystalBatch
from descriptors.ead import EmbeddedAtomDensity
from descriptors.neighbors import find_neighborhood
from descriptors.representation import chunks_by_cost
from repdiff.crystals.crystal import Crystal, to_batch
from repdiff.crystals.niggli import niggli_reduced
from repdiff.datasets.load import load_dataset
from repdiff.degeneracy.sensitivity import position_jacobian
from repdiff.runs.provenance import record

MATRIX = 1024  # rows and columns of the matrices whose product is timed
OURS = ("ead", "ead:paper", "soap")
CUTOFF = 6.0  # Å, of the others; that of ead and soap
CENTERS = [0.5 + 5.5 * k / 7 for k in range(8)]  # Å, of the radial functions of ead
Result = dict[str, float | int | str | None]


def seconds_a_pass(work: Callable[[], object], budget: float) -> float:
    """Return the median time of a pass, over at least three and about `budget` seconds, after one to warm up."""
    work()
    times: list[float] = []
    while len(times) < 3 or sum(times) < budget:
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return median(times)


def matrix_product_rate(budget: float) -> float:
    """Return the float32 operations a second of one core in products of square matrices."""
    left, right = torch.rand(MATRIX, MATRIX), torch.rand(MATRIX, MATRIX)
    return 2 * MATRIX**3 / seconds_a_pass(lambda: left @ right, budget)


def choose_crystals(n: int, data_dir: Path | None, seed: int) -> tuple[str, list[Crystal]]:
    """Take random test crystals of MP-20, or prototypes, in their Niggli cells."""
    if data_dir is None:
        name, found = "prototypes", load_dataset("prototypes", data_dir=None, progress=False).crystals
    else:
        dataset = load_dataset("mp_20", data_dir=data_dir, limit=10 * n, seed=seed, progress=False)
        name, found = "mp_20", [crystal for crystal in dataset.crystals if crystal.split == "test"]
    rows = np.random.default_rng(seed).permutation(len(found))[:n]
    return name, [niggli_reduced(found[row]) for row in sorted(rows.tolist())]


def count_operations(descriptor: EmbeddedAtomDensity, batch: CrystalBatch) -> tuple[int, int]:
    """Count directed pairs of neighbours, and operations of one evaluation of all crystals, gradient not included."""
    n_pairs = n_operations = 0
    for block in descriptor.resolutions:
        present = int(find_neighborhood(batch, block.cutoff).present.sum())
        n_angular = sum((order + 1) * (order + 2) // 2 for order in block.orders)
        n_radial = len(block.etas) * len(block.centers)
        n_pairs += present
        n_operations += 2 * present * n_radial * n_angular * len(block.weights)
    return n_pairs, n_operations


def time_ours(spec: str, crystals: Sequence[Crystal], peak: float, budget: float) -> Result:
    """Time one of our descriptors, in float32 and in batches of bounded memory, as the search does."""
    descriptor = make_descriptor(spec)
    batch = to_batch(crystals, dtype=torch.float32)
    parts = [batch.select(torch.tensor(chunk)) for chunk in chunks_by_cost(batch, descriptor)]
    kept = [(part, find_neighborhood(part, descriptor.cutoff)) for part in parts]
    generator = torch.Generator().manual_seed(0)
    upstream = torch.randn(descriptor.n_features, generator=generator)

    def whole_features() -> None:
        with torch.no_grad():
            for part in parts:
                descriptor(part)

    def whole_gradient() -> None:
        for part in parts:
            frac = part.frac_coords.detach().requires_grad_()
            neighborhood = find_neighborhood(part, descriptor.cutoff)
            features = descriptor.evaluate(neighborhood, neighborhood.vectors(frac, part.lattice))
            torch.autograd.grad((features @ upstream).sum(), frac)

    def kept_features() -> None:
        with torch.no_grad():
            for part, neighborhood in kept:
                descriptor.evaluate(neighborhood, neighborhood.vectors(part.frac_coords, part.lattice))

    def kept_gradient() -> None:
        for part, neighborhood in kept:
            frac = part.frac_coords.detach().requires_grad_()
            features = descriptor.evaluate(neighborhood, neighborhood.vectors(frac, part.lattice))
            torch.autograd.grad((features @ upstream).sum(), frac)

    n = len(crystals)
    seconds = seconds_a_pass(kept_gradient, budget)
    result: Result = {
        "dtype": "float32",
        "n_features": descriptor.n_features,
        "whole_features": n / seconds_a_pass(whole_features, budget),
        "whole_features_gradient": n / seconds_a_pass(whole_gradient, budget),
        "evaluation_features": n / seconds_a_pass(kept_features, budget),
        "evaluation_features_gradient": n / seconds,
        "whole_features_jacobian": jacobians_a_second(descriptor, crystals, budget),
    }
    if isinstance(descriptor, EmbeddedAtomDensity):
        n_pairs, n_operations = count_operations(descriptor, batch)
        result |= {
            "n_pairs": n_pairs,
            "operations_features_gradient": 3 * n_operations,
            "gflops_features_gradient": 3 * n_operations / seconds / 1e9,
            "fraction_of_matrix_product": 3 * n_operations / seconds / peak,
        }
    return result


def jacobians_a_second(descriptor: Descriptor, crystals: Sequence[Crystal], budget: float) -> float | None:
    """Time all derivatives of the vector by the positions, in float64; None where the cutoff makes it take minutes."""
    if descriptor.cutoff > 2 * CUTOFF:
        return None
    batches = [to_batch([crystal]) for crystal in crystals]

    def work() -> None:
        with torch.no_grad():
            for batch in batches:
                position_jacobian(descriptor, batch)

    return len(crystals) / seconds_a_pass(work, budget)


def time_dscribe(crystals: Sequence[Atoms], budget: float) -> Result:
    """Time dscribe's SOAP, one crystal at a time."""
    from dscribe.descriptors import SOAP

    made = [
        SOAP(
            species=sorted(set(atoms.get_chemical_symbols())),
            r_cut=CUTOFF,
            n_max=4,
            l_max=3,
            sigma=0.5,
            periodic=True,
        )
        for atoms in crystals
    ]
    pairs = list(zip(made, crystals, strict=True))
    features = seconds_a_pass(lambda: [soap.create(atoms) for soap, atoms in pairs], budget)
    jacobian = seconds_a_pass(
        lambda: [soap.derivatives(atoms, method="numerical") for soap, atoms in pairs], budget
    )
    return {
        "version": importlib.metadata.version("dscribe"),
        "dtype": "float64",
        "whole_features": len(crystals) / features,
        "whole_features_jacobian": len(crystals) / jacobian,
    }


def time_pyxtal_ff(crystals: Sequence[Atoms], budget: float) -> Result:
    """Time PyXtal_FF's EAD at the radial functions and orders of ours, one crystal at a time."""
    ead = importlib.import_module("pyxtal_ff.descriptors.EAD").EAD
    torch.set_default_dtype(torch.float32)  # which importing it has changed
    parameters = {"L": 2, "eta": [0.25], "Rs": CENTERS}
    plain, with_derivatives = (ead(parameters, Rc=CUTOFF, derivative=flag) for flag in (False, True))
    features = seconds_a_pass(lambda: [plain.calculate(atoms) for atoms in crystals], budget)
    jacobian = seconds_a_pass(lambda: [with_derivatives.calculate(atoms) for atoms in crystals], budget)
    return {
        "version": importlib.metadata.version("pyxtal-ff"),
        "dtype": "float64",
        "whole_features": len(crystals) / features,
        "whole_features_jacobian": len(crystals) / jacobian,
    }


def time_mdescriptor(crystals: Sequence[Atoms], budget: float) -> Result:
    """Time MDescriptor's EAD at the radial functions and orders of ours, all crystals at once."""
    mdescriptor = importlib.import_module("mdescriptor")
    batch = mdescriptor.StructureBatch.from_ase(list(crystals))
    descriptor = mdescriptor.get_descriptor("EAD")(
        parameters={"L": 2, "eta": [0.25], "Rs": CENTERS},
        Rc=CUTOFF,
        execution=mdescriptor.ExecutionOptions(num_threads=1),
    )
    seconds = seconds_a_pass(lambda: descriptor.compute(batch), budget)
    return {
        "version": importlib.metadata.version("mdescriptor"),
        "dtype": "float64",
        "whole_features": len(crystals) / seconds,
    }


OTHERS: dict[str, Callable[[Sequence[Atoms], float], Result]] = {
    "dscribe": time_dscribe,
    "pyxtal_ff": time_pyxtal_ff,
    "mdescriptor": time_mdescriptor,
}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=64, help="crystals")
    parser.add_argument("--data-dir", type=Path, help="folder of the benchmark data sets")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each number, at least")
    parser.add_argument("--only", action="append", help=f"of {', '.join((*OURS, *OTHERS))}; may be repeated")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    wanted = arguments.only or [*OURS, *OTHERS]
    if strange := set(wanted) - {*OURS, *OTHERS}:
        parser.error(f"--only is {sorted(strange)[0]!r}, expected one of {', '.join((*OURS, *OTHERS))}")
    torch.set_num_threads(1)
    name, crystals = choose_crystals(arguments.n, arguments.data_dir, arguments.seed)
    structures = [
        Atoms(crystal.atomic_numbers, scaled_positions=crystal.frac_coords, cell=crystal.lattice, pbc=True)
        for crystal in crystals
    ]
    peak = matrix_product_rate(arguments.seconds)
    rates: dict[str, Result] = {}
    for spec in wanted:
        if spec in OURS:
            rates[spec] = time_ours(spec, crystals, peak, arguments.seconds)
        else:
            try:
                rates[spec] = OTHERS[spec](structures, arguments.seconds)
            except ImportError as error:
                rates[spec] = {"skipped": f"not installed: {error}"}
        print(spec, json.dumps(rates[spec]))
    result: dict[str, object] = {
        "dataset": name,
        "n_crystals": len(crystals),
        "n_atoms": sum(crystal.n_atoms for crystal in crystals),
        "seed": arguments.seed,
        "matrix_product_gflops": peak / 1e9,
        "crystals_a_second": rates,
    }
    if arguments.out:
        record(arguments.out, result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
