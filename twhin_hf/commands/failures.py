"""What to say of errors that are nobody's mistake: a full disk, no memory, a worker that died."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

_KEPT = "What was finished is kept, and the same command goes on where it stopped"
_DISK_FULL = (
    f"The disk is full. {_KEPT}: free some space, or give a larger disk for the output "
    "(temporary files: --temp_directory, or TMPDIR)"
)
_FORBIDDEN = (
    "Files there may not be read or written: change the permissions, or give another place. "
    f"{_KEPT}"
)
_NO_MEMORY = (
    f"The memory does not suffice. {_KEPT}: with fewer processes or threads, "
    "--gradient_checkpointing in training, a smaller --per_device_train_batch_size where there is "
    "a --contrastive_batch_size, a smaller --memory_limit of the readers, or on a larger machine; "
    "a smaller batch is another training, which begins anew"
)
_DEAD_WORKER = (
    "A worker process was ended from outside, most often because the memory did not suffice. "
    f"{_KEPT}: with fewer processes, or smaller batches"
)


def advice(error: BaseException) -> str | None:
    """What is saved and how to go on, after an error that no other input would mend.

    Args:
        error: With the errors that it came of.

    Returns:
        A sentence or two; None of any other error.

    Example:
        >>> advice(OSError(errno.ENOSPC, "No space left on device"))[:17]
        'The disk is full.'
        >>> advice(KeyError("a"))
    """
    for one in _with_causes(error):
        for is_kind, text in _KINDS.items():
            if is_kind(one):
                return text
    return None


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__  # type: ignore[assignment]


def _is_disk_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # Rust's and C++'s writers tell it in words alone.
    return _says(
        error,
        "No space left on device",
        "Disk quota exceeded",
        "max_temp_directory_size",
        "PytorchStreamWriter failed writing file",
        "inline_container.cc",
    )


def _is_forbidden(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)


def _is_no_memory(error: BaseException) -> bool:
    # torch.OutOfMemoryError and duckdb.OutOfMemoryException, which need not be imported for it.
    named = type(error).__name__ in ("OutOfMemoryError", "OutOfMemoryException")
    is_torch = _says(error, "DefaultCPUAllocator", "out of memory", "Cannot allocate memory")
    by_number = isinstance(error, OSError) and error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or named or is_torch or by_number


def _is_dead_worker(error: BaseException) -> bool:
    # "handle is closed", without a number, is a pipe that a pool closed as one of its workers died
    # while the next was being started.
    is_closed = isinstance(error, OSError) and error.errno is None
    is_gone = is_closed or isinstance(error, (EOFError, ConnectionError))
    if is_gone and _is_from_multiprocessing(error):
        return True
    return type(error).__name__ == "BrokenProcessPool" or _says(
        error,
        "DataLoader worker (pid",
        "One of the subprocesses has abruptly died",
        "Connection closed by peer",  # gloo's, of a process beside this one
    )


def _is_from_multiprocessing(error: BaseException) -> bool:
    """Whether it came from a pipe to a worker, whose other end is gone."""
    frames = traceback.extract_tb(error.__traceback__)
    return any("multiprocessing" in Path(frame.filename).parts for frame in frames)


def _says(error: BaseException, *words: str) -> bool:
    """Whether an error of no kind of its own says one of these."""
    if isinstance(error, (ValueError, KeyError)):
        return False  # what a person gave may stand in it
    text = str(error)
    return any(word in text for word in words)


# The disk first: an engine whose spill folder is full calls that a lack of memory.
_KINDS: dict[Callable[[BaseException], bool], str] = {
    _is_disk_full: _DISK_FULL,
    _is_forbidden: _FORBIDDEN,
    _is_no_memory: _NO_MEMORY,
    _is_dead_worker: _DEAD_WORKER,
}
