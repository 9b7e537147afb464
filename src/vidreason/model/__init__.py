"""TinyLLaVA-Video on transformers' SigLIP and Qwen2, in the published checkpoint format."""

from vidreason.model.checkpoint import (
    PRECISIONS,
    CheckpointError,
    compute_device,
    initialise,
    load_checkpoint,
    load_tokenizer,
    save_checkpoint,
)
from vidreason.model.configuration import IGNORE_INDEX, IMAGE_TOKEN_INDEX, TinyLlavaConfig
from vidreason.model.modeling import TinyLlavaVideo, at_once

__all__ = [
    "IGNORE_INDEX",
    "IMAGE_TOKEN_INDEX",
    "PRECISIONS",
    "CheckpointError",
    "TinyLlavaConfig",
    "TinyLlavaVideo",
    "at_once",
    "compute_device",
    "initialise",
    "load_checkpoint",
    "load_tokenizer",
    "save_checkpoint",
]
