"""What is raised for everything that a person can mend."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Bad input: a file, an option, a config or a checkpoint that cannot be used.

    The message says what was found, what is needed and how to mend it; of a file also its name and
    the place in it. Whatever else comes out of the package, but for an `OSError` of the system, is
    a mistake of the package. The classes that travel with a model raise a plain `ValueError`.

    Args:
        *args: The message.
        faq: Anchor of the entry in `faq.md` that says more, which `twhin-hf faq` shows.

    Attributes:
        faq: The same; None where there is no entry.
    """

    def __init__(self, *args: object, faq: str | None = None):
        super().__init__(*args)
        self.faq = faq


WRONG_CONTENT: tuple[type[Exception], ...] = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What Python raises where a value is not what it should be: of another type, missing, too deep."""


@contextmanager
def reading(
    what: object, advice: str, errors: tuple[type[Exception], ...] = WRONG_CONTENT
) -> Iterator[None]:
    """Turns what comes of a file's wrong content into an InputError that names the file.

    An InputError passes as it is, and so does an error of the system, such as that there is no
    such file.

    Args:
        what: The file or folder that is read in the block, and nothing else is done there.
        advice: How to mend it: a sentence.
        errors: What to turn. Libraries of models raise anything: `(Exception,)`.

    Example:
        >>> with reading("a.json", "Write it again."):
        ...     {}["key"]
        Traceback (most recent call last):
        ...
        twhin_hf.errors.InputError: a.json cannot be used (KeyError: 'key'). Write it again.
    """
    try:
        yield
    except (InputError, FileNotFoundError, FileExistsError):
        raise
    except errors as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise InputError(f"{what} cannot be used ({_in_a_line(error)}). {advice}") from error


def _in_a_line(error: Exception) -> str:
    """An error's kind and its message, shortened."""
    text = " ".join(str(error).split()).rstrip(".")
    text = text if len(text) <= 200 else text[:199] + "…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
