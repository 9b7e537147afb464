"""The weights of a checkpoint folder: safetensors in one file or in shards. Every fault is named before anything is loaded."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from vidreason.artifacts.file_signatures import EMPTY, PAGE, PICKLE, POINTER, ZIP, check_signature
from vidreason.artifacts.files import read_json, write_json
from vidreason.models.tinyllava.checkpoint_files import CONFIG, INDEX, WEIGHTS
from vidreason.models.tinyllava.modeling import TinyLlavaVideo

TIED = "language_model.lm_head.weight"


EMBEDDING = "language_model.model.embed_tokens.weight"


SHARD_BYTES = 5_000_000_000
"""Size above which weights are split, as transformers does."""


STORED_TYPES = ("F32", "BF16", "F16")
"""Types that weights may be stored in, by safetensors' names."""


PICKLES = (".bin", ".pt", ".pth", ".ckpt")


PICKLED = (
    "pickled weights, which can run code when they are read; convert them where that is safe: "
    f"torch.load(file, weights_only=True), then safetensors.torch.save_file(weights, {WEIGHTS!r})"
)


FOREIGN = {
    EMPTY: "it is empty; download it again",
    POINTER: "it is a git-lfs pointer, not the file itself; run `git lfs pull` beside it, or use `hf download`",
    PAGE: "it is a web page, not the file itself; use `hf download`, or an address with /resolve/ for /blob/",
    **dict.fromkeys((ZIP, PICKLE), f"it holds {PICKLED}"),
}
"""Kind of content in place of a checkpoint's file -> the end of a sentence that says what to do."""


NO_WEIGHTS = ("training_args.bin",)
"""Pickled files of published repositories that hold no weights."""


FAULTS_LISTED = 20
"""Most faults in a message; one wrong size in config.json makes hundreds of weights wrong."""


class CheckpointError(ValueError):
    """A checkpoint folder is incomplete or does not fit the model."""


class StoredWeight(NamedTuple):
    """One tensor in the header of a weights file."""

    shape: tuple[int, ...]
    dtype: str
    file: str


def unusable(folder: Path, faults: Sequence[str]) -> CheckpointError:
    """One error for the faults of a checkpoint folder: the first `FAULTS_LISTED` by name, the number of the rest."""
    lines = list(faults[:FAULTS_LISTED])
    if len(faults) > FAULTS_LISTED:
        lines.append(f"and {len(faults) - FAULTS_LISTED} more")
    count = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
    return CheckpointError(
        f"{folder}: not a usable checkpoint, {count}. Correct what is named, or download it again, whole and from one "
        "revision:\n  " + "\n  ".join(lines)
    )


def weight_faults(folder: Path, model: TinyLlavaVideo) -> list[str]:
    """Reasons why stored weights are not those of a model, one line a fault.

    Only headers are read: names, shapes, types and the index of shards. If a tied output embedding is stored as well as the
    input embedding, both are loaded and compared.

    Args:
        folder: A checkpoint folder.
        model: Built from its config.json, on any device.
    """
    stored, placed, faults = read_headers(folder)
    if faults and not stored:
        return faults
    wanted = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    # Tensors that the index lists are not reported as missing: a shard that lacks them, or cannot be read, is a fault already.
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
    """Whether the stored output embedding equals the input embedding; the two may have different types."""
    tensors = []
    for key, weight in ((TIED, output), (EMBEDDING, embedding)):
        with safe_open(folder / weight.file, framework="pt") as file:
            tensors.append(file.get_tensor(key))
    return torch.equal(*tensors)


def read_headers(folder: Path) -> tuple[dict[str, StoredWeight], dict[str, str], list[str]]:
    """Read the headers of all weights files of a folder.

    Returns:
        The stored tensors by name, the file of each tensor according to the index of shards (empty without an index), and one
        line for each file that cannot be read or contradicts the index.
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
    """Names of the weights files, the file of each tensor according to the index (if there is one), and faults."""
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
        content = foreign_content(index) or f"no object with a weight_map ({error!r}); download it again"
        return [], {}, [f"{index}: {content}"]
    if not files or not plain:
        return [], {}, [f"{index}: weight_map names {files[:5]}; expected names of files in the same folder"]
    if whole.is_file() and WEIGHTS not in files:
        # Libraries differ in which of the two they read.
        return [], {}, [f"{folder}: both {WEIGHTS} and {INDEX}, which names other files; remove one of them"]
    return files, placed, []


def _absent(path: Path) -> str:
    """Why a file is missing."""
    if path.is_symlink():
        return f"{path}: a link to {path.readlink()}, which is not there; was the original moved or deleted?"
    return f"{path}: no such file; was the download of the checkpoint complete?"


def _no_weights(folder: Path) -> str:
    """Why a folder has no weights."""
    path = folder / WEIGHTS
    if path.is_symlink():
        return _absent(path)
    shards = sorted(file.name for file in folder.glob("*.safetensors"))
    if shards:
        return f"{folder / INDEX}: no such file, so {', '.join(shards[:5])} cannot be told from leftovers; download it"
    pickled = [file for file in folder.rglob("*") if file.suffix in PICKLES and file.name not in NO_WEIGHTS]
    return f"{min(pickled)}: {PICKLED}" if pickled else _absent(path)


def foreign_content(path: Path) -> str | None:
    """The content of a file that cannot be read, judged by its first bytes, and what to do about it.

    Returns:
        The end of a sentence, or None for a file that is none of the known mistakes.
    """
    signature = check_signature(path)
    return None if signature is None else FOREIGN.get(signature.kind)


def read_weights(folder: str | Path, dtype: torch.dtype | None = None) -> dict[str, torch.Tensor]:
    """Read all tensors of a folder, from one file or from the shards that its index names.

    Args:
        folder: A checkpoint folder.
        dtype: Type of all tensors; None keeps the stored types.

    Raises:
        CheckpointError: There are no weights, a file is missing or cut short, or a shard contradicts the index.
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


def stored_weights(model: TinyLlavaVideo) -> dict[str, torch.Tensor]:
    """A model's weights as a checkpoint stores them: contiguous, on the CPU, tied ones once."""
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
