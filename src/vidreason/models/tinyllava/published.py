"""Published weights to a checkpoint folder that needs nothing else, checked before any of it is loaded.

A repository of published weights is not whole: upstream's code takes the tokenizer from the base language model's folder
and the image processor's settings from SigLIP's. What does not fit together shows there as an error on a GPU that was
waited for, or not at all.
"""

import math
from pathlib import Path
from typing import Any

from vidreason.artifacts.files import copy_file, read_json, write_aside, write_json
from vidreason.models.tinyllava.checkpoint import empty_model, processor_settings, read_config
from vidreason.models.tinyllava.checkpoint_files import (
    CONFIG,
    GENERATION,
    INDEX,
    PROCESSOR,
    TOKENIZER_CONFIG,
    copy_tokenizer,
    tokenizer_files,
)
from vidreason.models.tinyllava.configuration import TinyLlavaConfig
from vidreason.models.tinyllava.modeling import TinyLlavaVideo
from vidreason.models.tinyllava.tokenizer import has_tokenizer, load_tokenizer
from vidreason.models.tinyllava.weights import CheckpointError, foreign_content, read_headers, unusable, weight_faults
from vidreason.tasks.marks import END

TOWER_PROCESSOR = "SiglipImageProcessor"
CROPPING = ("do_center_crop", "do_pad")
"""Steps of other processors, which SigLIP's does not have."""


def import_weights(
    *,
    weights: Path,
    out: Path,
    frame_size: int,
    tokenizer: Path | None = None,
    processor: Path | None = None,
) -> None:
    """Make a self-contained checkpoint folder of published weights, checked without loading them.

    Of the weights, headers alone are read: names, shapes, types and the index of shards, a second for any size. (A tied
    output embedding that is stored beside the input embedding is loaded, to be compared with it.)

    Everything is copied, so that nothing done to the originals afterwards reaches `out`. File systems that let two files
    share their bytes until one of them is changed (btrfs, XFS, NFS 4.2) do so; elsewhere the weights take their room twice.

    Args:
        weights: Folder in the published layout: config.json; model.safetensors, or shards with their index; perhaps
            tokenizer files, preprocessor_config.json and generation_config.json.
        out: The folder to write, in one step; replaced if it is there. `load_checkpoint` reads it.
        frame_size: Pixels a side of the run's frames (`frames.size`).
        tokenizer: Folder of the base language model's repository (Qwen/Qwen2.5-3B), for weights without a tokenizer.
        processor: Folder of the vision tower's repository (google/siglip-so400m-patch14-384), for weights without
            preprocessor_config.json. With neither, what is done to frames is written down, which is SigLIP's own
            setting.

    Raises:
        CheckpointError: Something is missing, is not what its name says, or does not fit: the configuration, weights,
            the processor's settings and what is done to frames, the tokenizer and the vocabulary. All faults are
            listed, up to `FAULTS_LISTED`, and `out` is as it was.

    Source: tinyllava/model/{load_model,modeling_tinyllava}.py and vision_tower/siglip.py of
        ZhangXJ199/TinyLLaVA-Video-R1@efe76a1.
    Differs from the source: the checkpoint's own tokenizer and processor settings come first (upstream never reads them);
        frames are prepared once for all models, so other settings of the processor are an error, not followed;
        tokenizer_model_max_length and tokenizer_padding_side, which upstream imposes on whatever tokenizer it finds, are
        written into the tokenizer's own settings.
    """
    weights, out = Path(weights), Path(out)
    if not weights.is_dir():
        raise CheckpointError(
            f"{weights}: no such folder; download one, `hf download <repository> --local-dir {weights}`"
        )
    for source in (weights, tokenizer, processor):
        if source is not None and Path(source).resolve().is_relative_to(out.resolve()):
            raise CheckpointError(f"{out}: writing it would remove {source}; name another folder")
    config, model, faults = _build(weights)
    if config is not None and config.image_size != frame_size:
        faults.append(
            f"{weights / CONFIG}: vision_config.image_size is {config.image_size}, frames.size is {frame_size}; set "
            f"frames.size to {config.image_size}"
        )
    words = _tokenizer_folder(weights, tokenizer, faults)
    if words is not None:
        faults += _tokenizer_faults(words, config)
    settings = _processor_file(weights, processor, faults)
    if settings is not None:
        faults += _processor_faults(settings, frame_size)
    if (weights / GENERATION).is_file():
        _read_object(weights / GENERATION, faults)
    faults += weight_faults(weights, model) if model is not None else read_headers(weights)[2]
    if faults or config is None or words is None:  # the latter two are faults already
        raise unusable(weights, faults)
    with write_aside(out) as aside:
        aside.mkdir()
        for name in (CONFIG, GENERATION, INDEX):
            if (weights / name).is_file():
                copy_file(weights / name, aside / name)
        for name in sorted({weight.file for weight in read_headers(weights)[0].values()}):
            copy_file(weights / name, aside / name)
        _copy_tokenizer(words, aside, config)
        if settings is None:
            write_json(aside / PROCESSOR, processor_settings(frame_size))
        else:
            copy_file(settings, aside / PROCESSOR)


def _build(weights: Path) -> tuple[TinyLlavaConfig | None, TinyLlavaVideo | None, list[str]]:
    """The configuration, a model of it without memory, and what is wrong with it."""
    try:
        config = read_config(weights)
    except CheckpointError as error:
        return None, None, [str(error)]
    try:
        return config, empty_model(config), []
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        # Heads that do not divide a width, an activation that nobody knows: each its own exception of transformers.
        return config, None, [f"{weights / CONFIG}: no model can be built of it ({error!r}); download it again"]


def _tokenizer_folder(weights: Path, tokenizer: Path | None, faults: list[str]) -> Path | None:
    """The folder to take all tokenizer files from: parts of two tokenizers would be neither."""
    places = [weights] if tokenizer is None else [weights, Path(tokenizer)]
    for place in places:
        if has_tokenizer(place):
            return place
    advice = (
        "name the folder of the base language model's repository, Qwen/Qwen2.5-3B"
        if tokenizer is None
        else ("download the base language model's repository, Qwen/Qwen2.5-3B, to the latter")
    )
    faults.append(
        f"{' and '.join(map(str, places))}: no tokenizer.json, nor vocab.json with merges.txt; {advice} (its tokenizer "
        "files are enough)"
    )
    return None


def _tokenizer_faults(folder: Path, config: TinyLlavaConfig | None) -> list[str]:
    """Whether a tokenizer loads, has an embedding for each of its tokens, and ends where answers end."""
    foreign = [(path, foreign_content(path)) for path in tokenizer_files(folder)]
    faults = [f"{path}: {content}" for path, content in foreign if content]
    if faults:
        return faults
    try:
        tokenizer: Any = load_tokenizer(folder)
    except CheckpointError as error:
        return [str(error)]
    ids = list(tokenizer(END).input_ids)
    if len(ids) != 1:
        faults.append(
            f"{folder}: {END} is {len(ids)} tokens, {ids}; every answer ends with it, so it must be one. Take the "
            "tokenizer of Qwen/Qwen2.5-3B"
        )
    elif ids[0] != tokenizer.eos_token_id:
        # Generation stops at the tokenizer's end of sequence, training writes END.
        faults.append(
            f"{folder}: eos_token is {tokenizer.eos_token!r} ({tokenizer.eos_token_id}), needed {END!r} ({ids[0]}), which "
            "answers are trained to end with. Take the tokenizer of the base model, Qwen/Qwen2.5-3B, not of Instruct"
        )
    if config is None:
        return faults
    rows = config.text().vocab_size
    count = max(len(tokenizer), 1 + max(tokenizer.get_vocab().values()))  # ids may have gaps
    if count > rows:
        faults.append(
            f"{folder}: the tokenizer has {count} tokens, but text_config.vocab_size is {rows}: it is another model's. "
            "Take the tokenizer of the language model that the weights were trained from"
        )
    ends = config.text_config.get("eos_token_id")
    ends = ends if isinstance(ends, list) else [ends]
    if len(ids) == 1 and ends != [None] and ids[0] not in ends:
        faults.append(
            f"{folder}: {END} is token {ids[0]}, but text_config.eos_token_id is {ends}: it is another model's tokenizer. "
            "Take that of the language model that the weights were trained from"
        )
    return faults


def _processor_file(weights: Path, processor: Path | None, faults: list[str]) -> Path | None:
    """The preprocessor_config.json to take: the checkpoint's own, that of the tower's repository, or None for neither."""
    own = weights / PROCESSOR
    if own.is_file() or processor is None:
        return own if own.is_file() else None
    given = Path(processor) / PROCESSOR
    if given.is_file():
        return given
    faults.append(
        f"{given}: no such file; download it from the vision tower's repository, google/siglip-so400m-patch14-384, or name "
        "no processor for that repository's settings"
    )
    return None


def _processor_faults(path: Path, frame_size: int) -> list[str]:
    """Where an image processor would do something else to frames than frame tables and `normalize_frames` do.

    A key that is missing has SigLIP's default, which is what is needed; only the size's default is not.
    """
    faults: list[str] = []
    values = _read_object(path, faults)
    if values is None:
        return faults
    needed = processor_settings(frame_size) | dict.fromkeys(CROPPING, False)
    for key, wanted in needed.items():
        if key not in values and key != "size":
            continue
        found = values.get(key)
        if not _same_setting(key, found, wanted):
            why = (
                f"frames.size is {frame_size}, and must be the processor's size and the model's image_size"
                if key == "size"
                else "frames are made so for every model; name the processor of google/siglip-so400m-patch14-384"
            )
            faults.append(f"{path}: {key} is {found!r}, needed {wanted!r}: {why}")
    return faults


def _same_setting(key: str, found: Any, wanted: Any) -> bool:
    """Whether two spellings of one setting mean the same to SigLIP's processor."""
    if key in ("image_mean", "image_std"):
        # None is the default; one number stands for all three channels.
        listed = wanted if found is None else [found] * 3 if isinstance(found, int | float) else found
        return bool(listed == wanted)
    if key == "size":
        square = {"height": found, "width": found} if isinstance(found, int) else found
        return bool(square == wanted)
    if key == "rescale_factor":
        return isinstance(found, int | float) and math.isclose(found, wanted, rel_tol=1e-9)
    if key == "image_processor_type":
        return isinstance(found, str) and found.startswith(TOWER_PROCESSOR)  # its fast and slow forms have suffixes
    return bool(found == wanted)


def _read_object(path: Path, faults: list[str]) -> dict[str, Any] | None:
    """A file's JSON object; None, and a fault, if it holds none."""
    try:
        values = read_json(path)
    except ValueError as error:
        seen = foreign_content(path)
        faults.append(f"{path}: {seen}" if seen else str(error))
        return None
    if isinstance(values, dict):
        return values
    faults.append(f"{path}: expected a JSON object, found {type(values).__name__}; download it again")
    return None


def _copy_tokenizer(source: Path, target: Path, config: TinyLlavaConfig) -> None:
    """Copy a tokenizer's files, with the two settings that upstream takes from the model's configuration."""
    copy_tokenizer(source, target)
    path = target / TOKENIZER_CONFIG
    settings = read_json(path) if path.is_file() else {}
    imposed = {"model_max_length": config.tokenizer_model_max_length, "padding_side": config.tokenizer_padding_side}
    if settings | imposed != settings:
        write_json(path, settings | imposed)
