"""The group resampler once more, slow and plain, to compare uneven groups with."""

import itertools
import math

import torch

PREFIX = "connector._connector."


def connector_weights(stored: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The resampler's weights among those of a checkpoint."""
    return {name.removeprefix(PREFIX): tensor for name, tensor in stored.items() if name.startswith(PREFIX)}


def slow_resampler(weights: dict[str, torch.Tensor], tokens: torch.Tensor, groups: int) -> torch.Tensor:
    """The resampler written from its description: one group after another, one head after another.

    Args:
        weights: Of `connector_weights`.
        tokens: [B, N, token width].
        groups: Number of groups; the first N mod groups have one token more.

    Returns:
        [B, groups * queries, width].
    """

    def layer_norm(values: torch.Tensor, name: str) -> torch.Tensor:
        return torch.nn.functional.layer_norm(
            values, values.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"]
        )

    tokens = tokens @ weights["linear.weight"].T + weights["linear.bias"]
    borders = [0]
    for group in range(groups):
        borders.append(borders[-1] + tokens.shape[1] // groups + (group < tokens.shape[1] % groups))
    results = []
    for begin, end in itertools.pairwise(borders):
        latents = weights["latents"][None].expand(len(tokens), -1, -1)
        for layer in range(sum(name.endswith("to_q.weight") for name in weights)):
            own = f"layers.{layer}.0"
            normed = layer_norm(latents, f"{own}.norm_latents")
            sources = torch.cat((layer_norm(tokens[:, begin:end], f"{own}.norm_media"), normed), dim=1)
            query = normed @ weights[f"{own}.to_q.weight"].T
            key, value = (sources @ weights[f"{own}.to_kv.weight"].T).chunk(2, dim=-1)
            heads = [
                torch.softmax(query[..., part] @ key[..., part].transpose(1, 2) / 8, dim=-1) @ value[..., part]
                for part in (slice(head * 64, head * 64 + 64) for head in range(8))
            ]
            latents = latents + torch.cat(heads, dim=-1) @ weights[f"{own}.to_out.weight"].T
            inner = layer_norm(latents, f"layers.{layer}.1.0") @ weights[f"layers.{layer}.1.1.weight"].T
            latents = latents + torch.nn.functional.gelu(inner) @ weights[f"layers.{layer}.1.3.weight"].T
        results.append(layer_norm(latents, "norm"))
    merged = torch.cat(results, dim=1)
    return merged + positions(*merged.shape[1:])


def positions(length: int, width: int) -> torch.Tensor:
    """Sines at even and cosines at odd places, rounded to half precision."""
    table = torch.zeros(length, width)
    angle = torch.arange(length)[:, None] * torch.exp(torch.arange(0, width, 2) * -(math.log(10000.0) / width))
    table[:, 0::2] = angle.sin()
    table[:, 1::2] = angle.cos()
    return table.half().float()
