"""Names of the files of a checkpoint folder. Light: rules ask for them when the graph is built."""

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
GENERATION = "generation_config.json"
PROCESSOR = "preprocessor_config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
TOKENIZER_FILES = (
    "tokenizer.json", "vocab.json", "merges.txt", TOKENIZER_CONFIG, "special_tokens_map.json", "added_tokens.json",
)  # fmt: skip
"""All files of a tokenizer that may be there."""
