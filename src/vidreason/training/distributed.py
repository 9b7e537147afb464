"""The processes of a training: which one this is, its share of a batch, and means over all processes.

`torchrun` starts one process per device. Each computes the loss of its share of a batch, gradients are averaged, and all
processes take the same step. A training in a single process uses `SINGLE_PROCESS`.
"""

import contextlib
import dataclasses
import datetime
import os
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import torch
import torch.distributed as dist

Item = TypeVar("Item")
PATIENCE = datetime.timedelta(hours=2)
"""Timeout of collective calls. One process may be reading or writing a state of 45 GB; on a slow disk that takes longer than
NCCL's default of ten minutes."""


@dataclasses.dataclass(frozen=True)
class Ranks:
    """This process among those of the training.

    Attributes:
        rank: Number of this process, from 0.
        count: Number of processes, R.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def shard(self, batch: Sequence[Item]) -> list[Item]:
        """This process's share of a batch: every R-th item. All processes get equally many.

        Raises:
            ValueError: The batch cannot be split evenly. The mean over processes would then not be the mean over items.
        """
        if len(batch) % self.count:
            raise ValueError(
                f"{len(batch)} questions a step cannot be split evenly over {self.count} processes; "
                f"make batch_size a multiple of {self.count}"
            )
        return list(batch[self.rank :: self.count])

    def rebalance(self, items: Sequence[Item], costs: Sequence[float]) -> list[Item]:
        """Redistribute the items of all processes so that their total costs are nearly equal.

        Every process keeps its number of items. The costliest item goes first, to the process with the least cost so far.

        Args:
            items: This process's items. They are sent between processes, so they should be small.
            costs: Cost of each item.

        Returns:
            This process's new items, in the order of the whole batch.
        """
        if self.count == 1 or len(items) == 1:
            return list(items)
        rows = self.gather(list(zip(costs, items, strict=True)))
        # `shard` splits the batch round-robin: item i of process r is item i R + r of the whole batch.
        order = [rows[number % self.count][number // self.count] for number in range(self.count * len(items))]
        return [order[number][1] for number in balanced([cost for cost, _ in order], self.count)[self.rank]]

    def loss_scale(self, weight: float) -> float:
        """Factor for this process's mean over `weight` things.

        With it, the mean over processes is the mean over the things of all processes:
        factor = R w_r / (w_1 + ... + w_R), and 0 if no process has any.
        """
        total = sum(self.gather(weight))
        return self.count * weight / total if total else 0.0

    def gather(self, value: Item) -> list[Item]:
        """The values of all processes, in order of their ranks."""
        if self.count == 1:
            return [value]
        values: list[Item] = [value] * self.count
        dist.all_gather_object(values, value)
        return values

    def mean(self, row: Mapping[str, float], weight: float = 1.0) -> dict[str, float]:
        """Weighted mean of every number of a row over all processes.

        Args:
            row: The same keys in every process with a weight above 0.
            weight: Weight of this process; 0 leaves it out.
        """
        rows = [(other, w) for other, w in self.gather((dict(row), weight)) if w]
        total = sum(w for _, w in rows)
        return {key: sum(other[key] * w for other, w in rows) / total for key in (rows[0][0] if rows else ())}

    def average_gradients(self, parameters: Iterable[torch.Tensor]) -> None:
        """Replace every gradient by its mean over all processes; None stays where no process has a gradient."""
        if self.count == 1:
            return
        parameters = list(parameters)
        used = torch.tensor([float(parameter.grad is not None) for parameter in parameters])
        used = used.to(parameters[0].device)
        dist.all_reduce(used, op=dist.ReduceOp.MAX)
        for parameter, is_used in zip(parameters, used.tolist(), strict=True):
            if is_used:
                gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                dist.all_reduce(gradient)
                parameter.grad = gradient / self.count

    def barrier(self) -> None:
        """Wait until all processes have reached this call."""
        if self.count > 1:
            dist.barrier()


SINGLE_PROCESS = Ranks()


def balanced(costs: Sequence[float], parts: int) -> list[list[int]]:
    """Split items into parts of equal size and nearly equal cost: costliest first, to the cheapest part with room.

    Args:
        costs: Cost of each item; their number is a multiple of `parts`.
        parts: Number of parts.

    Returns:
        Numbers of the items of each part, ascending.

    Source: Graham 1969, "Bounds on multiprocessing timing anomalies" (longest processing time first), with a limit on the
        number of items.

    Example:
        >>> balanced([9, 1, 2, 8, 3, 7], 2)
        [[0, 2, 4], [1, 3, 5]]
    """
    size = len(costs) // parts
    filled: list[list[int]] = [[] for _ in range(parts)]
    for number in sorted(range(len(costs)), key=lambda item: (-costs[item], item)):
        with_room = [part for part in filled if len(part) < size]
        min(with_room, key=lambda part: sum(costs[item] for item in part)).append(number)
    return [sorted(part) for part in filled]


def start_ranks(deepspeed: bool = False) -> Ranks:
    """Join the other processes that `torchrun` has started, if there are any.

    Args:
        deepspeed: Create a process group even for a single process, because DeepSpeed needs one.

    Raises:
        ValueError: More processes were started on this machine than it has GPUs.

    Differs from the source: accelerate's `PartialState` is created before its `Accelerator`. The other way round, a run on
    CPUs silently becomes R runs of one process, without DeepSpeed.
    """
    on_gpu = _check_cards()
    if not on_gpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        if not deepspeed:
            return SINGLE_PROCESS
        for name, value in {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1"}.items():
            os.environ.setdefault(name, str(value))
        os.environ.setdefault("MASTER_PORT", str(_free_port()))
        if not dist.is_initialized():
            dist.init_process_group("nccl" if on_gpu else "gloo", timeout=PATIENCE)
    from accelerate import PartialState

    state = PartialState(cpu=not on_gpu, timeout=PATIENCE)
    expected = int(os.environ["WORLD_SIZE"])
    if state.num_processes != expected:
        raise RuntimeError(f"{expected} processes were started, accelerate found {state.num_processes}")
    return Ranks(state.process_index, state.num_processes)


def _check_cards() -> bool:
    """Whether this process computes on a GPU; refuses two processes on one GPU."""
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if not torch.cuda.is_available():
        if local > 1 and os.environ.get("RANK") == "0":
            print("torch sees no GPU here: the processes of this training compute on CPUs", file=sys.stderr, flush=True)
        return False
    count = torch.cuda.device_count()
    if local > count:
        raise ValueError(
            f"{local} processes were started on {socket.gethostname()}, which has {count} GPUs for them; each needs one of its "
            "own. Ask for as many GPUs as there are on one node (nodes: 1), or for several nodes with gres (docs/cluster.md)"
        )
    return True


@contextlib.contextmanager
def ending_together() -> Iterator[None]:
    """Run a training process to its end, so that no process exits before the main one has written all results.

    `torchrun` ends all processes as soon as one fails. A process that left early and crashed while Python shuts down would
    end the main one while it still writes. Therefore all processes wait for each other, and then skip the shutdown of
    Python and its libraries, except after errors: with live process groups, whose native threads hold tensors, a process
    once aborted there (SIGABRT) after all work was done.
    """
    status: int | str | None = 0
    try:
        yield
    except SystemExit as ending:  # `Stopped`: all processes raise it after the same step
        status = ending.code
    if not dist.is_initialized():
        if status:
            sys.exit(status)
        return
    if dist.get_world_size() > 1:
        dist.barrier()
    dist.destroy_process_group()
    if isinstance(status, str):
        print(status, file=sys.stderr)
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status or 0)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
