"""What one of several processes does of a batch, such that all together compute what one alone would."""

from collections.abc import Callable
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


def mean_weight(counts: Int[Tensor, " n_rows"], mine: slice) -> Float[Tensor, ""]:
    """Return what turns a mean over the units of a part into its share of the mean over those of the whole batch.

    The mean of the shares of equally many rows is the mean over the whole batch. The factor of the whole is exactly 1.

    Args:
        counts: Units of each row of the batch, such as its atoms or orbits.
        mine: Rows of the part.

    Example:
        >>> import torch
        >>> counts = torch.tensor([1, 3])
        >>> [float(mean_weight(counts, slice(row, row + 1))) for row in (0, 1)]
        [0.5, 1.5]
    """
    part = counts[mine]
    return (part.sum() / len(part)) / (counts.sum() / len(counts))


class WholeBatchDropout(TorchFunctionMode):
    """While entered, dropout of a part of a batch is what it would be within the whole.

    The random numbers of the whole batch are drawn, of which this part takes its own: processes that begin with the
    same state of torch's generator then do together what one would. Only tensors whose rows are the units are treated
    so; others are dropped out as ever.

    Args:
        counts: Units of each row of the batch that the network works on side by side: itself, or its orbits.
        mine: Rows of the part.
    """

    def __init__(self, counts: Int[Tensor, " n_rows"], mine: slice) -> None:
        super().__init__()
        first, last, _ = mine.indices(len(counts))
        start, end = int(counts[:first].sum()), int(counts[:last].sum())
        self.n_units, self.mine = int(counts.sum()), slice(start, end)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401 (as every mode)
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 (what the function returns)
        """Call a function of torch, or draw for the whole batch if it is dropout."""
        if func is functional.dropout:
            return self._dropout(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _dropout(
        self, values: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        if not training or p == 0 or len(values) != self.mine.stop - self.mine.start:
            return functional.dropout(values, p, training, inplace)
        whole = functional.dropout(values.new_ones(self.n_units, *values.shape[1:]), p)
        return values * whole[self.mine]
