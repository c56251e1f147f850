"""Loading other people's weights: tensors alone, and an error of ours where there is more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from twhin_hf.errors import InputError
from twhin_hf.modeling.weight_files import UnsafeWeightsError, tensors_alone


@contextmanager
def safe_weights(name: object) -> Iterator[None]:
    """Refuses in our words what torch refuses to open: files that hold more than tensors.

    Args:
        name: Of the file, folder or repository that is read inside, for the message.

    Raises:
        InputError: It is a pickle that holds objects, or is damaged.
    """
    try:
        with tensors_alone(name):
            yield
    except UnsafeWeightsError as error:
        raise InputError(str(error), faq="pickles") from None
