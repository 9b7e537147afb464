"""TinyLLaVA-Video on transformers' SigLIP and Qwen2, in the published checkpoint format."""

from vidreason.models.tinyllava.checkpoint import (
    PRECISIONS,
    compute_device,
    initialise,
    load_checkpoint,
    save_checkpoint,
)
from vidreason.models.tinyllava.configuration import IGNORE_INDEX, IMAGE_TOKEN_INDEX, TinyLlavaConfig
from vidreason.models.tinyllava.modeling import TinyLlavaVideo, at_once
from vidreason.models.tinyllava.tokenizer import load_tokenizer
from vidreason.models.tinyllava.weights import CheckpointError

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
