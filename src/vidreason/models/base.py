"""The interface of a video language model: what the engine, training and evaluation use of one.

A family of checkpoints implements it in a package beside this module; `vidreason.models.families` lists them.

Letters: C clips, F frames, S pixels a side, N visual tokens of a clip, B sequences, Q positions of a video, L positions, D width
of the language model, V vocabulary.
"""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from vidreason.models.costs import CostModel
    from vidreason.models.packing import Packing

IGNORE_INDEX = -100
"""Label of a position that takes no part in the loss."""

Features = torch.Tensor | Sequence[torch.Tensor]
"""What the vision tower makes of C clips: one tensor [N, width of the tower] a clip, stacked where all have the same N."""

VideoTokens = torch.Tensor | Sequence[torch.Tensor]
"""Embeddings that stand for C videos in a prompt: one tensor [Q, D] a video, stacked where all have the same Q."""

Message = Mapping[str, str | None]
"""`{"from": "human" | "gpt", "value": text}`; the value of the last message is None where the answer is to be generated."""


class LabelledIds(NamedTuple):
    """A conversation to imitate: ids [T] and labels [T], int64; labels are `IGNORE_INDEX` outside the answers."""

    input_ids: torch.Tensor
    labels: torch.Tensor

    @property
    def unmaskable(self) -> bool:
        """Whether nothing is labelled, because a text contains the marks by which answers are found."""
        return bool((self.labels == IGNORE_INDEX).all())


@dataclasses.dataclass(frozen=True)
class Inputs:
    """A padded batch for the language model.

    Attributes:
        embeds: float [B, L, D], zero on padding.
        mask: bool [B, L], true on real positions.
        labels: int64 [B, L], `IGNORE_INDEX` on videos, padding and wherever nothing is learned.
    """

    embeds: torch.Tensor
    mask: torch.Tensor
    labels: torch.Tensor

    @property
    def positions(self) -> torch.Tensor:
        """Positions that count the real tokens of each row: int64 [B, L]."""
        return (self.mask.long().cumsum(dim=1) - 1).clamp(min=0)


class Cache(Protocol):
    """What a layer of the language model needs of a cache of keys and values (`vidreason.engine.kv_cache.KVCache`)."""

    def update(
        self, key: torch.Tensor, value: torch.Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store a layer's new keys and values; return those to attend to."""


class VideoLM(nn.Module, abc.ABC):
    """A vision tower, a connector and a language model, with the tokenizer and chat template they were trained with.

    It is a module, so optimizers, DeepSpeed and `state_dict` treat it like any other.
    """

    family: ClassVar[str]
    """`model_type` of the family's config.json."""

    # Text

    _tokenizer: "PreTrainedTokenizerBase | None" = None

    @property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The tokenizer of the checkpoint.

        Raises:
            ValueError: The model was built without one.
        """
        if self._tokenizer is None:
            raise ValueError("this model was built without a tokenizer; set its `tokenizer`")
        return self._tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self._tokenizer = tokenizer

    @property
    def end_id(self) -> int:
        """Id of the token that ends an answer."""
        return int(self.tokenizer.eos_token_id)

    @abc.abstractmethod
    def prompt_text(self, query: str) -> str:
        """The chat template around one user's turn, up to where the answer begins."""

    @abc.abstractmethod
    def text_ids(self, text: str) -> torch.Tensor:
        """Ids [T] int64 of a text of the template, with `image_token` in the place of the video."""

    @abc.abstractmethod
    def labelled_ids(self, conversation: Sequence[Message]) -> LabelledIds:
        """Ids of a whole conversation, with labels on its answers."""

    # Sizes

    @property
    @abc.abstractmethod
    def max_positions(self) -> int:
        """Positions that the language model was built for, prompt and answer together."""

    @property
    @abc.abstractmethod
    def max_prompt_positions(self) -> int:
        """Positions after which `splice` cuts a sequence, as the checkpoint's own training did."""

    @property
    @abc.abstractmethod
    def video_positions(self) -> int:
        """Positions of a video in the language model's input, Q."""

    @property
    @abc.abstractmethod
    def frame_size(self) -> int:
        """Height and width of the frames that `encode` takes, S, in pixels."""

    def costs(self) -> "CostModel | None":
        """What its passes cost; None where the family does not say."""
        return None

    @property
    @abc.abstractmethod
    def image_token(self) -> int:
        """Id that marks a video's place among the ids; it is replaced by Q positions."""

    @property
    @abc.abstractmethod
    def device(self) -> torch.device:
        """Device of the language model."""

    @property
    @abc.abstractmethod
    def dtype(self) -> torch.dtype:
        """Type of the language model's weights."""

    # Parts

    @abc.abstractmethod
    def frozen_parts(self) -> list[nn.Module]:
        """Modules that the recipe never trains."""

    @abc.abstractmethod
    def trained_parts(self) -> list[nn.Module]:
        """Modules that the recipe trains."""

    def freeze_vision(self) -> None:
        """Take `frozen_parts` out of training."""
        for part in self.frozen_parts():
            part.requires_grad_(False)

    # From frames and ids to the language model's input

    @abc.abstractmethod
    def encode(self, frames: torch.Tensor) -> Features:
        """Run the vision tower on frames uint8 [C, F, S, S, 3]."""

    @abc.abstractmethod
    def connect(self, features: Features) -> VideoTokens:
        """Turn the features of videos into embeddings of the language model."""

    @abc.abstractmethod
    def embed_tokens(self, ids: torch.Tensor) -> torch.Tensor:
        """Embeddings [.., D] of text tokens [..]."""

    @abc.abstractmethod
    def splice(
        self,
        input_ids: Sequence[torch.Tensor],
        videos: VideoTokens | None,
        labels: Sequence[torch.Tensor] | None = None,
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Put every video in the place of its mark.

        Args:
            input_ids: B unpadded rows of ids, each with at most one `image_token`.
            videos: Row i is the video of sequence i, unused where the sequence has no mark; None for text alone.
            labels: B rows of labels, as long as the ids; None labels nothing.

        Returns:
            B embeddings [l, D] and B rows of labels [l], cut after `max_prompt_positions`.

        Raises:
            ValueError: A row has several marks, or one and no video.
        """

    def build_inputs(
        self,
        input_ids: Sequence[torch.Tensor],
        videos: VideoTokens | None,
        padding_side: str = "left",
        labels: Sequence[torch.Tensor] | None = None,
    ) -> Inputs:
        """Splice text and videos, and pad the rows to one length.

        Args:
            input_ids: See `splice`.
            videos: See `splice`.
            padding_side: `left` to generate, `right` to train.
            labels: See `splice`.

        Raises:
            ValueError: An unknown side, or see `splice`.
        """
        if padding_side not in ("left", "right"):
            raise ValueError(f"padding_side is {padding_side!r}; allowed: left, right")
        rows, row_labels = self.splice(input_ids, videos, labels)
        length = max(len(row) for row in rows)
        embeds = rows[0].new_zeros(len(rows), length, rows[0].shape[-1])
        mask = torch.zeros(len(rows), length, dtype=torch.bool, device=embeds.device)
        padded_labels = row_labels[0].new_full((len(rows), length), IGNORE_INDEX)
        for number, (row, own_labels) in enumerate(zip(rows, row_labels, strict=True)):
            real = slice(length - len(row), length) if padding_side == "left" else slice(0, len(row))
            embeds[number, real] = row
            mask[number, real] = True
            padded_labels[number, real] = own_labels
        return Inputs(embeds, mask, padded_labels)

    # The language model

    @property
    @abc.abstractmethod
    def head(self) -> nn.Module:
        """Maps hidden states [.., D] to logits [.., V]."""

    @abc.abstractmethod
    def hidden(
        self, embeds: torch.Tensor, packing: "Packing | None" = None, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Last hidden states of the language model, from which `head` computes logits where they are needed.

        Args:
            embeds: [B, L, D]; [1, S, D] with a packing.
            packing: Which tokens of a packed row belong together.
            mask: bool [B, L], or None where nothing is padded.

        Returns:
            As `embeds`.
        """

    @abc.abstractmethod
    def cached_logits(
        self, embeds: torch.Tensor, visible: torch.Tensor | None, positions: torch.Tensor, cache: Cache
    ) -> torch.Tensor:
        """Logits [B, V] of the last position, with the keys and values of the others in a cache.

        It must not run hooks of the whole model: a trainer's may wait for the device (DeepSpeed's timer does), which a CUDA
        graph cannot record.

        Args:
            embeds: New positions [B, l, D].
            visible: Which positions each new one attends to: bool [B, 1, l, positions]; None for all (all before it, in a
                prefill).
            positions: int64 [B, l].
            cache: Takes the new keys and values.
        """

    @abc.abstractmethod
    def recomputed(self, enabled: bool = True) -> AbstractContextManager[None]:
        """Inside, forward passes keep few activations and the backward pass recomputes them (gradient checkpointing).

        Args:
            enabled: False changes nothing.
        """
