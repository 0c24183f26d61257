"""Look-up tables from a name in the literature to the class that implements it."""

import difflib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

T = TypeVar("T")
C = TypeVar("C", bound=type)


class Registry(Mapping[str, type[T]], Generic[T]):
    """A mapping from name to class, filled by the decorator `register`.

    Args:
        kind: What the classes are, in one word, for messages ("descriptor").
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
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
        if name not in self._classes:
            raise KeyError(unknown(self.kind, name, self._classes))
        return self._classes[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, sorted."""
        return iter(sorted(self._classes))

    def __len__(self) -> int:
        """Count the registered classes."""
        return len(self._classes)

    def __contains__(self, name: object) -> bool:
        """Tell whether a class of that name is registered."""
        return name in self._classes


def unknown(kind: str, name: str, known: Mapping[str, object] | list[str]) -> str:
    """Write the message for a name that nobody knows, with the nearest known one."""
    near = difflib.get_close_matches(name, list(known), n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown {kind} {name!r}; known: {', '.join(sorted(known))}.{hint}"
