"""The acceptance checks of a descriptor; import them to test your own.

    from descriptors.testing import check_descriptor
    check_descriptor(MyDescriptor.from_preset("default"))

Each check holds a descriptor to what it declares (`invariant_to`, `depends_on`, `cutoff`, `stages`), never to
what it happens to do: a descriptor without a gradient that declares a dependence fails. All raise
AssertionError.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from descriptors import lattice as cells
from descriptors.base import ALL_INVARIANCES, Descriptor
from descriptors.batch import CrystalBatch, join
from descriptors.neighbors import Centres, find_neighborhood, find_pairs
from descriptors.symmetry.orbit_maps import orbit_maps
from descriptors.symmetry.protostructure import Protostructure

TOL = {torch.float64: {"rtol": 1e-7, "atol": 1e-8}, torch.float32: {"rtol": 1e-2, "atol": 1e-3}}
MIN_DISTANCE = 1.2  # Å, between atoms of the crystals made here
VOLUME_PER_ATOM = 25.0  # Å³
MAX_DRAWS = 1000
INPUTS = ("frac_coords", "lattice", "atomic_numbers")


def random_crystals(sizes: Sequence[int], *, generator: torch.Generator) -> CrystalBatch:
    """Make triclinic crystals of these numbers of atoms, float64, with no two atoms nearer than 1.2 Å.

    Raises:
        RuntimeError: If a size is so large (over about 20) that random positions always overlap.
    """
    batches = []
    for size in sizes:
        for _ in range(MAX_DRAWS):
            batch = _draw(size, generator)
            if len(find_pairs(batch, MIN_DISTANCE).shifts) == 0:
                break
        else:
            raise RuntimeError(f"no crystal of {size} atoms without overlap in {MAX_DRAWS} draws")
        batches.append(batch)
    return join(batches)


def _draw(size: int, generator: torch.Generator) -> CrystalBatch:
    noise = torch.rand(3, 3, generator=generator, dtype=torch.float64) - 0.5
    lattice = (torch.eye(3, dtype=torch.float64) + 0.8 * noise)[None]
    lattice = lattice * (VOLUME_PER_ATOM * size / cells.volume(lattice)) ** (1 / 3)
    return CrystalBatch(
        frac_coords=torch.rand(size, 3, generator=generator, dtype=torch.float64),
        lattice=lattice,
        atomic_numbers=torch.randint(1, 95, (size,), generator=generator),
        system_idx=torch.zeros(size, dtype=torch.long),
    )


def example_crystals() -> CrystalBatch:
    """Make the three small crystals, of one to three atoms, which the checks use unless told otherwise."""
    return random_crystals([1, 2, 3], generator=torch.Generator().manual_seed(0))


def _image(batch: CrystalBatch) -> CrystalBatch:
    steps = torch.tensor([[2, -1, 0], [0, 1, -3], [-1, 0, 1]], dtype=batch.dtype)
    return replace(batch, frac_coords=batch.frac_coords + steps[torch.arange(batch.n_atoms) % 3])


def _rotation(batch: CrystalBatch) -> CrystalBatch:
    turn = torch.tensor([[0.0, 0.3, -1.1], [-0.3, 0.0, 0.7], [1.1, -0.7, 0.0]], dtype=batch.dtype)
    return replace(batch, lattice=batch.lattice @ torch.linalg.matrix_exp(turn))


def _reflection(batch: CrystalBatch) -> CrystalBatch:
    normal = torch.tensor([[0.48, 0.6, 0.64]], dtype=batch.dtype)
    return replace(batch, lattice=batch.lattice @ (torch.eye(3, dtype=batch.dtype) - 2 * normal.T @ normal))


def _translation(batch: CrystalBatch) -> CrystalBatch:
    step = torch.tensor([0.137, 0.291, -0.413], dtype=batch.dtype)
    return replace(batch, frac_coords=batch.frac_coords + step)


def _permutation(batch: CrystalBatch) -> CrystalBatch:
    backwards = torch.arange(batch.n_atoms).flip(0)
    order = backwards[torch.argsort(batch.system_idx[backwards], stable=True)]
    return replace(batch, frac_coords=batch.frac_coords[order], atomic_numbers=batch.atomic_numbers[order])


def _supercell(batch: CrystalBatch) -> CrystalBatch:
    cell = torch.tensor([[2, 0, 0], [1, 1, 0], [0, 0, 1]], dtype=batch.dtype)
    along_a = torch.tensor([1, 0, 0], dtype=batch.dtype)
    system_idx, order = torch.sort(batch.system_idx.repeat(2), stable=True)
    return CrystalBatch(
        frac_coords=(torch.cat([batch.frac_coords, batch.frac_coords + along_a]) @ torch.linalg.inv(cell))[
            order
        ],
        lattice=cell @ batch.lattice,
        atomic_numbers=batch.atomic_numbers.repeat(2)[order],
        system_idx=system_idx,
    )


def _cell(batch: CrystalBatch) -> CrystalBatch:
    cell = torch.tensor([[1, 1, 0], [1, 0, 0], [-1, 0, 1]], dtype=batch.dtype)
    return replace(
        batch, frac_coords=batch.frac_coords @ torch.linalg.inv(cell), lattice=cell @ batch.lattice
    )


MOVES: dict[str, Callable[[CrystalBatch], CrystalBatch]] = {
    "image": _image,  # atoms moved by whole cells, each by others
    "rotation": _rotation,
    "reflection": _reflection,
    "translation": _translation,
    "permutation": _permutation,  # of the atoms of each crystal
    "supercell": _supercell,  # doubled, along a skew direction
    "cell": _cell,  # other vectors of the same lattice, of the other handedness
}


def _same(
    actual: Float[Tensor, "*shape"], expected: Float[Tensor, "*shape"], what: str, *, scale: float = 1.0
) -> None:
    tolerance = TOL[actual.dtype]
    torch.testing.assert_close(
        actual,
        expected,
        rtol=tolerance["rtol"],
        atol=tolerance["atol"] * scale,
        msg=lambda details: f"{what}: {details}",
    )


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)


def require_declared(thing: object, base: type) -> None:
    """Require that an object or class of a plugin has all attributes that its base names.

    Raises:
        AssertionError: If some are missing; the message names them.
    """
    missing = [name for name in base.__annotations__ if not hasattr(thing, name)]
    name = thing.__name__ if isinstance(thing, type) else type(thing).__name__
    _require(not missing, f"{name} does not set {', '.join(missing)}; {base.__name__} says what they are")


def check_declarations(descriptor: Descriptor, batch: CrystalBatch) -> None:
    """Check that what is declared has the right form, and that its lengths are those of the vector."""
    require_declared(descriptor, Descriptor)
    n_features = descriptor(batch).shape[1]
    _require(descriptor.n_features == n_features, f"n_features {descriptor.n_features}, got {n_features}")
    names = descriptor.feature_names()
    _require(len(names) == n_features, f"{len(names)} feature names for {n_features} features")
    _require(len(set(names)) == n_features, "two features have the same name")
    settings = descriptor.settings()
    _require(
        json.loads(json.dumps(settings, allow_nan=False)) == settings,
        "settings() changes when written as JSON and read back: are there tuples in it?",
    )
    _require(descriptor.invariant_to <= ALL_INVARIANCES, f"unknown move in {descriptor.invariant_to}")
    _require(descriptor.depends_on <= set(INPUTS), f"unknown input in {descriptor.depends_on}")
    _require(descriptor.cutoff > 0, f"cutoff is {descriptor.cutoff} Å")


def check_invariances(descriptor: Descriptor, batch: CrystalBatch) -> None:
    """Check that the declared moves leave the vector unchanged."""
    expected = descriptor(batch)
    for name in sorted(descriptor.invariant_to):
        _same(descriptor(MOVES[name](batch)), expected, f"not invariant to {name}")


def check_dependences(descriptor: Descriptor, batch: CrystalBatch) -> None:
    """Check that each crystal's vector changes with the declared inputs and with no other."""
    step = torch.linspace(0.01, 0.05, batch.n_atoms * 3, dtype=batch.dtype).reshape(-1, 3)
    changed = {
        "frac_coords": replace(batch, frac_coords=batch.frac_coords + step),
        "lattice": replace(batch, lattice=batch.lattice * 1.03),
        "atomic_numbers": replace(batch, atomic_numbers=batch.atomic_numbers.flip(0) % 90 + 2),
    }
    before = descriptor(batch)
    for name, other in changed.items():
        after = descriptor(other)
        if name in descriptor.depends_on:
            _require(not torch.allclose(after, before), f"does not change with {name}, though declared")
        else:
            _same(after, before, f"changes with {name}, not declared")


def check_gradients(descriptor: Descriptor, batch: CrystalBatch) -> None:
    """Check gradients by coordinates and by lattice against finite differences, in double precision."""
    scale = descriptor(batch).detach().abs().amax(0) + 1
    for name in ("frac_coords", "lattice"):
        if name not in descriptor.depends_on:
            continue

        def of(value: Tensor, name: str = name) -> Tensor:
            return descriptor(replace(batch, **{name: value})) / scale

        value = getattr(batch, name).detach().clone().requires_grad_()
        _require(of(value).requires_grad, f"no gradient by {name}, though declared")
        try:
            torch.autograd.gradcheck(of, value, fast_mode=True, atol=1e-5, rtol=1e-3)
        except RuntimeError as error:
            raise AssertionError(f"wrong gradient by {name}: {error}") from error


def check_smooth_at_cutoff(descriptor: Descriptor, batch: CrystalBatch) -> None:
    """Check that value and slope are continuous when an atom crosses the cutoff of another.

    Beside the crossing atom there are two at other distances, since a square of one vanishing term would hide
    a kink. A jump stays when the step across the cutoff is made ten times smaller; a smooth change does not.
    """
    where = torch.tensor([[0, 0, 0], [0.32, 0.4, 0.23], [-0.4, 0.68, -0.2], [0.8, 0, 0.6]], dtype=batch.dtype)
    numbers = batch.atomic_numbers[torch.arange(4) % batch.n_atoms]
    jumps = []
    for step in (1e-4, 1e-5):
        crystals = []
        for share in (1 - 2 * step, 1 - step, 1 + step, 1 + 2 * step):
            stretched = torch.cat([where[:3], where[3:] * share])
            cell = 3 * descriptor.cutoff * torch.eye(3, dtype=batch.dtype)
            crystals.append(
                CrystalBatch(
                    frac_coords=stretched / 3,
                    lattice=cell[None],
                    atomic_numbers=numbers,
                    system_idx=torch.zeros(4, dtype=torch.long),
                )
            )
        inner, inside, outside, outer = descriptor(join(crystals))
        jumps.append((inside - outside, (inside - inner - outer + outside) / step))
        noise = 1e-9 * (inside.abs() + 1)
    for what, wide, narrow in zip(("value", "slope"), *jumps, strict=True):
        bad = narrow.abs() > 0.3 * wide.abs() + noise
        _require(not bool(bad.any()), f"{what} jumps at the cutoff in {int(bad.sum())} features")


def check_batch_equals_loop(descriptor: Descriptor, batch: CrystalBatch) -> None:
    """Check that a crystal has the same vector alone and in company."""
    loop = [descriptor(batch.select(torch.tensor([system]))) for system in range(batch.n_systems)]
    _same(descriptor(batch), torch.cat(loop), "a batch differs from a loop")


def check_gradient_confined(descriptor: Descriptor, batch: CrystalBatch) -> None:
    """Check that the vector of a crystal has a gradient in its own atoms and cell, and in no other."""
    if not {"frac_coords", "lattice"} & descriptor.depends_on:
        return
    frac_coords = batch.frac_coords.detach().clone().requires_grad_()
    lattice = batch.lattice.detach().clone().requires_grad_()
    features = descriptor(replace(batch, frac_coords=frac_coords, lattice=lattice))
    for system in range(batch.n_systems):
        by_atom, by_cell = torch.autograd.grad(
            features[system].sum(), (frac_coords, lattice), retain_graph=True, materialize_grads=True
        )
        other_atoms, other_cells = batch.system_idx != system, torch.arange(batch.n_systems) != system
        leaks = bool(by_atom[other_atoms].any()) or bool(by_cell[other_cells].any())
        _require(not leaks, f"the vector of crystal {system} has a gradient in another crystal")
        if "lattice" in descriptor.depends_on:
            _require(bool(by_cell[system].any()), f"crystal {system} has no gradient in its own cell")


def check_finite(descriptor: Descriptor, batch: CrystalBatch) -> None:
    """Check that lone atoms, one-atom cells and coincident atoms give finite values and gradients."""
    far = 3 * descriptor.cutoff * torch.eye(3, dtype=batch.dtype)
    one, two = torch.zeros(1, 3, dtype=batch.dtype), torch.zeros(2, 3, dtype=batch.dtype)
    apart = torch.tensor([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]], dtype=batch.dtype)
    cases = {
        "a lone atom": (one, far),
        "two atoms out of sight of each other": (apart, far),
        "a cell of one atom": (one, far / far[0, 0] * 2.5),
        "two atoms at one place": (two, far / far[0, 0] * 4),
    }
    for what, (frac_coords, cell) in cases.items():
        crystal = CrystalBatch(
            frac_coords=frac_coords.clone().requires_grad_(),
            lattice=cell[None].clone().requires_grad_(),
            atomic_numbers=batch.atomic_numbers[:1].repeat(len(frac_coords)),
            system_idx=torch.zeros(len(frac_coords), dtype=torch.long),
        )
        for case in (crystal, join([crystal, batch])):
            features = descriptor(case)
            _require(bool(torch.isfinite(features).all()), f"not finite for {what}")
            if features.requires_grad:
                inputs = (crystal.frac_coords, crystal.lattice)
                gradients = torch.autograd.grad(features.sum(), inputs, materialize_grads=True)
                finite = all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
                _require(finite, f"the gradient is not finite for {what}")


def check_layout_and_type(descriptor: Descriptor, batch: CrystalBatch) -> None:
    """Check that strided input changes nothing, and single precision little."""
    expected = descriptor(batch)
    _require(expected.dtype == batch.dtype, f"a {batch.dtype} batch gives {expected.dtype}")
    strided = replace(
        batch,
        frac_coords=batch.frac_coords.T.contiguous().T,
        lattice=batch.lattice.repeat_interleave(2, dim=2)[..., ::2],
        atomic_numbers=batch.atomic_numbers.repeat_interleave(3)[::3],
    )
    _same(descriptor(strided), expected, "strided input changes the vector")
    single = descriptor(batch.to(dtype=torch.float32))
    _require(single.dtype == torch.float32, f"a float32 batch gives {single.dtype}")
    _same(single, expected.to(single.dtype), "single precision", scale=float(expected.abs().mean()))


def check_skin(descriptor: Descriptor, batch: CrystalBatch) -> None:
    """Check that neighbours beyond the cutoff do not count, and that a margin outlives small moves."""
    margin = 0.5
    table = find_neighborhood(batch, descriptor.cutoff + margin)
    far = descriptor.evaluate(table, table.vectors(batch.frac_coords, batch.lattice))
    _same(far, descriptor(batch), "neighbours beyond the cutoff change the vector")
    step = 0.49 * margin * torch.tensor([[0.48, 0.6, 0.64], [-0.8, 0.0, 0.6]], dtype=batch.dtype)
    cart_coords = batch.cart_coords + step[torch.arange(batch.n_atoms) % 2]
    moved = replace(batch, frac_coords=cells.cart_to_frac(cart_coords, batch.lattice, batch.system_idx))
    kept = descriptor.evaluate(table, table.vectors(moved.frac_coords, batch.lattice))
    _same(kept, descriptor(moved), "a table with a margin misses neighbours of moved atoms")


def check_stages(descriptor: Descriptor, batch: CrystalBatch) -> None:
    """Check that the stages make up the vector, in order, and that the first ones can be had alone."""
    table = find_neighborhood(batch, descriptor.cutoff)
    vectors, expected = table.vectors(batch.frac_coords, batch.lattice), descriptor(batch)
    end = 0
    for n_stages, stage in enumerate(descriptor.stages, start=1):
        _require(stage.start == end < stage.stop, f"stage {n_stages} is {stage}, expected to start at {end}")
        end = stage.stop
        leading = descriptor.evaluate(table, vectors, n_stages=n_stages)
        _require(leading.shape[1] == end, f"{n_stages} stages have {leading.shape[1]} features, not {end}")
        _same(leading, expected[:, :end], f"the first {n_stages} stages alone differ from the whole")
    _require(end == descriptor.n_features, f"the stages end at {end} of {descriptor.n_features} features")


def check_centres(descriptor: Descriptor, batch: CrystalBatch) -> None:
    """Check that one atom of each orbit gives what all atoms give, in rutile and perovskite of elements of the batch.

    Inversion under a given symmetry asks for that. A descriptor that tells atoms of one orbit apart is not asked.
    """
    if not {"image", "rotation", "reflection", "translation", "permutation"} <= descriptor.invariant_to:
        return
    first, last = (int(batch.atomic_numbers[place]) for place in (0, -1))
    rutile = Protostructure.of(136, [(first, "a"), (last, "f")])
    perovskite = Protostructure.of(221, [(first, "a"), (first, "b"), (last, "c")])
    maps = orbit_maps([rutile, perovskite], dtype=batch.dtype)
    lengths = torch.tensor([[4.6, 3.0, 0, 0, 0, 0], [4.0, 0, 0, 0, 0, 0]], dtype=batch.dtype)  # Å
    crystals = maps.crystals(torch.tensor([0.3], dtype=batch.dtype), lengths)
    centres = Centres(atoms=maps.representative, multiplicity=maps.multiplicity)
    table = find_neighborhood(crystals, descriptor.cutoff, centres=centres)
    try:
        found = descriptor.evaluate(table, table.vectors(crystals.frac_coords, crystals.lattice))
    except (RuntimeError, IndexError) as error:
        raise AssertionError(f"evaluate fails where not every atom is a centre: {error}") from error
    _same(found, descriptor(crystals), "one atom of each orbit differs from all atoms")


CHECKS: dict[str, Callable[[Descriptor, CrystalBatch], None]] = {
    "declarations": check_declarations,
    "invariances": check_invariances,
    "dependences": check_dependences,
    "gradients": check_gradients,
    "smooth at the cutoff": check_smooth_at_cutoff,
    "batch equals loop": check_batch_equals_loop,
    "gradient confined": check_gradient_confined,
    "finite": check_finite,
    "layout and type": check_layout_and_type,
    "skin": check_skin,
    "stages": check_stages,
    "centres": check_centres,
}


def check_descriptor(descriptor: Descriptor, batch: CrystalBatch | None = None) -> None:
    """Run all checks.

    Args:
        descriptor: Descriptor to test, built from its settings.
        batch: Crystals in general position, float64, several with more than one atom; by default three.

    Raises:
        AssertionError: At the first check that fails.
    """
    for check in CHECKS.values():
        check(descriptor, batch if batch is not None else example_crystals())
