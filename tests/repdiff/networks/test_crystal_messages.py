import pytest
import torch

from descriptors.testing import random_crystals
from repdiff.networks.crystal import messages
from repdiff.networks.crystal.graph import build_graph
from repdiff.networks.crystal.messages import pass_messages, pass_messages_in_torch

TOL = {torch.float64: {"rtol": 1e-12, "atol": 1e-12}, torch.float32: {"rtol": 1e-5, "atol": 1e-5}}


def example(n_rows, dtype, sizes=(1, 3, 6, 2, 5), width=7):
    generator = torch.Generator().manual_seed(0)
    graph = build_graph(random_crystals(sizes, generator=generator), 12, 24)
    n_pairs = graph.pair_idx.shape[1]
    shapes = (graph.n_atoms, n_rows, width), (n_pairs, 1 + n_rows // 5, width), (n_pairs, 3, width)
    tensors = [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]
    return [tensor.requires_grad_() for tensor in tensors], graph


def outputs(function, tensors, graph):
    out = function(*tensors, graph)
    weights = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view_as(out)
    return out, *torch.autograd.grad((out * weights).sum(), tensors)


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("dtype", sorted(TOL, key=str), ids=str)
@pytest.mark.parametrize("n_rows", [2, 5])
def test_compiled_messages_and_gradients_equal_those_of_torch(n_rows, dtype, n_threads, monkeypatch):
    monkeypatch.setattr(messages, "PAIRS_WORTH_A_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: n_threads)
    tensors, graph = example(n_rows, dtype)
    expected = outputs(pass_messages_in_torch, tensors, graph)
    for actual, value in zip(outputs(pass_messages, tensors, graph), expected, strict=True):
        torch.testing.assert_close(actual, value, **TOL[dtype])


@pytest.mark.parametrize("n_rows", [2, 5])
def test_gradients_of_compiled_messages_are_right(n_rows):
    tensors, graph = example(n_rows, torch.float64, sizes=(1, 3), width=2)
    assert torch.autograd.gradcheck(lambda *values: pass_messages(*values, graph), tensors)


def test_inputs_need_not_be_contiguous():
    tensors, graph = example(5, torch.float64)
    strided = [torch.stack([tensor, tensor], -1)[..., 0] for tensor in tensors]
    torch.testing.assert_close(pass_messages(*strided, graph), pass_messages(*tensors, graph))
