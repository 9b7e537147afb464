"""Checkpoints of every model family: loaded and saved by the `model_type` of their config.json."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from vidreason.artifacts.files import read_json
from vidreason.models.base import VideoLM
from vidreason.models.tinyllava import checkpoint as tinyllava

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""Types of weights by their names in the configuration."""

CONFIG = "config.json"


class Family(NamedTuple):
    """How the checkpoints of a family are loaded and saved."""

    load: Callable[[Path, torch.dtype, str], VideoLM]
    save: Callable[[Any, Path], None]


DEFAULT_FAMILY = "tinyllava"
FAMILIES = {DEFAULT_FAMILY: Family(tinyllava.load_checkpoint, tinyllava.save_checkpoint)}
"""`model_type` of a config.json -> its family."""


def compute_device() -> torch.device:
    """The CUDA device if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_checkpoint(folder: str | Path, dtype: torch.dtype = torch.float32, attention: str = "sdpa") -> VideoLM:
    """Load a model with its tokenizer from a folder, without the network.

    Args:
        folder: A folder in the published layout of its family.
        dtype: Type of all weights, whatever type they are stored in.
        attention: transformers' name of the attention implementation.

    Returns:
        The model in evaluation mode on the CPU.

    Raises:
        ChangedError: The folder is not what its sidecar records.
        CheckpointError: A file is missing or not what its name says, or weights are missing, unexpected or of another shape;
            the message lists them.
    """
    folder = Path(folder)
    return FAMILIES[_family_of(folder)].load(folder, dtype, attention)


def save_checkpoint(model: VideoLM, folder: str | Path) -> None:
    """Write a checkpoint folder in the published layout of the model's family, in one step; an existing folder is replaced."""
    FAMILIES[model.family].save(model, Path(folder))


def _family_of(folder: Path) -> str:
    """The family of a checkpoint.

    A config.json that cannot be read or is of no known family goes to the default one, whose loader says what is wrong with it.
    """
    try:
        values = read_json(folder / CONFIG)
    except (OSError, ValueError):
        return DEFAULT_FAMILY
    kind = values.get("model_type") if isinstance(values, dict) else None
    return kind if isinstance(kind, str) and kind in FAMILIES else DEFAULT_FAMILY
