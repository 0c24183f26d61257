import itertools

import pytest
import torch

from repdiff.diffusion.masked_types import MASK, Masking, draw_types, only_these, type_errors


def test_at_the_last_time_all_atoms_are_hidden():
    masking, numbers = Masking(50), torch.arange(1, 101)
    hidden = masking.hide(numbers, torch.full((100,), 49), torch.rand(100))
    assert bool((hidden == MASK).all())


def test_single_steps_hide_as_many_atoms_as_one_long_step():
    masking, generator = Masking(10), torch.Generator().manual_seed(0)
    numbers = torch.full((100_000,), 8)
    for time in range(10):
        times = torch.full_like(numbers, time)
        numbers = masking.add_step(numbers, times, torch.rand(len(numbers), generator=generator))
        share = float((numbers == MASK).double().mean())
        assert share == pytest.approx(float(masking.hidden_share(times[:1])), abs=0.006)


@pytest.mark.parametrize("visited", [range(9, -2, -1), (9, 4, 0, -1), (9, -1)])
def test_the_way_back_has_the_shares_of_the_way_out_at_every_time_it_visits(visited):
    masking, generator = Masking(10), torch.Generator().manual_seed(1)
    numbers, guesses = torch.full((100_000,), MASK), torch.full((100_000,), 26)
    for time, time_next in itertools.pairwise(visited):
        chances = torch.rand(len(numbers), generator=generator)
        numbers = masking.reveal(numbers, guesses, chances, time=time, time_next=time_next)
        share = float((numbers == MASK).double().mean())
        assert share == pytest.approx((time_next + 1) / 10, abs=0.006)
    assert bool((numbers == 26).all())


def test_an_atom_that_is_shown_keeps_its_element_on_the_way_back():
    numbers = torch.tensor([8, MASK, 22])
    shown = Masking(10).reveal(numbers, torch.tensor([1, 2, 3]), torch.ones(3) * 0.999, time=5, time_next=4)
    assert shown.tolist() == [8, 2, 22]


def test_only_hidden_atoms_have_a_loss():
    logits, targets = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    hidden = torch.tensor([True, False, True, False, True, False])
    errors = type_errors(logits, targets, hidden, torch.full((6,), 4), kind="cross_entropy")
    assert bool((errors[1::2] == 0).all())
    assert bool((errors[::2] > 0).all())


def test_elements_are_drawn_with_their_probabilities():
    logits = torch.tensor([0.1, 0.6, 0.3]).log().expand(90_000, 3)
    chances = (torch.arange(90_000) + 0.5) / 90_000
    for temperature, expected in ((1.0, [0.1, 0.6, 0.3]), (0.5, [0.01 / 0.46, 0.36 / 0.46, 0.09 / 0.46])):
        drawn = torch.bincount(draw_types(logits, chances, temperature=temperature), minlength=3) / 90_000
        torch.testing.assert_close(drawn, torch.tensor(expected), rtol=0, atol=1e-3)


def test_elements_outside_a_chemical_system_are_never_drawn():
    elements = torch.tensor([3, 8, 22, 38])
    inside = only_these(torch.randn(1000, 4) * 5, elements, {8, 38})
    drawn = draw_types(inside, torch.cat([torch.rand(998), torch.tensor([0.0, 1 - 1e-7])]), temperature=1.0)
    assert set(elements[drawn].tolist()) == {8, 38}
    with pytest.raises(ValueError, match=r"\[92\]"):
        only_these(torch.randn(2, 4), elements, {92})
