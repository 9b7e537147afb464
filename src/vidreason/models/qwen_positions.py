"""Positions that Qwen2.5-VL gives to text and video tokens: how its models know when a frame was taken.

No model here has such positions: TinyLLaVA-Video's prompts state the times. They are here to compare with Temporal-R1.
"""

import dataclasses

import torch

TOKENS_PER_SECOND = 2
"""Positions that a second of video is long."""


@dataclasses.dataclass(frozen=True)
class VisionIds:
    """Ids of the vision tokens, and how many patches a side are one token.

    Attributes:
        start: Id of the token before the tokens of a video.
        video: Id of a video token.
        merge: Patches a side that are merged into one token.
    """

    start: int
    video: int
    merge: int = 2


def position_ids(
    ids: list[int], mask: list[int], grids: list[tuple[int, int, int]], second_per_grid: float | None, vision: VisionIds
) -> torch.Tensor:
    """Positions of a prompt in time, height and width, int64 [3, L].

    A text token has the same position three times. A video token's time is that of its pair of frames, `TOKENS_PER_SECOND` for
    each second and rounded down; its height and width count from 0; all three are added to the position after the text before
    it. The text after a video goes on after the largest position in it. Masked tokens have position 1.

    Args:
        ids: L token ids.
        mask: 1 on the tokens that count.
        grids: Pairs of frames, and patches of a frame in height and width, of each video.
        second_per_grid: Seconds between pairs of frames; None for 1.
        vision: The ids that stand for vision.

    Source: `get_rope_index` of transformers' Qwen2.5-VL, and verl/models/transformers/qwen2_5_vl.py of
        appletea233/Temporal-R1@f364f6c.
    Differs from the source: videos only, no pictures.

    Example:
        >>> position_ids([9, 3, 2, 2, 9], [1] * 5, [(2, 2, 2)], 1.0, VisionIds(3, 2)).tolist()[0]
        [0, 1, 2, 4, 5]
    """
    visible = [token for token, counts in zip(ids, mask, strict=True) if counts]
    columns: list[torch.Tensor] = []
    place, following = 0, 0
    for time, height, width in grids:
        first = next(
            index
            for index in range(place, len(visible))
            if visible[index] == vision.video and visible[index - 1] == vision.start
        )
        columns.append(_text(first - place, following))
        following += first - place
        rows, cells = height // vision.merge, width // vision.merge
        seconds = torch.arange(time) * (1.0 if second_per_grid is None else second_per_grid)
        axes = ((seconds * TOKENS_PER_SECOND).long(), torch.arange(rows), torch.arange(cells))
        video = torch.cartesian_prod(*axes).view(-1, 3).T + following  # [3, time * rows * cells]
        columns.append(video)
        following = int(video.max()) + 1
        place = first + time * rows * cells
    columns.append(_text(len(visible) - place, following))
    positions = torch.ones(3, len(ids), dtype=torch.int64)
    positions[:, torch.tensor(mask, dtype=torch.bool)] = torch.cat(columns, dim=1)
    return positions


def _text(count: int, first: int) -> torch.Tensor:
    return (torch.arange(count) + first).expand(3, -1)
