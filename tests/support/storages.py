"""Bytes of tensors that are alive at a time, whoever holds them."""

import gc
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Storages(TorchDispatchMode):
    """Counts the storages that are alive after each operator inside a `with` block.

    Attributes:
        peak: Most bytes at a time.
    """

    def __init__(self) -> None:
        """Begin with all tensors that Python can reach, and their gradients."""
        super().__init__()
        self.peak = 0
        self._known: dict[int, tuple[StorageWeakRef, int]] = {}
        gc.collect()
        for found in gc.get_objects():
            if isinstance(found, torch.Tensor):
                self._add(found)
                if found.is_leaf and found.grad is not None:
                    self._add(found.grad)

    @property
    def alive(self) -> int:
        """Bytes that are alive now."""
        self._known = {key: known for key, known in self._known.items() if not known[0].expired()}
        return sum(size for _, size in self._known.values())

    def _add(self, tensor: torch.Tensor) -> None:
        if tensor.device.type != "meta":
            storage = tensor.untyped_storage()
            self._known[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for found in tree_leaves(result):
            if isinstance(found, torch.Tensor):
                self._add(found)
        self.peak = max(self.peak, self.alive)
        return result
