"""Files are recognized by their first bytes."""

import pytest

from vidreason.artifacts.file_signatures import check_signature


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs pointer"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><html>", "web page"),
        (b"<!DOCTYPE", "web page"),
        (b"<html", "web page"),
        (b"<h", "text"),
        (b"Access denied", "text"),
        (b"PK\x03\x04\0\0\0\0", "zip"),
        (b"\x1f\x8b\x08\0\0\0", "gzip"),
        (b"\x80\x04\x95\0\0", "pickle"),
        (b"\0\0\0\x20ftypisom", "other"),
    ],
)
def test_kinds(tmp_path, head, kind):
    (tmp_path / "file").write_bytes(head)
    assert check_signature(tmp_path / "file").kind == kind
    assert check_signature(tmp_path / "file", kind) is None
