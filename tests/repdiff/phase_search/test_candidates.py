"""Candidates: the likeliest protostructures of each formula first, the rest drawn, each once, and resumable."""

import pytest

from descriptors.symmetry.labels import write_label
from descriptors.symmetry.settings import canonical
from repdiff.crystals.formula import reduced_formula
from repdiff.errors import UserError
from repdiff.phase_search.candidates import Drawing, draw_candidates
from repdiff.phase_search.enumerate import name_of
from repdiff.testing.backend import Trial, small_set

SMALL = {
    "denoiser_options": {"width": 16, "n_blocks": 1},
    "protostructure_options": {"width": 16, "n_blocks": 1},
    "encoder_width": 8,
    "timesteps": 20,
}


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    folder = tmp_path_factory.mktemp("structrepdiff")
    return Trial(name="structrepdiff", folder=folder, options=SMALL, encoded=small_set()).load()


@pytest.fixture(scope="module")
def formulas(backend):
    known = backend.model.library.known.protostructures
    found = dict.fromkeys(reduced_formula(one.composition()) for one in known)
    return sorted(found, key=lambda one: -len(likeliest(backend, one, 9)))[:3]


def drawing(backend, **changes):
    facts = {"formula_units": "1-4", "max_atoms": 20, "seed": 0, "steps": 2}
    return Drawing(backend=backend, **(facts | changes))


def likeliest(backend, formula, n):
    own = {"formula_units": "1-4", "n_atoms": "1-20"}
    return [write_label(canonical(one)) for one in backend.likeliest(dict(formula), n, conditions=own)]


def test_a_share_of_the_candidates_is_the_likeliest_and_they_come_first(backend, formulas, tmp_path):
    shares = dict.fromkeys(formulas, 4)
    found = draw_candidates(drawing(backend, likeliest_share=0.5), shares, tmp_path)
    assert len(set(found.protostructures.values())) == len(found) <= 12
    assert found.names[:3] == [f"{name_of(dict(formula))}-000" for formula in formulas]
    for formula in formulas:
        own = [
            found.protostructures[name]
            for name in found.names
            if name.startswith(f"{name_of(dict(formula))}-0")
        ]
        named = likeliest(backend, formula, 2)
        assert named
        assert own[: len(named)] == named
        assert len(own) <= 4


def test_where_all_are_to_be_drawn_none_is_named(backend, formulas, tmp_path, monkeypatch):
    shares = dict.fromkeys(formulas, 3)
    named = draw_candidates(drawing(backend, likeliest_share=1.0), shares, tmp_path / "named")
    for formula in formulas:
        own = [
            label
            for name, label in named.protostructures.items()
            if name.startswith(name_of(dict(formula)) + "-")
        ]
        expected = likeliest(backend, formula, 3)
        assert own[: len(expected)] == expected
    monkeypatch.setattr(type(backend), "likeliest", lambda *_, **__: pytest.fail("named"))
    drawn = draw_candidates(drawing(backend, likeliest_share=0.0), shares, tmp_path / "drawn")
    assert drawn.n_drawn >= 9
    assert len(drawn) >= 3


def test_rounds_on_disk_are_not_drawn_again(backend, formulas, tmp_path, monkeypatch):
    shares = dict.fromkeys(formulas, 4)
    how = drawing(backend)
    first = draw_candidates(how, shares, tmp_path)
    monkeypatch.setattr(type(backend), "sample", lambda *_, **__: pytest.fail("drawn again"))
    again = draw_candidates(how, shares, tmp_path)
    assert again.names == first.names
    assert again.protostructures == first.protostructures
    with pytest.raises(UserError, match="it is of another search or version"):
        draw_candidates(how, dict.fromkeys(formulas, 40), tmp_path)


def test_ranked_candidates_are_all_drawn(backend, formulas):
    how = drawing(backend, options={"keep_best": 0.5})
    assert how.likeliest(dict.fromkeys(formulas, 4)) == []
