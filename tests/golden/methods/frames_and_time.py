"""Compare frame numbers, sizes and time positions of both methods with the golden data.

Not compared, because nothing here corresponds to it: how Temporal-R1 picks records of a file (`data.json`, sampling) and how
it cuts and pads prompts (items' ids and masks: prompts that are too long are left out here, and none is padded); the prompts of
Video-R1 (`prompts.json`), whose text is not published here.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any
from unittest import mock

from tests.golden.folder import Item, same, worst
from tests.golden.methods.base import MethodCheck, Methods, Mutation, Mutations
from vidreason.media import qwen_frames
from vidreason.media.qwen_frames import QwenLimits
from vidreason.models import qwen_positions

SECONDS = 1e-9
VIDEO_R1_SAMPLING = "frames of Video-R1: indices"
TEMPORAL_R1_SIZES = "frames of Temporal-R1: sizes"
POSITIONS = "time of Temporal-R1: positions"


def limits_of(constants: Mapping[str, float], element: Mapping[str, float]) -> QwenLimits:
    """The constants of a folder, with what the message of a video puts in their place."""
    return QwenLimits(
        factor=int(constants["IMAGE_FACTOR"]),
        frame_factor=int(constants["FRAME_FACTOR"]),
        fps=constants["FPS"],
        min_frames=int(element.get("min_frames", constants["FPS_MIN_FRAMES"])),
        max_frames=int(element.get("max_frames", constants["FPS_MAX_FRAMES"])),
        min_pixels=int(element.get("min_pixels", constants["VIDEO_MIN_PIXELS"])),
        max_pixels=int(constants["VIDEO_MAX_PIXELS"]),
        total_pixels=int(element.get("total_pixels", constants.get("VIDEO_TOTAL_PIXELS", 0))),
        max_ratio=constants.get("MAX_RATIO", 200),
    )


def size_of(case: Mapping[str, Any], count: int, limits: QwenLimits, image_pixels: tuple[int, int]) -> tuple[int, int]:
    """Size of a video's frames; a size that the message names is rounded as that of a picture."""
    element = case.get("element", {})
    if "resized_height" in element:
        return qwen_frames.frame_size(element["resized_height"], element["resized_width"], image_pixels, limits)
    least, most = qwen_frames.video_pixels(count, limits)
    pixels = (least, min(most, element.get("max_pixels", most)))
    return qwen_frames.frame_size(case["height"], case["width"], pixels, limits)


def check_video_r1_frames(methods: Methods) -> Iterator[Item]:
    """Numbers, indices and sizes of the frames that Video-R1's model is shown, and sizes of pictures."""
    published = methods.video_r1.json("frames")
    constants = published["constants"]
    image_pixels = (constants["MIN_PIXELS"], constants["MAX_PIXELS"])
    counts, indices, rates, sizes, errors = [], [], [], [], []
    for number, case in enumerate(published["videos"]):
        element, label, total = case["element"], f"video {number}", case["total_frames"]
        limits = limits_of(constants, element)
        try:
            asked = {"fps": element.get("fps"), "frames": element.get("nframes")}
            count = qwen_frames.frame_count(total, case["fps"], limits, **asked)
            size = size_of(case, count, limits, image_pixels)
        except ValueError:
            errors.append((label, "ValueError", case.get("error")))
            continue
        errors.append((label, None, case.get("error")))
        counts.append((label, count, case["nframes"]))
        indices.append((label, qwen_frames.frame_indices(total, count), case["indices"]))
        rates.append((label, qwen_frames.sampled_fps(total, case["fps"], count), case["sample_fps"]))
        sizes.append((label, size, (case["out_height"], case["out_width"])))
    yield same("frames of Video-R1: videos that are refused", errors)
    yield same("frames of Video-R1: numbers", counts)
    yield same(VIDEO_R1_SAMPLING, indices)
    yield worst("frames of Video-R1: frames per second", rates, SECONDS)
    yield same("frames of Video-R1: sizes", sizes)
    pictures = []
    for case in published["images"]:
        wanted = case.get("error") or (case["out_height"], case["out_width"])
        found: object
        try:
            found = qwen_frames.frame_size(case["height"], case["width"], image_pixels, limits_of(constants, {}))
        except ValueError:
            found = "ValueError"
        pictures.append((f"{case['height']} x {case['width']}", found, wanted))
    yield same("pictures of Video-R1: sizes", pictures)
    lists = [
        (str(case["frames_in"]), qwen_frames.shown_images(case["frames_in"], limits_of(constants, {})), case)
        for case in published["videos_given_as_image_lists"]
    ]
    yield same(
        "pictures given as a video: which are shown",
        [(label, (found, len(found)), (case["grey_of_frames"], case["frames_out"])) for label, found, case in lists],
    )
    rates = [(label, constants["FPS"], case["sample_fps"]) for label, _, case in lists]
    yield worst("pictures given as a video: frames per second", rates, SECONDS)


def check_temporal_r1_frames(methods: Methods) -> Iterator[Item]:
    """Frames, sizes, vision tokens and durations of Temporal-R1, in training and in evaluation."""
    published, items = methods.temporal_r1.json("time"), methods.temporal_r1.json("data")["items"]
    elements = [item["video_element"] for item in items]
    yield same("frames of Temporal-R1: one element for all", [("elements", len({str(one) for one in elements}), 1)])
    limits = limits_of(published["frames_constants"], elements[0])
    counts, rates, sizes, tokens, durations = [], [], [], [], []
    for number, case in enumerate(published["frames"]):
        for use in ("train", "eval"):
            wanted, label = case[use], f"video {number}, {use}"
            count = qwen_frames.frame_count(case["total_frames"], case["fps"], limits)
            rate = qwen_frames.sampled_fps(case["total_frames"], case["fps"], count)
            size = size_of(case, count, limits, (limits.min_pixels, limits.max_pixels))
            counts.append((label, count, wanted["nframes"]))
            rates.append((label, rate, wanted["sample_fps"]))
            sizes.append((label, size, (wanted["out_height"], wanted["out_width"])))
            tokens.append((label, qwen_frames.vision_tokens(count, *size, limits), wanted["vision_tokens"]))
            durations.append((label, qwen_frames.reward_duration(count, rate), wanted["reward_video_length"]))
    yield same("frames of Temporal-R1: numbers", counts)
    yield worst("frames of Temporal-R1: frames per second", rates, SECONDS)
    yield same(TEMPORAL_R1_SIZES, sizes)
    yield same("frames of Temporal-R1: vision tokens", tokens)
    yield worst("frames of Temporal-R1: duration in the reward", durations, SECONDS)
    lengths = []
    for number, item in enumerate(items):
        sampled = item["record"]["dataset"] == "charades_train"
        found = qwen_frames.reward_duration(item["frames"], item["sample_fps"])
        lengths.append((f"item {number}", found if sampled else item["record"]["video_length"], item["video_length"]))
    yield worst("items of Temporal-R1: duration in the reward", lengths, SECONDS)


def check_temporal_r1_positions(methods: Methods) -> Iterator[Item]:
    """Positions of video tokens in time, height and width."""
    cases, vision = [], qwen_positions.VisionIds(start=3, video=2)
    for number, case in enumerate(methods.temporal_r1.json("time")["positions"]):
        grids = [(int(time), int(height), int(width)) for time, height, width in case["video_grid_thw"]]
        found = qwen_positions.position_ids(
            case["input_ids"], case["attention_mask"], grids, case["second_per_grid"], vision
        )
        cases.append((f"case {number}", found.tolist(), case["position_ids"]))
    yield same(POSITIONS, cases)


def _frame_centers(total: int, count: int) -> list[int]:
    """The middle of each segment instead of the first and the last frame."""
    return [math.floor((number + 0.5) * total / count) for number in range(count)]


CHECKS: tuple[MethodCheck, ...] = (check_video_r1_frames, check_temporal_r1_frames, check_temporal_r1_positions)
MUTATIONS: Mutations = {
    "frames at the centers of segments": Mutation(
        lambda: mock.patch.object(qwen_frames, "frame_indices", _frame_centers),
        (VIDEO_R1_SAMPLING,),
        check_video_r1_frames,
    ),
    "all frames of one size, however many they are": Mutation(
        lambda: mock.patch.object(
            qwen_frames, "video_pixels", lambda count, limits: (limits.min_pixels, limits.max_pixels)
        ),
        (TEMPORAL_R1_SIZES,),
        check_temporal_r1_frames,
    ),
    "one position for a second": Mutation(
        lambda: mock.patch.object(qwen_positions, "TOKENS_PER_SECOND", 1), (POSITIONS,), check_temporal_r1_positions
    ),
}
