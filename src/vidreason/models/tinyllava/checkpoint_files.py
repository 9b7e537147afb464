"""Names of the files of a checkpoint folder. No heavy imports: rules use this module when the graph is built."""

import codecs
from pathlib import Path

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
GENERATION = "generation_config.json"
PROCESSOR = "preprocessor_config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
TOKENIZER_FILES = (
    "tokenizer.json", "vocab.json", "merges.txt", TOKENIZER_CONFIG, "special_tokens_map.json", "added_tokens.json",
)  # fmt: skip
"""All files that a tokenizer may consist of."""


def tokenizer_files(folder: Path) -> list[Path]:
    """The tokenizer files that exist."""
    return [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]


def has_byte_order_mark(path: Path) -> bool:
    """Whether a file starts with a byte-order mark, as some editors on Windows write it."""
    with path.open("rb") as stream:
        return stream.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy a tokenizer's files without byte-order marks, with which the tokenizers library cannot read them."""
    for path in tokenizer_files(source):
        (target / path.name).write_bytes(path.read_bytes().removeprefix(codecs.BOM_UTF8))
