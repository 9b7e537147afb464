"""Which questions are answered together: by clip and by length, the same batches whatever the number of shards."""

from collections import Counter
from collections.abc import Mapping, Sequence

from vidreason.artifacts.digests import sha256_text
from vidreason.records import Question


def evaluation_batches(
    questions: Sequence[Question], lengths: Mapping[str, int], batch_size: int, shard: int, shards: int
) -> list[list[Question]]:
    """The batches of one shard.

    Questions about one clip stay together, so that it is encoded once; only a clip with more questions than a batch holds is
    divided. Clips are sorted by their longest prompt, and a batch takes the next ones that still fit. So the rows of a batch
    are of similar length and need little padding. The longest come first: memory that does not suffice shows at once, and the
    progress bar overestimates the time left rather than underestimates it.

    Args:
        questions: All questions of the data set.
        lengths: Question id -> positions of its prompt; 0 where it cannot be answered.
        batch_size: Questions a batch.
        shard: Number of this shard, from 0.
        shards: Number of shards.

    Returns:
        Batches number shard, shard + shards, ... of the one order that all shards share.

    Raises:
        ValueError: `shard` is not one of `shards`.
    """
    if not 0 <= shard < shards:
        raise ValueError(f"shard {shard} of {shards}: shards are numbered 0 to {shards - 1}")
    by_clip: dict[str, list[Question]] = {}
    for question in sorted(questions, key=lambda question: (-lengths[question.id], question.id)):
        by_clip.setdefault(question.clip.key, []).append(question)
    waiting = [
        together[start : start + batch_size]
        for together in by_clip.values()
        for start in range(0, len(together), batch_size)
    ]
    waiting.sort(key=lambda together: (-lengths[together[0].id], together[0].clip.key, together[0].id))
    batches = []
    while waiting:
        batch: list[Question] = []
        remaining = []
        for together in waiting:
            if len(batch) + len(together) <= batch_size:
                batch += together
            else:
                remaining.append(together)
        batches.append(batch)
        waiting = remaining
    return batches[shard::shards]


def limited(questions: Sequence[Question], limit: int | None) -> list[Question]:
    """Some of the questions of a data set: whole videos until they have `limit` questions, in the order of a digest of their paths.

    A greater limit adds questions to those of a smaller one, and which they are depends on no seed, model or answer.

    Args:
        questions: All questions of the data set.
        limit: How many are wanted; None for all.

    Returns:
        Questions in the given order: at least `limit`, or all where there are no more.
    """
    if limit is None:
        return list(questions)
    counts = Counter(question.clip.path for question in questions)
    kept, total = set(), 0
    for path in sorted(counts, key=sha256_text):
        if total >= limit:
            break
        kept.add(path)
        total += counts[path]
    return [question for question in questions if question.clip.path in kept]
