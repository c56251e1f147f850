"""What is raised for everything that a person can mend."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input: a file, an option, a config or a checkpoint that cannot be used.

    The message says what was found, what is needed and how to mend it; of a file also its name and
    the place in it. Whatever else comes out of the package, but for an `OSError` of the system, is
    a mistake of the package. The classes that travel with a model raise a plain `ValueError`.
    """
