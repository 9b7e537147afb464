"""The demo's tokenizer: Qwen2's byte-level BPE, trained on the few words of the synthetic world.

Class, file layout and pre-tokenization are those of the published checkpoint's tokenizer, so it can encode any text. Each word of
the world and of the instructions is one token. The system sentence, which every prompt begins with, is one added token, and so
is each option's mark (`A.`, `(A)`).
"""

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer

from vidreason.models.tinyllava.template import SYSTEM
from vidreason.records import LETTERS

QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Qwen2's pre-tokenization. Source: the `pre_tokenizer` entry of tokenizer.json in Qwen/Qwen2.5-3B."""
END = "<|endoftext|>"
OPTION_MARKS = tuple(mark for letter in LETTERS[:5] for mark in (f"{letter}.", f"({letter})"))


def build_tokenizer(words: Iterable[str], max_length: int) -> Qwen2Tokenizer:
    """Train the tokenizer.

    Args:
        words: Words that become one token each, both alone and after a space.
        max_length: `model_max_length` of the tokenizer, in tokens.

    Returns:
        A fast tokenizer with `<|endoftext|>` as end of sequence and padding, as in the published checkpoint.
    """
    spelled = sorted({form for word in words for form in (word, f" {word}")})
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(QWEN2_PATTERN), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=100_000,
        min_frequency=1,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(spelled, trainer)
    tokenizer.add_special_tokens([AddedToken(END, special=True, normalized=False)])
    fixed = [SYSTEM.strip(), *OPTION_MARKS]
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in fixed])
    return Qwen2Tokenizer(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=END,
        unk_token=None,  # type: ignore[arg-type]  # as published; a byte-level tokenizer needs none
        bos_token=None,
        model_max_length=max_length,
    )
