"""Pictures beside videos: what a record may say, how a picture is read, stored and shown to the model."""

import pytest

from vidreason.records import ClipRef


def test_kinds_of_clips() -> None:
    """A clip is a video or an image, and a part of an image in time does not exist."""
    assert ClipRef("a.png", "image").kind == "image"
    assert ClipRef("a.mp4", "video", 1.0, 2.0).key == "a.mp4#1-2"
    with pytest.raises(ValueError, match=r"'a\.gif'.*kind is 'picture'; allowed: video, image"):
        ClipRef("a.gif", "picture")
    with pytest.raises(ValueError, match=r"'a\.png'.*start is 0\.0, end is 1\.0; allowed for an image: neither"):
        ClipRef("a.png", "image", 0.0, 1.0)
