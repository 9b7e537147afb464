"""Copies of the policy that cost little memory: the reference policy, and a bf16 copy to sample from."""

import contextlib
import copy
import dataclasses
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import nn

from vidreason.models.base import VideoLM

Model = TypeVar("Model", bound=VideoLM)


@dataclasses.dataclass(frozen=True)
class Policies:
    """The trained policy and the models beside it.

    Attributes:
        policy: Trained in place.
        reference: Frozen; what the KL term compares with. None if `beta` is 0.
        sampler: Copy of the policy with bf16 matrices that rollouts are sampled from; None to sample from the policy.
    """

    policy: VideoLM
    reference: VideoLM | None = None
    sampler: VideoLM | None = None


def reference_of(policy: Model) -> Model:
    """A frozen copy of the trained parts. The parts that are frozen anyway are shared with the policy."""
    shared: dict[int, object] = {id(part): part for part in (policy.tokenizer, *policy.frozen_parts())}
    return copy.deepcopy(policy, shared).requires_grad_(False)


def cast_linears(model: Model) -> Model:
    """Cast the linear layers of the trained parts to bf16, in place.

    Under autocast the results are the same bits, because autocast casts float32 matrices to bf16 in every pass anyway.
    Decoding is limited by reading weights, and this reads a quarter of the bytes.
    """
    for module in _linears(model):
        for name, parameter in list(module.named_parameters(recurse=False)):
            # A new parameter, because the embeddings may be tied to this one and stay in float32.
            setattr(module, name, nn.Parameter(parameter.detach().to(torch.bfloat16), requires_grad=False))
    return model


def bf16_copy(model: Model) -> Model:
    """A copy with bf16 linear layers that shares all other weights with the model; `sync_from` updates it."""
    shared: dict[int, object] = {id(part): part for part in (model.tokenizer, *model.parameters())}
    return cast_linears(copy.deepcopy(model, shared))


@torch.no_grad()
def sync_from(bf16: VideoLM, model: VideoLM) -> None:
    """Copy the model's present weights into its `bf16_copy`."""
    for target, source in zip(_linears(bf16), _linears(model), strict=True):
        pairs = zip(target.parameters(recurse=False), source.parameters(recurse=False), strict=True)
        for to, weight in pairs:
            to.copy_(weight)


def _linears(model: VideoLM) -> list[nn.Linear]:
    return [module for part in model.trained_parts() for module in part.modules() if isinstance(module, nn.Linear)]


def offload(reference: Model) -> Model:
    """Move a reference to the host's memory, except for the frozen parts, which it shares with the policy."""
    for part in reference.trained_parts():
        part.to("cpu")
    return reference


@contextlib.contextmanager
def loaded_on(reference: VideoLM | None, device: torch.device, offloaded: bool) -> Iterator[None]:
    """Load an offloaded reference onto a device for the duration of the block.

    Its weights never change, so the copy in the host's memory stays and the device's copy is dropped.

    Args:
        reference: None if there is no reference policy.
        device: Where the reference is evaluated.
        offloaded: False leaves the reference where it is.
    """
    if reference is None or not offloaded:
        yield
        return
    tensors = [tensor for part in reference.trained_parts() for tensor in (*part.parameters(), *part.buffers())]
    kept = {id(tensor): (tensor, tensor.data) for tensor in tensors}
    for tensor, data in kept.values():
        tensor.data = data.to(device)
    try:
        yield
    finally:
        for tensor, data in kept.values():
            tensor.data = data
