"""ActivityNet Captions as temporal grounding: find the part of a video that a sentence describes.

Layout: `train.json` and `val_2.json` (the usual test split), each `{"v_<id>": {"duration", "timestamps", "sentences"}}`; videos
`v_<id>` with various suffixes. The flat records of the hub are read too (`vidreason.data.moments`).
"""

from pathlib import Path

from vidreason.config.annotations import existing_annotations, find_annotations
from vidreason.data.moments import query, read_moments, video_finder
from vidreason.data.registry import Dataset, Source, register
from vidreason.records import Question

TRAIN = ("train.json", "activitynet_captions/train.json")
"""Names of the annotation file below the root, in the order in which they are tried."""
TEST = ("val_2.json", "activitynet_captions/val_2.json")
FOLDERS = ("videos", "activitynet/videos", "videos_3fps_480_noaudio", ".")
"""Folders of the videos below the root, in the order in which they are tried."""
CITATION = "Krishna et al., Dense-Captioning Events in Videos, ICCV 2017, arXiv 1705.00754"


def read(dataset: str, source: Source, names: tuple[str, ...], for_training: bool) -> list[Question]:
    """Read the questions of a split in file order; see `read_moments`.

    Args:
        dataset: Name of the data set.
        source: The data set.
        names: Published names of the split's file.
        for_training: See `vidreason.data.fields.questions_of`.
    """
    file = find_annotations(source.root, source.annotations, names)
    return read_moments(dataset, source, file, video_finder(source.root, FOLDERS), for_training=for_training)


def read_train(source: Source) -> list[Question]:
    """Read the training split: 37,421 sentences about 10,009 videos, of which 4 have a segment without length."""
    return read("activitynet_tvg_train", source, TRAIN, for_training=True)


def read_test(source: Source) -> list[Question]:
    """Read the second validation split, on which results are reported: 17,031 sentences about 4,885 videos."""
    return read("activitynet_tvg", source, TEST, for_training=False)


def train_files(source: Source) -> list[Path]:
    """The file that the training questions are read from, if it exists."""
    return existing_annotations(source.root, source.annotations, TRAIN)


def test_files(source: Source) -> list[Path]:
    """The file that the test questions are read from, if it exists."""
    return existing_annotations(source.root, source.annotations, TEST)


register(
    Dataset(
        name="activitynet_tvg_train",
        title="ActivityNet-TVG train",
        description="ActivityNet Captions (temporal grounding, training split)",
        citation=CITATION,
        role="training",
        template=query,
        read=read_train,
        annotation_files=train_files,
        tasks=("grounding",),
    )
)
register(
    Dataset(
        name="activitynet_tvg",
        title="ActivityNet-TVG",
        description="ActivityNet Captions (temporal grounding, val_2)",
        citation=CITATION,
        role="benchmark",
        template=query,
        read=read_test,
        annotation_files=test_files,
        tasks=("grounding",),
    )
)
