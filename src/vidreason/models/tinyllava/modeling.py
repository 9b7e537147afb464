"""TinyLLaVA-Video: SigLIP frames -> group resampler -> Qwen2, with the published names of all weights.

Letters: B clips or sequences, F frames, P patches of a frame, Q embeddings of a video, L positions, D width.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from transformers import Qwen2ForCausalLM, SiglipVisionModel

from vidreason.models.packing import PACKED_SDPA, Packing
from vidreason.models.tinyllava.configuration import IGNORE_INDEX, IMAGE_TOKEN_INDEX, TinyLlavaConfig
from vidreason.models.tinyllava.resampler import GroupResampler

NUMBERS_AT_ONCE = 2**20
"""Size of a layer's result, in numbers, that is worked on at a time where a batch can be taken apart, an item at least: what
a CPU's cache holds (a sixth to a fifth faster than all at a time), and enough for a GPU."""


class _Holder(nn.Module):
    """A module that only lends its child a name, so that the weights are called as published."""

    def __init__(self, name: str, child: nn.Module) -> None:
        super().__init__()
        self.add_module(name, child)


def at_once(numbers: int) -> int:
    """Items of a batch to work on at a time.

    Args:
        numbers: Size of a layer's result for one item.
    """
    return max(1, NUMBERS_AT_ONCE // numbers)


class TinyLlavaVideo(nn.Module):
    """The whole model.

    Source: tinyllava/model/modeling_tinyllava.py and vision_tower/base.py of ZhangXJ199/TinyLLaVA-Video-R1@efe76a1.
    Differs from the source: frames of several clips go through the tower together, and only through the layers whose
        result is used; encoding, merging and the language model are separate calls, so that a video is encoded once
        for all its rollouts; merging takes unpadded ids; sdpa attention unless told otherwise.
    """

    def __init__(self, config: TinyLlavaConfig, attention: str = "sdpa") -> None:
        """Build the model with newly initialised weights.

        Args:
            config: Sizes and choices.
            attention: `sdpa`, `eager`, or another implementation of transformers.
        """
        super().__init__()
        self.config = config
        text = config.text(PACKED_SDPA if attention == "sdpa" else attention)
        vision = config.vision(attention)
        self.language_model = Qwen2ForCausalLM(text)
        tower = SiglipVisionModel(vision)
        # transformers before 5.18 or so nests the tower once more under the name that is published.
        tower = getattr(tower, "vision_model", tower)
        self.vision_tower = _Holder("_vision_tower", _Holder("vision_model", tower))
        resampler = GroupResampler(
            vision.hidden_size,
            text.hidden_size,
            config.num_queries,
            config.group,
            config.num_resampler_layers,
            config.resampler_heads,
            config.resampler_head_width,
        )
        self.connector = _Holder("_connector", resampler)

    @property
    def device(self) -> torch.device:
        """Device of the language model."""
        weight: Any = self.language_model.get_input_embeddings().weight
        device: torch.device = weight.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the language model's weights."""
        weight: Any = self.language_model.get_input_embeddings().weight
        dtype: torch.dtype = weight.dtype
        return dtype

    def freeze_vision(self) -> None:
        """Take the vision tower out of training (`tune_type_vision_tower: frozen`, the recipe of the paper)."""
        self.vision_tower.requires_grad_(False)

    def vision_frozen(self) -> bool:
        """Whether no weight of the vision tower is trained."""
        return not any(parameter.requires_grad for parameter in self.vision_tower.parameters())

    def encode_frames(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Run the vision tower up to the layer that is used.

        Args:
            pixel_values: [B, F, 3, S, S], normalised.

        Returns:
            [B, F * (P - 1), Dv] with the `patch` strategy, which drops the first patch of every frame although
            SigLIP has no class token; [B, F * P, Dv] with `cls_patch`.
        """
        clips, frames = pixel_values.shape[:2]
        vision: Any = self.config.vision()
        numbers = frames * (vision.image_size // vision.patch_size) ** 2 * vision.hidden_size  # of a clip, in a layer
        with torch.no_grad() if self.vision_frozen() else nullcontext():
            parts = pixel_values.split(at_once(numbers))
            hidden = torch.cat([self._see(part.flatten(0, 1)) for part in parts])  # [BF, P, Dv]
        if self.config.vision_feature_select_strategy == "patch":
            hidden = hidden[:, 1:]
        return hidden.reshape(clips, -1, hidden.shape[-1])

    def _see(self, pictures: torch.Tensor) -> torch.Tensor:
        """Pictures [N, 3, S, S] through the layers that are used: [N, P, Dv]."""
        tower: Any = self.vision_tower._vision_tower.vision_model  # type: ignore[union-attr]
        hidden: torch.Tensor = tower.embeddings(pictures)
        for layer in tower.encoder.layers[: self._vision_depth()]:
            found = layer(hidden, None)
            hidden = found[0] if isinstance(found, tuple) else found
        return hidden

    def _vision_depth(self) -> int:
        """Number of vision layers to run: hidden state 0 is the embedding, -1 the last layer's result."""
        depth, layer = int(self.config.vision().num_hidden_layers), self.config.vision_feature_layer
        return layer if layer >= 0 else depth + 1 + layer

    def connect(self, features: torch.Tensor) -> torch.Tensor:
        """Resample visual features [B, N, Dv] to the language model's embeddings [B, Q, D]."""
        resampler: Any = self.connector._connector
        return torch.cat([resampler(part) for part in features.split(at_once(features[0].numel()))])

    def encode_videos(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Pixels [B, F, 3, S, S] to embeddings [B, Q, D]; the tower keeps no graph while it is frozen."""
        return self.connect(self.encode_frames(pixel_values.to(self.device, self.dtype)))

    def embed(
        self,
        input_ids: Sequence[torch.Tensor],
        videos: torch.Tensor | None,
        padding_side: str = "left",
        labels: Sequence[torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """Merge text and video embeddings and pad the rows to one length.

        Args:
            input_ids: One unpadded row of ids per sequence, each with at most one `IMAGE_TOKEN_INDEX`.
            videos: [B, Q, D], row i for sequence i (unused where the sequence has no mark); None for text alone.
            padding_side: `left` (generation) or `right` (training).
            labels: Labels of each row, as long as its ids; None for no labels.

        Returns:
            Embeddings [B, L, D] (zero where padded), attention mask [B, L] bool, and, if `labels` were given, the
            merged labels [B, L] (`IGNORE_INDEX` on the video and the padding).

        Raises:
            ValueError: A row has several marks, or one and no video.
        """
        if padding_side not in ("left", "right"):
            raise ValueError(f"padding_side is {padding_side!r}; allowed: left, right")
        rows, row_labels = self.merge(input_ids, videos, labels)
        return _pad(rows, row_labels, padding_side, labels is not None)

    def merge(
        self,
        input_ids: Sequence[torch.Tensor],
        videos: torch.Tensor | None,
        labels: Sequence[torch.Tensor] | None = None,
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Put every video where the mark of its sequence stands.

        Args:
            input_ids: B rows of ids, see `embed`.
            videos: [B, Q, D] or None.
            labels: B rows of labels, or None.

        Returns:
            B embeddings [l, D] and B rows of labels [l], cut after `tokenizer_model_max_length` positions as upstream
            cuts them (`vidreason.engine.prompts` says beforehand which prompts would be).

        Raises:
            ValueError: See `embed`.
        """
        table = self.language_model.get_input_embeddings()
        rows, row_labels = [], []
        for row, ids in enumerate(input_ids):
            ids = ids.to(self.device)
            marks = (ids == IMAGE_TOKEN_INDEX).nonzero().flatten().tolist()
            if len(marks) > 1 or (marks and videos is None):
                raise ValueError(
                    f"sequence {row} has {len(marks)} video marks and {'no' if videos is None else 'one'} video"
                )
            own = labels[row].to(self.device) if labels is not None else ids.new_full(ids.shape, IGNORE_INDEX)
            if not marks or videos is None:
                rows.append(table(ids))
                row_labels.append(own)
                continue
            before, after = ids[: marks[0]], ids[marks[0] + 1 :]
            text = table(torch.cat((before, after)))
            video = videos[row].to(text.dtype)
            rows.append(torch.cat((text[: len(before)], video, text[len(before) :])))
            ignored = own.new_full((video.shape[0],), IGNORE_INDEX)
            row_labels.append(torch.cat((own[: marks[0]], ignored, own[marks[0] + 1 :])))
        limit = self.config.tokenizer_model_max_length
        return [row[:limit] for row in rows], [row[:limit] for row in row_labels]

    @contextmanager
    def recomputed(self, wanted: bool = True) -> Iterator[None]:
        """Let forward passes inside keep few activations; the backward pass computes them again (gradient checkpointing).

        No cache of keys and values can be used inside: transformers would drop it without an error.

        Args:
            wanted: False changes nothing.

        Differs from the source: only the layers themselves are told that they are trained, so that whatever dropout a
            checkpoint names stays off; transformers recomputes nothing in evaluation mode.
        """
        language: Any = self.language_model
        if not wanted:
            yield
            return
        # transformers 5.23 gives its older names up for those with `activation`.
        named = "activation" if hasattr(language, "activation_checkpointing_enable") else "gradient"
        getattr(language, f"{named}_checkpointing_enable")({"use_reentrant": False})
        before = [layer.training for layer in language.model.layers]
        try:
            for layer in language.model.layers:
                layer.training = True
            yield
        finally:
            for layer, training in zip(language.model.layers, before, strict=True):
                layer.training = training
            getattr(language, f"{named}_checkpointing_disable")()

    @property
    def head(self) -> nn.Module:
        """From hidden states [.., D] to logits [.., V]."""
        head: nn.Module = self.language_model.lm_head
        return head

    def hidden(
        self,
        inputs_embeds: torch.Tensor,
        packing: Packing | None = None,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Last hidden states of the language model, for which `head` gives logits where they are wanted.

        Args:
            inputs_embeds: [B, L, D]; with a packing, [1, S, D].
            packing: Whose tokens the packed row holds.
            attention_mask: [B, L], or None where nothing is padded.

        Returns:
            As `inputs_embeds`.
        """
        told: dict[str, Any] = {} if packing is None else {"packing": packing, "position_ids": packing.positions}
        # A mask by kind of layer is taken as it is; transformers would read restarting positions in its own way.
        mask: Any = attention_mask if packing is None else {"full_attention": None}
        out = self.language_model.model(inputs_embeds=inputs_embeds, attention_mask=mask, use_cache=False, **told)
        states: torch.Tensor = out.last_hidden_state
        return states

    def forward(
        self,
        inputs_embeds: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool = False,
        logits_to_keep: int | torch.Tensor = 0,
        **options: Any,
    ) -> Any:
        """Run the language model on merged embeddings; the result is transformers' causal output.

        Args:
            inputs_embeds: [B, L, D].
            attention_mask: [B, L], or None where nothing is padded.
            position_ids: [B, L]; None counts from 0.
            past_key_values: A cache of transformers.
            use_cache: Whether to return one.
            logits_to_keep: Number of last positions to compute logits for (0: all), or their numbers.
            options: Handed to the language model as they are.
        """
        return self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            logits_to_keep=logits_to_keep,
            **options,
        )


def _pad(
    rows: list[torch.Tensor], row_labels: list[torch.Tensor], side: str, with_labels: bool
) -> tuple[torch.Tensor, ...]:
    """Pad rows [l, D] and their labels [l] on one side, and say which positions are real."""
    length = max(len(row) for row in rows)
    embeddings = rows[0].new_zeros(len(rows), length, rows[0].shape[-1])
    mask = torch.zeros(len(rows), length, dtype=torch.bool, device=embeddings.device)
    labels = row_labels[0].new_full((len(rows), length), IGNORE_INDEX)
    for number, (row, own) in enumerate(zip(rows, row_labels, strict=True)):
        place = slice(length - len(row), length) if side == "left" else slice(0, len(row))
        embeddings[number, place] = row
        mask[number, place] = True
        labels[number, place] = own
    return (embeddings, mask, labels) if with_labels else (embeddings, mask)
