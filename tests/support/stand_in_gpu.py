"""A stand-in for a GPU: computes on the processor, and refuses what a GPU would refuse.

Inside `stand_in_gpu()` tensors can be made on "cuda" or moved there, and say so. Every operation is checked: tensors
of two devices must not meet, but for scalars and for indices from the processor; a generator must be on the device
of what it draws; and numbers come back by `.cpu()`, `.item()` or `.tolist()` alone. So code that runs here names its
devices rightly, takes the branches for a GPU, and gives the numbers of a processor. It says nothing of speed or memory.

To torch's C++ code the tensors are on "meta", the one device that needs no driver and may take part in gradients; the
values are in `OnGpu.values`.
"""

from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device("cuda:0")
calls: Counter[str] = Counter()  # of torch's operations by name, since the stand-in was made
INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_")  # take indices from the processor, too


class OnGpu(Tensor):
    """A tensor on the stand-in."""

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> "OnGpu":
        made = Tensor._make_wrapper_subclass(
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device="meta",
        )
        made.values = values
        return made

    @property
    def device(self) -> torch.device:
        return GPU

    @property
    def is_cuda(self) -> bool:
        return True

    def __repr__(self, **_: object) -> str:
        return f"OnGpu({self.values})"

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: object, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _compute(func, args, kwargs or {})


def _compute(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Check the devices, and do the operation on the processor."""
    name = func.overloadpacket.__name__
    calls[name] += 1
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, OnGpu)]
    device = kwargs.get("device")
    onto_gpu = bool(there) if device is None else torch.device(device).type != "cpu"
    here = [tensor for tensor in tensors if not isinstance(tensor, OnGpu) and tensor.dim() > 0]
    if name == "copy_":
        onto_gpu = isinstance(args[0], OnGpu)
    elif there and here and name != "_to_copy":
        whole = all(tensor.dtype in (torch.long, torch.bool) for tensor in here)
        if not (name in INDEXING and isinstance(args[0], OnGpu) and whole):
            shapes = [tuple(tensor.shape) for tensor in here]
            raise RuntimeError(f"{func} of tensors on cuda and of {shapes} on the processor")
    generator = kwargs.get("generator")
    if generator is not None and (generator._cdata in _Generator.there) != onto_gpu:
        raise RuntimeError(f"{func} on {'cuda' if onto_gpu else 'cpu'} with a generator of the other device")
    known = {id(tensor.values): tensor for tensor in there}  # an operation in place returns its argument
    args, kwargs = tree_map(lambda leaf: leaf.values if isinstance(leaf, OnGpu) else leaf, (args, kwargs))
    if device is not None:
        kwargs["device"] = "cpu"
    kwargs.pop("pin_memory", None)

    def place(leaf: Any) -> Any:
        if not (onto_gpu and isinstance(leaf, Tensor)):
            return leaf
        return known[id(leaf)] if id(leaf) in known else OnGpu(leaf)

    return tree_map(place, func(*args, **kwargs))


class _Generator(torch.Generator):
    """A generator that may be on the stand-in; there, too, its numbers are the processor's."""

    there: ClassVar[dict[int, "_Generator"]] = {}  # torch hands generators on without their Python part

    def __new__(cls, device: torch.device | str = "cpu") -> "_Generator":
        made = super().__new__(cls)
        made.place = torch.device(device)
        if made.place.type == "cuda":
            cls.there[made._cdata] = made
        return made

    @property
    def device(self) -> torch.device:
        return self.place


class _Operations(TorchDispatchMode):
    """Makes tensors on the stand-in, and moves them there."""

    def __torch_dispatch__(
        self, func: Any, types: object, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _compute(func, args, kwargs or {})


class _Calls(TorchFunctionMode):
    """Keeps "cuda" from torch's C++ code, and values in Python lists from getting lost there."""

    def __torch_function__(
        self, func: Any, types: object, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.device:
            return func(*args, **kwargs)
        if func is Tensor.tolist:
            return func(args[0].cpu())
        if func is Tensor.new_tensor:
            kwargs = {"dtype": args[0].dtype, "device": args[0].device} | kwargs
            func, args = torch.tensor, args[1:]
        if func in (torch.tensor, torch.as_tensor):
            device = kwargs.pop("device", None)
            made = func(*args, **kwargs)
            return made.to("meta") if _is_gpu(device) else made
        if func in (Tensor.__getitem__, Tensor.__setitem__):
            where = args[1] if isinstance(args[1], tuple) else (args[1],)
            listed = tuple(
                torch.tensor(part, dtype=None if part else torch.long) if isinstance(part, list) else part
                for part in where
            )
            args = (args[0], listed, *args[2:])
        return func(*map(_as_meta, args), **{name: _as_meta(value) for name, value in kwargs.items()})


def _as_meta(value: Any) -> Any:
    return "meta" if _is_gpu(value) else value


def _is_gpu(value: object) -> bool:
    return isinstance(value, torch.device | str) and str(value).split(":")[0] == "cuda"


@contextmanager
def stand_in_gpu() -> Generator[torch.device, None, None]:
    """Give this process a GPU for a while."""
    no_state = torch.empty(0, dtype=torch.uint8)
    calls.clear()
    with (
        patch.object(torch, "Generator", _Generator),
        patch.object(torch.cuda, "get_rng_state", lambda _: no_state),
        patch.object(torch.cuda, "set_rng_state", lambda *_: None),
        _Calls(),
        _Operations(),
    ):
        yield GPU
    _Generator.there.clear()
