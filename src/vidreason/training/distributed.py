"""The processes of a training run: which one this is, what it takes of a batch, and means over all of them.

One process needs nothing of this. Several are started by `torchrun`, one for each device; each computes the loss of its
part of a batch, gradients are averaged, and all take the same step.
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
"""How long a process waits for the others in a collective call: one of them may be reading or writing a state of 45 GB, which
a slow disk takes longer for than the ten minutes that NCCL waits by default."""


@dataclasses.dataclass(frozen=True)
class Ranks:
    """This process among those of the run.

    Attributes:
        rank: Number of this process, from 0.
        count: Number of processes, R.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def part(self, batch: Sequence[Item]) -> list[Item]:
        """This process's part of a batch: every R-th item, as many for all.

        Raises:
            ValueError: The batch cannot be split evenly. The mean over processes would then be no mean over items.
        """
        if len(batch) % self.count:
            raise ValueError(
                f"{len(batch)} questions a step cannot be split evenly over {self.count} processes; "
                f"make batch_size a multiple of {self.count}"
            )
        return list(batch[self.rank :: self.count])

    def dealt(self, items: Sequence[Item], costs: Sequence[float]) -> list[Item]:
        """Deal the items of all processes anew, so that none has much more to do than another.

        Every process gets as many items as it has now, the costliest first, to whoever has least so far.

        Args:
            items: This process's items; they travel, so they should be small.
            costs: What each of them costs.

        Returns:
            This process's items from now on, in the order of the whole batch.
        """
        if self.count == 1 or len(items) == 1:
            return list(items)
        rows = self.gather(list(zip(costs, items, strict=True)))
        # The batch was dealt out in turn (`part`): item i of process r is item i R + r of the whole.
        order = [rows[number % self.count][number // self.count] for number in range(self.count * len(items))]
        return [order[number][1] for number in balanced([cost for cost, _ in order], self.count)[self.rank]]

    def share(self, weight: float) -> float:
        """Factor by which a mean over `weight` things, here, has to be multiplied.

        The mean over processes of these products is then the mean over the things of all processes:
        factor = R w_r / (w_1 + ... + w_R), and 0 where no process has any.
        """
        total = sum(self.gather(weight))
        return self.count * weight / total if total else 0.0

    def gather(self, value: Item) -> list[Item]:
        """The values of all processes, in their order."""
        if self.count == 1:
            return [value]
        values: list[Item] = [value] * self.count
        dist.all_gather_object(values, value)
        return values

    def mean(self, row: Mapping[str, float], weight: float = 1.0) -> dict[str, float]:
        """Mean of every number of a row over all processes.

        Args:
            row: The same keys in every process that has a weight.
            weight: Of this process; 0 if it has nothing to tell.
        """
        rows = [(other, w) for other, w in self.gather((dict(row), weight)) if w]
        total = sum(w for _, w in rows)
        return {key: sum(other[key] * w for other, w in rows) / total for key in (rows[0][0] if rows else ())}

    def average_gradients(self, parameters: Iterable[torch.Tensor]) -> None:
        """Replace every gradient by its mean over all processes; none where no process has one."""
        if self.count == 1:
            return
        parameters = list(parameters)
        there = torch.tensor([float(parameter.grad is not None) for parameter in parameters])
        there = there.to(parameters[0].device)
        dist.all_reduce(there, op=dist.ReduceOp.MAX)
        for parameter, used in zip(parameters, there.tolist(), strict=True):
            if used:
                gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                dist.all_reduce(gradient)
                parameter.grad = gradient / self.count

    def wait(self) -> None:
        """Go on when all processes have come here."""
        if self.count > 1:
            dist.barrier()


def balanced(costs: Sequence[float], parts: int) -> list[list[int]]:
    """Numbers of items in parts of equal size and nearly equal cost: the costliest first, to the cheapest part with room.

    Args:
        costs: Of each item; as many as a multiple of `parts`.
        parts: Number of parts.

    Returns:
        The items of each part, ascending.

    Source: Graham 1969, "Bounds on multiprocessing timing anomalies" (longest processing time first), with a limit on the
        number of items.

    Example:
        >>> balanced([9, 1, 2, 8, 3, 7], 2)
        [[0, 2, 4], [1, 3, 5]]
    """
    size = len(costs) // parts
    found: list[list[int]] = [[] for _ in range(parts)]
    for number in sorted(range(len(costs)), key=lambda item: (-costs[item], item)):
        open_parts = [part for part in found if len(part) < size]
        min(open_parts, key=lambda part: sum(costs[item] for item in part)).append(number)
    return [sorted(part) for part in found]


def start_ranks(deepspeed: bool = False) -> Ranks:
    """Join the other processes that `torchrun` has started, if there are any.

    Args:
        deepspeed: Make a group of this process alone where there are no others: DeepSpeed needs one.

    Raises:
        ValueError: More processes were started on this machine than it has GPUs for.

    Differs from the source: accelerate's `PartialState` comes before its `Accelerator`; the other way round a CPU run
    silently becomes R runs of one process, without DeepSpeed.
    """
    on_gpu = _check_cards()
    if not on_gpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        if not deepspeed:
            return Ranks()
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
    """Whether this process computes on a GPU; two processes on one are refused."""
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
    """Run a training process to its end: with several ranks, none ends before the first one has written all results.

    `torchrun` ends all processes as soon as one fails, so one that left early and died of its own clearing up would take
    the first with it while that still writes the results. What Python and the libraries do at the end of a process is left
    out therefore, except after errors: with live process groups, whose native threads hold tensors, a process once aborted
    there (SIGABRT) after all work was done.
    """
    status: int | str | None = 0
    try:
        yield
    except SystemExit as ending:  # `Stopped`: all processes after the same step
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
