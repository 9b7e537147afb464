"""ActivityNet Captions as temporal grounding: find the part of a video that a sentence describes.

Layout: `train.json` and `val_2.json` (the usual test split), each `{"v_<id>": {"duration", "timestamps", "sentences"}}`; videos
`v_<id>` with various suffixes. The flat records of the hub are read too (`vidreason.data.moments`).
"""

import dataclasses

from vidreason.config.annotations import existing_annotations, find_annotations
from vidreason.data.moments import query, read_moments, video_finder
from vidreason.data.registry import Dataset, Source, register
from vidreason.records import Question

TRAIN = ("train.json", "activitynet_captions/train.json")
"""Names of the annotation file below the root, in the order in which they are tried."""
TEST = ("val_2.json", "activitynet_captions/val_2.json")
FOLDERS = ("videos", "activitynet/videos", "videos_3fps_480_noaudio", ".")
"""Folders of the videos below the root, in the order in which they are tried."""


def read_train(source: Source) -> list[Question]:
    """Read the training split: 37,421 sentences about 10,009 videos, of which 4 have a segment without length."""
    return _read("activitynet_tvg_train", source, TRAIN, for_training=True)


def read_test(source: Source) -> list[Question]:
    """Read the second validation split, on which results are reported: 17,031 sentences about 4,885 videos."""
    return _read("activitynet_tvg", source, TEST, for_training=False)


def _read(dataset: str, source: Source, names: tuple[str, ...], for_training: bool) -> list[Question]:
    file = find_annotations(source.root, source.annotations, names)
    return read_moments(dataset, source, file, video_finder(source.root, FOLDERS), for_training=for_training)


BENCHMARK = Dataset(
    name="activitynet_tvg",
    title="ActivityNet-TVG",
    description="ActivityNet Captions (temporal grounding, val_2)",
    citation="Krishna et al., Dense-Captioning Events in Videos, ICCV 2017, arXiv 1705.00754",
    role="benchmark",
    template=query,
    read=read_test,
    annotation_files=lambda source: existing_annotations(source.root, source.annotations, TEST),
    tasks=("grounding",),
)
register(BENCHMARK)
register(
    dataclasses.replace(
        BENCHMARK,
        name="activitynet_tvg_train",
        title="ActivityNet-TVG train",
        description="ActivityNet Captions (temporal grounding, training split)",
        role="training",
        read=read_train,
        annotation_files=lambda source: existing_annotations(source.root, source.annotations, TRAIN),
    )
)
