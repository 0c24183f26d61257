from dataclasses import replace

import pytest

from reconstruction.presets import SEARCHES, Elemental, Rung, Search

LADDER = Search(
    rungs=(Rung(n_trials=6, n_steps=10, n_stages=1), Rung(n_trials=3, n_steps=25)),
    n_rounds=2,
    n_kept=4,
    learning_rate=0.3,
)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_trials": 0}, "0 trials × 10 steps"),
        ({"n_trials": -2}, "-2 trials × 10 steps"),
        ({"n_steps": 0}, "6 trials × 0 steps"),
    ],
)
def test_a_rung_without_trials_or_steps_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        replace(LADDER.rungs[0], **wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rungs": ()}, "0 rungs × 2 rounds"),
        ({"n_rounds": 0}, "2 rungs × 0 rounds"),
        ({"rungs": tuple(reversed(LADDER.rungs)), "n_kept": 1}, r"rungs of \[3, 6\] trials"),
        ({"n_kept": 0}, "0 minima kept of 6 trials"),
        ({"n_kept": 7}, "7 minima kept of 6 trials"),
        ({"n_drawn": 0}, "0 starts drawn"),
        ({"learning_rate": 0.0}, "learning rate is 0.0 Å"),
        ({"learning_rate": -0.1}, "learning rate is -0.1 Å"),
        ({"polish_rate": 0.0}, "learning rate is 0.0 Å"),
        ({"n_exchanged": -1}, "is negative"),
        ({"moves": {}}, r"moves are \[\], expected some of displace, swap, relocate"),
        ({"moves": {"jump": 1.0, "swap": 1.0}}, r"moves are \['jump', 'swap'\]"),
        ({"fresh": 1.5}, "shares are 1.5 and 0.0"),
        ({"symmetric": -0.1}, "shares are 0.0 and -0.1"),
        ({"fresh": float("nan")}, "shares are nan"),
    ],
)
def test_settings_that_make_no_search_are_refused_with_their_value(wrong, message):
    with pytest.raises(ValueError, match=message):
        replace(LADDER, **wrong)


def test_a_round_begins_with_the_first_rung_and_a_trial_goes_through_all():
    assert LADDER.n_proposals == 6
    assert LADDER.n_steps == 35


def test_the_paper_preset_has_the_published_budget_and_nothing_else():
    paper = SEARCHES["paper"]
    (rung,) = paper.rungs
    assert (rung.n_trials, paper.n_rounds, rung.n_steps) == (6, 7, 300)
    assert rung.n_trials * paper.n_rounds * rung.n_steps == 12_600
    assert rung.n_stages is None
    assert (dict(paper.moves), paper.hop_size) == ({"displace": 1.0}, 1.0)
    assert (paper.n_kept, paper.n_drawn, paper.fresh, paper.symmetric) == (6, 1, 0.0, 0.0)
    assert (paper.n_agreeing, paper.n_refine) == (0, 0)
    assert (paper.max_evaluations, paper.max_seconds) == (0, 0.0)


def test_fast_and_thorough_differ_from_the_default_in_their_rounds_alone():
    fast, default, thorough = (SEARCHES[name] for name in ("fast", "default", "thorough"))
    assert fast.n_rounds < default.n_rounds < thorough.n_rounds
    assert fast.elemental.n_rounds < default.elemental.n_rounds < thorough.elemental.n_rounds
    for other in (fast, thorough):
        elemental = replace(other.elemental, n_rounds=default.elemental.n_rounds)
        assert replace(other, n_rounds=default.n_rounds, elemental=elemental) == default


ELEMENTAL = Elemental(
    rungs=(Rung(n_trials=5, n_steps=7, last_stage=True),),
    n_rounds=9,
    learning_rate=1.2,
    fresh=1.0,
    symmetric=0.5,
)


def test_settings_for_one_element_take_the_place_of_the_others():
    changed = replace(LADDER, elemental=ELEMENTAL).of_one_element()
    assert changed == replace(
        LADDER, rungs=ELEMENTAL.rungs, n_rounds=9, learning_rate=1.2, fresh=1.0, symmetric=0.5
    )
    assert LADDER.of_one_element() is LADDER


def test_settings_for_one_element_that_make_no_search_are_refused():
    with pytest.raises(ValueError, match=r"learning rate is -1\.0 Å"):
        replace(LADDER, elemental=replace(ELEMENTAL, learning_rate=-1.0))


def test_the_paper_preset_searches_crystals_of_one_element_like_others():
    assert SEARCHES["paper"].elemental is None


def test_the_default_ends_its_ladder_on_all_stages():
    assert SEARCHES["default"].rungs[-1].n_stages is None


def test_budgets_and_steps_are_those_that_the_documents_state():
    default = SEARCHES["default"]
    assert [(r.n_trials, r.n_steps, r.n_stages) for r in default.rungs] == [
        (20, 40, 1),
        (6, 50, 1),
        (3, 80, None),
    ]
    alone = default.elemental
    assert [(r.n_trials, r.n_steps, r.last_stage) for r in alone.rungs] == [(10, 200, True), (4, 100, True)]
    assert {name: (s.n_rounds, s.elemental and s.elemental.n_rounds) for name, s in SEARCHES.items()} == {
        "fast": (3, 5), "default": (16, 40), "thorough": (100, 100), "paper": (7, None),
    }  # fmt: skip
    assert (default.n_kept, default.n_drawn, default.n_exchanged, default.n_polish, default.n_refine) == (
        6, 10, 4, 60, 8,
    )  # fmt: skip
    assert (default.learning_rate, default.symmetric, default.solved_below) == (0.18, 0.75, 1e-4)
    assert (alone.learning_rate, alone.fresh, alone.symmetric) == (1.5, 1.0, 0.75)
    assert dict(default.moves) == {"swap": 0.5, "relocate": 0.4, "displace": 0.1}


@pytest.mark.parametrize("field", ["learning_rate", "polish_rate"])
@pytest.mark.parametrize("rate", [1e-9, float("inf")])
def test_every_positive_rate_makes_a_search(field, rate):
    assert getattr(replace(LADDER, **{field: rate}), field) == rate
