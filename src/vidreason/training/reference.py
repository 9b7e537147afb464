"""The reference policy: the weights that training began with, at little cost in memory."""

import contextlib
import copy
from collections.abc import Iterator

import torch

from vidreason.model import TinyLlavaVideo


def reference_of(policy: TinyLlavaVideo) -> TinyLlavaVideo:
    """A frozen copy of connector and language model; the vision tower, frozen in both, is the policy's own."""
    tower = policy.vision_tower
    return copy.deepcopy(policy, {id(tower): tower}).requires_grad_(False)


@contextlib.contextmanager
def on_device(reference: TinyLlavaVideo | None, device: torch.device, wanted: bool) -> Iterator[None]:
    """Have the reference on a device for some passes, and in the host's memory again afterwards.

    Args:
        reference: The policy from `reference_of`; None for none.
        device: Where its passes run.
        wanted: False leaves it where it is.
    """
    if reference is None or not wanted:
        yield
        return
    own: list[torch.nn.Module] = [reference.language_model, reference.connector]
    for part in own:
        part.to(device)
    try:
        yield
    finally:
        for part in own:
            part.to("cpu")
