"""A pretended CUDA device: what goes wrong on a GPU alone goes wrong here too, on a machine without one.

Its tensors live in the host's memory and compute with the CPU's kernels, but they are on a device of their own, called
`gpu`. What a real device would refuse is refused:

- an operator with tensors of two devices;
- a CUDA graph during whose recording the host waits for the device, or gives it data.

Each wait of the host for the device is counted with the file and line that waits. A CUDA graph keeps the operators that
were called during its recording and calls them again when it is played; as on a real device, recording itself computes
nothing that lasts.

A test opts in by asking for the fixture `cuda` (`tests.support.plugin`, which runs it in a process of its own).
"""

import collections
import contextlib
import functools
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "gpu"
"""Type of the device: `cuda` itself would be refused by a build of PyTorch without it."""
CARDS = 2
COPIES = {"aten::copy_", "aten::_to_copy"}
INDEXED = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}
WAITING = {"aten::_local_scalar_dense", "aten::equal", "aten::nonzero", "aten::masked_select"}
"""Operators whose result, or its shape, the host has to wait for."""
OURS = ("vidreason", "transformers", "deepspeed")
"""Packages whose lines are named as those that wait."""


class Resident(torch.Tensor):
    """A tensor on the pretended device.

    Attributes:
        held: The same in the host's memory.
    """

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor, device: torch.device) -> "Resident":
        made: Resident = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=device,
        )
        made.held = held
        return made

    def __init__(self, held: torch.Tensor, device: torch.device) -> None:
        """Put a tensor of the host on a card, without a copy."""

    def tolist(self) -> Any:
        """The values; the host waits for them."""
        DEVICE.wait("tolist")
        return self.held.tolist()

    def numpy(self, *_: Any, **__: Any) -> Any:
        """Refused, as on a real device."""
        raise TypeError(f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu()")

    def __repr__(self, *_: Any, **__: Any) -> str:
        return f"Resident({self.held}, device={self.device})"

    def __tensor_flatten__(self) -> tuple[list[str], torch.device]:
        return ["held"], self.device

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, torch.Tensor], device: torch.device, *_: Any) -> "Resident":
        return Resident(inner["held"], device)

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with DEVICE:
            return function(*args, **(kwargs or {}))


class Graph:
    """Stands for `torch.cuda.CUDAGraph`.

    Attributes:
        calls: Operator, arguments and result of each call while it was recorded; tensors are those of the host.
        replays: How often it was played.
    """

    def __init__(self, *_: Any, **__: Any) -> None:
        self.calls: list[tuple[Any, Any, Any, Any]] = []
        self.replays = 0
        self._before: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def add(self, function: Any, args: Any, kwargs: Any) -> Any:
        """Call an operator and keep the call; what it writes in place is remembered as it was."""
        for argument, value in zip(function._schema.arguments, args, strict=False):
            if isinstance(value, torch.Tensor) and argument.alias_info and argument.alias_info.is_write:
                storage = value.untyped_storage()
                self._before.setdefault(storage.data_ptr(), (value, storage.clone()))
        result = function(*args, **kwargs)
        self.calls.append((function, args, kwargs, result))
        return result

    def undo(self) -> None:
        """Give memory that was written while recording its contents from before."""
        for value, before in self._before.values():
            value.untyped_storage().copy_(before)
        self._before.clear()

    def replay(self) -> None:
        """Call all operators again, each into the memory that its result had."""
        self.replays += 1
        with torch.no_grad():
            for function, args, kwargs, result in self.calls:
                again = function(*args, **kwargs)
                for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                    if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)


class Stream:
    """Stands for `torch.cuda.Stream`; counts those that were made."""

    made = 0

    def __init__(self, *_: Any, **__: Any) -> None:
        Stream.made += 1

    def wait_stream(self, *_: Any) -> None:
        """Nothing: all is in order here."""


class Device(TorchDispatchMode):
    """Takes every operator that has to do with the pretended device.

    Attributes:
        waits: What the host waited for -> how often.
        places: `file:line: what` -> how often; lines of the packages of `OURS`.
        graph: The graph that is being recorded, or None.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: collections.Counter[str] = collections.Counter()
        self.places: collections.Counter[str] = collections.Counter()
        self.graph: Graph | None = None

    def reset(self) -> None:
        """Count from zero."""
        self.waits.clear()
        self.places.clear()

    def wait(self, why: str) -> None:
        """The host waits for the device, or gives it data while a graph is recorded.

        Raises:
            RuntimeError: A graph is being recorded.
        """
        self.waits[why] += 1
        stack = [line for line in traceback.extract_stack() if any(f"/{name}/" in line.filename for name in OURS)]
        if stack:
            self.places[f"{Path(stack[-1].filename).name}:{stack[-1].lineno}: {why}"] += 1
        if self.graph is not None:
            raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing ({why})")

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = function._schema.name
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        cards = {tensor.device for tensor in tensors if isinstance(tensor, Resident)}
        asked = None if kwargs.get("device") is None else torch.device(kwargs["device"])
        if not cards and (asked is None or asked.type != NAME):
            return function(*args, **kwargs)
        host = [tensor for tensor in tensors if not isinstance(tensor, Resident) and tensor.dim()]
        if name not in COPIES:
            _refuse_strangers(name, cards, host)
        for why in _waits(function, args, asked, host, self.graph is not None):
            self.wait(why)
        if name == "aten::_fused_sdp_choice":
            return 0  # plain products and a softmax: the CPU's own kernel takes tensors of the CPU alone
        target = _target(name, args, cards, asked)
        if asked is not None:
            kwargs["device"] = torch.device("cpu")
        plain_args, plain_kwargs = tree_map(_held, args), tree_map(_held, kwargs)
        if self.graph is None:
            result = function(*plain_args, **plain_kwargs)
        else:
            result = self.graph.add(function, plain_args, plain_kwargs)
        given = {id(tensor.held): tensor for tensor in tensors if isinstance(tensor, Resident)}

        def settle(value: Any) -> Any:
            if not isinstance(value, torch.Tensor) or target is None:
                return value
            return given.get(id(value)) if id(value) in given else Resident(value, target)

        return tree_map(settle, result)


def _held(value: Any) -> Any:
    return value.held if isinstance(value, Resident) else value


def _refuse_strangers(name: str, cards: set[torch.device], host: list[torch.Tensor]) -> None:
    """Numbers of the host (tensors without a dimension) may take part, and indices of the host, at the cost of a wait."""
    found = sorted(map(str, cards)) + (["cpu"] if cards and host and name not in INDEXED else [])
    if len(found) > 1:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, {' and '.join(found)} ({name})"
        )


def _waits(
    function: Any, args: Any, asked: torch.device | None, host: list[torch.Tensor], recording: bool
) -> Iterator[str]:
    """For what the host has to wait in this call."""
    name = function._schema.name
    if name in INDEXED:
        if host:
            yield f"{name} with indices of the host"
        if any(isinstance(index, Resident) and index.dtype == torch.bool for index in tree_leaves(args[1])):
            yield f"{name} by a mask"
    elif name in WAITING or (name == "aten::repeat_interleave" and "Tensor" in function._overloadname):
        yield name
    elif name == "aten::_to_copy":
        here = isinstance(args[0], Resident)
        if here and asked is not None and asked.type != NAME:
            yield "to the host"
        elif recording and not here:
            yield "from the host"
    elif name == "aten::copy_":
        if not isinstance(args[0], Resident):
            yield "to the host"
        elif recording and host:
            yield "from the host"


def _target(name: str, args: Any, cards: set[torch.device], asked: torch.device | None) -> torch.device | None:
    """The card of the result; None for the host's memory."""
    if asked is not None:
        if asked.type != NAME:
            return None
        return torch.device(NAME, asked.index or 0)
    if name in COPIES:
        return args[0].device if isinstance(args[0], Resident) else None
    return next(iter(cards), None)


DEVICE, CURRENT = Device(), Stream()


@contextlib.contextmanager
def _recording(graph: Graph, *_: Any, **__: Any) -> Iterator[None]:
    """Stands for `torch.cuda.graph`."""
    DEVICE.graph = graph
    try:
        yield
    finally:
        DEVICE.graph = None
        graph.undo()


@functools.cache
def _register() -> None:
    """Make `gpu` a device of PyTorch, for the rest of this process."""
    from torch.utils import backend_registration

    class Module(backend_registration._DummyBackendModule):
        def get_amp_supported_dtype(self) -> list[torch.dtype]:
            return [torch.float16, torch.bfloat16]

        def is_autocast_enabled(self) -> bool:
            return False

        def device(self, *_: Any) -> contextlib.AbstractContextManager[None]:
            return contextlib.nullcontext()

        def get_rng_state(self, *_: Any) -> torch.Tensor:
            return torch.zeros(1)

        def set_rng_state(self, *_: Any) -> None:
            pass

        def device_count(self) -> int:
            return CARDS

        def current_device(self) -> int:
            return 0

    backend_registration._setup_privateuseone_for_python_backend(NAME, Module())
    torch._C._set_only_lift_cpu_tensors(True)


def pretend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this package train, answer and record its steps on the pretended device, until `monkeypatch` is undone."""
    _register()
    from vidreason.engine import batch_inference, decoder
    from vidreason.training import trainer

    for name, stand_in in {
        "CUDAGraph": Graph,
        "graph": _recording,
        "Stream": Stream,
        "stream": lambda *_: contextlib.nullcontext(),
        "current_stream": lambda *_: CURRENT,
        "graph_pool_handle": lambda: (0, 1),
        "synchronize": lambda *_: DEVICE.wait("synchronize"),
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(decoder, "GRAPH_DEVICE", NAME)
    for module in (trainer, batch_inference):
        monkeypatch.setattr(module, "compute_device", lambda: torch.device(NAME, 0))
    DEVICE.reset()
