"""Checkpoints in the published layout: config.json, safetensors (one file or shards), tokenizer files."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast, Qwen2Tokenizer
from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding

from vidreason.files import read_json, write_aside, write_json
from vidreason.model.configuration import TinyLlavaConfig
from vidreason.model.modeling import TinyLlavaVideo

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
TIED = "language_model.lm_head.weight"
EMBEDDING = "language_model.model.embed_tokens.weight"
SHARD_BYTES = 5_000_000_000
"""Size above which weights are split, as transformers does."""

QWEN_CLASSES = ("Qwen2Tokenizer", "Qwen2TokenizerFast")


class CheckpointError(ValueError):
    """A checkpoint folder is incomplete or does not fit the model."""


def compute_device() -> torch.device:
    """The CUDA device if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_checkpoint(
    folder: str | Path, dtype: torch.dtype = torch.float32, attention: str = "sdpa"
) -> tuple[TinyLlavaVideo, PreTrainedTokenizerBase]:
    """Load a model and its tokenizer from a folder, without the network.

    Args:
        folder: A folder in the published layout.
        dtype: Type of all weights, whatever type they are stored in.
        attention: Attention implementation of the tower and the language model.

    Returns:
        The model in evaluation mode on the CPU, and the tokenizer.

    Raises:
        CheckpointError: A file is missing, or weights are missing, unexpected or of another shape; the message lists
            them.

    Source: tinyllava/model/load_model.py of ZhangXJ199/TinyLLaVA-Video-R1@efe76a1.
    Differs from the source: the type asked for is the type given (upstream's fp16 setting never arrives); the
        original folders of tower, language model and tokenizer are not needed.
    """
    folder = Path(folder)
    config_path = folder / "config.json"
    if not config_path.is_file():
        raise CheckpointError(f"{config_path}: no such file; a checkpoint folder holds config.json and {WEIGHTS}")
    config = TinyLlavaConfig.load(config_path)
    with torch.device("meta"):
        model = TinyLlavaVideo(config, attention)
    weights = read_weights(folder, dtype)
    _restore_tied(weights, config, folder)
    _check(weights, model, folder)
    model.load_state_dict(weights, strict=False, assign=True)
    model.language_model.tie_weights()
    _restore_buffers(model)
    return model.eval(), load_tokenizer(folder)


def read_weights(folder: str | Path, dtype: torch.dtype | None = None) -> dict[str, torch.Tensor]:
    """Read all tensors of a folder, from one file or from the shards that its index names.

    Raises:
        CheckpointError: There are no weights, or a shard is missing or cut short.
    """
    folder = Path(folder)
    index = folder / INDEX
    names = sorted(set(read_json(index)["weight_map"].values())) if index.is_file() else [WEIGHTS]
    weights: dict[str, torch.Tensor] = {}
    for name in names:
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file; was the download of the checkpoint complete?")
        try:
            with safe_open(path, framework="pt") as stored:
                for key in stored.keys():  # noqa: SIM118 (not a dict)
                    tensor = stored.get_tensor(key)
                    weights[key] = tensor if dtype is None else tensor.to(dtype)
        except SafetensorError as error:
            raise CheckpointError(f"{path}: cannot be read ({error}); was it cut short?") from error
    return weights


def _restore_tied(weights: dict[str, torch.Tensor], config: TinyLlavaConfig, folder: Path) -> None:
    """Where output and input embedding are one, let the file hold either or both, but not two different ones."""
    if not config.text().tie_word_embeddings or EMBEDDING not in weights:
        return
    if TIED in weights and not torch.equal(weights[TIED], weights[EMBEDDING]):
        raise CheckpointError(
            f"{folder}: text_config.tie_word_embeddings is true, but {TIED} differs from {EMBEDDING}; "
            "set it to false to use both"
        )
    weights[TIED] = weights[EMBEDDING]


def _check(weights: dict[str, torch.Tensor], model: nn.Module, folder: Path) -> None:
    """Compare names and shapes of stored weights with those of the model."""
    wanted = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    faults = [f"missing: {key} {wanted[key]}" for key in wanted if key not in weights]
    faults += [f"unexpected: {key} {tuple(weights[key].shape)}" for key in weights if key not in wanted]
    faults += [
        f"shape of {key}: stored {tuple(weights[key].shape)}, config.json asks for {wanted[key]}"
        for key in wanted
        if key in weights and tuple(weights[key].shape) != wanted[key]
    ]
    if faults:
        listed = "\n  ".join(sorted(faults))
        raise CheckpointError(f"{folder}: {len(faults)} weights do not fit config.json:\n  {listed}")


def _restore_buffers(model: TinyLlavaVideo) -> None:
    """Make the buffers that no checkpoint stores, which a model built without memory lacks."""
    language: Any = model.language_model
    language.model.rotary_emb = Qwen2RotaryEmbedding(config=language.config)
    tower: Any = model.vision_tower._vision_tower.vision_model  # type: ignore[union-attr]
    places = torch.arange(tower.embeddings.num_positions).expand((1, -1))
    tower.embeddings.register_buffer("position_ids", places, persistent=False)
    empty = [name for name, tensor in (*model.named_buffers(), *model.named_parameters()) if tensor.is_meta]
    if empty:
        raise CheckpointError(f"these buffers are not known and were left empty: {', '.join(empty)}")


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """Load a tokenizer from the files of a checkpoint folder.

    Raises:
        CheckpointError: The folder has neither tokenizer.json nor vocab.json with merges.txt.
    """
    folder = Path(folder)
    whole = folder / "tokenizer.json"
    parts = [folder / "vocab.json", folder / "merges.txt"]
    if not whole.is_file() and not all(part.is_file() for part in parts):
        raise CheckpointError(f"{folder}: no tokenizer; expected tokenizer.json, or vocab.json and merges.txt")
    settings = folder / "tokenizer_config.json"
    named = read_json(settings).get("tokenizer_class") if settings.is_file() else None
    kind: Any = Qwen2Tokenizer if named in QWEN_CLASSES or not whole.is_file() else PreTrainedTokenizerFast
    tokenizer: PreTrainedTokenizerBase = kind.from_pretrained(str(folder), local_files_only=True)
    return tokenizer


def save_checkpoint(
    model: TinyLlavaVideo, tokenizer: PreTrainedTokenizerBase, folder: str | Path, shard_bytes: int = SHARD_BYTES
) -> None:
    """Write a checkpoint folder in the published layout, in one step.

    Args:
        model: Its weights are written in their own type; a tied output embedding is left out.
        tokenizer: A Qwen2 tokenizer is written with vocab.json and merges.txt, others as tokenizer.json.
        folder: Replaced if it is there.
        shard_bytes: Largest size of one weights file.
    """
    with write_aside(folder) as aside:
        aside.mkdir(parents=True)
        model.config.save(aside / "config.json")
        ids = {"bos_token_id": model.config.text().bos_token_id, "eos_token_id": model.config.text().eos_token_id}
        write_json(aside / "generation_config.json", {"_from_model_config": True, **ids})
        write_weights(stored_weights(model), aside, shard_bytes)
        save_tokenizer(tokenizer, aside)


def stored_weights(model: TinyLlavaVideo) -> dict[str, torch.Tensor]:
    """The model's weights as a checkpoint stores them: contiguous, on the CPU, each once."""
    weights = {key: tensor.detach().to("cpu").contiguous() for key, tensor in model.state_dict().items()}
    if model.config.text().tie_word_embeddings:
        weights.pop(TIED, None)
    return weights


def write_weights(weights: dict[str, torch.Tensor], folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
    """Write tensors as one safetensors file, or as shards of at most `shard_bytes` with an index."""
    shards: list[dict[str, torch.Tensor]] = [{}]
    used = 0
    for key, tensor in weights.items():
        if shards[-1] and used + tensor.nbytes > shard_bytes:
            shards.append({})
            used = 0
        shards[-1][key] = tensor
        used += tensor.nbytes
    if len(shards) == 1:
        save_file(shards[0], folder / WEIGHTS, metadata={"format": "pt"})
        return
    names = [f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
    for name, shard in zip(names, shards, strict=True):
        save_file(shard, folder / name, metadata={"format": "pt"})
    places = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
    total = sum(tensor.nbytes for tensor in weights.values())
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": places})


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a tokenizer's files into a folder that is there.

    A Qwen2 tokenizer is also written as transformers 4 reads it, upstream's slow loader included: vocab.json,
    merges.txt, added_tokens.json, special_tokens_map.json, and a tokenizer_config.json that lists the added tokens.
    """
    tokenizer.save_pretrained(str(folder))
    if not isinstance(tokenizer, Qwen2Tokenizer):
        return
    tokenizer.backend_tokenizer.model.save(str(folder))
    vocabulary = read_json(folder / "vocab.json")
    ordered = json.dumps(dict(sorted(vocabulary.items(), key=lambda item: item[1])), ensure_ascii=False)
    (folder / "vocab.json").write_text(ordered, encoding="utf-8")
    added = dict(sorted(tokenizer.added_tokens_decoder.items()))
    write_json(folder / "added_tokens.json", {str(token): number for number, token in added.items()})
    flags = ("lstrip", "normalized", "rstrip", "single_word", "special")
    described = {
        str(number): {"content": str(token), **{flag: getattr(token, flag) for flag in flags}}
        for number, token in added.items()
    }
    settings = read_json(folder / "tokenizer_config.json")
    named = {name: settings.get(name) for name in ("eos_token", "pad_token", "unk_token")}
    special = [str(token) for token in added.values() if token.special and str(token) not in named.values()]
    for key in ("backend", "is_local", "local_files_only"):  # where it was loaded from is no property of it
        settings.pop(key, None)
    settings |= {"added_tokens_decoder": described, "additional_special_tokens": special, "extra_special_tokens": {}}
    write_json(folder / "tokenizer_config.json", settings)
    write_json(folder / "special_tokens_map.json", {"additional_special_tokens": special, **named})


def initialise(config: TinyLlavaConfig, seed: int, attention: str = "sdpa") -> TinyLlavaVideo:
    """Build a model with random weights that depend on `seed` alone; the caller's random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TinyLlavaVideo(config, attention)
