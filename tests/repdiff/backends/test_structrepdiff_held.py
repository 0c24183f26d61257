"""Held parts of the vectors of StructRepDiff stay as they are, and the rest is drawn, by any kind of its models."""

import numpy as np
import pytest
import torch
from known_crystals import perovskite, rocksalt
from pymatgen.core import Structure

from descriptors.symmetry.protostructure import Protostructure
from repdiff.backends import BACKENDS
from repdiff.backends.held_sources import held_conditions
from repdiff.backends.structrepdiff import StructRepDiff
from repdiff.crystals.crystal import from_structure
from repdiff.errors import UserError
from repdiff.testing.backend import Trial, small_set

CPU = torch.device("cpu")
SMALL = {"denoiser_options": {"width": 16, "n_blocks": 1}, "timesteps": 20}
FIRST = {"protostructure_options": {"width": 16, "n_blocks": 1}, "encoder_width": 8}
HOW = {"steps": 4, "options": {"resamplings": 2}}
SALT = from_structure(rocksalt(), id="salt")
OXIDE = from_structure(perovskite(), id="oxide")
SODIUM_CHLORIDE = Protostructure.of(225, [(11, "a"), (17, "b")])


def trained(tmp_path_factory, **options):
    folder = tmp_path_factory.mktemp("held")
    found = Trial(
        name="structrepdiff", folder=folder, options={**SMALL, **options}, encoded=small_set()
    ).load()
    assert isinstance(found, StructRepDiff)
    return found


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    return trained(tmp_path_factory, **FIRST)


@pytest.fixture(scope="module")
def joint(tmp_path_factory):
    return trained(tmp_path_factory, compositions="joint")


@pytest.fixture(scope="module")
def of_formulas(tmp_path_factory, _tiny_composition_model):
    return trained(tmp_path_factory, compositions="first")


def made(model, n, hold, **more):
    how = {**HOW, **more}
    conditions = held_conditions(hold)
    given = {name: value for name, value in how.items() if name in ("compositions", "protostructures")}
    model.check(conditions=conditions, options=how["options"], **given)
    return model.sample(n, conditions=conditions, **how).representations


def present(batch):
    rows = [row for row, one in enumerate(batch.symmetry.protostructures) if one is not None]
    return batch.rows(rows)


def per_atom(batch):
    from descriptors import lattice as cells

    blocks = batch.layout.representation().blocks
    volumes = cells.volume(cells.from_parameters(batch.vectors[:, blocks["lattice"]].double()))
    return (volumes / batch.vectors[:, blocks["n_atoms"]][:, 0]).tolist()


def test_a_held_volume_is_that_of_every_vector(backend):
    found = present(made(backend, 12, {"volume": 19.5}))
    assert len(found) > 6
    assert per_atom(found) == pytest.approx([19.5] * len(found), rel=1e-4)
    free = present(backend.sample(12, steps=4).representations)
    assert np.std(per_atom(free)) > 0.5


def test_a_held_cell_is_that_of_every_vector_and_protostructures_are_of_its_system(backend):
    found = present(made(backend, 8, {"cell": SALT}))
    assert len(found) > 3
    edge = 2 * (1.02 + 1.81)
    for row, one in enumerate(found.symmetry.protostructures):
        assert one.group.crystal_system == "cubic"
        assert float(found.symmetry.cells[row, 0]) == pytest.approx(edge, rel=1e-4)


def test_a_held_shape_leaves_the_volume_free(backend):
    found = present(made(backend, 8, {"shape": SALT}))
    assert {one.group.crystal_system for one in found.symmetry.protostructures} == {"cubic"}
    assert np.std(per_atom(found)) > 0.1


@pytest.mark.parametrize("share", ["1/2", "0.2", 0])
def test_a_held_share_is_that_of_every_protostructure(backend, share):
    found = made(backend, 40, {"composition.O": share})
    drawn = [one for one in found.symmetry.protostructures if one is not None]
    assert len(drawn) > 30 or share == "0.2"  # no training crystal has such a share
    value = {"1/2": 0.5, "0.2": 0.2, 0: 0.0}[share]
    for one in drawn:
        counts = one.composition()
        assert counts.get(8, 0) / sum(counts.values()) == pytest.approx(value, abs=0.005)


def test_several_parts_are_held_at_once(backend):
    found = present(made(backend, 20, {"composition.O": 0.6, "min_distance": 2.0, "volume": "12±1"}))
    assert len(found)
    assert found.vectors[:, found.layout.representation().blocks["min_distance"]].tolist() == [[2.0]] * len(
        found
    )
    assert per_atom(found) == pytest.approx([12] * len(found), rel=1e-4)
    assert all(one.composition().get(8) == 3 for one in found.symmetry.protostructures)


@pytest.mark.parametrize("part", ["descriptor", "descriptor[0:100]", "descriptor.mean/l:0"])
def test_a_held_descriptor_is_that_of_the_crystal(backend, joint, part):
    encoded = small_set()
    crystal = encoded.crystals[0]
    columns = {
        "descriptor": list(range(648)),
        "descriptor[0:100]": list(range(100)),
        "descriptor.mean/l:0": [
            place
            for place, name in enumerate(encoded.layout.representation().descriptor.feature_names())
            if {"mean", "l=0"} <= set(name.split("|"))
        ],
    }[part]
    own = encoded.representations[0, columns]
    free = [place for place in range(648) if place not in columns]
    for model, more in ((backend, {"protostructures": [SODIUM_CHLORIDE] * 3}), (joint, {})):
        found = made(model, 3, {part: crystal}, **more).vectors
        torch.testing.assert_close(found[:, columns], own.expand(3, -1), rtol=1e-4, atol=1e-5)
        if free:
            assert float(found[:, free].std(0).max()) > 0


def test_a_joint_model_holds_any_block_and_single_entries(joint):
    blocks = joint.model.layout.representation().blocks
    cell = made(joint, 3, {"cell": OXIDE}).vectors[:, blocks["lattice"]]
    edge = 2 * (0.605 + 1.40)
    torch.testing.assert_close(cell, torch.tensor([[edge] * 3 + [90.0] * 3]).expand(3, -1))
    one = made(joint, 3, {"lattice.b": 5.5, "composition.Na": "1/4", "n_atoms": 4}).vectors
    assert one[:, blocks["lattice"]][:, 1].tolist() == [5.5] * 3
    column = blocks["composition"].start + joint.model.layout.elements.index(11)
    assert one[:, column].tolist() == [0.25] * 3
    assert one[:, blocks["n_atoms"]].tolist() == [[4.0]] * 3
    formula = made(joint, 2, {"composition": SALT}).vectors[:, blocks["composition"]]
    assert formula[0].nonzero()[:, 0].tolist() == [joint.model.layout.elements.index(z) for z in (11, 17)]
    assert torch.equal(formula, made(joint, 2, {"composition": "Na2Cl2"}).vectors[:, blocks["composition"]])


def test_a_model_of_formulas_holds_the_cell_beside_a_composition(of_formulas):
    blocks = of_formulas.model.layout.representation().blocks
    found = made(of_formulas, 2, {"lattice.a": 4.4}, compositions=[{11: 1, 17: 1}] * 2).vectors
    assert found[:, blocks["lattice"].start].tolist() == pytest.approx([4.4] * 2)
    assert found[:, blocks["n_atoms"]].tolist() == [[2.0]] * 2
    with pytest.raises(
        UserError, match=r"`hold` gives composition\.Na, which this model of formulas draws first"
    ):
        made(of_formulas, 2, {"composition.Na": 0.5})


def test_a_sample_is_the_same_in_any_company(backend, joint):
    for model, hold in ((backend, {"volume": 20, "composition.O": 0}), (joint, {"lattice.a": 4.0})):
        conditions = held_conditions(hold)
        whole = model.sample(6, conditions=conditions, **HOW).representations.vectors
        later = model.sample(3, first=3, conditions=conditions, **HOW).representations.vectors
        torch.testing.assert_close(later, whole[3:], equal_nan=True, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize(
    ("hold", "message"),
    [
        ({"volum": 12}, "unknown part to hold 'volum'.*Did you mean 'volume'"),
        ({"composition.Xx": 0.2}, "composition.Xx, expected the symbol of an element"),
        ({"composition.Pu": 0.2}, "composition.Pu, expected elements of the training data: "),
        ({"composition.O": 1.2}, "composition.O=1.2, expected a share from 0 to 1"),
        ({"composition.O": 0.6, "composition.Na": 0.7}, "expected shares of at most 1 together"),
        ({"volume": -3}, "volume=-3, expected a positive number"),
        ({"volume": True}, "volume=True, expected a number"),
        ({"volume": 12, "cell": SALT}, "gives cell and volume, which have entries in common"),
        ({"cell": 4.1}, "cell=4.1, expected a crystal: a file"),
        ({"lattice.a": 4.1}, "single lengths and angles are no entries .* ask for it by `lattice`"),
        ({"lattice.q": 4.1}, "expected lattice. and one of a, b, c"),
        ({"composition": SALT}, "draws with the protostructure: ask for `composition`"),
        ({"n_atoms": 4}, "draws with the protostructure: ask for `n_atoms`"),
        ({"descriptor[5:5000]": SALT}, r"expected a range within \[0:648\]"),
        ({"descriptor.l:9": SALT}, "no entry of the descriptor ead is: expected a range"),
        ({"descriptor": SALT, "descriptor[0:3]": SALT}, "which have entries in common"),
        ({"descriptor": from_structure(Structure(np.eye(3) * 4, ["Pu"], [[0, 0, 0]]), id="x")}, "with Pu, expected"),
        ({"cell.a": 4}, "gives cell.a, expected cell alone"),
        ({"cell": "nowhere.cif"}, "cell=nowhere.cif, which is neither a number nor a file that is there"),
        ({"volume": "abc"}, "volume=abc, which is neither a number nor a file that is there"),
        ({"cell": [rocksalt(), perovskite()]}, "holds 2 crystals, expected one"),
    ],
)  # fmt: skip
def test_what_cannot_be_held_is_refused_in_one_line(backend, hold, message):
    with pytest.raises(UserError, match=message) as told:
        made(backend, 2, hold)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("hold", "conditions", "message"),
    [
        ({"cell": SALT}, {"crystal_system": "tetragonal"}, "cell of a cubic crystal, and no space group"),
        ({"shape": SALT}, {"space_group": 62}, "shape of a cubic crystal"),
        ({"composition.O": 0.5}, {"elements_excluded": "O"}, "which `elements_excluded` O rules out"),
        ({"composition.O": 0.5}, {"chemical_system": "Na-Cl"}, "which `chemical_system` Cl-Na rules out"),
        ({"volume": 12}, {"volume_per_atom": "20-30"}, "volume, which volume_per_atom 20..30 rules out"),
        ({"cell": SALT}, {"lattice_a": "8-9"}, "cell, which lattice_a 8..9 rules out"),
    ],
)
def test_contradictions_are_refused(backend, hold, conditions, message):
    from repdiff.backends.asked_of_backend import read_asked

    asked = read_asked(backend, "structrepdiff", {**held_conditions(hold), **conditions}, None)
    with pytest.raises(UserError, match=message):
        asked.check()


def test_held_parts_beside_what_decides_them_are_refused(backend):
    with pytest.raises(UserError, match=r"composition\.O beside a composition, which decides it"):
        made(backend, 1, {"composition.O": 0.6}, compositions=[{38: 1, 22: 1, 8: 3}])
    with pytest.raises(UserError, match="beside a protostructure, which decides it"):
        made(backend, 1, {"composition.Na": 0.5}, protostructures=[SODIUM_CHLORIDE])
    hexagonal = Structure(
        [[3, 0, 0], [-1.5, 3 * 3**0.5 / 2, 0], [0, 0, 5]],
        ["Mg", "Mg"],
        [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]],
    )
    with pytest.raises(UserError, match="cell of a hexagonal crystal, and the protostructure"):
        made(backend, 1, {"cell": hexagonal}, protostructures=[SODIUM_CHLORIDE])


def test_samplers_that_cannot_hold_are_refused(backend):
    with pytest.raises(UserError, match="`sampler` is 'ddim', which cannot hold parts of vectors"):
        backend.check(conditions=held_conditions({"volume": 20}), options={"sampler": "ddim"})


@pytest.mark.parametrize("name", [name for name in sorted(BACKENDS) if not BACKENDS[name].holds])
def test_systems_without_vectors_refuse_with_the_reason(name):
    from repdiff.backends.refusals import refuse_conditions

    with pytest.raises(
        UserError, match=f"the backend {name} draws no vectors, .* use a model of structrepdiff"
    ):
        refuse_conditions(name, held_conditions({"volume": 20}), None)


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_variations_hold_parts_of_their_parents(backend, joint, strength):
    parents = [SALT, from_structure(rocksalt("K", "Br"), id="other")]
    for model, part, block in (
        (backend, "cell", "lattice"),
        (joint, "cell", "lattice"),
        (joint, "composition", ""),
    ):
        model.check_variation(parents, strength=strength, hold=[part], **HOW)
        found = model.vary(parents, [0, 1], strength=strength, hold=[part], **HOW).representations
        blocks = model.model.layout.representation().blocks
        if block:
            edges = [float(np.linalg.norm(parent.lattice[0])) for parent in parents]
            assert found.vectors[:, blocks[block].start].tolist() == pytest.approx(edges, rel=1e-4)
        else:
            shares = found.vectors[:, blocks["composition"]]
            assert shares.max(1).values.tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("hold", "more", "message"),
    [
        (["volum"], {}, "Did you mean 'volume'"),
        (["cell"], {"keep": "nothing"}, "`keep` is nothing, which changes the space group"),
        (["composition.O"], {}, "which the protostructure decides: give `keep` composition"),
        (["cell", "volume"], {}, "gives volume and cell, which have entries in common"),
        (["cell"], {"options": {"sampler": "dpm"}}, "`sampler` is 'dpm'"),
    ],
)
def test_variations_refuse_what_they_cannot_hold(backend, hold, more, message):
    with pytest.raises(UserError, match=message):
        backend.check_variation([SALT], strength=0.5, hold=hold, **more)


def test_the_volume_that_is_held_may_be_unlearnt_and_is_said_to_be(backend, caplog):
    conditions = held_conditions({"volume": 400})
    with caplog.at_level("WARNING"):
        backend.sample(1, conditions=conditions, protostructures=[SODIUM_CHLORIDE], **HOW)
    assert "the volume that is held is outside of what the model has learnt for 1 of 1" in caplog.text
    drawn = backend.draw(4, conditions=conditions)
    assert drawn == [None] * 4
