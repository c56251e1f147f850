"""What a training on a processor (CPU) is told: how to multiply, and to keep its memory."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_MIB = 2**20
# Of glibc's malloc.h, and the most that glibc raises both to by itself.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_USUAL_TRIM, _USUAL_MMAP = 64 * _MIB, 32 * _MIB
_LARGE = 128 * _MIB
"""A tensor's own mapping from here on: among others it would leave holes that none fills."""


def multiplies_bfloat16() -> bool:
    """Whether the processor has instructions that multiply in bfloat16 (AVX512_BF16 or AMX)."""
    found = _capabilities()
    return found.get("avx512_bf16", False) or found.get("amx_bf16", False)


@contextmanager
def fast_products() -> Iterator[None]:
    """Products of float32 matrices by oneDNN, where it is faster than MKL and as exact.

    MKL leaves AVX-512 alone on processors that are not Intel's. PyTorch gives float32 to oneDNN
    where bfloat16 is allowed inside; oneDNN takes that up with AMX alone, so without AMX the
    products are float32 all the same.
    """
    found = _capabilities()
    before = torch.get_float32_matmul_precision()
    if before == "highest" and found.get("avx512_bw", False) and not found.get("amx_bf16", True):
        torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def kept_memory() -> Iterator[None]:
    """Memory that tensors free is taken by the next, and is given back to the system at the end.

    By default glibc gives each large tensor back at once: the system then clears as many pages in
    every step as the gradients have, for a quarter of its time. Elsewhere nothing is changed.
    """
    libc: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(libc, "mallopt"):
        yield
        return
    libc.mallopt(_MMAP_THRESHOLD, _LARGE)
    libc.mallopt(_TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_THRESHOLD, _USUAL_MMAP)
        libc.mallopt(_TRIM_THRESHOLD, _USUAL_TRIM)
        libc.malloc_trim(0)


def _capabilities() -> dict[str, bool]:
    """What instructions the processor has; nothing where an older torch cannot tell."""
    found: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return {name: value for name, value in found.items() if isinstance(value, bool)}
