"""Makes a self-contained checkpoint folder of published weights, checked before anything is loaded.

A repository of published weights is incomplete: upstream's code takes the tokenizer from the base language model's folder and
the image processor's settings from SigLIP's. There, parts that do not fit together fail late, on the GPU, or not at all.
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
from vidreason.tasks.chat_tokens import END

TOWER_PROCESSOR = "SiglipImageProcessor"
CROPPING = ("do_center_crop", "do_pad")
"""Steps that other processors have and SigLIP's does not."""


def import_weights(
    *,
    weights: Path,
    out: Path,
    frame_size: int,
    tokenizer: Path | None = None,
    processor: Path | None = None,
) -> None:
    """Make a self-contained checkpoint folder of published weights, checked without loading them.

    Only the headers of the weights are read (names, shapes, types and the index of shards), which takes a second for any size.
    If a tied output embedding is stored as well as the input embedding, both are loaded and compared.

    All files are copied, so later changes to the originals do not affect `out`. On file systems with copy-on-write (btrfs, XFS,
    NFS 4.2) the copy shares its bytes with the original; elsewhere the weights take twice their size.

    Args:
        weights: Folder in the published layout: config.json; model.safetensors, or shards with their index; perhaps
            tokenizer files, preprocessor_config.json and generation_config.json.
        out: The folder to write, in one step; replaced if it exists. `load_checkpoint` reads it.
        frame_size: Pixels a side of the run's frames (`frames.size`).
        tokenizer: Folder of the base language model's repository (Qwen/Qwen2.5-3B), for weights without a tokenizer.
        processor: Folder of the vision tower's repository (google/siglip-so400m-patch14-384), for weights without
            preprocessor_config.json. With neither, SigLIP's own settings are written.

    Raises:
        CheckpointError: A part is missing, is not what its name says, or does not fit the others: configuration, weights,
            processor settings, frame size, tokenizer, vocabulary. All faults are listed, up to `FAULTS_LISTED`, and `out` is
            unchanged.

    Source: tinyllava/model/{load_model,modeling_tinyllava}.py and vision_tower/siglip.py of
        ZhangXJ199/TinyLLaVA-Video-R1@efe76a1.
    Differs from the source: the checkpoint's own tokenizer and processor settings are preferred (upstream never reads them);
        frames are prepared once for all models, so other processor settings are an error; tokenizer_model_max_length and
        tokenizer_padding_side, which upstream sets on any tokenizer it loads, are written into the tokenizer's settings.
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
    """The configuration, a model of it on the meta device, and their faults."""
    try:
        config = read_config(weights)
    except CheckpointError as error:
        return None, None, [str(error)]
    try:
        return config, empty_model(config), []
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        # transformers raises a different exception for each: heads that do not divide a width, an unknown activation.
        return config, None, [f"{weights / CONFIG}: no model can be built of it ({error!r}); download it again"]


def _tokenizer_folder(weights: Path, tokenizer: Path | None, faults: list[str]) -> Path | None:
    """The folder to take all tokenizer files from; files of two tokenizers cannot be mixed."""
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
    """Faults of a tokenizer: whether it loads, has an embedding for every token, and its end of sequence ends answers."""
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
    """The preprocessor_config.json to use: the checkpoint's own, that of the tower's repository, or None."""
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
    """Settings of an image processor that differ from how frame tables and `normalize_frames` prepare frames.

    A missing key means SigLIP's default, which is right for every key but `size`.
    """
    faults: list[str] = []
    values = _read_object(path, faults)
    if values is None:
        return faults
    needed = processor_settings(frame_size) | dict.fromkeys(CROPPING, False)
    for key, wanted in needed.items():
        if key not in values and key != "size":
            continue
        given = values.get(key)
        if not _same_setting(key, given, wanted):
            why = (
                f"frames.size is {frame_size}, and must be the processor's size and the model's image_size"
                if key == "size"
                else "frames are made so for every model; name the processor of google/siglip-so400m-patch14-384"
            )
            faults.append(f"{path}: {key} is {given!r}, needed {wanted!r}: {why}")
    return faults


def _same_setting(key: str, given: Any, wanted: Any) -> bool:
    """Whether SigLIP's processor treats two values of a setting alike."""
    if key in ("image_mean", "image_std"):
        # None is the default; one number stands for all three channels.
        listed = wanted if given is None else [given] * 3 if isinstance(given, int | float) else given
        return bool(listed == wanted)
    if key == "size":
        square = {"height": given, "width": given} if isinstance(given, int) else given
        return bool(square == wanted)
    if key == "rescale_factor":
        return isinstance(given, int | float) and math.isclose(given, wanted, rel_tol=1e-9)
    if key == "image_processor_type":
        return isinstance(given, str) and given.startswith(TOWER_PROCESSOR)  # its fast and slow forms have suffixes
    return bool(given == wanted)


def _read_object(path: Path, faults: list[str]) -> dict[str, Any] | None:
    """A file's JSON object; None and a fault if it has none."""
    try:
        values = read_json(path)
    except ValueError as error:
        content = foreign_content(path)
        faults.append(f"{path}: {content}" if content else str(error))
        return None
    if isinstance(values, dict):
        return values
    faults.append(f"{path}: expected a JSON object, found {type(values).__name__}; download it again")
    return None


def _copy_tokenizer(source: Path, target: Path, config: TinyLlavaConfig) -> None:
    """Copy a tokenizer's files, with two settings from the model's configuration as upstream has them."""
    copy_tokenizer(source, target)
    path = target / TOKENIZER_CONFIG
    settings = read_json(path) if path.is_file() else {}
    imposed = {"model_max_length": config.tokenizer_model_max_length, "padding_side": config.tokenizer_padding_side}
    if settings | imposed != settings:
        write_json(path, settings | imposed)
