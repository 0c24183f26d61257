import pytest
import torch

from reconstruction import prepare
from reconstruction.progress import ReconstructionBar


@pytest.fixture
def inversion(vectors, representation):
    return prepare(vectors, representation, search="fast", exact=True)


def shown(bar):
    return str(bar.bar).replace("\r", "")


def test_crystals_are_counted_and_weighed_by_the_cube_of_their_size(inversion):
    sizes = torch.tensor([len(numbers) for numbers in inversion.decoded.atomic_numbers])
    groups = inversion.groups
    bar = ReconstructionBar(inversion, missing=groups, disable=False)
    assert f"0/{len(sizes)} crystals" in shown(bar)
    bar.add(groups[0])
    assert f"{len(groups[0])}/{len(sizes)} crystals" in shown(bar)
    assert bar.bar.n / bar.bar.total == pytest.approx(float((sizes[groups[0]] ** 3).sum() / (sizes**3).sum()))
    for group in groups[1:]:
        bar.add(group)
    assert "100%|" in shown(bar)
    bar.bar.close()


def test_a_resumed_bar_begins_where_the_last_one_stopped(inversion):
    whole = ReconstructionBar(inversion, missing=inversion.groups)
    whole.add(inversion.groups[0])
    resumed = ReconstructionBar(inversion, missing=inversion.groups[1:])
    assert (resumed.bar.n, resumed.bar.total) == (whole.bar.n, whole.bar.total)
    assert f"{len(inversion.groups[0])}/" in shown(resumed)
    whole.bar.close()
    resumed.bar.close()


def test_nothing_to_do_is_no_mistake(vectors, representation):
    nothing = prepare(vectors[:0], representation, search="fast", exact=True)
    with ReconstructionBar(nothing, missing=[]) as bar:
        assert "0/0 crystals" in shown(bar)
