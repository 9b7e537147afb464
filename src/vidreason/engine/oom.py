"""Running out of memory, said in the words of the configuration."""

import contextlib
from collections.abc import Iterator

import torch

SIGNS = (
    "can't allocate memory",
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""What a plain RuntimeError says when memory is the cause: PyTorch's allocator on the CPU, the CUDA driver, NCCL, libraries."""


@contextlib.contextmanager
def explain_out_of_memory(advice: str) -> Iterator[None]:
    """Turn an allocation that failed inside into an error that says what to do.

    A process that the system itself ends for its memory (on Linux the usual way on a CPU) cannot say anything: this
    is for allocations that are refused.

    Args:
        advice: What was being done, its sizes, and the key of the configuration that makes it smaller.

    Raises:
        MemoryError: With the advice and the allocator's own words; the original error is its cause.

    Example:
        >>> with explain_out_of_memory("8 rollouts at a time: lower batch_size"):
        ...     raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")
        Traceback (most recent call last):
        MemoryError: out of memory. 8 rollouts at a time: lower batch_size (DefaultCPUAllocator: can't allocate ...
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        refused = _refusal(error)
        if refused is None:
            raise
        told = str(refused).strip()
        words = told.splitlines()[0] if told else type(refused).__name__
        raise MemoryError(f"out of memory. {advice} ({words})") from error


def _refusal(error: BaseException | None) -> BaseException | None:
    """The refused allocation that an error is, or after which it was raised.

    The recording of a CUDA graph ends with an error of its own, whatever happened in it.
    """
    while error is not None:
        named = isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)
        if named or isinstance(error, MemoryError | torch.OutOfMemoryError):
            return error
        error = error.__context__
    return None
