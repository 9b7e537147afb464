"""TinyLLaVA-Video: SigLIP frames -> group resampler -> Qwen2, with the published names of all weights.

Letters: B clips or sequences, F frames, P patches of a frame, Q embeddings of a video, L positions, D width.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from transformers import Qwen2ForCausalLM, SiglipVisionModel

from vidreason.models.base import IGNORE_INDEX, Cache, Features, LabelledIds, Message, VideoLM, VideoTokens
from vidreason.models.chunks import chunk_size
from vidreason.models.packing import PACKED_SDPA, Packing
from vidreason.models.tinyllava import template
from vidreason.models.tinyllava.configuration import IMAGE_TOKEN_INDEX, TinyLlavaConfig
from vidreason.models.tinyllava.costs import ModelCosts
from vidreason.models.tinyllava.preprocessing import normalize_frames
from vidreason.models.tinyllava.resampler import GroupResampler


class _Namespace(nn.Module):
    """Holds one module under a name, so that weights are called as in the published checkpoint."""

    def __init__(self, name: str, child: nn.Module) -> None:
        super().__init__()
        self.add_module(name, child)


class TinyLlavaVideo(VideoLM):
    """The whole model.

    Source: tinyllava/model/modeling_tinyllava.py and vision_tower/base.py of ZhangXJ199/TinyLLaVA-Video-R1@efe76a1.
    Differs from the source: frames of several clips go through the tower together, and only through the layers whose
        result is used; encoding, splicing and the language model are separate calls, so that a video is encoded once
        for all its rollouts; splicing takes unpadded ids; attention is sdpa by default.
    """

    family = "tinyllava"

    def __init__(self, config: TinyLlavaConfig, attention: str = "sdpa") -> None:
        """Build the model with newly initialized weights.

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
        self.vision_tower = _Namespace("_vision_tower", _Namespace("vision_model", tower))
        resampler = GroupResampler(
            vision.hidden_size,
            text.hidden_size,
            config.num_queries,
            config.group,
            config.num_resampler_layers,
            config.resampler_heads,
            config.resampler_head_width,
        )
        self.connector = _Namespace("_connector", resampler)

    def prompt_text(self, query: str) -> str:
        """The chat template around one user's turn, up to where the answer begins."""
        return template.prompt_text(query)

    def text_ids(self, text: str) -> torch.Tensor:
        """Ids [T] int64 of a text of the template, with `IMAGE_TOKEN_INDEX` in the place of the video."""
        return torch.tensor(template.text_ids(self.tokenizer, text), dtype=torch.long)

    def labelled_ids(self, conversation: Sequence[Message]) -> LabelledIds:
        """Ids of a whole conversation, with labels on its answers."""
        return template.labelled_ids(self.tokenizer, conversation)

    def costs(self) -> ModelCosts:
        """What its passes cost."""
        return ModelCosts(self.config)

    @property
    def max_positions(self) -> int:
        """Positions that the language model was built for, prompt and answer together."""
        return int(self.config.text().max_position_embeddings)

    @property
    def max_prompt_positions(self) -> int:
        """Positions after which `splice` cuts a sequence."""
        return self.config.tokenizer_model_max_length

    @property
    def video_positions(self) -> int:
        """Positions of a video in the language model's input, Q."""
        return self.config.queries

    @property
    def frame_size(self) -> int:
        """Height and width of a frame in pixels, S."""
        return self.config.image_size

    @property
    def image_token(self) -> int:
        """Id that marks a video's place."""
        return IMAGE_TOKEN_INDEX

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

    def frozen_parts(self) -> list[nn.Module]:
        """The vision tower (`tune_type_vision_tower: frozen`, the recipe of the paper)."""
        return [self.vision_tower]

    def trained_parts(self) -> list[nn.Module]:
        """Connector and language model."""
        return [self.connector, self.language_model]

    def vision_frozen(self) -> bool:
        """Whether no weight of the vision tower is trained."""
        return not any(parameter.requires_grad for parameter in self.vision_tower.parameters())

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        """Run the vision tower on frames uint8 [C, F, S, S, 3]: [C, N, Dv].

        Levels become numbers on the model's device, so that a quarter of the bytes are copied there. Of a clip in which nothing
        moves (a picture, gray frames) one frame is encoded, and its features are repeated.
        """
        frames = frames.to(self.device)
        still = _still_clips(frames)
        if not still.any():
            return self.encode_frames(normalize_frames(frames).to(self.dtype))
        of_stills = self.encode_frames(normalize_frames(frames[still, :1]).to(self.dtype)).repeat(1, frames.shape[1], 1)
        if still.all():
            return of_stills
        moving = self.encode_frames(normalize_frames(frames[~still]).to(self.dtype))
        features = moving.new_empty(len(frames), *moving.shape[1:])
        features[still], features[~still] = of_stills, moving
        return features

    def encode_frames(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Run the vision tower up to the layer that is used.

        Args:
            pixel_values: [B, F, 3, S, S], normalized.

        Returns:
            [B, F * (P - 1), Dv] with the `patch` strategy, which drops the first patch of every frame although
            SigLIP has no class token; [B, F * P, Dv] with `cls_patch`.
        """
        clips, frames = pixel_values.shape[:2]
        vision: Any = self.config.vision()
        numbers = frames * (vision.image_size // vision.patch_size) ** 2 * vision.hidden_size  # of a clip, in a layer
        with torch.no_grad() if self.vision_frozen() else nullcontext():
            chunks = pixel_values.split(chunk_size(numbers))
            hidden = torch.cat([self._vision_layers(chunk.flatten(0, 1)) for chunk in chunks])  # [BF, P, Dv]
        if self.config.vision_feature_select_strategy == "patch":
            hidden = hidden[:, 1:]
        return hidden.reshape(clips, -1, hidden.shape[-1])

    def _vision_layers(self, frames: torch.Tensor) -> torch.Tensor:
        """Run frames [BF, 3, S, S] through the layers that are used: [BF, P, Dv]."""
        tower: Any = self.vision_tower._vision_tower.vision_model  # type: ignore[union-attr]
        hidden: torch.Tensor = tower.embeddings(frames)
        for layer in tower.encoder.layers[: self._vision_depth()]:
            output = layer(hidden, None)
            hidden = output[0] if isinstance(output, tuple) else output
        return hidden

    def _vision_depth(self) -> int:
        """Number of vision layers to run: hidden state 0 is the embedding, -1 the last layer's result."""
        depth, layer = int(self.config.vision().num_hidden_layers), self.config.vision_feature_layer
        return layer if layer >= 0 else depth + 1 + layer

    def connect(self, features: Features) -> torch.Tensor:
        """Resample visual features [B, N, Dv] to the language model's embeddings [B, Q, D]."""
        resampler: Any = self.connector._connector
        stacked = features if isinstance(features, torch.Tensor) else torch.stack(list(features))
        return torch.cat([resampler(chunk) for chunk in stacked.split(chunk_size(stacked[0].numel()))])

    def encode_videos(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Pixels [B, F, 3, S, S] to embeddings [B, Q, D]; the tower keeps no graph while it is frozen."""
        return self.connect(self.encode_frames(pixel_values.to(self.device, self.dtype)))

    def embed_tokens(self, ids: torch.Tensor) -> torch.Tensor:
        """Embeddings [.., D] of text tokens [..]."""
        embeds: torch.Tensor = self.language_model.get_input_embeddings()(ids)
        return embeds

    def splice(
        self,
        input_ids: Sequence[torch.Tensor],
        videos: VideoTokens | None,
        labels: Sequence[torch.Tensor] | None = None,
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Put every video in the place of its mark.

        Args:
            input_ids: B unpadded rows of ids, each with at most one `IMAGE_TOKEN_INDEX`.
            videos: [B, Q, D], row i for sequence i (unused where the sequence has no mark); None for text alone.
            labels: B rows of labels, as long as the ids; None labels nothing.

        Returns:
            B embeddings [l, D] and B rows of labels [l] (`IGNORE_INDEX` on the video), cut after
            `tokenizer_model_max_length` positions as upstream cuts them. `vidreason.engine.prompts` tells beforehand which
            prompts would be cut.

        Raises:
            ValueError: A row has several marks, or one and no video.
        """
        rows: list[torch.Tensor] = []
        row_labels: list[torch.Tensor] = []
        for row, ids in enumerate(input_ids):
            ids = ids.to(self.device)
            marks = (ids == IMAGE_TOKEN_INDEX).nonzero().flatten().tolist()
            if len(marks) > 1 or (marks and videos is None):
                raise ValueError(
                    f"sequence {row} has {len(marks)} video marks and {'no' if videos is None else 'one'} video"
                )
            own = labels[row].to(self.device) if labels is not None else ids.new_full(ids.shape, IGNORE_INDEX)
            if not marks or videos is None:
                rows.append(self.embed_tokens(ids))
                row_labels.append(own)
                continue
            before, after = ids[: marks[0]], ids[marks[0] + 1 :]
            text = self.embed_tokens(torch.cat((before, after)))
            video = videos[row].to(text.dtype)
            rows.append(torch.cat((text[: len(before)], video, text[len(before) :])))
            ignored = own.new_full((video.shape[0],), IGNORE_INDEX)
            row_labels.append(torch.cat((own[: marks[0]], ignored, own[marks[0] + 1 :])))
        limit = self.config.tokenizer_model_max_length
        return [row[:limit] for row in rows], [row[:limit] for row in row_labels]

    @contextmanager
    def recomputed(self, enabled: bool = True) -> Iterator[None]:
        """Inside, forward passes keep few activations and the backward pass recomputes them (gradient checkpointing).

        No cache of keys and values can be used inside: transformers would drop it without an error.

        Args:
            enabled: False changes nothing.

        Differs from the source: only the layers themselves are put into training mode, so that any dropout of a checkpoint
            stays off; transformers recomputes nothing in evaluation mode.
        """
        language: Any = self.language_model
        if not enabled:
            yield
            return
        # transformers 5.23 renames these functions from `gradient` to `activation`.
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
        """Maps hidden states [.., D] to logits [.., V]."""
        head: nn.Module = self.language_model.lm_head
        return head

    def hidden(
        self, embeds: torch.Tensor, packing: Packing | None = None, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Last hidden states of the language model, from which `head` computes logits where they are needed.

        Args:
            embeds: [B, L, D]; [1, S, D] with a packing.
            packing: Which tokens of a packed row belong together.
            mask: bool [B, L], or None where nothing is padded.

        Returns:
            As `embeds`.
        """
        kwargs: dict[str, Any] = {} if packing is None else {"packing": packing, "position_ids": packing.positions}
        # transformers uses a mask by kind of layer as it is; from positions that restart it would build one of its own.
        attention_mask: Any = mask if packing is None else {"full_attention": None}
        out = self.language_model.model(inputs_embeds=embeds, attention_mask=attention_mask, use_cache=False, **kwargs)
        states: torch.Tensor = out.last_hidden_state
        return states

    def cached_logits(
        self, embeds: torch.Tensor, visible: torch.Tensor | None, positions: torch.Tensor, cache: Cache
    ) -> torch.Tensor:
        """Logits [B, V] of the last position; see `VideoLM`.

        transformers uses a mask by kind of layer as it is, and asks the cache nothing about it.
        """
        output = self.language_model(
            inputs_embeds=embeds,
            attention_mask={"full_attention": visible},
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits

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


def _still_clips(frames: torch.Tensor) -> torch.Tensor:
    """Which clips show the same frame all the time: [C, F, S, S, 3] -> bool [C]; none where F is 1."""
    still = (frames[:, 0] == frames[:, -1]).flatten(1).all(dim=1) & (frames.shape[1] > 1)
    # Nearly every video differs in its first and last frame; only the others are compared in full.
    candidates = still.nonzero().flatten()
    still[candidates] = (frames[candidates] == frames[candidates, :1]).flatten(1).all(dim=1)
    return still
