"""The sum of messages over neighbours: in torch for any device, and compiled for a CPU, where most time goes to it.

On a CPU torch writes and reads arrays of pairs × channels many times; the compiled loops touch each once. Both give
the same numbers up to rounding; torch's operations are used on other devices, in half precision, and where
`torch.compile` traces them to fuse them itself.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from repdiff.networks.crystal import kernels
from repdiff.networks.crystal.graph import CrystalGraph
from repdiff.networks.crystal.layers import sum_rows, take_rows

COMPILED_TYPES = (torch.float32, torch.float64)
PAIRS_WORTH_A_THREAD = 2000


def pass_messages(
    sent: Float[Tensor, "n_atoms n_rows width"],
    filters: Float[Tensor, "n_pairs n_filters width"],
    directed: Float[Tensor, "n_pairs 3 width"],
    graph: CrystalGraph,
) -> Float[Tensor, "n_atoms 4 width"]:
    """Sum what neighbours send, weighted by the filters of the pair: a scalar row, then a vector.

    Args:
        sent: Rows that each atom sends: one to scalars, one along directions, and with five rows its 3 vector
            components.
        filters: Filters of each pair: one for scalars, and with five rows in `sent` one for the vectors passed on.
        directed: Direction of each pair times the filter of what is sent along it.
        graph: Graph that lists the pairs.
    """
    one_type = sent.dtype == filters.dtype == directed.dtype
    if (
        sent.device.type == "cpu"
        and one_type
        and sent.dtype in COMPILED_TYPES
        and not torch.compiler.is_compiling()
    ):
        return _Messages.apply(sent, filters, directed, graph)
    return pass_messages_in_torch(sent, filters, directed, graph)


def pass_messages_in_torch(
    sent: Float[Tensor, "n_atoms n_rows width"],
    filters: Float[Tensor, "n_pairs n_filters width"],
    directed: Float[Tensor, "n_pairs 3 width"],
    graph: CrystalGraph,
) -> Float[Tensor, "n_atoms 4 width"]:
    """Do the same in torch's operations, differentiable any number of times."""
    centre, neighbor = graph.pair_idx
    got = take_rows(sent.flatten(1), neighbor).unflatten(1, sent.shape[1:])
    moved = got[:, 1:2] * directed
    if sent.shape[1] == 5:
        moved = moved + got[:, 2:] * filters[:, 1:]
    messages = torch.cat([got[:, :1] * filters[:, :1], moved], 1)
    return sum_rows(messages.flatten(1), centre, len(sent)).unflatten(1, messages.shape[1:])


class _Messages(torch.autograd.Function):
    """The compiled loops and their gradient; several threads share the crystals where torch may use several."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, sent: Tensor, filters: Tensor, directed: Tensor, graph: CrystalGraph
    ) -> Tensor:
        inputs = [value.contiguous() for value in (sent, filters, directed)]
        ctx.save_for_backward(*inputs)
        ctx.graph = graph  # ty: ignore
        out = sent.new_zeros(len(sent), 4, sent.shape[2])
        _share(kernels.send, graph, [*inputs, out])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, by_out: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        sent, filters, directed = ctx.saved_tensors  # ty: ignore
        found = torch.zeros_like(sent), torch.empty_like(filters), torch.empty_like(directed)
        _share(kernels.send_back, ctx.graph, [sent, filters, directed, by_out.contiguous(), *found])  # ty: ignore
        return *found, None


def _share(work: Callable[..., None], graph: CrystalGraph, tensors: list[Tensor]) -> None:
    """Run a kernel over all pairs, cut between crystals into as many parts as there are threads for."""
    arrays = [graph.pair_idx.numpy(), *[value.detach().numpy() for value in tensors]]
    n_pairs = graph.pair_idx.shape[1]
    n_parts = max(min(torch.get_num_threads(), n_pairs // PAIRS_WORTH_A_THREAD), 1)
    if n_parts == 1:
        work(0, n_pairs, *arrays)
        return
    crystal = graph.system_idx[graph.pair_idx[0]]
    wanted = torch.arange(1, n_parts) * n_pairs // n_parts
    cuts = torch.searchsorted(crystal, crystal[wanted]).tolist()
    with ThreadPoolExecutor(n_parts) as pool:
        parts = [pool.submit(work, low, high, *arrays) for low, high in pairwise([0, *cuts, n_pairs])]
        for part in parts:
            part.result()
