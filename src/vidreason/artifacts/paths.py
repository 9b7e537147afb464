"""Paths: what stands at one, and whether one leads out of a folder."""

from pathlib import Path


def is_inside(path: str) -> bool:
    """Whether a path names something below the folder that it is relative to, as far as its text tells.

    Example:
        >>> is_inside("a/b.mp4"), is_inside("../b.mp4"), is_inside("/b.mp4"), is_inside("")
        (True, False, False, False)
    """
    parts = path.split("/")
    short = len(path) < 4096 and all(len(part.encode("utf-8", "surrogatepass")) < 256 for part in parts)
    return bool(path) and short and not path.startswith("/") and ".." not in parts and "\0" not in path


def is_there(path: Path) -> bool:
    """Whether something is at a path; not where one may not look or the name is too long (`Path.exists` raises there)."""
    try:
        return path.exists()
    except OSError:
        return False
