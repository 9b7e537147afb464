"""The tokenizer files of a checkpoint folder."""

import json
import tempfile
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast, Qwen2Tokenizer

from vidreason.artifacts.files import read_json, write_json
from vidreason.models.tinyllava.checkpoint_files import (
    TOKENIZER_CONFIG,
    copy_tokenizer,
    has_byte_order_mark,
    tokenizer_files,
)
from vidreason.models.tinyllava.weights import CheckpointError, foreign_content

QWEN_CLASSES = ("Qwen2Tokenizer", "Qwen2TokenizerFast")


VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"))
"""Sets of files, each enough for a tokenizer."""


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
        foreign = [f"{file}: {content}" for file in files if (content := foreign_content(file))]
        reason = (
            "; ".join(foreign) or f"{error}; download {', '.join(file.name for file in files)} again, from one place"
        )
        raise CheckpointError(f"{folder}: the tokenizer cannot be loaded: {reason}") from error
    return tokenizer


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds the files of a tokenizer."""
    return any(all((folder / name).is_file() for name in names) for names in VOCABULARIES)


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a tokenizer's files into an existing folder.

    A Qwen2 tokenizer also gets the files that transformers 4 and upstream's slow loader read: vocab.json, merges.txt,
    added_tokens.json, special_tokens_map.json, and a tokenizer_config.json that lists the added tokens.
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
    for key in ("backend", "is_local", "local_files_only"):  # these depend on where it was loaded from
        settings.pop(key, None)
    settings |= {"added_tokens_decoder": described, "additional_special_tokens": special, "extra_special_tokens": {}}
    write_json(folder / TOKENIZER_CONFIG, settings)
    write_json(folder / "special_tokens_map.json", {"additional_special_tokens": special, **named})
