"""Let examples in docstrings be shown as code: griffe knows the section "Examples" alone, and no doctest outside it."""

import re
from typing import Any

import griffe

SECTION = re.compile(r"^Example:$", re.MULTILINE)
BARE = re.compile(r"(?:\A|\n\n)(?P<lines>>>> .*?)(?=\n\n|\Z)", re.DOTALL)


class DocstringExamples(griffe.Extension):
    """Rewrite the docstring of everything that is read."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:  # noqa: ANN401 (what griffe hands over)
        """Name the section as griffe does, and fence what stands outside one."""
        if obj.docstring is not None:
            text = SECTION.sub("Examples:", obj.docstring.value)
            obj.docstring.value = BARE.sub(r"\n\n```pycon\n\g<lines>\n```", text)
