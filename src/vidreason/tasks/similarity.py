"""How similar an answer in words is to the gold one: word error rate, and ROUGE.

The libraries are imported where they are used: the workflow imports all tasks whenever it starts.
"""

import functools
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

_WORD = re.compile(r"[^\W_]+")


def word_accuracy(answer: str, gold: str) -> float:
    """1 - word error rate, at least 0. Words are what white space separates; case and punctuation count.

    WER = (substitutions + deletions + insertions) / words of the gold text

    Returns:
        1 for two empty texts; 0 for words where there should be none.

    Source: tulerfeng/Video-R1@59d65c3:src/r1-v/src/open_r1/grpo.py (its own edit distance; here jiwer's).

    Example:
        >>> round(word_accuracy("STOP at the light", "STOP at the red light"), 3)
        0.8
    """
    import jiwer

    given, wanted = answer.split(), gold.split()
    if not wanted:
        return float(not given)
    return max(0.0, 1.0 - float(jiwer.wer(" ".join(wanted), " ".join(given))))


def library_words(text: str) -> list[str]:
    """The words that rouge-score finds with its stemmer: runs of `a` to `z` and digits, whatever else there is."""
    from rouge_score import tokenize

    return [str(word) for word in tokenize.tokenize(text, _Stemmer())]


def words(text: str) -> list[str]:
    """The words of a text in any script, in lower case, stemmed as rouge-score does.

    Example:
        >>> words("Two dogs, running"), words("Café")
        (['two', 'dog', 'run'], ['café'])
    """
    runs = _WORD.findall(unicodedata.normalize("NFC", text.lower()))
    return [stem(word) if len(word) > 3 else word for word in runs]


def rouge(answer: str, gold: str, tokenize: Callable[[str], list[str]], skip_absent: bool) -> float:
    """Mean of the F1 values of ROUGE-1, ROUGE-2 and ROUGE-L.

    Args:
        answer: Text of the model.
        gold: The gold text.
        tokenize: `words` or `library_words`.
        skip_absent: Whether ROUGE-2 is left out where the gold text has one word alone, so that a perfect answer gets 1.

    Source: tulerfeng/Video-R1@59d65c3:src/r1-v/src/open_r1/grpo.py, with rouge-score.
    Differs from the source: the longest common subsequence is found by rapidfuzz; rouge-score fills a table in Python, which
        takes minutes for texts of some thousand words. The values are the same.

    Example:
        >>> rouge("river", "river", words, skip_absent=False), rouge("river", "river", words, skip_absent=True)
        (0.6666666666666666, 1.0)
    """
    given, wanted = tokenize(answer), tokenize(gold)
    kinds = ["rouge1", "rouge2"] if len(wanted) > 1 or not skip_absent else ["rouge1"]
    by_kind = _scorer(tuple(kinds)).score(wanted, given)
    values = [float(by_kind[kind].fmeasure) for kind in kinds] + [_common_subsequence(given, wanted)]
    return sum(values) / len(values)


def _common_subsequence(given: Sequence[str], wanted: Sequence[str]) -> float:
    """F1 of ROUGE-L."""
    from rapidfuzz.distance import LCSseq
    from rouge_score import scoring

    if not given or not wanted:
        return 0.0
    common = LCSseq.similarity(wanted, given)
    return float(scoring.fmeasure(common / len(given), common / len(wanted)))


@functools.cache
def _scorer(kinds: tuple[str, ...]) -> Any:
    """rouge-score's scorer of texts that are words already."""
    from rouge_score import rouge_scorer

    class AsWords:
        """What rouge-score takes for a tokenizer."""

        def tokenize(self, text: list[str]) -> list[str]:
            return text

    return rouge_scorer.RougeScorer(list(kinds), tokenizer=AsWords())


class _Stemmer:
    """What rouge-score takes for a stemmer."""

    def stem(self, word: str) -> str:
        return stem(word)


def stem(word: str) -> str:
    """Porter's stem of a word."""
    return str(_porter().stem(word))


@functools.cache
def _porter() -> Any:
    from nltk.stem import porter

    return porter.PorterStemmer()
