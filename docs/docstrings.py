"""Shows the examples of docstrings as code: the section is `Example` there, not `Examples`."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

SECTION = re.compile(r"^(\s*)Example:$", re.MULTILINE)


class Examples(Extension):
    """Renames the section where the docstring is read."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Of every module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = SECTION.sub(r"\1Examples:", obj.docstring.value)
