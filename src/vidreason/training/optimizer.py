"""One optimizer step from a loss, with torch's AdamW or with DeepSpeed, in one process or several.

Both accumulate the gradient of a step from one or several losses, update the weights, and give and restore the state that a
saved training needs.
"""

import contextlib
import math
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from vidreason.config.optimization import Optimizer as OptimizerSettings
from vidreason.training.distributed import Ranks

Tensors = dict[str, torch.Tensor]
BETA1, BETA2 = 0.9, 0.999
"""AdamW's decay rates, torch's default, which upstream's trainers use."""
WEIGHTS_A_GROUP = 400_000_000
"""Weights that DeepSpeed updates at a time. Before it updates a group it copies the group's gradients into one tensor and
that into float32: 6 bytes per weight of the group, in addition to the 16 bytes per weight of the model (docs/hardware.md)."""


class Optimizer(Protocol):
    """What the training loop needs of an optimizer.

    Attributes:
        sharded: Whether each process holds its own shard of the optimizer's state.
    """

    sharded: bool

    def backward(self, loss: torch.Tensor, last: bool = True) -> None:
        """Add the gradient of a part of this process's loss.

        The step follows the mean over all processes of the sums of their parts.

        Args:
            loss: Scalar with gradient; its graph is freed.
            last: Whether this is the last part of the step. All processes have equally many parts.
        """

    def step(self, rate: float) -> float:
        """Take one step along the accumulated gradient.

        Args:
            rate: Learning rate.

        Returns:
            Norm of the whole gradient before clipping. If it is not finite, the weights are no longer usable.
        """

    def state(self) -> Tensors:
        """The optimizer's state, or this process's shard of it."""

    def restore(self, weights: Tensors, state: Tensors) -> None:
        """Load saved weights and the saved `state`."""


def learning_rate(optimizer: OptimizerSettings, step: int, steps: int) -> float:
    """Learning rate of a step.

    Args:
        optimizer: Peak, schedule and warm-up.
        step: Step number, from 0.
        steps: Number of steps of the training.
    """
    warm = math.ceil(optimizer.warmup * steps)
    if step < warm:
        return optimizer.learning_rate * (step + 1) / warm
    if optimizer.schedule == "constant":
        return optimizer.learning_rate
    return optimizer.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def trained_weights(model: torch.nn.Module) -> Tensors:
    """The weights that are trained, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def make_optimizer(model: torch.nn.Module, optimizer: OptimizerSettings, ranks: Ranks) -> Optimizer:
    """The optimizer that the settings select."""
    if optimizer.deepspeed is None:
        return PlainOptimizer(model, optimizer, ranks)
    return DeepSpeedOptimizer(model, optimizer, ranks)


class PlainOptimizer:
    """AdamW, or AdamW with Muon, with the whole model in every process and gradients averaged over processes.

    Muon (Jordan et al. 2024, in torch's implementation) steps along the orthogonalized momentum of a matrix. A model trained
    from scratch needs about half as many steps with it. Embeddings and vectors stay with AdamW.
    """

    sharded = False

    def __init__(self, model: torch.nn.Module, optimizer: OptimizerSettings, ranks: Ranks) -> None:
        """Take the model's trained weights.

        Args:
            model: The same in every process.
            optimizer: Weight decay, clipping, AdamW's second decay rate, and Muon.
            ranks: The processes.
        """
        self.weights = trained_weights(model)
        matrices = {} if optimizer.muon is None else _matrices(self.weights)
        others = {name: weight for name, weight in self.weights.items() if name not in matrices}
        # The fused kernel needs no memory of its own; on the CPU torch's default is kept.
        on_card = any(weight.device.type != "cpu" for weight in others.values())
        fused = True if on_card else None
        self.optimizers = [_adamw([list(others.values())], optimizer.weight_decay, optimizer.beta2, fused)]
        if matrices:
            # Steps are scaled to the size of AdamW's, so that one learning rate serves both.
            muon = torch.optim.Muon(
                list(matrices.values()), lr=0.0, weight_decay=optimizer.weight_decay, adjust_lr_fn="match_rms_adamw"
            )
            muon.param_groups[0]["multiple"] = optimizer.muon
            self.optimizers.append(muon)
        self.max_grad_norm, self.ranks = optimizer.max_grad_norm, ranks

    def backward(self, loss: torch.Tensor, last: bool = True) -> None:
        """See `Optimizer`."""
        loss.backward()

    def step(self, rate: float) -> float:
        """See `Optimizer`. Where the gradient is not finite, the weights stay as they are."""
        self.ranks.average_gradients(self.weights.values())
        norm = float(torch.nn.utils.clip_grad_norm_(self.weights.values(), self.max_grad_norm))
        if math.isfinite(norm):
            for optimizer in self.optimizers:
                _set_rate(optimizer, rate)
                optimizer.step()
        for weight in self.weights.values():
            weight.grad = None  # frees the memory for the next rollouts
        return norm

    def state(self) -> Tensors:
        """See `Optimizer`."""
        weights = list(self.weights.values())
        return {name: tensor for optimizer in self.optimizers for name, tensor in _state_of(optimizer, weights).items()}

    def restore(self, weights: Tensors, state: Tensors) -> None:
        """See `Optimizer`."""
        with torch.no_grad():
            for name, tensor in weights.items():
                self.weights[name].copy_(tensor)
        for optimizer in self.optimizers:
            own = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
            numbered = enumerate(self.weights.values())
            _set_state(optimizer, {number: weight for number, weight in numbered if id(weight) in own}, state)


class DeepSpeedOptimizer:
    """DeepSpeed's ZeRO through accelerate: optimizer state, gradients and weights sharded over the processes.

    With `precision: bf16` weights and gradients are bf16, and a float32 copy of the weights is updated, because steps of
    1e-6 would vanish in bf16.
    """

    sharded = True

    def __init__(self, model: torch.nn.Module, optimizer: OptimizerSettings, ranks: Ranks) -> None:
        """Hand the model to DeepSpeed, which changes it in place.

        Args:
            model: The same in every process.
            optimizer: Weight decay, clipping, precision, and DeepSpeed's settings.
            ranks: The processes, from `start_ranks(deepspeed=True)`.

        Raises:
            RuntimeError: DeepSpeed was not used, or not by all processes.
        """
        # If DeepSpeed does build an operator of its own, the build looks for ninja on the path.
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        import deepspeed
        from accelerate import Accelerator, DeepSpeedPlugin
        from accelerate.utils import DistributedType

        # Without a GPU it would build a shared-memory reduction that only inference uses: that takes a compiler and a
        # minute, and leaves 69 MB per process in /dev/shm.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False

        plugin = DeepSpeedPlugin(hf_ds_config=deepspeed_config(optimizer))
        accelerator = Accelerator(deepspeed_plugin=plugin)
        if accelerator.distributed_type != DistributedType.DEEPSPEED or accelerator.num_processes != ranks.count:
            raise RuntimeError(
                f"DeepSpeed over {ranks.count} processes was requested, accelerate created "
                f"{accelerator.distributed_type} over {accelerator.num_processes}"
            )
        self.model = model
        self.engine, _ = accelerator.prepare(model, _adamw(in_groups(trained_weights(model)), optimizer.weight_decay))
        self.inner: torch.optim.Optimizer = self.engine.optimizer.optimizer

    def backward(self, loss: torch.Tensor, last: bool = True) -> None:
        """See `Optimizer`."""
        self.engine.set_gradient_accumulation_boundary(last)
        self.engine.backward(loss)
        if not last:
            # The engine does this at the start of its own forward pass; our passes call the model's parts directly.
            # Without it ZeRO-3 would overwrite the first part's gradient with the second's.
            self.engine.optimizer.clear_backward_seen_flag()

    def step(self, rate: float) -> float:
        """See `Optimizer`. DeepSpeed takes the step before the norm is known."""
        _set_rate(self.inner, rate)
        self.engine.step()
        return float(self.engine.get_global_grad_norm())

    def state(self) -> Tensors:
        """See `Optimizer`: this process's shard, with the float32 weights that belong to it."""
        masters = {f"master.{number}": weight.detach() for number, weight in enumerate(self._masters())}
        return {**masters, **_state_of(self.inner, self._masters())}

    def restore(self, weights: Tensors, state: Tensors) -> None:
        """See `Optimizer`."""
        with torch.no_grad(), gathered_weights(self.model, changed=True):
            own = trained_weights(self.model)
            for name, tensor in weights.items():
                own[name].copy_(tensor)
        with torch.no_grad():
            for number, weight in enumerate(self._masters()):
                weight.copy_(state[f"master.{number}"])
        _set_state(self.inner, dict(enumerate(self._masters())), state)

    def _masters(self) -> list[torch.Tensor]:
        """The float32 weights that this process updates. ZeRO-3 lends them to the optimizer only during the step."""
        outer = self.engine.optimizer
        if hasattr(outer, "fp32_partitioned_groups_flat"):
            return list(outer.fp32_partitioned_groups_flat)
        return [weight for group in self.inner.param_groups for weight in group["params"]]


def deepspeed_config(optimizer: OptimizerSettings) -> dict[str, Any]:
    """DeepSpeed's own configuration.

    Args:
        optimizer: With `deepspeed` set.

    Raises:
        ValueError: `deepspeed` is None.
    """
    if optimizer.deepspeed is None:
        raise ValueError("deepspeed is null; expected zero_stage and offload_optimizer")
    zero: dict[str, Any] = {"stage": optimizer.deepspeed.zero_stage}
    if optimizer.deepspeed.offload_optimizer:
        zero["offload_optimizer"] = {"device": "cpu"}
    return {
        "train_micro_batch_size_per_gpu": 1,  # the trainers split batches themselves
        "gradient_accumulation_steps": 1,
        "gradient_clipping": optimizer.max_grad_norm,
        "bf16": {"enabled": optimizer.precision == "bf16"},
        "zero_optimization": zero,
        "zero_force_ds_cpu_optimizer": False,  # torch's AdamW; DeepSpeed's own needs another long build
        "timers": {"throughput": {"enabled": False}},  # it would synchronize the device in each call of the model
    }


@contextlib.contextmanager
def gathered_weights(model: torch.nn.Module, changed: bool = False) -> Iterator[None]:
    """Have every weight whole in every process while the block runs; without ZeRO-3 this does nothing.

    Generation needs it: processes generate different numbers of tokens, and would wait forever for each other's shards.
    Saving needs it too.

    Args:
        model: The model.
        changed: Whether the block changes weights (in the same way in every process).
    """
    sharded = [parameter for parameter in model.parameters() if hasattr(parameter, "ds_id")]
    if not sharded:
        yield
        return
    import deepspeed

    if not changed:  # weights that an enclosing block has gathered must stay gathered when this block ends
        sharded = [parameter for parameter in sharded if parameter.ds_status.name != "AVAILABLE"]  # type: ignore[attr-defined]
    with (
        deepspeed.zero.GatheredParameters(sharded, modifier_rank=0 if changed else None),
        _without_hooks(model),
    ):
        yield


@contextlib.contextmanager
def _without_hooks(model: torch.nn.Module) -> Iterator[None]:
    """Remove the hooks with which ZeRO-3 gathers weights before a layer and frees them after it."""
    modules = list(model.modules())
    kept = [(module._forward_pre_hooks, module._forward_hooks) for module in modules]
    for module in modules:
        module._forward_pre_hooks, module._forward_hooks = type(kept[0][0])(), type(kept[0][1])()
    try:
        yield
    finally:
        for module, (before, after) in zip(modules, kept, strict=True):
            module._forward_pre_hooks, module._forward_hooks = before, after


def _matrices(weights: Tensors) -> Tensors:
    """The weights of linear layers, which Muon is meant for."""
    tables = ("embed", "latents", "lm_head")
    return {
        name: weight
        for name, weight in weights.items()
        if weight.ndim == 2 and not any(table in name for table in tables)
    }


def in_groups(weights: Tensors, most: int | None = None) -> list[list[torch.Tensor]]:
    """Split weights, in their order, into groups of at most `most` numbers (default `WEIGHTS_A_GROUP`).

    A weight is never split, so a larger one is a group by itself.
    """
    limit, size = most or WEIGHTS_A_GROUP, 0
    groups: list[list[torch.Tensor]] = []
    for weight in weights.values():
        # ZeRO-3 replaces a weight by an empty tensor and keeps the size in an attribute.
        count = int(getattr(weight, "ds_numel", weight.numel()))
        if not groups or size + count > limit:
            groups.append([])
            size = 0
        groups[-1].append(weight)
        size += count
    return groups


def _adamw(
    groups: list[list[torch.Tensor]], weight_decay: float, beta2: float = BETA2, fused: bool | None = None
) -> torch.optim.Optimizer:
    parameter_groups = [{"params": group} for group in groups]
    return torch.optim.AdamW(parameter_groups, lr=0.0, weight_decay=weight_decay, betas=(BETA1, beta2), fused=fused)


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("multiple", 1.0)


def _state_of(optimizer: torch.optim.Optimizer, weights: list[torch.Tensor]) -> Tensors:
    """What a torch optimizer keeps of each weight, as `<number of the weight>.<name>`."""
    return {
        f"{number}.{name}": value if isinstance(value, torch.Tensor) else torch.tensor(value)
        for number, weight in enumerate(weights)
        for name, value in optimizer.state.get(weight, {}).items()
    }


def _set_state(optimizer: torch.optim.Optimizer, weights: Mapping[int, torch.Tensor], tensors: Tensors) -> None:
    """Inverse of `_state_of` for numbered weights; tensors of other weights are ignored."""
    fused = {id(weight) for group in optimizer.param_groups if group.get("fused") for weight in group["params"]}
    for key, tensor in tensors.items():
        number, name = key.split(".", 1)
        if number.isdigit() and int(number) in weights:
            weight = weights[int(number)]
            # torch's AdamW counts its steps on the CPU, unless it is fused.
            on_host = name == "step" and id(weight) not in fused
            optimizer.state[weight][name] = tensor if on_host else tensor.to(weight.device)
