import pytest

from repdiff.latent_space.actions import nearest_to_goal


@pytest.mark.parametrize(
    ("goal", "best"),
    [({"maximize": True}, [2, 1]), ({"maximize": False}, [4, 3]), ({"target": 2.2}, [0, 1])],
)
def test_of_what_was_decoded_the_nearest_to_the_goal_is_kept(goal, best):
    values = {0: 2.0, 2: 5.0, 4: 1.0, 1: 2.4, 3: -1.0}
    goal = {"maximize": False, "target": None} | goal
    assert nearest_to_goal(values, n=2, n_each=3, **goal) == best
    assert nearest_to_goal({}, n=2, n_each=3, **goal) == [0, 1]
