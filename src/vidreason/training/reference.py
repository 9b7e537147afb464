"""Copies of the policy at little cost in memory: the reference, and one to sample from in half precision."""

import contextlib
import copy
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import nn

from vidreason.models.base import VideoLM

Model = TypeVar("Model", bound=VideoLM)


def reference_of(policy: Model) -> Model:
    """A frozen copy of connector and language model; the vision tower, frozen in both, is the policy's own."""
    shared: dict[int, object] = {id(part): part for part in (policy.tokenizer, *policy.frozen_parts())}
    return copy.deepcopy(policy, shared).requires_grad_(False)


def halve(model: Model) -> Model:
    """Put the matrices of connector and language model into bf16, in place.

    Autocast takes them as they are and computes what it computes with float32 matrices, which it casts in every pass. A
    decoded token is all about reading weights: that is four times the traffic.
    """
    for module in _linears(model):
        for name, parameter in list(module.named_parameters(recurse=False)):
            # A new parameter: the embeddings may be tied to this one, and stay in float32.
            setattr(module, name, nn.Parameter(parameter.detach().to(torch.bfloat16), requires_grad=False))
    return model


def halved_copy(model: Model) -> Model:
    """A copy with its matrices in bf16; everything else is the model's own memory (see `refresh`)."""
    shared: dict[int, object] = {id(part): part for part in (model.tokenizer, *model.parameters())}
    return halve(copy.deepcopy(model, shared))


@torch.no_grad()
def refresh(halved: VideoLM, model: VideoLM) -> None:
    """Give a `halved_copy` the present weights of its model."""
    for copied, module in zip(_linears(halved), _linears(model), strict=True):
        for mine, its in zip(copied.parameters(recurse=False), module.parameters(recurse=False), strict=True):
            mine.copy_(its)


def _linears(model: VideoLM) -> list[nn.Linear]:
    return [module for part in model.trained_parts() for module in part.modules() if isinstance(module, nn.Linear)]


def put_off(reference: Model) -> Model:
    """Move a reference to the host's memory, but for the tower, which is the policy's."""
    for part in reference.trained_parts():
        part.to("cpu")
    return reference


@contextlib.contextmanager
def on_device(reference: VideoLM | None, device: torch.device, wanted: bool) -> Iterator[None]:
    """Have a reference that was `put_off` on a device for some passes.

    Its weights never change, so the host's copy stays and the device's is dropped.

    Args:
        reference: None for none.
        device: Where its passes run.
        wanted: False leaves it where it is.
    """
    if reference is None or not wanted:
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
