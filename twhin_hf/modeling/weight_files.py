"""Files of weights hold tensors and nothing else: what would run code is not opened."""

from __future__ import annotations

import pickle
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager


class UnsafeWeightsError(ValueError):
    """A file that is damaged, or holds more than tensors."""


@contextmanager
def tensors_alone(name: object) -> Iterator[None]:
    """Says in place of torch what is wrong with a file of weights, and gives no unsafe advice.

    Args:
        name: Of the file, folder or repository that is read inside, for the message.

    Raises:
        UnsafeWeightsError: It is a pickle that holds objects, or is damaged.
    """
    try:
        yield
    except (pickle.UnpicklingError, EOFError, struct.error) as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        if found:
            what = f"a pickle with {found[1]} in it, and to open it would run code"
        elif isinstance(error, pickle.UnpicklingError):
            what = "a pickle with more than tensors in it, or a damaged file"
        else:
            what = "a file that is damaged or cut short"
        # Without its cause, whose words say how to open it all the same.
        raise UnsafeWeightsError(
            f"{name} holds {what}. It was not opened; needed are tensors and plain values alone, "
            "best as safetensors: ask for them where it is from, or save the weights alone "
            "(state_dict) with the library that made it"
        ) from None
