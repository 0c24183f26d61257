from dataclasses import replace
from itertools import cycle
from pathlib import Path

import pytest
import torch

from descriptors.symmetry.labels import write_label
from descriptors.symmetry.protostructure import Protostructure
from descriptors.symmetry.settings import canonical
from reconstruction.presets import SEARCHES
from repdiff.backends.structrepdiff import StructRepDiff
from repdiff.crystals.crystal import write_crystals
from repdiff.errors import UserError
from repdiff.networks.protostructure.prototypes import Prototype
from repdiff.representations.inversion import invert
from repdiff.representations.shards import read_generated, write_shard
from repdiff.symmetry.columns import PROTOSTRUCTURE
from repdiff.testing.backend import Trial, small_set

CPU = torch.device("cpu")
SMALL = {
    "denoiser_options": {"width": 16, "n_blocks": 1},
    "protostructure_options": {"width": 16, "n_blocks": 1},
    "encoder_width": 8,
    "timesteps": 20,
}
STRANGE = Protostructure.of(136, [(20, "a"), (8, "f")])  # a prototype that no training crystal has
NEW = Protostructure.of(221, [(56, "a"), (22, "b"), (17, "c")])  # elements that none has together


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    folder = tmp_path_factory.mktemp("structrepdiff")
    trial = Trial(name="structrepdiff", folder=folder, options=SMALL, encoded=small_set())
    found = trial.load()
    assert isinstance(found, StructRepDiff)
    return found


def made_of(backend, wanted, **options):
    made = backend.sample(len(wanted), protostructures=wanted, steps=5, options=options)
    return made.representations


def test_the_model_file_holds_the_training_crystals(backend):
    training = [crystal.id for crystal in small_set().crystals if crystal.split == "train"]
    assert list(backend.model.library.names) == training


def test_vectors_are_drawn_towards_templates_and_say_which(backend):
    library = backend.model.library
    known = library.known.protostructures[0]
    drawn = made_of(backend, [known, STRANGE, NEW])
    plain = made_of(backend, [known, STRANGE, NEW], templates=False)
    assert plain.templates is None
    assert drawn.templates[0] == library.names[0]
    assert drawn.templates[1] is None
    assert drawn.templates[2] in library.names
    torch.testing.assert_close(drawn.vectors[1], plain.vectors[1])
    assert not torch.allclose(drawn.vectors[2], plain.vectors[2])
    torch.testing.assert_close(drawn.symmetry.cells[0], library.known.cells[0], rtol=1e-4, atol=1e-4)
    assert bool(drawn.symmetry.free[1].isnan().all())


def test_templates_go_through_files_and_parts(backend, tmp_path):
    drawn = made_of(backend, [STRANGE, NEW])
    for number, rows in enumerate((slice(0, 1), slice(1, 2))):
        part = replace(
            drawn,
            vectors=drawn.vectors[rows],
            symmetry=drawn.symmetry.rows(range(2)[rows]),
            templates=drawn.templates[rows],
        )
        write_shard(tmp_path, number, part)
    again = read_generated(tmp_path)
    assert again.templates == drawn.templates
    torch.testing.assert_close(again.symmetry.free, drawn.symmetry.free, equal_nan=True)
    assert again.first(1).templates == (None,)


def test_crystals_found_say_that_they_came_from_a_template(backend, tmp_path):
    drawn = made_of(backend, [STRANGE, NEW])
    search = replace(SEARCHES["fast"], n_rounds=1)
    found = invert(
        drawn, search=search, exact=False, seed=0, device=CPU, n_workers=1, folder=tmp_path, progress=False
    )
    strange, new = found.crystals.crystals
    assert (strange.labels["start"], strange.labels["template"]) == ("random", None)
    assert (new.labels["start"], new.labels["template"]) == ("template", drawn.templates[1])


def test_new_protostructures_are_new_in_every_setting(backend):
    known = {canonical(one) for one in backend.model.library.known.protostructures}
    plain = backend.sample(60, steps=2).representations
    new = backend.sample(60, steps=2, options={"new_only": True}).representations
    drawn = [one for one in new.symmetry.protostructures if one is not None]
    assert any(canonical(one) in known for one in plain.symmetry.protostructures if one is not None)
    assert drawn
    assert not any(canonical(one) in known for one in drawn)


def test_protostructures_can_be_new_to_any_encoded_crystals(backend, tmp_path):
    """Those that the model has drawn are written as an encoded set, and come never again; the draws say so."""
    first = backend.sample(40, steps=2).representations.symmetry.protostructures
    drawn = [one for one in first if one is not None]
    crystals = [
        crystal.replace(id=str(place), labels={PROTOSTRUCTURE: write_label(one)}, split="test")
        for place, (one, crystal) in enumerate(zip(drawn, cycle(small_set().crystals), strict=False))
    ]
    write_crystals(tmp_path / "crystals.parquet", crystals)
    again = backend.sample(40, steps=2, options={"new_to": tmp_path})
    found = [one for one in again.representations.symmetry.protostructures if one is not None]
    known = {canonical(one) for one in drawn}
    assert found
    assert not any(canonical(one) in known for one in found)
    assert {one.protostructure for one in again.draws if one.outcome == "known"} <= {
        write_label(one) for one in known
    }
    assert any(one.outcome == "known" for one in again.draws)


def test_what_cannot_be_new_to_is_refused(backend, tmp_path):
    with pytest.raises(
        UserError, match=r"holds no crystals\.parquet, expected an output of `repdiff encode`"
    ):
        backend.check(options={"new_to": tmp_path / "nothing"})
    write_crystals(
        tmp_path / "crystals.parquet", [one.replace(labels={}) for one in small_set().crystals[:2]]
    )
    with pytest.raises(UserError, match="encoded without protostructures"):
        backend.check(options={"new_to": tmp_path})


def test_prototypes_of_the_training_set_come_as_often_as_asked(backend):
    known = {Prototype.of(one) for one in backend.model.library.known.protostructures}

    def known_share(**options) -> float:
        made = backend.sample(80, steps=2, options={"temperature": 2.0, **options}).representations
        drawn = [one for one in made.symmetry.protostructures if one is not None]
        return sum(Prototype.of(one) in known for one in drawn) / len(drawn)

    never, usually, always = (known_share(prototype_share=share) for share in (0.0, 0.75, 1.0))
    assert never < usually < always == 1
    assert known_share() == usually


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"new_only": True}, "train one with `compositions` 'protostructure'"),
        ({"prototype_share": 0.75}, "`prototype_share` is given, which a model needs protostructures for"),
        ({"new_to": Path("known")}, "`new_to` is given, which a model needs protostructures for"),
    ],
)
def test_a_model_without_protostructures_knows_no_new_ones_and_no_prototypes(tmp_path, option, message):
    trial = Trial(
        name="structrepdiff",
        folder=tmp_path,
        options={"compositions": "joint", "denoiser_options": SMALL["denoiser_options"]},
        encoded=small_set(),
    )
    with pytest.raises(UserError, match=message):
        trial.load().check(options=option)


def test_the_likeliest_protostructures_of_a_formula_obey_and_may_be_new_ones_alone(backend):
    known = backend.model.library.known.protostructures[0]
    formula = known.composition()
    found = backend.likeliest(formula, 50, conditions={"formula_units": "1-2"})
    assert canonical(known) in map(canonical, found)
    assert len(found) == len(set(map(canonical, found)))
    for one in found:
        assert one.composition() in (formula, {element: 2 * n for element, n in formula.items()})
    assert backend.likeliest(formula, 1, conditions={"formula_units": "1-2"}) == found[:1]
    new = backend.likeliest(formula, 50, options={"new_only": True})
    assert canonical(known) not in map(canonical, new)
    in_group = backend.likeliest(formula, 50, conditions={"space_group": known.number})
    assert {one.number for one in in_group} == {known.number}
    made = made_of(backend, found)
    assert [canonical(one) for one in made.symmetry.protostructures] == [canonical(one) for one in found]
