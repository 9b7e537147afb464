"""Checkpoints in the published layout: config.json, safetensors (one file or shards), tokenizer files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding

from vidreason.artifacts.files import read_json, write_aside, write_json
from vidreason.artifacts.integrity import check_unchanged
from vidreason.models.tinyllava.checkpoint_files import CONFIG, GENERATION, PROCESSOR, WEIGHTS
from vidreason.models.tinyllava.configuration import TinyLlavaConfig
from vidreason.models.tinyllava.modeling import TinyLlavaVideo
from vidreason.models.tinyllava.preprocessing import MEAN, RESAMPLE, RESCALE, STD
from vidreason.models.tinyllava.tokenizer import load_tokenizer, save_tokenizer
from vidreason.models.tinyllava.weights import (
    EMBEDDING,
    SHARD_BYTES,
    TIED,
    CheckpointError,
    foreign_content,
    read_weights,
    stored_weights,
    unusable,
    weight_faults,
    write_weights,
)

MODEL_TYPES = {"": "tinyllava", "text_config": "qwen2", "vision_config": "siglip_vision_model"}
"""`model_type` of a config.json and of its nested parts."""


def load_checkpoint(folder: str | Path, dtype: torch.dtype = torch.float32, attention: str = "sdpa") -> TinyLlavaVideo:
    """Load a model with its tokenizer from a folder, without the network.

    Args:
        folder: A folder in the published layout.
        dtype: Type of all weights, whatever type they are stored in.
        attention: Attention implementation of the tower and the language model.

    Returns:
        The model in evaluation mode on the CPU.

    Raises:
        ChangedError: The folder is not what its sidecar records.
        CheckpointError: A file is missing or is not what its name says, or weights are missing, unexpected or of
            another shape; the message lists them. Everything is checked before anything is loaded.

    Source: tinyllava/model/load_model.py of ZhangXJ199/TinyLLaVA-Video-R1@efe76a1.
    Differs from the source: weights get the requested type (upstream's fp16 setting has no effect); the original folders of
        tower, language model and tokenizer are not needed.
    """
    folder = Path(folder)
    check_unchanged(folder)
    config = read_config(folder)
    model = empty_model(config, attention)
    faults = weight_faults(folder, model)
    if faults:
        raise unusable(folder, faults)
    weights = read_weights(folder, dtype)
    if config.text().tie_word_embeddings:
        # Either of the two names may be stored: upstream keeps the embedding, safetensors' save_model the output.
        weights[TIED] = weights[EMBEDDING] = weights[EMBEDDING if EMBEDDING in weights else TIED]
    model.load_state_dict(weights, strict=False, assign=True)
    model.language_model.tie_weights()
    _restore_buffers(model)
    model.tokenizer = load_tokenizer(folder)
    return model.eval()


def read_config(folder: Path) -> TinyLlavaConfig:
    """Read the config.json of a checkpoint folder.

    Raises:
        CheckpointError: The file is missing, belongs to another model, or describes a model that cannot be built.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; a checkpoint folder holds {CONFIG} and {WEIGHTS}")
    try:
        values = read_json(path)
        if not isinstance(values, dict):
            raise ValueError(f"{path}: expected a JSON object, found {type(values).__name__}")
        _check_model_types(values, path)
        return TinyLlavaConfig.from_dict(values, path)
    except (StrictDataclassError, TypeError) as error:  # transformers' own checks, which name no file
        raise CheckpointError(f"{path}: {error}") from error
    except ValueError as error:
        content = foreign_content(path)
        raise CheckpointError(f"{path}: {content}" if content else str(error)) from error


def _check_model_types(values: Mapping[str, Any], path: Path) -> None:
    """Refuse the config.json of another model by its `model_type`, before a missing key is reported."""
    for part, wanted in MODEL_TYPES.items():
        nested = values.get(part) if part else values
        given = nested.get("model_type", wanted) if isinstance(nested, dict) else wanted
        if given != wanted:
            raise ValueError(
                f"{path}: {part + '.' if part else ''}model_type is {given!r}; expected {wanted!r}. It is another "
                "model's: name the folder of a TinyLLaVA-Video checkpoint on Qwen2 and SigLIP"
            )


def empty_model(config: TinyLlavaConfig, attention: str = "sdpa") -> TinyLlavaVideo:
    """A model on the meta device: names and shapes of all weights, no memory."""
    with torch.device("meta"):
        return TinyLlavaVideo(config, attention)


def _restore_buffers(model: TinyLlavaVideo) -> None:
    """Create the buffers that no checkpoint stores, which a model from the meta device lacks."""
    language: Any = model.language_model
    language.model.rotary_emb = Qwen2RotaryEmbedding(config=language.config)
    tower: Any = model.vision_tower._vision_tower.vision_model  # type: ignore[union-attr]
    positions = torch.arange(tower.embeddings.num_positions).expand((1, -1))
    tower.embeddings.register_buffer("position_ids", positions, persistent=False)
    empty = [name for name, tensor in (*model.named_buffers(), *model.named_parameters()) if tensor.is_meta]
    if empty:
        raise CheckpointError(f"these buffers are unknown and have no values: {', '.join(empty)}")


def save_checkpoint(model: TinyLlavaVideo, folder: str | Path, shard_bytes: int = SHARD_BYTES) -> None:
    """Write a checkpoint folder in the published layout, in one step.

    Args:
        model: Its weights are written in their own type; a tied output embedding is left out. A Qwen2 tokenizer is written
            with vocab.json and merges.txt, others as tokenizer.json.
        folder: Replaced if it exists.
        shard_bytes: Largest size of one weights file.

    Differs from the source: preprocessor_config.json is written too; upstream reads it from SigLIP's folder.
    """
    with write_aside(folder) as aside:
        aside.mkdir(parents=True)
        # The type of the written weights, which may differ from that in the loaded configuration.
        stored_as = {key: str(model.dtype).removeprefix("torch.") for key in ("dtype", "torch_dtype")}
        values = model.config.to_dict()
        write_json(aside / CONFIG, values | {key: name for key, name in stored_as.items() if key in values})
        ids = {"bos_token_id": model.config.text().bos_token_id, "eos_token_id": model.config.text().eos_token_id}
        write_json(aside / GENERATION, {"_from_model_config": True, **ids})
        write_json(aside / PROCESSOR, processor_settings(model.config.image_size))
        write_weights(stored_weights(model), aside, shard_bytes)
        save_tokenizer(model.tokenizer, aside)


def processor_settings(size: int) -> dict[str, Any]:
    """Content of the preprocessor_config.json that describes how frames of `size` pixels a side are prepared."""
    return {
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [MEAN] * 3,
        "image_processor_type": "SiglipImageProcessor",
        "image_std": [STD] * 3,
        "resample": int(RESAMPLE),
        "rescale_factor": RESCALE,
        "size": {"height": size, "width": size},
    }


def initialize(config: TinyLlavaConfig, seed: int, attention: str = "sdpa") -> TinyLlavaVideo:
    """Build a model with random weights that depend on `seed` alone; the global random state does not change."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TinyLlavaVideo(config, attention)
