import numpy as np

from repdiff.datasets.splits import draw_rows


def test_a_seed_draws_the_rows_that_it_always_drew():
    assert draw_rows(20, 4, 3) == sorted(np.random.default_rng(3).choice(20, size=4, replace=False).tolist())
    assert draw_rows(20, 4, 3) == [1, 3, 4, 13]


def test_a_generator_goes_on_after_the_draw():
    generator = np.random.default_rng(3)
    assert draw_rows(20, 4, generator) == draw_rows(20, 4, 3)
    assert draw_rows(20, 4, generator) != draw_rows(20, 4, 3)


def test_all_rows_come_where_no_fewer_are_asked_for():
    assert draw_rows(3, None, 0) == draw_rows(3, 3, 0) == draw_rows(3, 9, 0) == [0, 1, 2]
