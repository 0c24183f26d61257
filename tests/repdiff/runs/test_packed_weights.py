import pytest
import torch

from repdiff.runs.packed_weights import LEAST, SCALE, pack, unpack


def tensors():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(80, 64, generator=generator) * torch.logspace(-6, 3, 80)[:, None]
    rows[3] = 0
    return {
        "net.weight": rows,
        "net.convolution": torch.randn(16, 32, 9, generator=generator),
        "net.bias": torch.randn(64, generator=generator),
        "net.small": torch.randn(4, 4, generator=generator),
        "scale.low": torch.randn(100, 100, generator=generator),
        "counts": torch.arange(5),
    }


def test_rows_come_back_within_half_a_step_of_their_own_scale():
    given = tensors()
    found = unpack(pack(given))
    for name in ("net.weight", "net.convolution"):
        step = given[name].abs().flatten(1).amax(1) / 127
        error = (found[name] - given[name]).abs().flatten(1).amax(1)
        assert (error <= step / 2 * (1 + 1e-5)).all()
    assert (found["net.weight"][3] == 0).all()


def test_what_is_no_large_matrix_is_kept_in_half_precision_and_integers_as_they_are():
    given = tensors()
    packed, found = pack(given), unpack(pack(given))
    assert packed["net.bias"].dtype == packed["net.small"].dtype == torch.float16
    assert found["net.bias"].dtype == torch.float32
    assert torch.equal(found["net.bias"], given["net.bias"].half().float())
    assert torch.equal(found["counts"], given["counts"])


def test_what_must_be_exact_is_not_touched():
    given = tensors()
    packed = pack(given, exact=("scale.",))
    assert packed["scale.low"] is given["scale.low"]
    assert "scale.low" + SCALE not in packed


def test_four_bytes_become_a_little_more_than_one():
    given = {"weight": torch.randn(512, 512)}
    n_bytes = sum(one.numel() * one.element_size() for one in pack(given).values())
    assert given["weight"].numel() > LEAST
    assert n_bytes < 1.01 * given["weight"].numel()


def test_what_was_never_packed_stays_as_it_is():
    given = tensors()
    found = unpack(given)
    assert found.keys() == given.keys()
    assert all(found[name] is given[name] for name in given)


def test_a_number_beyond_half_precision_is_refused():
    with pytest.raises(ValueError, match=r"bias has values up to 1e\+06, expected at most 65504"):
        pack({"bias": torch.tensor([1e6])})
