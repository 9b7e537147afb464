"""What a file is, judged by its first bytes."""


def looks_like_text(head: bytes) -> bool:
    r"""Whether the first bytes of a file are text: a web page, an error message, a Git LFS pointer.

    Example:
        >>> looks_like_text(b"<!DOCTYPE html>"), looks_like_text(b"PK\x03\x04")
        (True, False)
        >>> looks_like_text(b"#EXTM3U\n#\x01\nhttp://127.0.0.1/")  # one control character does not make it a video
        True
    """
    control = sum(byte < 32 and byte not in b"\t\n\r\f" for byte in head)
    return control <= max(1, len(head) // 64) and b"\0" not in head
