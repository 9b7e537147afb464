"""Which questions are answered together: by clip and by length, the same batches whatever the number of shards."""

from collections.abc import Mapping, Sequence

from vidreason.records import Question


def evaluation_batches(
    questions: Sequence[Question], lengths: Mapping[str, int], batch_size: int, shard: int, shards: int
) -> list[list[Question]]:
    """The batches of one shard.

    Questions about one clip stay together, so that it is encoded once (a clip with more questions than a batch holds
    is divided). Clips are put in order of their longest prompt, and a batch is filled with the next ones that still
    fit in: the rows of a batch are of similar length, and padding is little. The longest come first: if memory does not
    suffice, that shows at once, and the time left that the bar tells is rather too long than too short.

    Args:
        questions: All questions of the data set.
        lengths: Question id -> positions of its prompt; 0 where it cannot be asked.
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
        left = []
        for together in waiting:
            if len(batch) + len(together) <= batch_size:
                batch += together
            else:
                left.append(together)
        batches.append(batch)
        waiting = left
    return batches[shard::shards]
