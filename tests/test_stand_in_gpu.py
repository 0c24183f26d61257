"""The stand-in refuses what a GPU refuses, and computes what a processor computes."""

import pytest
import torch
from stand_in_gpu import stand_in_gpu


def test_it_computes_what_the_processor_computes():
    torch.manual_seed(0)
    values = torch.randn(4, 3, dtype=torch.float64)

    def work(tensor):
        tensor = tensor.clone().requires_grad_()
        picked = tensor[:, [2, 0]] @ tensor.new_tensor([[1.0, 2.0], [3.0, 4.0]])
        picked = picked.index_add(0, torch.tensor([1, 1], device=tensor.device), picked[:2])
        (slope,) = torch.autograd.grad((picked**3).sum(), tensor)
        slope[tensor > 0] += 1
        return slope

    with stand_in_gpu() as gpu:
        there = work(values.to(gpu))
        assert there.device == gpu
        assert there.is_cuda
        torch.testing.assert_close(there.cpu(), work(values))
        assert there.tolist() == work(values).tolist()


def test_it_refuses_tensors_of_two_devices():
    with stand_in_gpu() as gpu:
        there = torch.ones(3, device=gpu)
        assert (there + torch.tensor(1.0)).tolist() == [2, 2, 2]  # a scalar may come from anywhere
        assert there[torch.tensor([0, 2])].tolist() == [1, 1]  # as may an index
        for work in (
            lambda here: there + here,
            lambda here: torch.cat([there, here]),
            lambda here: here[there > 0],
        ):
            with pytest.raises(RuntimeError, match="on the processor"):
                work(torch.ones(3))


def test_it_refuses_the_generator_of_another_device():
    with stand_in_gpu() as gpu:
        for where, of in ((gpu, "cpu"), ("cpu", gpu)):
            with pytest.raises(RuntimeError, match="generator"):
                torch.rand(2, device=where, generator=torch.Generator(device=of))
        numbers = torch.rand(2, device=gpu, generator=torch.Generator(device=gpu).manual_seed(1))
    assert torch.equal(numbers.values, torch.rand(2, generator=torch.Generator().manual_seed(1)))


def test_it_gives_no_numbers_to_numpy():
    with stand_in_gpu() as gpu, pytest.raises(RuntimeError, match="numpy"):
        torch.ones(3, device=gpu).numpy()


def test_it_is_gone_afterwards():
    with stand_in_gpu():
        pass
    assert torch.ones(2).device.type == "cpu"
    assert torch.Generator().device.type == "cpu"
