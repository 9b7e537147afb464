"""The group resampler: visual tokens are divided into groups, and the same latent queries attend to each, in one pass.

Letters: B clips, G groups, N visual tokens of a clip, n tokens of the longest group, q queries per group, D width.
"""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

EXPANSION = 4


def position_encoding(length: int, width: int) -> torch.Tensor:
    """Sinusoids rounded to half precision.

    pe[p, 2i] = sin(p / 10000^(2i/D)), pe[p, 2i+1] = cos(p / 10000^(2i/D)).

    Args:
        length: Number of positions.
        width: D, even.

    Returns:
        [length, width] float16. The rounding is part of the published model: without it the logits change by 2e-3.

    Source: tinyllava/model/connector/groupresampler.py of ZhangXJ199/TinyLLaVA-Video-R1@efe76a1.
    Differs from the source: the values are the same, but always computed on the CPU.
    """
    position = torch.arange(length, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10000.0) / width))
    angle = position * rate
    return torch.stack((torch.sin(angle), torch.cos(angle)), dim=-1).flatten(1).to(torch.float16)


def group_sizes(tokens: int, groups: int) -> list[int]:
    """Sizes of the groups: as equal as possible, the first `tokens % groups` one larger.

    Example:
        >>> group_sizes(40, 6)
        [7, 7, 7, 7, 6, 6]
    """
    size, larger = divmod(tokens, groups)
    return [size + 1] * larger + [size] * (groups - larger)


class LatentAttention(nn.Module):
    """Latents attend to a group's tokens and to themselves.

    Source: PerceiverAttention in tinyllava/model/connector/groupresampler.py@efe76a1 (after Flamingo).
    Differs from the source: fused attention, an optional mask.
    """

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        """Create the projections for tokens and latents of `width`."""
        super().__init__()
        inner = heads * head_width
        self.head_width = head_width
        self.norm_media = nn.LayerNorm(width)
        self.norm_latents = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)

    def forward(self, tokens: torch.Tensor, latents: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Update the latents.

        Args:
            tokens: [BG, n, D].
            latents: [BG, q, D].
            mask: [BG, 1, 1, n + q] bool, False where a token is padding; None without padding.

        Returns:
            [BG, q, D].
        """
        latents = self.norm_latents(latents)
        sources = torch.cat((self.norm_media(tokens), latents), dim=1)
        key, value = (self._heads(part) for part in self.to_kv(sources).chunk(2, dim=-1))
        attended = F.scaled_dot_product_attention(self._heads(self.to_q(latents)), key, value, attn_mask=mask)
        out: torch.Tensor = self.to_out(attended.transpose(1, 2).flatten(2))
        return out

    def _heads(self, tensor: torch.Tensor) -> torch.Tensor:
        """[BG, t, heads * width] -> [BG, heads, t, width]."""
        return tensor.unflatten(-1, (-1, self.head_width)).transpose(1, 2)


def feed_forward(width: int) -> nn.Sequential:
    """Layer norm, up, exact GELU, down; no biases in the projections."""
    inner = EXPANSION * width
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, inner, bias=False), nn.GELU(), nn.Linear(inner, width, bias=False)
    )


class GroupResampler(nn.Module):
    """Map a clip's N visual tokens to G * q embeddings of the language model's width.

    Tokens are divided into G runs of consecutive tokens, regardless of frame borders. The same q latents attend to every run.
    The position encoding is added at the end, over all G * q results.

    Source: PerceiverResampler in tinyllava/model/connector/groupresampler.py@efe76a1.
    Differs from the source: the groups are one batch (padded and masked where they are uneven), not a loop; the position
        encoding is cached by length, type and device; any device.
    """

    def __init__(
        self, token_width: int, width: int, queries: int, groups: int, depth: int, heads: int = 8, head_width: int = 64
    ) -> None:
        """Create the resampler.

        Args:
            token_width: Width of the vision tower.
            width: D, width of the language model.
            queries: Queries over all groups; each group gets `queries // groups`.
            groups: G.
            depth: Number of layers.
            heads: Attention heads; the published model has 8, whatever its width.
            head_width: Width of a head; 64 in the published model.
        """
        super().__init__()
        self.groups = groups
        self.latents = nn.Parameter(torch.randn(queries // groups, width))
        self.layers = nn.ModuleList(
            nn.ModuleList((LatentAttention(width, heads, head_width), feed_forward(width))) for _ in range(depth)
        )
        self.linear = nn.Linear(token_width, width)
        self.norm = nn.LayerNorm(width)
        self._positions: dict[tuple[int, torch.dtype, torch.device], torch.Tensor] = {}
        self._layouts: dict[tuple[int, torch.device], tuple[torch.Tensor, torch.Tensor]] = {}

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Resample.

        Args:
            tokens: [B, N, token_width], N at least G.

        Returns:
            [B, G * q, D].

        Raises:
            ValueError: There are fewer tokens than groups.
        """
        clips, count = tokens.shape[:2]
        if count < self.groups:
            raise ValueError(
                f"a clip has {count} visual tokens for {self.groups} groups; use more frames or fewer groups"
            )
        grouped, mask = self._group(self.linear(tokens))
        latents = self.latents.expand(grouped.shape[0], -1, -1)
        for layer in self.layers:
            attention, expand = cast(nn.ModuleList, layer)
            latents = attention(grouped, latents, mask) + latents
            latents = expand(latents) + latents
        embeds = self.norm(latents).reshape(clips, -1, latents.shape[-1])  # [BG, q, D] -> [B, Gq, D]
        return embeds + self._encoding(embeds)

    def _group(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """[B, N, D] -> [BG, n, D] and the mask of its padding (None if the groups are equal)."""
        clips, count, width = tokens.shape
        if count % self.groups == 0:
            return tokens.reshape(clips * self.groups, count // self.groups, width), None
        key = (count, tokens.device)
        if key not in self._layouts:
            self._layouts[key] = group_layout(count, self.groups, self.latents.shape[0], tokens.device)
        index, mask = self._layouts[key]
        grouped = tokens[:, index].flatten(0, 1)  # [B, N, D] -> [B, G, n, D] -> [BG, n, D]
        return grouped, mask.repeat(clips, 1)[:, None, None, :]

    def _encoding(self, embeds: torch.Tensor) -> torch.Tensor:
        """Position encoding [Gq, D] in the type and on the device of `embeds`."""
        length, width = embeds.shape[1:]
        key = (length, embeds.dtype, embeds.device)
        if key not in self._positions:
            self._positions[key] = position_encoding(length, width).to(embeds.device, embeds.dtype)
        return self._positions[key]


def group_layout(tokens: int, groups: int, queries: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Index of each group's tokens, and which of the padded slots are real.

    Args:
        tokens: N.
        groups: G.
        queries: q, appended to the keys of every group and never masked.
        device: Device of the results.

    Returns:
        Token numbers [G, n] (padding repeats the group's last token) and mask [G, n + q] bool.
    """
    sizes = torch.tensor(group_sizes(tokens, groups), device=device)[:, None]
    slot = torch.arange(int(sizes.max()), device=device)[None]
    index = sizes.cumsum(0) - sizes + torch.minimum(slot, sizes - 1)
    real = torch.cat((slot < sizes, torch.ones(groups, queries, dtype=torch.bool, device=device)), dim=1)
    return index, real
