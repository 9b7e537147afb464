"""One optimiser step from a loss, with plain AdamW or with DeepSpeed, on one process or several.

Both have the same duties: gather the gradient of a step from one or several losses, update the weights, give out what a
saved state needs, take it back.
"""

import contextlib
import math
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from vidreason.training.distributed import Ranks

Tensors = dict[str, torch.Tensor]
BETA1, BETA2 = 0.9, 0.999
"""AdamW's decay rates, torch's default, which upstream's trainers use."""
WEIGHTS_A_GROUP = 400_000_000
"""Weights that DeepSpeed updates at a time. It copies a group's gradients into one piece, and this into float32, before the
group is updated: 6 bytes a weight beside the 16 that stand, of all weights where they are one group (docs/hardware.md)."""


class Updater(Protocol):
    """What the training loop asks of an optimiser.

    Attributes:
        divided: Whether each process holds a part of the optimiser's state of its own.
    """

    divided: bool

    def backward(self, loss: torch.Tensor, last: bool = True) -> None:
        """Add the gradient of a part of this process's loss; the step goes down the mean over all processes of the sums.

        Args:
            loss: With gradient; its graph is used up.
            last: Whether this is the last part of the step. All processes have as many parts.
        """

    def step(self, rate: float) -> float:
        """Take one step down the gradient that was gathered.

        Args:
            rate: Learning rate.

        Returns:
            Norm of the whole gradient before it is scaled down. If it is not finite, the weights are of no more use.
        """

    def moments(self) -> Tensors:
        """The optimiser's state, or this process's part of it."""

    def restore(self, weights: Tensors, moments: Tensors) -> None:
        """Go on from saved weights and state."""


def trained_weights(model: torch.nn.Module) -> Tensors:
    """The weights that are trained, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


class PlainUpdater:
    """The whole model in every process, gradients averaged over processes: AdamW, or AdamW and Muon.

    Muon (Jordan et al. 2024, as torch.optim gives it) steps along the orthogonalised momentum of a matrix. A model that
    starts from nothing learns with it in about half the steps of AdamW; embeddings and vectors stay with AdamW.
    """

    divided = False

    def __init__(
        self,
        model: torch.nn.Module,
        weight_decay: float,
        max_grad_norm: float,
        ranks: Ranks,
        beta2: float = BETA2,
        muon: float | None = None,
    ) -> None:
        """Take the model's trained weights.

        Args:
            model: The same in every process.
            weight_decay: Decoupled weight decay.
            max_grad_norm: Gradients are scaled down to this norm.
            ranks: The processes.
            beta2: AdamW's decay rate of the second moment.
            muon: Learning rate of the matrices under Muon, as a multiple of AdamW's; None for AdamW alone.
        """
        self.weights = trained_weights(model)
        matrices = {} if muon is None else _matrices(self.weights)
        others = {name: weight for name, weight in self.weights.items() if name not in matrices}
        # On a GPU in one kernel, which needs no memory of its own; on the CPU as torch does by default.
        on_card = any(weight.device.type != "cpu" for weight in others.values())
        self.optimizers = [_adamw([list(others.values())], weight_decay, beta2, fused=True if on_card else None)]
        if matrices:
            # The size of a step is that of AdamW, so that one learning rate serves both.
            own = torch.optim.Muon(
                list(matrices.values()), lr=0.0, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
            )
            own.param_groups[0]["multiple"] = muon
            self.optimizers.append(own)
        self.max_grad_norm, self.ranks = max_grad_norm, ranks

    def backward(self, loss: torch.Tensor, last: bool = True) -> None:
        """See `Updater`."""
        loss.backward()

    def step(self, rate: float) -> float:
        """See `Updater`; where the gradient is not finite, the weights stay as they are."""
        self.ranks.average_gradients(self.weights.values())
        norm = float(torch.nn.utils.clip_grad_norm_(self.weights.values(), self.max_grad_norm))
        if math.isfinite(norm):
            for optimizer in self.optimizers:
                _set_rate(optimizer, rate)
                optimizer.step()
        for weight in self.weights.values():
            weight.grad = None  # its memory is the rollouts' until the next backward pass
        return norm

    def moments(self) -> Tensors:
        """See `Updater`."""
        weights = list(self.weights.values())
        return {name: tensor for optimizer in self.optimizers for name, tensor in _state_of(optimizer, weights).items()}

    def restore(self, weights: Tensors, moments: Tensors) -> None:
        """See `Updater`."""
        with torch.no_grad():
            for name, tensor in weights.items():
                self.weights[name].copy_(tensor)
        for optimizer in self.optimizers:
            mine = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
            numbered = enumerate(self.weights.values())
            _set_state(optimizer, {number: weight for number, weight in numbered if id(weight) in mine}, moments)


class DeepSpeedUpdater:
    """DeepSpeed's ZeRO through accelerate: optimiser state, gradients and weights dealt out over the processes.

    Weights and gradients are in bf16 where `precision` says so, with a copy in float32 that is updated: steps of 1e-6
    would vanish in bf16.
    """

    divided = True

    def __init__(
        self,
        model: torch.nn.Module,
        weight_decay: float,
        max_grad_norm: float,
        ranks: Ranks,
        settings: Mapping[str, Any],
        precision: str,
    ) -> None:
        """Hand the model to DeepSpeed, which changes it in place.

        Args:
            model: The same in every process.
            weight_decay: AdamW's decoupled weight decay.
            max_grad_norm: Gradients are scaled down to this norm.
            ranks: The processes, from `start_ranks(deepspeed=True)`.
            settings: `zero_stage` (1, 2 or 3) and `offload_optimizer`.
            precision: `fp32` or `bf16`.

        Raises:
            RuntimeError: DeepSpeed was not used, or not by all processes.
        """
        # If DeepSpeed builds an operator of its own after all, the build looks for ninja on the path.
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        import deepspeed
        from accelerate import Accelerator, DeepSpeedPlugin
        from accelerate.utils import DistributedType

        # Without a GPU it would build a sum over processes through shared memory, for inference alone: that takes a compiler
        # and a minute, and leaves 69 MB a process in /dev/shm.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False

        plugin = DeepSpeedPlugin(hf_ds_config=deepspeed_config(settings, precision, max_grad_norm))
        accelerator = Accelerator(deepspeed_plugin=plugin)
        if accelerator.distributed_type != DistributedType.DEEPSPEED or accelerator.num_processes != ranks.count:
            raise RuntimeError(
                f"DeepSpeed over {ranks.count} processes was asked for, accelerate made "
                f"{accelerator.distributed_type} over {accelerator.num_processes}"
            )
        self.model = model
        self.engine, _ = accelerator.prepare(model, _adamw(in_groups(trained_weights(model)), weight_decay))
        self.inner: torch.optim.Optimizer = self.engine.optimizer.optimizer

    def backward(self, loss: torch.Tensor, last: bool = True) -> None:
        """See `Updater`."""
        self.engine.set_gradient_accumulation_boundary(last)
        self.engine.backward(loss)
        if not last:
            # The engine does this at the start of a forward pass of its own; our passes go to the model's parts. Without
            # it ZeRO-3 would put the second part's gradient in the place of the first's.
            self.engine.optimizer.clear_backward_seen_flag()

    def step(self, rate: float) -> float:
        """See `Updater`; DeepSpeed takes the step before the norm is known."""
        _set_rate(self.inner, rate)
        self.engine.step()
        return float(self.engine.get_global_grad_norm())

    def moments(self) -> Tensors:
        """See `Updater`: this process's part, with the float32 weights that belong to it."""
        masters = {f"master.{number}": weight.detach() for number, weight in enumerate(self._masters())}
        return {**masters, **_state_of(self.inner, self._masters())}

    def restore(self, weights: Tensors, moments: Tensors) -> None:
        """See `Updater`."""
        with torch.no_grad(), whole_weights(self.model, changed=True):
            own = trained_weights(self.model)
            for name, tensor in weights.items():
                own[name].copy_(tensor)
        with torch.no_grad():
            for number, weight in enumerate(self._masters()):
                weight.copy_(moments[f"master.{number}"])
        _set_state(self.inner, dict(enumerate(self._masters())), moments)

    def _masters(self) -> list[torch.Tensor]:
        """The float32 weights that this process updates; ZeRO-3 lends them to the optimiser only for the step."""
        outer = self.engine.optimizer
        if hasattr(outer, "fp32_partitioned_groups_flat"):
            return list(outer.fp32_partitioned_groups_flat)
        return [weight for group in self.inner.param_groups for weight in group["params"]]


def deepspeed_config(settings: Mapping[str, Any], precision: str, max_grad_norm: float) -> dict[str, Any]:
    """DeepSpeed's own configuration.

    Args:
        settings: `zero_stage` (1, 2 or 3) and `offload_optimizer`.
        precision: `fp32` or `bf16`.
        max_grad_norm: Gradients are scaled down to this norm.
    """
    zero: dict[str, Any] = {"stage": settings["zero_stage"]}
    if settings["offload_optimizer"]:
        zero["offload_optimizer"] = {"device": "cpu"}
    return {
        "train_micro_batch_size_per_gpu": 1,  # what a step holds is the caller's business
        "gradient_accumulation_steps": 1,
        "gradient_clipping": max_grad_norm,
        "bf16": {"enabled": precision == "bf16"},
        "zero_optimization": zero,
        "zero_force_ds_cpu_optimizer": False,  # torch's AdamW; DeepSpeed's own is another long build
        "timers": {"throughput": {"enabled": False}},  # it would wait for the device in each call of the model
    }


@contextlib.contextmanager
def whole_weights(model: torch.nn.Module, changed: bool = False) -> Iterator[None]:
    """Every weight whole in every process, where ZeRO-3 has dealt them out; else nothing happens.

    Generation needs it: processes generate for different numbers of steps, and would wait for each other's weights for
    ever. So does saving.

    Args:
        model: The model.
        changed: Whether the block changes weights (in the same way in every process).
    """
    dealt = [parameter for parameter in model.parameters() if hasattr(parameter, "ds_id")]
    if not dealt:
        yield
        return
    import deepspeed

    if not changed:  # those that are whole already, in a block around this one, have to stay so when this one ends
        dealt = [parameter for parameter in dealt if parameter.ds_status.name != "AVAILABLE"]  # type: ignore[attr-defined]
    with deepspeed.zero.GatheredParameters(dealt, modifier_rank=0 if changed else None), _without_hooks(model):
        yield


@contextlib.contextmanager
def _without_hooks(model: torch.nn.Module) -> Iterator[None]:
    """Take out the hooks by which ZeRO-3 fetches weights before a layer and drops them after it."""
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
    """The weights of linear layers: what Muon is made for."""
    tables = ("embed", "latents", "lm_head")
    return {
        name: weight
        for name, weight in weights.items()
        if weight.ndim == 2 and not any(table in name for table in tables)
    }


def in_groups(weights: Tensors, most: int | None = None) -> list[list[torch.Tensor]]:
    """Weights in their order, in groups of about as many numbers as `most` (default `WEIGHTS_A_GROUP`), one weight at least."""
    limit, size = most or WEIGHTS_A_GROUP, 0
    groups: list[list[torch.Tensor]] = []
    for weight in weights.values():
        # ZeRO-3 leaves an empty tensor where a weight was, and its size beside it.
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
    """What the optimiser keeps of each weight, as `<number of the weight>.<name>`."""
    return {
        f"{number}.{name}": value if isinstance(value, torch.Tensor) else torch.tensor(value)
        for number, weight in enumerate(weights)
        for name, value in optimizer.state.get(weight, {}).items()
    }


def _set_state(optimizer: torch.optim.Optimizer, weights: Mapping[int, torch.Tensor], tensors: Tensors) -> None:
    """Undo `_state_of` for numbered weights; the tensors of others are passed over."""
    fused = {id(weight) for group in optimizer.param_groups if group.get("fused") for weight in group["params"]}
    for key, tensor in tensors.items():
        number, name = key.split(".", 1)
        if number.isdigit() and int(number) in weights:
            weight = weights[int(number)]
            # torch's AdamW counts its steps on the CPU, unless it is one kernel.
            on_host = name == "step" and id(weight) not in fused
            optimizer.state[weight][name] = tensor if on_host else tensor.to(weight.device)
