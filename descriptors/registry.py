"""Look-up tables from a name in the literature to the class that implements it, those of plugins included."""

import importlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

T = TypeVar("T")
C = TypeVar("C", bound=type)
LONGEST_NAME, MOST_NAMES = 100, 10_000  # that are compared for likeness
LONGEST_LIST = 2000  # characters of a message
log = logging.getLogger(__name__)


class Registry(Mapping[str, type[T]], Generic[T]):
    """A mapping from name to class, filled by the decorator `register` and by the plugins of other packages.

    A package offers plugins by entry points: the name of the class, and where it is. They are loaded when the registry
    is first read, so that nobody pays for plugins that he does not use.

    Args:
        kind: What the classes are, in one word, for messages ("descriptor").
        group: Group of the entry points that plugins use ("repdiff.descriptors"); None for no plugins.
        modules: Modules that register classes, imported when the mapping is first read.
    """

    def __init__(self, kind: str, *, group: str | None = None, modules: Sequence[str] = ()) -> None:
        self.kind, self.group = kind, group
        self._modules = list(modules)
        self._classes: dict[str, Any] = {}
        self._waiting = group is not None

    def register(self, name: str) -> Callable[[C], C]:
        """Return a decorator that files a class under `name`.

        Raises:
            ValueError: If the name is taken by another class; the message names both origins.
        """

        def file(cls: C) -> C:
            self._file(name, cls)
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
        self._load_plugins()
        return self._classes

    def _file(self, name: str, cls: type) -> None:
        held = self._classes.get(name)
        if held is not None and held is not cls:
            raise ValueError(
                f"{self.kind} {name!r} is registered already, by {_origin(held)}; refused from {_origin(cls)}: "
                "choose another name"
            )
        self._classes[name] = cls

    def _load_plugins(self) -> None:
        """Load the plugins, once; one that fails is named in a warning and left out."""
        if not self._waiting:
            return
        from importlib import metadata  # only plugins need it, and it takes a third of the start

        self._waiting = False  # before loading, since a plugin may look at the registry itself
        for entry in metadata.entry_points(group=self.group or ""):
            try:
                self._take(entry.name, entry.value, entry.load())
            except Exception as error:
                package = entry.dist.name if entry.dist else "unknown package"
                log.warning(
                    "plugin %s %r of %s is left out (%s: %s)",
                    self.kind,
                    entry.name,
                    package,
                    type(error).__name__,
                    " ".join(str(error).split()),
                )

    def _take(self, name: str, where: str, cls: object) -> None:
        """File one plugin, unless its module has done so under that name.

        Raises:
            TypeError: If it is no class.
            ValueError: If its name is taken.
        """
        if not isinstance(cls, type):
            raise TypeError(f"{where} is a {type(cls).__name__}, expected a class, as in module:Class")
        self._file(name, cls)


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Write that a name is unknown, which ones are known, in their order, and the nearest of them.

    Example:
        >>> unknown("descriptor", "rfd", ["rdf", "soap"])
        "unknown descriptor 'rfd'; known: rdf, soap. Did you mean 'rdf'?"
    """
    names = list(known)
    told = name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…"
    listed = ", ".join(names)
    listed = listed if len(listed) <= LONGEST_LIST else f"{listed[:LONGEST_LIST]}… ({len(names)} in all)"
    return f"unknown {kind} {told!r}; known: {listed}.{did_you_mean(name, names)}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Write a question after the nearest known name, with a space before it; "" if none is near.

    Example:
        >>> did_you_mean("raed", ["read", "write"])
        " Did you mean 'read'?"
    """
    import difflib  # only mistakes need it

    if len(name) > LONGEST_NAME:
        return ""
    names = [one for one in known if len(one) <= LONGEST_NAME][:MOST_NAMES]
    near = difflib.get_close_matches(name, names, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _origin(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
