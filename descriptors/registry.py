"""Look-up tables from a name in the literature to the class that implements it."""

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

T = TypeVar("T")
C = TypeVar("C", bound=type)


class Registry(Mapping[str, type[T]], Generic[T]):
    """A mapping from name to class, filled by the decorator `register`.

    Args:
        kind: What the classes are, in one word, for messages ("descriptor").
        modules: Modules that register classes, imported when the mapping is first read.
    """

    def __init__(self, kind: str, *, modules: Sequence[str] = ()) -> None:
        self.kind = kind
        self._modules = list(modules)
        self._classes: dict[str, Any] = {}

    def register(self, name: str) -> Callable[[C], C]:
        """Return a decorator that files a class under `name`.

        Raises:
            ValueError: If the name is taken.
        """
        if name in self._classes:
            raise ValueError(f"{self.kind} {name!r} is registered already")

        def file(cls: C) -> C:
            self._classes[name] = cls
            return cls

        return file

    def __getitem__(self, name: str) -> type[T]:
        """Return the class of that name.

        Raises:
            KeyError: If there is none; the message lists the names and the nearest one.
        """
        if name not in self:
            raise KeyError(unknown(self.kind, name, self))
        return self._classes[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, sorted."""
        return iter(sorted(self._loaded()))

    def __len__(self) -> int:
        """Count the registered classes."""
        return len(self._loaded())

    def __contains__(self, name: object) -> bool:
        """Tell whether a class of that name is registered."""
        return name in self._loaded()

    def _loaded(self) -> dict[str, Any]:
        while self._modules:
            importlib.import_module(self._modules.pop())
        return self._classes


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Write that a name is unknown, which ones are known, in their order, and the nearest of them."""
    names = list(known)
    return f"unknown {kind} {name!r}; known: {', '.join(names)}.{did_you_mean(name, names)}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Write a question after the nearest known name, with a space before it; "" if none is near.

    Example:
        >>> did_you_mean("raed", ["read", "write"])
        " Did you mean 'read'?"
    """
    import difflib  # only mistakes need it

    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
