"""Errors of allocators become errors that say what to do; others stay as they are."""

import numpy as np
import pytest
import torch

from vidreason.engine.oom import out_of_memory_advice

ADVICE = "Lower evaluation.generation.batch_size, now 64"


def test_a_refused_allocation_of_the_cpu():
    """PyTorch's own error, not an imitation."""
    message = rf"^out of memory\. {ADVICE} \(.*can't allocate memory"
    with pytest.raises(MemoryError, match=message) as caught, out_of_memory_advice(ADVICE):
        torch.empty(1 << 62, dtype=torch.uint8)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_refused_allocation_of_numpy():
    message = rf"^out of memory\. {ADVICE} \(Unable to allocate"
    with pytest.raises(MemoryError, match=message), out_of_memory_advice(ADVICE):
        np.empty(1 << 62, np.uint8)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore words"),
        RuntimeError("CUDA error: out of memory\nCompile with TORCH_USE_CUDA_DSA"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError(
            "NCCL error: unhandled cuda error, NCCL version 2.29\nLast error:\nCuda failure 2 'out of memory'"
        ),
        MemoryError(),
    ],
)
def test_what_else_means_that_memory_ran_out(error):
    with pytest.raises(MemoryError, match=ADVICE) as caught, out_of_memory_advice(ADVICE):
        raise error
    assert caught.value.__cause__ is error
    assert (str(error).split("\n")[0] or "MemoryError") in str(caught.value)


def test_memory_that_ran_out_while_a_step_was_recorded():
    """`torch.cuda.graph` ends the recording, which raises an error of its own in place of the first."""
    error = RuntimeError("CUDA error: operation failed due to a previous error during capture")
    error.__context__ = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    message = rf"{ADVICE} \(CUDA out of memory. Tried"
    with pytest.raises(MemoryError, match=message) as caught, out_of_memory_advice(ADVICE):
        raise error
    assert "previous error" in str(caught.value.__cause__)


@pytest.mark.parametrize("error", [RuntimeError("shapes do not fit"), ValueError("can't allocate memory")])
def test_other_errors_pass_unchanged(error):
    with pytest.raises(type(error)) as caught, out_of_memory_advice(ADVICE):
        raise error
    assert caught.value is error
