"""Turns an out-of-memory error into advice in the configuration's words."""

import contextlib
from collections.abc import Iterator

import torch

OUT_OF_MEMORY_TEXTS = (
    "can't allocate memory",
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""Texts of a plain RuntimeError that is about memory: from PyTorch's CPU allocator, the CUDA driver, NCCL, libraries."""


@contextlib.contextmanager
def out_of_memory_advice(advice: str) -> Iterator[None]:
    """Turn a failed allocation inside the block into an error that says what to do.

    This covers allocations that are refused. A process that the system kills for its memory (the usual case on the CPU
    under Linux) cannot report anything.

    Args:
        advice: What was computed, its sizes, and the configuration key that makes it smaller.

    Raises:
        MemoryError: With the advice and the allocator's own message; the original error is its cause.

    Example:
        >>> with out_of_memory_advice("8 rollouts at a time: lower batch_size"):
        ...     raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")
        Traceback (most recent call last):
        MemoryError: out of memory. 8 rollouts at a time: lower batch_size (DefaultCPUAllocator: can't allocate ...
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        refused = _refused_allocation(error)
        if refused is None:
            raise
        message = str(refused).strip()
        first_line = message.splitlines()[0] if message else type(refused).__name__
        raise MemoryError(f"out of memory. {advice} ({first_line})") from error


def _refused_allocation(error: BaseException | None) -> BaseException | None:
    """The refused allocation among an error and those it was raised after, or None.

    When an allocation fails while a CUDA graph is recorded, the recording ends with an error of its own.
    """
    while error is not None:
        named = isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY_TEXTS)
        if named or isinstance(error, MemoryError | torch.OutOfMemoryError):
            return error
        error = error.__context__
    return None
