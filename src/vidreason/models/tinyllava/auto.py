"""A checkpoint as transformers' own Auto classes load it: configuration, model with `generate`, processor.

`vidreason.models.auto.register` makes them known. The files of a checkpoint stay as they are, and none of them holds code.

Letters: B sequences, F frames, S pixels a side, Q positions of a video, L positions, D width.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from huggingface_hub import snapshot_download
from transformers import (
    BatchFeature,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
    Qwen2Config,
    SiglipVisionConfig,
)

from vidreason.media.extract_frames import take_frames
from vidreason.media.resize import resize_frames
from vidreason.models.tinyllava import template
from vidreason.models.tinyllava.checkpoint import read_config
from vidreason.models.tinyllava.checkpoint_files import CONFIG, TOKENIZER_FILES
from vidreason.models.tinyllava.configuration import IMAGE_TOKEN_INDEX, TinyLlavaConfig
from vidreason.models.tinyllava.modeling import TinyLlavaVideo
from vidreason.models.tinyllava.preprocessing import normalize_frames
from vidreason.models.tinyllava.tokenizer import load_tokenizer
from vidreason.records import OK, ClipRef, Question
from vidreason.tasks.chat_tokens import IMAGE

FRAMES = 16
"""Frames of a video by default, as in the paper."""


class AutoTinyLlavaConfig(PreTrainedConfig):
    """The published config.json; keys that are not named here become attributes."""

    model_type = TinyLlavaVideo.family
    sub_configs_defaults: ClassVar[dict[str, Any]] = {
        "text_config": Qwen2Config,
        "vision_config": SiglipVisionConfig,
    }

    text_config: dict | PreTrainedConfig | None = None
    vision_config: dict | PreTrainedConfig | None = None
    tie_word_embeddings: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        """Take over what the language model says about its output embedding."""
        super().__post_init__(**kwargs)
        if self.text_config is not None:
            self.tie_word_embeddings = bool(self.text_config.tie_word_embeddings)  # type: ignore[union-attr]

    def sizes(self) -> TinyLlavaConfig:
        """The configuration as this package has it.

        Raises:
            ValueError: A key is missing, or has a value that no model can be built from.
        """
        return TinyLlavaConfig.from_dict(self.to_dict(), str(self.name_or_path or CONFIG))


class AutoTinyLlavaVideo(PreTrainedModel, GenerationMixin):
    """The model, under the published names of its weights.

    A prompt's ids hold Q times `IMAGE_TOKEN_INDEX` where the video goes (`AutoTinyLlavaProcessor` writes them), so that positions
    are what they seem and `generate` needs no exception.
    """

    config_class = AutoTinyLlavaConfig
    main_input_name = "input_ids"
    input_modalities = ["video", "text"]  # noqa: RUF012
    _supports_sdpa = True
    _no_split_modules = ["Qwen2DecoderLayer", "SiglipEncoderLayer", "GroupResampler"]  # noqa: RUF012

    def __init__(self, config: AutoTinyLlavaConfig) -> None:
        super().__init__(config)
        whole = TinyLlavaVideo(config.sizes(), config._attn_implementation or "sdpa")
        self.language_model = whole.language_model
        self.vision_tower = whole.vision_tower
        self.connector = whole.connector
        object.__setattr__(self, "_whole", whole)  # the same modules, which must not be listed twice
        self.post_init()

    def get_input_embeddings(self) -> torch.nn.Module:
        """The embedding of text tokens."""
        embedding: torch.nn.Module = self.language_model.get_input_embeddings()
        return embedding

    def get_output_embeddings(self) -> torch.nn.Module:
        """The head."""
        head: torch.nn.Module = self.language_model.lm_head
        return head

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        pixel_values_videos: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        past_key_values: Any = None,
        **options: Any,
    ) -> Any:
        """Run the model; the result is transformers' causal output.

        Args:
            input_ids: int64 [B, L], with Q marks in a row that has a video.
            pixel_values_videos: float [videos, F, 3, S, S], normalized, in the order of the marks; looked at only where there are
                marks, so that `generate` may hand it over with every token.
            attention_mask: [B, L].
            inputs_embeds: [B, L, D] in place of ids.
            past_key_values: A cache of transformers.
            options: Handed to the language model as they are.

        Raises:
            ValueError: The number of marks is not that of the videos' positions.
        """
        if inputs_embeds is None:
            if input_ids is None:
                raise ValueError("neither input_ids nor inputs_embeds is given; allowed: one of them")
            inputs_embeds = self._embedded(input_ids, pixel_values_videos)
        return self.language_model(
            inputs_embeds=inputs_embeds, attention_mask=attention_mask, past_key_values=past_key_values, **options
        )

    def _embedded(self, ids: torch.Tensor, pixels: torch.Tensor | None) -> torch.Tensor:
        """Embeddings [B, L, D] of ids, videos in their places."""
        marks = ids == IMAGE_TOKEN_INDEX
        embeds: torch.Tensor = self.get_input_embeddings()(ids.masked_fill(marks, 0))
        count = int(marks.sum())
        if not count:
            return embeds
        whole: TinyLlavaVideo = self._whole  # type: ignore[assignment]
        videos = 0 if pixels is None else len(pixels)
        if pixels is None or count != videos * whole.video_positions:
            raise ValueError(
                f"the ids hold {count} marks of a video and there are {videos} videos of {whole.video_positions} positions; let "
                f"the processor of the same folder make both"
            )
        shown = whole.encode_videos(pixels).to(embeds.dtype)  # [videos, Q, D]
        return embeds.masked_scatter(marks[..., None], shown)


class AutoTinyLlavaProcessor(ProcessorMixin):
    """From texts and videos to the model's input.

    Attributes:
        tokenizer: The checkpoint's.
        positions: Positions of a video, Q.
        frame_size: Height and width of a frame, S.
        frames: Frames taken of a video file, F.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        positions: int = 1,
        frame_size: int = 384,
        frames: int = FRAMES,
        **options: Any,
    ) -> None:
        super().__init__(tokenizer, **options)
        self.positions, self.frame_size, self.frames = positions, frame_size, frames

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> "AutoTinyLlavaProcessor":  # type: ignore[override]
        """Load from a checkpoint folder, or from a repository of the hub.

        Args:
            pretrained_model_name_or_path: The folder or the repository.
            options: `frames` is the number of frames to take of a video file; `revision`, `token`, `cache_dir` and
                `local_files_only` say how a repository is read.

        Raises:
            CheckpointError: The folder is no checkpoint of this family.
        """
        folder = Path(pretrained_model_name_or_path)
        if not folder.is_dir():
            kept = {
                key: options[key] for key in ("revision", "token", "cache_dir", "local_files_only") if key in options
            }
            wanted = [CONFIG, *TOKENIZER_FILES]
            folder = Path(snapshot_download(str(pretrained_model_name_or_path), allow_patterns=wanted, **kept))
        config = read_config(folder)
        return cls(load_tokenizer(folder), config.queries, config.image_size, int(options.get("frames", FRAMES)))

    def __call__(
        self, text: str | Sequence[str], videos: Any = None, padding_side: str = "left", **_: Any
    ) -> BatchFeature:
        """Make the model's input.

        Args:
            text: One prompt or several, each with at most one mark `<image>` (`apply_chat_template` writes it).
            videos: One for every mark, in order: a video file, or frames uint8 [F, height, width, 3].
            padding_side: `left` to generate, `right` to train.

        Returns:
            `input_ids` and `attention_mask` [B, L], and `pixel_values_videos` [videos, F, 3, S, S] if there is a video.

        Raises:
            ValueError: There are more or fewer videos than marks, or a video cannot be used.
        """
        texts = [text] if isinstance(text, str) else list(text)
        shown = [] if videos is None else [videos] if isinstance(videos, str | Path | np.ndarray) else list(videos)
        rows = [self._ids(one) for one in texts]
        marks = sum(one.count(IMAGE) for one in texts)
        if marks != len(shown):
            raise ValueError(
                f"the texts have {marks} marks {IMAGE} and there are {len(shown)} videos; allowed: one for each"
            )
        length, left = max(map(len, rows)), padding_side == "left"
        ids = torch.full((len(rows), length), int(self.tokenizer.eos_token_id))
        mask = torch.zeros(len(rows), length, dtype=torch.int64)
        for number, row in enumerate(rows):
            place = slice(length - len(row), length) if left else slice(0, len(row))
            ids[number, place], mask[number, place] = torch.tensor(row), 1
        made = {"input_ids": ids, "attention_mask": mask}
        if shown:
            made["pixel_values_videos"] = torch.stack([normalize_frames(self._frames(video)) for video in shown])
        return BatchFeature(made)

    def _ids(self, text: str) -> list[int]:
        """Ids of a prompt, with Q marks in the place of the video."""
        ids = template.text_ids(self.tokenizer, text)
        return [same for token in ids for same in [token] * (self.positions if token == IMAGE_TOKEN_INDEX else 1)]

    def _frames(self, video: str | Path | np.ndarray) -> np.ndarray:
        """Frames uint8 [F, S, S, 3] of a file, by the evaluation's rule, or of pictures."""
        if not isinstance(video, str | Path):
            return resize_frames(np.asarray(video), self.frame_size)
        taken = take_frames(Question("", "", "", "", ClipRef(str(video))), "", self.frames, self.frame_size)
        if taken.clip.status != OK:
            raise ValueError(f"{video}: cannot be used ({taken.clip.status}): {taken.clip.detail}")
        return taken.pixels

    def apply_chat_template(self, conversation: Sequence[Mapping[str, Any]], *_: Any, **options: Any) -> Any:  # type: ignore[override]
        """The prompt of a conversation of one user's turn, with the mark of its video in front.

        Args:
            conversation: Messages with `role` and `content`: a text, or parts of `type` `video`, `image` or `text`.
            options: With `tokenize=True` the result is that of the processor, and `videos` are its videos.

        Raises:
            ValueError: The conversation is not one turn of a user.
        """
        turns = [message for message in conversation if message["role"] != "system"]
        if len(turns) != 1 or turns[0]["role"] != "user":
            raise ValueError(f"{len(turns)} turns of {[turn['role'] for turn in turns]}; allowed: one turn of the user")
        content = turns[0]["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        query = "".join(str(part["text"]) if part["type"] == "text" else IMAGE for part in parts)
        prompt = template.prompt_text(query)
        return self(prompt, options.get("videos")) if options.get("tokenize") else prompt

    def batch_decode(self, sequences: Any, **options: Any) -> list[str]:
        """Texts of rows of ids, without the marks of videos."""
        return [self.decode(row, **options) for row in sequences]

    def decode(self, token_ids: Any, **options: Any) -> str:
        """Text of a row of ids, without the marks of videos."""
        text: str = self.tokenizer.decode([int(token) for token in token_ids if int(token) >= 0], **options)
        return text
