"""Attention of packed rows: prompts and their completions in one row of tokens, each completion attending to its prompt and itself.

    [prompt 1 | .. | prompt B | completion 1.1 | .. | completion 1.G | completion 2.1 | ..]

A prompt is passed once for its G completions and nothing is padded, so a row has P + G C tokens where separate sequences have
G (P + C). Every layer but attention treats the row like any other. Attention has two parts, prompts over themselves and
completions over [prompt | completion], so no score between unrelated sequences is computed. Values and gradients are those of
separate sequences. The attention is registered with transformers, so it works under gradient checkpointing, where a cache of
keys and values does not.

Letters: B prompts, G completions a prompt, N = B G completions, P tokens of the longest prompt, C of the longest
completion, S tokens in all, H query heads, d width of a head.
"""

import dataclasses
import functools
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

PACKED_SDPA = "packed_sdpa"
"""Name of the attention: transformers' sdpa with an optional `packing`."""


@dataclasses.dataclass(frozen=True)
class Packing:
    """Which tokens of a packed row belong together.

    Attributes:
        prompt_lengths: B numbers of tokens.
        completion_lengths: N numbers of tokens, the G of a prompt next to each other; 0 is allowed.
        device: Device of the row.
    """

    prompt_lengths: tuple[int, ...]
    completion_lengths: tuple[int, ...]
    device: torch.device

    @property
    def group(self) -> int:
        """Completions a prompt, G."""
        return len(self.completion_lengths) // len(self.prompt_lengths)

    @property
    def prompts(self) -> int:
        """Tokens of all prompts, which is the index of the first completion token."""
        return sum(self.prompt_lengths)

    @functools.cached_property
    def positions(self) -> torch.Tensor:
        """Position of every token in its own sequence: int64 [1, S]. A completion continues the count of its prompt."""
        starts = [self.prompt_lengths[number // self.group] for number in range(len(self.completion_lengths))]
        pieces = [torch.arange(length) for length in self.prompt_lengths]
        pieces += [torch.arange(s, s + n) for s, n in zip(starts, self.completion_lengths, strict=True)]
        return torch.cat(pieces)[None].to(self.device)

    @functools.cached_property
    def prompt_rows(self) -> torch.Tensor:
        """Index in the row of every prompt's tokens: int64 [B, P], padded on the right with tokens of the same prompt."""
        return self._rows(self.prompt_lengths, 0)

    @functools.cached_property
    def completion_rows(self) -> torch.Tensor:
        """Index in the row of every completion's tokens: int64 [N, C], padded on the right with arbitrary tokens."""
        return self._rows(self.completion_lengths, self.prompts)

    @functools.cached_property
    def real_prompt_slots(self) -> torch.Tensor:
        """Which of the B P slots of `prompt_rows` are not padding: int64 [tokens of all prompts]."""
        return self._real_slots(self.prompt_lengths)

    @functools.cached_property
    def real_completion_slots(self) -> torch.Tensor:
        """Which of the N C slots of `completion_rows` are not padding: int64 [tokens of all completions]."""
        return self._real_slots(self.completion_lengths)

    @functools.cached_property
    def mask(self) -> torch.Tensor:
        """Which keys of [prompt | completion] each completion token attends to: bool [N or 1, 1, C, P + C]."""
        width, height = max(self.prompt_lengths), max(self.completion_lengths)
        causal = torch.ones(height, height, dtype=torch.bool, device=self.device).tril()
        lengths = torch.tensor(self.prompt_lengths, device=self.device)
        lengths = lengths[:1] if len(set(self.prompt_lengths)) == 1 else lengths.repeat_interleave(self.group)
        in_prompt = torch.arange(width, device=self.device) < lengths[:, None]  # [N or 1, P]
        in_prompt = in_prompt[:, None].expand(-1, height, -1)
        return torch.cat((in_prompt, causal.expand(len(lengths), -1, -1)), dim=-1)[:, None]

    @functools.cached_property
    def segments(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same attention for kernels that take concatenated sequences of variable length.

        Returns:
            Cumulative lengths of the queries int32 [B + N + 1] and of the keys int32 [B + N + 1], and the index in the row of
            every key int64: those of the prompts, then [prompt | completion] for each completion.
        """
        rows = list(
            torch.arange(self.prompts + sum(self.completion_lengths)).split(
                self.prompt_lengths + self.completion_lengths
            )
        )
        prompts, completions = rows[: len(self.prompt_lengths)], rows[len(self.prompt_lengths) :]
        keys = prompts + [torch.cat((prompts[n // self.group], row)) for n, row in enumerate(completions)]
        bounds = [torch.tensor([0, *map(len, pieces)]).cumsum(0).int().to(self.device) for pieces in (rows, keys)]
        return bounds[0], bounds[1], torch.cat(keys).to(self.device)

    def _rows(self, lengths: Sequence[int], start: int) -> torch.Tensor:
        sizes = torch.tensor(lengths)[:, None]
        place = torch.arange(max(lengths))[None]
        first = start + sizes.cumsum(0) - sizes
        return (
            (first + torch.minimum(place, (sizes - 1).clamp(min=0))).clamp(max=start + sum(lengths) - 1).to(self.device)
        )

    def _real_slots(self, lengths: Sequence[int]) -> torch.Tensor:
        sizes = torch.tensor(lengths)[:, None]
        return (torch.arange(max(lengths))[None] < sizes).flatten().nonzero().squeeze(1).to(self.device)


def packed_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    packing: Packing | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of a packed row, or transformers' sdpa without a packing.

    Args:
        module: The attention layer.
        query: [1, H, S, d].
        key: [1, KV heads, S, d].
        value: As `key`.
        attention_mask: Only without a packing.
        packing: Which tokens belong together.
        options: `scaling` and others, passed on to transformers' function.

    Returns:
        [1, S, H, d], and None for the weights.
    """
    if packing is None:
        if query.shape[2] == 1 and query.shape[1] > key.shape[1]:
            return _one_token(query, key, value, attention_mask, options.get("scaling")), None
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    # Under autocast the rotation leaves queries and keys in float32.
    query, key = query.to(value.dtype), key.to(value.dtype)
    kernel = varlen_kernel() if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16) else None
    if kernel is not None:
        queries, keys, index = packing.segments
        longest_query = max(*packing.prompt_lengths, *packing.completion_lengths)
        longest_key = max(packing.prompt_lengths) + max(packing.completion_lengths, default=0)
        flat = (states[0].transpose(0, 1) for states in (query, key[:, :, index], value[:, :, index]))  # [tokens, H, d]
        out = kernel(
            *flat, queries, keys, longest_query, longest_key, softmax_scale=options.get("scaling"), causal=True
        )
        return out[None], None

    def gathered(states: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """[1, H, S, d] -> [rows, H, tokens, d]."""
        return states[0][:, rows].transpose(0, 1)

    prompts, completions = packing.prompt_rows, packing.completion_rows
    queries, keys, values = (gathered(states, prompts) for states in (query, key, value))
    out = sdpa_attention_forward(module, queries, keys, values, None, **options)[0]  # causal: [B, P, H, d]
    out = out.flatten(0, 1)[packing.real_prompt_slots]
    if completions.numel():
        keys, values = (
            torch.cat(
                (own.repeat_interleave(packing.group, dim=0), gathered(states, completions)), dim=2
            )  # [N, H, P + C, d]
            for own, states in zip((keys, values), (key, value), strict=True)
        )
        later = sdpa_attention_forward(module, gathered(query, completions), keys, values, packing.mask, **options)[0]
        out = torch.cat((out, later.flatten(0, 1)[packing.real_completion_slots]))
    return out[None], None


def _one_token(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, scaling: float | None
) -> torch.Tensor:
    """Attention of one new token a row with grouped query heads.

    The query heads of a KV head are folded into the length dimension, so that its keys and values are read once.

    Args:
        query: [n, H, 1, d].
        key: [n, KV heads, E, d].
        value: As `key`.
        mask: bool [n, 1, 1, E], or None to attend to everything.
        scaling: Factor of the scores; None for 1 / sqrt(d).

    Returns:
        [n, 1, H, d].
    """
    folded = query.to(value.dtype).view(len(query), key.shape[1], -1, query.shape[-1])
    out = F.scaled_dot_product_attention(folded, key.to(value.dtype), value, attn_mask=mask, scale=scaling)
    return out.reshape(len(query), 1, *query.shape[1::2])


@functools.cache
def varlen_kernel() -> Callable[..., torch.Tensor] | None:
    """flash-attn's kernel for concatenated sequences, whose causal mask is aligned to the last key; None where not installed.

    Raises:
        ImportError: It is installed and cannot be imported.
    """
    if importlib.util.find_spec("flash_attn") is None:
        return None
    try:
        from flash_attn import flash_attn_varlen_func
    except ImportError as error:
        raise ImportError(
            f"flash-attn is installed and cannot be imported ({error}). It was probably built for another version of PyTorch: "
            "build it again (pip install --no-build-isolation --force-reinstall --no-deps flash-attn), or pip uninstall it"
        ) from error

    kernel: Callable[..., torch.Tensor] = flash_attn_varlen_func
    return kernel


AttentionInterface.register(PACKED_SDPA, packed_attention)
AttentionMaskInterface.register(PACKED_SDPA, sdpa_mask)
