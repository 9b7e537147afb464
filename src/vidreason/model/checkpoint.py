"""Checkpoints in the published layout: config.json, safetensors (one file or shards), tokenizer files."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast, Qwen2Tokenizer
from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding

from vidreason.checkpoint_files import (
    CONFIG,
    GENERATION,
    INDEX,
    PROCESSOR,
    TOKENIZER_CONFIG,
    WEIGHTS,
    copy_tokenizer,
    has_byte_order_mark,
    tokenizer_files,
)
from vidreason.files import check_unchanged, read_json, write_aside, write_json
from vidreason.model.configuration import TinyLlavaConfig
from vidreason.model.modeling import TinyLlavaVideo
from vidreason.model.processing import MEAN, RESAMPLE, RESCALE, STD

TIED = "language_model.lm_head.weight"
EMBEDDING = "language_model.model.embed_tokens.weight"
SHARD_BYTES = 5_000_000_000
"""Size above which weights are split, as transformers does."""

MODEL_TYPES = {"": "tinyllava", "text_config": "qwen2", "vision_config": "siglip_vision_model"}
"""`model_type` of a config.json and of its nested parts."""

STORED_TYPES = ("F32", "BF16", "F16")
"""What safetensors calls the types that weights may be stored in."""

PICKLES = (".bin", ".pt", ".pth", ".ckpt")
PICKLED = (
    "pickled weights, which can run code when they are read; convert them where that is safe: "
    f"torch.load(file, weights_only=True), then safetensors.torch.save_file(weights, {WEIGHTS!r})"
)
NO_WEIGHTS = ("training_args.bin",)
"""Pickled files that lie beside published weights and hold none."""

FAULTS_LISTED = 20
"""Lines of an error; one wrong size in config.json makes a fault of hundreds of weights."""

QWEN_CLASSES = ("Qwen2Tokenizer", "Qwen2TokenizerFast")
VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"))
"""Files that make a tokenizer, one way or the other."""


class CheckpointError(ValueError):
    """A checkpoint folder is incomplete or does not fit the model."""


class StoredWeight(NamedTuple):
    """What the header of a weights file says of one tensor."""

    shape: tuple[int, ...]
    dtype: str
    file: str


PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""Types of weights by the names that the configuration has for them."""


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
        ChangedError: The folder is not what its sidecar tells of.
        CheckpointError: A file is missing or is not what its name says, or weights are missing, unexpected or of
            another shape; the message lists them. Nothing is loaded before all of it has been checked.

    Source: tinyllava/model/load_model.py of ZhangXJ199/TinyLLaVA-Video-R1@efe76a1.
    Differs from the source: the type asked for is the type given (upstream's fp16 setting never arrives); the
        original folders of tower, language model and tokenizer are not needed.
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
        # Either name may be the one that is stored: upstream keeps the embedding, safetensors' save_model the output.
        weights[TIED] = weights[EMBEDDING] = weights[EMBEDDING if EMBEDDING in weights else TIED]
    model.load_state_dict(weights, strict=False, assign=True)
    model.language_model.tie_weights()
    _restore_buffers(model)
    return model.eval(), load_tokenizer(folder)


def read_config(folder: Path) -> TinyLlavaConfig:
    """Read the config.json of a checkpoint folder.

    Raises:
        CheckpointError: It is missing, of another model, or one that no model can be built from.
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
        seen = foreign_content(path)
        raise CheckpointError(f"{path}: {seen}" if seen else str(error)) from error


def _check_model_types(values: Mapping[str, Any], path: Path) -> None:
    """Refuse the config.json of another model by what it says it is, not by the first key that it lacks."""
    for part, wanted in MODEL_TYPES.items():
        nested = values.get(part) if part else values
        found = nested.get("model_type", wanted) if isinstance(nested, dict) else wanted
        if found != wanted:
            raise ValueError(
                f"{path}: {part + '.' if part else ''}model_type is {found!r}; expected {wanted!r}. It is another "
                "model's: name the folder of a TinyLLaVA-Video checkpoint on Qwen2 and SigLIP"
            )


def empty_model(config: TinyLlavaConfig, attention: str = "sdpa") -> TinyLlavaVideo:
    """A model with the names and shapes of all weights and no memory for them."""
    with torch.device("meta"):
        return TinyLlavaVideo(config, attention)


def unusable(folder: Path, faults: Sequence[str]) -> CheckpointError:
    """The faults of a checkpoint folder as one error; it names the first `FAULTS_LISTED` and counts the rest."""
    lines = list(faults[:FAULTS_LISTED])
    if len(faults) > FAULTS_LISTED:
        lines.append(f"and {len(faults) - FAULTS_LISTED} more")
    count = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
    return CheckpointError(
        f"{folder}: not a usable checkpoint, {count}. Correct what is named, or download it again, whole and from one "
        "revision:\n  " + "\n  ".join(lines)
    )


def weight_faults(folder: Path, model: TinyLlavaVideo) -> list[str]:
    """All that keeps stored weights from being a model's, one line a fault.

    Headers alone are read: names, shapes, types and the index of shards. Only a tied output embedding that is stored
    beside the input embedding is loaded, to be compared with it.

    Args:
        folder: A checkpoint folder.
        model: Built from its config.json, on whatever device.
    """
    stored, placed, faults = read_headers(folder)
    if faults and not stored:
        return faults
    wanted = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    # What a shard lacks that its index promises has been named as that; a shard that cannot be read lacks nothing known.
    known = {*stored, *placed}
    tied = model.config.text().tie_word_embeddings
    if tied and known & {TIED, EMBEDDING}:
        known |= {TIED, EMBEDDING}
    faults += [f"missing: {key} {wanted[key]}" for key in sorted(wanted) if key not in known]
    faults += [f"unexpected: {key} {stored[key].shape}" for key in sorted(stored) if key not in wanted]
    faults += [
        f"shape of {key}: stored {stored[key].shape}, {CONFIG} asks for {wanted[key]}"
        for key in sorted(wanted)
        if key in stored and stored[key].shape != wanted[key]
    ]
    faults += [
        f"type of {key}: stored as {weight.dtype}; allowed: {', '.join(STORED_TYPES)}"
        for key, weight in sorted(stored.items())
        if weight.dtype not in STORED_TYPES
    ]
    if tied and TIED in stored and EMBEDDING in stored and not _same_tensor(folder, stored[TIED], stored[EMBEDDING]):
        faults.append(
            f"text_config.tie_word_embeddings is true, but {TIED} differs from {EMBEDDING}; set it to false to use both"
        )
    return faults


def _same_tensor(folder: Path, output: StoredWeight, embedding: StoredWeight) -> bool:
    """Whether the output embedding that is stored is the input embedding; the two may be stored in different types."""
    tensors = []
    for key, weight in ((TIED, output), (EMBEDDING, embedding)):
        with safe_open(folder / weight.file, framework="pt") as file:
            tensors.append(file.get_tensor(key))
    return torch.equal(*tensors)


def read_headers(folder: Path) -> tuple[dict[str, StoredWeight], dict[str, str], list[str]]:
    """Read the headers of all weights files of a folder.

    Returns:
        The tensors that are stored, where the index of shards says that they are (nothing without an index), and one
        line for each file that cannot be read or holds other tensors than the index says.
    """
    files, placed, faults = _weight_files(folder)
    stored: dict[str, StoredWeight] = {}
    for name in files:
        path = folder / name
        if not path.is_file():
            faults.append(_absent(path))
            continue
        held: dict[str, StoredWeight] = {}
        try:
            with safe_open(path, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118 (not a dict)
                    part = file.get_slice(key)
                    held[key] = StoredWeight(tuple(part.get_shape()), part.get_dtype(), name)
        except (SafetensorError, OSError) as error:
            cause = foreign_content(path) or "was it cut short? Download it again"
            faults.append(f"{path}: cannot be read ({error}); {cause}")
            continue
        stored |= held
        if placed:
            here = {key for key, place in placed.items() if place == name}
            faults += [f"{path}: {key} is not in it, where {INDEX} places it" for key in sorted(here - held.keys())]
            faults += [f"{path}: {key} is in it, where {INDEX} does not place it" for key in sorted(held.keys() - here)]
    return stored, placed, faults


def _weight_files(folder: Path) -> tuple[list[str], dict[str, str], list[str]]:
    """Names of the weights files, the index's places of all tensors (if there is one), and faults."""
    index, whole = folder / INDEX, folder / WEIGHTS
    if not index.is_file():
        if index.is_symlink():
            return [], {}, [_absent(index)]
        return ([WEIGHTS], {}, []) if whole.is_file() else ([], {}, [_no_weights(folder)])
    try:
        placed = read_json(index)["weight_map"]
        files = sorted(set(placed.values()))
        plain = all(isinstance(name, str) and name == Path(name).name for name in files)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        seen = foreign_content(index) or f"no object with a weight_map ({error!r}); download it again"
        return [], {}, [f"{index}: {seen}"]
    if not files or not plain:
        return [], {}, [f"{index}: weight_map names {files[:5]}; expected names of files in the same folder"]
    if whole.is_file() and WEIGHTS not in files:
        # Which of the two is read differs between libraries.
        return [], {}, [f"{folder}: both {WEIGHTS} and {INDEX}, which names other files; remove one of them"]
    return files, placed, []


def _absent(path: Path) -> str:
    """Why a file that should be there is not."""
    if path.is_symlink():
        return f"{path}: a link to {path.readlink()}, which is not there; was the original moved or deleted?"
    return f"{path}: no such file; was the download of the checkpoint complete?"


def _no_weights(folder: Path) -> str:
    """What a folder has in place of weights."""
    path = folder / WEIGHTS
    if path.is_symlink():
        return _absent(path)
    shards = sorted(file.name for file in folder.glob("*.safetensors"))
    if shards:
        return f"{folder / INDEX}: no such file, so {', '.join(shards[:5])} cannot be told from leftovers; download it"
    pickled = [file for file in folder.rglob("*") if file.suffix in PICKLES and file.name not in NO_WEIGHTS]
    return f"{min(pickled)}: {PICKLED}" if pickled else _absent(path)


def foreign_content(path: Path) -> str | None:
    """What a file that cannot be read is instead of what its name says, judged by its first bytes, and what to do.

    A sound weights file may begin like a pickle by chance: ask only about files that could not be read.

    Returns:
        The end of a sentence, or None where the file looks like no known mistake.
    """
    with path.open("rb") as stream:
        head = stream.read(512)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not head:
        return "it is empty; download it again"
    if text.startswith(b"version https://git-lfs"):
        return "it is a git-lfs pointer, not the file itself; run `git lfs pull` beside it, or use `hf download`"
    if text.startswith((b"<!doctype html", b"<html", b"<?xml")):
        return "it is a web page, not the file itself; use `hf download`, or an address with /resolve/ for /blob/"
    if head.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        return f"it holds {PICKLED}"
    return None


def read_weights(folder: str | Path, dtype: torch.dtype | None = None) -> dict[str, torch.Tensor]:
    """Read all tensors of a folder, from one file or from the shards that its index names.

    Args:
        folder: A checkpoint folder.
        dtype: Type of all tensors; None leaves them in the type they are stored in.

    Raises:
        CheckpointError: There are no weights, a file is missing or cut short, or a shard holds other tensors than the
            index says.
    """
    folder = Path(folder)
    stored, _, faults = read_headers(folder)
    if faults:
        raise unusable(folder, faults)
    weights: dict[str, torch.Tensor] = {}
    for name in sorted({weight.file for weight in stored.values()}):
        with safe_open(folder / name, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 (not a dict)
                tensor = file.get_tensor(key)
                weights[key] = tensor if dtype is None else tensor.to(dtype)
    return weights


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
        CheckpointError: The folder has neither tokenizer.json nor vocab.json with merges.txt, or they make no tokenizer.
    """
    folder = Path(folder)
    if not has_tokenizer(folder):
        raise CheckpointError(f"{folder}: no tokenizer; expected tokenizer.json, or vocab.json and merges.txt")
    whole = folder / "tokenizer.json"
    settings = folder / TOKENIZER_CONFIG
    try:
        named = read_json(settings).get("tokenizer_class") if settings.is_file() else None
        kind: Any = Qwen2Tokenizer if named in QWEN_CLASSES or not whole.is_file() else PreTrainedTokenizerFast
        with tempfile.TemporaryDirectory() as scratch:
            readable = folder
            if any(map(has_byte_order_mark, tokenizer_files(folder))):
                copy_tokenizer(folder, readable := Path(scratch))
            tokenizer: PreTrainedTokenizerBase = kind.from_pretrained(str(readable), local_files_only=True)
    except Exception as error:  # the tokenizers library raises nothing narrower
        files = tokenizer_files(folder)
        seen = [f"{file}: {content}" for file in files if (content := foreign_content(file))]
        reason = "; ".join(seen) or f"{error}; download {', '.join(file.name for file in files)} again, from one place"
        raise CheckpointError(f"{folder}: the tokenizer cannot be loaded: {reason}") from error
    return tokenizer


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds the files that make a tokenizer."""
    return any(all((folder / name).is_file() for name in names) for names in VOCABULARIES)


def save_checkpoint(
    model: TinyLlavaVideo, tokenizer: PreTrainedTokenizerBase, folder: str | Path, shard_bytes: int = SHARD_BYTES
) -> None:
    """Write a checkpoint folder in the published layout, in one step.

    Args:
        model: Its weights are written in their own type; a tied output embedding is left out.
        tokenizer: A Qwen2 tokenizer is written with vocab.json and merges.txt, others as tokenizer.json.
        folder: Replaced if it is there.
        shard_bytes: Largest size of one weights file.

    Differs from the source: preprocessor_config.json is written too, which upstream reads beside SigLIP's weights.
    """
    with write_aside(folder) as aside:
        aside.mkdir(parents=True)
        # The type of the weights that are written, not of those that the configuration came with.
        stored_as = {key: str(model.dtype).removeprefix("torch.") for key in ("dtype", "torch_dtype")}
        values = model.config.to_dict()
        write_json(aside / CONFIG, values | {key: name for key, name in stored_as.items() if key in values})
        ids = {"bos_token_id": model.config.text().bos_token_id, "eos_token_id": model.config.text().eos_token_id}
        write_json(aside / GENERATION, {"_from_model_config": True, **ids})
        write_json(aside / PROCESSOR, processor_settings(model.config.image_size))
        write_weights(stored_weights(model), aside, shard_bytes)
        save_tokenizer(tokenizer, aside)


def processor_settings(size: int) -> dict[str, Any]:
    """The preprocessor_config.json of what is done to frames: `size` pixels a side, as SigLIP's processor does it."""
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
    settings = read_json(folder / TOKENIZER_CONFIG)
    named = {name: settings.get(name) for name in ("eos_token", "pad_token", "unk_token")}
    special = [str(token) for token in added.values() if token.special and str(token) not in named.values()]
    for key in ("backend", "is_local", "local_files_only"):  # where it was loaded from is no property of it
        settings.pop(key, None)
    settings |= {"added_tokens_decoder": described, "additional_special_tokens": special, "extra_special_tokens": {}}
    write_json(folder / TOKENIZER_CONFIG, settings)
    write_json(folder / "special_tokens_map.json", {"additional_special_tokens": special, **named})


def initialise(config: TinyLlavaConfig, seed: int, attention: str = "sdpa") -> TinyLlavaVideo:
    """Build a model with random weights that depend on `seed` alone; the caller's random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TinyLlavaVideo(config, attention)
